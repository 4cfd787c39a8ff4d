"""Write events as a Markdown list."""

import re
from collections.abc import Iterator
from datetime import tzinfo
from typing import Final

from vdbevents.query.collapse import Runs
from vdbevents.query.filters import Event, Filters
from vdbevents.query.output.rows import ENTITIES, description, local_time, on_one_line, separated
from vdbevents.query.statements import EventBatches

# Characters that CommonMark interprets within a line, that make a bare address a link (`.`, `://`), and that
# common dialects add: maths, footnotes, marked text, Obsidian's comments, templates.
_MARKS: Final = re.compile(r"[\\`*_\[\]#|~$^]|\.(?=\w)|:(?=/)|/(?=/)|([=%{}])(?=\1)")

# `:tada:` is a picture on GitHub and elsewhere, and so it is with an escaped colon. Clock times are not.
_PICTURE: Final = re.compile(r":(?=(?:100|1234|\d*[a-z+-](?:[a-z0-9+-]|\\_)*):)")
_JOINER: Final = "&#8288;"


def markdown_items(
    answer: EventBatches, filters: Filters, zone: tzinfo, runs: Runs | None = None, *, hosts: bool = False
) -> Iterator[list[str]]:
    """Yield a list item for each event, with a heading before the first one of a local day.

    A rule separates the events around one match from those around the next.
    """
    heading = ""
    for batch in separated(answer, filters, runs, hosts=hosts):
        items = []
        for event, is_apart, note in batch:
            day, time = "Without a time", "-"
            if event.time_ms is not None:
                day, time = f"{local_time(event.time_ms, zone):%Y-%m-%d %H:%M:%S}".split()
            above = "" if day == heading else ("\n" if heading else "") + f"## {day}\n\n"
            rule = "\n---\n" + ("\n" if day == heading else "") if is_apart else ""
            items.append(rule + above + _item(event, time) + note + "\n")
            heading = day
        yield items


def _item(event: Event, time: str) -> str:
    # The event's text comes after the time, so that it cannot begin a heading or a list.
    kind = " · ".join(_marked_up(name) for name in (event.host, event.source, event.channel) if name)
    text = _marked_up(description(event))
    return f"- **{time}** {': '.join(part for part in (kind, text) if part)}".rstrip()


def _marked_up(text: str) -> str:
    """Escape text so that Markdown shows it unchanged, on one line.

    Not all dialects know an escaped `<`, but all know entities. GitHub links addresses, mentions users and
    shows pictures even after an escaped `@` or `:`; an invisible word joiner after it prevents all three.
    """
    escaped = _MARKS.sub(r"\\\g<0>", on_one_line(text)).translate(ENTITIES)
    return _PICTURE.sub(f":{_JOINER}", escaped.replace("@", f"@{_JOINER}"))
