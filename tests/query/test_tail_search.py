"""What the end of a journal shows is found without DuckDB, and is what DuckDB finds."""

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st
from support import random_journals
from support.databases import search
from support.effort import examples
from support.random_journals import AT, line, said

from vdbevents.query import plain_events, tail_search
from vdbevents.query.cache import build
from vdbevents.query.filters import Filters
from vdbevents.query.older import Older
from vdbevents.query.plain_events import ParsedLines
from vdbevents.query.tail_search import search_tail
from vdbevents.times import Window


@pytest.fixture
def journal(tmp_path):
    def write(*lines, end=b"\n"):
        path = tmp_path / "journal.jsonl"
        content = [one.encode() if isinstance(one, str) else one for one in lines]
        path.write_bytes(b"\n".join(content) + (end if content else b""))
        return path

    return write


def of_tail(path, cache=None, **filters):
    return search_tail(path, Filters(**filters), cache, Older())


def all_of(result, window=None):
    """All that a result says; of gaps and pauses, those in the window."""
    window = window or Window()
    near = [
        [one for one in ones if one.touches(window.since_ms, window.until_ms)]
        for ones in (result.gaps, result.pauses)
    ]
    return {
        "lines": [each for batch in result.lines() for each in batch],
        "timed": [each for batch in result.timed_lines() for each in batch],
        "times": [each for batch in result.times() for each in batch],
        "events": [each for batch in result.events() for each in batch],
        "some": [each for batch in result.events(("text", "time_ms")) for each in batch],
        "names": result.names(["channel", "session", "stream", "stream_name", "label", "event", "speaker"]),
        "numbers": (result.count, result.span, result.skipped, result.untimed),
        "bytes": (result.journal_bytes, result.sealed_bytes),
        "groups": (dict(result.groups), set(result.breaks)),
        "near": near,
        "channels": result.channel_counts(),
    }


def assert_same(path, filters, cache=None):
    """Compare both ways; return whether the tail gave an answer."""
    tail = search_tail(path, filters, cache, Older())
    if tail is None:
        return False
    with search(path, filters, cache) as full:
        assert all_of(tail, filters.window) == all_of(full, filters.window)
    return True


