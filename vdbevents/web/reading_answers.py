"""Answer what is read beside the timeline: what was said from a time on, and what was on the screens."""

from collections.abc import Sequence
from typing import Any, Final

from vdbevents.query import collapse
from vdbevents.query.collapse import PAUSE_MS, Run, span as span_of
from vdbevents.query.filters import Event, Filters
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.journal_answers import silences_in
from vdbevents.summaries.transcript import COLUMNS, Paragraph, Part, Silence, parts_of, start_of
from vdbevents.times import Window
from vdbevents.web.page_requests import AskedTime

MOST_SAID: Final = 300
"""So many utterances, or a few more, are an answer."""

BREAK_MS: Final = 60_000
"""A silence that is longer is marked."""

_FIRST_STEP_MS: Final = 30 * 60_000
_MARGIN_MS: Final = 86_400_000
_BEFORE_MS: Final = 30 * 60_000
_AFTER_MS: Final = 10 * 60_000
_SCREEN_COLUMNS: Final = (
    *("time_ms", "channel", "source", "stream", "stream_name", "text", "start_ms", "end_ms", "window_name"),
    "host",
)
_NEAR_CHANNELS: Final = ("alert", "audio_index")
_NEAR_MS: Final = 60_000


def said(
    journals: WarmJournals, recorded: AskedTime, from_ms: int, now_ms: int, *, earlier: bool
) -> dict[str, Any]:
    """Return what was said from a time on, or before it, in paragraphs.

    Args:
        journals: the journals.
        recorded: from the first to the last event.
        from_ms: where it begins, or ends, in Unix ms.
        now_ms: the present, in Unix ms.
        earlier: whether to go back from there.

    Returns: `parts`, in order; `since` and `until`: all that was said between them is there; `is_end`:
        whether nothing is recorded beyond.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    step_ms, edge_ms = _FIRST_STEP_MS, from_ms
    # Minutes count where they begin; a sentence may have begun long before its first event.
    limit_ms = recorded.since_ms - _MARGIN_MS if earlier else recorded.until_ms + _MARGIN_MS
    events: list[Event] = []
    parts: list[Part] = []
    # Speech is dense or rare: steps grow until there is enough.
    while not events and (edge_ms > limit_ms if earlier else edge_ms < limit_ms):
        edge_ms = max(limit_ms, from_ms - step_ms) if earlier else min(limit_ms, from_ms + step_ms)
        step_ms *= 4
        window = Window(edge_ms, from_ms) if earlier else Window(from_ms, edge_ms)
        events, parts = _paragraphs(journals, window, now_ms)
        if len(events) > MOST_SAID:
            # A step that grew may have brought hours.
            events = events[-MOST_SAID:] if earlier else events[:MOST_SAID]
            edge_ms = (start_of(events[0]) or edge_ms) if earlier else (start_of(events[-1]) or edge_ms) + 1
            window = Window(edge_ms, from_ms) if earlier else Window(from_ms, edge_ms)
            events, parts = _paragraphs(journals, window, now_ms)
    since_ms, until_ms = (edge_ms, from_ms) if earlier else (from_ms, edge_ms)
    return {
        "parts": [_part_data(part) for part in parts],
        "since": since_ms,
        "until": until_ms,
        "is_end": edge_ms < recorded.since_ms if earlier else edge_ms >= recorded.until_ms,
    }


def all_said(journals: WarmJournals, window: Window, now_ms: int) -> list[dict[str, Any]]:
    """Return all that was said in a time, in paragraphs, as `said` has it in its `parts`.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    _, parts = _paragraphs(journals, window, now_ms)
    return [_part_data(part) for part in parts]


def _paragraphs(journals: WarmJournals, window: Window, now_ms: int) -> tuple[list[Event], list[Part]]:
    events, silences = speech_in(journals, window, now_ms)
    return events, list(parts_of(events, silences, BREAK_MS))


def speech_in(journals: WarmJournals, window: Window, now_ms: int) -> tuple[list[Event], list[Silence]]:
    """Return what was said in a time, by its starts, and where nothing was recorded.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    columns = journals.columns_of(COLUMNS)
    filters = Filters(window=window, by_event=True, channels=("transcript",))
    with journals.search_rows(filters) as answer:
        events = [event for batch in answer.events(columns) for event in batch if (event.text or "").strip()]
        silences = silences_in(journals.all(), answer, window, now_ms, journals.gaps_of)
    return sorted(events, key=lambda event: start_of(event) or 0), silences


def _part_data(part: Part) -> dict[str, Any]:
    if isinstance(part, Paragraph):
        return {
            "kind": "speech",
            "at": part.start_ms,
            "end": part.end_ms,
            "who": part.who,
            "text": part.text,
            "unfinished": part.is_unfinished,
        }
    return {"kind": part.kind, "at": part.start_ms, "end": part.end_ms, "who": "", "text": part.words}


def moment(journals: WarmJournals, at_ms: int) -> dict[str, Any]:
    """Return what was on each screen at a moment, and alerts and summaries near to it.

    Descriptions that are nearly the same are one, with the time of all of them.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    window = Window(at_ms - _BEFORE_MS, at_ms + _AFTER_MS)
    filters = Filters(window=window, by_event=True, channels=("visual_index",))
    columns = journals.columns_of(_SCREEN_COLUMNS)
    with journals.search_rows(filters) as answer:
        runs = collapse.find(answer, newest_first=False)
        lines = [
            (event, runs.at(row)) for batch in runs.lines(answer.events(columns)) for row, event in batch
        ]
    near = Filters(window=Window(at_ms - _NEAR_MS, at_ms + _NEAR_MS), by_event=True, channels=_NEAR_CHANNELS)
    with journals.search_rows(near) as answer:
        others = [event for batch in answer.events(journals.columns_of(_MOMENT_COLUMNS)) for event in batch]
    return {
        "at": at_ms,
        "screens": _screens(lines, at_ms),
        "near": [
            {
                "at": start_of(event),
                "channel": event.channel,
                "label": event.label or "",
                "who": event.stream_name or event.source or "",
                "text": event.text or "",
            }
            for event in others
        ],
    }


_MOMENT_COLUMNS: Final = (
    *("time_ms", "channel", "source", "stream_name", "text", "start_ms", "end_ms", "label", "host"),
)


def _screens(lines: Sequence[tuple[Event, Run | None]], at_ms: int) -> list[dict[str, Any]]:
    """Return of each screen the description that was on it, with the times of what came before and after."""
    by_stream: dict[tuple[str | None, ...], list[dict[str, Any]]] = {}
    for event, run in lines:
        times = span_of(event)
        if times is None or not (event.text or "").strip():
            continue
        since_ms, until_ms = (run.since_ms, run.until_ms) if run else times
        stream = event.host, event.stream or event.stream_name or event.source
        by_stream.setdefault(stream, []).append(
            {
                "since": since_ms,
                "until": until_ms,
                "count": run.events if run else 1,
                "host": event.host or "",
                "name": event.stream_name or event.source or "screen",
                "window": event.window_name or "",
                "text": event.text,
                "stream": event.stream or "",
            }
        )
    screens = []
    for shown in by_stream.values():
        shown.sort(key=lambda one: one["since"])
        before = [one for one in shown if one["since"] <= at_ms]
        later = [one for one in shown if one["since"] > at_ms]
        current = before[-1] if before else None
        if current is None or at_ms - current["until"] > PAUSE_MS:
            continue
        previous = before[-2]["since"] if len(before) > 1 else None
        screens.append({**current, "previous": previous, "next": later[0]["since"] if later else None})
    return sorted(screens, key=lambda one: (one["host"], one["name"]))
