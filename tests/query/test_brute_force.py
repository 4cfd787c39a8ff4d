"""Whatever is asked of whatever file, the answer is that of a few lines of Python that read it all."""

import contextlib
import dataclasses
import json
import re
import unicodedata
from unittest import mock

import pytest
from hypothesis import example, given, settings, strategies as st
from support.databases import search, search_as_of_many, shared_database
from support.effort import examples

from vdbevents.events import identity as events_identity
from vdbevents.query import columns
from vdbevents.query.cache import build, fill
from vdbevents.query.filters import Filters
from vdbevents.times import Window

AT = 1772446530000

moments = st.integers(-3, 12).map(lambda step: AT + step * 500)
WORDS = ["code", "Code", "it's", "İ", "\u212aey", "key", "50%", "a_b", "\\n", "é", '"', "x/y"]
LOOK_ALIKES = [
    *(
        "e\u0301",
        "it\u2019s",
        "\u201c",
        "co\u00adde",
        "\u1112\u1161\u11ab",
        "한",
        "λόγος",
        "ΛΌΓΟΣ",
        "\u00b5",
        "\u03bc",
    ),
    *("東京", "に", "50\u200b%", "e", "\u017fo", "so", "\u00a0", "\n", "\t", "a\u2028b", "\u0301", "\u200d"),
]
WORDS += LOOK_ALIKES
HALF = "\ud83d"
texts = st.lists(st.sampled_from([*WORDS, HALF]), max_size=4).map(" ".join)
patterns = (
    st.lists(st.sampled_from(WORDS), max_size=2).map(" ".join)
    | st.lists(st.sampled_from(WORDS), max_size=2).map("".join)
    | st.sampled_from(["KEY", "i", "%", "_", "e", "京", " ", "\u0301"])
)

# They seal real journals, or ask many.
pytestmark = pytest.mark.long
NAMES = {"rts-1": "mic:default", "rts-2": "display:1", None: None}
SURE = {"rts-1": 0.5, "rts-2": 0.25, None: None}
starts = st.none() | st.integers(0, 6).map(lambda step: AT + step * 1000)


def event(at_ms, stream, final, text, start, length):  # noqa: PLR0917 - hypothesis fills them in order
    end = None if start is None else start + length
    data = {"text": text, "is_final": final, "start": start, "end": end, "confidence": SURE[stream]}
    return {
        "unix_ts": at_ms / 1000,
        "channel": "transcript",
        "rtstream_id": stream,
        "rtstream_name": NAMES[stream],
        "data": data,
    }


transcripts = st.builds(
    event,
    moments,
    st.sampled_from(["rts-1", "rts-2", None]),
    st.sampled_from([True, False, False]),
    texts,
    starts,
    st.sampled_from([500, 1000, 2500]),
)
alerts = st.builds(
    lambda at_ms, label: {
        "unix_ts": at_ms / 1000,
        "channel": "alert",
        "event": "fired",
        "session_id": "cap-1",
        "data": {"label": label},
    },
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
    by_event=st.booleans(),
    grep=st.lists(patterns, max_size=2).map(tuple),
    any_of=st.just(()) | st.lists(patterns, max_size=2).map(tuple),
    none_of=st.just(()) | st.lists(patterns, max_size=2).map(tuple),
    ignore_case=st.sampled_from([None, True]),
    whole_words=st.booleans(),
    exact=st.sampled_from([False, False, True]),
    channels=st.sampled_from([(), (), ("transcript",), ("alert", "visual")]),
    not_channels=st.sampled_from([(), (), ("transcript",), ("alert", "visual")]),
    recorder=st.booleans(),
    sources=st.sampled_from([(), (), (), ("mic",), ("mic", "screen")]),
    streams=st.sampled_from([(), (), ("rts-1",)]),
    sessions=st.sampled_from([(), (), (), ("cap-1",)]),
    names=st.sampled_from([(), (), (), ("fired", "other")]),
    labels=st.sampled_from([(), (), (), ("code", "fired")]),
    least_confidence=st.sampled_from([None, None, None, 0.25, 0.5]),
    where=st.sampled_from([None, None, None, "channel = 'alert' OR confidence >= 0.5"]),
    limit=st.none() | st.integers(1, 5),
    offset=st.sampled_from([0, 0, 1, 3]),
    newest_first=st.booleans(),
    interim=st.booleans(),
)


