"""Write events as a Markdown list."""

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from typing import Final

import orjson

from vdbevents.query.filters import Event
from vdbevents.query.output.markdown_sql import MARKDOWN_COLUMNS
from vdbevents.query.output.rows import ENTITIES, Item, description, local_time, on_one_line

# Characters that CommonMark interprets within a line, that make a bare address a link (`.`, `://`), and that
# common dialects add: maths, footnotes, marked text, Obsidian's comments, templates.
_MARKS: Final = re.compile(r"[\\`*_\[\]#|~$^]|\.(?=\w)|:(?=/)|/(?=/)|([=%{}])(?=\1)")

# `:tada:` is a picture on GitHub and elsewhere, and so it is with an escaped colon. Clock times are not.
_PICTURE: Final = re.compile(r":(?=(?:100|1234|\d*[a-z+-](?:[a-z0-9+-]|\\_)*):)")
_JOINER: Final = "&#8288;"

# None of these is interpreted, but for a dot before a letter or a digit.
_PLAIN: Final = re.compile(r"[A-Za-z0-9 .,;()?!'\"+-]*")
_DOTTED: Final = re.compile(r"\.(?=\w)")

_DAY: Final = len("2026-03-02")
_NOTHING: Final = Event(*(None for _ in Event._fields))
_MINUTE_MS: Final = 60_000
_MOST_MINUTES: Final = 10_000


def markdown_items(
    batches: Iterable[list[Item]], zone: tzinfo, shorten: Callable[[str], str] = on_one_line
) -> Iterator[list[str]]:
    """Yield a list item for each event, with a heading before the first one of a local day.

    A rule separates the events around one match from those around the next. `shorten` returns what is shown
    of a text, on one line.
    """
    heading = ""
    clock = _Clock(zone)
    for batch in batches:
        items = []
        for event, is_apart, note in batch:
            day, time = clock.day_and_time(event)
            above = "" if day == heading else ("\n" if heading else "") + f"## {day}\n\n"
            rule = "\n---\n" + ("\n" if day == heading else "") if is_apart and heading else ""
            items.append(rule + above + _item(event, time, shorten) + note + "\n")
            heading = day
        yield items


def markdown_texts(batches: Iterable[list[str]], zone: tzinfo) -> Iterator[list[str]]:
    """Yield the same of what `markdown_sql.markdown_row` makes of each event, none of them apart."""
    heading = ""
    clock = _Clock(zone)
    for batch in batches:
        items = []
        for made in batch:
            if made.startswith("["):
                event = _NOTHING._replace(**dict(zip(MARKDOWN_COLUMNS, orjson.loads(made), strict=True)))
                day, time = clock.day_and_time(event)
                item = _item(event, time, on_one_line) + "\n"
            else:
                day, item = made[:_DAY], made[_DAY:]
            if day != heading:
                item = ("\n" if heading else "") + f"## {day}\n\n{item}"
                heading = day
            items.append(item)
        yield items


class _Clock:
    """A clock that works out the date once a minute, not for each event."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._minutes: dict[int, tuple[str, str] | None] = {}

    def day_and_time(self, event: Event) -> tuple[str, str]:
        """Return the local day of an event, and the time of it."""
        if (milliseconds := event.time_ms) is None:
            return "Without a time", "-"
        minute, rest = divmod(milliseconds, _MINUTE_MS)
        if minute not in self._minutes:
            if len(self._minutes) == _MOST_MINUTES:
                self._minutes.clear()
            self._minutes[minute] = self._shared(minute)
        if (shared := self._minutes[minute]) is None:
            day, time = f"{local_time(milliseconds, self._zone):%Y-%m-%d %H:%M:%S}".split()
            return day, time
        return shared[0], f"{shared[1]}:{rest // 1000:02d}"

    def _shared(self, minute: int) -> tuple[str, str] | None:
        """Return the day, hour and minute that all times of a minute have; None if they differ."""
        try:
            first = local_time(minute * _MINUTE_MS, self._zone)
            last = local_time((minute + 1) * _MINUTE_MS - 1, self._zone)
        except OverflowError:
            return None
        if first.second or first.utcoffset() != last.utcoffset():
            return None
        day, time = f"{first:%Y-%m-%d %H:%M}".split()
        return day, time


def _item(event: Event, time: str, shorten: Callable[[str], str]) -> str:
    # The event's text comes after the time, so that it cannot begin a heading or a list.
    kind = _kind(event.host, event.source, event.channel)
    text = description(event)
    if shorten is not on_one_line or not _is_plain(text):
        text = _escaped(shorten(text))
    return f"- **{time}** {': '.join(part for part in (kind, text) if part)}".rstrip()


def _is_plain(text: str) -> bool:
    """Return whether a text is shown as it is: most are, and to find that out takes a fifth of the time."""
    return (
        _PLAIN.fullmatch(text) is not None
        and not _DOTTED.search(text)
        and "  " not in text
        and text == text.strip()
    )


@functools.lru_cache(maxsize=1024)
def _kind(*names: str | None) -> str:
    return " · ".join(marked_up(name) for name in names if name)


def marked_up(text: str) -> str:
    """Return what Markdown shows as the text, on one line."""
    return _escaped(on_one_line(text))


def _escaped(text: str) -> str:
    """Escape a line so that Markdown shows it unchanged.

    Not all dialects know an escaped `<`, but all know entities. GitHub links addresses, mentions users and
    shows pictures even after an escaped `@` or `:`; an invisible word joiner after it prevents all three.
    """
    escaped = _MARKS.sub(r"\\\g<0>", text).translate(ENTITIES)
    return _PICTURE.sub(f":{_JOINER}", escaped.replace("@", f"@{_JOINER}"))


def in_code(text: str) -> str:
    """Return what Markdown shows as a piece of code, on one line."""
    text = on_one_line(text)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{fence}{text}{fence}"
