"""The WebSocket of the listener: open it, receive, close it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from vdbevents import __version__
from vdbevents.cloud import Credentials, classify, proxy_for, websocket_url, without_secret
from vdbevents.listener.protocol import Closed, ConnectionSettings, Failed, Input, Opened, Received

if TYPE_CHECKING:
    from vdbevents.listener.batched_connection import BatchedConnection

LARGEST_MESSAGE: Final = 128 << 20
"""In bytes, decompressed: a thousandth of it on the network may stand for a message."""

_CLOSING_SECONDS = 0.7
_PAUSE_SECONDS = 0.001
_PINGS_UNANSWERED = 1011
"""The close code that `websockets` sends when pings were not answered."""


class ServiceSocket:
    """At most one connection at a time, whose messages and end become inputs of the machine.

    Attributes:
        is_leaving: whether the end of the connection was requested, and must not become an input.
        task: connects and receives; None before the first `connect`.
    """

    def __init__(
        self,
        credentials: Credentials,
        settings: ConnectionSettings,
        feed: Callable[[Input], None],
        is_behind: Callable[[], bool],
    ) -> None:
        """Connect to nothing yet. While `is_behind`, read nothing: memory must stay flat in a flood."""
        self._credentials = credentials
        self._settings = settings
        self._feed = feed
        self._is_behind = is_behind
        self._connection: BatchedConnection | None = None
        self.is_leaving = False
        self.task: asyncio.Task[None] | None = None

    def connect(self) -> asyncio.Task[None]:
        """Connect and receive in a task of its own."""
        self.task = asyncio.get_running_loop().create_task(self._run())
        return self.task

    def disconnect(self) -> None:
        """Give up the connection, or the attempt."""
        if self.task is not None:
            self.task.cancel()

    async def leave(self) -> None:
        """Close the connection, and receive what has arrived until then."""
        if self._connection is not None and self.task is not None:
            closing = asyncio.ensure_future(self._connection.close())
            await asyncio.wait({closing, self.task}, timeout=_CLOSING_SECONDS)
            closing.cancel()

    async def _run(self) -> None:
        try:
            url = await websocket_url(self._credentials, self._settings.step_limit)
            connection = self._connection = await _open(url, self._settings)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - `classify` takes any, bugs of the SDK included
            failure = classify(error, datetime.now(UTC))
            self._feed(Failed(replace(failure, message=self._scrubbed(failure.message))))
            return
        try:
            await self._receive(connection)
        finally:
            self._connection = None
            # Closed already, or given up: do not wait for the other side.
            connection.transport.abort()

    async def _receive(self, connection: "BatchedConnection") -> None:
        from websockets.exceptions import ConnectionClosed

        self._feed(Opened())
        try:
            while True:
                self._feed(Received(self._without_key(await connection.receive())))
                # The thread that writes has no cheaper way to wake a coroutine.
                while self._is_behind():  # noqa: ASYNC110
                    await asyncio.sleep(_PAUSE_SECONDS)
        except ConnectionClosed as closed:
            if not self.is_leaving:
                end = _closed(closed)
                self._feed(end._replace(reason=self._scrubbed(end.reason)))

    def _without_key(self, payloads: Sequence[bytes]) -> Sequence[bytes]:
        key = self._credentials.api_key
        # Hardly any message has it, and one look at all of them is cheaper than one at each.
        together = b"\n".join(payloads) if len(payloads) > 1 else payloads[0]
        if without_secret(together, key) is together:
            return payloads
        return [without_secret(payload, key) for payload in payloads]

    def _scrubbed(self, text: str) -> str:
        return without_secret(text, self._credentials.api_key)


async def _open(url: str, settings: ConnectionSettings) -> "BatchedConnection":
    from websockets.asyncio.client import connect

    from vdbevents.listener.batched_connection import BatchedConnection

    class Connect(connect):
        """A handshake whose redirects go through the right proxy, too."""

        def process_redirect(self, exc: Exception) -> Exception | str:
            target = super().process_redirect(exc)
            if isinstance(target, str):
                self.proxy = _proxy_url(target)
            return target

    # `classify` and the machine report what goes wrong, once.
    quiet = logging.getLogger("vdbevents.websocket")
    quiet.propagate = False
    quiet.addHandler(logging.NullHandler())
    connection = await Connect(
        url,
        proxy=_proxy_url(url),
        max_size=LARGEST_MESSAGE,
        open_timeout=settings.step_limit,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_interval,
        close_timeout=1,
        user_agent_header=f"vdbevents/{__version__}",
        logger=quiet,
        create_connection=BatchedConnection,
    )
    return cast("BatchedConnection", connection)


def _proxy_url(url: str) -> str | None:
    proxy = proxy_for(url)
    return None if proxy is None else proxy.url


def _closed(closed: Any) -> Closed:  # noqa: ANN401 - ConnectionClosed; importing it costs start-up time
    if closed.rcvd is not None:
        return Closed(closed.rcvd.code, closed.rcvd.reason)
    silent = closed.sent is not None and closed.sent.code == _PINGS_UNANSWERED
    if closed.sent is not None and not silent:
        return Closed(1006, f"given up: {closed.sent.reason or closed.sent.code}")
    return Closed(1006, "no answer to pings" if silent else "dropped without a close frame", silent)
