"""Transient or fatal: one function says so, by what an error is and never by words in its text."""

import asyncio
import contextlib
import http.server
import json
import os
import socket
import ssl
import sys
import threading
import time
import types
import urllib.request
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from support.processes import eventually
from videodb.exceptions import AuthenticationError, InvalidRequestError, RequestTimeoutError
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from vdbevents import cloud
from vdbevents.emulator.application import EmulatorSettings, running
from vdbevents.errors import CaptureError, InputError, ServiceRefusedError, ServiceUnreachableError
from vdbevents.events import lifecycle

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


def test_calls_go_on_side_by_side_and_a_thread_that_is_done_takes_another():
    threads, meet = cloud.DaemonThreads(), threading.Barrier(3)
    together = [threads.submit(lambda: (meet.wait(60), threading.get_ident())) for _ in range(3)]
    first = {call.result(60)[1] for call in together}
    assert len(first) == 3
    for _ in range(100):
        # Whoever has answered may still be about to be idle.
        eventually(lambda: threads._idle._value == 3)
        assert threads.submit(threading.get_ident).result(60) in first


def test_a_call_for_which_no_thread_can_be_started_is_not_made_later(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    threads, made = cloud.DaemonThreads(most=1), []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            threads.submit(made.append, "refused")

    threads.submit(made.append, "made").result(60)
    assert made == ["made"]


def test_of_one_thread_calls_have_it_in_turn_whatever_becomes_of_them():
    threads, go_on, done = cloud.DaemonThreads(most=1), threading.Event(), []
    calls = [threads.submit(go_on.wait, 20), threads.submit(lambda: 1 // 0)]
    calls += [threads.submit(lambda number=number: done.append(number)) for number in range(5)]
    assert calls[3].cancel()
    go_on.set()
    with pytest.raises(ZeroDivisionError):
        calls[1].result(20)
    calls[-1].result(20)

    assert done == [0, 2, 3, 4]
    assert len({threads.submit(threading.get_ident).result(20) for _ in range(10)}) == 1


def test_a_call_that_hangs_is_left_behind_and_holds_up_nothing():
    release = threading.Event()

    async def ask():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(cloud.DaemonThreads())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await loop.run_in_executor(None, release.wait, 60)

    began = time.monotonic()
    asyncio.run(ask())
    release.set()

    assert time.monotonic() - began < 30


def test_of_two_wishes_to_wait_the_first_counts():
    response = Response(503, "", Headers([("Retry-After", "7"), ("Retry-After", "9")]))

    assert cloud.classify(InvalidStatus(response), NOW).retry_after == 7.0


def test_an_address_is_shown_without_the_password_in_it():
    assert cloud.shown_address("https://user:secret@api.example:8443/v1") == "https://api.example:8443"


def test_a_key_in_the_place_of_the_address_is_not_shown():
    with pytest.raises(InputError) as raised:
        cloud.credentials_from({"VIDEO_DB_API_KEY": "sk-x", "VIDEO_DB_API": "sk-secret"})
    assert "sk-secret" not in raised.value.message + raised.value.hint


# The account, at the emulator


KEY = "sk-emulator"
CHANNELS = [
    {"channel_id": "mic:default", "type": "audio", "name": "Microphone", "store": True},
    {"channel_id": "display:1", "type": "video", "name": "Display", "store": True},
]


def account_at(url, key=KEY, seconds=60.0):
    return cloud.Account(cloud.Credentials(key, url), seconds)


def post(url, **body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"x-access-token": KEY})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture
def emulator():
    """The base URL of the real server in a thread."""
    with running(EmulatorSettings(autoplay=False)) as url:
        yield url


def test_a_session_is_made_found_again_and_listed(emulator):
    account = account_at(emulator)
    made = account.create_session("user-1", "default", "ws-1", {"project": "apollo"})

    assert made.id.startswith("cap-")
    assert (made.collection_id, made.status, made.streams) == ("default", "created", ())
    found = account.get_session(made.id, "default")
    assert (found.id, found.end_user_id, found.metadata) == (made.id, "user-1", {"project": "apollo"})
    assert [it.id for it in account.list_sessions("default")] == [made.id]
    assert account.list_sessions("default", "active") == []
    assert [it.id for it in account.list_sessions("default", "created")] == [made.id]


def test_a_session_lives_from_its_streams_to_its_video(emulator):
    account = account_at(emulator)
    session_id = account.create_session("user-1", "default", None, {}).id
    post(emulator + "/capture/session/start", session_id=session_id, channels=CHANNELS)

    def get():
        return account.get_session(session_id, "default")

    streams = eventually(lambda: get().streams)
    assert [(it.name, it.source, it.media) for it in streams] == [
        ("mic:default", "mic", "audio"),
        ("display:1", "screen", "video"),
    ]
    assert (get().status, get().export_status, get().video_id) == ("active", "", "")
    account.stop_session(session_id)
    eventually(lambda: get().status == "stopped")
    export = eventually(
        lambda: (it := account.export_session(session_id, "default")).status == "exported" and it
    )
    assert export.video_id
    assert export.stream_url.startswith("https://")
    assert (get().export_status, get().video_id) == ("exported", export.video_id)


def test_ending_a_session_twice_is_ending_it_once(emulator):
    account = account_at(emulator)
    session_id = account.create_session("user-1", "default", None, {}).id
    post(emulator + "/capture/session/start", session_id=session_id, channels=CHANNELS)
    for _ in range(2):
        account.stop_session(session_id)

    eventually(lambda: account.get_session(session_id, "default").status == "stopped")


def test_a_token_says_when_it_runs_out_and_is_not_shown(emulator):
    before = time.time_ns() // 1_000_000
    token = account_at(emulator).create_token(60)
    after = time.time_ns() // 1_000_000

    assert token.value
    assert before + 60_000 <= token.expires_ms <= after + 60_000
    assert token.value not in repr(token)


def test_a_session_that_failed_says_why(emulator):
    account = account_at(emulator)
    session_id = account.create_session("user-1", "default", None, {}).id
    post(emulator + "/emulator/session", do="fail", session_id=session_id, error={"message": "no camera"})

    assert account.get_session(session_id, "default").status == "failed"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda it: it.get_session("cap-x", "default"),
            "could not ask for the session cap-x: There is no capture session 'cap-x'",
        ),
        (lambda it: it.get_session("cap-x", "c-x"), "There is no collection 'c-x'"),
        (lambda it: it.stop_session("cap-x"), "could not end the session cap-x: There is no"),
        (lambda it: it.create_token(-1), "could not make a client token: expires_in: must be"),
        (lambda it: it.list_indexes("rts-x"), "could not list the indexes of rts-x: There is no rtstream"),
        (lambda it: it.create_session("", "default", None, {}), "could not create a capture session: "),
    ],
)
def test_what_the_service_does_not_take_is_refused_in_its_own_words(emulator, call, said):
    with pytest.raises(ServiceRefusedError) as raised:
        call(account_at(emulator))
    assert said in raised.value.message
    assert "Invalid request" not in raised.value.message


