"""What the listener does, as a pure function of what happens to it.

Happenings go in with the time at which they happened, actions come out; no clock, no socket, no file.
`daemon.py` turns the world's happenings into these and carries out the actions, in their order.

    waiting ──time──> connecting ──opened──> opening ──id──> connected ──closed──> waiting …
                          └─────failed─────────┴── no id in time ──> waiting …
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from vdbevents.cloud import Failure
from vdbevents.errors import VdbeventsError
from vdbevents.events import envelope


class Moment(NamedTuple):
    """When something happened: seconds on a clock that never steps, and milliseconds since the epoch."""

    monotonic: float
    wall_ms: int


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What the user may set. Times in seconds.

    Attributes:
        max_retries: how many attempts in a row may fail after one that did, before giving up; None: any.
            A connection that did not stand for `stable_after` is one that failed.
        step_limit: for each step of connecting: the API's answer, the handshake, the message with the id.
        ping_interval: between two pings, and at most this long until the answer.
        stable_after: a connection that stood this long makes the next wait a short one again.
        shortest_wait: between two attempts, at least.
        longest_wait: between two attempts, at most, unless the service asks for more.
    """

    max_retries: int | None = None
    step_limit: float = 20.0
    ping_interval: float = 20.0
    stable_after: float = 60.0
    shortest_wait: float = 1.0
    longest_wait: float = 60.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Since when nothing is received, in milliseconds since the epoch, and why."""

    since_ms: int
    reason: str


# What can happen.


@dataclass(frozen=True, slots=True)
class Started:
    """The listener holds its lock.

    Attributes:
        blind: what runs before it left unmarked: killed, or lost.
        ws_ids: the connections that a journal told of which was cleared just now.
    """

    pid: int
    version: str
    blind: Outage | None = None
    ws_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt to connect failed before the WebSocket stood."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Opened:
    """The WebSocket stands; its id is still to come."""


class Received(NamedTuple):
    """A message came, text or binary. A tuple, as `Append` is: they are made once an event."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The WebSocket is no more.

    Attributes:
        code: RFC 6455's close code; 1006 where none was received.
        reason: in words.
        silent: it was given up because pings went unanswered: it may have been dead since the last answer.
    """

    code: int
    reason: str
    silent: bool = False


@dataclass(frozen=True, slots=True)
class TimeReached:
    """The time of the last `WakeAt` has come."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """A short while has passed, or a long one in which nothing ran."""


@dataclass(frozen=True, slots=True)
class EventsDropped:
    """Events that were received found no room: how many, between which times of receipt."""

    count: int
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Supplied:
    """Lines to be written that came in no message: what was fetched later, and what is told of that."""

    records: Sequence[envelope.Record]


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Somebody wants the listener to end; `by` says who, such as `SIGTERM`."""

    by: str


Input = (
    Started
    | Failed
    | Opened
    | Received
    | Closed
    | TimeReached
    | Ticked
    | EventsDropped
    | Supplied
    | StopRequested
)


# What is to be done.


@dataclass(frozen=True, slots=True)
class Connect:
    """Ask the service for a WebSocket and open it. Answer with `Opened` or `Failed`."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the WebSocket, or stop connecting. No answer is expected."""


class Append(NamedTuple):
    """Write a line to the journal."""

    channel: str
    record: envelope.Record


@dataclass(frozen=True, slots=True)
class Announce:
    """The connection has its id: make it known. `first` of this run: print it, too."""

    ws_id: str
    first: bool


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The id that was announced is good for nothing any more."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Answer with `TimeReached` at this time of the monotonic clock; an earlier such wish is void."""

    monotonic: float


@dataclass(frozen=True, slots=True)
class ShowMessage:
    """Tell a person; `problem` is something to worry about."""

    text: str
    problem: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """Stop. `error` is None when that was asked for."""

    error: VdbeventsError | None


Action = Connect | Disconnect | Append | Announce | Withdraw | WakeAt | ShowMessage | End


class ListenerState(StrEnum):
    """What the listener is at."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    OPENING = "opening"
    CONNECTED = "connected"
    STOPPED = "stopped"
