"""Whatever is asked of whatever file, the answer is that of a few lines of Python that read it all."""

import json

from hypothesis import HealthCheck, given, settings, strategies as st

from vdbevents.query import engine
from vdbevents.query.plan import Filters, Window

AT = 1772446530000

moments = st.integers(-3, 12).map(lambda step: AT + step * 500)
WORDS = ["code", "Code", "it's", "İ", "\u212aey", "key", "50%", "a_b", "\\n", "é", '"', "x/y"]
HALF = "\ud83d"
texts = st.lists(st.sampled_from([*WORDS, HALF]), max_size=4).map(" ".join)
patterns = st.lists(st.sampled_from(WORDS), max_size=2).map(" ".join) | st.sampled_from(
    ["KEY", "i", "%", "_"]
)
starts = st.none() | st.integers(0, 6).map(lambda step: AT + step * 1000)


def event(at_ms, stream, final, text, start, length):  # noqa: PLR0917 - hypothesis fills them in order
    end = None if start is None else start + length
    data = {"text": text, "is_final": final, "start": start, "end": end}
    return {"unix_ts": at_ms / 1000, "channel": "transcript", "rtstream_id": stream, "data": data}


transcripts = st.builds(
    event,
    moments,
    st.sampled_from(["rts-1", "rts-2", None]),
    st.sampled_from([True, False, False]),
    texts,
    starts,
    st.sampled_from([500, 2500]),
)
alerts = st.builds(
    lambda at_ms, label: {"unix_ts": at_ms / 1000, "channel": "alert", "data": {"label": label}},
    moments,
    texts,
)


def written(event, form):
    match form:
        case "ours":
            stamp = '{"ts":"2026-03-02T10:15:30.000Z","unix_ts":' + f"{event['unix_ts']:.3f}"
            rest = json.dumps({**event, "unix_ts": 0}, separators=(",", ":"))
            return stamp + rest[rest.index(",") :]
        case "foreign":
            return json.dumps({"ts": "2026-03-02T10:15:30+00:00", **event})
        case "last":
            text = json.dumps(dict(reversed(event.items())), ensure_ascii=False) + " "
            return text.replace(HALF, "\\ud83d")
    return {"torn": json.dumps(event)[:-3], "array": json.dumps([event]), "empty": ""}[form]


FORMS = st.sampled_from(["ours", "ours", "foreign", "last", "torn", "array", "empty"])
lines = st.lists(st.tuples(transcripts | alerts, FORMS), max_size=40)
filters = st.builds(
    Filters,
    window=st.builds(Window, st.none() | moments, st.none() | moments),
    grep=st.lists(patterns, max_size=2).map(tuple),
    ignore_case=st.sampled_from([None, True]),
    channels=st.sampled_from([(), (), ("transcript",), ("alert", "visual")]),
    streams=st.sampled_from([(), (), ("rts-1",)]),
    limit=st.none() | st.integers(1, 5),
    interim=st.booleans(),
)


def brute_force(lines, asked):
    rows = [(e, written(e, form)) for e, form in lines if form in ("ours", "foreign", "last")]
    since, until = asked.window.since_ms, asked.window.until_ms
    rows = [
        (e, text)
        for e, text in sorted(rows, key=lambda row: row[0]["unix_ts"])
        if (since is None or received(e) >= since) and (until is None or received(e) < until)
    ]
    shown = [
        text
        for place, (e, text) in enumerate(rows)
        if (asked.interim or not replaced(e, place, [other for other, _ in rows])) and matches(e, asked)
    ]
    return shown if asked.limit is None else shown[-asked.limit :]


def received(event):
    return round(event["unix_ts"] * 1000)


def replaced(event, place, events):
    data = event["data"]
    if data.get("is_final") is not False:
        return False
    finals = [
        (later >= place, other["data"])
        for later, other in enumerate(events)
        if other["data"].get("is_final") and other["rtstream_id"] == event["rtstream_id"]
    ]
    if data["start"] is not None and any(final["start"] == data["start"] for _, final in finals):
        return True
    following = next((final for is_later, final in finals if is_later), None)
    if following is None or None in (following["start"], data["start"]):
        return following is not None
    return data["start"] < following["end"] and following["start"] < data["end"]


def matches(event, asked):
    said = (event["data"].get("text"), event["data"].get("label"))
    return (
        (not asked.channels or event["channel"] in asked.channels)
        and (not asked.streams or event.get("rtstream_id") in asked.streams)
        and all(
            any(found(pattern, text, asked) for text in said if text is not None) for pattern in asked.grep
        )
    )


def found(pattern, text, asked):
    if not pattern:
        return True
    text = text.replace(HALF, "\ufffd")
    if asked.ignore_case or not any(character.isupper() for character in pattern):
        return lower(pattern) in lower(text)
    return pattern in text


def lower(text):
    return "".join(character if character == "İ" else character.lower() for character in text).replace(
        "İ", "i"
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines, filters)
def test_the_answer_is_the_one_that_reading_everything_gives(tmp_path, lines, asked):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(written(*line) + "\n" for line in lines), "utf-8")
    with engine.search(journal, asked) as answer:
        assert [text for batch in answer.lines() for text in batch] == brute_force(lines, asked)
        assert answer.skipped == sum(form in ("torn", "array") for _, form in lines)
