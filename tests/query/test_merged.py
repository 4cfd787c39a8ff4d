"""Several journals as one answer: in the order of time, with what was asked counted over all of them."""

import io
import json
from datetime import UTC

import pytest
from hypothesis import given, settings, strategies as st
from support.effort import examples

from vdbevents.errors import StorageError
from vdbevents.query import collapse, engine, hostnames, merge
from vdbevents.query.cache import build, index
from vdbevents.query.filters import Event, Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.merge import MergedResult
from vdbevents.query.output import write
from vdbevents.times import Window

# They seal real journals, or ask many.
pytestmark = pytest.mark.long

START = 1_772_446_530


def said(at_s, text, *, start_s=None, stream="mic", channel="transcript", **data):
    """Return a line that was received so many seconds after the start; None for one without a time."""
    told = {"text": text, "is_final": True, **data}
    if start_s is not None:
        told |= {"start": (START + start_s) * 1000, "end": (START + start_s + 1) * 1000}
    head = {} if at_s is None else {"unix_ts": START + at_s}
    return json.dumps({**head, "channel": channel, "rtstream_name": stream, "data": told})


@pytest.fixture
def journals(tmp_path):
    """Make journals of lines, by the names of their machines."""

    def make(**lines):
        for host, of_one in lines.items():
            (tmp_path / f"{host}.jsonl").write_text("".join(f"{line}\n" for line in of_one), "utf-8")
        return [HostJournal(host, tmp_path / f"{host}.jsonl", host) for host in lines]

    return make


def found(journals, **filters):
    """Return the host and the text of each event, and see that the lines are the same events' own."""
    with merge.search(journals, Filters(**filters)) as answer:
        told = [event for batch in answer.events(("text", "host")) for event in batch]
        lines = [json.loads(line)["data"]["text"] for batch in answer.lines() for line in batch]
        assert [event.text for event in told] == lines
        assert answer.count == len(told)
    return [(event.host, event.text) for event in told]


def printed(journals, output, *, unique=False, fields=None, **filters):
    asked = Filters(**filters)
    stream = io.BytesIO()
    with merge.search(journals, asked) as answer:
        runs = collapse.find(answer, newest_first=asked.newest_first) if unique else None
        style = write.Style(asked, UTC, fields=fields, runs=runs, hosts=len(journals) > 1)
        write.write(answer, output, stream, style)
    return stream.getvalue().decode()


# -- The order, and how many -------------------------------------------------------------------------------


def test_events_of_two_machines_are_in_the_order_of_receipt(journals):
    two = journals(laptop=[said(1, "a"), said(4, "d")], desk=[said(2, "b"), said(3, "c")])

    assert found(two) == [("laptop", "a"), ("desk", "b"), ("desk", "c"), ("laptop", "d")]
    assert found(two, newest_first=True) == found(two)[::-1]


def test_by_event_they_are_in_the_order_in_which_they_happened(journals):
    two = journals(laptop=[said(9, "a", start_s=1)], desk=[said(5, "b"), said(6, "c", start_s=0)])

    assert found(two, by_event=True) == [("desk", "c"), ("laptop", "a"), ("desk", "b")]


def test_events_without_a_time_are_first_and_ties_are_in_the_order_of_the_journals(journals):
    two = journals(laptop=[said(1, "a"), said(None, "b")], desk=[said(1, "c"), said(None, "d")])

    assert found(two) == [("laptop", "b"), ("desk", "d"), ("laptop", "a"), ("desk", "c")]
    assert found(two, newest_first=True) == found(two)[::-1]
    assert found(two, limit=1) == [("desk", "c")]
    assert found(two, limit=1, newest_first=True) == [("desk", "c")]


def test_the_newest_are_counted_over_all_journals(journals):
    two = journals(laptop=[said(n, f"{n}") for n in (1, 2, 7)], desk=[said(n, f"{n}") for n in (3, 4, 5)])

    assert [text for _, text in found(two, limit=2)] == ["5", "7"]
    assert [text for _, text in found(two, limit=2, offset=1)] == ["4", "5"]
    assert [text for _, text in found(two, offset=4)] == ["1", "2"]
    assert found(two, offset=9) == []
    assert found(two, limit=3, offset=9, newest_first=True) == []


