"""Journals in a state directory, for tests of what is written to disk."""

import json
import time
from datetime import UTC, datetime

from vdbevents.events import duplicate_check
from vdbevents.journal import reader
from vdbevents.journal.append import Journal

LINE = b'{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"channel":"transcript"}\n'
AT = 1772446530123


def open_journal(state, **options):
    return Journal(state, clock_ms=lambda: AT, **options)


def lines_of(state):
    return [json.loads(line) for line in state.journal.read_bytes().splitlines()]


def append_once(state, *records):
    journal = open_journal(state)
    checks = {record.line: duplicate_check.check_delivered(record) for record in records}
    skipped = journal.append([record.line for record in records], checks)
    journal.close()
    return skipped


def follow_all(path, steps, **options):
    """The lines that come while `steps` are done, one whenever there is nothing more to read."""
    remaining = iter(steps)

    def wait():
        step = next(remaining, None)
        if step is None:
            return False
        step()
        return True

    return list(reader.follow(path, wait=wait, **options))


def recent_journal(path):
    """Write a journal of the last ten minutes: a session with speech, screens, an alert and a gap."""
    now = time.time()

    def line(ago, channel, **members):
        at = now - ago
        text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return json.dumps({"ts": text, "unix_ts": round(at, 3), "channel": channel, **members})

    def said(ago, stream, name, text, **more):
        began = round((now - ago - 2) * 1000)
        data = {"text": text, "start": began, "end": began + 1500, "is_final": True, **more}
        return line(ago, "transcript", rtstream_id=stream, rtstream_name=name, data=data)

    def shown(ago, text):
        began = round((now - ago - 4) * 1000)
        data = {"text": text, "start": began, "end": began + 5000}
        return line(ago, "visual_index", rtstream_id="rts-3", rtstream_name="display:1", data=data)

    def step(ago, event):
        data = {"status": event}
        return line(
            ago, "capture_session", event=f"capture_session.{event}", capture_session_id="cap-1", data=data
        )

    gap = {"since": round((now - 300) * 1000), "until": round((now - 240) * 1000), "reason": "network"}
    path.write_text(
        "\n".join(
            (
                step(600, "active"),
                shown(590, "[#release - Slack] A message about the deploy"),
                said(580, "rts-1", "mic:default", "Is the invoice for the budget out?"),
                said(570, "rts-2", "system_audio:default", "The invoice is IN review, then we deploy."),
                shown(568, "Terminal: the deploy of main.py is ready"),
                line(
                    500,
                    "alert",
                    rtstream_id="rts-3",
                    data={"event_label": "ready", "text": "A deploy is ready"},
                ),
                line(240, "vdbevents", event="listener.gap", data=gap),
                said(2, "rts-1", "mic:default", "Fine, ship it.", confidence=0.7),
            )
        )
        + "\n",
        encoding="utf-8",
    )
