"""Outages, and which one the listener's status file reports. Pure.

Loads nothing of the listener: queries ask for the outage that goes on.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from vdbevents.events import fields
from vdbevents.events.gaps import Gap

_STOPPED: Final = (None, "stopped")


class Outage(NamedTuple):
    """A time since which nothing is received (ms since the epoch), and why."""

    since_ms: int
    reason: str


def earlier(known: Outage | None, other: Outage) -> Outage:
    """Return one outage for two that end together: with the earlier start, and both reasons."""
    if known is None:
        return other
    first, second = sorted((known, other), key=lambda outage: outage.since_ms)
    return Outage(first.since_ms, f"{first.reason}; {second.reason}")


def unwritten_since(waiting_ms: int | None, gaps: Iterable[Gap]) -> int | None:
    """Return since when the journal lacks something that is only in memory; None if it lacks nothing.

    Args:
        waiting_ms: since when the oldest unwritten line waits.
        gaps: the open ones: the line of a gap is written at its end, so it may wait as well.
    """
    if waiting_ms is None:
        return None
    return min([waiting_ms, *(gap.since_ms for gap in gaps if gap.until_ms >= waiting_ms)])


def unmarked_outage(status: Mapping[str, Any]) -> Outage | None:
    """Return the outage that no `listener.gap` line marks, from the last status of a run that has ended."""
    since = [fields.unix_ms(status.get("blind_since"))]
    reason = str(status.get("blind_reason"))
    if status.get("state") not in _STOPPED:
        # What it held in memory is lost too, although it lived on for a while.
        since += [fields.unix_ms(status.get("unwritten_since")), fields.unix_ms(status.get("written"))]
        reason = f"the listener with PID {status.get('pid')} ended unexpectedly"
    known = [moment for moment in since if moment is not None]
    return Outage(min(known), reason) if known else None


def present_outage(status: Mapping[str, Any], *, runs: bool) -> Outage | None:
    """Return the outage that goes on now, by the last status; None without one.

    Args:
        status: the content of the file.
        runs: whether the listener that wrote it still runs.
    """
    if not runs:
        return unmarked_outage(status)
    since_ms = fields.unix_ms(status.get("blind_since"))
    return None if since_ms is None else Outage(since_ms, str(status.get("blind_reason")))