def test_the_span_is_that_of_what_is_shown(journals):
    two = journals(laptop=[said(1, "a"), said(86_400, "b")], desk=[said(86_401, "c"), said(None, "d")])

    with merge.search(two, Filters()) as answer:
        assert answer.span == (START * 1000 + 1000, START * 1000 + 86_401_000)
    with merge.search(two, Filters(limit=2)) as answer:
        assert answer.span == (START * 1000 + 86_400_000, START * 1000 + 86_401_000)
    with merge.search(two, Filters(offset=3)) as answer:
        assert (answer.count, answer.span) == (1, None)


def test_only_one_journal_with_matches_is_cut_like_several(journals):
    two = journals(laptop=[said(n, f"code {n}") for n in range(5)], desk=[said(3, "nothing")])

    assert found(two, grep=("code",), limit=2, offset=1) == [("laptop", "code 2"), ("laptop", "code 3")]


def test_the_same_speech_on_two_machines_is_shown_twice_and_hides_nothing(journals):
    interim = said(1, "deploy", start_s=0, is_final=False)
    final = said(2, "deploy it", start_s=0)
    two = journals(laptop=[interim], desk=[interim, final], old=[final])

    assert found(two) == [("laptop", "deploy"), ("desk", "deploy it"), ("old", "deploy it")]


def test_unreadable_lines_and_sizes_are_reported_for_each_journal(journals):
    two = journals(laptop=["{torn", said(1, "a")], desk=[])

    with merge.search(two, Filters()) as answer:
        assert (answer.skipped, answer.count) == (1, 1)
        assert [(host, of.skipped, of.journal_bytes > 0) for host, of in answer.answers] == [
            ("laptop", 1, True),
            ("desk", 0, False),
        ]


class Told:
    """An answer without a journal, as `engine.search` would give it for what is asked."""

    skipped = 0
    breaks = frozenset()

    def __init__(self, times, filters, most):
        order = sorted(range(len(times)), key=lambda row: (times[row] is not None, times[row] or 0, row))
        order = order[::-1][filters.offset :][: filters.limit]
        rows = order if filters.newest_first else order[::-1]
        self._rows = [(times[row], f"{row}") for row in rows]
        self._most = most
        self.count = len(rows)
        known = [moment for moment, _ in self._rows if moment is not None]
        self.span = (min(known), max(known)) if known else None

    def timed_lines(self):
        return self._batches()

    def _batches(self):
        return (self._rows[at : at + self._most] for at in range(0, len(self._rows), self._most))

    def times(self):
        return ([moment for moment, _ in batch] for batch in self._batches())

    def lines(self):
        return ([line for _, line in batch] for batch in self._batches())

    def events(self, _columns=()):
        empty = dict.fromkeys(Event._fields)
        return (
            [Event(**empty | {"time_ms": at, "text": row}) for at, row in batch] for batch in self._batches()
        )


TIMES = st.lists(st.none() | st.integers(-5, 5), max_size=8)


@given(
    each=st.lists(TIMES, min_size=1, max_size=4),
    limit=st.none() | st.integers(1, 12),
    offset=st.integers(0, 12),
    newest_first=st.booleans(),
    most=st.integers(1, 3),
)
def test_merging_is_sorting_all_by_hand(each, limit, offset, newest_first, most):
    asked = Filters(limit=limit, offset=offset, newest_first=newest_first)
    one = asked if len(each) == 1 else merge.filters_for_each(asked)
    answer = MergedResult([(f"{number}", Told(times, one, most)) for number, times in enumerate(each)], asked)

    by_hand = sorted(
        (moment is not None, moment or 0, number, row)
        for number, times in enumerate(each)
        for row, moment in enumerate(times)
    )
    by_hand = by_hand[::-1][offset:][:limit]
    expected = [(f"{number}", f"{row}") for _, _, number, row in (by_hand if newest_first else by_hand[::-1])]

    events = [event for batch in answer.events(("text", "host")) for event in batch]
    assert [(event.host, event.text) for event in events] == expected
    assert [line for batch in answer.lines() for line in batch] == [row for _, row in expected]
    assert answer.count == len(expected)
    known = [moment for is_known, moment, *_ in by_hand if is_known]
    assert answer.span == ((min(known), max(known)) if known else None)


# -- Around ------------------------------------------------------------------------------------------------


def test_events_around_a_match_are_of_its_own_machine(journals):
    two = journals(
        laptop=[said(0, "before"), said(2, "deploy"), said(60, "later")], desk=[said(2, "on another screen")]
    )

    assert found(two, grep=("deploy",), around_ms=5000) == [("laptop", "before"), ("laptop", "deploy")]


