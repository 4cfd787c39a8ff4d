"""SQL that makes a line of a Markdown list of an event, as `markdown` does it event by event. Pure.

Most texts are shown as they are. What has to be escaped, or looked at in another way, is handed to Python.
"""

from collections.abc import Iterator
from datetime import timedelta, tzinfo
from itertools import pairwise
from typing import Final

from vdbevents.query.output.rows import local_time

MARKDOWN_COLUMNS: Final = ("time_ms", "channel", "event", "source", "text", "label", "speaker", "line")
"""The columns of `Event` that the SQL has, and in which order it hands them on."""

# As `markdown` has it.
_PLAIN: Final = r"""regexp_full_match(text, '[A-Za-z0-9 .,;()?!''"+-]+')
    AND NOT regexp_matches(text, '\.[A-Za-z0-9]') AND NOT contains(text, '  ') AND text = trim(text)"""

_HOUR_MS: Final = 3_600_000
_MOST_HOURS: Final = 100_000
_LEAST_MS: Final = 0
_MOST_MS: Final = 253_402_214_400_000  # the last day of the year 9999

_SOURCES: Final = ("mic", "system_audio", "screen", "camera")
_CHANNELS: Final = ("transcript", "visual_index", "audio_index", "alert", "capture_session")


def markdown_row(zone: tzinfo, span: tuple[int, int], *, by_event: bool) -> str | None:
    """Return SQL for the day of an event, and its line with its end.

    Of an event that Python has to look at, it is the values of `MARKDOWN_COLUMNS`, as JSON. None if the times
    are too far apart, or not of four-digit years, as SQL needs each change of the zone's clock.

    Args:
        zone: the time zone.
        span: all times are between these, in Unix ms.
        by_event: whether events have their own times.
    """
    if span[0] < _LEAST_MS or span[1] >= _MOST_MS or span[1] - span[0] > _MOST_HOURS * _HOUR_MS:
        return None
    moment = "coalesce(start_ms, time_ms)" if by_event else "time_ms"
    changes = list(_offsets(zone, *span))
    later = " ".join(f"WHEN {moment} >= {at:d} THEN {offset:d}" for at, offset in reversed(changes[1:]))
    offset = f"CASE {later} ELSE {changes[0][1]:d} END" if later else f"{changes[0][1]:d}"
    time = f"strftime(make_timestamp(({moment} + {offset}) * 1000), '%Y-%m-%d- **%H:%M:%S** ')"
    about = "coalesce(nullif(label, ''), nullif(event, ''), nullif(speaker, ''))"
    is_short = f"{about} IS NULL OR channel = 'capture_session'"
    known = f"(source IS NULL OR source IN {_SOURCES!r}) AND channel IN {_CHANNELS!r}"
    handed = ", ".join(moment if name == "time_ms" else name for name in MARKDOWN_COLUMNS)
    return f"""CASE WHEN {moment} IS NOT NULL AND {known} AND ({is_short}) AND {_PLAIN}
        THEN concat({time}, CASE WHEN source IS NULL THEN '' ELSE concat({_marked("source")}, ' · ') END,
            {_marked("channel")}, ': ', text, chr(10))
        ELSE json_array({handed})::VARCHAR END"""


def _marked(column: str) -> str:
    return f"replace({column}, '_', '\\_')"


def _offsets(zone: tzinfo, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield each difference between the zone's clock and UTC, in ms, and since when it is that."""
    hours = [*range(first, last, _HOUR_MS), last]
    before = _offset(zone, first)
    yield first, before
    for start, end in pairwise(hours):
        if (after := _offset(zone, end)) != before:
            low, high = start, end
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            yield high, after
            before = after


def _offset(zone: tzinfo, moment: int) -> int:
    offset = local_time(moment, zone).utcoffset() or timedelta()
    return offset // timedelta(milliseconds=1)
