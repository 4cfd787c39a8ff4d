"""Every known shape of an event, and every unknown one, becomes one row of the same columns."""

import json
import math
import random
import re
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from support import samples
from support.databases import search, search_as_of_many
from support.effort import examples

from vdbevents.events import fields
from vdbevents.events.window_names import APP_PATHS, WINDOW_PATHS, window_of
from vdbevents.query.cache import build
from vdbevents.query.filters import Event, Filters
from vdbevents.query.older import Older
from vdbevents.query.sieve import Sieve
from vdbevents.query.tail_search import search_tail
from vdbevents.times import Window

SMALL = -3e10
LARGE = 2.5e11


def fold(directory, *lines):
    """Return the events of a journal of `lines`, each an object or text, in the file's order."""
    journal = directory / "journal.jsonl"
    texts = [text if isinstance(text, str) else json.dumps(text) for text in lines]
    journal.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return events_of(journal)


def events_of(journal):
    """Return the events of a journal, which are the same whether it counts as one of few or of many lines."""
    read = []
    for searching in (search_as_of_many, search):
        with searching(journal, Filters(interim=True)) as answer:
            read.append([event for batch in answer.events() for event in batch])
            if answer.count > 1000:
                break
    assert read[0] == read[-1]
    return read[0]


def folded(directory, line):
    """Return the columns of one line that are not empty, but for the line itself."""
    [event] = fold(directory, line)
    return {name: value for name, value in event._asdict().items() if value is not None and name != "line"}


def folded_each(directory, *lines):
    """Return what `folded` does of each line, in the order given: one search costs what a single one does."""
    journal = directory / "journal.jsonl"
    texts = [text if isinstance(text, str) else json.dumps(text) for text in lines]
    assert len(set(texts)) == len(texts)
    journal.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    with search(journal, Filters(interim=True)) as answer:
        found = [text for batch in answer.lines() for text in batch]
    events = [event._asdict() for event in events_of(journal)]
    of_line = dict(zip(found, events, strict=True))
    return [
        {name: value for name, value in of_line[text].items() if value is not None and name != "line"}
        for text in texts
    ]


# -- A straightforward reference -------------------------------------------------------------------------


def at(event, path):
    for name in path.split("."):
        event = event.get(name) if isinstance(event, dict) else None
    return event


