"""Sealed segments: results equal those of the journal itself, and only needed segments are read."""

import json
import shutil
from unittest import mock

import duckdb
import pytest
from hypothesis import given, settings, strategies as st
from support import samples
from support.databases import search
from support.effort import examples
from support.random_journals import AT, filters, journals, line, said

from vdbevents.events.envelope import envelop
from vdbevents.query import columns as query_columns, snapshot
from vdbevents.query.cache import build, fill, index
from vdbevents.query.filters import Filters
from vdbevents.times import Window

# They seal real journals, or ask many.
pytestmark = pytest.mark.long


def answered(journal, asked, cache):
    """The answer; not one that was had from the journal because the cache could not be read."""
    answer = search(journal, asked, cache)
    assert answer.snapshot.sealed.segments or not (cache and cache.segments)
    return answer


def seen(journal, asked, cache=None):
    """All that an answer tells."""
    with answered(journal, asked, cache) as answer:
        return (
            [text for batch in answer.lines() for text in batch],
            [event for batch in answer.events() for event in batch],
            (answer.count, answer.span, answer.breaks, answer.skipped, answer.gaps),
        )


def texts(journal, cache, **asked):
    with answered(journal, Filters(**asked), cache) as answer:
        return [event.text for batch in answer.events({"text"}) for event in batch]


@pytest.fixture
def sealed(tmp_path):
    """Writes groups of lines, each of which becomes a segment but for the last; the journal and its cache."""

    def write(*groups):
        encoded = [[one.encode() if isinstance(one, str) else one for one in group] for group in groups]
        parts = [b"".join(one + b"\n" for one in group) for group in encoded]
        # What fills up a segment is nothing: empty lines.
        piece = max(map(len, parts), default=1) + 1
        journal = tmp_path / "journal.jsonl"
        journal.write_bytes(b"".join(part.ljust(piece, b"\n") for part in parts[:-1]) + parts[-1])
        cache = build.seal(journal, tmp_path / "cache", piece=piece)
        assert len(cache.segments) == len(groups) - 1
        return journal, cache

    return write


@pytest.fixture
def opened(monkeypatch):
    """The starts of the segments that are opened."""
    starts = set()
    tables = snapshot.JournalSnapshot.tables

    def noted(source, of):
        of = list(of)
        starts.update(segment.start for segment in of)
        return tables(source, of)

    monkeypatch.setattr(snapshot.JournalSnapshot, "tables", noted)
    return starts


# The fast way to fold what is usual, and the one that is always right

NAMES = samples.sampled_from(
    ["unix_ts", "channel", "rtstream_id", "rtstream_name", "data", "text", "is_final", "start", "end"] * 3
    + ["type", "event", "ts", "startMs", "label", "isFinal", "speaker", "raw", "x", 'a"b', "", "backfilled"]
    + ["data.text", "rtstreamId", "confidence", "session_id"]
)
SPELT = samples.sampled_from(
    [json.dumps] * 6 + [lambda name: '"' + "".join(f"\\u{ord(c):04x}" for c in name) + '"']
)
NUMBERS = samples.sampled_from(
    [
        "0",
        "-0",
        "1",
        "-1",
        "1772446530.123",
        "1772446530123",
        "1.772446530123e12",
        "1e400",
        "-1e400",
        "1E5",
        "9" * 30,
        "9" * 400,
        "0.1e-400",
        "2.5e11",
        "250000000000.001",
        "99999999999.9996",
        "100000000000",
        "NaN",
        "Infinity",
        "1.50",
        "01",
        "+1",
        "1e",
        "18446744073709551616",
        "9223372036854775808",
        "1772446530.0005",
    ]
)
STRINGS = samples.sampled_from(
    [
        "transcript",
        "visual_index",
        "scene_index",
        "audio_index",
        "alert",
        "vdbevents",
        "rts-1",
        "mic:default",
        "",
        " ",
        "true",
        "false",
        "1",
        "1772446530.5",
        " 1 ",
        "1_0",
        "0x10",
        "nan",
        "inf",
        "2026-03-02T10:15:30Z",
        '":',
        '" :',
        'a"b":1',
        "\t",
        "tab\\t",
        "\\",
        "{",
        "é😀",
        "\u2028",
        "backfilled",
    ]
).map(json.dumps) | samples.sampled_from(
    [
        '"\\ud83d"',
        '"\\ud83d\\ude00"',
        '"\\ude00x"',
        '"\\u0000"',
        '"a\tb"',
        '"\\x"',
        '"\\/"',
        '"\\u00e9"',
        '"\\""',
        '"\\":"',
        "'a'",
    ]
)
SCALARS = (
    NUMBERS | STRINGS | samples.sampled_from(["true", "false", "null", "True", "nul", "[]", "[1]", "{}"])
)
SPACES = samples.sampled_from([""] * 12 + [" ", "\t", "  ", "\x0b", "\u00a0"])


