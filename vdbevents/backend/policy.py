"""What a request to the backend means: who may ask what, and what is to be done before it is answered. Pure.

What follows an event is no part of this: it is done by `sessions`, which follows the journal, so that nothing
that was answered can be forgotten.
"""

import hmac
import math
from collections.abc import Callable, Hashable, Mapping
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
    """A request before its body is read.

    Attributes:
        path: decoded.
        authorization, host, origin: these headers; empty where there is none.
    """

    method: str
    path: str
    authorization: str = ""
    host: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered: a JSON object. Nothing of the request is ever in it."""

    status: int
    content: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def error(status: int, text: str, **headers: str) -> Reply:
    """An answer that refuses; `retry_after` is the header `Retry-After`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": text}, named)


HEALTHY: Final = Reply(200, {"status": "ok"})
RECEIVED: Final = Reply(200, {"received": True})
UNREADABLE: Final = error(400, "the body is no JSON object")
UNAUTHORIZED: Final = error(401, "a bearer token is needed", www_authenticate="Bearer")
FOREIGN: Final = error(403, "this address is not served")
NOT_FOUND: Final = error(404, "not found")
TOO_SLOW: Final = error(408, "the body did not come in time")
TOO_LARGE: Final = error(413, "the body is too large")
UNWRITTEN: Final = error(503, "it could not be written down; send it again", retry_after="5")
BROKEN: Final = error(500, "internal error")


class Decision(NamedTuple):
    """What a request comes to.

    Attributes:
        answer: None: it is the session that is to be made.
        append: to be in the journal before the answer is given, unless the same is told there already.
    """

    answer: Reply | None
    append: envelope.Record | None = None


class RequestPolicy:
    """The decisions of the backend."""

    def __init__(self, credentials: BackendCredentials, *, open_to_loopback: bool = False) -> None:
        """Nothing happens yet.

        Args:
            credentials: what callers have to know.
            open_to_loopback: sessions are made without a token. Pages in a browser are still refused.
        """
        self._credentials = credentials
        self._is_open = open_to_loopback

    def refuse(self, head: RequestHead) -> Reply | None:
        """The answer to who may not ask this, or asks for what needs no body; None: the body is wanted."""
        if head.path == HEALTH_PATH:
            return HEALTHY if head.method == "GET" else _method_not_allowed("GET")
        if head.path == INIT_PATH:
            if head.method != "POST":
                return _method_not_allowed("POST")
            return self._refuse_client(head)
        prefix, _, secret = head.path.rpartition("/")
        if prefix != WEBHOOK_PATH or not _same(secret, self._credentials.webhook_secret):
            return NOT_FOUND
        return None if head.method == "POST" else _method_not_allowed("POST")

    def _refuse_client(self, head: RequestHead) -> Reply | None:
        if self._is_open:
            # A page that a browser shows can reach loopback, under whatever name it gives to that.
            return None if not head.origin and _names_loopback(head.host) else FOREIGN
        scheme, _, token = head.authorization.partition(" ")
        is_known = _same(token.strip(), self._credentials.token)
        return None if is_known and scheme.lower() == "bearer" else UNAUTHORIZED

    def handle(self, head: RequestHead, body: bytes, now_ms: int) -> Decision:
        """What to do about a whole request."""
        refused = self.refuse(head)
        if refused is not None:
            return Decision(refused)
        if head.path == INIT_PATH:
            return Decision(None)
        made = envelope.delivered_record(body, now_ms)
        return Decision(RECEIVED if _is_object(made, body) else UNREADABLE, made)

    def webhook_path(self) -> str:
        """Where webhooks are taken: as good as a credential."""
        return f"{WEBHOOK_PATH}/{self._credentials.webhook_secret}"


def _method_not_allowed(allowed: str) -> Reply:
    return error(405, "method not allowed", allow=allowed)


def _is_object(made: envelope.Record, body: bytes) -> bool:
    try:
        # No object holds itself: what was kept as a whole is none.
        return made.event.get("raw") != body.decode()
    except UnicodeDecodeError:
        return False


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), known.encode())


def _names_loopback(header: str) -> bool:
    try:
        return cloud.is_loopback(urlsplit(f"//{header}").hostname or "")
    except ValueError:
        return False


class TokenBucket:
    """So many requests a second, and some at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._there = float(burst)
        self._looked_at = -math.inf

    def take(self, now: float) -> float:
        """Takes one; 0, or the seconds after which there is one.

        Args:
            now: seconds of a clock that only goes forward.
        """
        self._there = min(self._burst, self._there + (now - self._looked_at) * self._rate)
        self._looked_at = now
        if self._there >= 1:
            self._there -= 1
            return 0.0
        return (1 - self._there) / self._rate


class RateLimits:
    """How often may be asked: each stranger, all of them together, and who has a credential.

    Strangers do not take the room of the others: behind a tunnel all have one address. Nor do clients
    that ask for sessions take that of the webhooks.
    """

    def __init__(
        self,
        *,
        stranger: Callable[[], TokenBucket] = lambda: TokenBucket(5, 20),
        strangers: TokenBucket | None = None,
        clients: TokenBucket | None = None,
        webhooks: TokenBucket | None = None,
    ) -> None:
        self._stranger = stranger
        self._strangers = strangers or TokenBucket(50, 100)
        self._clients = clients or TokenBucket(5, 50)
        self._webhooks = webhooks or TokenBucket(50, 200)
        self._addresses: dict[Hashable, TokenBucket] = {}

    def refuse(self, address: Hashable, now: float, *, known_for: str | None = None) -> Reply | None:
        """The answer of who asks too often; `known_for` is the path for which there was a credential."""
        if known_for is not None:
            return _too_often((self._clients if known_for == INIT_PATH else self._webhooks).take(now))
        if address not in self._addresses and len(self._addresses) >= _MOST_ADDRESSES:
            # The one that has been here for longest has been waited for, too.
            del self._addresses[next(iter(self._addresses))]
        bucket = self._addresses.setdefault(address, self._stranger())
        return _too_often(bucket.take(now)) or _too_often(self._strangers.take(now))


def _too_often(wait: float) -> Reply | None:
    return error(429, "too many requests", retry_after=str(math.ceil(wait))) if wait else None
