"""Random journals and filters, for properties of searching."""

import json
from datetime import UTC, datetime

from hypothesis import strategies as st

from vdbevents.query.filters import Filters
from vdbevents.times import Window

AT = 1772446530123


def line(at_ms=AT, **members):
    stamp = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    head = f'{{"ts":"{stamp}.{at_ms % 1000:03d}Z","unix_ts":{at_ms // 1000}.{at_ms % 1000:03d}'
    return head + "," + json.dumps(members, separators=(",", ":"))[1:]


def said(text, at_ms=AT, *, final=True, start=None, end=None, stream="rts-1", **others):
    data = {"text": text, "is_final": final, "start": start, "end": end}
    data = {name: value for name, value in data.items() if value is not None}
    return line(at_ms, channel="transcript", rtstream_id=stream, data=data, **others)


STEPS = st.integers(0, 8).map(lambda step: AT + step * 500)
TEXTS = st.sampled_from(["one", "two", "One two", "", "it's", "\ud83d"])
transcripts = st.builds(
    lambda at, stream, final, text, start, length, fetched: said(
        text,
        at,
        stream=stream,
        final=final and True if fetched else final,
        start=start,
        end=None if start is None else start + length,
        **({"backfilled": True} if fetched else {}),
    ),
    STEPS,
    st.sampled_from(["rts-1", "rts-1", "rts-2", "rts-3", None]),
    st.sampled_from([True, True, False, False, None]),
    TEXTS,
    st.none() | STEPS | STEPS.map(lambda ms: ms / 1000),
    st.sampled_from([0, 500, 2500]),
    st.sampled_from([False, False, True]),
)
timeless = transcripts.map(lambda text: "{" + text[text.index('"channel"') :])
lifecycle = st.builds(
    lambda at, step, session, streams, fetched: line(
        at, channel="capture_session", event=f"capture_session.{step}", capture_session_id=session,
        data={"rtstreams": [{"rtstream_id": stream} for stream in streams]},
        **({"backfilled": True} if fetched else {}),
    ),
    STEPS, st.sampled_from(["active", "stopped"]), st.sampled_from(["cap-1", "cap-2"]),
    st.sampled_from([[], [], ["rts-1"], ["rts-2", "rts-3"]]), st.booleans(),
)  # fmt: skip
scenes = st.builds(
    lambda at, text, start, fetched: line(
        at, channel="scene_index", rtstream_id="rts-2", data={"description": text, "start": start},
        **({"backfilled": True} if fetched else {}),
    ),
    STEPS, TEXTS, STEPS, st.booleans(),
)  # fmt: skip
ours = st.builds(
    lambda at, name, status: line(
        at, channel="vdbevents", event="listener.gap",
        data={"id": name, "since": AT, "until": AT + 9, "status": status},
    ),
    STEPS, st.sampled_from(["gap-1", "gap-2"]), st.sampled_from(["open", "recovered"]),
)  # fmt: skip
damaged = st.sampled_from(
    [
        b"",
        b" ",
        b"{",
        b"{one}",
        b"[1]",
        b'{"torn":',
        b"\xff",
        b'{"a":"\xfe"}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"{}\x00{}",
        b"{}",
        said("one").encode() + b"\r",
        said("cut").encode() + b"\x00rest",
        b"\x00" + said("lost").encode(),
        b"x" * 3000,
        line(AT + 500, channel="alert").encode()[:-1] + b"!}",
        b'\xef\xbb\xbf{"unix_ts":1,"a":2}',
        said("one").encode() + b"\r" + said("two").encode(),
    ]
)
journals = st.lists(
    transcripts | transcripts | transcripts | scenes | lifecycle | timeless | ours | damaged,
    min_size=15,
    max_size=45,
)
filters = st.builds(
    Filters,
    window=st.builds(Window, st.none() | STEPS, st.none() | STEPS),
    by_event=st.booleans(),
    grep=st.sampled_from([(), (), (), ("one",), ("two", "one"), ("One",), ("active",)]),
    any_of=st.sampled_from([(), (), (), ("two", "it's")]),
    none_of=st.sampled_from([(), (), (), ("two",)]),
    channels=st.sampled_from([(), (), (), ("transcript",), ("capture_session", "visual_index")]),
    streams=st.sampled_from([(), (), (), ("rts-1",)]),
    sessions=st.sampled_from([(), (), (), ("cap-1",), ("last",)]),
    limit=st.none() | st.integers(1, 6),
    offset=st.sampled_from([0, 0, 0, 1, 3]),
    around_ms=st.sampled_from([None, None, None, 0, 400, 1500]),
    newest_first=st.booleans(),
    interim=st.sampled_from([False, False, True]),
)

# The lines of a listener whose clock is right: in the order of their receipt, with sentences that grow.
sentences = st.builds(
    lambda stream, length, last, versions, pause: [
        {"stream": stream, "length": length, "final": last and version == versions, "pause": pause}
        for version in range(1, versions + 1)
    ],
    st.sampled_from(["rts-1", "rts-2", None]),
    st.sampled_from([500, 2500]),
    st.sampled_from([True, True, False]),
    st.integers(1, 4),
    st.sampled_from([0, 100, 700]),
)
steps = st.builds(
    lambda step, session, streams: {"step": step, "session": session, "streams": streams},
    st.sampled_from(["active", "stopped"]),
    st.sampled_from(["cap-1", "cap-2", "cap-3"]),
    st.sampled_from([[], [], ["rts-1"], ["rts-1", "rts-2"]]),
)


def told(parts):
    """Return the lines of sentences and steps, one after the other."""
    lines, at = [], AT
    for part in parts:
        at += 1000
        if isinstance(part, dict):
            listed = [{"rtstream_id": stream} for stream in part["streams"]]
            lines.append(
                line(
                    at,
                    channel="capture_session",
                    event=f"capture_session.{part['step']}",
                    capture_session_id=part["session"],
                    data={"rtstreams": listed},
                )
            )
            continue
        start = at - 300
        for one in part:
            at += one["pause"]
            end = start + one["length"]
            text = "w" * (at % 7)
            lines.append(said(text, at, final=one["final"], start=start, end=end, stream=one["stream"]))
    return [text.encode("utf-8", "replace") for text in lines]


in_order = st.lists(sentences | sentences | sentences | steps, min_size=8, max_size=20).map(told)
