"""What `Followed` yields while a journal grows: sessions as they begin, sentences once, and until when."""

import pytest
from support.random_journals import AT, line

from vdbevents.errors import InputError
from vdbevents.journal.reader import Tail
from vdbevents.query.filters import Filters
from vdbevents.query.follow import Ending, Followed


def step(session, status, *streams, at=0):
    listed = [{"rtstream_id": stream, "name": f"mic:{stream}"} for stream in streams]
    return line(
        AT + at, event=f"capture_session.{status}", capture_session_id=session, data={"rtstreams": listed}
    )


def said(text, stream, at=0, *, final=True, start=None, end=None):
    data = {"text": text, "is_final": final}
    data |= {} if start is None else {"start": AT + start, "end": AT + end}
    return line(AT + at, channel="transcript", rtstream_id=stream, data=data)


@pytest.fixture
def follow(tmp_path):
    """Yields what is found while lines are appended, a group whenever there is nothing more to read."""
    path = tmp_path / "journal.jsonl"

    def append(*lines):
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{one}\n" for one in lines)

    def run(*groups, first=(), as_lines=False, only_new=False, **options):
        append(*first)
        remaining = iter(groups)

        def wait():
            group = next(remaining, None)
            if group is None:
                return False
            append(*group)
            return True

        filters = Filters(
            **{name: options.pop(name) for name in ("sessions", "interim", "grep") if name in options}
        )
        after = Tail(path, None) if only_new else None
        with Followed(path, filters, wait=wait, after=after, **options) as followed:
            if as_lines:
                shown = [one for batch in followed.lines() for one in batch]
            else:
                shown = [event.text for batch in followed.events({"text"}) for event in batch]
            assert followed.shown == len(shown)
            return shown

    return run


def test_the_streams_of_a_session_are_followed_from_the_moment_on_at_which_they_are_named(follow):
    shown = follow(
        [said("other", "rts-2")],
        [step("cap-1", "active", "rts-1"), said("one", "rts-1"), said("not mine", "rts-3")],
        [said("two", "rts-1"), step("cap-2", "active", "rts-3", at=500), said("not mine", "rts-3")],
        [step("cap-1", "stopped", at=600)],
        first=[step("cap-1", "created")],
        sessions=("cap-1",),
    )  # fmt: skip

    assert shown == ["created", "other", "active", "one", "two", "stopped"]


def test_last_goes_over_to_the_next_session(follow):
    shown = follow(
        [said("two", "rts-1", 20)],
        [step("cap-2", "active", "rts-2", at=30), said("three", "rts-2", 40), said("late", "rts-1", 41)],
        first=[step("cap-1", "active", "rts-1", at=0), said("one", "rts-1", 10)],
        sessions=("last",),
    )  # fmt: skip

    assert shown == ["active", "one", "two", "active", "three"]


def test_of_a_journal_that_is_not_there_yet_the_first_session_is_the_last(follow, tmp_path):
    assert follow(["{}"], [step("cap-1", "active", "rts-1"), said("one", "rts-1")], sessions=("last",)) == [
        "active", "one",
    ]  # fmt: skip


def test_an_ambiguous_beginning_of_an_id_is_refused_and_a_clear_one_stays_what_it_was(follow):
    with pytest.raises(InputError):
        follow(first=[step("cap-1", "active"), step("cap-2", "active")], sessions=("cap",))
    first, other = step("x-1", "active", "rts-1"), step("x-20", "active", "rts-2", at=9)

    assert follow([other], [said("one", "rts-1")], first=[first], sessions=("x",)) == ["active", "one"]


SENTENCE = [
    said("ship", "rts-1", 1, final=False, start=0, end=500),
    said("ship it", "rts-1", 2, final=False, start=0, end=900),
    said("Ship it now.", "rts-1", 3, start=10, end=1000),
]
NEXT = said("Ship that, too.", "rts-1", 4, start=1000, end=1500)
OTHER = said("ship elsewhere", "rts-2", 5, final=False, start=0, end=900)


@pytest.mark.parametrize("as_lines", [False, True])
def test_a_sentence_counts_once_as_soon_as_it_matches(follow, as_lines):
    texts = [one.partition('"text":"')[2].partition('"')[0] for one in (SENTENCE[0], NEXT, OTHER)]
    found = follow(
        *([one] for one in SENTENCE), [NEXT, OTHER], first=["{}"], interim=True, once=True, grep=("ship",)
    )
    assert found == texts
    present = follow([NEXT], first=[], grep=("now",), once=True, as_lines=as_lines)
    assert len(present) == 1


@pytest.mark.parametrize("as_lines", [False, True])
def test_it_ends_after_so_many_matches_wherever_they_are(follow, as_lines):
    found = follow(
        [said("three", "s"), said("four", "s"), said("five", "s")], [said("six", "s")],
        first=[said("one", "s"), said("two", "s")], ending=Ending(4), as_lines=as_lines,
    )  # fmt: skip
    assert len(found) == 4
    assert "four" in found[-1]
    assert len(follow(ending=Ending(2))) == 2


def test_it_ends_when_the_time_is_over_though_lines_keep_coming_but_not_before_the_search(follow):
    groups = [[said(f"{n}", "s")] for n in range(3)]
    assert follow(*groups, first=[said("present", "s")], ending=Ending(None, 0.0)) == ["present"]


def test_only_what_comes_later_counts(follow):
    assert follow([said("new", "s")], first=[said("old", "s")], only_new=True) == ["new"]
