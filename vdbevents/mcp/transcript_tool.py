"""The tool that writes down what was said, from any place on."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from vdbevents.events.session_facts import SessionFacts
from vdbevents.mcp.answer_page import dumped, fitting_count, heading_of, quoted_data, text_page
from vdbevents.mcp.event_filters import SESSION, SOURCE, SPEAKER
from vdbevents.mcp.page_cursor import CURSOR, PageCursor, cursor_in
from vdbevents.mcp.time_window import WINDOW, has_window, now_utc, window_in
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
    object_of,
    output_of,
)
from vdbevents.mcp.tool_parameters import Parameter
from vdbevents.mcp.unknown_names import require_known
from vdbevents.query.filters import Event, Filters
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.journal_answers import session_asked_for, silences_in, transcript_window
from vdbevents.summaries.transcript import COLUMNS, Part, Silence, parts_of, start_of
from vdbevents.summaries.transcript_pages import text_pieces
from vdbevents.terminal import harmless
from vdbevents.times import LEAST_MS, Window

_BREAK_MS: Final = 60_000
_NEWEST: Final = Parameter("newest", "switch", "From the end of the time backwards.")
_PART: Final = object_of(
    {"kind": TEXT, "started": TEXT_OR_NULL, "ended": TEXT_OR_NULL},
    {
        **dict.fromkeys(("speaker", "source"), TEXT_OR_NULL),
        **dict.fromkeys(("text", "host"), TEXT),
        **dict.fromkeys(("unfinished", "partial", "ongoing"), SWITCH),
    },
)
_OUTPUT: Final = output_of(
    {
        "session": TEXT_OR_NULL,
        "parts": list_of(_PART),
        "next": TEXT_OR_NULL,
        "remarks": list_of(TEXT),
    }
)


def get_transcript(journals: WarmJournals) -> Tool:
    """Return the tool that writes down what was said."""

    def run(values: Mapping[str, Any], _reporting: Reporting) -> ToolAnswer:
        return Transcript(journals, values, now_utc()).answer()

    return Tool(
        "get_transcript",
        "What was said",
        "Write down what was said, word for word, by speaker, with marks where nobody spoke and where "
        "nothing was recorded. Without a time and a session: the last session. An hour of speech is about "
        "12,000 tokens: use summarize_window first, or follow the cursor.",
        (SESSION, *WINDOW, SPEAKER, SOURCE, _NEWEST, BOUND, CURSOR),
        _OUTPUT,
        run,
    )


class Transcript:
    """One call."""

    def __init__(self, journals: WarmJournals, values: Mapping[str, Any], now: datetime) -> None:
        """Take the values of the parameters, and the present."""
        self._journals = journals
        self._values = values
        self._now = now
        self._bound = bound_of(values)
        self._cursor = cursor_in("get_transcript", values)
        self._backwards = bool(values["newest"])
        self._session = values["session"]
        if self._session is None and not has_window(values):
            self._session = "last"
        self._asked = window_in(values, now, journals.zone)
        if self._cursor is not None and self._cursor.since_ms is not None:
            self._asked = Window(self._cursor.since_ms, self._asked.until_ms)

    def answer(self) -> ToolAnswer:
        """Return what was said, as much as fits."""
        events, silences, facts, remarks = self._found()
        if self._cursor is None and not events and self._values["session"] is None and not facts:
            # A journal without sessions has speech, too.
            self._session = None
            events, silences, facts, remarks = self._found()
        if not events:
            require_known("get_transcript", self._journals, self._values)
            remarks.append(f"Nothing was said in this time.{self._journals.newest_remark()}")
        title = f"session {facts.id}" if facts else ""

        def text(count: int) -> str:
            parts = self._parts(events, silences, count)
            more = self._next(events, count)
            which = "earlier" if self._backwards else "later"
            below = f'more, {which}: cursor="{more}"' if more else ""
            body = "".join(text_pieces(parts, self._journals.zone, title=title, clean=harmless, width=None))
            heading = heading_of(self._journals.zone, self._now)
            return text_page(heading, "\n".join(remarks), body, below)

        def data(count: int) -> dict[str, Any]:
            return quoted_data(
                {
                    "session": facts.id if facts else None,
                    "parts": [part.data() for part in self._parts(events, silences, count)],
                    "next": self._next(events, count),
                    "remarks": remarks,
                }
            )

        most = len(events)
        return ToolAnswer(
            text(self._count(most, text)), data(self._count(most, lambda count: dumped(data(count))))
        )

    def _count(self, most: int, render: Callable[[int], str]) -> int:
        """Return how many utterances fit; one at least, so that a cursor leads on."""
        # Rendering a day to find that an hour does not fit would take long.
        size = 64
        while size < most and self._bound.fits(render(size)):
            size *= 4
        return max(
            fitting_count(min(size, most), lambda count: self._bound.fits(render(count))), min(most, 1)
        )

    def _found(self) -> tuple[list[Event], list[Silence], SessionFacts | None, list[str]]:
        """Return what was said, where nothing was recorded, the session, and what to say of it."""
        window = self._asked
        filters = Filters(
            window=window,
            by_event=True,
            channels=("transcript",),
            sources=tuple(self._values["source"] or ()),
            speakers=() if self._values["speaker"] is None else (self._values["speaker"],),
            sessions=() if self._session is None else (self._session,),
        )
        columns = self._journals.columns_of(COLUMNS)
        journals = self._journals.all()
        with self._journals.search_rows(filters) as answer:
            facts = None
            if filters.sessions:
                facts = session_asked_for(journals, self._journals.older, filters.sessions)
            events = [
                event for batch in answer.events(columns) for event in batch if (event.text or "").strip()
            ]
            whole = transcript_window(filters, facts, events)
            now_ms = round(self._now.timestamp() * 1000)
            silences = silences_in(journals, answer, whole, now_ms, self._journals.gaps_of)
            remarks = list(self._journals.remarks(answer, Window(0, 0)))
        return self._after_cursor(events), silences, facts, remarks

    def _after_cursor(self, events: list[Event]) -> list[Event]:
        """Return the utterances that follow the cursor, in the order in which they are shown first."""
        ordered = sorted(events, key=_place, reverse=self._backwards)
        if self._cursor is None or self._cursor.at_ms is None:
            return ordered
        at_ms, skip = self._cursor.at_ms, self._cursor.skip
        first = next(
            (
                place
                for place, event in enumerate(ordered)
                if (_place(event) <= at_ms if self._backwards else _place(event) >= at_ms)
            ),
            len(ordered),
        )
        return ordered[first + skip :]

    def _parts(self, events: Sequence[Event], silences: Sequence[Silence], count: int) -> list[Part]:
        """Return the paragraphs of the first utterances, with the silences among and before them."""
        shown = sorted(events[:count], key=_place)
        since_ms, until_ms = None, None
        rest = events[count:]
        if self._backwards:
            since_ms = _place(shown[0]) if shown and rest else None
            until_ms = self._cursor.at_ms if self._cursor else None
        else:
            since_ms = self._cursor.at_ms if self._cursor else None
            until_ms = _place(rest[0]) if rest else None
        near = [
            silence
            for silence in silences
            if (since_ms is None or silence.start_ms >= since_ms)
            and (until_ms is None or silence.start_ms < until_ms)
        ]
        return list(parts_of(shown, near, _BREAK_MS))

    def _next(self, events: Sequence[Event], count: int) -> str | None:
        if count >= len(events):
            return None
        at_ms = _place(events[count])
        skip = sum(_place(event) == at_ms for event in events[:count])
        if self._cursor is not None and self._cursor.at_ms == at_ms:
            skip += self._cursor.skip
        return PageCursor(self._asked.since_ms, max(at_ms, 0), skip).text_for(self._values)


def _place(event: Event) -> int:
    start_ms = start_of(event)
    return LEAST_MS if start_ms is None else start_ms
