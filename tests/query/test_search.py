"""Finding events: what is chosen, in which order, and what an unreadable line does."""

import codecs
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.databases import search, shared_database

import vdbevents
from vdbevents.errors import InputError
from vdbevents.query import engine
from vdbevents.query.filters import Filters
from vdbevents.times import Window

SESSION = Path(vdbevents.__file__).parent / "emulator" / "data" / "real-session.jsonl"
AT = 1772446530123


def line(at_ms=AT, **members):
    stamp = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    head = f'{{"ts":"{stamp}.{at_ms % 1000:03d}Z","unix_ts":{at_ms // 1000}.{at_ms % 1000:03d}'
    rest = json.dumps(members, ensure_ascii=False, separators=(",", ":"))[1:]
    return head + ("," if members else "") + rest


def said(text, at_ms=AT, *, final=True, start=None, end=None, stream="rts-1"):
    data = {"text": text, "is_final": final, "start": start, "end": end}
    return line(at_ms, channel="transcript", rtstream_id=stream, data=data)


@pytest.fixture
def journal(tmp_path):
    """Writes lines, text or bytes, and answers with the journal."""

    def write(*lines, name="videodb_events.jsonl", end=b"\n"):
        path = tmp_path / name
        content = [one.encode() if isinstance(one, str) else one for one in lines]
        path.write_bytes(b"\n".join(content) + (end if content else b""))
        return path

    return write


def found(path, **filters):
    """The lines that are found, and how many could not be read."""
    with engine.search(path, Filters(**filters), shared=shared_database()) as answer:
        return [one for batch in answer.lines() for one in batch], answer.skipped


def texts(path, **filters):
    with search(path, Filters(**filters)) as answer:
        return [event.text for batch in answer.events() for event in batch]


def test_matches_at_one_time_have_surroundings_of_their_own(journal):
    moments = [AT + n * 1_800_000 for n in range(13)]
    near = [
        line(at, channel="alert", text=text) for at in moments for text in ("slack is open", "slack is up")
    ]
    far = [line(at + 600_000, channel="alert", text="filler") for at in moments]

    with search(journal(*near, *far), Filters(grep=("slack is",), around_ms=5000)) as answer:
        shown = [event.text for batch in answer.events() for event in batch]
        assert sorted(answer.breaks) == list(range(2, 26, 2))
    assert shown == ["slack is open", "slack is up"] * 13


@pytest.mark.parametrize("between", [b"", b"\0\0"], ids=["whole", "with NULs"])
def test_the_first_event_of_a_file_that_begins_with_a_byte_order_mark_is_found(journal, between):
    marked = codecs.BOM_UTF8 + said("first", AT).encode()

    assert texts(journal(marked, between + said("next", AT + 1).encode())) == ["first", "next"]
    # In the middle of a file it is what it was: no JSON.
    assert texts(journal(said("first", AT), between + marked)) == ["first"]


def test_a_match_is_shown_among_what_is_around_it_though_a_later_event_replaced_it(journal):
    first = said("shall we dep", AT + 2000, final=False, start=AT)
    path = journal(first, said("Should wheat step?", AT + 5000, final=True, start=AT))
    window = Window(until_ms=AT + 4000)

    assert texts(path, window=window, grep=("shall we",)) == ["shall we dep"]
    assert "shall we dep" in texts(path, window=window, grep=("shall we",), around_ms=5000)
    # Without the window it is no match.
    assert texts(path, grep=("shall we",), around_ms=5000) == []


def test_an_unfinished_sentence_that_was_recorded_twice_is_shown_once_among_what_is_around_it(journal):
    first = said("shall we dep", AT + 2000, final=False, start=AT)
    path = journal(first, first, said("never mind", AT + 3000, start=AT + 2500, stream="rts-2"))

    assert texts(path, grep=("shall we",)) == ["shall we dep"]
    assert texts(path, grep=("shall we",), around_ms=5000) == ["shall we dep", "never mind"]


