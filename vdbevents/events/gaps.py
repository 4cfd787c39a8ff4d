"""Gaps: stretches of time in which no events were received, as the journal's lines report them. Pure.

A `listener.gap` line with the status `open` begins a gap; a later one with the same `id` settles it.
docs/events-format.md is normative.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from vdbevents.events import fields

EVENT: Final = "listener.gap"

Status = Literal["open", "recovered", "incomplete"]

_STATUSES: Final[dict[str, Status]] = {"open": "open", "recovered": "recovered", "incomplete": "incomplete"}


class Missing(NamedTuple):
    """Something that is missing because of a gap.

    Attributes:
        what: such as `alerts`.
        reason: why it could not be fetched later.
        lost: whether the service made it, or may have. False for a mere interruption: an interim form of
            something in the journal, or a time in which nothing was made.
    """

    what: str
    reason: str
    lost: bool = True


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of time whose events were not received.

    Attributes:
        id: unique in the journal; the same in all lines about this gap.
        since_ms, until_ms: by the recorder's clock, in milliseconds since the epoch.
        reason: why nothing was received.
        status: `open` until it is backfilled; `recovered` if the journal has all that the service keeps;
            `incomplete` if something is missing for good.
        streams: ids of the affected streams; empty for all.
        dropped: how many events were received but dropped; a `listener.dropped` line with this `since` marks
            their place.
        recovered: how many events of each channel were fetched.
        missing: what could not be fetched.
        ongoing: it has no end yet, and no line: `until_ms` is the present.
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
    ongoing: bool = False

    @property
    def is_recovered(self) -> bool:
        """Whether the journal has all that the service keeps of it."""
        return self.status == "recovered"

    def data(self) -> dict[str, Any]:
        """Return the `data` of the gap's line; of an ongoing one `until` is None."""
        data: dict[str, Any] = {
            "id": self.id,
            "since": fields.utc_text(self.since_ms),
            "until": None if self.ongoing else fields.utc_text(self.until_ms),
            "seconds": max(0, self.until_ms - self.since_ms) / 1000,
            "reason": self.reason,
            "status": self.status,
        }
        if self.streams:
            data["streams"] = list(self.streams)
        if self.dropped:
            data["dropped"] = self.dropped
        if self.status != "open":
            data["recovered"] = dict(sorted(self.recovered.items()))
            data["missing"] = [part._asdict() for part in self.missing]
        return data

    def touches(self, since_ms: int | None, until_ms: int | None) -> bool:
        """Return whether it overlaps a half-open window; None is unbounded."""
        # A gap without length still counts as a moment.
        end_ms = max(self.until_ms, self.since_ms + 1)
        return (since_ms is None or end_ms > since_ms) and (until_ms is None or self.since_ms < until_ms)


def gap_from(event: Mapping[str, Any]) -> Gap | None:
    """Return the gap that a line reports; None for other lines, and for malformed ones.

    A line without a status was written by a recorder that did not backfill: everything is missing. An unknown
    status counts as `incomplete`.
    """
    data = event.get("data")
    if not fields.is_own(event) or event.get("event") != EVENT or type(data) is not dict:
        return None
    since_ms, until_ms = fields.unix_ms(data.get("since")), fields.unix_ms(data.get("until"))
    if since_ms is None or until_ms is None:
        return None
    status = _STATUSES.get(str(data.get("status")), "incomplete")
    missing = tuple(_missing(data.get("missing")))
    if data.get("status") is None:
        missing = (Missing("everything", "it was never asked for"),)
    streams = data.get("streams")
    return Gap(
        id=str(data.get("id") or data["since"]),
        since_ms=since_ms,
        until_ms=until_ms,
        reason=str(data.get("reason") or ""),
        status=status,
        streams=tuple(map(str, streams)) if isinstance(streams, list) else (),
        dropped=_count(data.get("dropped")),
        recovered={} if status == "open" else _counts(data.get("recovered")),
        missing=() if status == "open" else missing,
    )


def latest_gaps(events: Iterable[Mapping[str, Any]]) -> list[Gap]:
    """Return the gaps that lines report, each as its last line has it, in the order of their first lines."""
    gaps: dict[str, Gap] = {}
    for event in events:
        gap = gap_from(event)
        if gap is not None:
            gaps[gap.id] = gap
    return list(gaps.values())


def with_ongoing(known: Iterable[Gap], ongoing: Gap | None) -> list[Gap]:
    """Return the gaps of a journal and the ongoing one, unless that has got its line meanwhile."""
    gaps = list(known)
    if ongoing is None or any(gap.since_ms == ongoing.since_ms for gap in gaps):
        return gaps
    return [*gaps, ongoing]


def gaps_in(lines: Iterable[str]) -> list[Gap]:
    """Return the gaps in the lines of a journal, as `latest_gaps` does; skip other lines."""
    about = [line.encode() for line in lines if EVENT in line]
    if not about:
        return []
    from vdbevents.events.envelope import parse_line

    events = map(parse_line, about)
    return latest_gaps(event for event in events if event is not None)


def _missing(parts: object) -> Iterator[Missing]:
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, Mapping):
            yield Missing(str(part.get("what") or "something"), str(part.get("reason") or ""),
                          part.get("lost") is not False)  # fmt: skip


def _counts(counts: object) -> dict[str, int]:
    return {str(name): _count(value) for name, value in counts.items()} if isinstance(counts, Mapping) else {}


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0
