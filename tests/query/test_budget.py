"""The bound of an answer: what fits into so many bytes or tokens."""

import pytest
from hypothesis import given, strategies as st

from vdbevents.query.output.budget import UNBOUNDED, Bound, Fitting


def test_without_a_bound_everything_fits():
    assert not UNBOUNDED.is_given
    assert UNBOUNDED.newest(["one", "two"], "x" * 99) == Fitting(["one", "two"], 0)
    assert UNBOUNDED.first(["one", "two"]) == Fitting(["one", "two"], 0)


def test_the_newest_that_fit_are_kept_and_the_first_that_fit_are_kept():
    assert Bound(bytes=6).newest(["one", "four", "two", "six"]) == Fitting(["two", "six"], 2)
    assert Bound(bytes=6).first(["one", "two", "four", "six"]) == Fitting(["one", "two"], 2)


def test_what_is_printed_besides_takes_room_too():
    assert Bound(bytes=6).newest(["one", "two"], "----") == Fitting([], 2)
    assert Bound(bytes=6).first(["one", "two"], "--") == Fitting(["one"], 1)


def test_a_piece_that_is_too_long_ends_the_answer_and_is_counted():
    assert Bound(bytes=4).newest(["a", "b", "too long", "c"]) == Fitting(["c"], 3)
    assert Bound(bytes=4).first(["a", "b", "too long", "c"]) == Fitting(["a", "b"], 2)
    assert Bound(bytes=4).newest(["a", "too long"]) == Fitting([], 2)


@pytest.mark.parametrize("room", range(12))
def test_as_many_pieces_as_fit_are_found(room):
    assert Bound(bytes=room).most(8, "x".__mul__) == min(room, 8)
    assert Bound(bytes=room).most(1, lambda _: "xxx") == int(room >= 3)


def test_bytes_are_those_of_utf_8_and_a_token_is_four_characters():
    assert Bound(bytes=5).fits("héé")
    assert not Bound(bytes=4).fits("h", "éé")
    assert Bound(tokens=1).fits("hééé")
    assert not Bound(tokens=1).fits("hééé", "h")


@pytest.mark.parametrize("bound", [Bound(bytes=7, tokens=100), Bound(bytes=100, tokens=1)])
def test_of_two_bounds_the_narrower_holds(bound):
    assert not bound.fits("a" * 8)


@given(
    st.lists(st.text(max_size=6)),
    st.text(max_size=3),
    st.integers(1, 40),
    st.sampled_from(["bytes", "tokens"]),
)
def test_as_much_is_kept_as_fits_and_no_more(pieces, also, most, unit):
    bound = Bound(**{unit: most})
    newest, first = bound.newest(pieces, also), bound.first(pieces, also)

    assert newest.pieces == pieces[newest.left_out :]
    assert first.pieces == pieces[: len(pieces) - first.left_out]
    for kept, refused in ((newest, pieces[: newest.left_out][-1:]), (first, pieces[len(first.pieces) :][:1])):
        assert not kept.pieces or bound.fits(also, *kept.pieces)
        assert not refused or not bound.fits(also, *kept.pieces, *refused)
