"""Write down what was counted: as a table for people, as JSON, as csv. Pure."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Any, Final, NamedTuple

from vdbevents.events.envelope import utc_text
from vdbevents.summaries.activity import Activity, By, Figures, Row
from vdbevents.terminal import cells, cut, fits, harmless, padded, with_command, wrapped

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMELESS: Final = {
    By.HOUR: "no time",
    By.DAY: "no time",
    By.APP: "not named",
    By.WINDOW: "not named",
    By.SOURCE: "no source",
    By.CHANNEL: "no channel",
}
_LONGEST_NAME: Final = 60
_LEAST_NAME: Final = 12
_LONGEST_BAR: Final = 40
_LEAST_BAR: Final = 8
_EIGHTHS: Final = "▏▎▍▌▋▊▉█"


class _Column(NamedTuple):
    """A column of the table: its head, its text, and the number whose bar is drawn."""

    head: str
    text: Callable[[Figures], str]
    number: Callable[[Figures], int]


def length_text(milliseconds: int) -> str:
    """Format a length of time in few characters: `42s`, `7m`, `1h05m`; empty for none."""
    if milliseconds <= 0:
        return ""
    minutes = (milliseconds + 30_000) // 60_000
    if milliseconds < 60_000:  # noqa: PLR2004 - a minute
        return f"{max(1, milliseconds // 1000)}s"
    return f"{minutes // 60:,}h{minutes % 60:02}m" if minutes >= 60 else f"{minutes}m"  # noqa: PLR2004


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


_COLUMNS: Final = (
    _Column("events", lambda one: _count(one.events), lambda one: one.events),
    _Column("speech", lambda one: length_text(one.speech_ms), lambda one: one.speech_ms),
    _Column("words", lambda one: _count(one.words), lambda one: one.words),
    _Column("screen", lambda one: length_text(one.screen_ms), lambda one: one.screen_ms),
    _Column("alerts", lambda one: _count(one.alerts), lambda one: one.alerts),
    _Column("gaps", lambda one: length_text(one.gap_ms), lambda one: one.gap_ms),
    _Column("paused", lambda one: length_text(one.paused_ms), lambda one: one.paused_ms),
)

_BARS: Final = {
    By.HOUR: ("speech", "screen", "events"),
    By.DAY: ("speech", "screen", "events"),
    By.APP: ("screen", "events"),
    By.WINDOW: ("screen", "events"),
    By.SOURCE: ("events",),
    By.CHANNEL: ("events",),
}


def text_of(activity: Activity, zone: tzinfo, width: int | None, command: str) -> str:
    """Format for a person, in local time; with bars on a terminal.

    Args:
        activity: with at least one row.
        zone: of the times.
        width: the terminal's width in cells; None if it is not one.
        command: what shows the rows that are left out.
    """
    total = activity.of_rows
    has_hosts = any(row.host for row in activity.rows)
    columns = [column for column in _COLUMNS if column.number(total)]
    names = _names(activity, zone)
    rows = [[name, *([row.host] if has_hosts else []), *(column.text(row.figures) for column in columns)]
            for name, row in zip(names, activity.rows, strict=True)]  # fmt: skip
    head = [activity.by.value, *(["host"] if has_hosts else []), *(column.head for column in columns)]
    if len(rows) + activity.left_out > 1:
        rows.append(["total", *([""] if has_hosts else []), *(column.text(total) for column in columns)])
    lines = _aligned([head, *rows], 2 if has_hosts else 1, width)
    if width is not None:
        lines = _with_bars(lines, activity, columns, width)
    title = _title(activity, zone)
    text = "\n".join([title if width is None else cut(title, width), *lines])
    if activity.left_out:
        which = "earlier" if activity.by in (By.HOUR, By.DAY) else "smaller"
        left_out = f"… {activity.left_out:,} {which} rows left out"
        text += "\n" + with_command(left_out, command, partial(_broken, width))
    return text


def _broken(width: int | None, label: str, text: str) -> str:
    if width is None:
        return label + text
    return label + "\n".join(text[first:last] for first, last in wrapped(text, width))


def _title(activity: Activity, zone: tzinfo) -> str:
    if activity.span is None:
        return "no time is known"
    first, last = (_local(moment, zone) for moment in activity.span)
    if first is None or last is None:
        return "no time is known"
    day = "" if first.date() == last.date() else f"{last:%Y-%m-%d} "
    return f"{first:%Y-%m-%d %H:%M} to {day}{last:%H:%M}"


def _local(milliseconds: int, zone: tzinfo) -> datetime | None:
    try:
        return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone)
    except (OverflowError, ValueError):
        return None


def _names(activity: Activity, zone: tzinfo) -> list[str]:
    if activity.by not in (By.HOUR, By.DAY):
        return [_NAMELESS[activity.by] if row.key is None else " ".join(str(row.key).split())
                for row in activity.rows]  # fmt: skip
    times = [_local(row.key, zone) if isinstance(row.key, int) else None for row in activity.rows]
    if activity.by is By.DAY:
        return [_NAMELESS[activity.by] if time is None else f"{time:%Y-%m-%d %a}" for time in times]
    is_one_day = len({time.date() for time in times if time is not None}) == 1
    form = "%H:%M" if is_one_day else "%Y-%m-%d %H:%M"
    names = [_NAMELESS[activity.by] if time is None else time.strftime(form) for time in times]
    # Where clocks go back, an hour comes twice.
    keys: dict[str, set[int | str | None]] = {}
    for name, row in zip(names, activity.rows, strict=True):
        keys.setdefault(name, set()).add(row.key)
    return [f"{name} {time:%z}" if time is not None and len(keys[name]) > 1 else name
            for name, time in zip(names, times, strict=True)]  # fmt: skip


def _aligned(rows: Sequence[Sequence[str]], texts: int, width: int | None) -> list[str]:
    """Return lines: the first columns, which are texts, to the left, and numbers to the right."""
    shown = [[harmless(value) or "-" for value in row] for row in rows]
    sizes = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    rest = sum(sizes[1:]) + 2 * (len(sizes) - 1)
    sizes[0] = min(sizes[0], _LONGEST_NAME, max(_LEAST_NAME, (width or 1 << 20) - rest))
    lines = []
    for row in shown:
        fields = [padded(cut(value, size), size) if place < texts else " " * (size - cells(value)) + value
                  for place, (value, size) in enumerate(zip(row, sizes, strict=True))]  # fmt: skip
        lines.append("  ".join(fields).rstrip())
    return lines if width is None else [cut(line, width) for line in lines]


def _with_bars(lines: list[str], activity: Activity, columns: Sequence[_Column], width: int) -> list[str]:
    """Return the lines with a bar after each row, if there is room."""
    chosen = next((column for head in _BARS[activity.by] for column in columns if column.head == head), None)
    end = max(map(cells, lines))
    room = min(_LONGEST_BAR, width - end - 2)
    if chosen is None or room < _LEAST_BAR:
        return lines
    numbers = [chosen.number(row.figures) for row in activity.rows]
    most = max(numbers, default=0) or 1
    head = f"{chosen.head} as bars"
    bars = [head if fits(head, room) else chosen.head, *(_bar(number / most * room) for number in numbers)]
    bars += [""] * (len(lines) - len(bars))
    return [f"{padded(line, end)}  {bar}".rstrip() for line, bar in zip(lines, bars, strict=True)]


def _bar(length: float) -> str:
    eighths = round(length * 8)
    full, rest = divmod(eighths or int(length > 0), 8)
    return _EIGHTHS[-1] * full + (_EIGHTHS[rest - 1] if rest else "")


def json_of(activity: Activity, *, hosts: bool) -> str:
    """Format as one JSON object, a row a line, with times in UTC."""
    first, last = activity.span or (None, None)
    head = {
        "by": activity.by.value,
        "first": _utc(first),
        "last": _utc(last),
        "total": _members(activity.total, activity.by, whole=True),
    }
    rows = [_dumped(_row(row, activity.by, hosts=hosts)) for row in activity.rows]
    lines = ",\n".join(rows)
    return f'{_dumped(head)[:-1]},"rows":[\n{lines}\n],"left_out":{activity.left_out}}}\n'


def csv_table(activity: Activity, *, hosts: bool) -> tuple[list[str], list[list[Any]]]:
    """Return the header of csv, and the values of each row."""
    rows = [_row(row, activity.by, hosts=hosts) for row in activity.rows]
    names = list(_row(Row(None, "", Figures()), activity.by, hosts=hosts))
    return names, [list(row.values()) for row in rows]


def _row(row: Row, by: By, *, hosts: bool) -> dict[str, Any]:
    is_time = by in (By.HOUR, By.DAY)
    key = {"started": _utc(row.key) if isinstance(row.key, int) else None} if is_time else {by.value: row.key}
    return {**key, **({"host": row.host} if hosts else {}), **_members(row.figures, by, whole=is_time)}


def _members(figures: Figures, by: By, *, whole: bool) -> dict[str, Any]:
    """Return the figures: of a window or an app only those it can have, and the rest only where `whole`."""
    screen = {"events": figures.events, "screen_seconds": figures.screen_ms / 1000}
    if not whole and by in (By.APP, By.WINDOW):
        return screen
    members = {
        "events": figures.events,
        "speech_seconds": figures.speech_ms / 1000,
        "words": figures.words,
        "screen_seconds": figures.screen_ms / 1000,
        "alerts": figures.alerts,
    }
    lost = {
        "gaps": figures.gaps,
        "gap_seconds": figures.gap_ms / 1000,
        "paused_seconds": figures.paused_ms / 1000,
    }
    return {**members, **lost} if whole else members


def _utc(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else utc_text(milliseconds)


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