def brute_force(lines, asked):
    rows = [(e, written(e, form)) for e, form in lines if form in ("ours", "foreign", "last")]
    named = [round(e["unix_ts"] * 1000) for e, _ in rows if "session_id" in e]
    since, until = asked.window.since_ms, asked.window.until_ms
    rows = [
        (e, text)
        for e, text in sorted(rows, key=lambda row: moment(row[0], asked))
        if (since is None or moment(e, asked) >= since) and (until is None or moment(e, asked) < until)
    ]
    shown = [
        text
        for place, (e, text) in enumerate(rows)
        if matches(e, asked)
        and (not asked.sessions or is_in_session(e, named))
        and (
            asked.interim
            or not (
                replaced(e, place, [other for other, _ in rows])
                or revised(
                    e,
                    [
                        later
                        for later, _ in rows[place + 1 :]
                        if matches(later, asked) and (not asked.sessions or is_in_session(later, named))
                    ],
                )
            )
        )
    ]
    newest = shown[::-1][asked.offset :][: asked.limit]
    return newest if asked.newest_first else newest[::-1]


def is_in_session(event, named):
    """Whether it names the only session, or happened once that had begun: it has no end."""
    start = event["data"].get("start")
    happened = round(event["unix_ts"] * 1000) if start is None else start
    return "session_id" in event or (bool(named) and happened >= min(named))


def moment(event, asked):
    start = event["data"].get("start")
    return round(event["unix_ts"] * 1000) if start is None or not asked.by_event else start


def revised(event, later):
    """Whether a newer version of an unfinished sentence matches as well."""
    data = event["data"]
    return data.get("is_final") is False and any(
        other["data"].get("is_final") is False
        and data["start"] == other["data"]["start"] is not None
        and event["rtstream_id"] == other["rtstream_id"]
        for other in later
    )


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
    data, stream = event["data"], event.get("rtstream_id")
    label = data.get("label", event.get("event"))
    said = [text for text in (data.get("text"), label) if text is not None]
    source = {"rts-1": "mic", "rts-2": "screen"}.get(stream)

    def is_in(pattern):
        return not pattern or any(found(pattern, text, asked) for text in said)

    return (
        (not asked.channels or event["channel"] in asked.channels)
        and event["channel"] not in asked.not_channels
        and (not asked.sources or source in asked.sources)
        and (not asked.streams or stream in asked.streams)
        and (not asked.names or event.get("event") in asked.names)
        and (not asked.labels or label in asked.labels)
        and (not asked.where or event["channel"] == "alert" or (data.get("confidence") or 0) >= 0.5)
        and (asked.least_confidence is None or (data.get("confidence") or 0) >= asked.least_confidence)
        and all(map(is_in, asked.grep))
        and (not asked.any_of or any(map(is_in, asked.any_of)))
        and not any(map(is_in, asked.none_of))
    )


def found(pattern, text, asked):
    text = text.replace(HALF, "\ufffd")
    if not asked.exact:
        if looks(pattern):
            pattern, text = re.sub(WHITE_SPACE, " ", looks(pattern)), looks(text)
            if " " in pattern:
                text = re.sub(WHITE_SPACE, " ", text)
        if asked.ignore_case or not any(character.isupper() for character in pattern):
            pattern, text = lower(pattern), lower(text)
    if not asked.whole_words:
        return pattern in text
    places = (place for place in range(len(text)) if text.startswith(pattern, place))
    return any(
        (is_unspaced(pattern[0]) or not is_word(text[:place][-1:]))
        and (is_unspaced(pattern[-1]) or not is_word(text[place + len(pattern) :][:1]))
        for place in places
    )


