"""For how long a description was on the screen: the same in every answer. Pure.

A description lasts until the next one of its stream, if that comes within five minutes of its end, else until
its own end; never beyond a time in which nothing was recorded, or a step in the life of a session.
"""

# ruff: noqa: S608 - the SQL consists of constants and of our own names

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Final, NamedTuple

from vdbevents.query.collapse import PAUSE_MS

LONGEST_MS: Final = 10 * 60_000
"""The most that one utterance or description counts: a wrong end must not make a day of it."""


def end_of(moment: str, end: str) -> str:
    """Return SQL for the end of an event, in Unix ms, from SQL for its begin and its own end."""
    return f"least(greatest({moment}, {end}), {moment} + {LONGEST_MS})"


def own_end(begin_ms: int, end_ms: int | None) -> int:
    """Return what `end_of` gives; without an own end, the begin."""
    return begin_ms if end_ms is None else min(max(begin_ms, end_ms), begin_ms + LONGEST_MS)


def breaks_at(moments: Iterable[int], steps: str) -> str:
    """Return SQL of a table `breaks (break)`, for `WITH`.

    Args:
        moments: when gaps and pauses began, in Unix ms.
        steps: a SELECT of the times of a session's steps.
    """
    values = ", ".join(f"({moment:d}::BIGINT)" for moment in sorted(moments)) or "(NULL::BIGINT)"
    return f"breaks(break) AS (VALUES {values} UNION ALL {steps})"


def lasting(described: str, *columns: str) -> str:
    """Return a SELECT of the times in which something was on a screen: `columns`, `begin` and `finish`.

    It needs `breaks_at`.

    Args:
        described: SQL for the descriptions, with the columns `stream`, `moment`, `end_ms` and `columns`.
        columns: the columns to keep.
    """
    kept = ", ".join(columns)
    return f"""SELECT {kept}, moment AS begin,
        least(CASE WHEN next - own_end <= {PAUSE_MS} THEN next ELSE own_end END, break) AS finish
        FROM (SELECT *, coalesce({end_of("moment", "end_ms")}, moment) AS own_end,
            lead(moment) OVER (PARTITION BY stream ORDER BY moment, end_ms, {kept}) AS next
            FROM {described}) ASOF LEFT JOIN breaks ON moment < break"""


class Description(NamedTuple):
    """A description of a screen: its stream, its begin and end in Unix ms, and two texts that are kept."""

    stream: str | None
    moment: int
    end_ms: int | None
    kept: tuple[str | None, str | None]


def shown_times(described: Iterable[Description], breaks: Iterable[int]) -> Iterator[tuple[Description, int]]:
    """Yield what `lasting` selects: each description, and until when it was on the screen.

    Args:
        described: the descriptions.
        breaks: when gaps, pauses and the steps of sessions began, in Unix ms.
    """
    ordered = sorted(described, key=_place)
    stops = sorted(breaks)
    for one, following in zip_longest(ordered, ordered[1:]):
        until_ms = own_end(one.moment, one.end_ms)
        if following and following.stream == one.stream and following.moment - until_ms <= PAUSE_MS:
            until_ms = following.moment
        place = bisect_right(stops, one.moment)
        yield one, min([until_ms, *stops[place : place + 1]])


def _place(one: Description) -> tuple[tuple[bool, str | int | None], ...]:
    return tuple(map(nulls_last, (one.stream, one.moment, one.end_ms, *one.kept)))


def nulls_last(value: str | int | None) -> tuple[bool, str | int | None]:
    """Return what orders values as SQL does."""
    return value is None, value
