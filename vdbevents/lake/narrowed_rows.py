"""The SQL that chooses, out of a lake, the rows that a search may need. Pure.

It is in what DuckDB's dialect shares with others, and holds for more rows than match: the search itself runs
on what it chose.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from vdbevents.errors import InputError
from vdbevents.query import alike, patterns
from vdbevents.query.filters import ALIASES, Filters
from vdbevents.query.lines import quoted
from vdbevents.times import Window

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS: Final = 24 * 3_600_000
_REFUSED: Final = {
    "--around": "around_ms",
    "--session": "sessions",
    "--where": "where",
    "-E": "extended",
}
FINALS: Final = "channel = 'transcript' AND is_final"
_GAPS: Final = """channel = 'vdbevents' AND (line LIKE '%.gap"%' OR line LIKE '%.paused"%'
    OR line LIKE '%.resumed"%')"""


def chosen_rows(filters: Filters, hosts: Sequence[str]) -> str:
    """Return a condition on the rows of a lake: what may match, and the lines about gaps and pauses.

    Raises:
        InputError: it cannot say what the filters ask for.
    """
    for option, name in _REFUSED.items():
        if getattr(filters, name):
            raise InputError(
                f"--engine: cannot find what {option} asks for",
                f"leave out {option}, ask without --engine, or with SQL: vdbevents sql --engine",
                error_id="engine-filter-unsupported",
            )
    matching = [*_within(filters.window, by_event=filters.by_event), *_membership(filters), *_words(filters)]
    window = filters.window
    until_ms = None if window.until_ms is None else window.until_ms + _DAY_MS
    gaps = [_GAPS, *_within(Window(window.since_ms, until_ms), by_event=False)]
    either = f"(({_all(matching)}) OR ({_all(gaps)}))"
    chosen = [f"host IN ({_texts(hosts)})"] if hosts else []
    return _all(["readable", *chosen, either])


def finals_of(filters: Filters, streams: Iterable[tuple[str, str | None, str | None]]) -> str:
    """Return a condition for the final transcripts of some streams, each a host, an id and a name."""
    owners = " OR ".join(
        f"(host = {quoted(host)} AND {_same('stream', stream)} AND {_same('stream_name', name)})"
        for host, stream, name in sorted(streams, key=repr)
    )
    return _all(
        ["readable", FINALS, *_within(filters.window, by_event=filters.by_event), f"({owners})"],
    )


def _same(column: str, value: str | None) -> str:
    return f"{column} IS NULL" if value is None else f"{column} = {quoted(value)}"


def _all(conditions: Iterable[str]) -> str:
    return " AND ".join(conditions) or "true"


def _texts(texts: Iterable[str]) -> str:
    return ", ".join(map(quoted, texts))


def _within(window: Window, *, by_event: bool) -> list[str]:
    moment = "coalesce(started, time)" if by_event else "time"
    conditions = []
    if window.since_ms is not None:
        conditions.append(f"{moment} >= {_moment(window.since_ms)}")
    if window.until_ms is not None:
        conditions.append(f"{moment} < {_moment(window.until_ms)}")
    if not by_event:
        # The partitions: an engine need not know that they follow from the time.
        if window.since_ms is not None:
            conditions.append(f"date >= DATE '{_day(window.since_ms)}'")
        if window.until_ms is not None:
            conditions.append(f"date <= DATE '{_day(window.until_ms)}'")
    return conditions


def _time(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def _moment(at_ms: int) -> str:
    return f"TIMESTAMPTZ '{_time(at_ms).isoformat(sep=' ', timespec='milliseconds')}'"


def _day(at_ms: int) -> str:
    return _time(at_ms).date().isoformat()


def _membership(filters: Filters) -> list[str]:
    wanted: tuple[tuple[tuple[str, ...], Collection[str]], ...] = (
        (("channel",), [ALIASES.get(channel, channel) for channel in filters.channels]),
        (("source",), filters.sources),
        (("stream", "stream_name"), filters.streams),
        (("event",), filters.names),
        (("label",), filters.labels),
    )
    conditions = [
        "(" + " OR ".join(f"{column} IN ({_texts(values)})" for column in columns) + ")"
        for columns, values in wanted
        if values
    ]
    hidden = (*filters.not_channels, *filters.hidden_channels)
    left_out = [ALIASES.get(channel, channel) for channel in hidden]
    if left_out:
        conditions.append(f"(channel IS NULL OR channel NOT IN ({_texts(left_out)}))")
    return conditions


def _words(filters: Filters) -> list[str]:
    """Return tests of lines for the longest run of letters of each pattern; see `patterns.words`."""
    runs = [_run(pattern, filters) for pattern in filters.grep]
    conditions = [_says(run) for run in runs if run]
    either = [_run(pattern, filters) for pattern in filters.any_of]
    if either and all(either):
        conditions.append(" OR ".join(map(_says, either)))
    if not conditions:
        return []
    said = " AND ".join(f"({condition})" for condition in conditions)
    return [f"(({said}) OR contains(line, '\\u') OR regexp_matches(line, '[{alike.DISGUISES}]'))"]


def _run(pattern: str, filters: Filters) -> str:
    runs = re.findall(r"[A-Za-z0-9]+", patterns.sought(pattern, filters))
    return max(runs, key=len, default="").lower()


def _says(run: str) -> str:
    return f"contains(lower(line), '{run}')"