WHITE_SPACE = r"[\t-\r ]+"
READ_AS = str.maketrans(
    "\u2019\u201c\u00b5\u017f\u00a0\u2028\u03c2", "'\"\u03bcs \n\u03c3", "\u00ad\u200b\u200d"
)


def looks(text):
    """What it looks like, for the characters that these tests have."""
    return unicodedata.normalize("NFC", text.translate(READ_AS))


def is_unspaced(character):
    return character in "東京に"


def is_word(character):
    if character == "" or is_unspaced(character):
        return False
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def lower(text):
    return "".join(character if character == "İ" else character.lower() for character in text).replace(
        "İ", "i"
    )


def unfinished_beside_finished(start, finished_start):
    """Two utterances of a second, the second of them finished; one begins where the other ends."""
    said = [
        event(AT, "rts-1", False, "key", start, 1000),
        event(AT + 500, "rts-1", True, "i", finished_start, 1000),
    ]
    return [(one, "ours") for one in said]


@settings(max_examples=examples(40))
@example(unfinished_beside_finished(AT + 1000, AT), Filters())
@example(unfinished_beside_finished(AT, AT + 1000), Filters())
@example([(event(AT, "rts-1", True, "code code", AT, 500), "ours")], Filters(grep=("code \xa0",)))
@given(lines, filters)
def test_the_answer_is_the_one_that_reading_everything_gives(tmp_path, lines, asked):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(written(*line) + "\n" for line in lines), "utf-8")
    for searching in (search, search_as_of_many):
        with searching(journal, asked) as answer:
            assert [text for batch in answer.lines() for text in batch] == brute_force(lines, asked)
            assert answer.skipped == sum(form in ("torn", "array") for _, form in lines)


# Sealing costs more than a search, so each sealed journal is searched several times.
searches = st.lists(
    st.builds(dataclasses.replace, filters, around_ms=st.sampled_from([None, None, 0, 400, 3000])),
    min_size=3,
    max_size=3,
)


@pytest.mark.long
@settings(max_examples=examples(10))
@given(lines, searches, st.sampled_from([1200, 3000]), st.sampled_from([0, fill.SMALL_BYTES]))
def test_the_answer_is_the_same_when_a_part_of_the_journal_is_sealed(tmp_path, lines, searches, piece, small):
    journal, root = tmp_path / "journal.jsonl", tmp_path / "cache"
    journal.write_text("".join(written(*line) + "\n" for line in lines), "utf-8")
    with mock.patch.object(fill, "SMALL_BYTES", small):
        cache = build.seal(journal, root, piece=piece, part=900)

    for asked in searches:
        with search_as_of_many(journal, asked) as read, search(journal, asked, cache) as answer:
            assert [text for batch in answer.lines() for text in batch] == [
                text for batch in read.lines() for text in batch
            ]
            assert list(answer.events()) == list(read.events())
            assert (answer.count, answer.span, answer.breaks) == (read.count, read.span, read.breaks)
            assert (answer.skipped, answer.gaps) == (read.skipped, read.gaps)
            assert (answer.sealed_bytes, read.sealed_bytes) == (cache.end, 0)


