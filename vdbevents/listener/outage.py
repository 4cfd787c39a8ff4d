"""Outages, and which one the listener's status file reports. Pure.

Loads nothing of the listener: queries ask for the outage that goes on.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from vdbevents.events import fields

_STOPPED: Final = (None, "stopped")


class Outage(NamedTuple):
    """A time since which nothing is received (ms since the epoch), and why."""

    since_ms: int
    reason: str


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
