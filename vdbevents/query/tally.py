"""Count what was said and shown in an answer, in SQL: by quarters of an hour, or by a name.

docs/summaries.md says what counts as speech and as screen time.
"""

# ruff: noqa: S608 - the SQL consists of constants, whole numbers and names of ours

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol

from vdbevents.events import fields
from vdbevents.query.cache.index import Span
from vdbevents.query.duck import execute, explained
from vdbevents.query.result_protocols import TabledRows
from vdbevents.query.screen_time import breaks_at, end_of, lasting
from vdbevents.times import Window

QUARTER_MS: Final = 15 * 60_000
"""The local hours of all zones begin with a quarter of an hour of UTC."""

Key = Literal["quarter", "window", "source", "channel"]

_OWN: Final = f"""channel IS DISTINCT FROM '{fields.OWN_CHANNEL}'
    AND channel IS DISTINCT FROM '{fields.RUNTIME_CHANNEL}'
    AND NOT coalesce(starts_with(channel, 'backend.'), false)"""

_WORDS: Final = r"len(regexp_extract_all(text, '[^\s\pZ]+'))"

_COLUMNS: Final = (
    "channel",
    "source",
    "stream",
    "stream_name",
    "text",
    "time_ms",
    "start_ms",
    "end_ms",
    "window_name",
)

_KEPT: Final = f"""channel, source, coalesce(stream, stream_name) AS stream, window_name,
    coalesce(start_ms, time_ms) AS moment, start_ms, end_ms,
    CASE WHEN channel = 'transcript' THEN coalesce({_WORDS}, 0) ELSE 0 END AS words"""


_SPAN: Final = "SELECT min(moment), max(moment) FROM counted"


class Slice(NamedTuple):
    """What was said and shown in a part of an answer.

    Attributes:
        key: the number of a quarter of an hour since the epoch; or the name of a window, source or channel.
            None for what has none.
        events: how many there are.
        words: of transcripts.
        alerts: how many fired.
        speech_ms, screen_ms: for how long somebody spoke, and something was on a screen.
    """

    key: int | str | None
    events: int
    words: int
    alerts: int
    speech_ms: int
    screen_ms: int


class AnswerTally(Protocol):
    """The events of one journal's answer, counted."""

    @property
    def span(self) -> Span | None:
        """The first and the last time of what was counted, in Unix ms; None where none has a time."""

    def by(self, key: Key) -> list[Slice]:
        """Return the slices, each key once, in no order."""


class TabledTally:
    """An answer that DuckDB counts, as `plain_tally.PlainTally` counts events in memory."""

    def __init__(self, result: TabledRows, window: Window, breaks: Sequence[int] = ()) -> None:
        """Read the events.

        Args:
            result: the answer, with at least one event, which must stay open.
            window: nothing outside of it counts.
            breaks: when a gap or a pause begins, in Unix ms: a screen is not known to last beyond it.

        Raises:
            StorageError: memory and temporary space are used up, or the cache became unreadable.
        """
        self._connection = result.connection
        result.tabulate("counted", f"SELECT {_KEPT} FROM ({{rows}})", _COLUMNS)
        with explained():
            for sql in _creating(window, breaks):
                execute(self._connection, sql)

    @property
    def span(self) -> Span | None:
        """The first and the last time of what was counted, in Unix ms; None where none has a time."""
        [(first, last)] = execute(self._connection, _SPAN).fetchall()
        return None if first is None else (first, last)

    def by(self, key: Key) -> list[Slice]:
        """Return the slices, each key once, in no order.

        Raises:
            StorageError: memory and temporary space are used up.
        """
        with explained():
            rows = execute(self._connection, _slices(key)).fetchall()
        return [
            Slice(int(row[0]) if key == "quarter" and row[0] is not None else row[0], *map(int, row[1:]))
            for row in rows
        ]