def test_a_wrong_key_is_refused_with_the_cure_and_is_not_shown(emulator):
    with pytest.raises(ServiceRefusedError) as raised:
        account_at(emulator, "sk-secret").list_sessions("default")
    assert (
        raised.value.message == "could not list the capture sessions: the service refused the API key (401)"
    )
    assert "VIDEO_DB_API_KEY=" in raised.value.hint
    assert "sk-secret" not in raised.value.message + raised.value.hint


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (401, ServiceRefusedError, "the service refused the API key (401)"),
        (402, ServiceRefusedError, "the account has no credit left (402)"),
        (403, ServiceRefusedError, "the API key has no right to this (403)"),
        (404, ServiceRefusedError, "Not Found (a fault that was asked for)"),
        (422, ServiceRefusedError, "(a fault that was asked for)"),
        (408, ServiceUnreachableError, "the service answered 408"),
        (429, ServiceUnreachableError, "the service answered 429"),
        (500, ServiceUnreachableError, "the service answered 500"),
        (502, ServiceUnreachableError, "the service answered 502"),
        (503, ServiceUnreachableError, "the service answered 503"),
    ],
)
def test_an_answer_that_is_none_is_told_by_its_status_after_one_request(emulator, status, error, said):
    post(emulator + "/emulator/faults", http={"status": status, "path": "/collection"})
    with pytest.raises(error) as raised:
        account_at(emulator).list_sessions("default")

    assert raised.value.message.startswith("could not list the capture sessions: ")
    assert raised.value.message.endswith(said)
    assert KEY not in raised.value.message + raised.value.hint
    with urllib.request.urlopen(emulator + "/emulator/state", timeout=30) as answer:
        assert sum(json.load(answer)["requests"].values()) == 1


