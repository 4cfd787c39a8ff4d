"""Serve a recording to language models."""

import contextlib
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

from vdbevents.mcp.protocol_server import build_server
from vdbevents.mcp.status_tools import recording_status
from vdbevents.mcp.stdio_wire import serve_stdio
from vdbevents.mcp.tool import Tool
from vdbevents.mcp.warm_journals import OpenJournals, OpenStates, WarmJournals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp.server.lowlevel import Server


class ServedRecording(NamedTuple):
    """What is served.

    Attributes:
        open_journals: finds the journals.
        states: finds the directories to report on.
        zone: of times without one.
    """

    open_journals: OpenJournals
    states: OpenStates
    zone: tzinfo


def serve(served: ServedRecording) -> None:
    """Serve one client over stdin and stdout, until it closes stdin."""
    with opened_server(served) as server:
        serve_stdio(server)


@contextlib.contextmanager
def opened_server(served: ServedRecording) -> "Iterator[Server[dict[str, Any]]]":
    """Yield a server of a recording, which holds open what its answers need."""
    with WarmJournals(*served) as journals:
        yield build_server(_tools(journals))


def _tools(journals: WarmJournals) -> list[Tool]:
    return [recording_status(journals)]
