"""`vdbevents mcp`: serve a recording to language models."""

import contextlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import LONGEST_CALL_SECONDS, reports
from vdbevents.cli.command_classes import DefaultedGroup
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.mcp_clients import add_commands
from vdbevents.cli.options import EnvironmentOptions, KeyOptions
from vdbevents.cli.query_options import SourceOptions, TzOption, zone_of
from vdbevents.errors import InputError, VdbeventsError
from vdbevents.query import hostnames

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vdbevents.journal.state import StateDirectory
    from vdbevents.mcp.play_tool import MakeLinks, PlayLinks
    from vdbevents.query.merge import HostJournal

mcp_app = typer.Typer(
    help="""Serve a recording to language models, and set up their clients.

Without a command it serves: what a client of the Model Context Protocol starts. It needs an extra:
pip install 'vdbevents[mcp]'. docs/agents.md shows each tool.
""",
    rich_markup_mode=None,
)
GROUP = DefaultedGroup

_CLIP_SECONDS: Final = 30.0


_SERVE_HELP = """Serve a recording to language models, over the Model Context Protocol.

A client starts it and talks to it over stdin and stdout. Name the directory: clients start servers without
the variables of a shell. Its tools search, sum up and wait; with an API key
one makes links that play a moment. None can change or delete anything, unless --allow-control lets them
pause and resume.

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
def serve(
    *,
    allow_control: Annotated[
        bool, typer.Option("--allow-control", help="Add tools that pause and resume the recording.")
    ] = False,
    tz: TzOption = None,
    named: SourceOptions,
    options: KeyOptions,
) -> ExitCode:
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
    controlled = served.controlled() if allow_control else None
    from vdbevents.mcp import serving

    serving.serve(
        serving.ServedRecording(
            served.open_journals,
            served.states,
            zone,
            cleared=named.archived,
            make_links=_make_links(options),
            controlled=controlled,
        )
    )
    return ExitCode.DONE


add_commands(mcp_app)


def _make_links(options: KeyOptions) -> "MakeLinks | None":
    """Return what makes links that play a moment; None without an API key."""
    try:
        credentials = options.credentials
    except VdbeventsError:
        # Each other tool works without.
        return None

    def make(stream_id: str, start: int, end: int) -> "PlayLinks":
        from vdbevents.cloud import Account, persist
        from vdbevents.mcp.play_tool import PlayLinks

        account = Account(credentials, LONGEST_CALL_SECONDS)
        export = persist(lambda: account.playable(stream_id, start, end), _CLIP_SECONDS)
        return PlayLinks(export.stream_url, export.player_url)

    return make


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
        paths = (source.path for source in self._sources())
        return [StateDirectory(path.parent if path.name == hostnames.JOURNAL else path) for path in paths]

    def controlled(self) -> "StateDirectory":
        """Return the directory whose recording may be paused.

        Raises:
            InputError: there are several, or a file is named.
        """
        states = self.states()
        if len(states) != 1 or not states[0].path.is_dir():
            raise InputError(
                "--allow-control: needs one state directory",
                "name the one that is recorded into on this machine",
                error_id="control-not-one",
            )
        return states[0]