def test_a_service_that_does_not_answer_is_given_up_at_the_limit(emulator):
    post(emulator + "/emulator/faults", hang={"path": "/collection"})
    began = time.monotonic()
    with pytest.raises(ServiceUnreachableError) as raised:
        account_at(emulator, seconds=0.2).list_sessions("default")

    assert raised.value.message == "could not list the capture sessions: no answer in time"
    assert time.monotonic() - began < 60


def test_a_service_that_is_not_there_is_told_by_its_cause():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(ServiceUnreachableError) as raised:
            account_at(f"http://127.0.0.1:{taken.getsockname()[1]}", "sk-secret").create_token(60)

    assert raised.value.message == "could not make a client token: no connection: Connection refused"
    assert "sk-secret" not in raised.value.message + raised.value.hint


def test_a_call_is_made_from_any_thread(emulator):
    account = account_at(emulator)
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(account.create_session("user", "default", None, {}).id))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(made) == sorted(it.id for it in account.list_sessions("default"))
    assert len(set(made)) == 8


# The account, at a service that answers as the emulator never does


class Stub:
    """Answers everything with the same bytes; `requests` is what came: (method, path, body)."""

    def __init__(self):
        self.status, self.content, self.requests = 200, b"{}", []

    def answers(self, content, status=200):
        """From now on this: bytes as they are, anything else as JSON."""
        self.content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.status = status

    @property
    def path(self):
        """Of the one request."""
        ((_, path, _),) = self.requests
        return path


@pytest.fixture
def stub():
    one = Stub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            one.requests.append((self.command, self.path, json.loads(body or b"null")))
            content = one.content.replace(b"{key}", self.headers["x-access-token"].encode())
            self.send_response(one.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = reply  # noqa: N815 - so it is called

        def log_message(self, *arguments):
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        one.account = account_at(f"http://127.0.0.1:{server.server_port}", "sk-secret", 60.0)
        yield one
        server.shutdown()
        thread.join()


STREAM = {"rtstream_id": "rts-1", "name": "mic:default", "media_types": ["audio"]}
HEARD = lifecycle.Stream("rts-1", "mic:default", "mic", "audio")


@pytest.mark.parametrize("key", ["rtstreams", "streams", "channels", "rt_streams"])
def test_an_answer_that_makes_the_sdk_fail_keeps_its_session_and_its_streams(stub, key):
    """The SDK's own method raises TypeError at streams with `rtstream_id`, and loses the session's id."""
    stub.answers({"success": True, "data": {"session_id": "cap-1", key: [STREAM]}})

    session = stub.account.create_session("user-1", "default", "ws-1", {"a": "b"})

    assert (session.id, session.streams) == ("cap-1", (HEARD,))
    assert stub.requests == [
        (
            "POST",
            "/collection/default/capture/session",
            {"end_user_id": "user-1", "ws_connection_id": "ws-1", "metadata": {"a": "b"}},
        )
    ]


def test_what_was_not_given_is_not_sent(stub):
    stub.answers({"success": True, "data": {"session_id": "cap-1"}})
    stub.account.create_session("user-1", "default", None, {})

    assert stub.requests[0][2] == {"end_user_id": "user-1"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param({"id": "cap-2"}, {"id": "cap-2"}, id="id"),
        pytest.param({"data": {"session_id": "cap-2"}}, {"id": "cap-2"}, id="wrapped once more"),
        pytest.param({"status": "active"}, {"id": "cap-1", "status": "active"}, id="no id"),
        pytest.param({"session_id": 5, "status": None}, {"id": "cap-1", "status": ""}, id="odd types"),
        pytest.param({"collection_id": "c-2"}, {"collection_id": "c-2"}, id="another collection"),
        pytest.param({"error": {"message": "no camera"}}, {"error": "no camera"}, id="an error"),
        pytest.param({"failure_reason": "no camera"}, {"error": "no camera"}, id="a reason"),
        pytest.param({"metadata": None}, {"metadata": {}}, id="no metadata"),
        pytest.param(
            {"export_status": "exported", "exported_video_id": "m-1"},
            {"export_status": "exported", "video_id": "m-1"},
            id="exported",
        ),
    ],
)
def test_a_session_is_read_in_every_shape(stub, data, expected):
    stub.answers({"success": True, "data": data})

    session = stub.account.get_session("cap-1", "default")

    assert {name: getattr(session, name) for name in expected} == expected


