"""Decide what the listener does next. Pure.

Inputs go in with the time at which they happened, actions come out (both are in `protocol.py`).
`daemon.py` turns what happens on the socket, the clock and the disk into inputs and carries out the
actions in order.

    waiting ──time──> connecting ──opened──> opening ──id──> connected ──closed──> waiting …
                          └─────failed─────────┴── no id in time ──> waiting …
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vdbevents.cloud import Failure
from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError, VdbeventsError
from vdbevents.events import envelope, fields
from vdbevents.events.gaps import EVENT as GAP_EVENT, Gap
from vdbevents.listener import protocol
from vdbevents.listener.counters import ListenerCounts
from vdbevents.listener.outage import Outage
from vdbevents.listener.protocol import Action, Append, ListenerState, Moment
from vdbevents.privacy.recording_rules import RecordingRules
from vdbevents.terminal import counted

_CLOCK_JUMP_SECONDS = 5.0


class ListenerMachine:
    """The connection of one run, and the gaps between connections.

    Attributes:
        state, since_ms: the state, and since when (ms since the epoch).
        ws_id: the id of the connection; None while disconnected.
        previous_ws_id: that of the connection before.
        connections: how many this run has made.
        failures: how many attempts in a row have failed.
        last_error: why the last one did; None once connected.
        next_attempt_ms: when the next one is due, while waiting.
        outage: since when nothing is received; no gap marks it yet.
        disconnected_ms: since when there is no connection, over all attempts and earlier runs; None while
            there is one.
        lost_connections: how many of this run's ended by themselves.
        failed_attempts: how many to connect have failed since the last connection.
    """

    def __init__(
        self,
        settings: protocol.ConnectionSettings,
        random: Callable[[], float],
        counts: ListenerCounts | None = None,
        is_known: Callable[[envelope.Record], bool] | None = None,
        rules: RecordingRules | None = None,
    ) -> None:
        """Do nothing before `Started`.

        Args:
            settings: the user's.
            random: returns a number in [0, 1).
            counts: to continue from.
            is_known: returns whether an event that arrives was fetched before; None without a recovery.
            rules: what must not be written; None: nothing.
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
        self.outage: Outage | None = None
        self.disconnected_ms: int | None = None
        self.lost_connections = 0
        self.failed_attempts = 0
        self._random = random
        # The upper bound of the random wait: a fleet of listeners must not come back at the same moment.
        self._longest_waits = Backoff(2 * settings.shortest_wait, settings.longest_wait)
        self._is_known = is_known
        self._rules = rules or RecordingRules()
        self._connected_at = 0.0
        self._last_heard_ms = 0
        self._ticked: Moment | None = None

    @property
    def reconnects(self) -> int:
        """How many connections were made after the first."""
        return max(0, self.connections - 1)

    def handle(self, input_: protocol.Input, now: Moment) -> list[Action]:  # noqa: C901, PLR0911 - a case each
        """Return the actions for an input; none after `End`."""
        if self.state is ListenerState.STOPPED:
            return []
        match input_:
            case protocol.Received(payloads):
                return self._received(payloads, now)
            case protocol.Started():
                return self._started(input_, now)
            case protocol.Failed(failure):
                return self._failed(replace(failure, message=self._words(failure.message)), now)
            case protocol.Opened():
                self._enter(ListenerState.OPENING, now)
                return [protocol.WakeAt(now.monotonic + self.settings.step_limit)]
            case protocol.Closed():
                return self._closed(input_._replace(reason=self._words(input_.reason)), now)
            case protocol.Woken():
                return self._time_reached(now)
            case protocol.Ticked():
                return [*self._tick(now), *self._excluded(now)]
            case protocol.EventsDropped():
                return [self._dropped(input_, now)]
            case protocol.Supplied(records):
                return [self._append(self._rules.redact(record), now) for record in records]
            case protocol.StopRequested(by):
                return [*self._excluded(now, is_last=True), *self._end(None, by, now)]

    def _words(self, text: str) -> str:
        """Return words from outside as they may be shown and written."""
        return self._rules.redactor.words(text)

    def _excluded(self, now: Moment, *, is_last: bool = False) -> list[Action]:
        line = self._rules.excluded_line(now.wall_ms, is_last=is_last)
        return [] if line is None else [self._append(line, now)]

    def _enter(self, state: ListenerState, now: Moment) -> None:
        self.state = state
        self.since_ms = now.wall_ms

    def _own(self, event: str, data: Mapping[str, Any], now: Moment) -> Append:
        return self._append(self._rules.redact(envelope.own_record(event, data, now.wall_ms)), now)

    def _append(self, record: envelope.Record, now: Moment) -> Append:
        return Append(self.counts.note(record, now), record)

    def _started(self, started: protocol.Started, now: Moment) -> list[Action]:
        self.counts.since_ms = self.counts.since_ms or now.wall_ms
        self._enter(ListenerState.CONNECTING, now)
        data: dict[str, Any] = {"pid": started.pid, "version": started.version}
        if started.ws_ids:
            data["ws_ids"] = list(started.ws_ids)
        self.outage = started.outage
        # What ended before this run may be long ago: a restart does not make a loss younger.
        self.disconnected_ms = min(started.outage.since_ms, now.wall_ms) if started.outage else now.wall_ms
        actions: list[Action] = [self._own("listener.started", data, now)]
        actions += [self._dropped(dropped, now) for dropped in list(self.counts.unmarked.values())]
        return [*actions, protocol.Connect()]

    def _received(self, payloads: Sequence[bytes], now: Moment) -> list[Action]:
        self._last_heard_ms = at_ms = now.wall_ms
        records = [envelope.envelop(payload, at_ms) for payload in payloads]
        actions: list[Action] = []
        begin = 0
        if self.state is not ListenerState.CONNECTED:
            for number, record in enumerate(records):
                ws_id = fields.connection_id_of(record.event)
                if ws_id is not None:
                    actions += self._written(records[:number], now)
                    actions += self._connected(ws_id, payloads[number], now)
                    begin = number + 1
                    break
        return [*actions, *self._written(records[begin:] if begin else records, now)]

    def _written(self, records: Sequence[envelope.Record], now: Moment) -> Iterator[Append]:
        """Return the lines of messages that are written."""
        # Before the connection's id has come, nothing is compared with what was fetched.
        is_known = self._is_known if self.state is ListenerState.CONNECTED else None
        kept: list[envelope.Record] = []
        for record, written in zip(records, self._rules.received_all(records, now.wall_ms), strict=True):
            if written is None:
                self.counts.note_unwritten(record, now)
            # By what would be written: the copy that was fetched was redacted, too.
            elif is_known is None or not is_known(written):
                kept.append(written)
        return map(Append, self.counts.note_all(kept, now), kept)

    def _connected(self, ws_id: str, payload: bytes, now: Moment) -> list[Action]:
        self._enter(ListenerState.CONNECTED, now)
        self.ws_id = ws_id
        self.connections += 1
        self.last_error = self.disconnected_ms = None
        self.failed_attempts = 0
        self._connected_at = now.monotonic
        data = {"ws_id": ws_id, "reconnects": self.reconnects, "init": payload.decode("utf-8", "replace")}
        hint = ""
        if self.previous_ws_id is not None:
            data["previous_ws_id"] = self.previous_ws_id
            if self._is_known is None:
                # The service binds a pipeline to one id for good, and nobody rebinds it here.
                hint = f"pipelines of {self.previous_ws_id} still send to it: restart them with {ws_id}"
        return [
            self._own("listener.connected", data, now),
            *self._mark_outage(now),
            protocol.Announce(ws_id, first=self.connections == 1),
            protocol.ShowMessage(f"connected as {ws_id}", problem=bool(hint), hint=hint),
        ]

    def _mark_outage(self, now: Moment) -> list[Action]:
        if self.outage is None:
            return []
        outage, self.outage = self.outage, None
        # A clock that was set back must not make the gap end before it begins.
        since_ms = min(outage.since_ms, now.wall_ms)
        seconds = (now.wall_ms - since_ms) / 1000
        return [
            self._open_gap(since_ms, now.wall_ms, outage.reason, now),
            protocol.ShowMessage(f"gap of {seconds:.1f} s: {outage.reason}", problem=True),
        ]

    def _open_gap(self, since_ms: int, until_ms: int, reason: str, now: Moment, dropped: int = 0) -> Append:
        gap = Gap(self.new_gap_id(), since_ms, until_ms, reason, dropped=dropped)
        return self._own(GAP_EVENT, gap.data(), now)

    def new_gap_id(self) -> str:
        """Return a new id for a gap."""
        return f"gap-{int(self._random() * 2**48):012x}"

    def _dropped(self, dropped: protocol.EventsDropped, now: Moment) -> Append:
        reason = "the disk refused writes and the memory buffer was full"
        return self._open_gap(dropped.since_ms, dropped.until_ms, reason, now, dropped.count)

    def _tick(self, now: Moment) -> list[Action]:
        """Reconnect if one clock went on without the other: the machine slept, or its clock was set."""
        before, self._ticked = self._ticked, now
        if before is None:
            return []
        apart = (now.wall_ms - before.wall_ms) / 1000 - (now.monotonic - before.monotonic)
        if abs(apart) < _CLOCK_JUMP_SECONDS:
            return []
        reason = f"the clocks are {apart:+.0f} s apart: the machine slept, or its clock was set"
        actions: list[Action] = []
        if self.state is ListenerState.CONNECTED:
            # The last time it was awake, by the clock as it was; or as it is now, if it was set back.
            passed_ms = int((now.monotonic - before.monotonic) * 1000)
            outage = Outage(min(before.wall_ms, now.wall_ms - passed_ms), reason)
            actions = self._disconnected(protocol.Closed(1006, reason), outage, now)
        if self.state is not ListenerState.WAITING:
            actions.append(protocol.Disconnect())
        self._enter(ListenerState.CONNECTING, now)
        self.next_attempt_ms = None
        # The connection did not survive the sleep; a ping would notice only after its timeout.
        return [protocol.ShowMessage(f"{reason}; reconnecting"), *actions, protocol.Connect()]

    def _disconnected(self, closed: protocol.Closed, outage: Outage, now: Moment) -> list[Action]:
        data = {"ws_id": self.ws_id, "code": closed.code, "reason": closed.reason}
        if now.monotonic - self._connected_at >= self.settings.stable_after:
            self.failures = 0
            self._longest_waits.reset()
        self.outage = outage
        self.disconnected_ms = outage.since_ms
        self.lost_connections += 1
        self.ws_id, self.previous_ws_id = None, self.ws_id
        return [self._own("listener.disconnected", data, now), protocol.Withdraw()]

    def _closed(self, closed: protocol.Closed, now: Moment) -> list[Action]:
        reason = f"{closed.reason} ({closed.code})" if closed.reason else f"closed with code {closed.code}"
        actions: list[Action] = []
        was_connected = self.state is ListenerState.CONNECTED
        if was_connected:
            since_ms = now.wall_ms
            if closed.silent:
                # All that was sent since the last message or pong may be lost.
                since_ms = max(self._last_heard_ms, since_ms - int(2 * self.settings.ping_interval * 1000))
            actions = self._disconnected(closed, Outage(since_ms, reason), now)
        # The end of a connection is no failed attempt to make one.
        attempts = 0 if was_connected else 1
        return [*actions, *self._failed(Failure(f"connection lost: {reason}"), now, attempts)]

    def _failed(self, failure: Failure, now: Moment, attempts: int = 1) -> list[Action]:
        self.failures += 1
        self.failed_attempts += attempts
        self.last_error = failure.message
        # A key that worked in this run is worth another attempt: services refuse for a moment, too.
        # At login a captive portal may answer in the service's place, with its own certificate.
        may_pass = self.settings.unattended and failure.error_id == "certificate-invalid"
        if failure.fatal and not self.connections and not may_pass:
            return self._end(
                ServiceRefusedError(failure.message, failure.hint, error_id=failure.error_id), "error", now
            )
        allowed = self.settings.max_retries
        if allowed is not None and self.failures > allowed:
            in_vain = counted(self.failures, "attempt") + (" in a row" if self.failures > 1 else "")
            error = ServiceUnreachableError(
                f"gave up after {in_vain}: {failure.message}",
                failure.hint or "check the network, or omit --max-retries to retry forever",
                error_id="retries-exhausted",
            )
            return self._end(error, "error", now)
        wait = max(self._wait_seconds(), failure.retry_after or 0.0)
        self._enter(ListenerState.WAITING, now)
        self.next_attempt_ms = now.wall_ms + int(wait * 1000)
        return [
            protocol.ShowMessage(
                f"{failure.message}; retrying in {wait:.0f} s", problem=True, hint=failure.hint
            ),
            protocol.WakeAt(now.monotonic + wait),
        ]

    def _wait_seconds(self) -> float:
        shortest = self.settings.shortest_wait
        return shortest + self._random() * (self._longest_waits.next() - shortest)

    def _time_reached(self, now: Moment) -> list[Action]:
        if self.state is ListenerState.WAITING:
            self._enter(ListenerState.CONNECTING, now)
            self.next_attempt_ms = None
            return [protocol.Connect()]
        if self.state is ListenerState.OPENING:
            failure = Failure(f"no connection id within {self.settings.step_limit:g} s")
            return [protocol.Disconnect(), *self._failed(failure, now)]
        return []

    def _end(self, error: VdbeventsError | None, by: str, now: Moment) -> list[Action]:
        data = {"by": by} if error is None else {"by": by, "error": error.message}
        self.ws_id = None
        self._enter(ListenerState.STOPPED, now)
        return [
            self._own("listener.stopped", data, now),
            protocol.Withdraw(),
            protocol.Disconnect(),
            protocol.End(error),
        ]
