"""Who may see the page: a token, this machine's own address, no other origin. Pure."""

import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final, NamedTuple
from urllib.parse import parse_qs

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; media-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""What every answer carries: nothing of it is kept, framed, or sent to another host."""

_METHODS: Final = frozenset({"GET", "HEAD"})
_SITES: Final = frozenset({"", "none", "same-origin"})
_TOKEN: Final = "token"  # noqa: S105 - the name of a parameter


class Request(NamedTuple):
    """What is known of a request before it is answered.

    Attributes:
        method, path, query: of its first line.
        headers: by names in lower case; of several of one name the last.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


class Refusal(NamedTuple):
    """Why a request is not answered, and the status that says so."""

    status: int
    reason: str


class PageAccess:
    """Decides which requests are answered."""

    def __init__(self, address: str, token: str) -> None:
        """Take the server's address, such as `127.0.0.1:5004`, and the token that opens the page."""
        host, _, port = address.rpartition(":")
        self._token = token
        # Cookies do not know ports: another server on this machine may set one of the same name.
        self._cookie = f"vdbevents-view-{port}"
        self._hosts = frozenset({address, f"localhost:{port}"})
        self._origins = frozenset(f"http://{name}" for name in self._hosts)
        self.address = f"http://{host}:{port}/?{_TOKEN}={token}"

    def refusal(self, request: Request) -> Refusal | None:
        """Return why a request is refused; None if it is answered.

        A page of another origin can make a browser send requests with cookies, and a name of another host can
        lead to this machine.
        """
        headers = request.headers
        if request.method not in _METHODS:
            return Refusal(405, "this page only reads: use GET")
        if headers.get("host", "").lower() not in self._hosts:
            return Refusal(421, "another host was asked for")
        if headers.get("origin", "").lower() not in {"", *self._origins}:
            return Refusal(403, "the request comes from a page of another origin")
        if headers.get("sec-fetch-site", "") not in _SITES:
            return Refusal(403, "the request comes from a page of another site")
        if self.opens(request) or self._is_known(headers):
            return None
        return Refusal(401, "open the address that vdbevents view has printed")

    def opens(self, request: Request) -> bool:
        """Return whether a request brings the token: it is answered with a cookie, and without the token."""
        given = parse_qs(request.query).get(_TOKEN, [])
        return request.path == "/" and len(given) == 1 and self._is_token(given[0])

    @property
    def cookie(self) -> str:
        """The header that keeps the token in a browser until it is closed."""
        return f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"

    def _is_known(self, headers: Mapping[str, str]) -> bool:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        return self._cookie in cookies and self._is_token(cookies[self._cookie].value)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token.encode())