SENSELESS = [
    pytest.param(b'{"success":true,"data":null}', id="data null"),
    pytest.param(b'{"success":true}', id="no data"),
    pytest.param(b'{"success":true,"data":[]}', id="a list"),
    pytest.param(b'{"success":true,"data":"cap-1"}', id="a text"),
    pytest.param(b'{"success":true,"data":{"session_id":5}}', id="an id that is no text"),
    pytest.param(b'{"success":true,"data":{"session_id":""}}', id="an empty id"),
    pytest.param(b'{"success":true,"data":{"session_id":"cap-1","metadata":[1]}}', id="odd metadata"),
    pytest.param(b"null", id="null"),
    pytest.param(b"[]", id="no object"),
    pytest.param(b'{"status":"processing","request_type":"async"}', id="come again"),
]


@pytest.mark.parametrize("content", SENSELESS)
def test_an_answer_that_makes_no_sense_is_said_to_make_none_and_may_be_asked_for_again(stub, content):
    stub.answers(content)

    with pytest.raises(ServiceUnreachableError) as raised:
        stub.account.create_session("user-1", "default", "ws-1", {})
    assert raised.value.message == "could not create a capture session: the service's answer makes no sense"


@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.create_token(60),
        lambda it: it.list_sessions("default"),
        lambda it: it.list_indexes("rts-1"),
        lambda it: it.list_events(),
        lambda it: it.list_alerts("rts-1", "idx-1"),
        lambda it: it.create_event("label", "prompt"),
        lambda it: it.create_alert("rts-1", "idx-1", "event-1", None),
        lambda it: it.transcript_status("rts-1"),
        lambda it: it.playable("rts-1", 1, 2),
        lambda it: it.search("rts-1", "words", most=None),
    ],
)
def test_no_call_takes_nothing_for_an_answer(stub, call):
    stub.answers(b'{"success":true,"data":null}')

    with pytest.raises(ServiceUnreachableError, match="the service's answer makes no sense"):
        call(stub.account)


@pytest.mark.parametrize("sessions", [None, []])
def test_a_collection_without_sessions_has_none(stub, sessions):
    stub.answers({"success": True, "data": {"sessions": sessions}})

    assert stub.account.list_sessions("default") == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>Welcome to the hotel</html>", "<html>Welcome to the hotel</html>"),
        (b'{"success":false,"message":"The queue is full."}', "The queue is full."),
        (b"", "Invalid request:"),
    ],
)
def test_a_good_status_with_a_bad_answer_passes_and_is_quoted(stub, content, said):
    stub.answers(content)

    with pytest.raises(ServiceUnreachableError) as raised:
        stub.account.get_session("cap-1", "default")
    assert said in raised.value.message
    assert len(stub.requests) == 1


@pytest.mark.parametrize("content", [b"", b"<html>" + b"x" * 100_000, b'{"message":null}'])
def test_a_refusal_in_any_words_is_a_refusal_and_is_short(stub, content):
    stub.answers(content, 404)

    with pytest.raises(ServiceRefusedError) as raised:
        stub.account.get_session("cap-1", "default")
    assert len(raised.value.message) < 400


@pytest.mark.parametrize("content", [b"null", b"[]", b'"no"'])
@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_refusal_whose_body_is_no_object_is_a_refusal(stub, status, content):
    stub.answers(content, status)

    with pytest.raises(ServiceRefusedError):
        stub.account.get_session("cap-1", "default")


def test_a_refusal_without_a_word_is_told_by_its_status(stub):
    stub.answers(b"", 404)

    with pytest.raises(ServiceRefusedError, match="404"):
        stub.account.get_session("cap-1", "default")