def _creating(window: Window, breaks: Sequence[int]) -> list[str]:
    """Return the statements that create `spoken` and `shown`: parts of quarters, in milliseconds.

    `counted` loses the recorder's own events, and gets sources that other events of a stream name. In
    `spoken`, what a source says at once is counted once.
    """
    said = f"""SELECT source, coalesce(source, stream) AS speaking, moment AS begin,
        {end_of("moment", "end_ms")} AS finish FROM counted
        WHERE channel = 'transcript' AND start_ms IS NOT NULL AND end_ms > start_ms"""
    described = "(SELECT * FROM counted WHERE channel = 'visual_index' AND moment IS NOT NULL)"
    shown = lasting(described, "source", "window_name")
    steps = "SELECT moment FROM counted WHERE channel = 'capture_session'"
    return [
        f"DELETE FROM counted WHERE NOT ({_OWN})",
        """UPDATE counted SET source = known.source FROM (SELECT stream, max(source) AS source FROM counted
            WHERE source IS NOT NULL GROUP BY stream) AS known
            WHERE counted.source IS NULL AND counted.stream = known.stream""",
        f"""CREATE OR REPLACE TEMP TABLE spoken AS
            SELECT source, quarter, sum(greatest(0, finish - greatest(begin, coalesce(reach, begin)))) AS ms
            FROM (SELECT *, max(finish) OVER (PARTITION BY speaking, quarter ORDER BY begin, finish
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reach FROM ({_parts(window, said)}))
            GROUP BY source, quarter""",
        f"""CREATE OR REPLACE TEMP TABLE shown AS WITH {breaks_at(breaks, steps)}
            SELECT source, window_name, quarter, sum(finish - begin) AS ms
            FROM ({_parts(window, shown)}) GROUP BY source, window_name, quarter""",
    ]


def _parts(window: Window, spans: str) -> str:
    """Return SQL that clips spans to the window, and cuts them at quarters: each is shorter than that."""
    first = "begin" if window.since_ms is None else f"greatest(begin, {window.since_ms:d})"
    last = "finish" if window.until_ms is None else f"least(finish, {window.until_ms:d})"
    clipped = f"(SELECT * REPLACE ({first} AS begin, {last} AS finish) FROM ({spans}))"
    numbered = f"(SELECT *, {_quarter('begin')} AS quarter FROM {clipped} WHERE finish > begin)"
    edge = f"(quarter + 1) * {QUARTER_MS}"
    return f"""SELECT * REPLACE (least(finish, {edge}) AS finish) FROM {numbered}
        UNION ALL SELECT * REPLACE ({edge} AS begin, quarter + 1 AS quarter) FROM {numbered}
        WHERE finish > {edge}"""


def _quarter(moment: str) -> str:
    return f"floor({moment} / {QUARTER_MS})::BIGINT"


def _slices(key: Key) -> str:
    """Return the SELECT of the slices."""
    # Of windows only what is shown is known.
    counted = {"quarter": _quarter("moment"), "window": "window_name"}.get(key, key)
    where = "WHERE channel = 'visual_index'" if key == "window" else ""
    columns = {"quarter": "quarter", "window": "window_name", "source": "source"}
    spoken, shown = columns.get(key, "'transcript'"), columns.get(key, "'visual_index'")
    parts = [
        f"""SELECT {counted} AS key, count(*) AS events, sum(words) AS words,
            count(*) FILTER (channel = 'alert') AS alerts, 0 AS speech, 0 AS screen
            FROM counted {where} GROUP BY ALL""",
        f"SELECT {shown} AS key, 0, 0, 0, 0, ms FROM shown",
    ]
    if key != "window":
        parts.append(f"SELECT {spoken} AS key, 0, 0, 0, ms, 0 FROM spoken")
    return f"""SELECT key, sum(events), sum(words), sum(alerts), sum(speech), sum(screen)
        FROM ({" UNION ALL ".join(parts)}) GROUP BY key"""
