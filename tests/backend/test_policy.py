import json

import pytest

from vdbevents.backend import policy
from vdbevents.backend.credentials import BackendCredentials

TOKEN, SECRET = "t" * 43, "s" * 43
NOW_MS = 1772446530123
WEBHOOK = f"/webhook/{SECRET}"
KNOWN = policy.RequestHead("POST", "/init-session", f"Bearer {TOKEN}")


@pytest.fixture
def backend():
    return policy.RequestPolicy(BackendCredentials(TOKEN, SECRET))


def line_of(handled):
    return json.loads(handled.append.line)


def test_health_answers_ok_and_nothing_else(backend):
    assert backend.handle(policy.RequestHead("GET", "/health"), b"", NOW_MS).reply == policy.Reply(
        200, {"status": "ok"}
    )


def test_a_client_with_the_token_gets_a_session(backend):
    assert backend.handle(KNOWN, b"", NOW_MS) == policy.Decision(None)
    assert backend.handle(KNOWN._replace(authorization=f"bearer {TOKEN}"), b"{}", NOW_MS) == policy.Decision(
        None
    )


@pytest.mark.parametrize("sent", ["", "{}", '{"end_user_id": "root"}', "[", "\x00"])
def test_the_body_of_a_client_s_request_is_ignored(backend, sent):
    assert backend.handle(KNOWN, sent.encode(), NOW_MS) == policy.Decision(None)


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN,
     f"Bearer {SECRET}", "Bearer é", "Bearer \ud800"],
)  # fmt: skip
def test_a_client_without_the_token_is_refused(backend, given):
    assert backend.refuse(KNOWN._replace(authorization=given)) is policy.UNAUTHORIZED


@pytest.mark.parametrize(
    "path",
    ["/webhook", "/webhook/", f"/webhook/{TOKEN}", f"/webhook/{SECRET}/", f"/webhook/a/{SECRET}",
     f"//webhook/{SECRET}", f"/{SECRET}", "/webhook/é", f"/WEBHOOK/{SECRET}"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_webhook_path_without_the_secret_is_not_found(backend, path, method):
    handled = backend.handle(policy.RequestHead(method, path), b"{}", NOW_MS)

    assert handled == policy.Decision(policy.NOT_FOUND)


@pytest.mark.parametrize(
    "path", ["/", "", "*", "/docs", "/openapi.json", "/init-session/", "/health/", "/x?y"]
)
def test_other_paths_are_not_found(backend, path):
    assert backend.handle(policy.RequestHead("GET", path), b"", NOW_MS) == policy.Decision(policy.NOT_FOUND)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/health", "GET"), ("GET", "/init-session", "POST"), ("DELETE", WEBHOOK, "POST"),
     ("HEAD", "/health", "GET"), ("OPTIONS", "/init-session", "POST")],
)  # fmt: skip
def test_other_methods_are_refused(backend, method, path, allowed):
    answer = backend.handle(policy.RequestHead(method, path), b"", NOW_MS).reply

    assert (answer.status, answer.headers) == (405, {"allow": allowed})


def test_a_webhook_becomes_a_line_marked_with_via(backend):
    body = b'{"event": "capture_session.active", "capture_session_id": "cap-1", "data": {"n": 1.50}}'
    handled = backend.handle(policy.RequestHead("POST", WEBHOOK), body, NOW_MS)

    assert handled.reply == policy.RECEIVED
    assert handled.append.line == (
        b'{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"event":"capture_session.active",'
        b'"capture_session_id":"cap-1","data":{"n":1.50},"via":"webhook"}\n'
    )


@pytest.mark.parametrize("body", [b"{}", b'{"x": 1}', b'{"event_id": "e", "label": "l"}', b'{"raw": "no"}'])
def test_any_json_object_is_stored(backend, body):
    handled = backend.handle(policy.RequestHead("POST", WEBHOOK), body, NOW_MS)

    assert handled.reply == policy.RECEIVED
    line = line_of(handled)
    assert {name: line[name] for name in json.loads(body)} == json.loads(body)
    assert list(line)[-1] == "via"