def plain(value):
    """A value as DuckDB's `->>` has it."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def first(event, *paths):
    return next((plain(at(event, path)) for path in paths if at(event, path) is not None), None)


def number(text):
    try:
        value = float(text) if text is not None and re.fullmatch(r"[-0-9.eE+]+", text) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def seconds_ms(value):
    return None if value is None or not SMALL <= value <= LARGE else math.floor(value * 1000 + 0.5)


def iso_ms(text):
    form = r"[1-8]\d{3}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?([Zz]|[+-][01]\d(:?\d\d)?)?"
    if text is None or not re.fullmatch(form, text, re.ASCII):
        return None
    try:
        moment = datetime.fromisoformat(text.upper().replace(",", "."))
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return math.floor(moment.timestamp() * 1000 + 0.5)


def moment_ms(text):
    value = number(text)
    if value is not None and abs(value) >= 1e11:
        size = abs(value)
        value /= 1e3 if size <= 2.5e14 else 1e6 if size <= 2.5e17 else 1e9
    by_number = seconds_ms(value)
    return iso_ms(text) if by_number is None else by_number


def source(*names):
    for name in names:
        words = re.findall(r"[A-Za-z]+", name or "")
        words = [word.lower() for word in words]
        for device, signs in (
            ("mic", ["mic", "microphone"]),
            ("system_audio", [["system", "audio"]]),
            ("camera", ["camera"]),
            ("screen", ["display", "screen"]),
        ):
            if any(sign in words or sign in map(list, pairwise(words)) for sign in signs):
                return device
    return None


def reference(event):
    names = [at(event, name) for name in ("channel", "type", "event_type", "event")]
    names = [name if isinstance(name, str) and name else None for name in names]
    kind = next((name for name in names if name is not None), None)
    if kind is not None and kind.startswith("capture_session."):
        kind = "capture_session"
    channel = {"scene_index": "visual_index", "spoken_index": "audio_index"}.get(kind, kind)
    label = first(event, "data.event_label", "data.label", "label")
    if kind is None and label is not None and at(event, "event_id") is not None:
        channel = "alert"
    happened = next((name for name in names[:0:-1] if name is not None and name != kind), None)
    stream = first(event, "rtstream_id", "rtstreamId", "data.rtstream_id", "data.rtstreamId")
    names = ("rtstream_name", "rtstreamName", "data.rtstream_name", "data.rtstreamName")
    stream_name = first(event, *names, "channel_id", "data.channel_id")
    final = first(event, "data.is_final", "data.isFinal", "is_final", "isFinal")
    clocks = ("time", "timestamp", "@timestamp", "__REALTIME_TIMESTAMP", "timeUnixNano")
    times = [moment_ms(first(event, *names)) for names in (("unix_ts",), ("ts",), clocks)]
    sure = number(first(event, "data.confidence", "confidence"))
    begin = ("start", "startMs", "start_ms", "start_time", "timestamp")
    finish = ("end", "endMs", "end_ms", "end_time")
    return {
        "time_ms": next((moment for moment in times if moment is not None), None),
        "channel": channel,
        "event": happened,
        "source": source(stream_name, stream),
        "stream": stream,
        "stream_name": stream_name,
        "session": first(
            event, "capture_session_id", "session_id", "data.capture_session_id", "data.session_id"
        ),
        "text": text_of(event, channel, happened),
        "is_final": {"true": True, "false": False}.get(final),
        "start_ms": moment_ms(first(event, *(f"data.{name}" for name in begin), *begin)),
        "end_ms": moment_ms(first(event, *(f"data.{name}" for name in finish), *finish)),
        "label": happened if label is None else label,
        "speaker": first(event, "data.speaker", "speaker"),
        "confidence": sure,
        "window_name": window_of(event),
    }


def text_of(event, channel, happened):
    names = ("text", "description", "explanation")
    paths = [*(path for name in names for path in (f"data.{name}", name)), "raw"]
    texts = [plain(at(event, path)) for path in paths if at(event, path) is not None]
    if texts:
        return next((text for text in texts if text.strip()), texts[0])
    rest = plain(at(event, "data"))
    rest = None if rest in ("", "{}") else rest
    if channel == "capture_session":
        step = (happened or "").split(".")[1:2]
        state = first(event, "status", "data.status") or (step[0] if step and step[0] else None)
        parts = [] if state is None else [state]
        if state == "failed":
            errors = ("data.error.message", "data.error", "data.message", "error.message", "error")
            reason = first(event, *errors)
            parts += [rest] if reason is None and rest is not None else [reason] if reason is not None else []
        if state == "exported":
            ids = ("data.exported_video_id", "data.video_id", "exported_video_id", "video_id")
            urls = [first(event, f"data.{name}", name) for name in ("stream_url", "player_url")]
            video = ", ".join(value for value in (first(event, *ids), *urls) if value is not None)
            parts += [video] if video else []
        return ": ".join(parts) or None
    if channel == "capture_client":
        errors = ("data.error.message", "data.error", "data.message", "error.message", "error")
        if reason := first(event, *errors):
            code = first(event, "data.code")
            return reason if code is None else f"{reason} ({code})"
        return rest
    if channel == "vdbevents" or isinstance(at(event, "data"), str):
        return rest
    return None


# -- The known shapes ------------------------------------------------------------------------------------

HEAD = {"ts": "2026-03-02T10:15:30.123Z", "unix_ts": 1772446530.123}
MIC = {"rtstream_id": "rts-1", "rtstream_name": "mic:default"}
ON_MIC = {"stream": "rts-1", "stream_name": "mic:default", "source": "mic"}
SAID = {"text": "hi", "is_final": True, "start": 1710000001234, "end": 1710000002345}
TOLD = {"text": "hi", "is_final": True, "start_ms": 1710000001234, "end_ms": 1710000002345}
ALERT = {"channel": "alert", "label": "slack_opened"}
LIFECYCLE = "capture_session."

SHAPES = {
    "transcript": (
        {"channel": "transcript", **MIC, "data": SAID},
        {"channel": "transcript", **ON_MIC, **TOLD},
    ),
    "transcript at the top": (
        {
            "type": "transcript",
            "rtstreamId": "rts-1",
            "rtstreamName": "mic:default",
            "text": "hi",
            "isFinal": True,
            "startMs": 1710000001234,
            "endMs": 1710000002345,
            "speaker": "A",
            "confidence": 0.5,
        },
        {"channel": "transcript", **ON_MIC, **TOLD, "speaker": "A", "confidence": 0.5},
    ),
    "transcript, interim, in seconds": (
        {
            "event_type": "transcript",
            "data": {"text": "h", "is_final": False, "start": 1710000001.25, "end": 2},
        },
        {"channel": "transcript", "text": "h", "is_final": False, "start_ms": 1710000001250, "end_ms": 2000},
    ),
    "scene index": (
        {"channel": "scene_index", "rtstream_name": "display:1", "data": {"description": "Slack"}},
        {"channel": "visual_index", "source": "screen", "stream_name": "display:1", "text": "Slack"},
    ),
    "visual index whose text is a document": (
        {
            "type": "visual_index",
            "rtstream_name": "screen:1",
            "data": {"text": {"app": "Slack", "unread": [1]}},
        },
        {
            "channel": "visual_index",
            "source": "screen",
            "stream_name": "screen:1",
            "text": '{"app":"Slack","unread":[1]}',
            "window_name": "Slack",
        },
    ),
    "spoken index": (
        {"event": "spoken_index", "data": {"text": "about it"}},
        {"channel": "audio_index", "text": "about it"},
    ),
    "lifecycle without a channel": (
        {"event": "capture_session.active", "capture_session_id": "cap-1", "status": "active", "data": {}},
        {
            "channel": "capture_session",
            "event": f"{LIFECYCLE}active",
            "label": f"{LIFECYCLE}active",
            "session": "cap-1",
            "text": "active",
        },
    ),
    "lifecycle as a type, its status in data": (
        {"type": "capture_session.stopped", "session_id": "cap-1", "data": {"status": "stopped"}},
        {
            "channel": "capture_session",
            "event": f"{LIFECYCLE}stopped",
            "label": f"{LIFECYCLE}stopped",
            "session": "cap-1",
            "text": "stopped",
        },
    ),
    "lifecycle without a status": (
        {"channel": "capture_session", "event": "capture_session.exported", "data": {"video_id": "v-1"}},
        {
            "channel": "capture_session",
            "event": f"{LIFECYCLE}exported",
            "label": f"{LIFECYCLE}exported",
            "text": "exported: v-1",
        },
    ),
    "alert over the WebSocket": (
        {
            "channel": "alert",
            "data": {"event_label": "slack_opened", "timestamp": 1710000001234, "text": "Opened"},
        },
        {**ALERT, "text": "Opened", "start_ms": 1710000001234},
    ),
    "alert with a confidence": (
        {"channel": "alert", "data": {"label": "slack_opened", "confidence": 1, "start": 1, "end": 2.5}},
        {**ALERT, "confidence": 1.0, "start_ms": 1000, "end_ms": 2500},
    ),
    "alert as a webhook has it": (
        {
            "event_id": "e-1",
            "label": "slack_opened",
            "confidence": 0.9,
            "explanation": "Opened",
            "timestamp": "2026-03-02T10:15:30+01:00",
        },
        {**ALERT, "text": "Opened", "confidence": 0.9, "start_ms": 1772442930000},
    ),
    "alert as a webhook has it, with times in seconds": (
        {"event_id": "e-1", "label": "slack_opened", "start_time": 1.5, "end_time": 3},
        {**ALERT, "start_ms": 1500, "end_ms": 3000},
    ),
    "the recorder's own": (
        {"channel": "vdbevents", "event": "listener.gap", "data": {"seconds": 5, "reason": "gone"}},
        {
            "channel": "vdbevents",
            "event": "listener.gap",
            "label": "listener.gap",
            "text": '{"seconds":5,"reason":"gone"}',
        },
    ),
    "init": ({"connection_id": "c-1"}, {}),
    "no JSON": ({"raw": "hello"}, {"text": "hello"}),
    "no text": ({"raw_base64": "/w=="}, {}),
    "unknown": (
        {"channel": "weather", "event": "rain", "data": "soon"},
        {"channel": "weather", "event": "rain", "label": "rain", "text": "soon"},
    ),
}


def test_each_known_shape_is_folded(tmp_path):
    messages = [HEAD | message for message, _ in SHAPES.values()]
    columns = dict(zip(SHAPES, folded_each(tmp_path, *messages), strict=True))

    assert columns == {name: {"time_ms": 1772446530123, **expected} for name, (_, expected) in SHAPES.items()}
    known = map(reference, messages)
    assert [*columns.values()] == [
        {name: value for name, value in row.items() if value is not None} for row in known
    ]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"error": "no disk"}, "failed: no disk"),
        ({"error": {"code": 5, "message": "no disk"}}, "failed: no disk"),
        ({"error": {"code": 5}}, 'failed: {"code":5}'),
        ({"message": "no disk"}, "failed: no disk"),
        ({"code": 5}, 'failed: {"code":5}'),
        ("no disk", "failed: no disk"),
        ({}, "failed"),
        (None, "failed"),
    ],
)
def test_a_failed_session_says_why(tmp_path, data, text):
    message = {"event": "capture_session.failed", "data": data}
    assert folded(tmp_path, message)["text"] == text


@pytest.mark.parametrize(
    ("event", "data", "text"),
    [
        ("recording:error", {"code": "E_PERM", "message": "Screen denied"}, "Screen denied (E_PERM)"),
        ("recording:error", {"error": {"message": "no disk"}}, "no disk"),
        ("error", {"error": "", "payload": 5}, '{"error":"","payload":5}'),
        ("upload:progress", {"percent": 40}, '{"percent":40}'),
        ("runtime:ended", {"code": 1}, '{"code":1}'),
        ("transcript", {"text": "hello", "error": "no"}, "hello"),
        ("recording:started", {}, None),
    ],
)
def test_what_the_runtime_says_is_the_text_in_both(tmp_path, event, data, text):
    message = {"channel": "capture_client", "event": event, "data": data}
    assert folded(tmp_path, message).get("text") == text
    assert fields.text_of(message) == (text or "")


def test_an_exported_session_has_the_id_and_the_addresses_of_its_video(tmp_path):
    data = {"exported_video_id": "m-1", "stream_url": "https://a/1.m3u8", "player_url": "https://b/1"}
    message = {"event": "capture_session.exported", "data": data}
    assert folded(tmp_path, message)["text"] == "exported: m-1, https://a/1.m3u8, https://b/1"


STREAMS = [
    *(("mic:default", "mic"), ("Mic", "mic"), ("microphone:2", "mic"), ("Capture mic - cap-83e6", "mic")),
    *(("system_audio:default", "system_audio"), ("Capture system audio - cap-1", "system_audio")),
    *(("display:1", "screen"), ("screen:1", "screen"), ("Capture screen - cap-1", "screen")),
    *(("camera:front", "camera"), ("Capture camera - cap-1", "camera")),
    *(("Alice's screen", "screen"), ("my camera", "camera"), ("main display", "screen")),
    *(("front mic", "mic"), ("mic1", "mic"), ("microphone:1", "mic"), ("screen-1", "screen")),
    *(
        ("display_1", "screen"),
        ("my mic", "mic"),
        ("MICROPHONE", "mic"),
        ("system-audio", "system_audio"),
    ),
    *(
        ("Studio Display Camera", "camera"),
        ("Microphone (HD Camera)", "mic"),
        ("camera:1 screen", "camera"),
    ),
    *(("micro:1", None), ("displays:1", None), ("system:1 audio", "system_audio"), ("audio", None)),
    *(("systemaudio", None), ("dynamic", None), ("m\u0130c", None), ("di\u017fplay", None), ("", None)),
]


def test_a_stream_s_name_or_id_tells_its_source(tmp_path):
    members = ["rtstream_name", "rtstreamName", "channel_id", "rtstream_id"]
    expected = [({member: name}, source) for name, source in STREAMS for member in members]
    messages = [message for message, _ in expected]
    sources = [columns.get("source") for columns in folded_each(tmp_path, *messages)]

    assert list(zip(messages, sources, strict=True)) == expected
    assert [(name, fields.source_named(name)) for name, _ in STREAMS] == STREAMS


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"text": "A", "data": {"description": "B"}}, "A"),
        ({"description": "A", "data": {"explanation": "B"}}, "A"),
        ({"text": "A", "data": {"text": "B"}}, "B"),
        ({"text": " ", "data": {"description": "B"}}, "B"),
        ({"text": " ", "data": {"text": ""}}, ""),
        ({"raw": "\u2003", "explanation": None}, "\u2003"),
        ({"text": {"app": ["Slack", 1, True, None]}, "description": "B"}, '{"app":["Slack",1,true,null]}'),
        ({"text": False, "data": {"text": "\n"}}, "false"),
    ],
)
def test_the_first_text_that_is_not_blank_counts(tmp_path, message, text):
    assert folded(tmp_path, message)["text"] == text
    assert fields.text_of(message) == text.strip()


RECEIVED = [
    ('{"unix_ts":1772446530.123}', 1772446530123),
    ('{"unix_ts":1772446530}', 1772446530000),
    ('{"unix_ts":"1772446530.5"}', 1772446530500),
    ('{"unix_ts":1.7724465305e9}', 1772446530500),
    ('{"unix_ts":1772446530.1236}', 1772446530124),
    ('{"ts":"2026-03-02T10:15:30.123Z"}', 1772446530123),
    ('{"ts":"2026-03-02T11:15:30.123456+01:00"}', 1772446530123),
    ('{"ts":"2026-03-02T10:15:30.1235Z"}', 1772446530124),
    ('{"ts":"1026-03-02T10:15:30.1235Z"}', -29784548669876),
    ('{"ts":"2026-03-02T24:00:00Z"}', None),
    ('{"ts":"2026-03-02 10:15:30"}', 1772446530000),
    ('{"ts":"2026-03-02T10:15Z","unix_ts":null}', 1772446500000),
    ('{"ts":"2026-03-02T10:15:30Z","unix_ts":1772446530123}', 1772446530123),
    ('{"ts":"2026-03-02T10:15:30Z","unix_ts":1e400}', 1772446530000),
    ('{"ts":"2026-03-02T10:15:30Z","unix_ts":{}}', 1772446530000),
    ('{"ts":"2026-02-30T10:15:30Z"}', None),
    ('{"ts":"infinity","unix_ts":true}', None),
    ('{"ts":5}', 5000),
    # As other programs write it: pino, zap, Docker, journald, Slack, OpenTelemetry, Logstash, Python.
    ('{"level":30,"time":1772446530123,"msg":"x"}', 1772446530123),
    ('{"level":"info","ts":1772446530.123,"msg":"x"}', 1772446530123),
    ('{"log":"x","time":"2026-03-02T10:15:30.123456789Z"}', 1772446530123),
    ('{"__REALTIME_TIMESTAMP":"1772446530123456","MESSAGE":"x"}', 1772446530123),
    ('{"type":"message","ts":"1772446530.123456","user":"U1"}', 1772446530123),
    ('{"timeUnixNano":"1772446530123456789","body":{"stringValue":"x"}}', 1772446530123),
    ('{"@timestamp":"2026-03-02T10:15:30.123Z","message":"x"}', 1772446530123),
    ('{"timestamp":"2026-03-02 10:15:30,123","message":"x"}', 1772446530123),
    ('{"unix_ts":1772446530123456}', 1772446530123),
    ('{"unix_ts":"no","ts":null,"time":"2026-03-02T10:15:30Z"}', 1772446530000),
    ('{"ts":"no","time":null,"@timestamp":1772446530}', 1772446530000),
    ('{"ts":"no","time":"no","@timestamp":1772446530}', None),
    ('{"unix_ts":1e21}', None),
    ("{}", None),
]


def test_the_time_of_receipt_is_unix_ts_else_ts_else_that_of_another_program_else_none(tmp_path):
    lines = [line for line, _ in RECEIVED]
    found = folded_each(tmp_path, *lines)
    assert [(line, columns.get("time_ms")) for line, columns in zip(lines, found, strict=True)] == RECEIVED


TWICE = [
    ('{"text":"one","text":"two"}', {"text": "two"}),
    (r'{"text":"one","te\u0078t":"two"}', {"text": "two"}),
    (r'{"te\u0078t":"one","text":"two"}', {"text": "two"}),
    ('{"text":"one" , "text" :"two"}', {"text": "two"}),
    ('{"text":"one","text":null}', {}),
    ('{"text":"\\ud83d one","text":"\\ud83d two"}', {"text": "\ufffd two"}),
    ('{"unix_ts":1,"unix_ts":1772446530.120,"text":"a"}', {"time_ms": 1772446530120, "text": "a"}),
    ('{"channel":"alert","channel":"transcript"}', {"channel": "transcript"}),
    ('{"data":{"text":"one","start":5},"data":{"end":7}}', {"end_ms": 7000}),
    ('{"data":{"text":"one","start":5,"text":"two","start":6}}', {"text": "two", "start_ms": 6000}),
    # The same name elsewhere is another member.
    ('{"text":"one","data":{"text":"two"},"more":{"text":"three"}}', {"text": "two"}),
    (r'{"text":"\"text\":1,\"text\":2"}', {"text": '"text":1,"text":2'}),
    ('{"channel":"vdbevents","data":{"a":1,"a":2}}', {"channel": "vdbevents", "text": '{"a":1,"a":2}'}),
]


def test_of_a_member_that_stands_twice_the_last_counts(tmp_path):
    assert folded_each(tmp_path, *(line for line, _ in TWICE)) == [columns for _, columns in TWICE]


def test_a_line_with_a_member_twice_is_printed_as_it_is_written(tmp_path):
    journal = tmp_path / "journal.jsonl"
    lines = ['{"ts":"2026","unix_ts":1772446530.5,"text":"one"}', '{"text":"one","b":0.10,"text":"two"}']
    journal.write_text("".join(f"{line}\n" for line in lines))
    for searching in (search, search_as_of_many):
        for word, found in (("one", lines[:1]), ("two", lines[1:])):
            with searching(journal, Filters(grep=(word,))) as answer:
                assert [line for batch in answer.lines() for line in batch] == found


def test_a_sealed_line_is_read_as_one_that_is_not_sealed(tmp_path):
    journal = tmp_path / "journal.jsonl"
    lines = [line for line, _ in TWICE] + [f'{{"data":{{"text":{written}}}}}' for written in WRITTEN]
    journal.write_text("".join(f"{line}\n" for line in lines))
    cache = build.seal(journal, tmp_path / "cache", to_end=True)
    with (
        search(journal, Filters(interim=True)) as read,
        search(journal, Filters(interim=True), cache) as sealed,
    ):
        assert list(sealed.events()) == list(read.events())
        assert list(sealed.lines()) == list(read.lines())
        assert (sealed.sealed_bytes, read.sealed_bytes) == (cache.end, 0)


def test_a_followed_line_is_read_as_a_searched_one_and_given_as_it_is_written(tmp_path):
    lines = [line for line, _ in TWICE]
    with Sieve(Filters(interim=True), Event._fields) as sieve:
        events, skipped = sieve.sift([line.encode() for line in lines])
    expected = [columns.get("text") for columns in folded_each(tmp_path, *lines)]
    assert ([event.line for event in events], skipped) == (lines, 0)
    assert [event.text for event in events] == expected


def test_the_last_time_of_receipt_may_be_in_the_window(tmp_path):
    journal = tmp_path / "journal.jsonl"
    line = '{"ts":"2026-03-02T10:15:30.000Z","unix_ts":1772446530.000,"text":"a","unix_ts":1772500000}'
    journal.write_text(f"{line}\n")
    window = Window(1772499000_000, 1772501000_000)
    with search(journal, Filters(window=window)) as answer:
        assert answer.count == 1
    assert search_tail(journal, Filters(window=window), None, Older()) is None


WRITTEN = [
    *('{"a":1E5,"b":0.10,"c":12345678901234567890123}', "[1.50]", "1e400", "-0", "1.0", '{"a":[1,2.25]}'),
    *('{"say":"1E5 \\"or\\" 0.10"}', '{"a":{"b":-0,"c":[true,null,""]}}', "12345678901234567.25"),
]


def test_numbers_of_a_text_stay_as_they_are_written_also_where_it_is_an_object(tmp_path):
    lines = [
        *(json.dumps({"text": written}) for written in WRITTEN),
        *(f'{{"data":{{"text":{written},"start":1772446530120}}}}' for written in WRITTEN),
        *(f'{{"label":{written}}}' for written in WRITTEN),
    ]
    columns = folded_each(tmp_path, *lines)
    assert [of.get("text", of.get("label")) for of in columns] == 3 * WRITTEN


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\ud800", "\ufffd"),
        (r"\uDC00 \ud83d\ude00", "\ufffd 😀"),
        (r"\ud83d\ud83d\ude00\ude00", "\ufffd😀\ufffd"),
        (r"\\ud800 \ud800", "\\ud800 \ufffd"),
        (r"\\\ud800\\", "\\\ufffd\\"),
        (r"\ud800\n\"\u0041\ud800", '\ufffd\n"A\ufffd'),
    ],
)
def test_half_a_surrogate_pair_is_shown_as_a_replacement_character(tmp_path, written, read):
    line = '{"text":"' + written + '"}'
    [event] = fold(tmp_path, line)
    assert event.text == read
    assert event.line is None


# -- Any shape -------------------------------------------------------------------------------------------

words = samples.sampled_from(
    [
        *("", "transcript", "scene_index", "alert", "mic:1", "Ü\n", "a.b"),
        *("capture_session.failed", "capture_session.exported", "exported"),
    ]
)
times = samples.sampled_from(
    [0, 5, 1710000001234, 1710000001.5, -1, 10**13, "2026-03-02T10:15:30Z", "1e400", "12"]
)
scalars = (
    words | times | samples.sampled_from([None, True, False, "true", {}, [], {"message": "m"}, [1, "x"]])
)
NAMES = [
    *("text", "description", "explanation", "status", "error", "message", "is_final", "isFinal", "speaker"),
    *("start", "startMs", "start_time", "timestamp", "end", "endMs", "end_time", "label", "event_label"),
    *("confidence", "rtstream_id", "rtstreamName", "channel_id", "session_id", "raw", "event_id"),
    *("code", "video_id", "exported_video_id", "player_url"),
]
members = samples.dictionaries(samples.sampled_from(NAMES), scalars, max_size=6)
heads = samples.fixed_dictionaries(
    {},
    optional={
        "ts": times,
        "unix_ts": times,
        "channel": scalars | samples.sampled_from(["capture_session", "vdbevents", "capture_client"]),
        "type": scalars,
        "event_type": words,
        "event": words,
    },
)
messages = samples.builds(
    lambda head, top, data: head | top | data,
    heads,
    members,
    samples.just({}) | samples.builds(lambda data: {"data": data}, scalars | members),
)


def wrong(events, found, expected):
    """Return the events that are not found as expected, with what is and what should be."""
    compared = zip(events, found, expected, strict=True)
    return [
        (event, is_found, is_expected) for event, is_found, is_expected in compared if is_found != is_expected
    ]


def test_whatever_an_event_looks_like_it_is_folded_as_the_reference_does(tmp_path):
    def key(pair):
        return (pair[1]["time_ms"] is not None, pair[1]["time_ms"] or 0)

    events = messages.many(examples(3000))
    lines = [json.dumps(event, ensure_ascii=False) for event in events]
    expected = [
        Event(**columns, line=None if columns["text"] is not None or columns["label"] else line)
        for line, columns in sorted(zip(lines, map(reference, events), strict=True), key=key)
    ]
    assert wrong(expected, fold(tmp_path, *lines), expected) == []


pairs = samples.lists(
    samples.tuples(samples.sampled_from([*NAMES, "data", "channel", "unix_ts", "ts"]), scalars)
)


def written_as_pairs(members):
    return ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in members)


def test_with_members_that_stand_twice_a_line_is_read_as_python_reads_it(tmp_path):
    lines = []
    for row, (some, others) in enumerate(samples.tuples(pairs, pairs).many(examples(900))):
        stamps = ("ts", "2026"), ("unix_ts", 1772446530 + row)
        lines.append(f'{{{written_as_pairs((*stamps, *some))},"data":{{{written_as_pairs(others)}}}}}')
    found, expected = fold(tmp_path, *lines), fold(tmp_path, *map(json.loads, lines))
    without_lines = ([event._replace(line=None) for event in events] for events in (found, expected))
    assert wrong(lines, *without_lines) == []


# -- One rule in Python and in SQL -----------------------------------------------------------------------

NAMED = ["mic", "Microphone", "system", "audio", "display", "SCREEN", "camera", "my", "1", "-", ":", "_", "é"]
stream_names = samples.lists(samples.sampled_from(NAMED), min_size=1, max_size=4).flatmap(
    lambda words: samples.sampled_from(["", " ", "_", ":"]).map(lambda between: between.join(words))
)
kinds = samples.sampled_from(
    [
        "",
        "transcript",
        "scene_index",
        "spoken_index",
        "capture_session.active",
        "alert",
        "capture_client",
        None,
        5,
    ]
)
simple = samples.sampled_from(
    [None, "", " ", "A", "b\u2003", 5, 0, True, False, "false", ["x", {"y": 1}], {}]
)
# Where the unit of a number changes.
BOUNDS = samples.sampled_from([int(most) + more for _, most, _ in fields.NUMBERS for more in (0, 1)])
moments = (
    times
    | BOUNDS
    | samples.none()
    | samples.integers(-(10**12), 10**12)
    | samples.just("2026-03-02 10:15:30.1235+01:00")
)
finals = samples.sampled_from([True, False, None, "true", "false", 0])


def under(member, values):
    """Values for the names of one member, beside `data` and in it."""
    names = [path.removeprefix("data.") for path in member.paths]
    return dict.fromkeys(names, values)


KNOWN = {
    **under(fields.TEXT, simple),
    **under(fields.STREAM, simple | stream_names),
    **under(fields.STREAM_NAME, simple | stream_names),
    **under(fields.SESSION, simple),
    **under(fields.START, moments),
    **under(fields.END, moments),
    **under(fields.FINAL, finals),
    **under(fields.LABEL, simple),
    **dict.fromkeys(("event_id", "error", "message", "code"), simple),
}
known = samples.fixed_dictionaries({}, optional=KNOWN)
any_event = samples.builds(
    lambda head, top, data: {**top, **data, **head},
    samples.fixed_dictionaries({}, optional=dict.fromkeys(fields.KIND_KEYS, kinds | simple)),
    known,
    samples.fixed_dictionaries({}, optional={"data": known | simple}),
)


def test_python_and_sql_read_the_same_from_any_event(tmp_path):
    events = any_event.many(examples(3000))
    found = fold(tmp_path, *({"unix_ts": number, **event} for number, event in enumerate(events)))
    assert wrong(events, map(shown_in, events, found), map(known_of, events)) == []


def is_shown_without_text(event):
    """Return whether a query shows the status or the data of an event that has no text."""
    holds_text = isinstance(event.get("data"), str) and fields.channel_of(event) != fields.RUNTIME_CHANNEL
    return fields.TEXT.value_in(event) is None and (
        holds_text or fields.channel_of(event) == "capture_session"
    )


def shown_in(event, row):
    text = "" if is_shown_without_text(event) or row.text is None else row.text
    if fields.TEXT.value_in(event) is not None and not text.strip():
        text = ""
    texts = (row.stream or "", row.stream_name or "", row.session or "", text)
    return (row.channel or "unknown", row.source, row.start_ms, row.end_ms, row.is_final is False, *texts)


def known_of(event):
    texts = (fields.stream_id_of(event), fields.STREAM_NAME.text_in(event), fields.SESSION.text_in(event))
    times = (*fields.span_of(event), fields.is_interim(event))
    return (fields.channel_of(event), fields.source_of(event), *times, *texts, fields.text_of(event))


stamps = (
    times
    | BOUNDS
    | samples.none()
    | samples.floats(-1e22, 1e22)
    | samples.integers(-(10**21), 10**21)
    | samples.integers(10**9, 10**20).map(str)
    | samples.sampled_from(
        ["2026-03-02 10:15:30,1235", "2026-03-02T10:15:30.123456789+01:00", "no", True, [], 5]
    )
)
stamped = samples.fixed_dictionaries(
    {}, optional={path: stamps for of in fields.RECEIPT for path in of.paths}
)


def test_python_and_sql_read_the_same_time_of_receipt(tmp_path):
    events = stamped.many(examples(3000))
    lines = [json.dumps({**event, "n": number}) for number, event in enumerate(events)]
    found = [columns.get("time_ms") for columns in folded_each(tmp_path, *lines)]
    assert wrong(events, found, map(fields.received_ms, events)) == []


# -- The window or app that a description names ----------------------------------------------------------

WINDOW_PIECES = [
    "a",
    "Slack",
    "[",
    "]",
    " ",
    "\n",
    "\t",
    " - ",
    "10:15",
    "info",
    "É",
    "½",
    "\u2003",
    "_",
    "x" * 150,
    "y" * 50,
]
window_texts = samples.lists(samples.sampled_from(WINDOW_PIECES), max_size=6).map("".join)
window_values = window_texts | samples.sampled_from(
    [None, 5, 1e5, True, ["a"], {"title": "A"}, {"name": " ", "app": "S"}]
)
documents = samples.dictionaries(
    samples.sampled_from([path for path in (*WINDOW_PATHS, *APP_PATHS, "title", "text") if "." not in path]),
    window_values,
    max_size=4,
)
in_brackets = samples.tuples(window_texts, window_texts).map(lambda texts: f"[{texts[0]}] {texts[1]}")
descriptions = window_texts | in_brackets | documents | samples.builds(
    lambda document, head, indent, tail: head + json.dumps(document, indent=indent) + tail,
    documents,
    samples.sampled_from(["", " ", "```json\n", "```", "So: "]),
    samples.sampled_from([None, 1]),
    samples.sampled_from(["", "\n", "\n```", "```\n", "."]),
)  # fmt: skip
described = samples.builds(
    lambda kind, beside, data, text: {**beside, "channel": kind, "data": {**data, "text": text}},
    samples.sampled_from(["visual_index", "visual_index", "scene_index", "transcript", "alert"]),
    samples.just({}) | documents,
    samples.just({}) | documents,
    descriptions,
)


def test_python_and_sql_find_the_same_window(tmp_path):
    events = described.many(examples(5000))
    found = fold(tmp_path, *({"unix_ts": number, **event} for number, event in enumerate(events)))

    assert wrong(events, [row.window_name for row in found], map(window_of, events)) == []


# -- Few lines and many ---------------------------------------------------------------------------------


def line_of(row, event):
    """Return a line as a recorder writes it, or as another program does; with usual times or any."""
    moment = f'"unix_ts":{1772446530 + row}.120,'
    if row % 2:
        event = {name: 1772446530120 if "tart" in name else value for name, value in event.items()}
    return (f'{{"ts":"2026",{moment}' if row % 3 else f"{{{moment}") + json.dumps({**event, "row": row})[1:]


@pytest.mark.long
def test_a_few_lines_are_read_as_they_are_among_many(tmp_path):
    journal, group = tmp_path / "many.jsonl", tmp_path / "few.jsonl"
    lines = [
        line_of(row, event)
        for row, event in enumerate((messages | any_event | described | stamped).many(examples(150)))
    ]
    journal.write_text("".join(f"{line}\n" for line in lines))
    with search_as_of_many(journal, Filters(interim=True)) as answer:
        shown = [line for batch in answer.lines() for line in batch]
        among_many = dict(zip(shown, (event for batch in answer for event in batch), strict=True))
    while lines:
        size = random.randint(1, 5)
        some, lines = lines[:size], lines[size:]
        group.write_text("".join(f"{line}\n" for line in some))
        with search(group, Filters(interim=True)) as answer:
            shown = [line for batch in answer.lines() for line in batch]
            found = [event for batch in answer for event in batch]
        assert wrong(shown, found, [among_many[line] for line in shown]) == []
