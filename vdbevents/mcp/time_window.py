"""The time that a call asks about, and how times are shown in its answer. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from vdbevents.mcp.tool_parameters import Parameter
from vdbevents.summaries.time_blocks import local_time_of
from vdbevents.times import Window, parse_window

LAST: Final = Parameter("last", "text", "The last 10m, 2h, 3d.")
SINCE: Final = Parameter("since", "text", "From this time: 10:15, yesterday 16:40, 2h ago, ISO 8601.")
UNTIL: Final = Parameter("until", "text", "Before this time.")
ON: Final = Parameter("on", "text", "A day: today, friday, 2026-03-02.")

WINDOW: Final = (LAST, SINCE, UNTIL, ON)
"""The parameters of a time; without any, all of the recording."""


def window_in(values: Mapping[str, Any], now: datetime, zone: tzinfo) -> Window:
    """Return the window that a call asks for.

    Raises:
        InputError: a time cannot be parsed, or two of them contradict each other.
    """
    return parse_window(
        last=values["last"],
        since=values["since"],
        until=values["until"],
        on=values["on"],
        now=now,
        zone=zone,
    )


def has_window(values: Mapping[str, Any]) -> bool:
    """Return whether a call asks for a time."""
    return any(values[parameter.name] is not None for parameter in WINDOW)


def now_utc() -> datetime:
    """Return the present."""
    return datetime.now(UTC)


def zone_text(zone: tzinfo, at: datetime) -> str:
    """Return the zone of the times in a text: `UTC+01:00`."""
    offset = f"{at.astimezone(zone):%z}"
    return f"UTC{offset[:3]}:{offset[3:5]}"


def date_text(at_ms: int, zone: tzinfo) -> str:
    """Return a time as a day: `Mon 2026-03-02`."""
    return f"{local_time_of(at_ms, zone):%a %Y-%m-%d}"


def clock_text(at_ms: int, zone: tzinfo) -> str:
    """Return a time of day: `10:15:30`."""
    return f"{local_time_of(at_ms, zone):%H:%M:%S}"
