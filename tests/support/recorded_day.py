"""A day as it is recorded: long descriptions of screens, speech as it grows, a session an hour."""

import random
from pathlib import Path

import orjson

import vdbevents
from vdbevents.events.envelope import utc_text

_SESSION = Path(vdbevents.__file__).parent / "emulator" / "data" / "real-session.jsonl"
_APPS = ("VS Code", "Slack", "Chrome", "Terminal", "Zoom", "Figma", "Gmail")
_NOISE = ("x", "|", "00", "l", "_")
_SESSION_MS, _PAUSE_MS, _SCREEN_MS, _APP_MS = 3_000_000, 600_000, 5_000, 240_000
_LENGTH_MS = 134_000


def write_day(journal, hours, end_ms):
    """Write a journal of some hours until a time; return how many events it has."""
    chance = random.Random(5)
    real = [orjson.loads(line) for line in _SESSION.read_bytes().splitlines()]
    screens = [event["data"]["text"] for event in real if event.get("channel") == "visual_index"]
    screens = [text for text in screens if len(text) > 1000]
    speech = [event for event in real if event.get("channel") in ("transcript", "audio_index")]
    rows, since_ms, number = [], end_ms - round(hours * 3_600_000), 0
    while since_ms < end_ms:
        until_ms = min(since_ms + _SESSION_MS, end_ms)
        session = f"cap-{number:016x}"
        rows += [
            (since_ms, _step(session, "created")),
            (since_ms + 2000, _step(session, "active")),
            (until_ms, _step(session, "stopping")),
            (until_ms + 1000, _step(session, "stopped")),
        ]
        rows += _shown(chance, screens, since_ms + 3000, until_ms)
        rows += _said(chance, speech, real[0]["unix_ts"], since_ms + 5000, until_ms)
        since_ms, number = until_ms + _PAUSE_MS, number + 1
    rows.sort(key=lambda row: row[0])
    lines = [orjson.dumps({"ts": utc_text(at), "unix_ts": at / 1000, **event}) for at, event in rows]
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_bytes(b"\n".join([*lines, b""]))
    return len(lines)


def _step(session, status):
    return {
        "event": f"capture_session.{status}",
        "capture_session_id": session,
        "status": status,
        "data": {},
    }


def _shown(chance, screens, since_ms, until_ms):
    app, next_app_ms = "", since_ms
    for at_ms in range(since_ms, until_ms, _SCREEN_MS):
        if at_ms >= next_app_ms:
            app, next_app_ms = chance.choice(_APPS), at_ms + round(chance.expovariate(1 / _APP_MS))
        words = chance.choice(screens).split(" ")
        for _ in range(8):
            words[chance.randrange(len(words))] = chance.choice(_NOISE)
        data = {"text": f"[{app}] {' '.join(words)}", "start": at_ms - _SCREEN_MS, "end": at_ms}
        yield (
            at_ms,
            {
                "channel": "visual_index",
                "rtstream_id": "rts-3",
                "rtstream_name": "display:1",
                "data": data,
            },
        )


def _said(chance, speech, began, since_ms, until_ms):
    while since_ms < until_ms:
        for event in speech:
            at_ms = since_ms + round((event["unix_ts"] - began) * 1000)
            if at_ms >= until_ms:
                return
            data = dict(event["data"])
            for name in ("start", "end"):
                if name in data:
                    moved = at_ms - round(event["unix_ts"] * 1000)
                    is_unix_ms = data[name] > 1e11
                    data[name] = int(data[name] + moved) if is_unix_ms else data[name]
            yield (
                at_ms,
                {
                    "channel": event["channel"],
                    "rtstream_id": "rts-1",
                    "rtstream_name": "mic:default",
                    "data": data,
                },
            )
        since_ms += _LENGTH_MS + chance.randrange(60) * 1000