def test_events_in_some_times_alone_are_found_with_those_that_last_into_them(journal):
    times = [(0, 5), (10, 12), (20, 60), (70, 71)]
    lines = [said(f"{a}", AT + 99_000, start=AT + a * 1000, end=AT + b * 1000) for a, b in times]
    path = journal(*lines, line(AT + 30_000, channel="alert", text="without a start"))
    spans = ((AT + 5000, AT + 8000), (AT + 30_000, AT + 40_000))

    assert texts(path, by_event=True, spans=spans) == ["0", "20", "without a start"]
    assert texts(path, by_event=True, spans=spans, grep=("0",), channels=("transcript",)) == ["0", "20"]


def test_of_an_unfinished_sentence_the_newest_version_is_found(journal):
    versions = ["and", "and Mr.", "and Mr. John"]
    lines = [said(text, AT + n, final=False, start=AT) for n, text in enumerate(versions)]
    other = said("and so", AT, final=False, start=AT, stream="rts-2")
    path = journal(*lines, other)

    assert texts(path) == ["and so", "and Mr. John"]
    assert texts(path, interim=True) == ["and", "and so", "and Mr.", "and Mr. John"]


def test_without_filters_everything_is_found_byte_for_byte(journal):
    lines = [line(channel="x", n=n, odd='é " \\ \u2028', huge=10**40) for n in range(5)]

    assert found(journal(*lines)) == (lines, 0)


def test_the_real_session_has_nineteen_sentences_instead_of_a_hundred_and_thirty_eight_fragments():
    assert len(texts(SESSION, channels=("transcript",))) == 19
    assert len(texts(SESSION, channels=("transcript",), interim=True)) == 138


@pytest.mark.parametrize(
    ("since", "until", "kept"),
    [(0, None, [0, 1, 2]), (1, 2, [1]), (1, None, [1, 2]), (None, 1, [0]), (3, None, []), (None, 0, [])],
)
def test_a_window_holds_its_beginning_and_not_its_end(journal, since, until, kept):
    path = journal(*(said(str(n), AT + n) for n in range(3)))
    window = Window(None if since is None else AT + since, None if until is None else AT + until)

    assert texts(path, window=window) == [str(n) for n in kept]


def test_a_clock_that_stepped_back_hides_nothing_and_the_order_is_that_of_the_times(journal):
    path = journal(said("b", AT + 5000), said("d", AT + 9000), said("a", AT), said("c", AT + 7000))

    assert texts(path) == ["a", "b", "c", "d"]
    assert texts(path, window=Window(AT + 5000, AT + 9000)) == ["b", "c"]


def test_events_of_one_moment_stay_in_the_order_of_the_file(journal):
    path = journal(*(said(str(n)) for n in range(500)))

    assert texts(path) == [str(n) for n in range(500)]


def test_the_limit_keeps_the_newest_and_shows_them_oldest_first(journal):
    path = journal(said("c", AT + 2), said("a", AT), said("b", AT + 1))

    assert texts(path, limit=2) == ["b", "c"]


@pytest.mark.parametrize(
    ("patterns", "options", "kept"),
    [
        (("deploy",), {}, ["Deploy now", "we deploy code"]),
        (("Deploy",), {}, ["Deploy now"]),
        (("DEPLOY",), {"ignore_case": True}, ["Deploy now", "we deploy code"]),
        (("deploy", "code"), {}, ["we deploy code"]),
        (("100%",), {}, ["100% of a_b"]),
        (("a_b",), {}, ["100% of a_b"]),
        (("a.b",), {}, []),
        (("a.b",), {"extended": True}, ["100% of a_b"]),
        (("^we .*code$",), {"extended": True}, ["we deploy code"]),
        (("ÜBER",), {"ignore_case": True}, ["über Straße"]),
        (("\\",), {}, ["back\\slash"]),
        (("it's",), {}, ['it\'s "quoted"']),
        (('"quoted"',), {}, ['it\'s "quoted"']),
        (("two\nlines",), {}, ["two\nlines"]),
        (("absent",), {}, []),
    ],
)
def test_every_pattern_has_to_match_and_smart_case_decides_on_case(journal, patterns, options, kept):
    path = journal(*map(said, ["Deploy now", "we deploy code", "100% of a_b", "über Straße", "back\\slash",
                               "it's \"quoted\"", "two\nlines"]))  # fmt: skip

    assert texts(path, grep=patterns, **options) == kept


