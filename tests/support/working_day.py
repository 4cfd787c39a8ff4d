"""A made working day, with what people say and have on their screens, for pictures and looks at the page."""

import random
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import orjson

from vdbevents.events.envelope import utc_text


class Scene(NamedTuple):
    """A part of the day: when, in minutes since midnight, what was on the screens, what was said."""

    begin: int
    minutes: int
    main: str
    second: str
    spoken: tuple[str, ...]
    others: tuple[str, ...] = ()


_MAIL = "[Inbox - Mail] Inbox / Release notes for Thursday / Lunch order / Invoice 2041 approved / 3 unread"
_BOARD = (
    "[Sprint board - Chrome] To do 6 / In progress 3 / Review 2 / Done 14 / checkout timeouts / pool size"
)
_EDITOR = (
    "[pool.py - VS Code] class ConnectionPool: / def acquire(self, timeout: float) -> Connection: / "
    "waiting = self._queue.get(timeout=timeout) / tests passed 48"
)
_DASHBOARD = "[Checkout latency - Grafana] p50 120 ms / p95 310 ms / p99 840 ms / errors 0.02 %"
_DEPLOY = (
    "[deploy - Terminal] deploy checkout 4.18.2 to production / node 1 of 3 ready / node 2 of 3 ready / "
    "node 3 of 3 ready / rollout finished in 3 min 12 s"
)
_CHAT = "[#release - Slack] Mara: canary looks clean after twelve minutes / Jonas: going on with node two"
_SLIDES = "[Roadmap - Slides] Quarter four / Faster checkout / Invoices in three languages / Offline tickets"
_NOTES = "[Notes - Obsidian] Decisions of today / keep the pool at forty / write the summary until Friday"

DAY = (
    Scene(
        *(9 * 60 + 2, 38, _MAIL, _BOARD),
        (
            "Good morning, let me go through the mail first.",
            "The invoice is approved, I answer that one now.",
        ),
    ),
    Scene(
        *(9 * 60 + 45, 17, _BOARD, _CHAT),
        (
            "Yesterday I finished the retry of the queue, today I look at the timeouts.",
            "The review of the pool is still open, could somebody take it?",
            "Nothing blocks me, I only need the new numbers of the dashboard.",
        ),
        (
            "I can take the review after lunch, it is not long.",
            "The customer asked about invoices in French, that is planned for December.",
            "Then we are done, see you at the release.",
        ),
    ),
    Scene(
        *(10 * 60 + 5, 88, _EDITOR, _DASHBOARD), ("Why does it wait here, the pool has forty connections.",)
    ),
    Scene(
        *(13 * 60 + 10, 50, _SLIDES, _NOTES),
        (
            "What do we show first, the checkout or the invoices?",
            "Can we have the figures of October on one page?",
        ),
        (
            "The checkout, because that is what the numbers are about.",
            "I would leave the offline tickets to the next quarter.",
            "Two languages are ready, the third one is in translation.",
        ),
    ),
    Scene(
        *(14 * 60 + 20, 46, _DEPLOY, _DASHBOARD),
        (
            "I start the deploy of the checkout now, version four eighteen two.",
            "Node one is ready, the error rate stays where it was.",
            "The deploy is through, all three nodes are ready.",
            "I watch the latency for ten more minutes and write it down.",
        ),
        (
            "Go ahead, the canary looks clean after twelve minutes.",
            "The latency went down to three hundred milliseconds, nice.",
            "Support sees no new timeouts since the deploy.",
        ),
    ),
    Scene(*(15 * 60 + 20, 95, _EDITOR, _CHAT), ("This test fails only when the clock goes back an hour.",)),
)
GAP = (10 * 60 + 52, 10 * 60 + 58)
PAUSE = (15 * 60 + 50, 16 * 60 + 5)
DEPLOY = 14 * 60 + 20
"""The minute of the day at which the deploy begins."""

