"""Answer what is read beside the timeline: what was said from a time on, and what was on the screens."""

from collections.abc import Sequence
from typing import Any, Final

from vdbevents.query import collapse
from vdbevents.query.cache.lane_minutes import MINUTE_MS
from vdbevents.query.collapse import PAUSE_MS, Run, span as span_of
from vdbevents.query.filters import Event, Filters
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.journal_answers import silences_in
from vdbevents.summaries.transcript import COLUMNS, Paragraph, Part, Silence, parts_of, start_of
from vdbevents.times import Window
from vdbevents.web.page_requests import AskedTime
from vdbevents.web.session_videos import videos_at
from vdbevents.web.timeline_state import TimelineState

MOST_SAID: Final = 300
"""So many utterances, or a few more, are an answer."""

BREAK_MS: Final = 60_000
"""A silence that is longer is marked."""

_FIRST_STEP_MS: Final = 30 * 60_000
_MARGIN_MS: Final = 86_400_000
_BEFORE_MS: Final = 30 * 60_000
_AFTER_MS: Final = 10 * 60_000
_MOMENT_COLUMNS: Final = (
    *("time_ms", "channel", "source", "stream", "stream_name", "text", "start_ms", "end_ms", "label"),
    *("window_name", "host"),
)
_NEAR_CHANNELS: Final = ("alert", "audio_index")
_NEAR_MS: Final = 60_000
_MOST_MINUTES: Final = 5


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
    silences: list[Silence] = []
    # Speech is dense or rare: steps grow until there is enough.
    while not events and (edge_ms > limit_ms if earlier else edge_ms < limit_ms):
        edge_ms = max(limit_ms, from_ms - step_ms) if earlier else min(limit_ms, from_ms + step_ms)
        step_ms *= 4
        window = Window(edge_ms, from_ms) if earlier else Window(from_ms, edge_ms)
        events, silences = speech_in(journals, window, now_ms)
        if len(events) > MOST_SAID:
            # A step that grew may have brought hours.
            last = start_of(events[-MOST_SAID if earlier else MOST_SAID - 1])
            edge_ms = (edge_ms if last is None else last) + (not earlier)
            window = Window(edge_ms, from_ms) if earlier else Window(from_ms, edge_ms)
            events = [event for event in events if _is_in(window, start_of(event), start_of(event))]
            silences = [one for one in silences if _is_in(window, one.start_ms, one.end_ms)]
    since_ms, until_ms = (edge_ms, from_ms) if earlier else (from_ms, edge_ms)
    return {
        "parts": [_part_data(part) for part in parts_of(events, silences, BREAK_MS)],
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
    return [_part_data(part) for part in parts_of(*speech_in(journals, window, now_ms), BREAK_MS)]


def _is_in(window: Window, first_ms: int | None, last_ms: int | None) -> bool:
    """Return whether a time touches a window with bounds; its end is None while it goes on."""
    since_ms, until_ms = window.since_ms or 0, window.until_ms or 0
    return (
        first_ms is not None
        and first_ms < until_ms
        and (last_ms is None or last_ms > since_ms or first_ms >= since_ms)
    )


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


def moment(state: TimelineState, at_ms: int) -> dict[str, Any]:
    """Return what was on each screen at a moment, and alerts and summaries near to it.

    Descriptions that are nearly the same are one, with the time of all of them.

    Returns: `screens`, each with `previous` and `next`, when another description of it began, in Unix ms, or
        null; `beside`, the same of all screens, where none was described; `near`; `videos`, as `videos_at`
        returns them.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    journals, window = state.journals, Window(at_ms - _BEFORE_MS, at_ms + _AFTER_MS)
    filters = Filters(window=window, by_event=True, channels=("visual_index", *_NEAR_CHANNELS))
    with journals.search_rows(filters) as answer:
        runs = collapse.find(answer, newest_first=False)
        batches = runs.lines(answer.events(journals.columns_of(_MOMENT_COLUMNS)))
        lines = [(event, runs.at(row)) for batch in batches for row, event in batch]
    near = [event for event, _ in lines if event.channel in _NEAR_CHANNELS]
    screens = _screens([line for line in lines if line[0].channel == "visual_index"], at_ms)
    for screen in screens:
        stream = screen["host"], screen.pop("stream_name")
        if screen["previous"] is None:
            screen["previous"] = _beside(state, screen["since"], stream, earlier=True)
        if screen["next"] is None:
            screen["next"] = _beside(state, at_ms + _AFTER_MS, stream, earlier=False)
    beside = None
    if not screens:
        before, after = (_beside(state, at_ms, None, earlier=earlier) for earlier in (True, False))
        beside = {"previous": before, "next": after}
    return {
        "at": at_ms,
        "screens": screens,
        "beside": beside,
        "videos": videos_at(state, at_ms),
        "near": [
            {
                "at": start_of(event),
                "channel": event.channel,
                "label": event.label or "",
                "who": event.stream_name or event.source or "",
                "text": event.text or "",
            }
            for event in near
            if abs((start_of(event) or at_ms) - at_ms) <= _NEAR_MS
        ],
    }


def _beside(state: TimelineState, at_ms: int, screen: tuple[str, str] | None, *, earlier: bool) -> int | None:
    """Return when the last description of a screen, or of any, before a time began, or the first after it."""
    for _ in range(_MOST_MINUTES):
        begin_ms = state.screen_minute(at_ms - earlier, screen, earlier=earlier)
        if begin_ms is None:
            return None
        end_ms = begin_ms + MINUTE_MS
        window = Window(begin_ms, min(end_ms, at_ms)) if earlier else Window(max(begin_ms, at_ms), end_ms)
        filters = Filters(window=window, by_event=True, channels=("visual_index",))
        with state.journals.search_rows(filters) as answer:
            columns = state.journals.columns_of(_MOMENT_COLUMNS)
            found = [
                start_of(event)
                for batch in answer.events(columns)
                for event in batch
                if (event.text or "").strip()
                and screen in (None, (event.host or "", event.stream_name or ""))
            ]
        known = [start for start in found if start is not None]
        if known:
            return max(known) if earlier else min(known)
        at_ms = begin_ms if earlier else end_ms
    return None


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
                "stream_name": event.stream_name or "",
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