@settings(max_examples=examples(30))
@given(lines, filters, st.sampled_from([0, 400, 1000, 3000]))
def test_around_what_matches_is_all_that_happened_so_long_before_and_after(tmp_path, lines, asked, around_ms):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(written(*line) + "\n" for line in lines), "utf-8")
    told = {written(*line): line[0] for line in lines}
    chosen = sorted(lasting(told[line]) for line in brute_force(lines, asked))
    asked_around = Filters(
        by_event=True,
        not_channels=asked.not_channels,
        interim=asked.interim,
        newest_first=asked.newest_first,
    )
    expected, groups = [], []
    seen = {*brute_force(lines, asked_around), *brute_force(lines, asked)}
    for line in brute_force(lines, dataclasses.replace(asked_around, interim=True)):
        if line not in seen:
            continue
        first, last = lasting(told[line])
        near = [span for span in chosen if span[0] - around_ms <= last and first <= span[1] + around_ms]
        if near:
            expected.append(line)
            groups.append(sum(parted(chosen[: chosen.index(near[0]) + 1], around_ms)))

    with search(journal, dataclasses.replace(asked, around_ms=around_ms)) as answer:
        assert [text for batch in answer.lines() for text in batch] == expected
        rows = range(1, len(groups))
        assert answer.breaks == {row for row in rows if groups[row] != groups[row - 1]}


def lasting(event):
    """From when to when it happened."""
    data = event["data"]
    start = round(event["unix_ts"] * 1000) if data.get("start") is None else data["start"]
    return start, max(start, data.get("end") or start)


def parted(spans, around_ms):
    """Of each span, whether it begins after all before it have ended."""
    return [
        all(before[1] + around_ms < span[0] - around_ms for before in spans[:place])
        for place, span in enumerate(spans)
    ]


# What an event is known by, in SQL as in Python

HOLDERS = st.sampled_from(["", "data."])
CHANNELS = st.sampled_from(
    ["transcript", "visual_index", "scene_index", "audio_index", "spoken_index", "capture_session",
     "capture_session.active", "capture_session.", "alert", "", 5, None]
)  # fmt: skip
IDS = st.sampled_from(["rts-1", "rts-2", "", f"rts-{HALF}", "rts-\ufffd", 1, None, {"id": "rts-1"}])
SAID = st.sampled_from(
    [
        "so",
        "So",
        "",
        " ",
        "\u2028\xa0\x1f",
        "\x00",
        f"{HALF} so",
        "\ufffd so",
        "\U0001f600",
        5,
        None,
        {"a": 1},
        "so ",
    ]
)
AT_SECONDS = AT / 1000
TIMES = (
    st.sampled_from(
        [AT, AT_SECONDS, AT // 1000, str(AT), f"{AT_SECONDS}", "2026-03-02T10:15:30Z", "2026-03-02"]
    )
    | st.sampled_from(
        ["2026-03-02T11:15:30+01:00", "2026-03-02t10:15", "2026-03-02 10:15:30.0004999", "", "x"]
    )
    | st.sampled_from(
        [None, True, [AT], 0, -1, 1e11, 99999999999.9995, 2.5e14, 2.6e14, -3e10, -4e10, 1e300, 10**40]
    )
    | st.integers(-2000, 2000).map(lambda micro: AT_SECONDS + micro / 1e6)
    | st.integers(-2000, 2000).map(lambda micro: AT + micro / 1e3)
    | st.integers(-2000, 2000).map(lambda micro: f"2026-03-02T10:15:{30 + micro / 1e6:09.6f}Z")
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(1e9, 2e9)
    | st.datetimes().map(lambda moment: moment.isoformat())
)
FINALS = st.sampled_from([True, False, False, None, "false", 0])
MEMBERS = {
    **dict.fromkeys(("text", "description", "explanation", "raw"), SAID),
    **dict.fromkeys(("start", "startMs", "start_time", "timestamp", "end", "endMs", "end_time"), TIMES),
    **dict.fromkeys(("rtstream_id", "rtstreamId", "capture_session_id", "session_id"), IDS),
    **dict.fromkeys(("is_final", "isFinal"), FINALS),
    "status": st.sampled_from(["active", "stopped", "", None, 5]),
}
SOME_MEMBERS = st.fixed_dictionaries({}, optional=MEMBERS)
USUAL = st.fixed_dictionaries({"channel": CHANNELS, "rtstream_id": IDS, "start": TIMES, "text": SAID})
KINDS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("channel", "type", "event_type", "event"), CHANNELS)
)
HELD = st.fixed_dictionaries({}, optional={"data": SOME_MEMBERS | st.sampled_from([None, "so", [1], {}])})
FETCHED = st.sampled_from([{}, {}, {"backfilled": True}, {"backfilled": "true"}, {"backfilled": False}])
anything = st.builds(
    lambda *parts: {name: value for part in parts for name, value in part.items()},
    USUAL | KINDS, SOME_MEMBERS, HELD, FETCHED
)  # fmt: skip


