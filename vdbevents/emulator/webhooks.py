"""Webhooks: a schedule of what is due for each URL, and the posting.

The faults of webhooks take effect in the schedule.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import h11

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vdbevents.emulator.faults import ActiveFaults
    from vdbevents.emulator.request_checks import Json
    from vdbevents.emulator.service_clock import ServiceClock

_ATTEMPTS: Final = 8
_FIRST_PAUSE_SECONDS: Final = 1.0
_WINDOW_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05
_DONE_KEPT: Final = 1_000
_CHUNK: Final = 65_536
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(slots=True, eq=False)
class Webhook:
    """A POST that is waiting, delivered or given up; `due` by the service's clock."""

    number: int
    url: str
    event: str
    body: bytes
    due: float
    copy_of: int | None = None
    state: str = "waiting"
    attempts: list[Json] = field(default_factory=list)

    def report(self) -> Json:
        """Return the webhook for the control endpoint."""
        return {
            "id": f"webhook-{self.number}",
            "copy_of": None if self.copy_of is None else f"webhook-{self.copy_of}",
            "url": self.url,
            "event": self.event,
            "body": json.loads(self.body),
            "state": self.state,
            "due": self.due if self.state == "waiting" else None,
            "attempts": self.attempts,
        }


@dataclass(frozen=True, slots=True)
class WebhookResult:
    """The result of an attempt: a status or an error; a `permanent` error is not retried."""

    status: int | None = None
    error: str | None = None
    permanent: bool = False

    @property
    def is_success(self) -> bool:
        """Return whether the receiver has taken it."""
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


@dataclass(slots=True)
class _Window:
    """Webhooks held back until there are enough of them to change their order."""

    options: Json
    until: float
    count: int = 0
    held: list[tuple[Webhook, float]] = field(default_factory=list)
    """(webhook, when it would have been due)."""

    @property
    def is_full(self) -> bool:
        return self.count >= int(self.options.get("window", 2))

    def reordered(self) -> list[tuple[Webhook, float]]:
        """Return the held webhooks, last first, or shuffled when there is a seed."""
        seed = self.options.get("seed")
        if seed is None:
            return self.held[::-1]
        return _random(seed, self.held[0][0]).sample(self.held, len(self.held))


class WebhookSchedule:
    """The webhooks of each URL, in order.

    A URL gets one webhook after the other: the next waits until the first is delivered or given up.
    """

    def __init__(self, faults: ActiveFaults) -> None:
        self._faults = faults
        self._count = 0
        self._known: dict[int, Webhook] = {}
        self._done: deque[int] = deque()
        self._queues: dict[str, list[Webhook]] = {}
        self._windows: dict[str, _Window] = {}

    def add(self, url: str, event: str, body: bytes, now: float) -> None:
        """Add a webhook, with the copies, delay and order that faults in force ask for."""
        copies = (self._faults.strike("webhook_duplicate", event=event) or {"copies": 1}).get("copies", 2)
        delay = self._faults.strike("webhook_delay", event=event)
        first = self._count + 1
        added = [self._new(url, event, body, now, delay) for _ in range(copies)]
        for copy in added[1:]:
            copy.copy_of = first
        self._queues.setdefault(url, []).extend(added)
        self._reorder(added, now)

    def first(self, url: str) -> Webhook | None:
        """Return the next webhook of a URL, None when none is waiting."""
        queue = self._queues.get(url)
        return queue[0] if queue else None

    def is_withheld(self, webhook: Webhook) -> bool:
        """Return whether a fault holds it back now."""
        return self._faults.peek("webhook_withhold", webhook.event) is not None

    def settle(self, webhook: Webhook, began: float, result: WebhookResult, now: float) -> None:
        """Note the attempt at the first webhook of its URL: it is done, or due again after a pause."""
        attempt: Json = {"unix_ts": began, "status": result.status, "error": result.error}
        is_lost = result.is_success and self._is_lost(webhook)
        if is_lost:
            attempt["error"] = "The answer was lost (a fault that was asked for)."
        webhook.attempts.append(attempt)
        pause = None if result.permanent else pause_after(len(webhook.attempts))
        if result.is_success and not is_lost:
            self._finish(webhook, "delivered")
        elif pause is None:
            self._finish(webhook, "given_up")
        else:
            webhook.due = now + pause

    def report(self) -> list[Json]:
        """Return all waiting webhooks and the last that are done, for the control endpoint."""
        return [webhook.report() for webhook in self._known.values()]

    def _new(self, url: str, event: str, body: bytes, now: float, delay: Json | None) -> Webhook:
        self._count += 1
        webhook = Webhook(self._count, url, event, body, now)
        if delay is not None:
            least = float(delay["seconds"])
            webhook.due += _random(delay.get("seed", 0), webhook).uniform(least, delay.get("up_to", least))
        self._known[webhook.number] = webhook
        return webhook

    def _reorder(self, added: list[Webhook], now: float) -> None:
        """Hold back the webhooks added last, and release the window in another order when it is full."""
        url = added[0].url
        window = self._windows.get(url)
        if window is not None and now >= window.until:
            # It was not filled in time: its webhooks are due, in the order they came.
            del self._windows[url]
            window = None
        if window is None:
            options = self._faults.strike("webhook_reorder", event=added[0].event)
            if options is None:
                return
            window = self._windows[url] = _Window(options, now + options.get("seconds", _WINDOW_SECONDS))
        window.count += 1
        for webhook in added:
            window.held.append((webhook, webhook.due))
            webhook.due = max(webhook.due, window.until)
        if window.is_full:
            del self._windows[url]
            # All webhooks since the window was opened are held: they are the end of the queue.
            reordered = window.reordered()
            self._queues[url][-len(reordered) :] = [webhook for webhook, _ in reordered]
            for webhook, due in reordered:
                webhook.due = due

    def _is_lost(self, webhook: Webhook) -> bool:
        lost = self._faults.peek("webhook_lost", webhook.event)
        if lost is None or len(webhook.attempts) >= lost.get("attempts", 1):
            return False
        return self._faults.strike("webhook_lost", event=webhook.event) is not None

    def _finish(self, webhook: Webhook, state: str) -> None:
        webhook.state = state
        queue = self._queues[webhook.url]
        queue.remove(webhook)
        if not queue:
            del self._queues[webhook.url]
        self._done.append(webhook.number)
        if len(self._done) > _DONE_KEPT:
            del self._known[self._done.popleft()]


