"""The tools that sum up: a window of time, the sessions, statistics."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from vdbevents.errors import InputError
from vdbevents.mcp.answer_page import (
    answer_of,
    dumped,
    fitting_count,
    heading_of,
    quoted_data,
    room_within,
    text_page,
)
from vdbevents.mcp.event_filters import SESSION
from vdbevents.mcp.page_cursor import CURSOR, PageCursor, cursor_in
from vdbevents.mcp.search_tools import larger
from vdbevents.mcp.time_window import WINDOW, clock_text, date_text, has_window, now_utc, window_in
from vdbevents.mcp.tool import (
    BOUND,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    WHOLE,
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
from vdbevents.query.filters import Filters
from vdbevents.query.merge import MergedResult
from vdbevents.query.result_protocols import JournalRows
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.activity import Activity, By
from vdbevents.summaries.activity_pages import json_of, text_of
from vdbevents.summaries.digest_output import DigestJson, DigestText
from vdbevents.summaries.journal_answers import StatsQuestion, counted_activity, sessions_in
from vdbevents.summaries.session_list import ListedSession
from vdbevents.summaries.window_digest import DigestPart, tell
from vdbevents.terminal import counted
from vdbevents.times import Window, format_duration

_USUAL_LAST_MS: Final = 3_600_000
_DIGEST_CHANNELS: Final = ("transcript", "audio_index", "visual_index", "alert", "capture_session")

_COUNTS: Final = object_of(
    dict.fromkeys(("sentences", "summaries", "windows", "alerts", "gaps", "pauses"), WHOLE)
)
_KINDS: Final = ("said", "screen", "alerts", "gaps")
_BLOCK: Final = object_of(
    {"since": TEXT, "until": TEXT, **{name: list_of({"type": "object"}) for name in _KINDS}},
    {"totals": object_of(dict.fromkeys(_KINDS, WHOLE))},
)
_DIGEST: Final = output_of(
    {
        "since": TEXT_OR_NULL,
        "until": TEXT_OR_NULL,
        "counts": {"anyOf": [_COUNTS, {"type": "null"}]},
        "blocks": list_of(_BLOCK),
        "left_out": {"anyOf": [object_of(dict.fromkeys(_KINDS, WHOLE)), {"type": "null"}]},
        "more": TEXT_OR_NULL,
        "remarks": list_of(TEXT),
    }
)


def summarize_window(journals: WarmJournals) -> Tool:
    """Return the tool that sums up a time."""

    def run(values: Mapping[str, Any], _reporting: Reporting) -> ToolAnswer:
        now = now_utc()
        window = window_in(values, now, journals.zone)
        now_ms = round(now.timestamp() * 1000)
        if not has_window(values) and values["session"] is None and not journals.are_copies:
            window = Window(now_ms - _USUAL_LAST_MS, None)
        sessions = () if values["session"] is None else (values["session"],)
        filters = Filters(window=window, by_event=True, channels=_DIGEST_CHANNELS, sessions=sessions)
        return _told(journals, values, filters, now)

    return Tool(
        "summarize_window",
        "Sum up a time",
        "Sum up a time in blocks: what was said, which windows were on the screens and for how long, alerts, "
        "gaps; quoted, and chosen so that it fits into max_tokens. Ask it first about a meeting, a morning "
        "or a week. Without a time: the last hour.",
        (*WINDOW, SESSION, BOUND),
        _DIGEST,
        run,
    )


def _told(journals: WarmJournals, values: Mapping[str, Any], filters: Filters, now: datetime) -> ToolAnswer:
    bound, heading = bound_of(values), heading_of(journals.zone, now)
    more = f"summarize_window with {larger(values, 'a shorter time')}"
    with journals.search(filters) as answer:
        parts = [
            DigestPart(host if journals.are_several else "", result, journals.gaps_of(journal, result))
            for journal, (host, result) in zip(journals.all(), answer.answers, strict=True)
        ]
        window = filters.window
        if filters.sessions and window == Window():
            window = _span(answer)
        at_ms = round(now.timestamp() * 1000)
        text, data = (
            tell(parts, window, at_ms, zone=journals.zone, bound=room_within(bound, ours), page=page)
            for ours, page in (
                (heading, DigestText(journals.zone, more)),
                (dumped(noticed({"remarks": []})), DigestJson(more)),
            )
        )
    if text is None or data is None:
        require_known("summarize_window", journals, values)
        remark = f"Nothing was recorded in that time.{journals.newest_remark()}"
        empty = dict.fromkeys(("since", "until", "counts", "left_out", "more"))
        return answer_of(f"{heading}\n{remark}", {**empty, "blocks": [], "remarks": [remark]})
    if not text or not data:
        raise InputError(
            f"summarize_window: max_tokens: {bound.tokens} is too small for an answer",
            "use max_tokens 800 or more",
            error_id="bound-too-small",
        )
    return answer_of(text_page(heading, "", text), {**json.loads(data), "remarks": []})


def _span(answer: MergedResult[JournalRows]) -> Window:
    return Window() if answer.span is None else Window(answer.span[0], answer.span[1] + 1)


# Sessions.

_SESSION: Final = object_of(
    {
        "session": TEXT,
        **dict.fromkeys(("started", "ended", "status", "reason", "video"), TEXT_OR_NULL),
        "seconds": NUMBER_OR_NULL,
        "events": WHOLE,
        "channels": {"type": "object", "additionalProperties": WHOLE},
    },
    {"host": TEXT},
)
_SESSIONS: Final = output_of(
    {
        "sessions": list_of(_SESSION),
        "next": TEXT_OR_NULL,
        "remarks": list_of(TEXT),
    }
)
_MOST_SESSIONS: Final = 50


def list_sessions(journals: WarmJournals) -> Tool:
    """Return the tool that lists the sessions."""

    def run(values: Mapping[str, Any], _reporting: Reporting) -> ToolAnswer:
        now = now_utc()
        cursor = cursor_in("list_sessions", values)
        skip = cursor.skip if cursor else 0
        window = window_in(values, now, journals.zone)
        if cursor is not None and cursor.since_ms is not None:
            window = Window(cursor.since_ms, window.until_ms)
        known = sessions_in(journals.all(), window, skip + _MOST_SESSIONS, journals.older)
        known = known.without_newest(skip)
        listed: list[ListedSession] = []
        if known.chosen:
            with journals.count_sessions(known.filters, known.books) as answer:
                listed = known.listed(journals.all(), answer)
        page = _SessionPage(journals, values, listed, known.earlier, PageCursor(window.since_ms, None, skip))
        return page.answer(now)

    return Tool(
        "list_sessions",
        "List the recorded sessions",
        "List the capture sessions, the newest first: begin, length, state, events by channel, link to the "
        "video. Use it to find the id for `session` of other tools. About 60 tokens a session.",
        (*WINDOW, BOUND, CURSOR),
        _SESSIONS,
        run,
    )


class _SessionPage:
    """The answer to a call of list_sessions."""

    def __init__(
        self,
        journals: WarmJournals,
        values: Mapping[str, Any],
        listed: Sequence[ListedSession],
        earlier: int,
        place: PageCursor,
    ) -> None:
        self._journals = journals
        self._values = values
        self._listed = listed[::-1]
        self._earlier = earlier
        self._place = place
        self._remarks = [] if listed else ["No session in that time."]

    def answer(self, now: datetime) -> ToolAnswer:
        bound, most = bound_of(self._values), len(self._listed)
        heading = heading_of(self._journals.zone, now)
        texts = fitting_count(most, lambda count: bound.fits(self._text(heading, count)))
        entries = fitting_count(most, lambda count: bound.fits(dumped(self._data(count))))
        return ToolAnswer(self._text(heading, texts), self._data(entries))

    def _next(self, count: int) -> str | None:
        if count >= len(self._listed) and not self._earlier:
            return None
        return self._place._replace(skip=self._place.skip + count).text_for(self._values)

    def _text(self, heading: str, count: int) -> str:
        more = self._next(count)
        below = f'more, earlier ones: cursor="{more}"' if more else ""
        above = "\n".join([f"{counted(count, 'session')}, newest first", *self._remarks])
        body = "\n".join(line for one in self._listed[:count] for line in self._lines(one))
        return text_page(heading, above, body, below)

    def _lines(self, one: ListedSession) -> Sequence[str]:
        facts, zone = one.facts, self._journals.zone
        begin = facts.first_ms
        when = "time unknown" if begin is None else f"{date_text(begin, zone)} {clock_text(begin, zone)}"
        length = "" if one.length_ms is None else f", {format_duration(one.length_ms)}"
        where = f" on {one.host}" if self._journals.are_several else ""
        lines = [f"{facts.id}{where}: {when}{length}, {facts.status or 'unknown'}"]
        if facts.reason:
            lines.append(f"  reason  {facts.reason[:200]}")
        counts = sorted(one.channels.items(), key=lambda item: -item[1])
        lines.append(f"  events  {', '.join(f'{count:,} {name}' for name, count in counts) or 'none'}")
        if facts.video:
            lines.append(f"  video   {facts.video}")
        return lines

    def _data(self, count: int) -> dict[str, Any]:
        sessions = [one.to_dict(with_host=self._journals.are_several) for one in self._listed[:count]]
        names = set(_SESSION["properties"])
        kept = [{name: of for name, of in one.items() if name in names} for one in sessions]
        for one in kept:
            one["reason"] = one["reason"] and one["reason"][:200]
        return quoted_data({"sessions": kept, "next": self._next(count), "remarks": self._remarks})


# Statistics.

_BY: Final = Parameter("by", "text", "Default: hour, or day for a long time.", choices=tuple(By))
_FIGURES: Final = {"type": "object", "additionalProperties": True}
_STATS: Final = output_of(
    {
        "by": TEXT,
        "first": TEXT_OR_NULL,
        "last": TEXT_OR_NULL,
        "total": _FIGURES,
        "rows": list_of(_FIGURES),
        "left_out": WHOLE,
        "next": TEXT_OR_NULL,
    }
)


def get_stats(journals: WarmJournals) -> Tool:
    """Return the tool that counts."""

    def run(values: Mapping[str, Any], _reporting: Reporting) -> ToolAnswer:
        now = now_utc()
        window = window_in(values, now, journals.zone)
        cursor = cursor_in("get_stats", values)
        if cursor is not None and cursor.since_ms is not None:
            window = Window(cursor.since_ms, window.until_ms)
        sessions = () if values["session"] is None else (values["session"],)
        filters = Filters(window=window, by_event=True, sessions=sessions)
        by = None if values["by"] is None else By(values["by"])
        now_ms = round(now.timestamp() * 1000)
        asked = StatsQuestion(by, None, bool(sessions), window, journals.zone, now_ms)
        with journals.search(filters) as answer:
            activity = counted_activity(asked, journals.all(), answer, journals.gaps_of)
        place = PageCursor(window.since_ms, None, cursor.skip if cursor else 0)
        return _StatsPage(journals, values, activity, place).answer(now)

    return Tool(
        "get_stats",
        "Count what was said and shown",
        "Count speech, words, screen time, alerts, gaps and pauses. Use it for how long or how much: time in "
        "an app, talk time, busy hours. Name a time: all of a long recording takes seconds. About 30 tokens "
        "a row.",
        (_BY, *WINDOW, SESSION, BOUND, CURSOR),
        _STATS,
        run,
    )


class _StatsPage:
    """The answer to a call of get_stats: rows from the newest or the largest on."""

    def __init__(
        self, journals: WarmJournals, values: Mapping[str, Any], activity: Activity, place: PageCursor
    ) -> None:
        self._journals = journals
        self._values = values
        self._activity = activity
        self._place = place
        is_time = activity.by in (By.HOUR, By.DAY)
        ordered = list(activity.rows)[::-1] if is_time else list(activity.rows)
        self._is_time = is_time
        self._rows = ordered[place.skip :]

    def answer(self, now: datetime) -> ToolAnswer:
        bound, most = bound_of(self._values), len(self._rows)
        if not self._activity.rows:
            require_known("get_stats", self._journals, self._values)
        heading = heading_of(self._journals.zone, now)
        texts = fitting_count(most, lambda count: bound.fits(self._text(heading, count)))
        entries = fitting_count(most, lambda count: bound.fits(dumped(self._data(count))))
        return ToolAnswer(self._text(heading, texts), self._data(entries))

    def _shown(self, count: int) -> Activity:
        rows = self._rows[:count]
        return self._activity._replace(
            rows=rows[::-1] if self._is_time else rows, left_out=len(self._rows) - count
        )

    def _next(self, count: int) -> str | None:
        if count >= len(self._rows):
            return None
        return self._place._replace(skip=self._place.skip + count).text_for(self._values)

    def _text(self, heading: str, count: int) -> str:
        if not self._activity.rows:
            return f"{heading}\nNothing was recorded in that time.{self._journals.newest_remark()}"
        more = self._next(count)
        which = "earlier ones" if self._is_time else "smaller ones"
        below = f'more, {which}: cursor="{more}"' if more else ""
        shown = self._shown(count)._replace(left_out=0)
        return text_page(heading, "", text_of(shown, self._journals.zone, None, ""), below)

    def _data(self, count: int) -> dict[str, Any]:
        data = json.loads(json_of(self._shown(count), hosts=self._journals.are_several))
        return quoted_data({**data, "next": self._next(count)})
