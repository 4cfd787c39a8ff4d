"""Answer a look at the timeline: counts in lanes, single events where there are few, and bands."""

from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from vdbevents.query.filters import Event, Filters
from vdbevents.query.lane_counts import LaneCount
from vdbevents.query.output.rows import description, on_one_line
from vdbevents.summaries.activity import unrecorded
from vdbevents.summaries.moments import begin_of
from vdbevents.summaries.session_list import in_window
from vdbevents.web.page_requests import AskedTime
from vdbevents.web.timeline_state import Known, TimelineState

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_SINGLE: Final = 400
"""So many events of a time are shown one by one."""

MOST_BANDS: Final = 2000
"""So many sessions, and so many gaps and pauses, are shown: the newest."""

_SHORT: Final = 200
_CHANNELS: Final = ("transcript", "audio_index", "visual_index", "alert")
_COLUMNS: Final = (
    *("time_ms", "channel", "event", "source", "stream_name", "text", "start_ms", "end_ms", "label"),
    *("speaker", "is_final", "line", "host"),
)


def timeline(state: TimelineState, span: AskedTime, parts: int, now_ms: int) -> dict[str, Any]:
    """Return what is in a time, cut into parts of equal length.

    Args:
        state: of the journals.
        span: the time.
        parts: how many parts.
        now_ms: the present, in Unix ms.

    Returns: `lanes`, each with `host`, `kind`, `name`, and `counts`, a list of [part, count]; `events`, or
        null where there are too many; `sessions`, `gaps`, `pauses`; `span` of the whole recording.

    Raises:
        InputError: there is no journal yet, or one cannot be read.
        StorageError: memory and temporary space are used up.
    """
    known = state.known()
    part_ms = span.length_ms / parts
    events = _single_events(state, span) if state.most(span.since_ms, span.until_ms) <= MOST_SINGLE else None
    if events is None:
        counts = state.counts(span.since_ms, span.until_ms, part_ms)
        # Its minutes may have many events, and a part of one few.
        if sum(count.events for _, count in counts) <= MOST_SINGLE:
            events = _single_events(state, span)
    if events is not None:
        counts = _counted(events, span, part_ms)
    return {
        "since": span.since_ms,
        "until": span.until_ms,
        "parts": parts,
        "lanes": _lanes(counts, parts, several=state.journals.are_several),
        "events": events,
        **_bands(known, span, now_ms),
        "span": known.span,
        "now": now_ms,
    }


def _single_events(state: TimelineState, span: AskedTime) -> list[dict[str, Any]] | None:
    """Return the events, oldest first, with the beginnings of their texts; None if there are too many."""
    filters = Filters(window=span.window, by_event=True, channels=_CHANNELS, recorder=False)
    with state.journals.search_rows(filters) as answer:
        if answer.count > MOST_SINGLE:
            return None
        found = [single_event(event) for batch in answer.events(_COLUMNS) for event in batch]
    return sorted(found, key=lambda one: one["at"])


def _counted(events: list[dict[str, Any]], span: AskedTime, part_ms: float) -> list[tuple[str, LaneCount]]:
    """Count events where they begin; what began before the time counts in its first part."""
    counts = Counter(
        (one["host"], one["kind"], one["name"], max(0, int((one["at"] - span.since_ms) // part_ms)))
        for one in events
    )
    return [
        (host, LaneCount(kind, name, part, number))
        for (host, kind, name, part), number in sorted(counts.items())
    ]


def _lanes(counts: list[tuple[str, LaneCount]], parts: int, *, several: bool) -> list[dict[str, Any]]:
    lanes: dict[tuple[str, str, str], Counter[int]] = {}
    for host, count in counts:
        key = host if several else "", count.kind, count.name
        lanes.setdefault(key, Counter())[min(count.part, parts - 1)] += count.events
    return [
        {"host": host, "kind": kind, "name": name, "counts": sorted(counted.items())}
        for (host, kind, name), counted in lanes.items()
    ]


def single_event(event: Event) -> dict[str, Any]:
    """Return an event for the page: its times in Unix ms, its lane, and the beginning of its text."""
    text = on_one_line(event.text or description(event))
    at_ms = begin_of(event)
    lane: Mapping[str, str] = {"kind": "alert", "name": ""}
    if event.channel != "alert":
        lane = {"kind": event.source or event.channel or "event", "name": event.stream_name or ""}
    return {
        "at": at_ms,
        "end": max(at_ms, event.end_ms) if event.end_ms is not None else at_ms,
        "channel": event.channel,
        **lane,
        "host": event.host or "",
        "speaker": event.speaker or "",
        "label": event.label or "",
        "text": text[:_SHORT] + "…" * (len(text) > _SHORT),
    }


def _bands(known: Known, span: AskedTime, now_ms: int) -> dict[str, Any]:
    lost = [(one.host, unrecorded(one.gaps, one.pauses, span.window, now_ms)) for one in known.unrecorded]
    return {
        "sessions": sessions_within(known, span, now_ms)[-MOST_BANDS:],
        "gaps": [[host, *times] for host, one in lost for times in one.gaps][-MOST_BANDS:],
        "pauses": [[host, *times] for host, one in lost for times in one.pauses][-MOST_BANDS:],
    }


def sessions_within(known: Known, span: AskedTime, now_ms: int) -> list[dict[str, Any]]:
    """Return the sessions that touch a time, oldest first, for the page; times are in Unix ms.

    A session whose end was not received lasts until the next one of its journal begins, else until now.
    """
    begins = [sorted(one.first_ms for one in book.sessions() if one.first_ms) for book in known.books]
    found = []
    for number, facts in in_window(known.books, span.window):
        if facts.first_ms is None:
            continue
        until_ms = facts.last_ms if facts.over_ms is None and facts.is_ended else facts.over_ms
        if until_ms is None:
            later = bisect_right(begins[number], facts.first_ms)
            until_ms = begins[number][later] if later < len(begins[number]) else now_ms
        found.append(
            {
                "id": facts.id,
                "since": facts.first_ms,
                "until": max(facts.first_ms, until_ms),
                "status": facts.status,
                "video": facts.player_url or facts.stream_url,
            }
        )
    return found