def pause_after(attempts: int) -> float | None:
    """Return the seconds until the next attempt after so many failed ones, None after the last."""
    return None if attempts >= _ATTEMPTS else _FIRST_PAUSE_SECONDS * 2 ** (attempts - 1)


def _random(seed: int, webhook: Webhook) -> Random:
    """Return the same numbers for the same seed and webhook number, whatever else was drawn."""
    return Random(f"{seed} {webhook.number}")  # noqa: S311 - nothing about a fault is secret


class WebhookPosting:
    """Posts to all URLs side by side, to each one webhook at a time.

    `start` runs a task until it is done or the server ends.
    """

    def __init__(
        self, clock: ServiceClock, faults: ActiveFaults, start: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        self._clock, self._start = clock, start
        self._schedule = WebhookSchedule(faults)
        self._added: dict[str, asyncio.Event] = {}

    def send(self, url: str, event: str, body: bytes) -> None:
        """Post a webhook soon."""
        self._schedule.add(url, event, body, self._clock.now())
        if url in self._added:
            self._added[url].set()
        else:
            self._added[url] = asyncio.Event()
            self._start(self._serve(url))

    def report(self) -> list[Json]:
        """Return all waiting webhooks and the last that are done, for the control endpoint."""
        return self._schedule.report()

    async def _serve(self, url: str) -> None:
        """Post to one URL until no webhook is waiting for it."""
        try:
            while (webhook := self._schedule.first(url)) is not None:
                if self._clock.now() < webhook.due:
                    await self._until_due(webhook)
                elif self._schedule.is_withheld(webhook):
                    await asyncio.sleep(_POLL_SECONDS)
                else:
                    began = self._clock.now()
                    result = await _attempt(webhook)
                    self._schedule.settle(webhook, began, result, self._clock.now())
        finally:
            del self._added[url]

    async def _until_due(self, webhook: Webhook) -> None:
        """Wait until it is due, or until another one is added, which may change the order."""
        added = self._added[webhook.url]
        added.clear()
        waits = [asyncio.ensure_future(self._clock.until(webhook.due)), asyncio.ensure_future(added.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()


async def _attempt(webhook: Webhook) -> WebhookResult:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return WebhookResult(status=await _post(webhook.url, webhook.body))
    except TimeoutError:
        return WebhookResult(error=f"There was no answer within {_ANSWER_SECONDS:g} s.")
    except (OSError, h11.RemoteProtocolError) as error:
        return WebhookResult(error=str(error) or type(error).__name__)
    except (ValueError, h11.LocalProtocolError) as error:
        return WebhookResult(error=f"The URL cannot be used: {error}", permanent=True)


async def _post(url: str, body: bytes) -> int:
    """Return the status of the answer once it is read whole; redirects are not followed.

    Raises:
        ValueError, h11.LocalProtocolError: The URL cannot be posted to.
        OSError, h11.RemoteProtocolError: There was no answer.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("it has to begin with http:// or https://, and have a host.")
    port = parts.port or _PORTS[parts.scheme]
    request = h11.Request(
        method="POST",
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        headers=[
            ("Host", parts.netloc.rpartition("@")[2]),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("User-Agent", "vdbevents-emulator"),
            ("Connection", "close"),
        ],
    )
    connection = h11.Connection(h11.CLIENT)
    chunks = [connection.send(part) for part in (request, h11.Data(data=body), h11.EndOfMessage())]
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=parts.scheme == "https" or None)
    try:
        writer.write(b"".join(chunk for chunk in chunks if chunk))
        await writer.drain()
        return await _read_status(connection, reader)
    finally:
        writer.transport.abort()


async def _read_status(connection: h11.Connection, reader: asyncio.StreamReader) -> int:
    status = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.EndOfMessage):
            return status
