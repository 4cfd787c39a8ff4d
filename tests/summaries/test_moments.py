"""Moments of matches, what was around them, and that the answer fits."""

import json
from datetime import UTC
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from vdbevents import terminal
from vdbevents.query.filters import Event, Filters
from vdbevents.query.output.budget import Bound
from vdbevents.query.output.highlight import Highlighter
from vdbevents.summaries.digest import Missed
from vdbevents.summaries.moment_output import Cutter, Extent, MomentJson, MomentText, fitted_moments
from vdbevents.summaries.moments import FoundMoment, newest, spans_for, surroundings

AT = 1_772_446_500_000
MORE = "vdbevents context --grep deploy --max-tokens 8000"
CUTTER = Cutter(Highlighter(Filters(grep=("deploy",))))
TEXT = MomentText(UTC, MORE, "", CUTTER)
PAGES = [TEXT, TEXT._replace(is_markdown=True), MomentJson(MORE, "", CUTTER)]
NOTHING = Event(**dict.fromkeys(Event._fields))


def event(at_s, text="deploy it", *, last_s=1, channel="transcript", stream="rts-1", **columns):
    start = AT + at_s * 1000
    own = {"channel": channel, "stream": stream, "text": text, "start_ms": start, "time_ms": start + 500}
    return NOTHING._replace(**own, end_ms=start + last_s * 1000, **columns)


def screen(at_s, text, **columns):
    return event(at_s, text, channel="visual_index", **{"stream": "rts-3", "last_s": 5, **columns})


def around(moment_s, *events, width_s=60, missed=()):
    at = AT + moment_s * 1000
    return surroundings(FoundMoment(at, at), events, missed, width_s * 1000)


def test_no_more_sentences_are_written_than_may_fit():
    chosen = [around(0, *(event(n % 50, f"sentence {n}") for n in range(5000)))]

    class Counting:
        most = 0

        def render(self, moments, extent):
            self.most = max(self.most, sum(len(one.said[: extent.said]) for one in moments))
            return TEXT.render(moments, extent)

    page, bound = Counting(), Bound(tokens=500)
    text = fitted_moments(chosen, bound, page)

    assert bound.fits(text)
    assert 20 < text.count("sentence ") < page.most <= 100


def spans(found):
    return [((one.first_ms - AT) // 1000, (one.last_ms - AT) // 1000, one.matches) for one in found.moments]


# -- Which moments there are -------------------------------------------------------------------------------


def test_the_newest_moments_come_first_and_those_that_overlap_are_one():
    matches = [event(at) for at in (1000, 900, 600, 590, 0)]

    assert spans(newest(matches, 10_000, 9)) == [(1000, 1001, 1), (900, 901, 1), (590, 601, 2), (0, 1, 1)]
    assert spans(newest(matches, 60_000, 9)) == [(900, 1001, 2), (590, 601, 2), (0, 1, 1)]
    merged = newest(matches, 60_000, 9).moments[0]
    assert merged.match == matches[1]


def test_a_word_that_stays_on_the_screen_makes_moments_of_ten_minutes():
    found = newest((event(at) for at in range(3600, 0, -5)), 60_000, 2)

    assert [last - first <= 600 for first, last, _ in spans(found)] == [True, True]
    assert found.has_older


def test_matches_are_read_until_there_are_enough_moments_and_no_further():
    read = iter([event(at) for at in (1000, 900, 600, 300, 0)])
    found = newest(read, 1000, 2)

    assert (spans(found), found.has_older) == ([(1000, 1001, 1), (900, 901, 1)], True)
    assert len(list(read)) == 2
    assert not newest([event(5)], 1000, 1).has_older
    assert newest([NOTHING], 1000, 1).moments == []


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30)), max_size=12), st.integers(0, 40))
def test_moments_are_the_same_in_whatever_order_matches_are_read(times, width_s):
    matches = [event(at, last_s=last) for at, last in times]
    found = newest(matches, width_s * 1000, 99)

    assert spans(found) == spans(newest(matches[::-1], width_s * 1000, 99))
    assert sum(one.matches for one in found.moments) == len(matches)
    rows = [one.around(width_s * 1000) for one in found.moments[::-1]]
    assert all(before[1] < after[0] for before, after in pairwise(rows))


# -- What is around one ------------------------------------------------------------------------------------


def test_of_each_screen_of_each_machine_there_is_the_one_description_that_was_on_it():
    told = around(
        60,
        screen(50, "old", stream="rts-3", host="laptop"),
        screen(58, "on the laptop", stream="rts-3", host="laptop"),
        screen(61, "later", stream="rts-3", host="laptop"),
        screen(0, "on the desk", stream="rts-3", host="desk"),
        screen(30, "its other screen", stream="rts-4", stream_name="display:2", host="desk"),
        screen(-400, "long gone", stream="rts-5", host="desk"),
        screen(70, "soon after", stream="rts-6", stream_name="display:9", host="laptop"),
        screen(190, "much later", stream="rts-7", host="laptop"),
    )

    assert [(one.host, one.text) for one in told.screens] == [
        ("desk", "on the desk"),
        ("desk", "its other screen"),
        ("laptop", "on the laptop"),
        ("laptop", "soon after"),
    ]


def test_a_description_that_was_on_the_screen_minutes_before_is_in_the_times_that_are_searched():
    [(first, last)] = spans_for([FoundMoment(AT, AT + 5)], 60_000)

    assert (first, last) == (AT - 300_000, AT + 60_000)