@pytest.mark.parametrize("status", [200, 400, 404])
def test_a_service_that_repeats_the_key_is_not_quoted_with_it(stub, status):
    stub.answers(b'{"success":false,"message":"The key {key} is unknown here."}', status)

    with pytest.raises((ServiceRefusedError, ServiceUnreachableError)) as raised:
        stub.account.get_session("cap-1", "default")
    assert "sk-secret" not in raised.value.message + raised.value.hint


ODD_IDS = [
    ("a/b", "a%2Fb"),
    ("../../token", "..%2F..%2Ftoken"),
    ("?x=1&y", "%3Fx%3D1%26y"),
    ("a b", "a%20b"),
    ("a#b", "a%23b"),
    ("%2F", "%252F"),
    ("a\\b", "a%5Cb"),
    ("a\r\nX: 1", "a%0D%0AX%3A%201"),
    ("é", "%C3%A9"),
]


@pytest.mark.parametrize(("typed", "part"), ODD_IDS)
@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda it, name: it.get_session(name, "c"), "/collection/c/capture/session/{}"),
        (lambda it, name: it.get_session("s", name), "/collection/{}/capture/session/s"),
        (lambda it, name: it.list_sessions(name), "/collection/{}/capture/session"),
        (lambda it, name: it.stop_session(name), "/capture/session/{}/stop"),
        (lambda it, name: it.export_session(name, "c"), "/collection/c/capture/session/{}/export"),
        (lambda it, name: it.stop_transcript(name), "/rtstream/{}/transcription"),
        (lambda it, name: it.transcript_status(name), "/rtstream/{}/transcription/status"),
        (lambda it, name: it.stop_index(name, name), "/rtstream/{0}/index/scene/{0}/status"),
        (lambda it, name: it.list_alerts(name, name), "/rtstream/{0}/index/{0}/alert"),
    ],
)
def test_an_id_is_one_part_of_a_path_whatever_it_holds(stub, call, path, typed, part):
    stub.answers({"success": True, "data": {}})
    with contextlib.suppress(ServiceUnreachableError):  # the answer makes no sense to some
        call(stub.account, typed)

    assert stub.path.partition("?")[0] == path.format(part)


@pytest.mark.parametrize(("typed", "part"), ODD_IDS[:3])
def test_the_id_of_an_alert_is_one_part_of_a_path_as_well(stub, typed, part):
    stub.answers({"success": True, "data": {}})
    stub.account.set_alert("rts-1", "idx-1", typed, enabled=True)

    assert stub.path == f"/rtstream/rts-1/index/idx-1/alert/{part}/status"


@pytest.mark.parametrize(("enabled", "action"), [(True, "enable"), (False, "disable")])
def test_an_alert_is_switched_by_its_id(stub, enabled, action):
    stub.answers({"success": True, "data": {}})
    stub.account.set_alert("rts-1", "idx-1", "alert-1", enabled=enabled)

    path = "/rtstream/rts-1/index/idx-1/alert/alert-1/status"
    assert stub.requests == [("PATCH", path, {"action": action})]


@pytest.mark.parametrize("typed", ["..", ".", ""])
def test_an_id_that_is_no_part_of_a_path_is_not_sent_to_another_endpoint(stub, typed):
    stub.answers({"success": True, "data": {}})
    with contextlib.suppress(ServiceRefusedError, InputError):
        stub.account.stop_session(typed)

    assert stub.requests == []


@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.get_session("\udcff", "default"),
        lambda it: it.stop_session("\udcff"),
        lambda it: it.export_session("\udcff", "default"),
    ],
)
def test_an_id_that_was_typed_in_broken_bytes_is_no_bug_of_ours(stub, call):
    with pytest.raises((ServiceRefusedError, InputError)):
        call(stub.account)


# Again and again


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


def test_a_call_that_succeeds_is_made_once_and_waits_for_nothing():
    clock = Clock()

    assert cloud.persist(failing(), 10, pause=clock.pause, clock=clock) == "answer"
    assert clock.waits == []


def test_what_passes_is_tried_again_after_waits_that_grow_to_five_seconds():
    clock = Clock()

    assert cloud.persist(failing(*[PASSING] * 9), 60, pause=clock.pause, clock=clock) == "answer"
    assert clock.waits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]