def test_surroundings_are_parted_unless_those_of_another_machine_go_on(journals):
    two = journals(
        laptop=[said(0, "a"), said(2, "deploy 1"), said(100, "deploy 2"), said(103, "b")],
        desk=[said(1, "deploy 3"), said(4, "c"), said(50, "deploy 4"), said(101, "deploy 5")],
    )
    asked = {"grep": ("deploy",), "around_ms": 5000}

    text = printed(two, "text", **asked)
    assert text == (
        "10:15:30  laptop  mic  transcript  a\n"
        "10:15:31  desk    mic  transcript  deploy 3\n"
        "10:15:32  laptop  mic  transcript  deploy 1\n"
        "10:15:34  desk    mic  transcript  c\n"
        "--\n"
        "10:16:20  desk    mic  transcript  deploy 4\n"
        "--\n"
        "10:17:10  laptop  mic  transcript  deploy 2\n"
        "10:17:11  desk    mic  transcript  deploy 5\n"
        "10:17:13  laptop  mic  transcript  b\n"
    )
    newest_first = printed(two, "text", newest_first=True, **asked).splitlines()
    assert newest_first == text.splitlines()[::-1]


def test_surroundings_that_overlap_in_time_are_one_group_though_no_event_is_in_both(journals):
    one = journals(both=[said(0, "deploy 1"), said(8, "deploy 2"), said(30, "deploy 3")])
    two = journals(laptop=[said(0, "deploy 1"), said(30, "deploy 3")], desk=[said(8, "deploy 2")])
    asked = {"grep": ("deploy",), "around_ms": 5000}

    for newest_first in (False, True):
        marks = [
            [line == "--" for line in printed(of, "text", newest_first=newest_first, **asked).splitlines()]
            for of in (one, two)
        ]
        assert marks[0] == marks[1] == [False, newest_first, not newest_first, False]


def test_with_around_the_newest_matches_of_all_machines_are_counted(journals):
    two = journals(
        laptop=[said(0, "a"), said(1, "deploy 1"), said(100, "deploy 2"), said(101, "b")],
        desk=[said(50, "deploy 3"), said(51, "c")],
    )
    asked = {"grep": ("deploy",), "around_ms": 5000}

    assert [text for _, text in found(two, limit=1, **asked)] == ["deploy 2", "b"]
    assert [text for _, text in found(two, limit=1, offset=1, **asked)] == ["deploy 3", "c"]
    assert [text for _, text in found(two, offset=1, **asked)] == ["a", "deploy 1", "deploy 3", "c"]
    assert [text for _, text in found(two, limit=2, newest_first=True, **asked)] == [
        "b",
        "deploy 2",
        "c",
        "deploy 3",
    ]
    assert found(two, offset=3, **asked) == []


# -- As what -----------------------------------------------------------------------------------------------


def test_a_screen_that_two_machines_call_alike_is_two_screens(journals):
    def shown(at_s):
        return said(at_s, "An editor shows main.py", stream="display:1", channel="visual_index")

    two = journals(laptop=[shown(0), shown(10)], desk=[shown(1), shown(11)])

    assert printed(two, "text", unique=True) == (
        "10:15:30  laptop  screen  visual_index  An editor shows main.py (10 s, 2 times)\n"
        "10:15:31  desk    screen  visual_index  An editor shows main.py (10 s, 2 times)\n"
    )
    head, first, *_ = printed(two, "csv", unique=True).splitlines()
    assert head.endswith(",window,count,until,host")
    assert first.endswith(",2,2026-03-02T10:15:40.000Z,laptop")


def test_each_form_tells_the_machine_where_there_are_several(journals):
    two = journals(laptop=[said(1, "a")], desk=[said(2, "b")])

    assert printed(two, "md").splitlines()[2:] == [
        "- **10:15:31** laptop · mic · transcript: a",
        "- **10:15:32** desk · mic · transcript: b",
    ]
    assert [line.rpartition(",")[2] for line in printed(two, "csv").splitlines()] == [
        "host",
        "laptop",
        "desk",
    ]
    assert printed(two, "text", fields=("host", "text")) == "laptop\ta\ndesk\tb\n"
    assert printed(two, "jsonl", fields=("host",)) == '{"host":"laptop"}\n{"host":"desk"}\n'


