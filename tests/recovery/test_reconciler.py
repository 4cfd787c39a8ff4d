"""A listener that was blind, in whatever way and however often, ends with a journal that is complete."""

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from support.gap_simulation import world

from vdbevents.events import gaps


def says(there, number):
    for _ in range(number):
        there.service.says("mic", 3.0)


def shows(there, number):
    for _ in range(number):
        there.service.says("screen", 2.0)


def goes_on(there, number):
    for _ in range(number):
        there.listener.goes_on()
        there.listener.writer.writes()


def goes_on_unwritten(there, number):
    for _ in range(number):
        there.listener.goes_on()


def receives(there, number):
    for _ in range(number):
        there.receives()


HAPPENINGS = {
    "says": (says, st.integers(1, 15)),
    "says late": (lambda there, late: there.service.says("mic", 3.0, late), st.floats(0, 4)),
    "shows": (shows, st.integers(1, 15)),
    "shows late": (lambda there, late: there.service.says("screen", 2.0, late), st.floats(0, 4)),
    "passes": (lambda there, seconds: there.passes(seconds), st.sampled_from([0.1, 1, 10, 70, 1000])),
    "receives": (receives, st.integers(1, 5)),
    "falls silent": (lambda there, _: there.falls_silent(), st.none()),
    "loses": (lambda there, _: there.loses(), st.none()),
    "connects": (lambda there, _: there.connects(), st.none()),
    "another session": (lambda there, _: there.begins_another(), st.none()),
    "sleeps": (lambda there, seconds: there.sleeps(seconds), st.sampled_from([30, 300])),
    "is killed": (lambda there, _: there.is_killed(), st.none()),
    "goes on": (goes_on, st.integers(1, 40)),
    "goes on unwritten": (goes_on_unwritten, st.integers(1, 5)),
    "writes": (lambda there, _: there.listener.writer.writes(), st.none()),
    "fails": (lambda there, number: there.service.fails_at.add(there.service.calls + number),
              st.integers(1, 12)),
}  # fmt: skip
DISK = {
    "fills up": (lambda there, room: there.fills_up(room), st.integers(0, 6)),
    "takes lines": (lambda there, _: there.takes_lines_again(), st.none()),
    "is told": (lambda there, _: there.listener.is_told(), st.none()),
}


def any_of(known):
    one = st.one_of([st.tuples(st.just(name), options) for name, (_, options) in known.items()])
    return st.lists(one, max_size=60)


def happens(there, story, known):
    for name, option in story:
        known[name][0](there, option)


def ends_complete(story, **options):
    with world(**options) as there:
        happens(there, story, HAPPENINGS | DISK)
        there.comes_to_rest()
        there.assert_complete()


# An interpreter that is slow to begin with makes a slow example: that says nothing.
patient = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(story=any_of(HAPPENINGS), skew_ms=st.sampled_from([0, 7_200_000, -7_200_000]))
def test_after_any_interruptions_the_journal_is_complete(story, skew_ms):
    ends_complete(story, skew_ms=skew_ms)


@patient
@given(story=any_of(HAPPENINGS | DISK))
def test_after_any_disk_failures_the_journal_is_complete(story):
    ends_complete(story)


STORIES = {
    "what came as it was made stands before what was fetched, and begins after it": [
        ("loses", None), ("says", 3), ("shows", 5), ("connects", None), ("goes on", 5), ("says", 5),
        ("goes on", 19), ("shows", 3), ("goes on", 22), ("loses", None), ("connects", None),
    ],
    "it was lost again while it filled, and something came in between": [
        ("says", 10), ("loses", None), ("says", 30), ("connects", None), ("goes on", 20), ("says", 2),
        ("receives", 5), ("goes on", 8), ("loses", None), ("says", 4), ("connects", None),
    ],
    "it was killed while it filled, and another capture has begun": [
        ("says", 40), ("loses", None), ("says", 30), ("shows", 3), ("connects", None), ("goes on", 24),
        ("writes", None), ("passes", 1), ("another session", None), ("is killed", None), ("connects", None),
        ("says", 2),
    ],
    "it heard late of what was dropped, when something else was filled": [
        ("fills up", 0), ("says", 5), ("takes lines", None), ("goes on", 5), ("says", 6), ("sleeps", 5),
        ("connects", None), ("goes on", 34),
    ],
    "it was killed before a line was written": [
        ("says", 20), ("receives", 5), ("is killed", None), ("says", 3), ("connects", None), ("says", 3),
    ],
    "it was killed again and again in the middle of a page": [
        ("loses", None), ("says", 40),
        *[("connects", None), ("goes on unwritten", 5), ("goes on", 14), ("is killed", None)] * 4,
    ],
    "what is known late became a record while the first pass went on for long": [
        ("loses", None), ("says", 4), ("connects", None), ("shows late", 3.8), ("goes on", 27), ("says", 2),
        ("goes on", 12),
    ],
    "an event was dropped while those that came were compared": [
        ("loses", None), ("connects", None), ("goes on", 6), ("fills up", 0), ("says", 12), ("receives", 5),
        ("receives", 5), ("passes", 10), ("takes lines", None), ("writes", None), ("is told", None),
        ("goes on", 40), ("goes on", 40), ("goes on", 40),
    ],
    "what was fetched was dropped": [
        ("says", 1), ("passes", 10), ("loses", None), ("says", 10), ("passes", 70), ("says", 3),
        ("connects", None), ("goes on", 14), ("goes on unwritten", 1), ("fills up", 0), ("goes on", 60),
        ("says", 10), ("takes lines", None), ("writes", None), ("is told", None), ("goes on", 40),
    ],
    "it was killed before anybody was told of a loss": [
        ("fills up", 0), ("says", 30), ("takes lines", None), ("writes", None), ("says", 30),
        ("receives", 5), ("writes", None), ("is killed", None),
    ],
    "the line that closes a gap found the disk full": [
        ("loses", None), ("connects", None), ("fails", 1), ("goes on", 9), ("goes on", 38), ("fills up", 0),
        ("goes on unwritten", 5),
    ],
    "what was fetched was dropped together with what would have told how far it had come": [
        ("is killed", None), ("says", 4), ("connects", None), ("goes on", 21), ("shows", 12), ("goes on", 3),
        ("says", 3), ("fills up", 0), ("goes on", 4),
    ],
    "it bound anew while the disk was full, and was killed": [
        ("loses", None), ("fills up", 0), ("connects", None), ("goes on", 12), ("is killed", None),
        ("connects", None), ("says late", 3.9),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_the_journal_is_complete_after(name):
    ends_complete(STORIES[name])


@pytest.mark.parametrize("call", [4, 6])
def test_a_stale_screen_s_records_are_journaled_once_though_a_call_failed(call):
    with world(stale_seconds=30) as there:
        shows(there, 2)
        receives(there, 5)
        there.service.fails_at.add(call)
        for step in range(150):
            goes_on(there, 1)
            if step > 60 and step % 3 == 0:
                shows(there, 1)
        there.comes_to_rest()
        there.assert_complete()


def test_events_of_a_forgotten_capture_are_reported_missing():
    with world() as there:
        says(there, 5)
        receives(there, 5)
        there.listener.writer.writes()
        there.loses()
        says(there, 5)
        there.is_killed(there.takes_its_place)
        there.comes_to_rest()

        assert gaps.fold(there.lines)[0].status == "incomplete"