def test_a_label_is_searched_as_the_text_is(journal):
    path = journal(line(channel="alert", data={"event_label": "slack_opened", "text": "User opened it"}))

    assert texts(path, grep=("slack",)) == ["User opened it"]
    assert texts(path, grep=("slack", "opened it")) == ["User opened it"]


def test_a_speaker_who_is_shown_is_searched_and_asked_for_in_any_case(journal):
    path = journal(
        *(
            line(AT + place, channel="transcript", data={"text": text, "speaker": speaker})
            for place, (text, speaker) in enumerate(
                [("Not before noon", "Ada"), ("Ask ada", "Bo"), ("Never", "Adam"), ("Hm", None)]
            )
        ),
    )

    assert texts(path, grep=("ada",), whole_words=True) == ["Not before noon", "Ask ada"]
    assert texts(path, grep=("Ada",), none_of=("noon",)) == ["Never"]
    assert texts(path, speakers=("ADA", "bo")) == ["Not before noon", "Ask ada"]
    assert texts(path, speakers=("Carl",)) == []


def test_a_window_is_found_by_its_words_in_any_case(journal):
    windows = ("#release - Slack", "Slacker", "VS Code", "ÉTÉ [1] - Photos")
    path = journal(*(line(channel="visual_index", data={"text": f"[{name}] x"}) for name in windows),
                   line(channel="visual_index", data={"text": "Slack is open"}))  # fmt: skip

    def found_windows(*names, **others):
        with search(path, Filters(windows=names, **others)) as answer:
            return [event.window_name for batch in answer.events() for event in batch]

    assert found_windows("slack") == ["#release - Slack"]
    assert found_windows("Vs cODE", "été [1]") == ["VS Code", "ÉTÉ [1] - Photos"]
    assert found_windows("code", grep=("nothing",)) == []
    assert found_windows("S.ack", extended=True, grep=("x",)) == []
    assert found_windows() == [*windows, None]


@pytest.mark.parametrize("window", [Window(AT), Window(None, AT), Window(AT - 500, AT + 500)])
def test_by_event_finds_the_same_in_usual_lines_as_in_any_others(journal, window):
    moments = [AT - 501, AT - 500, AT - 1, AT, AT + 1, AT + 499, AT + 500, 10**10, 10**14]
    usual = [
        line(AT + 10**9, channel="transcript", rtstream_id="rts-1", rtstream_name="mic",
             data={"text": f'"{at}" \\', "is_final": True, "start": at, "end": at + 5})
        for at in moments
    ]  # fmt: skip
    others = [text.replace('"channel":', '"x":1,"channel":') for text in usual]
    asked = {"window": window, "by_event": True}

    expected = texts(journal(*others), **asked)
    assert texts(journal(*usual), **asked) == expected
    assert 0 < len(expected) < len(moments)


def test_a_channel_is_found_however_its_name_is_written(journal):
    path = journal(
        line(channel="transcript", data={"text": "plain"}),
        line(AT + 1, channel="transcript", data={"text": "escaped"}).replace("nscript", "\\u006escript"),
        line(AT + 2, type="spoken_index", data={"text": "by its other name"}),
        line(AT + 3, channel="visual_index", data={"text": "screen"}),
        line(AT + 4, event_id="e", data={"event_label": "alert without a name"}),
    )
    assert texts(path, channels=("transcript", "audio")) == ["plain", "escaped", "by its other name"]
    assert len(texts(path, channels=("alert",))) == 1


