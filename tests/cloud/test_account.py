"""The API's calls, at the emulator and at a service that answers as the emulator never does."""

import contextlib
import http.server
import json
import socket
import threading
import time
import urllib.request

import pytest
from support.patience import PATIENCE
from support.processes import eventually

from vdbevents import cloud
from vdbevents.emulator.application import EmulatorSettings, running
from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError
from vdbevents.events import lifecycle

KEY = "sk-emulator"


CHANNELS = [
    {"channel_id": "mic:default", "type": "audio", "name": "Microphone", "store": True},
    {"channel_id": "display:1", "type": "video", "name": "Display", "store": True},
]


def account_at(url, key=KEY, seconds=60.0):
    return cloud.Account(cloud.Credentials(key, url), seconds)


def post(url, **body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"x-access-token": KEY})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


@pytest.fixture
def emulator():
    """The base URL of the real server in a thread."""
    with running(EmulatorSettings(autoplay=False)) as url:
        yield url


def test_a_session_is_created_found_and_listed(emulator):
    account = account_at(emulator)
    made = account.create_session("user-1", "default", "ws-1", {"project": "apollo"})

    assert made.id.startswith("cap-")
    assert (made.collection_id, made.status, made.streams) == ("default", "created", ())
    found = account.get_session(made.id, "default")
    assert (found.id, found.end_user_id, found.metadata) == (made.id, "user-1", {"project": "apollo"})
    assert [it.id for it in account.list_sessions("default")] == [made.id]
    assert account.list_sessions("default", "active") == []
    assert [it.id for it in account.list_sessions("default", "created")] == [made.id]


def test_a_session_goes_from_streams_to_video(emulator):
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


def test_stopping_a_session_twice_is_harmless(emulator):
    account = account_at(emulator)
    session_id = account.create_session("user-1", "default", None, {}).id
    post(emulator + "/capture/session/start", session_id=session_id, channels=CHANNELS)
    for _ in range(2):
        account.stop_session(session_id)

    eventually(lambda: account.get_session(session_id, "default").status == "stopped")


def test_a_token_has_its_expiry_and_is_not_in_the_repr(emulator):
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
            "session cap-x in collection default not found",
        ),
        (lambda it: it.get_session("cap-x", "c-x"), "session cap-x in collection c-x not found"),
        (lambda it: it.stop_session("cap-x"), "session cap-x not found"),
        (lambda it: it.create_token(-1), "could not create a client token: expires_in: must be"),
        (lambda it: it.list_indexes("rts-x"), "could not list the indexes of rts-x: There is no rtstream"),
        (lambda it: it.create_session("", "default", None, {}), "could not create a capture session: "),
    ],
)
def test_a_refusal_quotes_the_service_or_names_what_is_missing(emulator, call, said):
    with pytest.raises(ServiceRefusedError) as raised:
        call(account_at(emulator))
    assert said in raised.value.message
    assert "Invalid request" not in raised.value.message


def test_a_wrong_key_is_refused_with_a_hint_and_not_shown(emulator):
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
        (403, ServiceRefusedError, "the API key has no permission for this (403)"),
        (404, ServiceRefusedError, "Not Found (a fault that was asked for)"),
        (422, ServiceRefusedError, "(a fault that was asked for)"),
        (408, ServiceUnreachableError, "the service answered 408"),
        (429, ServiceUnreachableError, "the service limits the request rate (429)"),
        (500, ServiceUnreachableError, "the service answered 500"),
        (502, ServiceUnreachableError, "the service answered 502"),
        (503, ServiceUnreachableError, "the service answered 503"),
    ],
)
def test_an_error_status_is_reported_after_one_request(emulator, status, error, said):
    post(emulator + "/emulator/faults", http={"status": status, "path": "/collection"})
    with pytest.raises(error) as raised:
        account_at(emulator).list_sessions("default")

    assert raised.value.message.startswith("could not list the capture sessions: ")
    assert raised.value.message.endswith(said)
    assert KEY not in raised.value.message + raised.value.hint
    with urllib.request.urlopen(emulator + "/emulator/state", timeout=PATIENCE) as answer:
        assert sum(json.load(answer)["requests"].values()) == 1


def test_a_call_ends_at_its_time_limit(emulator):
    post(emulator + "/emulator/faults", hang={"path": "/collection"})
    began = time.monotonic()
    with pytest.raises(ServiceUnreachableError) as raised:
        account_at(emulator, seconds=0.2).list_sessions("default")

    assert raised.value.message == "could not list the capture sessions: no answer in time"
    assert time.monotonic() - began < PATIENCE


