"""The tool that makes a link which plays a recorded moment, with VideoDB's API."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from vdbevents.errors import InputError
from vdbevents.events.fields import source_named
from vdbevents.events.session_content import SessionBook, resolved
from vdbevents.mcp.answer_page import answer_of, heading_of, text_page
from vdbevents.mcp.event_filters import SESSION, SOURCES
from vdbevents.mcp.time_window import now_utc
from vdbevents.mcp.tool import TEXT, TEXT_OR_NULL, Reporting, Tool, ToolAnswer, output_of
from vdbevents.mcp.tool_parameters import Parameter
from vdbevents.query import merge
from vdbevents.query.output.rows import utc_time
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.times import parse_duration, parse_moment


class PlayLinks(NamedTuple):
    """What plays a part of a stream; an address is empty if the service gave none."""

    stream_url: str
    player_url: str


MakeLinks = Callable[[str, int, int], PlayLinks]
"""Makes the links of a stream's id between two times, in whole Unix seconds."""

_AT: Final = Parameter("at", "text", "When it begins: yesterday 16:40, ISO 8601.", required=True)
_LENGTH: Final = Parameter("duration", "text", "How long it is.", "30s")
_SOURCE: Final = Parameter("source", "text", "Default: the screen.", choices=SOURCES)
_OUTPUT: Final = output_of(
    {
        "session": TEXT,
        "stream": TEXT,
        "since": TEXT,
        "until": TEXT,
        "player_url": TEXT_OR_NULL,
        "stream_url": TEXT_OR_NULL,
    }
)
# The screen first: it is a video.
_PREFERRED: Final = ("screen", "camera", "system_audio", "mic")


def play_moment(journals: WarmJournals, make_links: MakeLinks) -> Tool:
    """Return the tool that makes links."""

    def run(values: Mapping[str, Any], _reporting: Reporting) -> ToolAnswer:
        now = now_utc()
        at_ms = parse_moment("at", values["at"], now, journals.zone)
        length_ms = parse_duration("duration", values["duration"])
        if at_ms > now.timestamp() * 1000:
            raise InputError(
                f"at: must not be in the future, got {values['at']}",
                "name the day, too: yesterday 10:15",
                error_id="moment-in-future",
            )
        session, (stream_id, name) = _stream_at(journals, at_ms, values)
        start = math.floor(at_ms / 1000)
        end = max(math.ceil((at_ms + length_ms) / 1000), start + 1)
        links = make_links(stream_id, start, end)
        data = {
            "session": session,
            "stream": name,
            "since": utc_time(start * 1000),
            "until": utc_time(end * 1000),
            "player_url": links.player_url or None,
            "stream_url": links.stream_url or None,
        }
        body = f"{name} of {session}\nplayer  {links.player_url or '-'}\nstream  {links.stream_url or '-'}"
        return answer_of(text_page(heading_of(journals.zone, now), "", body), data)

    return Tool(
        "play_moment",
        "Play a moment",
        "Make a link that plays a moment of the recording, for a person to open; asks VideoDB's service, and "
        "takes a few seconds. Use it when the user wants to see or hear something themselves.",
        (_AT, _LENGTH, _SOURCE, SESSION),
        _OUTPUT,
        run,
        is_local=False,
    )


def _stream_at(journals: WarmJournals, at_ms: int, values: Mapping[str, Any]) -> tuple[str, tuple[str, str]]:
    """Return the session that was recorded at a time, and the id and name of its stream to play.

    Raises:
        InputError: there is none.
    """
    books = merge.read_books(journals.all(), journals.older)
    book = SessionBook(facts for one in books for facts in one.sessions())
    streams = {facts.id: facts.streams for facts in book.sessions()}
    if values["session"] is not None:
        sessions: Sequence[str] = resolved(books, (values["session"],))
    else:
        sessions = [
            time.session
            for time in book.times()
            if time.since_ms <= at_ms and (time.until_ms is None or at_ms < time.until_ms)
        ]
    for session in reversed(sessions):
        if known := streams.get(session):
            return session, _chosen(session, known, values["source"])
    raise InputError(
        "play_moment: nothing was recorded then, or no stream of it is known",
        "list_sessions shows when there was a session; search_events finds a moment",
        error_id="moment-not-recorded",
    )


def _chosen(session: str, streams: Sequence[tuple[str, str]], wanted: str | None) -> tuple[str, str]:
    by_source = {source_named(name): (stream, name) for stream, name in reversed(streams)}
    for source in _PREFERRED if wanted is None else (wanted,):
        if source in by_source:
            return by_source[source]
    if wanted is None:
        return streams[0]
    raise InputError(
        f"play_moment: session {session} has no {wanted}",
        f"use {', '.join(source for source in by_source if source) or 'no source'}",
        error_id="stream-missing",
    )
