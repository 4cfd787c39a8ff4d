"""Live events that were fetched before they arrived."""

from support.recovery_lines import MIC, arrived

from vdbevents.events.envelope import Record
from vdbevents.recovery.duplicates import DuplicateFilter


def active():
    duplicates = DuplicateFilter(60)
    duplicates.connected()
    return duplicates


def test_a_fetched_event_is_known_when_its_live_copy_arrives():
    duplicates = active()
    duplicates.add_fetched([arrived(1)], now=0)

    assert duplicates.is_known(Record(b"", arrived(1)))
    assert not duplicates.is_known(Record(b"", arrived(2)))
    # What the service itself sends twice is journaled twice.
    assert not duplicates.is_known(Record(b"", arrived(2)))


def test_an_event_without_identity_is_never_known():
    duplicates = active()
    duplicates.add_fetched([arrived(1)], now=0)

    assert not duplicates.is_known(Record(b"", {"raw": "?"}))


def test_nothing_is_known_while_disconnected():
    duplicates = active()
    duplicates.add_fetched([arrived(1)], now=0)
    duplicates.disconnected()

    assert not duplicates.is_active
    assert not duplicates.is_known(Record(b"", arrived(1)))


def test_of_a_stream_with_two_indexes_the_second_copy_is_known():
    duplicates = active()
    duplicates.expect_doubles(MIC.id, now=0)

    assert [duplicates.is_known(Record(b"", arrived(1))) for _ in range(3)] == [False, True, True]


def test_events_received_during_a_pass_are_seen_by_it():
    duplicates = active()
    duplicates.is_known(Record(b"", arrived(1)))
    duplicates.begin_pass()
    duplicates.is_known(Record(b"", arrived(2)))
    seen = set()
    duplicates.merge_received(seen)
    duplicates.is_known(Record(b"", arrived(3)))

    # The journal has what came before the pass began; the pass reads it there.
    assert len(seen) == 2


def test_it_forgets_once_no_copy_can_be_on_its_way():
    duplicates = active()
    duplicates.add_fetched([arrived(1)], now=100)
    duplicates.expire(now=160)
    assert duplicates.is_known(Record(b"", arrived(1)))

    duplicates.expire(now=161)
    assert not duplicates.is_active


def test_what_arrives_is_noted_from_the_first_pass_until_all_is_forgotten():
    duplicates = active()
    duplicates.begin_pass()
    duplicates.merge_received(set())
    duplicates.is_known(Record(b"", arrived(1)))
    seen = set()
    duplicates.merge_received(seen)
    assert len(seen) == 1

    duplicates.expire(now=0)
    duplicates.connected()
    duplicates.is_known(Record(b"", arrived(2)))
    seen = set()
    duplicates.merge_received(seen)
    assert seen == set()
