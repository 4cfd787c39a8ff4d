"""Which sessions are listed, and with what content."""

from datetime import UTC

import pytest

from vdbevents.cli.sessions import shown
from vdbevents.events.session_content import SessionBook
from vdbevents.summaries.session_list import in_window, with_content
from vdbevents.terminal import cells
from vdbevents.times import Window

AT = 1772446530000


def book_of(*steps):
    book = SessionBook()
    for session, status, at in steps:
        moment = {} if at is None else {"unix_ts": (AT + at) / 1000}
        book.take({**moment, "event": f"capture_session.{status}", "capture_session_id": session})
    return book


BOOK = book_of(
    ("cap-1", "active", 0), ("cap-1", "stopped", 1000), ("cap-2", "active", 5000), ("cap-2", "stopped", 6000),
    ("cap-3", "active", 9000),
)  # fmt: skip


def ids(known):
    return [one.facts.id for one in known]


def test_a_window_chooses_the_sessions_that_touch_it_and_one_that_goes_on_touches_all_later_ones():
    assert ids(in_window([BOOK], Window())) == ["cap-1", "cap-2", "cap-3"]
    assert ids(in_window([BOOK], Window(AT + 1000, AT + 5000))) == ["cap-1"]
    assert ids(in_window([BOOK], Window(AT + 1001, AT + 5001))) == ["cap-2"]
    assert ids(in_window([BOOK], Window(AT + 99_999_999, None))) == ["cap-3"]
    assert ids(in_window([BOOK], Window(None, AT))) == []


def test_sessions_of_several_journals_are_in_the_order_of_their_beginnings():
    other = book_of(("other", "active", 3000), ("timeless", "active", None))

    known = in_window([BOOK, other], Window())
    assert [(one.journal, one.facts.id) for one in known] == [
        (1, "timeless"), (0, "cap-1"), (1, "other"), (0, "cap-2"), (0, "cap-3"),
    ]  # fmt: skip
    assert "timeless" not in ids(in_window([other], Window(0, None)))


def test_the_content_of_one_id_in_two_journals_is_counted_for_each():
    books = [BOOK, book_of(("cap-1", "active", 0))]
    counts = [
        [("cap-1", "alert", 2, AT + 900), ("cap-1", "transcript", 3, None)],
        [("cap-1", "alert", 1, AT + 70)],
    ]

    first, copy = with_content(in_window(books, Window(None, AT + 1)), ["a", "b"], counts)
    assert (first.host, first.channels, first.length_ms) == ("a", {"alert": 2, "transcript": 3}, 1000)
    assert (copy.host, copy.channels, copy.length_ms) == ("b", {"alert": 1}, 70)
    assert first.to_dict(with_host=True)["ended"] == "2026-03-02T10:15:31.000Z"
    assert copy.to_dict(with_host=False)["ended"] is None


def test_what_is_not_known_is_null():
    [timeless] = with_content(in_window([book_of(("cap-1", "", None))], Window()), ["a"], [[]])

    shown = timeless.to_dict(with_host=False)
    assert [shown[name] for name in ("started", "ended", "seconds", "status", "reason", "video")] == [
        None
    ] * 6
    assert (shown["events"], shown["streams"]) == (0, [])


@pytest.mark.parametrize("width", [None, 120, 60, 40])
def test_on_a_narrow_terminal_a_session_is_wrapped_and_nothing_of_it_is_cut(width):
    counts = [("cap-2", name, 1234, None) for name in ("transcript", "visual_index", "audio_index", "alert")]
    listed = with_content(in_window([BOOK], Window(AT + 5000, AT + 6000)), ["laptop"], [counts])
    text = shown(listed, UTC, width, with_host=True)

    for part in ("cap-2", "laptop", "2026-03-02 10:15:35", "1.0 s", "stopped", "1,234 alert"):
        assert part in " ".join(text.split())
    assert max(map(cells, text.splitlines())) <= (width or 999)
    assert (len(text.splitlines()) == 2) == (width not in (40, 60))