@samples.composite
def objects(draw, inner=SCALARS, least=0):
    members = draw(samples.lists(samples.tuples(NAMES, inner), min_size=least, max_size=7))
    space = draw(SPACES)
    return "{" + ",".join(f"{draw(SPELT)(name)}{space}:{space}{value}" for name, value in members) + "}"


USUAL = {
    "unix_ts": NUMBERS | samples.just("1772446530.123"),
    "channel": samples.sampled_from(['"transcript"', '"visual_index"', '"scene_index"']),
    "rtstream_id": STRINGS | SCALARS,
    "rtstream_name": STRINGS | SCALARS,
}
INNER = {
    "text": STRINGS | SCALARS | objects(),
    "is_final": samples.sampled_from(["true", "false", "null", '"true"', "1", '"x"', "{}"]),
    "start": NUMBERS | SCALARS,
    "end": NUMBERS | SCALARS,
}


@samples.composite
def nearly_usual(draw):
    """A line as recorders write them, with something odd in it now and then."""
    inner = [f'"{name}":{draw(value)}' for name, value in INNER.items() if draw(samples.integers(0, 5))]
    outer = [f'"{name}":{draw(value)}' for name, value in USUAL.items() if draw(samples.integers(0, 5))]
    odd = draw(
        samples.sampled_from(
            [
                "",
                "",
                "",
                '"text":"x"',
                '"\\u0063hannel":"alert"',
                '"data":{"text":"z"}',
                '"x":1',
            ]
        )
    )
    (inner if draw(samples.booleans()) else outer).append(odd)
    parts = ['"ts":"2026-03-02T10:15:30.123Z"', *outer, "{data}"]
    if not draw(samples.integers(0, 3)):
        parts = draw(samples.permutations(parts))
    data = '"data":{' + ",".join(filter(None, inner)) + "}"
    end = draw(
        samples.sampled_from(
            [""] * 5 + [',"backfilled":true', ',"backfilled": true', ',"x\\"backfilled":true']
        )
    )
    text = "{" + ",".join(data if part == "{data}" else part for part in filter(None, parts)) + end + "}"
    return text + draw(samples.sampled_from([""] * 8 + [" ", "}", "x", "\t"]))


@samples.composite
def retouched(draw):
    """A line as a listener writes it, of which something was left out, put in, or written otherwise."""
    ending = draw(samples.sampled_from(['"is_final":true,', '"is_final":false,', ""]))
    text = (
        '{"ts":"2026-03-02T10:15:30.120Z","unix_ts":1772446530.120,"channel":"transcript","rtstream_id":"r-1",'
        '"rtstream_name":"mic:default","data":{"text":"said",' + ending + '"start":1772446530000,'
        '"end":1772446531000}}'
    )
    for _ in range(draw(samples.integers(0, 2))):
        begin = draw(samples.integers(0, len(text)))
        end = begin + draw(samples.sampled_from([0, 0, 1, 1, 2, 8, 20]))
        text = text[:begin] + draw(RETOUCHES) + text[end:]
    return text


RETOUCHES = (
    samples.sampled_from(
        ["", "0", "1", ".", "-", "e1", "true", '"', "\\", "\\u0041", "\\n", " ", "\t", "{", "}", ","]
    )
    | samples.sampled_from(
        ['"label":"x",', ',"label":"x"', '"text":"x",', '","label":"x', "null", "é😀", "\\ud83d"]
    )
    | SCALARS
)

LINES = (
    nearly_usual()
    | retouched()
    | objects(SCALARS | objects(SCALARS | objects())).map(
        lambda text: '{"ts":"2026-03-02T10:15:30.123Z",' + text[1:]
    )
)


ONCE_FOLDED_WRONGLY = [
    '{"ts":"","unix_ts":2,"channel":"transcript","data":{"text":"","is_final":1e400}}',
    '{"ts":"","unix_ts":true,"channel":"transcript","data":{"text":""}}',
    '{"ts":"","unix_ts":2,"channel":"transcript","data":{"text":"","start":false,"end":true}}',
]


WITH_A_BLANK_AFTER_A_NAME = said("a", start=5, end=6)[:-1] + ',"label" :"x"}'


