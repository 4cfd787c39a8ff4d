"""Carry the protocol over stdin and stdout, which nothing else may use meanwhile."""

import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from mcp_types import INVALID_REQUEST, PARSE_ERROR, jsonrpc_message_adapter

from vdbevents.query import scratch

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

_INTERRUPTED: Final = 130


def serve_stdio(server: "Server[dict[str, Any]]") -> None:
    """Serve one client until it closes stdin; Ctrl-C ends the process with 130, SIGTERM with 0."""
    incoming, outgoing = _claimed()
    for number, code in ((signal.SIGINT, _INTERRUPTED), (signal.SIGTERM, 0)):
        signal.signal(number, partial(_end, code))
    anyio.run(_serve, server, incoming, outgoing)


def _end(code: int, _number: int, _frame: object) -> None:
    """End the process at once: a thread that reads stdin cannot be interrupted."""
    scratch.remove_all()
    os._exit(code)


def _claimed() -> tuple[io.TextIOWrapper, io.TextIOWrapper]:
    """Return the streams of the protocol; from now on stdin is empty, and what is printed goes to stderr.

    For good: the package gives the descriptors back when it ends, and then a text that still waits in a
    buffer would be written among the messages.
    """
    sys.stdout.flush()
    wires = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    incoming, outgoing = os.fdopen(wires[0], "rb"), os.fdopen(wires[1], "wb")
    return (
        io.TextIOWrapper(incoming, encoding="utf-8", errors="replace", newline="\n"),
        io.TextIOWrapper(outgoing, encoding="utf-8", newline="\n"),
    )


async def _serve(
    server: "Server[dict[str, Any]]", incoming: io.TextIOWrapper, outgoing: io.TextIOWrapper
) -> None:
    from mcp.server.stdio import stdio_server

    written = _Written(outgoing)
    # The package leaves a line that it cannot read without an answer.
    lines = cast("anyio.AsyncFile[str]", _Messages(anyio.wrap_file(incoming), written))
    async with stdio_server(lines, cast("anyio.AsyncFile[str]", written)) as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


class _Written:
    """Writes whole messages, one after the other."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._file = anyio.wrap_file(stream)
        self._lock = anyio.Lock()

    async def write(self, text: str) -> None:
        async with self._lock:
            await self._file.write(text)
            await self._file.flush()

    async def flush(self) -> None:
        """Do nothing: what is written is flushed."""


class _Messages:
    """The lines that are messages; others are answered with an error of the protocol."""

    def __init__(self, lines: "anyio.AsyncFile[str]", written: _Written) -> None:
        self._lines = lines
        self._written = written

    async def __aiter__(self) -> AsyncIterator[str]:
        async for line in self._lines:
            if not line.strip():
                continue
            error = _error_in(line)
            if error is None:
                yield line
            else:
                await self._written.write(json.dumps({"jsonrpc": "2.0", **error}) + "\n")


def _error_in(line: str) -> dict[str, Any] | None:
    """Return the error that answers a line that cannot be read; None for a message."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {"id": None, "error": {"code": PARSE_ERROR, "message": "not JSON"}}
    try:
        jsonrpc_message_adapter.validate_json(line, by_name=False)
    except (ValueError, RecursionError):
        number = value.get("id") if isinstance(value, dict) else None
        number = number if isinstance(number, str | int) else None
        return {"id": number, "error": {"code": INVALID_REQUEST, "message": "not a message of JSON-RPC 2.0"}}
    return None
