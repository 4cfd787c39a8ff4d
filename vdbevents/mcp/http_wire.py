"""Carry the protocol over HTTP, on this machine's own address alone."""

import hmac
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from vdbevents.servers.loopback import ADDRESS, Application, Receive, Scope, Send, serve

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

PATH: Final = "/mcp"

_UNAUTHORIZED: Final = 401


def serve_http(
    server: "Server[dict[str, Any]]", port: int, token: str, announce: Callable[[str], None]
) -> signal.Signals | None:
    """Serve clients on loopback until a signal; return it.

    Requests that name another host, or come from a page of another origin, are refused: a web page can make a
    browser send some.

    Args:
        server: what answers.
        port: to listen on; 0 for any free one.
        token: what each request must carry; empty for none.
        announce: gets the URL, once requests are answered.

    Raises:
        InputError: the port is in use.
    """
    application: Application = server.streamable_http_app(streamable_http_path=PATH, host=ADDRESS)
    if token:
        application = _Bearer(application, token)
    return serve(application, port, lambda address: announce(f"http://{address}{PATH}"))


class _Bearer:
    """Refuses requests without the token."""

    def __init__(self, application: Application, token: str) -> None:
        self._application = application
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_known(scope):
            await self._application(scope, receive, send)
            return
        headers = [(b"www-authenticate", b"Bearer"), (b"content-type", b"application/json")]
        body = b'{"error":"unauthorized: send the token of vdbevents mcp --show-token"}'
        await send({"type": "http.response.start", "status": _UNAUTHORIZED, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _is_known(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)
