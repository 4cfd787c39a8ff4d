"""Which errors a retry can fix, how they are explained, and the retries."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
from videodb.exceptions import AuthenticationError, InvalidRequestError, RequestTimeoutError
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from vdbevents import cloud
from vdbevents.errors import CaptureError, InputError, ServiceRefusedError, ServiceUnreachableError

NOW = datetime(2026, 3, 2, 10, 15, 30, tzinfo=UTC)


def answered(status, kind=InvalidRequestError, **headers):
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    return kind("Invalid request: auth 401 403 forbidden", response)


def refused_upgrade(status, **headers):
    return InvalidStatus(Response(status, "", Headers(headers)))


def caused_by(cause):
    """As the SDK raises it: `raise … from None` hides the cause from a traceback, and keeps it."""
    connection_error = requests.exceptions.ConnectionError()
    connection_error.__context__ = cause
    error = InvalidRequestError("Invalid request: Connection error", None)
    error.__context__ = connection_error
    return error


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("make", [answered, refused_upgrade])
def test_an_answer_that_a_retry_can_change_is_transient(make, status):
    assert not cloud.classify(make(status), NOW).fatal


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 410, 422, 451])
@pytest.mark.parametrize("make", [answered, refused_upgrade])
def test_a_final_answer_is_fatal_and_has_a_hint(make, status):
    failure = cloud.classify(make(status), NOW)

    assert failure.fatal
    assert failure.hint


def test_a_refused_key_says_how_to_get_and_set_one():
    failure = cloud.classify(answered(401, AuthenticationError), NOW)

    assert "console.videodb.io" in failure.hint
    assert "VIDEO_DB_API_KEY=" in failure.hint


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RequestTimeoutError("Timeout error: Request timed out", None), "no answer in time"),
        (TimeoutError(), "no answer in time"),
        (caused_by(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (caused_by(socket.gaierror(-2, "Name or service not known")), "cannot resolve"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (caused_by(ssl.SSLEOFError(8, "EOF occurred")), "EOF occurred"),
        (answered(200), "Invalid request"),
        (AttributeError("'NoneType' object has no attribute 'get'"), "unexpected answer"),
        (InvalidRequestError("Invalid request: auth 401 403", None), "Invalid request"),
        (ValueError("connect to wss://ws.example/?token=secret failed"), "the WebSocket's URL failed"),
    ],
)
def test_any_other_error_is_transient_and_explained_by_its_cause(error, said):
    failure = cloud.classify(error, NOW)

    assert not failure.fatal
    assert said in failure.message
    assert "secret" not in failure.message


@pytest.mark.parametrize("wrap", [lambda error: error, caused_by])
def test_an_invalid_certificate_is_fatal(wrap):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"

    failure = cloud.classify(wrap(error), NOW)

    assert failure.fatal
    assert failure.error_id == "certificate-invalid"
    assert "self-signed certificate" in failure.message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("86400", 3600.0),
        (format_datetime(NOW + timedelta(seconds=90)), 90.0),
        (format_datetime(NOW - timedelta(seconds=90)), 0.0),
        (format_datetime((NOW + timedelta(seconds=5)).replace(tzinfo=None)), 5.0),
        ("7, 9", 7.0),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        ("Mon, 02 Mar 2026 10:15:30 +99999999999999", None),
        ("soon", None),
        ("nan", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_may_be_seconds_or_a_date_up_to_an_hour(status, value, seconds):
    assert cloud.classify(answered(status, **{"Retry-After": value}), NOW).retry_after == seconds
    assert cloud.classify(refused_upgrade(status, **{"Retry-After": value}), NOW).retry_after == seconds


def test_an_error_that_causes_itself_is_explained():
    error = ValueError("round")
    error.__cause__ = error

    assert cloud.classify(error, NOW).message == "round"


def test_the_first_of_two_retry_after_headers_counts():
    response = Response(503, "", Headers([("Retry-After", "7"), ("Retry-After", "9")]))

    assert cloud.classify(InvalidStatus(response), NOW).retry_after == 7.0


class Clock:
    """Time that passes only while one waits."""

    def __init__(self):
        self.now = 1000.0
        self.waits = []

    def __call__(self):
        return self.now

    def pause(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def failing(*errors):
    """A call that raises these, one each time, and then answers."""
    left = list(errors)

    def call():
        if left:
            raise left.pop(0)
        return "answer"

    return call


PASSING = ServiceUnreachableError("could not ask: no answer in time")


def test_a_successful_call_is_made_once():
    clock = Clock()

    assert cloud.persist(failing(), 10, pause=clock.pause, clock=clock) == "answer"
    assert clock.waits == []


def test_a_transient_error_is_retried_with_waits_up_to_five_seconds():
    clock = Clock()

    assert cloud.persist(failing(*[PASSING] * 9), 60, pause=clock.pause, clock=clock) == "answer"
    assert clock.waits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]


@pytest.mark.parametrize(
    "error", [ServiceRefusedError("no"), InputError("no"), CaptureError("no"), ValueError("no")]
)
def test_a_final_error_is_not_retried(error):
    clock = Clock()

    with pytest.raises(type(error), match="no"):
        cloud.persist(failing(PASSING, error), 60, pause=clock.pause, clock=clock)
    assert clock.waits == [0.25]


@pytest.mark.parametrize(("seconds", "waits"), [(0, 0), (0.25, 0), (0.3, 1), (4, 4), (60, 15)])
def test_at_the_deadline_the_last_error_is_raised(seconds, waits):
    clock = Clock()
    errors = [ServiceUnreachableError(f"attempt {number}") for number in range(100)]

    with pytest.raises(ServiceUnreachableError) as raised:
        cloud.persist(failing(*errors), seconds, pause=clock.pause, clock=clock)
    assert raised.value.message == f"attempt {waits}"
    assert len(clock.waits) == waits
    assert clock.now <= 1000 + seconds


def test_the_duration_of_calls_counts():
    clock = Clock()
    made = []

    def slow():
        made.append(clock.now)
        clock.now += 20
        raise PASSING

    with pytest.raises(ServiceUnreachableError):
        cloud.persist(slow, 30, pause=clock.pause, clock=clock)
    assert made == [1000.0, 1020.25]


def test_an_interrupted_pause_ends_the_attempts():
    clock = Clock()
    answers = iter([None, False, True])

    with pytest.raises(ServiceUnreachableError):
        cloud.persist(failing(*[PASSING] * 9), 60, pause=lambda _: next(answers), clock=clock)
    assert list(answers) == []


def test_a_set_event_interrupts_the_pause():
    asked_to_end = threading.Event()
    asked_to_end.set()

    with pytest.raises(ServiceUnreachableError):
        cloud.persist(failing(*[PASSING] * 9), 3600, pause=asked_to_end.wait)


def busy(seconds):
    return ServiceUnreachableError("could not ask: the service answered 429", retry_after=seconds)


def test_the_next_attempt_waits_at_least_retry_after():
    clock = Clock()
    errors = [busy(7.0), busy(0.0), busy(None), busy(1.5), busy(30.0), PASSING]

    assert cloud.persist(failing(*errors), 60, pause=clock.pause, clock=clock) == "answer"
    assert clock.waits == [7.0, 0.5, 1.0, 2.0, 30.0, 5.0]


@pytest.mark.parametrize("asked", [10.0, 10.5, 3600.0])
def test_a_wait_beyond_the_deadline_is_not_started(asked):
    clock = Clock()
    error = busy(asked)

    with pytest.raises(ServiceUnreachableError) as raised:
        cloud.persist(failing(error), 10, pause=clock.pause, clock=clock)
    assert raised.value is error
    assert clock.waits == []


def test_a_wait_up_to_the_deadline_is_waited():
    clock = Clock()

    assert cloud.persist(failing(busy(9.5)), 10, pause=clock.pause, clock=clock) == "answer"
    assert clock.waits == [9.5]


def test_the_duration_of_calls_counts_before_a_wait():
    clock = Clock()

    def slow():
        clock.now += 4
        raise busy(3.0)

    with pytest.raises(ServiceUnreachableError):
        cloud.persist(slow, 10, pause=clock.pause, clock=clock)
    assert clock.waits == [3.0]


def test_a_retry_after_wait_can_be_interrupted():
    clock = Clock()
    waits = []

    with pytest.raises(ServiceUnreachableError):
        cloud.persist(failing(busy(7.0)), 60, pause=lambda it: waits.append(it) or True, clock=clock)
    assert waits == [7.0]


@pytest.mark.parametrize(
    ("status", "error_id"),
    [
        (401, "key-refused"),
        (402, "credit-exhausted"),
        (403, "key-forbidden"),
        (404, "request-refused"),
        (408, "service-unavailable"),
        (429, "rate-limited"),
        (503, "service-unavailable"),
    ],
)
@pytest.mark.parametrize("make", [answered, refused_upgrade])
def test_a_refusal_has_an_id_of_its_kind(make, status, error_id):
    assert cloud.classify(make(status), NOW).error_id == error_id
