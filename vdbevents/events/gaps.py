"""Stretches of time in which the recorder was blind, as lines of the journal tell of them. Pure.

A gap is opened by a `listener.gap` line whose status is `open`, and closed by another with the same `id`.
`docs/events-format.md` is the normative text.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from vdbevents.events import envelope, fields

EVENT: Final = "listener.gap"

Status = Literal["open", "recovered", "incomplete"]

_STATUSES: Final[dict[str, Status]] = {"open": "open", "recovered": "recovered", "incomplete": "incomplete"}


class Missing(NamedTuple):
    """Something that a gap has cost.

    Attributes:
        what: such as `alerts`.
        reason: why it could not be had later.
        lost: the service made it, or may have made it. False for what only interrupts: a preliminary form of
            what is there, or a moment in which nothing was made.
    """

    what: str
    reason: str
    lost: bool = True


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of time whose events were not received as they came.

    Attributes:
        id: of no other gap in the journal; the same in all lines of this one.
        since_ms, until_ms: by the recorder's clock, in milliseconds since the epoch.
        reason: why nothing was received.
        status: `open` while it is to be filled, `recovered` when all that the service keeps of it is in the
            journal, `incomplete` when some of it is not and will not be.
        streams: ids of the streams that it is about; empty for all.
        dropped: how many events had been received and found no room; the place of their loss is a
            `listener.dropped` line with this `since`.
        recovered: how many events a channel were fetched later.
        missing: what could not be had.
    """

    id: str
    since_ms: int
    until_ms: int
    reason: str
    status: Status = "open"
    streams: tuple[str, ...] = ()
    dropped: int = 0
    recovered: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()

    @property
    def is_recovered(self) -> bool:
        """Whether all that the service keeps of it is in the journal."""
        return self.status == "recovered"

    def told(self) -> dict[str, Any]:
        """The `data` of its line."""
        told: dict[str, Any] = {
            "id": self.id,
            "since": envelope.utc_text(self.since_ms),
            "until": envelope.utc_text(self.until_ms),
            "seconds": max(0, self.until_ms - self.since_ms) / 1000,
            "reason": self.reason,
            "status": self.status,
        }
        if self.streams:
            told["streams"] = list(self.streams)
        if self.dropped:
            told["dropped"] = self.dropped
        if self.status != "open":
            told["recovered"] = dict(sorted(self.recovered.items()))
            told["missing"] = [one._asdict() for one in self.missing]
        return told

    def touches(self, since_ms: int | None, until_ms: int | None) -> bool:
        """Whether a window, half-open and unbounded where it is None, holds a part of it."""
        # A gap of no length is still a moment.
        end_ms = max(self.until_ms, self.since_ms + 1)
        return (since_ms is None or end_ms > since_ms) and (until_ms is None or self.since_ms < until_ms)


def gap_from(event: Mapping[str, Any]) -> Gap | None:
    """The gap that a line tells of; None for every other line, and for one that makes no sense.

    A line without a status is of a recorder that filled no gaps: what was missed then is not there. A status
    that is not known counts as `incomplete`.
    """
    told = event.get("data")
    if not fields.is_own(event) or event.get("event") != EVENT or type(told) is not dict:
        return None
    since_ms, until_ms = fields.unix_ms(told.get("since")), fields.unix_ms(told.get("until"))
    if since_ms is None or until_ms is None:
        return None
    status = _STATUSES.get(str(told.get("status")), "incomplete")
    missing = tuple(_missing(told.get("missing")))
    if told.get("status") is None:
        missing = (Missing("everything", "it was never asked for"),)
    streams = told.get("streams")
    return Gap(
        id=str(told.get("id") or told["since"]),
        since_ms=since_ms,
        until_ms=until_ms,
        reason=str(told.get("reason") or ""),
        status=status,
        streams=tuple(map(str, streams)) if isinstance(streams, list) else (),
        dropped=_count(told.get("dropped")),
        recovered={} if status == "open" else _counts(told.get("recovered")),
        missing=() if status == "open" else missing,
    )


def fold(events: Iterable[Mapping[str, Any]]) -> list[Gap]:
    """The gaps that lines tell of, each as its last line has it, in the order of their first."""
    found: dict[str, Gap] = {}
    for event in events:
        gap = gap_from(event)
        if gap is not None:
            found[gap.id] = gap
    return list(found.values())


def told_by(lines: Iterable[str]) -> list[Gap]:
    """The gaps that a journal's own lines tell of, as `fold` has them; other lines do no harm."""
    told = (envelope.parse_line(line.encode()) for line in lines if EVENT in line)
    return fold(event for event in told if event is not None)


def _missing(told: object) -> Iterator[Missing]:
    for one in told if isinstance(told, list) else ():
        if isinstance(one, Mapping):
            yield Missing(str(one.get("what") or "something"), str(one.get("reason") or ""),
                          one.get("lost") is not False)  # fmt: skip


def _counts(told: object) -> dict[str, int]:
    return {str(name): _count(it) for name, it in told.items()} if isinstance(told, Mapping) else {}


def _count(told: object) -> int:
    return told if type(told) is int and told > 0 else 0
