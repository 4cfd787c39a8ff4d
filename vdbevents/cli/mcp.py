"""`vdbevents mcp`: serve a recording to language models."""

import contextlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import reports
from vdbevents.cli.command_classes import DefaultedGroup
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.mcp_clients import add_commands
from vdbevents.cli.options import EnvironmentOptions
from vdbevents.cli.query_options import SourceOptions, TzOption, zone_of
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vdbevents.journal.state import StateDirectory
    from vdbevents.query.merge import HostJournal

mcp_app = typer.Typer(
    help="""Serve a recording to language models, and set up their clients.

Without a command it serves: what a client of the Model Context Protocol starts. It needs an extra:
pip install 'vdbevents[mcp]'. docs/agents.md shows each tool.
""",
    rich_markup_mode=None,
)
GROUP = DefaultedGroup

_SERVE_HELP = """Serve a recording to language models, over the Model Context Protocol.

A client starts it and talks to it over stdin and stdout. Name the directory: clients start servers without
the variables of a shell. Its tools search, sum up and wait; none can change or delete anything.

\b
Examples:
  vdbevents mcp ~/.local/state/videodb
  vdbevents mcp --dir laptop=~/laptop --dir desk=~/desk
  vdbevents mcp serve meeting.jsonl.gz

\b
Exit codes: 0 the client is gone, 2 wrong input, 130 ended by Ctrl-C.
"""


@mcp_app.command(help=_SERVE_HELP)
@reports
def serve(*, tz: TzOption = None, named: SourceOptions, options: EnvironmentOptions) -> ExitCode:
    if importlib.util.find_spec("mcp") is None:
        raise InputError(
            "the Python package mcp is missing",
            "install it: pip install 'vdbevents[mcp]'",
            error_id="package-missing",
        )
    _refuse_stdin(named)
    served = _Served(named, options)
    zone = zone_of(tz)
    served.check()
    from vdbevents.mcp import serving

    serving.serve(serving.ServedRecording(served.open_journals, served.states, zone))
    return ExitCode.DONE


add_commands(mcp_app)


def _refuse_stdin(named: SourceOptions) -> None:
    """Check that no journal comes by stdin.

    Raises:
        InputError: one does.
    """
    if named.journal == Path("-") or "-" in (named.files or ()):
        raise InputError(
            "stdin: a client talks to the server over it",
            "name a state directory, or the file of a journal",
            error_id="source-is-stdin",
        )


class _Served:
    """The journals that are served."""

    def __init__(self, named: SourceOptions, options: EnvironmentOptions) -> None:
        self._named = named
        self._options = options

    def _sources(self) -> list[cli_journals.JournalSource]:
        hint = "name a state directory, or the file of a journal"
        return cli_journals.named_by(self._named, self._options, hint=hint)

    def check(self) -> None:
        """Check what is named; a directory may have no journal yet.

        Raises:
            InputError: a name matches nothing.
        """
        try:
            self._sources()
        except InputError as error:
            if error.error_id != "journal-missing":
                raise

    @contextlib.contextmanager
    def open_journals(self) -> "Iterator[Sequence[HostJournal]]":
        """Yield the journals, which are looked for now.

        Raises:
            InputError: there is none.
        """
        with cli_journals.opened(self._sources()) as journals:
            yield journals

    def states(self) -> "Sequence[StateDirectory]":
        """Return the directories of the journals, or the files of those that were copied."""
        from vdbevents.journal.state import StateDirectory

        if not self._named.by_options:
            return [self._options.state_at(self._named.journal)]
        return [StateDirectory(source.path) for source in self._sources()]
