"""Carry the protocol over HTTP, on this machine's own address alone."""

import hmac
import json
import logging
import re
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from vdbevents.servers.answering import Application, Receive, Scope, Send
from vdbevents.servers.loopback import serve

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

PATH: Final = "/mcp"

# Each holds 40 kB; one whose client has left without a word does so for half an hour.
_MOST_SESSIONS: Final = 500

_UNAUTHORIZED: Final = 401, "unauthorized: send the token of vdbevents mcp --show-token"
_FORBIDDEN: Final = 403, "the request comes from a page of another origin"
_MISDIRECTED: Final = 421, "another host was asked for"

_OWN: Final = rb"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?"
_OWN_HOST: Final = re.compile(_OWN, re.IGNORECASE)
_OWN_ORIGIN: Final = re.compile(rb"http://" + _OWN, re.IGNORECASE)
_BEARER: Final = re.compile(rb"bearer +([!-~]+)", re.IGNORECASE)


def serve_http(
    server: "Server[dict[str, Any]]", port: int, token: str, announce: Callable[[str], None]
) -> signal.Signals | None:
    """Serve clients on loopback until a signal; return it.

    Args:
        server: what answers.
        port: to listen on; 0 for any free one.
        token: what each request must carry; empty for none.
        announce: gets the URL, once requests are answered.

    Raises:
        InputError: the port is in use.
    """
    from mcp.server.transport_security import TransportSecuritySettings

    # It warns of each client that is gone before its answer is written.
    logging.getLogger("mcp").setLevel(logging.ERROR)
    application = server.streamable_http_app(
        streamable_http_path=PATH,
        max_sessions=_MOST_SESSIONS,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return serve(_Guard(application, token), port, lambda address: announce(f"http://{address}{PATH}"))


class _Guard:
    """Refuses requests that name another host, come from a page of another origin, or lack the token.

    A web page can make a browser send requests: to a name of its own that leads to this machine, or from its
    origin. The package takes whatever begins like an own name for one, and refuses one without a port.
    """

    def __init__(self, application: Application, token: str) -> None:
        self._application = application
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope["headers"]) if scope["type"] == "http" else None
        if refusal is None:
            await self._application(scope, receive, send)
            return
        status, reason = refusal
        headers = [(b"content-type", b"application/json")]
        if status == _UNAUTHORIZED[0]:
            headers.append((b"www-authenticate", b"Bearer"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps({"error": reason}).encode()})

    def _refusal(self, headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        """Return the status that refuses a request, and why; None if it is answered."""
        hosts, origins, tokens = (
            [value for name, value in headers if name == wanted]
            for wanted in (b"host", b"origin", b"authorization")
        )
        if len(hosts) != 1 or not _OWN_HOST.fullmatch(hosts[0]):
            return _MISDIRECTED
        if not all(_OWN_ORIGIN.fullmatch(origin) for origin in origins):
            return _FORBIDDEN
        if not self._token:
            return None
        given = [found[1] for found in map(_BEARER.fullmatch, tokens) if found]
        is_known = len(tokens) == 1 and given and hmac.compare_digest(given[0], self._token)
        return None if is_known else _UNAUTHORIZED