def test_the_fast_folding_equals_the_general_one():
    lines = [*ONCE_FOLDED_WRONGLY, WITH_A_BLANK_AFTER_A_NAME, *LINES.many(examples(6000))]
    with duckdb.connect() as database:
        database.execute("CREATE TABLE lines AS SELECT unnest(?::VARCHAR[]) AS line", [lines])
        columns = list(query_columns.COLUMNS)
        usual = f"(SELECT * FROM ({query_columns.usual('lines')}) WHERE is_usual)"
        fast = database.execute(query_columns.folded_usual(usual, columns, "line", "readable")).fetchall()
        chosen = f"(SELECT line FROM {usual})"
        right = database.execute(query_columns.folded(chosen, columns, "line", "readable")).fetchall()

    assert len(right) > len(lines) / 10
    compared = zip(map(repr, fast), map(repr, right), strict=True)
    assert [rows for rows in compared if rows[0] != rows[1]] == []


def test_usual_lines_are_folded_the_fast_way():
    usual = [
        said("hi: \\ there", start=AT, end=AT + 1),
        said("a", backfilled=True),
        line(channel="scene_index", data={"text": "x"}),
    ]
    others = [
        said('":'),
        line(channel="alert", data={"label": "x"}),
        said("a", speaker="b"),
        said("a")[:-1],
        "x",
    ]
    with duckdb.connect() as database:
        database.execute("CREATE TABLE lines AS SELECT unnest(?::VARCHAR[]) AS line", [usual + others])
        found = database.execute(
            f"SELECT line FROM ({query_columns.usual('lines')}) WHERE is_usual"
        ).fetchall()

    assert [text for (text,) in found] == usual


@pytest.mark.parametrize("ending", ['"is_final":true,', '"is_final":false,', ""])
def test_a_listener_s_line_is_known_by_its_bytes(ending):
    message = (
        '{"channel":"transcript","rtstream_id":"rts-1","rtstream_name":"mic:default",'
        f'"data":{{"text":"é😀",{ending}"start":{AT},"end":{AT + 900}}}}}'
    )
    written = envelop(message.encode(), AT + 120).line.decode().rstrip("\n")
    with duckdb.connect() as database:
        database.execute(
            "CREATE TABLE lines AS SELECT unnest(?::VARCHAR[]) AS line", [[written, written + " "]]
        )
        found = database.execute(f"SELECT is_written FROM ({query_columns.usual('lines')})").fetchall()

    assert found == [(True,), (False,)]


# Whatever is in a journal, and whatever is asked of it


@pytest.mark.long
@settings(max_examples=examples(5))
@given(
    journals,
    st.lists(filters, min_size=4, max_size=4),
    st.tuples(st.sampled_from([1200, 2500]), st.sampled_from([0, fill.SMALL_BYTES])),
    st.sampled_from([b"", b"\n"]),
)
def test_every_answer_is_that_of_the_journal_itself(tmp_path, lines, asked, sizes, end):
    piece, small = sizes
    journal, root = tmp_path / "journal.jsonl", tmp_path / "cache"
    written = [one.encode() if isinstance(one, str) else one for one in lines]
    journal.write_bytes(b"\n".join(written) + end)
    shutil.rmtree(root, ignore_errors=True)
    with mock.patch.object(fill, "SMALL_BYTES", small):
        cache = build.seal(journal, root, piece=piece)
    assert index.load(journal, root).segments == cache.segments

    for one in asked:
        assert seen(journal, one, cache) == seen(journal, one)


def test_a_line_ends_at_a_lone_carriage_return_even_if_the_first_ends_as_on_windows(tmp_path):
    journal, root = tmp_path / "journal.jsonl", tmp_path / "cache"
    lines = [said(f"number {number}", AT + number).encode() for number in range(8)]
    journal.write_bytes(lines[0] + b"\r\n" + lines[1] + b"\r" + b"\n".join(lines[2:]) + b"\n")

    for cache in (None, build.seal(journal, root, piece=500)):
        assert seen(journal, Filters(), cache)[0] == [line.decode() for line in lines]


def is_the_same(journal, cache, **asked):
    one = Filters(**asked)
    found = seen(journal, one, cache)
    assert found == seen(journal, one)
    return [event.text for event in found[1]]


