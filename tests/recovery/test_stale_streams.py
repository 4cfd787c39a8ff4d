"""Screens that are not described any more."""

from dataclasses import replace

from support.recovery_lines import DISPLAY

from vdbevents.recovery.stale_streams import StaleWatch
from vdbevents.sessions.plan import Pipeline


def screen(stream_id="rts-display", **changes):
    stream = DISPLAY._replace(id=stream_id)
    return Pipeline("visual_index", stream, **{"settings": {}, "id": "idx-1", "ws_id": "ws-1", **changes})


def looks(watch, until, pipelines, seen=None, since=0.0):
    """Looks every few seconds; answers with when streams became stale, and fresh."""
    now, stale, fresh = since, [], []
    while now <= until:
        late, back = watch.look(pipelines, seen or {}, now)
        stale += [(it.pipeline.stream.id, now) for it in late]
        fresh += [(it.pipeline.stream.id, now) for it in back]
        now += 5
    return stale, fresh


def test_a_screen_without_descriptions_becomes_stale_once():
    watch = StaleWatch(60)

    assert looks(watch, 600, [screen()]) == ([("rts-display", 65.0)], [])
    assert list(watch.stale) == ["rts-display"]


def test_a_screen_becomes_stale_a_fixed_time_after_its_last_description():
    assert looks(StaleWatch(60), 600, [screen()], {"rts-display": 100.0}) == ([("rts-display", 165.0)], [])


def test_a_stale_screen_becomes_fresh_and_may_become_stale_again():
    watch = StaleWatch(60)
    looks(watch, 100, [screen()])

    assert looks(watch, 300, [screen()], {"rts-display": 102.0}, since=105) == (
        [("rts-display", 165.0)],
        [("rts-display", 105)],
    )


def test_a_rebound_screen_has_the_full_time_again():
    watch = StaleWatch(60)
    looks(watch, 50, [screen()])

    assert looks(watch, 200, [screen(bindings=1)], since=55) == ([("rts-display", 120)], [])


def test_after_a_pause_each_screen_has_the_full_time_again():
    watch = StaleWatch(60)
    looks(watch, 50, [screen()])

    assert looks(watch, 1100, [screen()], since=1000) == ([("rts-display", 1065)], [])


def test_audio_and_stopped_streams_are_never_stale():
    heard = replace(screen(), kind="audio_index")
    watch = StaleWatch(60)

    assert looks(watch, 600, [heard]) == ([], [])
    looks(watch, 800, [screen()], since=600)
    assert looks(watch, 900, [], since=805) == ([], [])
    assert watch.stale == {}


def test_each_screen_is_watched_by_itself():
    both = [screen("rts-1"), screen("rts-2")]

    assert looks(StaleWatch(60), 100, both, {"rts-2": 90.0}) == ([("rts-1", 65.0)], [])


def test_without_a_limit_nothing_is_stale():
    assert looks(StaleWatch(0), 10_000, [screen()]) == ([], [])


def test_a_screen_that_is_described_seldom_has_three_of_its_intervals():
    seldom = screen(settings={"batch": {"type": "time", "value": 120}})

    assert looks(StaleWatch(60), 900, [seldom]) == ([("rts-display", 365.0)], [])