def test_an_unreachable_service_is_reported_by_its_cause():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(ServiceUnreachableError) as raised:
            account_at(f"http://127.0.0.1:{taken.getsockname()[1]}", "sk-secret").create_token(60)

    assert raised.value.message == "could not create a client token: connection failed: Connection refused"
    assert "sk-secret" not in raised.value.message + raised.value.hint


def test_calls_work_from_any_thread(emulator):
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
def test_an_answer_that_the_sdk_cannot_read_keeps_its_session_and_streams(stub, key):
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


def test_missing_arguments_are_not_sent(stub):
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
def test_an_unexpected_answer_is_reported_and_can_be_retried(stub, content):
    stub.answers(content)

    with pytest.raises(ServiceUnreachableError) as raised:
        stub.account.create_session("user-1", "default", "ws-1", {})
    assert raised.value.error_id == "answer-unexpected"
    assert raised.value.message.startswith("could not create a capture session: ")


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
def test_no_call_accepts_an_empty_answer(stub, call):
    stub.answers(b'{"success":true,"data":null}')

    with pytest.raises(ServiceUnreachableError) as raised:
        call(stub.account)
    assert raised.value.error_id == "answer-unexpected"


@pytest.mark.parametrize("sessions", [None, []])
def test_a_collection_without_sessions_gives_an_empty_list(stub, sessions):
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
def test_an_unreadable_answer_with_a_good_status_is_transient_and_quoted(stub, content, said):
    stub.answers(content)

    with pytest.raises(ServiceUnreachableError) as raised:
        stub.account.get_session("cap-1", "default")
    assert said in raised.value.message
    assert len(stub.requests) == 1


@pytest.mark.parametrize("content", [b"", b"<html>" + b"x" * 100_000, b'{"message":null}'])
def test_a_refusal_with_any_body_is_reported_briefly(stub, content):
    stub.answers(content, 404)

    with pytest.raises(ServiceRefusedError) as raised:
        stub.account.get_session("cap-1", "default")
    assert len(raised.value.message) < 400


@pytest.mark.parametrize("content", [b"null", b"[]", b'"no"'])
@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_refusal_whose_body_is_not_an_object_is_a_refusal(stub, status, content):
    stub.answers(content, status)

    with pytest.raises(ServiceRefusedError):
        stub.account.get_session("cap-1", "default")


def test_a_refusal_without_words_is_reported_by_its_status(stub):
    stub.answers(b"", 404)

    with pytest.raises(ServiceRefusedError, match="404") as raised:
        stub.account.list_sessions("default")
    assert raised.value.error_id == "request-refused"


@pytest.mark.parametrize("status", [200, 400, 404])
def test_a_key_that_the_service_repeats_is_not_shown(stub, status):
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
def test_an_id_is_quoted_into_one_part_of_a_path(stub, call, path, typed, part):
    stub.answers({"success": True, "data": {}})
    with contextlib.suppress(ServiceUnreachableError):  # the answer makes no sense to some
        call(stub.account, typed)

    assert stub.path.partition("?")[0] == path.format(part)


@pytest.mark.parametrize(("typed", "part"), ODD_IDS[:3])
def test_the_id_of_an_alert_is_quoted_too(stub, typed, part):
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
def test_an_id_that_cannot_be_quoted_is_not_sent(stub, typed):
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
def test_an_id_of_invalid_bytes_is_refused(stub, call):
    with pytest.raises((ServiceRefusedError, InputError)):
        call(stub.account)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("header", "seconds"), [({"retry_after": 7}, 7.0), ({}, None)])
def test_the_error_has_the_service_s_retry_after(emulator, status, header, seconds):
    post(emulator + "/emulator/faults", http={"status": status, "path": "/collection", **header})
    with pytest.raises(ServiceUnreachableError) as raised:
        account_at(emulator).list_sessions("default")

    assert raised.value.retry_after == seconds
    assert raised.value.hint == "try again, or raise --timeout"


def test_an_error_while_connecting_is_not_taken_for_an_answer(monkeypatch):
    def broken(**_):
        raise TypeError("a bug")

    monkeypatch.setattr("videodb.connect", broken)

    with pytest.raises(TypeError, match="a bug"):
        account_at("http://127.0.0.1:9").list_sessions("default")


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
def test_an_export_is_read_from_an_answer_or_an_event(told, export):
    assert cloud.export_from(told) == export