@pytest.mark.parametrize(
    "error", [ServiceRefusedError("no"), InputError("no"), CaptureError("no"), ValueError("no")]
)
def test_what_does_not_pass_is_not_tried_again(error):
    clock = Clock()

    with pytest.raises(type(error), match="no"):
        cloud.persist(failing(PASSING, error), 60, pause=clock.pause, clock=clock)
    assert clock.waits == [0.25]


@pytest.mark.parametrize(("seconds", "waits"), [(0, 0), (0.25, 0), (0.3, 1), (4, 4), (60, 15)])
def test_at_the_deadline_nothing_is_begun_any_more_and_the_last_error_is_raised(seconds, waits):
    clock = Clock()
    errors = [ServiceUnreachableError(f"attempt {number}") for number in range(100)]

    with pytest.raises(ServiceUnreachableError) as raised:
        cloud.persist(failing(*errors), seconds, pause=clock.pause, clock=clock)
    assert raised.value.message == f"attempt {waits}"
    assert len(clock.waits) == waits
    assert clock.now <= 1000 + seconds


def test_the_time_that_the_calls_take_counts_as_well():
    clock = Clock()
    made = []

    def slow():
        made.append(clock.now)
        clock.now += 20
        raise PASSING

    with pytest.raises(ServiceUnreachableError):
        cloud.persist(slow, 30, pause=clock.pause, clock=clock)
    assert made == [1000.0, 1020.25]


def test_a_pause_that_was_interrupted_ends_the_attempts():
    clock = Clock()
    answers = iter([None, False, True])

    with pytest.raises(ServiceUnreachableError):
        cloud.persist(failing(*[PASSING] * 9), 60, pause=lambda _: next(answers), clock=clock)
    assert list(answers) == []


def test_an_event_that_is_set_is_a_pause_that_was_interrupted():
    asked_to_end = threading.Event()
    asked_to_end.set()

    with pytest.raises(ServiceUnreachableError):
        cloud.persist(failing(*[PASSING] * 9), 3600, pause=asked_to_end.wait)


def busy(seconds):
    return ServiceUnreachableError("could not ask: the service answered 429", retry_after=seconds)


def test_the_next_attempt_waits_for_as_long_as_the_service_asked_and_never_shorter_than_it_would():
    clock = Clock()
    errors = [busy(7.0), busy(0.0), busy(None), busy(1.5), busy(30.0), PASSING]

    assert cloud.persist(failing(*errors), 60, pause=clock.pause, clock=clock) == "answer"
    assert clock.waits == [7.0, 0.5, 1.0, 2.0, 30.0, 5.0]


@pytest.mark.parametrize("asked", [10.0, 10.5, 3600.0])
def test_a_wait_that_would_not_end_before_the_deadline_is_not_begun(asked):
    clock = Clock()
    error = busy(asked)

    with pytest.raises(ServiceUnreachableError) as raised:
        cloud.persist(failing(error), 10, pause=clock.pause, clock=clock)
    assert raised.value is error
    assert clock.waits == []


def test_a_wait_that_just_ends_before_the_deadline_is_waited():
    clock = Clock()

    assert cloud.persist(failing(busy(9.5)), 10, pause=clock.pause, clock=clock) == "answer"
    assert clock.waits == [9.5]


def test_of_the_time_that_is_left_the_calls_have_taken_their_part_when_a_wait_is_to_fit():
    clock = Clock()

    def slow():
        clock.now += 4
        raise busy(3.0)

    with pytest.raises(ServiceUnreachableError):
        cloud.persist(slow, 10, pause=clock.pause, clock=clock)
    assert clock.waits == [3.0]


def test_a_wait_that_the_service_asked_for_can_be_interrupted():
    clock = Clock()
    waits = []

    with pytest.raises(ServiceUnreachableError):
        cloud.persist(failing(busy(7.0)), 60, pause=lambda it: waits.append(it) or True, clock=clock)
    assert waits == [7.0]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("header", "seconds"), [({"retry_after": 7}, 7.0), ({}, None)])
def test_the_account_s_error_carries_the_wait_that_was_asked_for(emulator, status, header, seconds):
    post(emulator + "/emulator/faults", http={"status": status, "path": "/collection", **header})
    with pytest.raises(ServiceUnreachableError) as raised:
        account_at(emulator).list_sessions("default")

    assert raised.value.retry_after == seconds
    assert raised.value.hint == "try again; --timeout gives it longer"