LISTENED = st.lists(
    random_journals.transcripts | random_journals.scenes | random_journals.ours | random_journals.timeless,
    min_size=5,
    max_size=25,
).map(lambda lines: [one for one in lines if not one.endswith('"backfilled":true}') and "ud83d" not in one])
SPOKEN = [
    *("one", "One two", "co\u00adde", "it\u2019s", "e\u0301", "\u017fo", "\u00b5", "\n", "a  b", "\u2028"),
    *(
        '{"app":"Slack","n":1}',
        '{"window":{"title":"x"}}',
        "[main.py] a test",
        "İ",
        "ΛΌΓΟΣ",
        "λόγος",
        " ",
        "",
    ),
]
VALUES = st.sampled_from(SPOKEN) | st.none()
NAMES = st.sampled_from(["mic:default", "display:1", "Alice's screen", None, ""])
ALL_KINDS = st.builds(
    lambda at, channel, event, label, text, session, names, data, status: line(
        at,
        channel=channel,
        event=event,
        label=label,
        text=text,
        status=status,
        capture_session_id=session,
        rtstream_name=names[0],
        rtstream_id=names[1],
        data=data,
    ),
    random_journals.STEPS,
    st.sampled_from(
        ["transcript", "alert", "visual_index", "capture_session", "audio", "", None, "spoken_index"]
    ),
    st.sampled_from([None, "fired", "alert", "capture_session.active", "capture_session.failed", ""]),
    VALUES,
    VALUES,
    st.sampled_from([None, "cap-1"]),
    st.tuples(NAMES, NAMES),
    st.sampled_from([None, {}, "", "{}", "said", [], 1])
    | st.fixed_dictionaries(
        {},
        optional={
            "text": VALUES,
            "description": VALUES,
            "label": VALUES,
            "speaker": VALUES,
            "status": st.sampled_from(["active", "stopped", None, ""]),
            "error": st.sampled_from([None, "", "no room", {"message": "no key"}, {"code": 5}]),
            "exported_video_id": st.sampled_from([None, "", "m-1"]),
            "player_url": st.sampled_from([None, "", "https://player.example/1"]),
            "confidence": st.sampled_from([0.5, 1, 0, None]),
            "start": random_journals.STEPS | st.sampled_from([None, 1772446530.5, "2026-03-02T10:15:30Z"]),
            "timestamp": st.sampled_from(["2026-03-02 10:15:30.5+01:00", None]),
            "end": random_journals.STEPS | st.none(),
            "is_final": st.sampled_from([True, False, None]),
            "window": st.sampled_from(["Slack", {"title": "x - y"}, 5, None]),
            "app": st.sampled_from(["Slack", "Code", None]),
        },
    ),
    st.sampled_from([None, "active", "failed", "exported"]),
)
FILTERS = st.builds(
    Filters,
    window=st.just(Window())
    | st.builds(Window, st.none() | random_journals.STEPS, st.none() | random_journals.STEPS),
    by_event=st.booleans(),
    grep=st.sampled_from(
        [(), (), (), ("one",), ("it's",), ("é",), ("code",), ("a b",), ("so", "s"), ("ΛΌ",), (" ",)]
    ),
    any_of=st.sampled_from([(), (), (), ("two", "μ"), ("slack", "")]),
    none_of=st.sampled_from([(), (), (), ("two",), ("i",), ("",)]),
    ignore_case=st.sampled_from([None, None, True, False]),
    exact=st.sampled_from([False, False, True]),
    channels=st.sampled_from([(), (), (), ("transcript",), ("capture_session", "visual")]),
    not_channels=st.sampled_from([(), (), (), ("transcript",), ("alert", "visual")]),
    recorder=st.sampled_from([False, False, True]),
    sources=st.sampled_from([(), (), (), ("mic",), ("screen", "mic")]),
    streams=st.sampled_from([(), (), (), ("rts-1",), ("mic:default",)]),
    names=st.sampled_from([(), (), (), ("fired",), ("capture_session.active",)]),
    labels=st.sampled_from([(), (), (), ("fired", "one")]),
    speakers=st.sampled_from([(), (), (), ("ONE",)]),
    least_confidence=st.sampled_from([None, None, None, 0.5]),
    spans=st.sampled_from(
        [(), (), (), ((AT, AT + 700),), ((AT + 10_500, AT + 12_000), (AT + 14_000, AT + 60_000))]
    ),
    limit=st.none() | st.integers(0, 4),
    offset=st.sampled_from([0, 0, 0, 1, 3]),
    newest_first=st.booleans(),
    interim=st.booleans(),
)
LATE = st.sampled_from(
    [Window(AT + 5000), Window(AT + 10_500, AT + 12_500), Window(AT + 8000), Window(), Window(AT + 2000)]
)
CHECKED = settings(max_examples=examples(8))


@pytest.mark.long
def test_whatever_the_end_of_a_journal_shows_is_what_duckdb_finds(journal):
    answered = []

    @CHECKED
    @given(LISTENED | st.lists(ALL_KINDS, max_size=15), st.lists(FILTERS, min_size=4, max_size=4))
    def both_are_the_same(lines, asked):
        path = journal(*lines)
        answered.extend(assert_same(path, one) for one in asked)

    both_are_the_same()
    assert sum(answered) > len(answered) / 3


MINUTES = st.integers(0, 12).map(lambda step: AT + step * 20_000)
SPOKEN_LONG = st.builds(
    lambda start, lasted, stream, final, has_end: said(
        f"said at {start - AT}",
        start + lasted,
        start=start,
        end=start + lasted if has_end else None,
        stream=stream,
        final=final,
    ),
    MINUTES,
    st.sampled_from([100, 3000, 50_000, 130_000]),
    st.sampled_from(["rts-1", "rts-2"]),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
)