_SCREEN_MS, _MINUTE_MS = 8000, 60_000
_STREAMS = {
    "mic": ("rts-1", "mic:default"),
    "system": ("rts-2", "system_audio:default"),
    "main": ("rts-3", "display:1"),
    "second": ("rts-4", "display:2"),
}


def write_working_day(journal, day: datetime):
    """Write the journal of a day, which begins at a time; return its lines."""
    chance = random.Random(11)
    midnight = round(day.timestamp() * 1000)
    rows = [
        row
        for session, scenes in (("cap-morning-1", DAY[:3]), ("cap-afternoon-2", DAY[3:]))
        for row in _session(chance, session, scenes, midnight)
    ]
    lost = [tuple(midnight + minute * _MINUTE_MS for minute in span) for span in (GAP, PAUSE)]
    rows = [row for row in rows if not any(since <= row[0] < until for since, until in lost)]
    rows += [_gap(*lost[0]), *_pause(*lost[1])]
    rows += [_alert(midnight + (DEPLOY + minute) * _MINUTE_MS) for minute in (1, 9, 21)]
    rows.sort(key=lambda row: row[0])
    lines = [orjson.dumps({"ts": utc_text(at), "unix_ts": at / 1000, **event}) for at, event in rows]
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_bytes(b"\n".join([*lines, b""]))
    return lines


def yesterday(now: datetime | None = None):
    """Return yesterday's beginning, in UTC."""
    today = (now or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=1)


def _session(chance, session, scenes, midnight):
    first, last = scenes[0].begin - 1, scenes[-1].begin + scenes[-1].minutes + 1
    for minute, status in ((first, "created"), (first, "active"), (last, "stopping"), (last, "stopped")):
        step = {"event": f"capture_session.{status}", "capture_session_id": session, "status": status}
        yield midnight + minute * _MINUTE_MS, {**step, "data": {}}
    for scene in scenes:
        since = midnight + scene.begin * _MINUTE_MS
        until = since + scene.minutes * _MINUTE_MS
        for stream, text in (("main", scene.main), ("second", scene.second)):
            yield from _shown(chance, stream, text, since, until)
        yield from _said(chance, scene, since, until)


def _shown(chance, stream, text, since, until):
    for at in range(since + _SCREEN_MS, until, _SCREEN_MS):
        words = text.split(" ")
        words[chance.randrange(3, len(words))] += chance.choice(("", "", ".", ","))
        yield at, _event("visual_index", stream, " ".join(words), at - _SCREEN_MS, at)


def _said(chance, scene, since, until):
    at, number = since + 4000, 0
    spoken = [("mic", text) for text in scene.spoken] + [("system", text) for text in scene.others]
    while at < until - 10_000:
        if number % len(spoken) == 0 and number:
            chance.shuffle(spoken)
        stream, text = spoken[number % len(spoken)]
        end = at + 330 * len(text.split(" ")) + 400
        yield end, _event("transcript", stream, text, at, end, is_final=True)
        busy = len(spoken) > 2
        at, number = end + chance.randrange(2000, 14_000 if busy else 240_000), number + 1


def _event(channel, stream, text, start, end, **more):
    number, name = _STREAMS[stream]
    data = {"text": text, **more, "start": start, "end": end}
    return {"channel": channel, "rtstream_id": number, "rtstream_name": name, "data": data}


def _alert(at):
    data = {"event_label": "deploy", "timestamp": at, "text": "A deployment is mentioned"}
    return at, {"channel": "alert", "rtstream_id": "rts-1", "data": data}


def _own(at, event, data):
    return at, {"channel": "vdbevents", "event": event, "data": data}


def _gap(since, until):
    data = {
        "id": "gap-5f1d9c20a7e3",
        "since": utc_text(since),
        "until": utc_text(until),
        "seconds": (until - since) / 1000,
        "reason": "the network was down",
        "status": "open",
    }
    return _own(until, "listener.gap", data)


def _pause(since, until):
    data = {"id": "pause-1", "since": utc_text(since), "until": utc_text(until)}
    return _own(since, "listener.paused", data), _own(until, "listener.resumed", data)
