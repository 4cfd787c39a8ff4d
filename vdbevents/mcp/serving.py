"""Serve a recording to language models."""

import contextlib
import signal
from collections.abc import Callable
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mcp.server.subscriptions import ListenHandler

from vdbevents.journal.state import StateDirectory
from vdbevents.mcp.control_tools import pause, resume
from vdbevents.mcp.http_wire import serve_http
from vdbevents.mcp.live_updates import LiveUpdates
from vdbevents.mcp.overview_tools import get_stats, list_sessions, summarize_window
from vdbevents.mcp.play_tool import MakeLinks, play_moment
from vdbevents.mcp.prompt_list import prompt_handlers
from vdbevents.mcp.protocol_server import build_server
from vdbevents.mcp.resource_list import resource_handlers
from vdbevents.mcp.search_tools import get_context, search_events
from vdbevents.mcp.sql_tool import query_sql
from vdbevents.mcp.status_tools import recording_status
from vdbevents.mcp.stdio_wire import serve_stdio
from vdbevents.mcp.tool import Tool
from vdbevents.mcp.transcript_tool import get_transcript
from vdbevents.mcp.wait_tool import wait_for
from vdbevents.servers.lasting_process import collect_often
from vdbevents.servers.warm_journals import OpenJournals, OpenStates, WarmJournals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp.server.lowlevel import Server


_READING: Final = (
    recording_status,
    search_events,
    get_context,
    get_transcript,
    summarize_window,
    list_sessions,
    get_stats,
    wait_for,
    query_sql,
)


class ServedRecording(NamedTuple):
    """What is served.

    Attributes:
        open_journals: finds the journals.
        states: finds the directories to report on.
        zone: of times without one.
        cleared: whether to read what was cleared, too.
        make_links: makes the links that play a moment; None without an API key.
        controlled: the directory whose recording may be paused and resumed; None for none.
    """

    open_journals: OpenJournals
    states: OpenStates
    zone: tzinfo
    cleared: bool = False
    make_links: MakeLinks | None = None
    controlled: StateDirectory | None = None


def serve_client(served: ServedRecording) -> None:
    """Serve one client over stdin and stdout, until it closes stdin."""
    with opened_server(served) as server:
        collect_often()
        serve_stdio(server)


def serve_clients(
    served: ServedRecording, port: int, token: str, announce: Callable[[str], None]
) -> signal.Signals | None:
    """Serve clients over HTTP on loopback, until a signal; the arguments are those of `http_wire.serve_http`.

    Raises:
        InputError: the port is in use.
    """
    with opened_server(served) as server:
        return serve_http(server, port, token, announce)


@contextlib.contextmanager
def opened_server(served: ServedRecording) -> "Iterator[Server[dict[str, Any]]]":
    """Yield a server of a recording, which holds open what its answers need."""
    with WarmJournals(served.open_journals, served.states, served.zone, cleared=served.cleared) as journals:
        tools = _tools(served, journals)
        by_name = {tool.name: tool for tool in tools}
        live = LiveUpdates(journals.paths)
        yield build_server(
            tools,
            lifespan=live.watching,
            on_subscriptions_listen=ListenHandler(live.bus),
            **resource_handlers(by_name, live),
            **prompt_handlers(by_name),
        )


def _tools(served: ServedRecording, journals: WarmJournals) -> list[Tool]:
    tools = [make(journals) for make in _READING]
    if served.make_links is not None:
        tools.append(play_moment(journals, served.make_links))
    if served.controlled is not None:
        tools += [pause(served.controlled), resume(served.controlled)]
    return tools
