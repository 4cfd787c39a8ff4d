"""Decide on requests to the backend: who may ask for what, how often, and what to write down. Pure."""

import hmac
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from vdbevents import cloud
from vdbevents.backend.credentials import BackendCredentials
from vdbevents.events import envelope

INIT_PATH: Final = "/init-session"
WEBHOOK_PATH: Final = "/webhook"
HEALTH_PATH: Final = "/health"

_MOST_ADDRESSES: Final = 10_000


class RequestHead(NamedTuple):
    """A request without its body.

    Attributes:
        path: decoded.
        authorization, host, origin: these headers, or empty.
    """

    method: str
    path: str
    authorization: str = ""
    host: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a JSON object. It never repeats anything of the request."""

    status: int
    content: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def error(status: int, text: str, **headers: str) -> Reply:
    """Return a refusal; `retry_after` is the header `Retry-After`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": text}, named)


HEALTHY: Final = Reply(200, {"status": "ok"})
RECEIVED: Final = Reply(200, {"received": True})
UNREADABLE: Final = error(400, "the body is not a JSON object")
UNAUTHORIZED: Final = error(401, "bearer token required", www_authenticate="Bearer")
FOREIGN: Final = error(403, "forbidden origin or host")
NOT_FOUND: Final = error(404, "not found")
TOO_SLOW: Final = error(408, "timed out reading the body")
TOO_LARGE: Final = error(413, "the body is too large")
UNWRITTEN: Final = error(503, "could not be stored; send it again", retry_after="5")
BROKEN: Final = error(500, "internal error")


class Decision(NamedTuple):
    """A decision on a request: how to answer, and what to do.

    Attributes:
        reply: None to create a session.
        append: to be in the journal before the reply is sent, unless its event already is.
    """

    reply: Reply | None
    append: envelope.Record | None = None


class RequestPolicy:
    """Decide on each request, from the credentials that it shows."""

    def __init__(self, credentials: BackendCredentials, *, open_to_loopback: bool = False) -> None:
        """With `open_to_loopback`, clients need no token; pages in a browser are still refused."""
        self._credentials = credentials
        self._is_open = open_to_loopback

    def refuse(self, head: RequestHead) -> Reply | None:
        """Return the reply to a request that is refused or needs no body; None if the body is needed."""
        if head.path == HEALTH_PATH:
            return HEALTHY if head.method == "GET" else _method_not_allowed("GET")
        if head.path == INIT_PATH:
            return _method_not_allowed("POST") if head.method != "POST" else self._refuse_client(head)
        prefix, _, secret = head.path.rpartition("/")
        if prefix != WEBHOOK_PATH or not _equal(secret, self._credentials.webhook_secret):
            return NOT_FOUND
        return None if head.method == "POST" else _method_not_allowed("POST")

    def _refuse_client(self, head: RequestHead) -> Reply | None:
        if self._is_open:
            # A page in a browser can reach loopback, under any host name.
            return None if not head.origin and _names_loopback(head.host) else FOREIGN
        scheme, _, token = head.authorization.partition(" ")
        is_known = _equal(token.strip(), self._credentials.token)
        return None if is_known and scheme.lower() == "bearer" else UNAUTHORIZED

    def handle(self, head: RequestHead, body: bytes, now_ms: int) -> Decision:
        """Decide on a whole request, received at `now_ms`."""
        refused = self.refuse(head)
        if refused is not None:
            return Decision(refused)
        if head.path == INIT_PATH:
            return Decision(None)
        record = envelope.delivered_record(body, now_ms)
        return Decision(RECEIVED if _is_object(record, body) else UNREADABLE, record)

    def webhook_path(self) -> str:
        """Return the path of webhooks, which is a secret."""
        return f"{WEBHOOK_PATH}/{self._credentials.webhook_secret}"


def _method_not_allowed(allowed: str) -> Reply:
    return error(405, "method not allowed", allow=allowed)


def _is_object(record: envelope.Record, body: bytes) -> bool:
    try:
        # An object cannot contain itself: what was kept whole as `raw` was not an object.
        return record.event.get("raw") != body.decode()
    except UnicodeDecodeError:
        return False


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _names_loopback(header: str) -> bool:
    try:
        return cloud.is_loopback(urlsplit(f"//{header}").hostname or "")
    except ValueError:
        return False


class TokenBucket:
    """Allow `rate` requests a second, and `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._updated = -math.inf

    def take(self, now: float) -> float:
        """Take one request; return 0, or the seconds to wait until one is available.

        Args:
            now: monotonic seconds.
        """
        self._left = min(self._burst, self._left + (now - self._updated) * self._rate)
        self._updated = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._rate


class RateLimits:
    """Limit requests without a credential by address and in total, and those of clients and webhooks.

    Each kind has its own limit: behind a tunnel all strangers have one address, and clients that ask for
    sessions must not hold up the webhooks.
    """

    def __init__(self) -> None:
        self._strangers = TokenBucket(50, 100)
        self._clients = TokenBucket(5, 50)
        self._webhooks = TokenBucket(50, 200)
        self._addresses: dict[Hashable, TokenBucket] = {}

    def refuse(self, address: Hashable, now: float, *, known_for: str | None = None) -> Reply | None:
        """Return the reply to too many requests, or None.

        Args:
            address: of the sender.
            now: monotonic seconds.
            known_for: the path for which the request shows a credential.
        """
        if known_for is not None:
            return _too_often((self._clients if known_for == INIT_PATH else self._webhooks).take(now))
        if address not in self._addresses and len(self._addresses) >= _MOST_ADDRESSES:
            # The oldest one has most likely filled up again.
            del self._addresses[next(iter(self._addresses))]
        bucket = self._addresses.setdefault(address, TokenBucket(5, 20))
        return _too_often(bucket.take(now)) or _too_often(self._strangers.take(now))


def _too_often(wait: float) -> Reply | None:
    return error(429, "too many requests", retry_after=str(math.ceil(wait))) if wait else None
