"""Webhooks: what is posted to whom and when, which is plain state, and the posting."""

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

    from vdbevents.emulator.clock import Clock
    from vdbevents.emulator.faults import Faults, Options
    from vdbevents.emulator.world import Json

_ATTEMPTS: Final = 8
_FIRST_PAUSE_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 5.0
_WINDOW_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05
_DONE_KEPT: Final = 1_000
_PIECE: Final = 65_536
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(slots=True, eq=False)
class Webhook:
    """A POST that is owed until it was answered or is given up; `due` by the service's clock."""

    number: int
    url: str
    event: str
    body: bytes
    due: float
    copy_of: int | None = None
    state: str = "waiting"
    attempts: list[Json] = field(default_factory=list)

    def described(self) -> Json:
        """As the control endpoint reports it."""
        return {
            "id": _id(self.number),
            "copy_of": None if self.copy_of is None else _id(self.copy_of),
            "url": self.url,
            "event": self.event,
            "body": json.loads(self.body),
            "state": self.state,
            "due": self.due if self.state == "waiting" else None,
            "attempts": self.attempts,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt: a status, or an error; a `hopeless` one is not tried again."""

    status: int | None = None
    error: str | None = None
    hopeless: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the receiver has taken it."""
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


@dataclass(slots=True)
class _Window:
    """Webhooks held back until there are enough of them to be sent in another order."""

    options: Options
    until: float
    count: int = 0
    held: list[tuple[Webhook, float]] = field(default_factory=list)
    """Each with when it would have been due."""

    @property
    def is_full(self) -> bool:
        return self.count >= int(self.options.get("window", 2))

    def reordered(self) -> list[tuple[Webhook, float]]:
        """What it holds, the last first, or with a seed shuffled."""
        seed = self.options.get("seed")
        if seed is None:
            return self.held[::-1]
        return _random(seed, self.held[0][0]).sample(self.held, len(self.held))


class Schedule:
    """What is owed to each address, in order, and what became of it: plain state, without I/O.

    An address gets one webhook after the other: the next waits until the first was taken or is given up.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._count = 0
        self._known: dict[int, Webhook] = {}
        self._done: deque[int] = deque()
        self._lines: dict[str, list[Webhook]] = {}
        self._windows: dict[str, _Window] = {}

    def add(self, url: str, event: str, body: bytes, now: float) -> None:
        """Owes something to an address: as often, as late and in the order that the faults say."""
        copies = (self._faults.strike("webhook_duplicate", event=event) or {"copies": 1}).get("copies", 2)
        delay = self._faults.strike("webhook_delay", event=event)
        first = self._count + 1
        added = [self._made(url, event, body, now, delay) for _ in range(copies)]
        for copy in added[1:]:
            copy.copy_of = first
        self._lines.setdefault(url, []).extend(added)
        self._reorder(added, now)

    def first(self, url: str) -> Webhook | None:
        """What an address gets next; None when nothing is owed to it."""
        line = self._lines.get(url)
        return line[0] if line else None

    def is_withheld(self, webhook: Webhook) -> bool:
        """Whether a fault keeps it from being tried now."""
        return self._faults.peek("webhook_withhold", webhook.event) is not None

    def settle(self, webhook: Webhook, began: float, outcome: Outcome, now: float) -> None:
        """The first of its address was tried: it is done, or due again after a pause."""
        attempt: Json = {"unix_ts": began, "status": outcome.status, "error": outcome.error}
        is_lost = outcome.is_success and self._is_lost(webhook)
        if is_lost:
            attempt["error"] = "The answer was lost (a fault that was asked for)."
        webhook.attempts.append(attempt)
        pause = None if outcome.hopeless else pause_after(len(webhook.attempts))
        if outcome.is_success and not is_lost:
            self._finish(webhook, "delivered")
        elif pause is None:
            self._finish(webhook, "given_up")
        else:
            webhook.due = now + pause

    def described(self) -> list[Json]:
        """All that is owed, and the last that were done, as the control endpoint reports them."""
        return [webhook.described() for webhook in self._known.values()]

    def _made(self, url: str, event: str, body: bytes, now: float, delay: Options | None) -> Webhook:
        self._count += 1
        webhook = Webhook(self._count, url, event, body, now)
        if delay is not None:
            least = float(delay["seconds"])
            webhook.due += _random(delay.get("seed", 0), webhook).uniform(least, delay.get("up_to", least))
        self._known[webhook.number] = webhook
        return webhook

    def _reorder(self, added: list[Webhook], now: float) -> None:
        """Holds back what was added last, and lets it go in another order when the window is full."""
        url = added[0].url
        window = self._windows.get(url)
        if window is not None and now >= window.until:
            # It was not filled in time: what it holds is due, and goes as it came.
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
            # All that came since it was opened is held, so that it is the end of the line.
            reordered = window.reordered()
            self._lines[url][-len(reordered) :] = [webhook for webhook, _ in reordered]
            for webhook, due in reordered:
                webhook.due = due

    def _is_lost(self, webhook: Webhook) -> bool:
        lost = self._faults.peek("webhook_lost", webhook.event)
        if lost is None or len(webhook.attempts) >= lost.get("attempts", 1):
            return False
        return self._faults.strike("webhook_lost", event=webhook.event) is not None

    def _finish(self, webhook: Webhook, state: str) -> None:
        webhook.state = state
        line = self._lines[webhook.url]
        line.remove(webhook)
        if not line:
            del self._lines[webhook.url]
        self._done.append(webhook.number)
        if len(self._done) > _DONE_KEPT:
            del self._known[self._done.popleft()]


def pause_after(attempts: int) -> float | None:
    """Seconds until the next attempt, after so many that failed; None when there is to be none."""
    return None if attempts >= _ATTEMPTS else _FIRST_PAUSE_SECONDS * 2 ** (attempts - 1)


class Webhooks:
    """Posts what the schedule says: one at a time to an address, all addresses side by side."""

    def __init__(
        self, clock: Clock, faults: Faults, start: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        """`start` runs something beside the rest, until the server ends."""
        self._clock, self._start = clock, start
        self._schedule = Schedule(faults)
        self._news: dict[str, asyncio.Event] = {}

    def send(self, url: str, event: str, body: bytes) -> None:
        """Posts it soon."""
        self._schedule.add(url, event, body, self._clock.now())
        if url in self._news:
            self._news[url].set()
        else:
            self._news[url] = asyncio.Event()
            self._start(self._serve(url))

    def described(self) -> list[Json]:
        """All that is owed, and the last that were done, as the control endpoint reports them."""
        return self._schedule.described()

    async def _serve(self, url: str) -> None:
        """Posts to one address until nothing is owed to it."""
        try:
            while (webhook := self._schedule.first(url)) is not None:
                if self._clock.now() < webhook.due:
                    await self._until_due(webhook)
                elif self._schedule.is_withheld(webhook):
                    await asyncio.sleep(_LOOK_SECONDS)
                else:
                    began = self._clock.now()
                    outcome = await _attempted(webhook)
                    self._schedule.settle(webhook, began, outcome, self._clock.now())
        finally:
            del self._news[url]

    async def _until_due(self, webhook: Webhook) -> None:
        """Returns when it is due, or when more is owed, which may change what is first and when."""
        news = self._news[webhook.url]
        news.clear()
        waiting = [asyncio.ensure_future(it) for it in (self._clock.until(webhook.due), news.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()


async def _attempted(webhook: Webhook) -> Outcome:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return Outcome(status=await _post(webhook.url, webhook.body))
    except TimeoutError:
        return Outcome(error=f"There was no answer within {_ANSWER_SECONDS:g} s.")
    except (OSError, h11.RemoteProtocolError) as error:
        return Outcome(error=str(error) or type(error).__name__)
    except (ValueError, h11.LocalProtocolError) as error:
        return Outcome(error=f"The address cannot be used: {error}", hopeless=True)


async def _post(url: str, body: bytes) -> int:
    """The status of the answer, once all of it was read; no redirect is followed.

    Raises:
        ValueError, h11.LocalProtocolError: It is no address that can be posted to.
        OSError, h11.RemoteProtocolError: There was no answer.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("it has to be an http or https URL.")
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
    written = [connection.send(part) for part in (request, h11.Data(data=body), h11.EndOfMessage())]
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=parts.scheme == "https" or None)
    try:
        writer.write(b"".join(part for part in written if part))
        await writer.drain()
        return await _status(connection, reader)
    finally:
        writer.transport.abort()


async def _status(connection: h11.Connection, reader: asyncio.StreamReader) -> int:
    status = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_PIECE))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.EndOfMessage):
            return status


def _random(seed: int, webhook: Webhook) -> Random:
    """The same for the same seed and the webhook of the same number, whatever else was drawn."""
    return Random(f"{seed} {webhook.number}")  # noqa: S311 - nothing is secret about a fault


def _id(number: int) -> str:
    return f"webhook-{number}"
