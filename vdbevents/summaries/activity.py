"""What was said and shown, counted by hours, days, apps, windows, sources or channels. Pure."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final, NamedTuple

from vdbevents.events.gaps import Gap
from vdbevents.privacy.pauses import Pause
from vdbevents.query.cache.index import Span
from vdbevents.query.tally import QUARTER_MS, Key, Slice
from vdbevents.times import Window

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER: Final = timedelta(milliseconds=QUARTER_MS)
_TITLE_END: Final = re.compile(r".* [-\u2013\u2014] (?=.)", re.DOTALL)
_LONG: Final = timedelta(days=2)


class By(StrEnum):
    """What to count by."""

    HOUR = "hour"
    DAY = "day"
    APP = "app"
    WINDOW = "window"
    SOURCE = "source"
    CHANNEL = "channel"

    @property
    def key(self) -> Key:
        """What the events are counted by first."""
        if self in (By.HOUR, By.DAY):
            return "quarter"
        return "channel" if self is By.CHANNEL else "source" if self is By.SOURCE else "window"


class Figures(NamedTuple):
    """What was counted; lengths of time in milliseconds.

    Attributes:
        gaps: how many times nothing was received, which was not made up for.
        gap_ms, paused_ms: how long nothing was received, or recorded as somebody paused it.
    """

    events: int = 0
    speech_ms: int = 0
    words: int = 0
    screen_ms: int = 0
    alerts: int = 0
    gaps: int = 0
    gap_ms: int = 0
    paused_ms: int = 0

    def plus(self, other: "Figures") -> "Figures":
        """Return the sums."""
        return Figures(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Row(NamedTuple):
    """The figures of one hour, day or name, on one machine.

    Attributes:
        key: when the hour or the day begins, in Unix ms; or a name; None for what has none.
        host: the machine; empty if there is but one journal.
    """

    key: int | str | None
    host: str
    figures: Figures


class Unrecorded(NamedTuple):
    """When nothing was recorded, in Unix ms: spans that do not overlap."""

    gaps: Sequence[Span] = ()
    pauses: Sequence[Span] = ()

    @property
    def breaks(self) -> list[int]:
        """When each of them begins."""
        return [first for first, _ in (*self.gaps, *self.pauses)]


def unrecorded(gaps: Iterable[Gap], pauses: Iterable[Pause], window: Window, now_ms: int) -> Unrecorded:
    """Return when nothing was recorded within a window, and until now; recovered gaps do not count."""
    lost = [(gap.since_ms, gap.until_ms) for gap in gaps if not gap.is_recovered]
    paused = [(pause.since_ms, now_ms if pause.end_ms is None else pause.end_ms) for pause in pauses]
    return Unrecorded(*(_joined(spans, window, now_ms) for spans in (lost, paused)))


def _joined(spans: Iterable[Span], window: Window, now_ms: int) -> list[Span]:
    joined: list[Span] = []
    ends_ms = now_ms if window.until_ms is None else min(now_ms, window.until_ms)
    for since_ms, until_ms in sorted(spans):
        first = since_ms if window.since_ms is None else max(since_ms, window.since_ms)
        last = min(until_ms, ends_ms)
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        elif first < last:
            joined.append((first, last))
    return joined


def usual(span: Span | None) -> By:
    """Return what to count by unless somebody says: hours, or days if there are more than two."""
    return By.DAY if span is not None and timedelta(milliseconds=span[1] - span[0]) > _LONG else By.HOUR


def rows_of(slices: Iterable[Slice], by: By, zone: tzinfo, host: str = "") -> list[Row]:
    """Return the rows of one machine, each key once.

    Args:
        slices: by `by.key`.
        by: what to count by.
        zone: of the hours and days.
        host: the machine.
    """
    naming = _naming(by, zone)
    found: dict[int | str | None, Figures] = {}
    for part in slices:
        key = naming(part.key)
        found[key] = found.get(key, Figures()).plus(figures_of(part))
    return [Row(key, host, figures) for key, figures in found.items()]


def _naming(by: By, zone: tzinfo) -> Callable[[int | str | None], int | str | None]:
    if by.key == "quarter":
        return lambda key: _beginning(key, by, zone) if isinstance(key, int) else None
    return lambda key: app_of(key) if by is By.APP and isinstance(key, str) else key


def app_of(window: str) -> str:
    """Return the app of a window, as title bars have it: what follows the last dash between spaces."""
    return _TITLE_END.sub("", window)


def _beginning(quarter: int, by: By, zone: tzinfo) -> int | None:
    """Return when the local hour or day begins in which a quarter of an hour of UTC is, in Unix ms."""
    try:
        local = (_EPOCH + quarter * _QUARTER).astimezone(zone)
        if by is By.DAY:
            local = local.replace(hour=0, fold=0)
        return (local.replace(minute=0, second=0, microsecond=0) - _EPOCH) // timedelta(milliseconds=1)
    except (OverflowError, ValueError):
        return None  # no calendar has it


def with_unrecorded(rows: Sequence[Row], lost: Unrecorded, by: By, zone: tzinfo, host: str = "") -> list[Row]:
    """Return the rows of hours or days with what was not recorded in each; other rows as they are."""
    if by.key != "quarter":
        return list(rows)
    found = {row.key: row.figures for row in rows}
    for first, last in lost.gaps:
        for key, length, is_first in _shared(first, last, by, zone):
            more = Figures(gaps=int(is_first), gap_ms=length)
            found[key] = found.get(key, Figures()).plus(more)
    for first, last in lost.pauses:
        for key, length, _ in _shared(first, last, by, zone):
            found[key] = found.get(key, Figures()).plus(Figures(paused_ms=length))
    return [Row(key, host, figures) for key, figures in found.items()]


def _shared(first: int, last: int, by: By, zone: tzinfo) -> Iterator[tuple[int | None, int, bool]]:
    """Yield the parts of a span in each hour or day: its beginning, the length, whether it is the first."""
    begin, is_first = first, True
    while begin < last:
        end = min(last, (begin // QUARTER_MS + 1) * QUARTER_MS)
        yield _beginning(begin // QUARTER_MS, by, zone), end - begin, is_first
        begin, is_first = end, False


class Activity(NamedTuple):
    """What was said and shown in a window.

    Attributes:
        by: what it is counted by.
        span: the first and the last time of an event or of what was not recorded, in Unix ms; None without.
        total: of all machines.
        of_rows: the sum of all rows; of windows and apps only what is counted by them.
        rows: hours and days in their order, or names with the most first.
        left_out: how many rows are left out: the oldest, or those with the least.
    """

    by: By
    span: Span | None
    total: Figures
    of_rows: Figures
    rows: Sequence[Row]
    left_out: int

    def with_rows(self, number: int) -> "Activity":
        """Return it with so many rows, at least 1: the newest hours or days, or the names with the most."""
        kept = self.rows[-number:] if self.by.key == "quarter" else self.rows[:number]
        return self._replace(rows=kept, left_out=self.left_out + len(self.rows) - len(kept))


def figures_of(part: Slice) -> Figures:
    """Return what was counted in a slice."""
    return Figures(part.events, part.speech_ms, part.words, part.screen_ms, part.alerts)


def sum_of(figures: Iterable[Figures]) -> Figures:
    """Return the sum."""
    total = Figures()
    for one in figures:
        total = total.plus(one)
    return total


def lost_of(lost: Unrecorded) -> Figures:
    """Return how much was not recorded."""
    gap_ms, paused_ms = (sum(last - first for first, last in spans) for spans in lost)
    return Figures(gaps=len(lost.gaps), gap_ms=gap_ms, paused_ms=paused_ms)


def reach(spans: Iterable[Span | None]) -> Span | None:
    """Return the span from the first beginning to the last end; None without any."""
    known = [span for span in spans if span is not None]
    return (min(first for first, _ in known), max(last for _, last in known)) if known else None


def arranged(rows: Iterable[Row], by: By, most: int | None) -> tuple[list[Row], int]:
    """Return rows in their order, at most so many, and how many are left out."""
    if by.key == "quarter":
        ordered = sorted(rows, key=lambda row: (row.key is not None, row.key or 0, row.host))
        kept = ordered if most is None else ordered[-most:]
    else:
        ordered = sorted(rows, key=_weight)
        kept = ordered if most is None else ordered[:most]
    return kept, len(ordered) - len(kept)


def _weight(row: Row) -> tuple[int, int, int, str, str]:
    figures = row.figures
    return -figures.screen_ms, -figures.speech_ms, -figures.events, str(row.key), row.host