def test_an_error_in_making_the_connection_is_a_bug_and_no_answer_that_makes_no_sense(monkeypatch):
    def broken(**_):
        raise TypeError("a bug")

    monkeypatch.setattr("videodb.connect", broken)

    with pytest.raises(TypeError, match="a bug"):
        account_at("http://127.0.0.1:9").list_sessions("default")


# The package


def test_what_the_package_offers_is_there_and_is_its_own():
    assert all(getattr(cloud, name).__module__.startswith("vdbevents.cloud.") for name in cloud.__all__)


# The video and the runtime


@pytest.mark.parametrize(
    ("told", "export"),
    [
        ({}, cloud.Export("")),
        ({"export_status": "exporting"}, cloud.Export("exporting")),
        ({"export_status": "failed"}, cloud.Export("failed")),
        ({"export_status": "exporting", "video_id": "m-1"}, cloud.Export("exporting", "m-1")),
        ({"video_id": "m-1"}, cloud.Export("exported", "m-1")),
        ({"exported_video_id": "m-1"}, cloud.Export("exported", "m-1")),
        ({"video_id": None, "exported_video_id": "m-1"}, cloud.Export("exported", "m-1")),
        ({"video_id": "m-1", "exported_video_id": "m-2"}, cloud.Export("exported", "m-1")),
        (
            {
                "exported_video_id": "m-1",
                "stream_url": "https://s.example/a",
                "player_url": "https://p.example/a",
                "duration": 5,
            },
            cloud.Export("exported", "m-1", "https://s.example/a", "https://p.example/a"),
        ),
        ({"video_id": 5, "export_status": [], "stream_url": {}, "player_url": None}, cloud.Export("")),
    ],
)
def test_a_video_is_read_from_an_answer_or_an_event(told, export):
    assert cloud.export_from(told) == export


@pytest.fixture
def no_runtime(monkeypatch):
    """The SDK finds its runtime through a module, which is taken away again."""
    monkeypatch.setitem(sys.modules, "videodb_capture_bin", types.ModuleType("videodb_capture_bin"))
    monkeypatch.setitem(sys.modules, "videodb_capture_bin", None)


def no_file(folder):
    return folder / "nothing"


def no_program(folder):
    path = folder / "text"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o600)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="there every file can be run")
@pytest.mark.parametrize("make", [no_file, lambda folder: folder, no_program])
def test_what_is_no_program_is_no_runtime_and_the_setting_is_named(tmp_path, no_runtime, make):
    path = make(tmp_path)
    if make is no_program and os.access(path, os.X_OK):
        pytest.skip("this user may run anything")

    with pytest.raises(CaptureError) as raised:
        cloud.find_runtime(path)
    assert raised.value.message == f"the capture runtime {path} is no program that can be run"
    assert "VDBEVENTS_CAPTURE_RUNTIME" in raised.value.hint


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="there VideoDB ships one")
def test_where_videodb_ships_no_runtime_another_machine_or_the_emulator_is_the_cure(no_runtime):
    with pytest.raises(CaptureError, match="for macOS and Windows only") as raised:
        cloud.find_runtime(None)
    assert "vdbevents emulator" in raised.value.hint
    assert "VDBEVENTS_CAPTURE_RUNTIME" in raised.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="there it is no program")
def test_a_named_program_is_what_the_sdk_starts_and_the_token_is_all_it_gets(tmp_path, no_runtime):
    path = no_program(tmp_path)
    path.chmod(0o700)

    assert cloud.find_runtime(path) == path
    client = cloud.capture_client(cloud.Token("st-1", 0), "http://127.0.0.1:9")
    assert (client._binary_path, client.client_token, client.base_url) == (
        str(path),
        "st-1",
        "http://127.0.0.1:9",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there it is no program")
def test_a_program_in_the_current_directory_is_started_from_there(tmp_path, no_runtime, monkeypatch):
    no_program(tmp_path).chmod(0o700)
    monkeypatch.chdir(tmp_path)

    found = cloud.find_runtime(Path("text"))

    client = cloud.capture_client(cloud.Token("st-1", 0), "http://127.0.0.1:9")
    assert Path(client._binary_path).is_absolute()
    assert found.samefile(tmp_path / "text")