def test_an_invalid_regular_expression_is_refused_with_its_reason(journal):
    with pytest.raises(InputError, match=r"\(open"):
        found(journal(said("x")), grep=("(open",), extended=True)


@pytest.mark.parametrize("asked", ["visual_index", "scene_index", "visual"])
def test_a_channel_is_found_under_each_of_its_names(journal, asked):
    path = journal(
        line(channel="scene_index", data={"text": "a"}),
        line(type="visual_index", data={"text": "b"}),
        said("c"),
    )

    assert texts(path, channels=(asked,)) == ["a", "b"]


def test_a_stream_is_found_by_its_id_or_its_name(journal):
    path = journal(
        line(channel="transcript", rtstream_id="rts-1", rtstream_name="mic:default", text="a"),
        line(channel="transcript", rtstreamId="rts-2", rtstreamName="display:1", text="b"),
    )

    assert texts(path, streams=("rts-2",)) == ["b"]
    assert texts(path, streams=("mic:default",)) == ["a"]
    assert texts(path, streams=("rts-1", "display:1")) == ["a", "b"]
    assert texts(path, streams=("rts",)) == []


# Interim transcripts


def test_an_interim_is_hidden_once_its_final_came_and_not_before(journal):
    interim = said("hel", AT, final=False, start=1000, end=1500)
    final = said("hello", AT + 1000, start=1000, end=2000)

    assert texts(journal(interim)) == ["hel"]
    assert texts(journal(interim, final)) == ["hello"]
    assert texts(journal(interim, final), interim=True) == ["hel", "hello"]


def test_a_final_of_another_stream_or_another_sentence_replaces_nothing(journal):
    interim = said("one", AT, final=False, start=1000, end=1500)
    elsewhere = said("two", AT + 1, start=1000, end=1500, stream="rts-2")
    later = said("three", AT + 2, start=9000, end=9500)

    assert texts(journal(interim, elsewhere, later)) == ["one", "two", "three"]


def test_an_interim_whose_final_is_beyond_the_window_is_shown(journal):
    path = journal(said("hel", AT, final=False, start=1, end=2), said("hello", AT + 1000, start=1, end=3))

    assert texts(path, window=Window(AT, AT + 500)) == ["hel"]


def test_a_word_that_only_a_replaced_interim_had_is_not_found(journal):
    path = journal(
        said("cold spoon", AT, final=False, start=1, end=2), said("cold soon", AT + 1, start=1, end=3)
    )

    assert texts(path, grep=("spoon",)) == []
    assert texts(path, grep=("spoon",), interim=True) == ["cold spoon"]


# What is not as it should be


UNREADABLE = [
    b"garbage",
    b'{"torn":',
    b"[1,2]",
    b'"text"',
    b"42",
    b"\xff\xfe",
    b'{"a":1}{"b":2}',
    b'{"a":"\xff"}',
]


def test_unreadable_lines_are_counted_and_the_rest_is_found(journal):
    lines = [said("before"), *UNREADABLE, said("after", AT + 1)]

    kept, skipped = found(journal(*lines))

    assert [json.loads(one)["data"]["text"] for one in kept] == ["before", "after"]
    assert skipped == len(UNREADABLE)


def test_a_torn_last_line_is_counted_and_a_whole_one_without_its_end_is_found(journal):
    assert found(journal(said("a"), b'{"ts":"2026', end=b""))[1] == 1
    assert texts(journal(said("a"), said("b", AT + 1), end=b"")) == ["a", "b"]


def test_empty_lines_and_windows_line_ends_are_no_matter(journal):
    path = journal(said("a") + "\r", "", said("b", AT + 1) + "\r")

    with engine.search(path, Filters()) as answer:
        assert [event.text for batch in answer.events() for event in batch] == ["a", "b"]
        assert answer.skipped == 0


def test_an_empty_journal_has_nothing_in_it(journal):
    assert found(journal()) == ([], 0)


