"""Write events as a Markdown list."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from typing import Final

from vdbevents.query.filters import Event
from vdbevents.query.output.rows import ENTITIES, Item, description, local_time, on_one_line

# Characters that CommonMark interprets within a line, that make a bare address a link (`.`, `://`), and that
# common dialects add: maths, footnotes, marked text, Obsidian's comments, templates.
_MARKS: Final = re.compile(r"[\\`*_\[\]#|~$^]|\.(?=\w)|:(?=/)|/(?=/)|([=%{}])(?=\1)")

# `:tada:` is a picture on GitHub and elsewhere, and so it is with an escaped colon. Clock times are not.
_PICTURE: Final = re.compile(r":(?=(?:100|1234|\d*[a-z+-](?:[a-z0-9+-]|\\_)*):)")
_JOINER: Final = "&#8288;"


def markdown_items(
    batches: Iterable[list[Item]], zone: tzinfo, shorten: Callable[[str], str] = on_one_line
) -> Iterator[list[str]]:
    """Yield a list item for each event, with a heading before the first one of a local day.

    A rule separates the events around one match from those around the next. `shorten` returns what is shown
    of a text, on one line.
    """
    heading = ""
    for batch in batches:
        items = []
        for event, is_apart, note in batch:
            day, time = "Without a time", "-"
            if event.time_ms is not None:
                day, time = f"{local_time(event.time_ms, zone):%Y-%m-%d %H:%M:%S}".split()
            above = "" if day == heading else ("\n" if heading else "") + f"## {day}\n\n"
            rule = "\n---\n" + ("\n" if day == heading else "") if is_apart and heading else ""
            items.append(rule + above + _item(event, time, shorten) + note + "\n")
            heading = day
        yield items


def _item(event: Event, time: str, shorten: Callable[[str], str]) -> str:
    # The event's text comes after the time, so that it cannot begin a heading or a list.
    kind = " · ".join(marked_up(name) for name in (event.host, event.source, event.channel) if name)
    text = _escaped(shorten(description(event)))
    return f"- **{time}** {': '.join(part for part in (kind, text) if part)}".rstrip()


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
