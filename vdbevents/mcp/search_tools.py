"""The tools that find events, and show what was around them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vdbevents.errors import InputError
from vdbevents.mcp.answer_page import (
    answer_of,
    dumped,
    heading_of,
    in_one_line,
    quoted_data,
    room_within,
    text_page,
    within,
)
from vdbevents.mcp.event_filters import CHOOSING, chooses, filters_in
from vdbevents.mcp.page_cursor import CURSOR, PageCursor, cursor_in
from vdbevents.mcp.time_window import WINDOW, clock_text, date_text, now_utc, window_in
from vdbevents.mcp.tool import (
    BOUND,
    SWITCH,
    TEXT,
    TEXT_OR_NULL,
    Reporting,
    Tool,
    ToolAnswer,
    bound_of,
    list_of,
    noticed,
    object_of,
    output_of,
)
from vdbevents.mcp.tool_parameters import Parameter
from vdbevents.mcp.unknown_names import require_known
from vdbevents.query.filters import Event, Filters
from vdbevents.query.output.budget import CHARACTERS_PER_TOKEN, Bound
from vdbevents.query.output.highlight import Highlighter
from vdbevents.query.output.rows import description, utc_time
from vdbevents.query.plain_events import ParsedLines
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.moment_output import Cutter
from vdbevents.summaries.moments import begin_of
from vdbevents.terminal import counted
from vdbevents.times import Window

if TYPE_CHECKING:
    from vdbevents.summaries.moments import Found, Surroundings

_SNIPPET: Final = 300
# An event takes more characters as a line.
_LEAST_CHARACTERS: Final = 16
_COLUMNS: Final = (
    *("time_ms", "channel", "event", "source", "stream", "stream_name", "session", "text", "start_ms"),
    *("label", "speaker", "line", "host"),
)
EVENT: Final = object_of(
    {"time": TEXT_OR_NULL, "channel": TEXT_OR_NULL, "text": TEXT},
    dict.fromkeys(("source", "stream", "speaker", "label", "host"), TEXT),
)
_OUTPUT: Final = output_of(
    {
        "events": list_of(EVENT),
        "has_more": SWITCH,
        "next": TEXT_OR_NULL,
        "remarks": list_of(TEXT),
    }
)


def search_events(journals: WarmJournals) -> Tool:
    """Return the tool that finds events."""

    def run(values: Mapping[str, Any], _reporting: Reporting) -> ToolAnswer:
        return _Search(journals, values, now_utc()).answer()

    return Tool(
        "search_events",
        "Search what was said and shown",
        "Find when something was said or shown: events, the newest first, each with its time and a snippet "
        "around the match. Then get_context shows what was around it. Without parameters: the newest events. "
        "About 30 tokens an event.",
        (*CHOOSING, *WINDOW, BOUND, CURSOR),
        _OUTPUT,
        run,
    )


class _Search:
    """One call."""

    def __init__(self, journals: WarmJournals, values: Mapping[str, Any], now: datetime) -> None:
        self._journals = journals
        self._values = values
        self._now = now
        self._bound = bound_of(values)
        self._cursor = cursor_in("search_events", values)
        self._window = window_in(values, now, journals.zone)
        if self._cursor is not None and self._cursor.at_ms is not None:
            self._window = Window(self._cursor.since_ms, self._cursor.at_ms + 1)
        # The last one says only that there are more.
        self._most = 4 * (self._bound.tokens or 0) // _LEAST_CHARACTERS
        self._filters = replace(
            filters_in("search_events", values, self._window),
            newest_first=True,
            offset=self._cursor.skip if self._cursor else 0,
            limit=self._most + 1,
        )

    def answer(self) -> ToolAnswer:
        columns = self._journals.columns_of(_COLUMNS)
        with self._journals.search_rows(self._filters) as answer:
            events = [event for batch in answer.events(columns) for event in batch]
            remarks = list(self._journals.remarks(answer, self._window))
        found = with_snippets(events, self._filters, self._bound)
        if not found:
            require_known("search_events", self._journals, self._values)
            remarks.append(
                f"Nothing matched. Try fewer words or a longer time.{self._journals.newest_remark()}"
            )
        return ToolAnswer(self._text(found, remarks), self._data(found, remarks))

    def _text(self, found: "Sequence[FoundEvent]", remarks: Sequence[str]) -> str:
        heading = heading_of(self._journals.zone, self._now)

        def page(shown: "Sequence[FoundEvent]") -> str:
            more = self._next(found, len(shown))
            newest = "newest first" if shown else ""
            above = ", ".join(filter(None, (counted(len(shown), "event"), newest)))
            above = "\n".join([above, *remarks])
            below = f'more, older ones: cursor="{more}"' if more else ""
            return text_page(heading, above, "\n".join(event_lines(shown, self._journals.zone)), below)

        return page(found[: within(self._bound, found[: self._most], page)])

    def _data(self, found: "Sequence[FoundEvent]", remarks: Sequence[str]) -> dict[str, Any]:
        def data(shown: "Sequence[FoundEvent]") -> dict[str, Any]:
            more = self._next(found, len(shown))
            return quoted_data(
                {
                    "events": [event_data(one) for one in shown],
                    "has_more": more is not None,
                    "next": more,
                    "remarks": list(remarks),
                }
            )

        return data(found[: within(self._bound, found[: self._most], lambda shown: dumped(data(shown)))])

    def _next(self, found: "Sequence[FoundEvent]", shown: int) -> str | None:
        """Return the cursor after so many events; None at the end."""
        if shown >= len(found) or not found:
            return None
        event = found[shown].event
        if event.time_ms is None and event.start_ms is None:
            skip = shown + (self._cursor.skip if self._cursor else 0)
            return PageCursor(self._window.since_ms, None, skip).text_for(self._values)
        at_ms = begin_of(event)
        before = sum(begin_of(one.event) == at_ms for one in found[:shown])
        if self._cursor is not None and self._cursor.at_ms == at_ms:
            before += self._cursor.skip
        return PageCursor(self._window.since_ms, at_ms, before).text_for(self._values)


class FoundEvent(NamedTuple):
    """An event with its snippet: as a line that names speaker or label, and as its text alone."""

    event: Event
    line: str
    text: str


def with_snippets(events: Iterable[Event], filters: Filters, bound: Bound) -> list[FoundEvent]:
    """Return events with their snippets, around what the filters look for, up to one that cannot fit."""
    cutter = Cutter(Highlighter(filters))
    room = CHARACTERS_PER_TOKEN * (bound.tokens or 0)
    found: list[FoundEvent] = []
    for event in events:
        line = cutter.cut(description(event), _SNIPPET)
        text = line if event.text is None else cutter.cut(event.text, _SNIPPET)
        found.append(FoundEvent(event, line, text))
        room -= len(line)
        if room < 0:
            break
    return found


def event_lines(shown: Iterable[FoundEvent], zone: tzinfo) -> Iterator[str]:
    """Yield a line for each event, and one for each day before its first."""
    day = ""
    for event, line, _ in shown:
        at_ms = None if event.time_ms is None and event.start_ms is None else begin_of(event)
        if at_ms is not None and (date := date_text(at_ms, zone)) != day:
            day = date
            yield day
        clock = "-" if at_ms is None else clock_text(at_ms, zone)
        yield f"{clock} {who_of(event)}: {in_one_line(line)}"


def who_of(event: Event) -> str:
    """Return where an event is from: its machine, and its source, stream or channel."""
    name = event.source or event.stream_name or event.channel or "event"
    if event.channel == "alert":
        name = "alert"
    if event.channel == "audio_index":
        name = f"{name} summary"
    return " ".join(in_one_line(part) for part in (event.host, name) if part)


def event_data(found: FoundEvent) -> dict[str, Any]:
    """Return an event for JSON, with its snippet; members without a value are left out."""
    event = found.event
    is_timed = event.time_ms is not None or event.start_ms is not None
    optional = {
        "source": event.source,
        "stream": None if event.source and event.channel == "transcript" else event.stream_name,
        "speaker": event.speaker,
        "label": event.label,
        "host": event.host,
    }
    return {
        "time": utc_time(begin_of(event)) if is_timed else None,
        "channel": event.channel,
        "text": " ".join(found.text.split()),
        **{name: value for name, value in optional.items() if value is not None},
    }


# What was around a moment.

_AROUND: Final = Parameter("around", "text", "How much before and after.", "60s")
_AT: Final = Parameter("at", "text", "A time, instead of a match.")
_MOMENTS: Final = Parameter("moments", "number", "How many.", 3, 1, 50)

_MOMENT_EVENT: Final = object_of(
    {"time": TEXT_OR_NULL},
    {
        **dict.fromkeys(("channel", "source", "stream", "speaker", "label", "text", "host"), TEXT),
        "is_match": SWITCH,
    },
)
_EVENT_THEN: Final = {"$ref": "#/$defs/event"}
_MOMENT: Final = object_of(
    {
        "since": TEXT,
        "until": TEXT,
        "matches": {"type": "integer"},
        "match": {"anyOf": [_EVENT_THEN, {"type": "null"}]},
        "said": list_of(_EVENT_THEN),
        "said_total": {"type": "integer"},
        "screens": list_of(_EVENT_THEN),
        "alerts": list_of(_EVENT_THEN),
        "gaps": list_of(object_of({"kind": TEXT, "since": TEXT, "until": TEXT_OR_NULL})),
    }
)
_CONTEXT: Final = {
    **output_of(
        {"moments": list_of(_MOMENT), **dict.fromkeys(("left_out", "more", "next"), TEXT_OR_NULL)},
    ),
    "$defs": {"event": _MOMENT_EVENT},
}


def get_context(journals: WarmJournals) -> Tool:
    """Return the tool that shows what was around a moment."""

    def run(values: Mapping[str, Any], _reporting: Reporting) -> ToolAnswer:
        return _Context(journals, values, now_utc()).answer()

    return Tool(
        "get_context",
        "Show a moment",
        "Show what was said around a moment, and what was on each screen then: at a time (`at`), or at the "
        "newest matches of other parameters. Use it after search_events, or for what was on the screen when "
        "something was said. About 300 tokens a moment.",
        (_AT, *CHOOSING, *WINDOW, _AROUND, _MOMENTS, BOUND, CURSOR),
        _CONTEXT,
        run,
    )


class _Context:
    """One call."""

    def __init__(self, journals: WarmJournals, values: Mapping[str, Any], now: datetime) -> None:
        from vdbevents.times import parse_duration

        self._journals = journals
        self._values = values
        self._now = now
        self._bound = bound_of(values)
        self._cursor = cursor_in("get_context", values)
        self._width_ms = parse_duration("around", values["around"])
        window = window_in(values, now, journals.zone)
        if self._cursor is not None:
            window = Window(self._cursor.since_ms, self._cursor.at_ms)
        self._window = window
        self._known = ParsedLines()
        self._filters = replace(filters_in("get_context", values, window), newest_first=True)
        if values["at"] is None and not chooses(values):
            raise InputError(
                "get_context: no moment given", "give at, words or another filter", error_id="moment-missing"
            )
        if values["at"] is not None and chooses(values):
            raise InputError(
                "get_context: at: not with a filter", "leave out one of them", error_id="argument-conflict"
            )

    def answer(self) -> ToolAnswer:
        from vdbevents.summaries.journal_answers import surroundings_in
        from vdbevents.summaries.moments import CHANNELS, COLUMNS, spans_for

        columns = self._journals.columns_of(COLUMNS)
        found = self._found(columns)
        if not found.moments:
            require_known("get_context", self._journals, self._values)
            return self._nothing(
                f"Nothing matched. Try fewer words or a longer time.{self._journals.newest_remark()}"
            )
        spans = spans_for(found.moments, self._width_ms)
        around = Filters(window=Window(), by_event=True, channels=CHANNELS, spans=spans)
        with self._journals.search_rows(around, self._known) as answer:
            chosen = surroundings_in(
                self._journals.all(),
                answer,
                found,
                self._width_ms,
                columns=columns,
                gaps_of=self._journals.gaps_of,
            )
        if not chosen:
            return self._nothing(f"Nothing was recorded around that time.{self._journals.newest_remark()}")
        return self._page(chosen, self._next(found))

    def _found(self, columns: Sequence[str]) -> "Found":
        from vdbevents.summaries.moments import Found, FoundMoment, newest
        from vdbevents.times import parse_moment

        if self._values["at"] is not None:
            at_ms = parse_moment("at", self._values["at"], self._now, self._journals.zone)
            return Found([FoundMoment(at_ms, at_ms)], has_older=False)
        with self._journals.search_rows(self._filters, self._known) as answer:
            matches = (event for batch in answer.events(columns) for event in batch)
            return newest(matches, self._width_ms, self._values["moments"])

    def _next(self, found: "Found") -> str | None:
        if not found.has_older:
            return None
        oldest = min(one.first_ms for one in found.moments)
        return PageCursor(self._window.since_ms, oldest, 0).text_for(self._values)

    def _nothing(self, remark: str) -> ToolAnswer:
        data: dict[str, Any] = {"moments": [], "left_out": None, "more": remark, "next": None}
        return answer_of(f"{heading_of(self._journals.zone, self._now)}\n{remark}", data)

    def _page(self, chosen: "Sequence[Surroundings]", following: str | None) -> ToolAnswer:
        import json

        from vdbevents.summaries.moment_output import MomentJson, MomentText, fitted_moments

        cutter = Cutter(Highlighter(self._filters))
        more = larger(self._values, "a shorter around, or fewer moments")
        heading = heading_of(self._journals.zone, self._now)
        below = f'more, older moments: cursor="{following}"' if following else ""
        text_bound = room_within(self._bound, heading, below)
        text = fitted_moments(chosen, text_bound, MomentText(self._journals.zone, more, "", cutter))
        data_bound = room_within(self._bound, dumped(noticed({"next": following})))
        shown = fitted_moments(chosen, data_bound, MomentJson(more, "", cutter))
        if text is None or shown is None:
            raise InputError(
                f"get_context: max_tokens: {self._bound.tokens} is too small for a moment",
                "use max_tokens 500 or more",
                error_id="bound-too-small",
            )
        data = {**json.loads(shown), "next": following}
        return answer_of(text_page(heading, "", text, below), data)


def larger(values: Mapping[str, Any], otherwise: str) -> str:
    """Return how to get an answer that is longer, or less of it."""
    tokens = min(4 * values[BOUND.name], int(BOUND.most))
    return f"max_tokens={tokens}, {otherwise}" if tokens > values[BOUND.name] else otherwise