def test_a_missing_journal_is_an_error_with_a_hint(tmp_path):
    with pytest.raises(InputError) as raised:
        found(tmp_path / "none.jsonl")
    assert raised.value.error_id == "journal-missing"
    assert raised.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_journal_that_may_not_be_read_is_an_error(journal):
    path = journal(said("a"))
    path.chmod(0)

    with pytest.raises(InputError) as raised:
        found(path)
    assert raised.value.error_id == "journal-unreadable"


@pytest.mark.parametrize(
    "name", ["it's.jsonl", "a *.jsonl", "[ab].jsonl", "q?.jsonl", "é.jsonl", "{a,b}.jsonl"]
)
def test_a_file_is_taken_by_its_name_whatever_is_in_it(journal, name):
    journal(said("wrong"), name="a b.jsonl")
    journal(said("wrong"), name="a.jsonl")

    assert texts(journal(said("right"), name=name)) == ["right"]


@pytest.mark.parametrize(
    "event",
    [
        '{"ts": "2026-03-02T10:15:30+00:00", "unix_ts": 1772446530, "type": "transcript", "text": "x"}',
        '{"ts":"2026-03-02T11:15:30.000+01:00","channel":"transcript","data":{"text":"x"}}',
        '{"channel":"transcript","data":{"text":"x"},"unix_ts":1772446530.0}',
        '  {"unix_ts":1.77244653e9,"text":"x","channel":"transcript"}  ',
    ],
)
def test_lines_of_other_recorders_are_found_in_their_window(journal, event):
    path = journal(event)

    assert texts(path, window=Window(1772446530000, 1772446530001)) == ["x"]
    assert texts(path, window=Window(1772446530001, None)) == []


def test_a_line_without_a_time_is_found_where_no_time_is_asked_for(journal):
    path = journal(said("a"), '{"channel":"transcript","data":{"text":"timeless"}}')

    assert texts(path) == ["timeless", "a"]
    assert texts(path, window=Window(0, None)) == ["a"]


def test_lines_that_only_lenient_readers_take_are_found(journal):
    odd = [
        line(AT)[:-1] + ',"channel":"transcript","data":{"text":"lone \\ud800 half","n":1e400}}',
        line(AT + 1)[:-1]
        + ',"channel":"transcript","data":{"text":"not \\\\ud800 one","n":'
        + "9" * 400
        + "}}",
    ]
    path = journal(*odd)

    assert found(path, grep=("half",)) == ([odd[0]], 0)
    assert found(path, grep=("not",)) == ([odd[1]], 0)
    assert texts(path, grep=("ud800",)) == ["not \\ud800 one"]


@pytest.mark.parametrize(
    "data", [None, "text", 5, [], [1], {}, {"text": None}, {"text": 5}, {"text": {"a": 1}}]
)
def test_data_of_any_type_fails_nothing(journal, data):
    path = journal(line(channel="transcript", data=data), said("after", AT + 1))

    assert len(found(path)[0]) == 2
    assert texts(path, grep=("after",)) == ["after"]


@pytest.mark.long
def test_a_line_of_64_mebibytes_is_found(journal):
    path = journal(said("small"), said("x" * (64 << 20) + " needle", AT + 1), said("last", AT + 2))

    assert [len(text) for text in texts(path, grep=("needle",))] == [(64 << 20) + 7]
    assert texts(path, limit=1) == ["last"]


def test_a_journal_that_grows_meanwhile_is_read_all_the_same(journal):
    path = journal(*(said(str(n)) for n in range(100)))
    with engine.search(path, Filters()) as answer:
        with path.open("ab") as handle:
            handle.write(said("new").encode() + b"\n")
        assert sum(len(batch) for batch in answer.lines()) >= 100


def test_nothing_is_left_beside_the_journal(journal):
    path = journal(said("a"))
    found(path)

    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


# Gaps, and what was fetched later