@settings(max_examples=examples(30))
@given(
    st.lists(SPOKEN_LONG, min_size=5, max_size=20),
    st.tuples(MINUTES, st.sampled_from([0, 5000, 40_000])),
    st.sampled_from([0, 1000, 30_000]),
    st.booleans(),
)
def test_what_is_far_from_the_times_asked_for_is_not_read_and_what_it_replaced_is_known(
    tmp_path_factory, lines, span, margin_ms, interim
):
    path = tmp_path_factory.mktemp("tail") / "journal.jsonl"
    path.write_text("".join(f"{one}\n" for one in lines), "utf-8")
    first, lasted = span
    filters = Filters(by_event=True, spans=((first, first + lasted),), interim=interim)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail_search, "_MARGIN_MS", margin_ms)
        assert assert_same(path, filters)


@pytest.mark.parametrize("span", [(AT, AT + 1_300_000), (AT, None), (None, None)])
def test_a_final_transcript_far_from_the_times_asked_for_replaces_what_may_have_lasted_until_it(
    journal, span
):
    interim = said("what may last", AT + 1000, final=False, start=span[0], end=span[1])
    final = said("what lasted", AT + 1_301_000, start=AT + 1_200_000, end=AT + 1_300_000)
    filters = Filters(by_event=True, spans=((AT, AT + 2000),))

    assert of_tail(journal(interim), by_event=True, spans=filters.spans).count == 1
    assert of_tail(journal(interim, final), by_event=True, spans=filters.spans).count == 0
    assert assert_same(journal(interim, final), filters)


def test_the_next_final_transcript_counts_though_it_is_far_from_the_times_asked_for(journal):
    interim = said("what nothing replaced", AT + 1000, final=False, start=AT, end=AT + 900)
    following = said("far", AT + 301_000, start=AT + 200_000, end=AT + 300_000)
    untimed = said("when, is not known", AT + 400_000)
    filters = Filters(by_event=True, spans=((AT, AT + 2000),))

    assert of_tail(journal(interim, following, untimed), by_event=True, spans=filters.spans).count == 1
    assert assert_same(journal(interim, following, untimed), filters)


def test_lines_far_from_the_times_asked_for_are_not_parsed(journal):
    lines = [
        said(f"word {n}", AT + n * 60_000, start=AT + n * 60_000, end=AT + n * 60_000 + 9) for n in range(99)
    ]
    known = ParsedLines()
    filters = Filters(by_event=True, spans=((AT + 50 * 60_000, AT + 51 * 60_000),))
    found = search_tail(journal(*lines), filters, None, Older(), known)

    assert [event.text for batch in found.events() for event in batch] == ["word 50", "word 51"]
    assert len(known._events) == 4


