"""Answer a search: the newest hits with snippets, and where the hits are in a time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from vdbevents.query import collapse
from vdbevents.query.collapse import Run
from vdbevents.query.filters import Event, Filters
from vdbevents.query.lane_counts import counted_in
from vdbevents.query.output.highlight import Highlighter, Place
from vdbevents.query.output.rows import description, on_one_line
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.moments import begin_of
from vdbevents.terminal import harmless, part_in_words
from vdbevents.web.page_requests import AskedTime

MOST_HITS: Final = 600
"""So many events are an answer; screens that are nearly the same are one hit."""

_SNIPPET: Final = 160
_COLUMNS: Final = (
    *("time_ms", "channel", "event", "source", "stream", "stream_name", "text", "start_ms", "end_ms"),
    *("label", "speaker", "line", "host"),
)


def hits(journals: WarmJournals, filters: Filters, offset: int) -> dict[str, Any]:
    """Return the newest hits, the newest first.

    Args:
        journals: the journals.
        filters: what to find.
        offset: how many of the newest to leave out.

    Returns: `hits`, each with `at` and `end` in Unix ms, what it is, its `text` around the first match,
        `marks`, the places in it that match, and `count`, how many events it stands for; `next`, the offset
        of older ones, or null.

    Raises:
        InputError: a journal cannot be read, or the pattern is not a regular expression.
        StorageError: memory and temporary space are used up.
    """
    columns = journals.columns_of(_COLUMNS)
    asked = replace(filters, newest_first=True, limit=MOST_HITS, offset=offset)
    with journals.search_rows(asked) as answer:
        batches = list(answer.events(columns))
        # Of a search for a window alone each description of minutes matches.
        runs = collapse.find(answer, newest_first=True)
        lines = [(event, runs.at(row)) for batch in runs.lines(batches) for row, event in batch]
    count = sum(map(len, batches))
    texts = [harmless(on_one_line(event.text or description(event))) for event, _ in lines]
    places = Highlighter(filters).places(texts)
    found = [
        _hit(event, run, text, of_text)
        for (event, run), text, of_text in zip(lines, texts, places, strict=True)
    ]
    return {"hits": found, "next": offset + count if count == MOST_HITS else None}


def _hit(event: Event, run: Run | None, text: str, places: Sequence[Place]) -> dict[str, Any]:
    first, last = part_in_words(text, _SNIPPET, places[0] if places else (0, 0))
    before = "…" if first else ""
    moved = len(before) - first
    at_ms = begin_of(event)
    return {
        "at": run.since_ms if run else at_ms,
        "end": run.until_ms if run else at_ms,
        "count": run.events if run else 1,
        "channel": event.channel,
        "who": event.speaker or event.stream_name or event.source or "",
        "label": event.label or "",
        "host": event.host or "",
        "text": before + text[first:last] + "…" * (last < len(text)),
        "marks": [[begin + moved, min(end, last) + moved] for begin, end in places if first <= begin < last],
    }


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
    with journals.search_rows(filters) as answer:
        for _, result in answer.answers:
            for one in counted_in(result, span.since_ms, span.length_ms / parts) if result.count else ():
                place = min(one.part, parts - 1)
                counts[place] = counts.get(place, 0) + one.events
    return {"since": span.since_ms, "until": span.until_ms, "parts": parts, "counts": sorted(counts.items())}