def gap(name="gap-1", at_ms=AT, since=AT - 9000, until=AT - 1000, **data):
    told = {"id": name, "since": since, "until": until, "reason": "gone", "status": "open", **data}
    return line(at_ms, channel="vdbevents", event="listener.gap", data=told)


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"window": Window(AT - 5000, AT - 4000)},
        {"window": Window(None, AT - 4000)},
        {"window": Window(AT + 10**9, None)},
        {"grep": ("absent",)},
        {"grep": ("Absent",), "window": Window(AT - 5000, AT - 4000)},
        {"grep": ("absent",), "interim": True},
        {"grep": ("a.s",), "extended": True},
        {"channels": ("transcript",)},
        {"streams": ("rts-1",), "limit": 1},
    ],
)
def test_the_gaps_of_a_journal_are_known_whatever_is_asked_of_it(journal, asked, spaced):
    lines = [said("x", AT + n) for n in range(5)]
    one = gap(status="open"), gap(status="recovered"), gap("gap-2", AT + 7)
    if spaced:
        one = [json.dumps(json.loads(text)) for text in one]

    with search(journal(*lines[:3], *one, *lines[3:], b"torn listener.gap"), Filters(**asked)) as answer:
        assert [(it.id, it.status) for it in answer.gaps] == [("gap-1", "recovered"), ("gap-2", "open")]
        assert answer.skipped == 1


def test_a_line_about_a_gap_is_itself_found_only_where_it_matches(journal):
    path = journal(gap(), said("x", AT + 5000))

    assert len(found(path)[0]) == 2
    assert texts(path, window=Window(AT + 1, None)) == ["x"]
    assert texts(path, grep=("x",), channels=("transcript",)) == ["x"]


@pytest.mark.parametrize(
    "told",
    [
        line(channel="transcript", data={"text": '"listener.gap"'}),
        line(channel="transcript", event="listener.gap", data={"since": 1, "until": 2}),
        line(channel="vdbevents", event="listener.connected", data={"said": "listener.gap"}),
        line(channel="vdbevents", event="listener.gap", data="soon"),
        line(channel="vdbevents", event="listener.gap", data={"since": "soon", "until": None}),
    ],
)
def test_a_line_that_only_names_a_gap_is_not_a_gap(journal, told):
    with engine.search(journal(told), Filters()) as answer:
        assert answer.gaps == []


def fetched(text, at_ms=AT, start=None, end=None, *, stream="rts-1", channel="transcript"):
    data = {"text": text, "is_final": True, "start": start, "end": end}
    return line(at_ms, channel=channel, rtstream_id=stream, data=data, backfilled=True)


SPAN = {"start": 1772446529123, "end": 1772446530000}
SPAN_IN_SECONDS = {"start": 1772446529.123, "end": 1772446530}


def test_an_event_received_and_fetched_is_shown_as_received(journal):
    live = said("hello", AT, **SPAN)
    path = journal(live, fetched("hello", AT + 9000, **SPAN_IN_SECONDS))

    assert found(path) == ([live], 0)
    assert found(path, grep=("hello",)) == ([live], 0)
    assert found(path, interim=True) == ([live], 0)
    assert found(path, limit=2) == ([live], 0)


def test_an_event_fetched_twice_is_shown_once(journal):
    first, second = (fetched("hello", AT + n, **SPAN_IN_SECONDS) for n in range(2))

    assert found(journal(first, second))[0] == [first]


def test_an_event_fetched_and_received_later_is_shown_once(journal):
    first = fetched("hello", AT, **SPAN_IN_SECONDS)

    assert found(journal(first, said("hello", AT + 1, **SPAN)))[0] == [first]


def test_a_backfilled_event_is_shown_if_the_received_one_is_outside_the_window(journal):
    late = fetched("hello", AT + 9000, **SPAN_IN_SECONDS)

    assert found(journal(said("hello", AT, **SPAN), late), window=Window(AT + 1, None))[0] == [late]