@pytest.mark.parametrize(
    ("groups", "shown"),
    [
        # The next final one has the interim's own time, and stands before it: it is not the next.
        (
            [
                [said("other", AT, start=1, end=2)],
                [said("hel", AT, final=False)],
                [said("hello", AT + 5000)],
                ["{}"],
            ],
            ["other", "hello"],
        ),
        # The one with the same start came long before, by a clock that was set back since.
        (
            [
                [said("hello", AT - 9000, start=5000, end=6000), said("x", AT + 1)],
                [said("y", AT + 2)],
                [said("hel", AT + 9000, final=False, start=5000, end=5500), said("z", AT + 9001)],
                ["{}"],
            ],
            ["hello", "x", "y", "z"],
        ),
        # The later segment has the earlier times.
        (
            [
                [said("hello", AT + 9000)],
                [said("hel", AT, final=False)],
                [said("a", AT - 500)],
                ["{}"],
            ],
            ["a", "hello"],
        ),
        # Only the tail has the final one, and only the tail has the interim.
        ([[said("hel", AT, final=False)], [said("hello", AT + 1)]], ["hello"]),
        ([[said("hello", AT + 1)], [said("hel", AT, final=False)]], ["hello"]),
    ],
)
def test_an_interim_is_hidden_wherever_the_final_one_is(sealed, groups, shown):
    journal, cache = sealed(*groups)

    assert is_the_same(journal, cache, channels=("transcript",)) == shown
    for limit in range(1, len(shown) + 1):
        assert is_the_same(journal, cache, channels=("transcript",), limit=limit) == shown[-limit:]
    is_the_same(journal, cache, interim=True)
    is_the_same(journal, cache, by_event=True)
    is_the_same(journal, cache, grep=("hel",), none_of=("hello",))


def test_a_final_one_that_was_looked_up_for_an_interim_is_itself_among_the_newest(sealed):
    journal, cache = sealed(
        [said("old", AT - 9000)],
        [said("hello", AT, start=1000, end=2000)],
        [said("hel", AT + 5000, final=False, start=1000, end=1500), said("new", AT + 6000)],
        ["{}"],
    )

    assert is_the_same(journal, cache, limit=2, channels=("transcript",)) == ["hello", "new"]
    assert is_the_same(journal, cache, limit=2, offset=1, channels=("transcript",)) == ["old", "hello"]


def test_around_a_match_what_was_replaced_from_afar_is_hidden(sealed):
    journal, cache = sealed(
        [said("match", AT), said("hel", AT + 100, final=False)],
        [said("x", AT + 50_000, stream="rts-2")],
        [said("hello", AT + 90_000)],
        ["{}"],
    )

    assert is_the_same(journal, cache, grep=("match",), around_ms=1000) == ["match"]
    assert is_the_same(journal, cache, grep=("match",), around_ms=1000, interim=True) == ["match", "hel"]
    assert is_the_same(journal, cache, grep=("match",), around_ms=60_000) == ["match", "x"]


FETCHED = {"start": 1772446529.123, "end": 1772446530, "backfilled": True}
LIVE = {"start": 1772446529123, "end": 1772446530000}


@pytest.mark.long
def test_an_event_received_and_fetched_is_shown_once_wherever_it_is(sealed):
    live, again = said("hello", AT, **LIVE), said("hello", AT + 9000, **FETCHED)
    step = {"channel": "capture_session", "event": "capture_session.active", "capture_session_id": "cap-1"}
    first, second = line(AT - 5000, **step), line(AT + 8000, **step, backfilled=True)
    newest = said("new", AT + 10_000)
    for groups in (
        [[first, live], [said("x", AT + 1)], [second, again], [newest]],
        [[second, again], [said("x", AT + 1)], [first, live], [newest]],
        [[first, live], [said("x", AT + 1), newest], [second, again]],
        [[second, again], [newest, said("x", AT + 1)], [first, live]],
    ):
        journal, cache = sealed(*groups)
        for limit in (None, 1, 2, 3):
            kept = ["active", "hello", "x", "new"][-limit if limit else 0 :]
            assert is_the_same(journal, cache, limit=limit) == kept
        shutil.rmtree(cache.folder)


def test_events_without_a_time_and_those_of_one_moment_are_in_the_order_of_the_file(sealed):
    timeless = '{"channel":"transcript","data":{"text":"%s"}}'
    journal, cache = sealed(
        [timeless % "a", said("1")],
        [said("2"), timeless % "b"],
        [timeless % "c"],
        [said("3"), timeless % "d"],
    )
    everything = ["a", "b", "c", "d", "1", "2", "3"]

    for limit in (None, 0, 1, 4, 6):
        kept = everything[len(everything) - limit :] if limit is not None else everything
        assert is_the_same(journal, cache, limit=limit) == kept
        assert is_the_same(journal, cache, limit=limit, newest_first=True) == kept[::-1]
    assert is_the_same(journal, cache, window=Window(AT, None)) == ["1", "2", "3"]


