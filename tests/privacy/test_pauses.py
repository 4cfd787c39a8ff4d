"""Pauses: their file, their lines, and which events fall in them."""

from vdbevents.events import envelope
from vdbevents.privacy.pauses import PAUSED, RESUMED, Pause, Pauses, pauses_in

MINUTE = 60_000
NOW = 1772446530123


def begun(length=None):
    return Pauses().begin("pause-1", NOW, None if length is None else NOW + length)


def test_a_pause_ends_by_itself_or_by_hand():
    assert begun().at(NOW + 1000 * MINUTE) is not None
    assert begun(MINUTE).at(NOW + MINUTE - 1) is not None
    assert begun(MINUTE).at(NOW + MINUTE) is None
    assert begun(MINUTE).end(NOW + 5).at(NOW + 5) is None
    assert begun(MINUTE).end(NOW + 2 * MINUTE).all == begun(MINUTE).all


def test_a_second_pause_changes_the_end_of_the_first():
    longer = begun(MINUTE).begin("pause-2", NOW + 5, NOW + 9 * MINUTE)
    after = begun(MINUTE).begin("pause-2", NOW + MINUTE, None)

    assert [(pause.id, pause.since_ms, pause.until_ms) for pause in longer.all] == [
        ("pause-1", NOW, NOW + 9 * MINUTE)
    ]
    assert [pause.id for pause in after.all] == ["pause-1", "pause-2"]


def test_a_clock_that_is_set_back_neither_ends_a_pause_nor_begins_it_again():
    assert begun(MINUTE).at(NOW - 60 * MINUTE) is not None
    assert begun().end(NOW - MINUTE).at(NOW) is None
    assert begun().end(NOW + 30 * MINUTE).at(NOW + 10 * MINUTE) is None


def test_the_file_keeps_all_that_is_known_and_survives_nonsense():
    pauses = begun(MINUTE).note("pause-1", "paused").end(NOW + 5).begin("pause-2", NOW + 10, None)

    assert Pauses.from_dict(pauses.to_dict()).all == pauses.all
    for content in ({}, {"pauses": 3}, {"pauses": [None, {}, {"id": 1, "since": "x"}]}):
        assert Pauses.from_dict(content).all == ()
    many = Pauses([Pause(f"pause-{n}", n) for n in range(1500)])
    assert [many.all[0].id, len(many.all)] == ["pause-500", 1000]


def test_an_event_that_is_in_a_pause_in_part_is_in_it():
    pauses = begun(MINUTE)

    assert pauses.covers(NOW - 5, NOW + 5)
    assert pauses.covers(NOW + MINUTE - 1, NOW + 2 * MINUTE)
    assert pauses.covers(NOW, None)
    assert pauses.covers(NOW, NOW)
    assert not pauses.covers(NOW - 5, NOW)
    assert not pauses.covers(NOW - 5, None)
    assert not pauses.covers(NOW + MINUTE, None)


def test_the_status_says_since_when_and_until_when():
    assert begun(MINUTE).status(NOW) == {
        "paused": True,
        "pause_id": "pause-1",
        "paused_since": "2026-03-02T10:15:30.123Z",
        "paused_until": "2026-03-02T10:16:30.123Z",
    }
    assert begun().status(NOW)["paused_until"] is None
    assert begun(MINUTE).status(NOW + MINUTE) == {
        "paused": False,
        "pause_id": None,
        "paused_since": None,
        "paused_until": None,
    }


def test_the_last_line_of_a_pause_counts():
    def line(event, pause):
        return envelope.own_record(event, pause.data(), NOW).line.decode()

    [pause] = begun(60 * MINUTE).all
    [ended] = begun(60 * MINUTE).end(NOW + MINUTE).all
    foreign = envelope.envelop(line(PAUSED, pause).encode(), NOW).line.decode()
    found = pauses_in([line(PAUSED, pause), "x.paused", line(RESUMED, ended), foreign])

    assert [(one.since_ms, one.end_ms) for one in found] == [(NOW, NOW + MINUTE)]
    assert found[0].touches(None, NOW + 1)
    assert not found[0].touches(NOW + MINUTE, None)
    assert pauses_in([line(PAUSED, begun().all[0])])[0].touches(NOW + 1000 * MINUTE, None)