@pytest.mark.parametrize(
    "other",
    [
        fetched("Hello", AT + 1, **SPAN),
        fetched("hello", AT + 1, **SPAN, stream="rts-2"),
        fetched("hello", AT + 1, **SPAN, channel="audio_index"),
        fetched("hello", AT + 1, start=SPAN["start"] + 1, end=SPAN["end"]),
        fetched("hello", AT + 1, start=SPAN["start"], end=SPAN["end"] + 1),
        fetched("hello", AT + 1, start=SPAN["start"]),
        fetched("hello", AT + 1),
    ],
)
def test_a_difference_in_any_part_of_the_identity_makes_another_event(journal, other):
    live = said("hello", AT, **SPAN)

    assert found(journal(live, other))[0] == [live, other]


def test_an_event_received_twice_is_shown_twice(journal):
    lines = [said("hello", AT, **SPAN), said("hello", AT + 1, **SPAN)]

    assert found(journal(*lines, fetched("other", AT + 2, **SPAN)))[0][:2] == lines


def test_a_step_of_a_session_that_was_fetched_is_known_by_its_session_and_its_status(journal):
    live = line(AT, channel="capture_session", event="capture_session.stopped", capture_session_id="cap-1")
    again = line(AT + 1, type="capture_session.stopped", data={"session_id": "cap-1"}, backfilled=True)
    other = line(AT + 2, type="capture_session.exported", data={"session_id": "cap-1"}, backfilled=True)

    assert found(journal(live, again, other))[0] == [live, other]


def test_a_fetched_final_replaces_the_interim_that_was_received(journal):
    path = journal(
        said("hel", AT, final=False, **SPAN),
        fetched("hello", AT + 9000, **SPAN_IN_SECONDS),
    )

    assert texts(path, interim=True) == ["hel", "hello"]
    assert texts(path) == ["hello"]


# -- What is about the recorder itself ---------------------------------------------------------------------


RECORDED = [
    line(AT, channel="vdbevents", event="listener.connected", data={"ws_id": "ws-1"}),
    said("hello", AT + 1000, start=AT + 500),
    line(AT + 1500, channel="scene_index", rtstream_name="display:1", data={"text": "an editor"}),
    line(AT + 2000, channel="capture_client", event="recording:error", data={"text": "no permission"}),
    line(AT + 3000, event="capture_session.failed", capture_session_id="cap-1", data={"error": "denied"}),
]


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ({"recorder": True}, [0, 1, 2, 3, 4]),
        ({}, [1, 2, 4]),
        ({"channels": ("vdbevents",)}, [0]),
        ({"channels": ("transcript", "capture_client")}, [1, 3]),
        ({"names": ("recording:error",)}, [3]),
        ({"labels": ("listener.connected",)}, [0]),
        ({"grep": ("permission",)}, []),
        ({"not_channels": ("visual",)}, [1, 4]),
        ({"not_channels": ("scene_index", "transcript"), "recorder": True}, [0, 3, 4]),
        ({"channels": ("vdbevents",), "not_channels": ("vdbevents",)}, []),
        ({"grep": ("hello",), "around_ms": 10_000}, [1, 2, 4]),
        ({"grep": ("hello",), "around_ms": 10_000, "recorder": True}, [0, 1, 2, 3, 4]),
        ({"grep": ("hello",), "around_ms": 10_000, "not_channels": ("visual_index",)}, [1, 4]),
        ({"names": ("listener.connected",), "around_ms": 10_000}, [0, 1, 2, 3, 4]),
    ],
)
def test_what_is_about_the_recorder_is_left_out_unless_it_is_named(journal, filters, shown):
    path = journal(*RECORDED)

    assert found(path, **{"recorder": False} | filters)[0] == [RECORDED[place] for place in shown]


def test_a_gap_is_known_though_its_line_is_left_out(journal):
    data = {"id": "gap-1", "since": AT / 1000, "until": AT / 1000 + 5, "recovered": False}
    path = journal(line(AT + 5000, channel="vdbevents", event="listener.gap", data=data))

    with search(path, Filters(recorder=False)) as answer:
        assert answer.count == 0
        assert len(answer.gaps) == 1
