"""Transient or fatal: one function says so, by what an error is and never by words in its text."""

import asyncio
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
from videodb.exceptions import AuthenticationError, InvalidRequestError, RequestTimeoutError
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from vdbevents import cloud
from vdbevents.errors import InputError, ServiceRefusedError

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
def test_an_answer_that_waiting_can_mend_is_transient(make, status):
    assert not cloud.classify(make(status), NOW).fatal


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 410, 422, 451])
@pytest.mark.parametrize("make", [answered, refused_upgrade])
def test_an_answer_that_is_a_no_is_fatal_and_has_a_cure(make, status):
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
        (caused_by(socket.gaierror(-2, "Name or service not known")), "cannot be resolved"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (caused_by(ssl.SSLEOFError(8, "EOF occurred")), "EOF occurred"),
        (answered(200), "Invalid request"),
        (AttributeError("'NoneType' object has no attribute 'get'"), "NoneType"),
        (InvalidRequestError("Invalid request: auth 401 403", None), "Invalid request"),
        (ValueError("connect to wss://ws.example/?token=secret failed"), "the WebSocket's address failed"),
    ],
)
def test_all_else_passes_and_is_said_by_its_cause(error, said):
    failure = cloud.classify(error, NOW)

    assert not failure.fatal
    assert said in failure.message
    assert "secret" not in failure.message


@pytest.mark.parametrize("wrap", [lambda error: error, caused_by])
def test_a_certificate_that_does_not_verify_is_fatal(wrap):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"

    failure = cloud.classify(wrap(error), NOW)

    assert failure.fatal
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
def test_retry_after_is_read_as_seconds_or_as_a_date_and_is_an_hour_at_most(status, value, seconds):
    assert cloud.classify(answered(status, **{"Retry-After": value}), NOW).retry_after == seconds
    assert cloud.classify(refused_upgrade(status, **{"Retry-After": value}), NOW).retry_after == seconds


def test_an_error_that_causes_itself_does_not_go_on_for_ever():
    error = ValueError("round")
    error.__cause__ = error

    assert cloud.classify(error, NOW).message == "round"


@pytest.mark.parametrize("environ", [{}, {"VIDEO_DB_API_KEY": ""}, {"VIDEO_DB_API_KEY": "  "}])
def test_a_missing_key_says_how_to_get_and_set_one(environ):
    with pytest.raises(ServiceRefusedError, match="VIDEO_DB_API_KEY is not set") as raised:
        cloud.credentials_from(environ)
    assert "console.videodb.io" in raised.value.hint


@pytest.mark.parametrize("key", ["sk-a b", "sk-é", "sk-a\nb", "sk-\x1b"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(key):
    with pytest.raises(ServiceRefusedError) as raised:
        cloud.credentials_from({"VIDEO_DB_API_KEY": key})
    assert key not in raised.value.message + raised.value.hint


def test_the_base_url_is_read_from_either_name_and_the_first_counts():
    def url(**environ):
        return cloud.credentials_from({"VIDEO_DB_API_KEY": "sk-x", **environ}).base_url

    assert url() == "https://api.videodb.io"
    assert url(VIDEO_DB_BASE_URL="http://b/") == "http://b"
    assert url(VIDEO_DB_BASE_URL="http://b", VIDEO_DB_API="https://a") == "https://a"


def test_a_base_url_that_is_none_is_an_error_of_the_input():
    with pytest.raises(InputError, match="VIDEO_DB_API"):
        cloud.credentials_from({"VIDEO_DB_API_KEY": "sk-x", "VIDEO_DB_API": "api.videodb.io"})


def test_the_key_is_not_in_the_text_of_its_holder():
    assert "sk-secret" not in repr(cloud.Credentials("sk-secret"))


def test_a_call_that_hangs_is_left_behind_and_holds_up_nothing():
    release = threading.Event()

    async def ask():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(cloud.DaemonThreads())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await loop.run_in_executor(None, release.wait, 30)

    began = time.monotonic()
    asyncio.run(ask())
    release.set()

    assert time.monotonic() - began < 5


def test_of_two_wishes_to_wait_the_first_counts():
    response = Response(503, "", Headers([("Retry-After", "7"), ("Retry-After", "9")]))

    assert cloud.classify(InvalidStatus(response), NOW).retry_after == 7.0


def test_an_address_is_shown_without_the_password_in_it():
    assert cloud.shown_address("https://user:secret@api.example:8443/v1") == "https://api.example:8443"


def test_a_key_in_the_place_of_the_address_is_not_shown():
    with pytest.raises(InputError) as raised:
        cloud.credentials_from({"VIDEO_DB_API_KEY": "sk-x", "VIDEO_DB_API": "sk-secret"})
    assert "sk-secret" not in raised.value.message + raised.value.hint