def test_unreadable_lines_count_as_they_do_in_the_journal(sealed):
    broken = said("word")[:-1] + "!}"
    journal, cache = sealed(
        [broken, "[1]", b"\xff", said("a")],
        [b"\xef\xbb\xbf" + said("b").encode(), b"\xff{}"],
        [b"\xef\xbb\xbf" + said("c").encode(), broken],
    )

    for asked in (
        {},
        {"grep": ("a",)},
        {"grep": ("word",)},
        {"window": Window(AT + 5000, None)},
        {"limit": 1},
    ):
        is_the_same(journal, cache, **asked)
        is_the_same(journal, cache, **asked, around_ms=5)


# Only what is needed is opened


def minutes(number):
    return AT + number * 60_000


def test_only_segments_that_reach_into_the_window_are_opened(sealed, opened):
    journal, cache = sealed(*([said(f"{n}", minutes(n))] for n in range(5)))
    for segment in (cache.segments[0], *cache.segments[2:]):
        cache.events(segment).write_bytes(b"poison")

    assert texts(journal, cache, window=Window(minutes(1), minutes(2))) == ["1"]
    assert opened == {cache.segments[1].start}


def test_only_segments_that_have_all_the_words_are_opened(sealed, opened):
    journal, cache = sealed(
        [said("rare word", minutes(0))],
        [said("Rare", minutes(1)), said("word", minutes(1))],
        [said("word", minutes(2))],
        [said("nothing", minutes(3))],
    )

    assert texts(journal, cache, grep=("rare",)) == ["rare word", "Rare"]
    assert opened == {cache.segments[0].start, cache.segments[1].start}
    opened.clear()
    assert texts(journal, cache, any_of=("nothing", "absent")) == ["nothing"]
    assert opened == set()


def test_a_speaker_is_found_in_the_segments_that_name_them(sealed, opened):
    journal, cache = sealed(
        [said("one", minutes(0), speaker="Ada Lovelace")],
        [said("two", minutes(1), speaker="Bo")],
        [said("three", minutes(2), speaker="ada")],
    )

    assert texts(journal, cache, grep=("ada",)) == ["one", "three"]
    assert opened == {cache.segments[0].start}
    assert texts(journal, cache, speakers=("ada lovelace",)) == ["one"]


def test_the_window_of_a_usual_line_is_found(sealed):
    windows = {
        "[VS Code] x": "VS Code",
        '{"app":"Slack"}': "Slack",
        '{"app"\t:"Slack"}': "Slack",
        "```\n{}\n```": None,
        "VS Code": None,
    }
    members = {"channel": "visual_index", "rtstream_id": "rts-3", "rtstream_name": "display:1"}
    lines = [line(AT + n, **members, data={"text": text, "start": AT, "end": AT})
             for n, text in enumerate(windows)]  # fmt: skip
    journal, cache = sealed(lines, [said("after")])

    with answered(journal, Filters(channels=("visual_index",)), cache) as answer:
        found = [event for batch in answer.events({"text", "window_name"}) for event in batch]
    assert {event.text: event.window_name for event in found} == windows


def test_for_the_newest_only_the_newest_segments_are_opened(sealed, opened):
    journal, cache = sealed(*([said(f"{n}", minutes(n)), said(f"{n}'", minutes(n) + 1)] for n in range(6)))

    assert texts(journal, cache, limit=2) == ["5", "5'"]
    # One is tried before it is known that the tail has enough.
    assert opened <= {cache.segments[-1].start}
    opened.clear()
    assert texts(journal, cache, limit=4) == ["4", "4'", "5", "5'"]
    assert opened == {cache.segments[-1].start}


def test_around_a_match_only_what_is_near_it_is_opened(sealed, opened):
    journal, cache = sealed(*([said(f"word{n}", minutes(n))] for n in range(6)))

    assert texts(journal, cache, grep=("word2",), around_ms=60_000) == ["word1", "word2", "word3"]
    assert opened == {segment.start for segment in cache.segments[1:4]}


def test_final_ones_are_looked_for_in_those_segments_alone_that_may_have_them(sealed, opened):
    journal, cache = sealed(
        [said("a", minutes(0))],
        [said("hel", minutes(1), final=False), said("rare", minutes(1), stream="rts-2")],
        [said("hello", minutes(2))],
        [said("b", minutes(3))],
        [said("c", minutes(4), stream="rts-2")],
        ["{}"],
    )

    assert texts(journal, cache, grep=("hel",), none_of=("hello",)) == []
    assert opened <= {segment.start for segment in cache.segments[1:3]}
