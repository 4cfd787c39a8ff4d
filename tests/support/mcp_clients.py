"""Clients of the protocol for tests: one in the same process, and one that starts the program."""

import sys
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC
from pathlib import Path

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from support.patience import patient
from vdbevents.journal.state import StateDirectory
from vdbevents.mcp.serving import ServedRecording, opened_server
from vdbevents.query.hostnames import HostJournal


@contextmanager
def _found(journals):
    yield [HostJournal(path.parent.name, path, str(path)) for path in journals]


def served(*journals, zone=UTC, **more):
    """What a server serves that reads these journals."""
    return ServedRecording(
        lambda: _found(journals), lambda: [StateDirectory(path.parent) for path in journals], zone, **more
    )


def ask(recording, *calls):
    """Return the answers of a server in this process to calls: (name, arguments)."""

    async def answers():
        with opened_server(recording) as server:
            async with Client(server) as client:
                return [await client.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(answers)


def answered(recording, name, **arguments):
    """Return the text and the data of one call, which must not fail."""
    [result] = ask(recording, (name, arguments))
    assert not result.is_error, result.content[0].text
    [content] = result.content
    return content.text, result.structured_content


def refused(recording, name, **arguments):
    """Return the message of one call, which must fail."""
    [result] = ask(recording, (name, arguments))
    assert result.is_error, result.content[0].text
    return result.content[0].text


@asynccontextmanager
async def started(arguments, environ, **options):
    """Yield a client of `vdbevents mcp` with these arguments, as a user's client starts it."""
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "vdbevents", "mcp", *map(str, arguments)],
        env={name: str(value) for name, value in environ.items()},
        cwd=str(Path.cwd()),
    )
    with anyio.fail_after(patient(60.0)):
        async with Client(stdio_client(parameters), **options) as client:
            yield client
