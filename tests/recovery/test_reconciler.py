"""After any interruptions the journal of a listener is complete at the end."""

import pytest
from hypothesis import given, settings, strategies as st
from support.effort import examples
from support.gap_simulation import world

from vdbevents.events import gaps


def mic(sim, number):
    for _ in range(number):
        sim.service.speak("mic", 3.0)


def screen(sim, number):
    for _ in range(number):
        sim.service.speak("screen", 2.0)


def step(sim, number):
    for _ in range(number):
        sim.listener.step()
        sim.listener.writer.flush()


def step_unwritten(sim, number):
    for _ in range(number):
        sim.listener.step()


def receive(sim, number):
    for _ in range(number):
        sim.receive()


STEPS = {
    "mic": (mic, st.integers(1, 15)),
    "late mic": (lambda sim, late: sim.service.speak("mic", 3.0, late), st.floats(0, 4)),
    "screen": (screen, st.integers(1, 15)),
    "late screen": (lambda sim, late: sim.service.speak("screen", 2.0, late), st.floats(0, 4)),
    "advance": (lambda sim, seconds: sim.advance(seconds), st.sampled_from([0.1, 1, 10, 70, 1000])),
    "receive": (receive, st.integers(1, 5)),
    "go silent": (lambda sim, _: sim.go_silent(), st.none()),
    "lose": (lambda sim, _: sim.lose_connection(), st.none()),
    "connect": (lambda sim, _: sim.connect(), st.none()),
    "another session": (lambda sim, _: sim.start_another_session(), st.none()),
    "sleep": (lambda sim, seconds: sim.sleep(seconds), st.sampled_from([30, 300])),
    "kill": (lambda sim, _: sim.kill(), st.none()),
    "step": (step, st.integers(1, 40)),
    "step unwritten": (step_unwritten, st.integers(1, 5)),
    "flush": (lambda sim, _: sim.listener.writer.flush(), st.none()),
    "fail": (lambda sim, number: sim.service.fails_at.add(sim.service.calls + number),
              st.integers(1, 12)),
}  # fmt: skip
DISK = {
    "fill disk": (lambda sim, room: sim.fill_disk(room), st.integers(0, 6)),
    "free disk": (lambda sim, _: sim.free_disk(), st.none()),
    "report dropped": (lambda sim, _: sim.listener.report_dropped(), st.none()),
}


def any_of(known):
    one = st.one_of([st.tuples(st.just(name), options) for name, (_, options) in known.items()])
    return st.lists(one, max_size=60)


def play(sim, story, known):
    for name, option in story:
        known[name][0](sim, option)


def assert_complete_after(story, **options):
    with world(**options) as sim:
        play(sim, story, STEPS | DISK)
        sim.settle()
        sim.assert_complete()


# An interpreter that is slow to begin with makes a slow example: that mic nothing.
patient = settings(max_examples=examples(100))


@patient
@given(story=any_of(STEPS), skew_ms=st.sampled_from([0, 7_200_000, -7_200_000]))
def test_after_any_interruptions_the_journal_is_complete(story, skew_ms):
    assert_complete_after(story, skew_ms=skew_ms)


@patient
@given(story=any_of(STEPS | DISK))
def test_after_any_disk_failures_the_journal_is_complete(story):
    assert_complete_after(story)


STORIES = {
    "live lines stand before backfilled ones, and start after them": [
        ("lose", None), ("mic", 3), ("screen", 5), ("connect", None), ("step", 5), ("mic", 5),
        ("step", 19), ("screen", 3), ("step", 22), ("lose", None), ("connect", None),
    ],
    "the connection was lost again during a backfill, with live events in between": [
        ("mic", 10), ("lose", None), ("mic", 30), ("connect", None), ("step", 20), ("mic", 2),
        ("receive", 5), ("step", 8), ("lose", None), ("mic", 4), ("connect", None),
    ],
    "it was killed during a backfill, and another capture has started": [
        ("mic", 40), ("lose", None), ("mic", 30), ("screen", 3), ("connect", None), ("step", 24),
        ("flush", None), ("advance", 1), ("another session", None), ("kill", None), ("connect", None),
        ("mic", 2),
    ],
    "dropped events were reported late, during another backfill": [
        ("fill disk", 0), ("mic", 5), ("free disk", None), ("step", 5), ("mic", 6), ("sleep", 5),
        ("connect", None), ("step", 34),
    ],
    "it was killed before a line was written": [
        ("mic", 20), ("receive", 5), ("kill", None), ("mic", 3), ("connect", None), ("mic", 3),
    ],
    "it was killed repeatedly in the middle of a page": [
        ("lose", None), ("mic", 40),
        *[("connect", None), ("step unwritten", 5), ("step", 14), ("kill", None)] * 4,
    ],
    "a late record was finished during a long first pass": [
        ("lose", None), ("mic", 4), ("connect", None), ("late screen", 3.8), ("step", 27), ("mic", 2),
        ("step", 12),
    ],
    "an event was dropped while arriving events were compared": [
        ("lose", None), ("connect", None), ("step", 6), ("fill disk", 0), ("mic", 12), ("receive", 5),
        ("receive", 5), ("advance", 10), ("free disk", None), ("flush", None), ("report dropped", None),
        ("step", 40), ("step", 40), ("step", 40),
    ],
    "fetched events were dropped": [
        ("mic", 1), ("advance", 10), ("lose", None), ("mic", 10), ("advance", 70), ("mic", 3),
        ("connect", None), ("step", 14), ("step unwritten", 1), ("fill disk", 0), ("step", 60),
        ("mic", 10), ("free disk", None), ("flush", None), ("report dropped", None), ("step", 40),
    ],
    "it was killed before dropped events were reported": [
        ("fill disk", 0), ("mic", 30), ("free disk", None), ("flush", None), ("mic", 30),
        ("receive", 5), ("flush", None), ("kill", None),
    ],
    "the disk was full when a gap was closed": [
        ("lose", None), ("connect", None), ("fail", 1), ("step", 9), ("step", 38), ("fill disk", 0),
        ("step unwritten", 5),
    ],
    "fetched events were dropped together with the progress line": [
        ("kill", None), ("mic", 4), ("connect", None), ("step", 21), ("screen", 12), ("step", 3),
        ("mic", 3), ("fill disk", 0), ("step", 4),
    ],
    "it rebound while the disk was full, and was killed": [
        ("lose", None), ("fill disk", 0), ("connect", None), ("step", 12), ("kill", None),
        ("connect", None), ("late mic", 3.9),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_the_journal_is_complete_after(name):
    assert_complete_after(STORIES[name])


@pytest.mark.parametrize("call", [4, 6])
def test_a_stale_screen_s_records_are_journaled_once_though_a_call_failed(call):
    with world(stale_seconds=30) as sim:
        screen(sim, 2)
        receive(sim, 5)
        sim.service.fails_at.add(call)
        for number in range(150):
            step(sim, 1)
            if number > 60 and number % 3 == 0:
                screen(sim, 1)
        sim.settle()
        sim.assert_complete()


def test_events_of_a_forgotten_capture_are_reported_missing():
    with world() as sim:
        mic(sim, 5)
        receive(sim, 5)
        sim.listener.writer.flush()
        sim.lose_connection()
        mic(sim, 5)
        sim.kill(sim.replace_session)
        sim.settle()

        assert gaps.latest_gaps(sim.lines)[0].status == "incomplete"