@pytest.mark.long
def test_it_is_the_same_beside_what_is_sealed(journal, tmp_path):
    answered = []

    @CHECKED
    @given(
        st.lists(random_journals.transcripts | random_journals.lifecycle, min_size=4, max_size=12),
        LISTENED,
        st.lists(st.builds(replace, FILTERS, window=LATE), min_size=6, max_size=6),
    )
    def both_are_the_same(sealed, lines, asked):
        later = [one.replace(str(AT // 1000)[:9], str(AT // 1000 + 10)[:9]) for one in lines]
        path = journal(*sealed, *later)
        length = len("\n".join(sealed)) + 1
        cache = build.seal(path, tmp_path / "cache", piece=length, part=length)
        answered.extend(assert_same(path, one, cache) for one in asked if cache.segments)

    both_are_the_same()
    assert sum(answered) > len(answered) / 5


PLAIN = said("one", AT + 1000)


@pytest.mark.parametrize(
    "odd",
    [
        *(b"torn", b"{torn}", b'["a"]', b"\xff", b'{"a":"\xff"}', PLAIN.encode() + b"\r", b"{}\0{}", b" {}"),
        *(b'{"text":"a","text":"b"}', b'{"text" : "a"}', b'{"text":"\\ud800"}', b'{"text":"\\u0000"}'),
        *(b'{"n":NaN}', b'{"n":1,}', b'{"text":5}', b'{"label":[]}', b'{"ts":"noon"}', b'{"unix_ts":true}'),
        *(b'{"data":{"is_final":"true"}}', b'{"speaker":{"name":"Ada"}}', b'{"confidence":"high"}'),
        *(b'{"text":"a","backfilled":true}', b'{"channel":"vdbevents","event":"x","data":{"a":1}}'),
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
    ],
)
def test_a_line_that_is_not_plain_is_left_to_duckdb(journal, odd):
    assert of_tail(journal(PLAIN)).count == 1
    assert of_tail(journal(PLAIN, odd, PLAIN)) is None


@pytest.mark.parametrize(
    "asked",
    [
        {"where": "true"},
        {"around_ms": 5},
        {"sessions": ("last",)},
        {"windows": ("Slack",)},
        {"grep": ("o.e",), "extended": True},
        {"grep": ("one",), "whole_words": True},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_what_needs_sql_is_left_to_duckdb(journal, asked):
    assert of_tail(journal(PLAIN), **asked) is None


def test_odd_lines_outside_the_window_are_in_nobody_s_way(journal):
    path = journal(line(AT, text=5, channel="x"), said("late", AT + 60_000))

    assert of_tail(path) is None
    assert of_tail(path, window=Window(AT + 50_000)).count == 1


@pytest.mark.long
def test_a_last_line_without_its_end_and_a_large_journal_are_left_to_duckdb(journal):
    assert of_tail(journal(PLAIN, end=b"")) is None
    many = [said("x", AT + n) for n in range(30_001)]
    path = journal(*many)

    assert of_tail(path) is None
    assert of_tail(path, window=Window(AT + 40_000)).count == 0
    large = [said("x" * 1000, AT + n) for n in range(20_000)]
    assert of_tail(journal(*large), window=Window(AT + 40_000)) is None


def test_a_journal_that_cannot_be_read_is_left_to_the_search_that_says_so(tmp_path):
    assert of_tail(tmp_path / "missing.jsonl") is None
    assert of_tail(tmp_path) is None


def test_the_newest_are_found_where_all_that_is_sealed_is_older(journal, tmp_path):
    older = [said(f"old {n}", AT + n) for n in range(20)]
    path = journal(*older, *(said(f"new {n}", AT + 60_000 + n) for n in range(5)))
    length = len("\n".join(older)) + 1
    cache = build.seal(path, tmp_path / "cache", piece=length, part=length)
    assert cache.end >= length - 1

    assert [event.text for batch in of_tail(path, cache, limit=2).events() for event in batch] == [
        "new 3",
        "new 4",
    ]
    assert of_tail(path, cache, limit=5).count == 5
    assert of_tail(path, cache, limit=6) is None
    assert of_tail(path, cache) is None
    assert of_tail(path, cache, window=Window(AT + 30_000)).count == 5
    assert of_tail(path, cache, window=Window(AT + 10)) is None


def test_a_second_search_finds_its_answer_in_the_lines_that_the_first_has_read(journal, monkeypatch):
    parsed = []
    read = plain_events._parsed
    monkeypatch.setattr(plain_events, "_parsed", lambda line: parsed.append(line) or read(line))
    lines = [said(f"word {n}", AT + n * 1000) for n in range(5)]
    path, known = journal(*lines), ParsedLines()
    near = Filters(spans=((AT, AT + 9000),))
    first = search_tail(path, Filters(grep=("word 3",)), None, Older(), known)
    with path.open("a") as file:
        file.write(said("word 5", AT + 5000) + "\n")
    second = search_tail(path, near, None, Older(), known)

    assert [each for batch in first.lines() for each in batch] == [lines[3]]
    assert [each for batch in second.lines() for each in batch] == lines
    assert parsed == [one.encode() for one in lines]
    assert search_tail(path, near, None, Older(), ParsedLines()).count == 6


def test_of_another_file_of_the_same_name_the_lines_are_read(journal):
    known = ParsedLines()
    path = journal(said("old", AT))
    assert search_tail(path, Filters(), None, Older(), known).count == 1
    other = path.with_name("other.jsonl")
    other.write_text(f"{said('new', AT)}\n{said('newer', AT + 1)}\n")
    other.replace(path)

    assert search_tail(path, Filters(), None, Older(), known).count == 2
