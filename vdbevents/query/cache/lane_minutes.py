"""The events of a sealed segment by lanes and minutes: the SQL that counts them, and how they are kept. Pure.

A lane is where events come from: a microphone, the system's audio, a screen; alerts have one of their own.
"""

# ruff: noqa: S608 - the SQL consists of constants and our own names

import zlib
from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

import orjson

from vdbevents.events import fields

MINUTE_MS: Final = 60_000

LEFT_OUT: Final = (fields.OWN_CHANNEL, fields.RUNTIME_CHANNEL, "capture_session")
COUNTED: Final = f"""coalesce(channel, '') NOT IN {LEFT_OUT!r}
    AND NOT coalesce(starts_with(channel, 'backend.'), false)"""
# Of a sentence that somebody speaks there are many interim versions.
FINAL: Final = "NOT coalesce(channel = 'transcript' AND NOT is_final, false)"
LANE: Final = """CASE WHEN channel = 'alert' THEN 'alert'
    ELSE coalesce(source, channel, 'event') END AS kind,
    CASE WHEN channel = 'alert' THEN '' ELSE coalesce(stream_name, '') END AS name"""
MOMENT: Final = "coalesce(start_ms, time_ms)"


def minutes_of(rows: str) -> str:
    """Return a SELECT of kind, name, minute and number, from rows with the columns of `Event`."""
    return f"""SELECT {LANE}, floor({MOMENT} / {MINUTE_MS})::BIGINT AS minute, count(*)::BIGINT AS number
        FROM {rows} WHERE {COUNTED} AND {FINAL} AND {MOMENT} IS NOT NULL GROUP BY ALL"""


class LaneMinutes(NamedTuple):
    """The events of one lane.

    Attributes:
        kind, name: the lane's, as in `LaneCount`.
        minutes: those that have events, in order, in Unix time.
        numbers: how many events each of them has.
    """

    kind: str
    name: str
    minutes: list[int]
    numbers: list[int]


def stored_minutes(lanes: Iterable[LaneMinutes]) -> bytes:
    """Return lanes as they are kept in a file."""
    # The steps from one minute to the next are small, and alike.
    steps = [
        (kind, name, [later - earlier for earlier, later in pairwise((0, *minutes))], numbers)
        for kind, name, minutes, numbers in lanes
    ]
    return zlib.compress(orjson.dumps(steps))


def read_minutes(stored: bytes) -> list[LaneMinutes]:
    """Return what `stored_minutes` was given."""
    return [
        LaneMinutes(kind, name, list(accumulate(steps)), numbers)
        for kind, name, steps, numbers in orjson.loads(zlib.decompress(stored))
    ]
