"""The waits between attempts that fail."""

from vdbevents.cloud.backoff import Backoff


def test_each_wait_is_twice_the_one_before_up_to_the_longest():
    backoff = Backoff(1.0, 5.0)

    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_after_a_success_the_waits_start_again():
    backoff = Backoff(0.25, 5.0)
    backoff.next()
    backoff.next()
    backoff.reset()

    assert [backoff.next(), backoff.next()] == [0.25, 0.5]


def test_no_wait_is_longer_than_the_longest():
    assert Backoff(3.0, 2.0).next() == 2


def test_ten_thousand_failures_do_not_overflow():
    backoff = Backoff(1.0, 60.0)

    assert {backoff.next() for _ in range(10_000)} == {1, 2, 4, 8, 16, 32, 60}


def test_a_wait_is_at_least_as_long_as_the_service_asked_for_and_may_exceed_the_longest():
    backoff = Backoff(1.0, 4.0)

    assert [backoff.next(seconds) for seconds in (0.5, 30.0, None, 0.0)] == [1.0, 30.0, 4.0, 4.0]