def test_with_one_journal_the_machine_is_shown_only_on_request(journals):
    one = journals(laptop=[said(1, "a")])

    assert printed(one, "text") == "10:15:31  mic  transcript  a\n"
    assert printed(one, "csv").splitlines()[0].endswith(",window")
    assert printed(one, "text", fields=("host", "text")) == "laptop\ta\n"


def test_a_machine_s_name_is_made_harmless(journals):
    two = [one._replace(host=f"\x1b[31m{one.host}") for one in journals(a=[said(1, "a")], b=[said(2, "b")])]

    assert "\x1b" not in printed(two, "text") + printed(two, "md")


def test_an_answer_of_one_journal_tells_no_machine_and_no_time_that_was_not_asked_for(journals):
    [one] = journals(laptop=[said(1, "a")])

    with engine.search(one.path, Filters(window=Window())) as answer:
        [[event]] = answer.events(("text", "host"))
        assert event == Event(**dict.fromkeys(Event._fields) | {"text": "a"})
        assert list(answer.timed_lines()) == [[(START * 1000 + 1000, next(iter(answer.lines()))[0])]]


# -- What machines are called ------------------------------------------------------------------------------


def called(*paths):
    return hostnames.names([hostnames.Place(hostnames.parts_of(path.split("/"))) for path in paths])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/home/ada/laptop/videodb_events.jsonl"], ["laptop"]),
        (["/logs/desk.jsonl.gz", "/logs/phone.jsonl", "/logs/old.zst"], ["desk", "phone", "old"]),
        (["/logs/desk/videodb_events.jsonl.gz"], ["desk"]),
        (["/a/state/videodb_events.jsonl", "/b/state/videodb_events.jsonl"], ["a/state", "b/state"]),
        (["/a/x/s/j.jsonl", "/b/x/s/j.jsonl", "/c/k.jsonl"], ["a/x/s/j", "b/x/s/j", "k"]),
        (["/s.jsonl", "/a/s.jsonl"], ["/s", "a/s"]),
        (["/logs/desk.jsonl", "/logs/desk.jsonl.gz"], ["desk", "desk"]),
        (["/logs/.gz"], [".gz"]),
        (["/videodb_events.jsonl"], [""]),
    ],
)
def test_a_machine_is_called_by_what_tells_it_from_others(paths, names):
    assert called(*paths) == names


def test_a_name_that_was_given_is_kept_and_no_other_is_called_so():
    places = [
        hostnames.Place(("a", "x"), "laptop"),
        hostnames.Place(("b", "laptop")),
        hostnames.Place(("c",), "laptop"),
    ]

    assert hostnames.names(places) == ["laptop", "b/laptop", "laptop"]


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple), max_size=8))
@settings(max_examples=examples(200))
def test_two_places_are_never_called_alike(paths):
    names = hostnames.names([hostnames.Place(path) for path in paths])

    assert len(set(names)) == len(set(paths))
    assert all("/".join(path).endswith(name) for path, name in zip(paths, names, strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("laptop=/state", ("laptop", "/state")),
        ("desk=a=b.jsonl", ("desk", "a=b.jsonl")),
        ("/state", (None, "/state")),
        ("a/b=c", (None, "a/b=c")),
        ("=c", (None, "=c")),
        ("c=", (None, "c=")),
    ],
)
def test_a_name_stands_before_a_path(text, expected):
    assert hostnames.named(text) == expected


def test_of_many_journals_no_file_stays_open(tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "_MOST_HELD", 2)
    journals, texts = [], ["one", "two", "three"]
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(said(number, text) + "\n")
        build.seal(path, tmp_path / "cache", to_end=True)
        journals.append(HostJournal(str(number), path, str(path)))
    with merge.search(journals, Filters(), lambda path: index.load(path, tmp_path / "cache")) as answer:
        assert all(part.file.closed for _, one in answer.answers for part in one.snapshot.parts)
        assert all(one.snapshot.sealed.segments for _, one in answer.answers)
        assert [line for batch in answer.lines() for line in batch] == [
            said(number, text) for number, text in enumerate(texts)
        ]
        # A journal that was replaced since it was searched is no longer the one to read from.
        replaced = tmp_path / "replaced"
        replaced.write_text(said(0, "else") + "\n")
        replaced.replace(journals[0].path)
        with pytest.raises(StorageError):
            list(answer.lines())
