"""The file with the pauses, as the commands change it and the listener watches it."""

import pytest

from vdbevents.journal.state import StateDirectory
from vdbevents.listener.pause_watch import PauseWatch, change_pauses

NOW = 1772446530123
MINUTE = 60_000


@pytest.fixture
def state(tmp_path):
    return StateDirectory(tmp_path)


def begin(state, at_ms, until_ms=None, pause_id="pause-1"):
    return change_pauses(state, lambda known: known.begin(pause_id, at_ms, until_ms))


def due(watch, now_ms):
    return [(pause.id, noted) for pause, noted in watch.unnoted(now_ms)]


def test_a_change_is_seen_and_each_line_is_due_once(state):
    watch = PauseWatch(state)
    assert not watch.refresh()
    assert due(watch, NOW) == []

    begin(state, NOW)
    assert watch.last().at(NOW) is None
    assert watch.refresh()
    assert watch.current().at(NOW) is not None
    assert [due(watch, NOW), due(watch, NOW)] == [[("pause-1", "paused")], []]
    watch.note("pause-1", "paused")
    watch.refresh()
    assert due(watch, NOW) == []

    begin(state, NOW + 5, NOW + MINUTE, "pause-2")
    watch.refresh()
    assert due(watch, NOW + 5) == [("pause-1", "paused")], "it has another end"
    assert due(watch, NOW + MINUTE) == [("pause-1", "resumed")], "it has ended by itself"
    assert due(watch, NOW + MINUTE) == []


def test_the_next_run_goes_on_from_what_is_noted(state):
    begin(state, NOW, NOW + MINUTE)
    assert due(PauseWatch(state), NOW) == [("pause-1", "paused")], "the last run was killed before its line"
    PauseWatch(state).note("pause-1", "paused")
    assert due(PauseWatch(state), NOW) == []
    assert due(PauseWatch(state, forget_current=True), NOW) == [("pause-1", "paused")]
    assert due(PauseWatch(state), NOW + MINUTE) == [("pause-1", "resumed")]
    PauseWatch(state).note("pause-1", "resumed")
    assert due(PauseWatch(state, forget_current=True), NOW + MINUTE) == []


def test_a_pause_that_no_listener_saw_gets_both_lines(state):
    begin(state, NOW, NOW + MINUTE)

    assert due(PauseWatch(state), NOW + 2 * MINUTE) == [("pause-1", "paused"), ("pause-1", "resumed")]


def test_a_file_that_cannot_be_read_changes_nothing(state):
    begin(state, NOW)
    watch = PauseWatch(state)
    state.pauses.write_bytes(b"{")

    assert not watch.refresh()
    assert watch.current().at(NOW) is not None
    state.pauses.unlink()
    assert watch.refresh()
    assert watch.current().at(NOW) is None