@settings(max_examples=examples(20))
@example([{"channel": "transcript", "rtstream_id": "r", "start": AT, "text": "\x00"}])
@given(st.lists(anything, min_size=15, max_size=30))
def test_an_event_is_known_by_the_same_in_a_query_as_everywhere(events):
    with contextlib.closing(shared_database().connection(0)) as database:
        database.execute("CREATE TEMP TABLE lines (number INTEGER, line VARCHAR)")
        database.execute(
            "INSERT INTO lines SELECT unnest(range(len(lines))), unnest(lines) FROM (SELECT ? AS lines)",
            [[json.dumps(event) for event in events]],
        )
        found = database.execute(
            "SELECT number, coalesce(backfilled, false), channel, owner, start_ms, end_ms, content "
            f"FROM ({columns.identities('lines')}) ORDER BY number"
        ).fetchall()
    expected = [
        (number, event.get("backfilled") is True, identity)
        for number, event in enumerate(events)
        if (identity := events_identity.identity_of(event)) is not None
    ]

    assert [
        (number, fetched, events_identity.Identity(*known, events_identity._digest(told)))
        for number, fetched, *known, told in found
    ] == expected


moments_told = st.sampled_from([AT, AT_SECONDS, AT + 1, AT_SECONDS + 0.0004, AT_SECONDS + 0.001])
repeatable = st.builds(
    lambda kind, stream, start, text, fetched: {
        **(
            {"channel": kind, "rtstream_id": stream, "data": {"start": start, "end": start, "text": text}}
            if kind != "capture_session"
            else {
                "event": f"capture_session.{text}",
                "capture_session_id": stream,
                "data": {"timestamp": start},
            }
        ),
        **({"backfilled": True} if fetched else {}),
    },
    st.sampled_from(["transcript", "transcript", "visual_index", "scene_index", "capture_session", "alert"]),
    st.sampled_from(["one", "two"]),
    moments_told,
    st.sampled_from(["active", "stopped"]),
    st.booleans(),
)


asked_of_them = st.builds(
    Filters,
    window=st.builds(Window, st.none() | moments),
    grep=st.sampled_from([(), ("active",)]),
    limit=st.none() | st.integers(1, 5),
    interim=st.booleans(),
)


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(moments, repeatable), max_size=30), asked_of_them)
def test_an_event_received_and_fetched_is_shown_once(tmp_path, told, asked):
    lines = [json.dumps({"unix_ts": at_ms / 1000, **event}, separators=(",", ":")) for at_ms, event in told]
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    since = asked.window.since_ms
    matching = [
        (line, event)
        for (at_ms, event), line in sorted(zip(told, lines, strict=True), key=lambda row: row[0][0])
        if (since is None or at_ms >= since) and all(word in line for word in asked.grep)
    ]
    identities = [events_identity.identity_of(event) for _, event in matching]
    fetched = {known for known, (_, event) in zip(identities, matching, strict=True) if "backfilled" in event}
    expected = [
        line
        for place, (line, _) in enumerate(matching)
        if identities[place] not in fetched - {None} or identities[place] not in identities[:place]
    ]

    with search(journal, asked) as answer:
        found = [text for batch in answer.lines() for text in batch]
    assert found == (expected if asked.limit is None else expected[-asked.limit :])
