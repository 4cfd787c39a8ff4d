"""The inputs and actions of the listener's state machine. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from vdbevents.cloud import Failure
from vdbevents.errors import VdbeventsError
from vdbevents.events.envelope import Record
from vdbevents.listener.outage import Outage


class Moment(NamedTuple):
    """A time on both clocks: seconds on one that is never set, and milliseconds since the epoch."""

    monotonic: float
    wall_ms: int


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The user's settings. Times in seconds.

    Attributes:
        max_retries: how many attempts in a row may fail after the first one; None: any number.
            A connection shorter than `stable_after` counts as failed.
        step_limit: for each step of connecting: the API's answer, the handshake, the message with the id.
        ping_interval: between two pings, and the longest wait for the answer.
        stable_after: after a connection this long the waits start again with the shortest.
        shortest_wait: between two attempts.
        longest_wait: between two attempts, unless the service asks for more.
        unattended: retry an invalid certificate from the start, too: nobody is there to start it again.
    """

    max_retries: int | None = None
    step_limit: float = 20.0
    ping_interval: float = 20.0
    stable_after: float = 60.0
    shortest_wait: float = 1.0
    longest_wait: float = 60.0
    unattended: bool = False


class ListenerState(StrEnum):
    """The connection state."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    OPENING = "opening"
    CONNECTED = "connected"
    STOPPED = "stopped"


# Inputs.


class Started(NamedTuple):
    """The listener holds its lock.

    Attributes:
        outage: what earlier runs left unmarked.
        ws_ids: the connections that were in the journal before it was cleared.
    """

    pid: int
    version: str
    outage: Outage | None = None
    ws_ids: tuple[str, ...] = ()


class Failed(NamedTuple):
    """An attempt to connect failed before the WebSocket was open."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Opened:
    """The WebSocket is open; the message with the id is still to come."""


class Received(NamedTuple):
    """Text or binary messages arrived, all at once."""

    payloads: Sequence[bytes]


class Closed(NamedTuple):
    """The WebSocket is closed.

    Attributes:
        code: RFC 6455's close code; 1006 if none was received.
        reason: in words.
        silent: pings were not answered: the connection may be dead since the last answer.
    """

    code: int
    reason: str
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Woken:
    """The time of the last `WakeAt` has come."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """A few seconds have passed, or a long time in which the machine slept."""


@dataclass(frozen=True, slots=True)
class EventsDropped:
    """Received events were dropped: how many, and between which times of receipt."""

    count: int
    since_ms: int
    until_ms: int


class Supplied(NamedTuple):
    """The recovery has lines for the journal: fetched events, and its own."""

    records: Sequence[Record]


class StopRequested(NamedTuple):
    """The listener must stop; `by` names the signal, such as `SIGTERM`."""

    by: str


Input = (
    Started | Failed | Opened | Received | Closed | Woken | Ticked | EventsDropped | Supplied | StopRequested
)


# Actions.


@dataclass(frozen=True, slots=True)
class Connect:
    """Get a WebSocket from the service and open it. Answer with `Opened` or `Failed`."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the WebSocket, or stop connecting. Do not answer."""


class Append(NamedTuple):
    """Append a line to the journal."""

    channel: str
    record: Record


class Announce(NamedTuple):
    """Write the connection's id to its file; print it if it is the `first` of this run."""

    ws_id: str
    first: bool


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Remove the file with the connection's id."""


class WakeAt(NamedTuple):
    """Answer with `Woken` at this time of the monotonic clock. Replaces an earlier `WakeAt`."""

    monotonic: float


class ShowMessage(NamedTuple):
    """Show a message to a person, as a warning if it is a `problem`."""

    text: str
    problem: bool = False
    hint: str = ""


class End(NamedTuple):
    """Stop. `error` is None if that was requested."""

    error: VdbeventsError | None


Action = Connect | Disconnect | Append | Announce | Withdraw | WakeAt | ShowMessage | End
