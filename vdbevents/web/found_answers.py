"""Answer a search: the newest hits with snippets, and where the hits are in a time."""

from dataclasses import replace
from typing import Any, Final

from vdbevents.query.filters import Filters
from vdbevents.query.lane_counts import counted_in
from vdbevents.query.output.highlight import Highlighter
from vdbevents.query.output.rows import description, on_one_line
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.moments import begin_of
from vdbevents.terminal import harmless, part
from vdbevents.web.page_requests import AskedTime

MOST_HITS: Final = 200
"""So many hits are an answer."""

_SNIPPET: Final = 160
_COLUMNS: Final = (
    *("time_ms", "channel", "event", "source", "stream_name", "text", "start_ms", "label", "speaker"),
    *("line", "host"),
)


def hits(journals: WarmJournals, filters: Filters, offset: int) -> dict[str, Any]:
    """Return the newest hits, the newest first.

    Args:
        journals: the journals.
        filters: what to find.
        offset: how many of the newest to leave out.

    Returns: `hits`, each with `at` in Unix ms, what it is, its `text` around the first match, and `marks`,
        the places in it that match; `has_more`.

    Raises:
        InputError: a journal cannot be read, or the pattern is not a regular expression.
        StorageError: memory and temporary space are used up.
    """
    columns = [name for name in _COLUMNS if name != "host" or journals.are_several]
    asked = replace(filters, newest_first=True, limit=MOST_HITS + 1, offset=offset)
    with journals.search_rows(asked) as answer:
        events = [event for batch in answer.events(columns) for event in batch]
    highlighter = Highlighter(filters)
    texts = [harmless(on_one_line(event.text or description(event))) for event in events[:MOST_HITS]]
    found = []
    places = highlighter.places(texts)
    for event, text, marks in zip(events, texts, places, strict=False):
        first, last = part(text, _SNIPPET, marks[0] if marks else (0, 0))
        before = "…" if first else ""
        shown = before + text[first:last] + "…" * (last < len(text))
        moved = len(before) - first
        found.append(
            {
                "at": begin_of(event),
                "channel": event.channel,
                "who": event.speaker or event.stream_name or event.source or "",
                "label": event.label or "",
                "host": event.host or "",
                "text": shown,
                "marks": [
                    [begin + moved, min(end, last) + moved] for begin, end in marks if first <= begin < last
                ],
            }
        )
    return {"hits": found, "has_more": len(events) > MOST_HITS, "offset": offset}


def marks(journals: WarmJournals, filters: Filters, span: AskedTime, parts: int) -> dict[str, Any]:
    """Return in which parts of a time hits are, and how many.

    Args:
        journals: the journals.
        filters: what to find, in this time.
        span: the time.
        parts: how many parts of equal length it has.

    Returns: `counts`, a list of [part, count].

    Raises:
        InputError: a journal cannot be read, or the pattern is not a regular expression.
        StorageError: memory and temporary space are used up.
    """
    counts: dict[int, int] = {}
    with journals.search_rows(replace(filters, window=span.window)) as answer:
        for _, result in answer.answers:
            for one in counted_in(result, span.since_ms, span.length_ms / parts) if result.count else ():
                place = min(one.part, parts - 1)
                counts[place] = counts.get(place, 0) + one.events
    return {"since": span.since_ms, "until": span.until_ms, "parts": parts, "counts": sorted(counts.items())}