def test_a_word_that_stays_on_the_screen_brings_what_was_said_when_it_appeared_and_when_it_was_said():
    [moment] = newest([*(screen(at, "deploy") for at in range(500, 0, -5)), event(300)], 60_000, 1).moments
    said = [event(at, f"at {at}") for at in (0, 60, 150, 250, 350, 420)]
    told = surroundings(moment, said, [], 60_000)

    assert moment.matches == 101
    assert [one.text for one in told.said] == ["at 0", "at 250", "at 350", "at 60"]
    assert spans_for([moment], 60_000) == ((AT + 5000 - 300_000, AT + 361_000),)


def test_sentences_are_the_nearest_first_and_summaries_stand_in_for_a_stream_without_any():
    told = around(
        100,
        event(30, "too early"),
        event(41, "first"),
        event(99, "nearest"),
        event(130, "later"),
        event(90, "a summary of it", channel="audio_index", last_s=30),
        event(90, "a summary of the others", channel="audio_index", last_s=30, stream="rts-2"),
        event(104, "failed", channel="alert"),
    )

    assert [one.text for one in told.said] == ["a summary of the others", "nearest", "later", "first"]
    assert [one.text for one in told.alerts] == ["failed"]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9)), max_size=12),
)
def test_sentences_come_by_how_far_they_are_from_what_matched(times, others):
    [moment] = newest([event(at, last_s=last) for at, last in times], 600_000, 1).moments
    said = [event(at, f"{at} to {last}", last_s=last) for at, last in others]

    def apart(one):
        away = (max(one.start_ms - end, begin - one.end_ms, 0) for begin, end in moment.points)
        return min(away), one.start_ms, one.text

    near = [one for one in said if apart(one)[0] <= 60_000]
    assert list(surroundings(moment, said, [], 60_000).said) == sorted(near, key=apart)


def test_gaps_that_touch_the_moment_are_told():
    near, far = (Missed("gap", AT + at, AT + at + 10, "open") for at in (-5000, -500_000))
    on = Missed("pause", AT - 500_000, None, "")

    assert around(0, missed=[("", near), ("", far), ("", on)]).missed == [("", near), ("", on)]


# -- That it fits ------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(["Shall we deploy?", "x" * 300, "ok \x1b[31m *b*\n# h", "デプロイ" * 40])
AROUND = st.builds(
    lambda at, said, shown: around(at, *said, screen(at, shown)),
    st.integers(0, 50),
    st.lists(st.builds(event, st.integers(0, 50), TEXTS), max_size=6),
    TEXTS,
)


@given(st.lists(AROUND, min_size=1, max_size=3), st.sampled_from(PAGES), st.integers(1, 2500))
def test_an_answer_is_within_any_bound_and_says_what_is_left_out(told, page, most):
    text = fitted_moments(told, Bound(bytes=most), page)
    everything = page.render(told, Extent())

    if text is None:
        assert most < 1400
        return
    assert len(text.encode()) <= most
    assert (MORE in text) == (text != everything)
    assert "\x1b" not in text
    if isinstance(page, MomentJson):
        value = json.loads(text)
        assert len(value["moments"]) >= 1
        assert (value["left_out"] is None) == (text == everything)


def test_texts_are_cut_before_sentences_are_left_out_and_around_the_match():
    long = "before " * 60 + "we deploy it now " + "after " * 60
    told = [around(0, event(0, long), event(5, "Yes."), screen(0, "word " * 400))]

    text = fitted_moments(told, Bound(bytes=1100), TEXT)
    assert "Yes." in text
    assert "we deploy it now" in text
    assert f"parts of texts left out: {MORE}" in text
    assert "left out" not in fitted_moments(told, Bound(), TEXT)


def test_the_nearest_sentences_and_the_newest_moments_stay_longest():
    told = [around(0, *(event(at, f"It is {at}.") for at in range(50))), around(-900, event(-900, "older"))]

    text = fitted_moments(told, Bound(bytes=420), TEXT)
    assert "It is 0." in text
    assert "It is 49." not in text
    text = fitted_moments(told, Bound(bytes=160), TEXT)
    assert "10:15:00" in text
    assert "all 51 sentences, 1 of 2 moments left out" in text


def test_a_long_sentence_goes_on_below_its_beginning():
    def wrapped(label, text, room=40):
        places = terminal.wrapped(text, room - len(label))
        return label + f"\n{' ' * len(label)}".join(text[first:last] for first, last in places)

    told = [
        around(0, event(0, "Shall we deploy it before Friday?"), screen(0, "the plan for the deployment"))
    ]
    lines = TEXT._replace(wrapped=wrapped).render(told, Extent()).splitlines()

    assert lines[1:] == [
        "  said     > 10:15:00 Shall we deploy it",
        "             before Friday?",
        "  screen   10:15:00 the plan for the",
        "           deployment",
    ]


def test_what_matches_is_marked_and_older_moments_are_named():
    told = [around(0, event(0, "Shall we deploy?"), event(2, "No."))]
    page = TEXT._replace(older="vdbevents context -n 6")

    lines = page.render(told, Extent()).splitlines()
    assert lines[1:3] == ["  said     > 10:15:00 Shall we deploy?", "             10:15:02 No."]
    assert lines[-1].endswith("older moments: vdbevents context -n 6")
    [moment] = json.loads(PAGES[-1].render(told, Extent()))["moments"]
    assert [one["is_match"] for one in moment["said"]] == [True, False]


@pytest.mark.parametrize("page", PAGES)
def test_a_moment_without_anything_said_is_told(page):
    assert "10:15:00" in page.render([around(0)], Extent())
