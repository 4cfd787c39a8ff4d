"""Decide what the listener does next. Pure: no clock, no socket, no file.

Inputs go in with the time at which they happened, actions come out (both are in `protocol.py`).
`daemon.py` turns what happens on the socket, the clock and the disk into inputs and carries out the
actions in order.

    waiting ──time──> connecting ──opened──> opening ──id──> connected ──closed──> waiting …
                          └─────failed─────────┴── no id in time ──> waiting …
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from vdbevents.cloud import Failure
from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError, VdbeventsError
from vdbevents.events import envelope, fields, lifecycle
from vdbevents.events.gaps import EVENT as GAP_EVENT, Gap
from vdbevents.listener.counters import ChannelCount, ListenerCounts
from vdbevents.listener.protocol import (
    Action,
    Announce,
    Append,
    Closed,
    Connect,
    ConnectionSettings,
    Disconnect,
    End,
    EventsDropped,
    Failed,
    Input,
    ListenerState,
    Moment,
    Opened,
    Outage,
    Received,
    ShowMessage,
    Started,
    StopRequested,
    Supplied,
    Ticked,
    TimeReached,
    WakeAt,
    Withdraw,
)

# A service that names ever new kinds, or streams, must not fill the status with them.
_MOST_CHANNELS = 100
_MOST_STREAMS = 100

_JUMP_SECONDS = 5.0


class ListenerMachine:
    """The listener's decisions. One instance a run."""

    def __init__(
        self,
        settings: ConnectionSettings,
        random: Callable[[], float],
        counts: ListenerCounts | None = None,
        is_known: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        """Nothing happens before `Started`.

        Args:
            settings: the user's.
            random: a number in [0, 1) at each call.
            counts: to go on counting from.
            is_known: tells of an event that comes whether it was fetched before, and is in the journal; None
                where nobody fetches anything.
        """
        self.settings = settings
        self.state = ListenerState.WAITING
        self.since_ms = 0
        self.counts = counts or ListenerCounts()
        self.ws_id: str | None = None
        self.previous_ws_id: str | None = None
        self.connections = 0
        self.failures = 0
        self.last_error: str | None = None
        self.next_attempt_ms: int | None = None
        self._random = random
        # The upper bound of the random wait: a fleet of listeners must not come back at the same moment.
        self._longest_waits = Backoff(2 * settings.shortest_wait, settings.longest_wait)
        self._is_known = is_known
        self._connected_at = 0.0
        self._last_heard_ms = 0
        self._ticked: Moment | None = None
        self.last_seen: dict[str, float] = {}
        """When the last description of each screen came, by its stream's id, on the monotonic clock."""
        self.ended_sessions: deque[str] = deque(maxlen=_MOST_STREAMS)
        """The sessions whose end was told of."""
        self.blind: Outage | None = None

    @property
    def reconnects(self) -> int:
        """How many connections were made after the first."""
        return max(0, self.connections - 1)

    def handle(self, happening: Input, now: Moment) -> list[Action]:  # noqa: C901, PLR0911 - a case each
        """What to do about something that happened. After `End` nothing is done any more."""
        if self.state is ListenerState.STOPPED:
            return []
        match happening:
            case Received(payload):
                return self._received(payload, now)
            case Started():
                return self._started(happening, now)
            case Failed(failure):
                return self._lost(failure, now)
            case Opened():
                self._enter(ListenerState.OPENING, now)
                return [WakeAt(now.monotonic + self.settings.step_limit)]
            case Closed():
                return self._closed(happening, now)
            case TimeReached():
                return self._time_reached(now)
            case Ticked():
                return self._tick(now)
            case EventsDropped():
                return self._dropped(happening, now)
            case Supplied(records):
                return [self._append(made, now) for made in records]
            case StopRequested(by):
                return self._end(None, by, now)

    def _enter(self, state: ListenerState, now: Moment) -> None:
        self.state = state
        self.since_ms = now.wall_ms

    def _own(self, event: str, data: Mapping[str, Any], now: Moment) -> Append:
        return self._append(envelope.own_record(event, data, now.wall_ms), now)

    def _append(self, made: envelope.Record, now: Moment) -> Append:
        channel = fields.channel_of(made.event)
        if channel == fields.OWN_CHANNEL:
            self.counts.note_own(made.event)
        else:
            count = self.counts.channels.get(channel)
            if count is None:
                if len(self.counts.channels) >= _MOST_CHANNELS:
                    channel = "other"
                count = self.counts.channels.get(channel)
            if count is None:
                count = self.counts.channels[channel] = ChannelCount()
            count.count += 1
            count.last_ms = now.wall_ms
            if channel == "visual_index" and "backfilled" not in made.event:
                self._note_seen(made.event, now)
            elif channel == "capture_session":
                self._note_life(made.event)
        return Append(channel, made)

    def _note_seen(self, event: Mapping[str, Any], now: Moment) -> None:
        stream_id = fields.stream_id_of(event)
        if stream_id in self.last_seen or len(self.last_seen) < _MOST_STREAMS:
            self.last_seen[stream_id] = now.monotonic

    def _note_life(self, event: Mapping[str, Any]) -> None:
        life = lifecycle.lifecycle_of(event)
        if life is not None and life.status in ("stopping", "stopped", "failed"):
            self.ended_sessions.append(life.session_id)

    def _started(self, started: Started, now: Moment) -> list[Action]:
        self.counts.since_ms = self.counts.since_ms or now.wall_ms
        self._enter(ListenerState.CONNECTING, now)
        told: dict[str, Any] = {"pid": started.pid, "version": started.version}
        if started.ws_ids:
            told["ws_ids"] = list(started.ws_ids)
        actions: list[Action] = [self._own("listener.started", told, now)]
        self.blind = started.blind
        for dropped in list(self.counts.untold.values()):
            actions += self._dropped(dropped, now)
        return [*actions, Connect()]

    def _received(self, payload: bytes, now: Moment) -> list[Action]:
        made = envelope.envelop(payload, now.wall_ms)
        self._last_heard_ms = now.wall_ms
        if self.state is ListenerState.CONNECTED:
            if self._is_known is not None and self._is_known(made.event):
                return []
            return [self._append(made, now)]
        ws_id = fields.connection_id_of(made.event)
        if ws_id is None:
            return [self._append(made, now)]
        return self._connected(ws_id, payload, now)

    def _connected(self, ws_id: str, payload: bytes, now: Moment) -> list[Action]:
        self._enter(ListenerState.CONNECTED, now)
        self.ws_id = ws_id
        self.connections += 1
        self.last_error = None
        self._connected_at = now.monotonic
        told = {"ws_id": ws_id, "reconnects": self.reconnects, "init": payload.decode("utf-8", "replace")}
        rebind = ""
        if self.previous_ws_id is not None:
            # The service binds a pipeline to an id for good, and re-binds none.
            told["previous_ws_id"] = self.previous_ws_id
        if self.previous_ws_id is not None and self._is_known is None:
            rebind = (
                f"pipelines started with {self.previous_ws_id} still push to it: start them anew with this id"
            )
        actions: list[Action] = [
            self._own("listener.connected", told, now),
            *self._gap(now),
            Announce(ws_id, first=self.connections == 1),
            ShowMessage(f"connected as {ws_id}", problem=bool(rebind), hint=rebind),
        ]
        return actions

    def _gap(self, now: Moment) -> list[Action]:
        if self.blind is None:
            return []
        blind, self.blind = self.blind, None
        # A clock that was set back meanwhile makes no gap end before it began.
        since_ms = min(blind.since_ms, now.wall_ms)
        seconds = (now.wall_ms - since_ms) / 1000
        return [
            self._open_gap(since_ms, now.wall_ms, blind.reason, now),
            ShowMessage(f"nothing was received for {seconds:.1f} s: {blind.reason}", problem=True),
        ]

    def _open_gap(self, since_ms: int, until_ms: int, reason: str, now: Moment, dropped: int = 0) -> Append:
        gap = Gap(self.new_gap_id(), since_ms, until_ms, reason, dropped=dropped)
        return self._own(GAP_EVENT, gap.told(), now)

    def new_gap_id(self) -> str:
        """An id that no other gap has."""
        return f"gap-{int(self._random() * 2**48):012x}"

    def _dropped(self, dropped: EventsDropped, now: Moment) -> list[Action]:
        reason = "the disk took no lines, and the memory for them was full"
        return [self._open_gap(dropped.since_ms, dropped.until_ms, reason, now, dropped.count)]

    def _tick(self, now: Moment) -> list[Action]:
        """Sees whether one clock went on without the other: the machine slept, or a clock was set."""
        before, self._ticked = self._ticked, now
        if before is None:
            return []
        apart = (now.wall_ms - before.wall_ms) / 1000 - (now.monotonic - before.monotonic)
        if abs(apart) < _JUMP_SECONDS:
            return []
        reason = f"the clocks are {apart:+.0f} s apart: the machine slept, or its clock was set"
        actions: list[Action] = []
        if self.state is ListenerState.CONNECTED:
            # The last moment at which it was awake, by the clock as it was, or as it is if it was set back.
            passed_ms = int((now.monotonic - before.monotonic) * 1000)
            blind = Outage(min(before.wall_ms, now.wall_ms - passed_ms), reason)
            actions = self._disconnected(Closed(1006, reason), blind, now)
        if self.state is not ListenerState.WAITING:
            actions.append(Disconnect())
        self._enter(ListenerState.CONNECTING, now)
        self.next_attempt_ms = None
        # A connection that slept is dead, and nobody will say so for as long as a ping takes.
        return [ShowMessage(f"{reason}; connecting anew"), *actions, Connect()]

    def _disconnected(self, closed: Closed, blind: Outage, now: Moment) -> list[Action]:
        told = {"ws_id": self.ws_id, "code": closed.code, "reason": closed.reason}
        if now.monotonic - self._connected_at >= self.settings.stable_after:
            self.failures = 0
            self._longest_waits.reset()
        self.blind = blind
        self.ws_id, self.previous_ws_id = None, self.ws_id
        return [self._own("listener.disconnected", told, now), Withdraw()]

    def _closed(self, closed: Closed, now: Moment) -> list[Action]:
        reason = f"{closed.reason} ({closed.code})" if closed.reason else f"closed with code {closed.code}"
        actions: list[Action] = []
        if self.state is ListenerState.CONNECTED:
            # Pings went unanswered: whatever was sent since the last sign of life may be lost.
            doubt_ms = int(2 * self.settings.ping_interval * 1000) if closed.silent else 0
            since_ms = max(self._last_heard_ms, now.wall_ms - doubt_ms) if doubt_ms else now.wall_ms
            actions = self._disconnected(closed, Outage(since_ms, reason), now)
        return [*actions, *self._lost(Failure(f"the connection was lost: {reason}"), now)]

    def _lost(self, failure: Failure, now: Moment) -> list[Action]:
        self.failures += 1
        self.last_error = failure.message
        # A key that was good a while ago is worth another try: services refuse for a moment, too.
        if failure.fatal and not self.connections:
            return self._end(
                ServiceRefusedError(failure.message, failure.hint, error_id=failure.error_id), "error", now
            )
        allowed = self.settings.max_retries
        if allowed is not None and self.failures > allowed:
            error = ServiceUnreachableError(
                f"gave up after {self.failures} attempts in a row: {failure.message}",
                failure.hint or "check the network; without --max-retries it would go on trying",
            )
            return self._end(error, "error", now)
        wait = max(self._wait_seconds(), failure.retry_after or 0.0)
        self._enter(ListenerState.WAITING, now)
        self.next_attempt_ms = now.wall_ms + int(wait * 1000)
        return [
            ShowMessage(f"{failure.message}; trying again in {wait:.0f} s", problem=True, hint=failure.hint),
            WakeAt(now.monotonic + wait),
        ]

    def _wait_seconds(self) -> float:
        shortest = self.settings.shortest_wait
        return shortest + self._random() * (self._longest_waits.next() - shortest)

    def _time_reached(self, now: Moment) -> list[Action]:
        if self.state is ListenerState.WAITING:
            self._enter(ListenerState.CONNECTING, now)
            self.next_attempt_ms = None
            return [Connect()]
        if self.state is ListenerState.OPENING:
            limit = f"{self.settings.step_limit:g} s"
            return [
                Disconnect(),
                *self._lost(Failure(f"the service sent no connection id within {limit}"), now),
            ]
        return []

    def _end(self, error: VdbeventsError | None, by: str, now: Moment) -> list[Action]:
        told = {"by": by} if error is None else {"by": by, "error": error.message}
        actions: list[Action] = [
            self._own("listener.stopped", told, now),
            Withdraw(),
            Disconnect(),
            End(error),
        ]
        self.ws_id = None
        self._enter(ListenerState.STOPPED, now)
        return actions