@pytest.mark.parametrize("body", [b"", b"[1]", b"42", b"null", b"no json", b'{"a":', b'"x"'])
def test_a_body_that_is_not_an_object_is_stored_raw_and_refused(backend, body):
    handled = backend.handle(policy.RequestHead("POST", WEBHOOK), body, NOW_MS)

    assert handled.reply == policy.UNREADABLE
    line = line_of(handled)
    assert line["raw"] == body.decode()
    assert line["via"] == "webhook"


def test_a_body_that_is_not_text_is_stored_and_refused(backend):
    handled = backend.handle(policy.RequestHead("POST", WEBHOOK), b"\xff", NOW_MS)

    assert handled.reply == policy.UNREADABLE
    assert line_of(handled)["raw_base64"] == "/w=="


def test_a_body_cannot_set_its_own_via(backend):
    line = line_of(backend.handle(policy.RequestHead("POST", WEBHOOK), b'{"via": "x", "ts": 1}', NOW_MS))

    assert list(line) == ["ts", "unix_ts", "server_via", "server_ts", "via"]


def test_no_reply_repeats_the_request(backend):
    for path in ("/<script>", f"/webhook/{TOKEN}", WEBHOOK):
        handled = backend.handle(policy.RequestHead("POST", path, "Bearer <b>"), b"<i>", NOW_MS)
        told = json.dumps([handled.reply.content, dict(handled.reply.headers)])
        assert not any(text in told for text in ("<", TOKEN, SECRET, path))


@pytest.mark.parametrize(
    ("host", "origin", "is_served"),
    [("127.0.0.1:5002", "", True), ("127.0.0.2", "", True), ("localhost", "", True), ("[::1]:80", "", True),
     ("evil.example", "", False),
     ("127.0.0.1", "https://evil.example", False), ("", "", False), ("[", "", False)],
)  # fmt: skip
def test_without_a_token_pages_in_a_browser_are_refused(host, origin, is_served):
    backend = policy.RequestPolicy(BackendCredentials(TOKEN, SECRET), open_to_loopback=True)
    head = policy.RequestHead("POST", "/init-session", host=host, origin=origin)

    assert backend.refuse(head) is (None if is_served else policy.FOREIGN)


def test_credentials_are_not_in_the_repr():
    assert TOKEN not in repr(BackendCredentials(TOKEN, SECRET))
    assert SECRET not in repr(BackendCredentials(TOKEN, SECRET))


def test_a_bucket_allows_a_burst_and_then_its_rate():
    bucket = policy.TokenBucket(2, 3)

    assert [bucket.take(10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(10.4) == pytest.approx(0.1)
    assert bucket.take(10.5) == 0
    assert [bucket.take(99.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_strangers_over_their_limit_get_retry_after_and_delay_nobody_else():
    limits = policy.RateLimits()
    answers = [limits.refuse("a", 0.0) for _ in range(21)]

    assert answers[:20] == [None] * 20
    assert (answers[20].status, answers[20].headers) == (429, {"retry-after": "1"})
    assert limits.refuse("b", 0.0) is None
    for number in range(200):
        limits.refuse(number, 0.0)
    assert limits.refuse("new", 0.0).status == 429
    assert limits.refuse("a", 0.0, known_for=WEBHOOK) is None


def test_requests_with_a_credential_are_limited_too():
    limits = policy.RateLimits()
    answers = [limits.refuse("a", 0.0, known_for=WEBHOOK) for _ in range(201)]

    assert answers[:200] == [None] * 200
    assert answers[200].status == 429


def test_clients_do_not_use_up_the_limit_of_webhooks():
    limits = policy.RateLimits()
    answers = [limits.refuse("a", 0.0, known_for=policy.INIT_PATH) for _ in range(51)]

    assert answers[:50] == [None] * 50
    assert answers[50].status == 429
    assert limits.refuse("a", 0.0, known_for=WEBHOOK) is None


def test_the_number_of_addresses_kept_is_limited():
    limits = policy.RateLimits()
    for number in range(30_000):
        limits.refuse(number, 0.0)

    assert len(limits._addresses) == 10_000
