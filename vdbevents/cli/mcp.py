"""`vdbevents mcp`: serve a recording to language models."""

import importlib.util
import os
import secrets
import signal
import stat
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vdbevents.cli.command import put, reports, silence_stdout
from vdbevents.cli.command_classes import DefaultedGroup
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode, is_terminal
from vdbevents.cli.mcp_clients import add_commands
from vdbevents.cli.options import AllowControlOption, KeyOptions
from vdbevents.cli.query_options import SourceOptions, TzOption, zone_of
from vdbevents.cli.served_journals import ServedJournals, player_of, refuse_stdin
from vdbevents.cli.surroundings import locate
from vdbevents.cli.tables import remark
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from vdbevents.journal.state import StateDirectory
    from vdbevents.mcp.play_tool import MakeLinks, PlayLinks

mcp_app = typer.Typer(
    help="""Serve a recording to language models, and set up their clients.

Without a command it serves: what a client of the Model Context Protocol starts. It needs an extra:
pip install 'vdbevents[mcp]'. docs/agents.md shows each tool.
""",
    rich_markup_mode=None,
)
GROUP = DefaultedGroup

_KEPT_IN: Final = "mcp-token"
_SHORTEST_TOKEN: Final = 16


_SERVE_HELP = """Serve a recording to language models, over the Model Context Protocol.

A client starts it and talks to it over stdin and stdout; with --http it runs until a signal, and prints
MCP_URL=<address>. Name the directory: clients start servers without the variables of a shell. Its tools
search, sum up and wait; with an API key one makes links that play a moment. None can change or delete
anything, unless --allow-control lets them pause and resume.

\b
Examples:
  vdbevents mcp ~/.local/state/videodb
  vdbevents mcp --dir laptop=~/laptop --dir desk=~/desk
  vdbevents mcp serve meeting.jsonl.gz
  vdbevents mcp --http                                each request needs "Authorization: Bearer <token>"
  vdbevents mcp --show-token

\b
Exit codes: 0 the client is gone, or ended by SIGTERM, 2 wrong input, 130 ended by Ctrl-C.
"""


@mcp_app.command(help=_SERVE_HELP)
@reports
def serve(
    *,
    http: Annotated[
        bool, Option("--http", help="Serve any number of clients over HTTP, on 127.0.0.1 alone.")
    ] = False,
    port: Annotated[
        int, Option(min=0, max=65535, metavar="PORT", help="With --http: the port; 0: any free port.")
    ] = 5003,
    no_auth: Annotated[
        bool, Option("--no-auth", help="With --http: require no token of programs on this machine.")
    ] = False,
    show_token: Annotated[
        bool, Option("--show-token", help="Print the token that --http requires, and exit.")
    ] = False,
    allow_control: AllowControlOption = False,
    tz: TzOption = None,
    named: SourceOptions,
    options: KeyOptions,
) -> ExitCode:
    if show_token:
        put(_token())
        return ExitCode.DONE
    _require_package()
    refuse_stdin(named, "a client talks to the server over it")
    served = ServedJournals(named, options)
    zone = zone_of(tz)
    served.check()
    controlled = _controlled(served) if allow_control else None
    from vdbevents.mcp import serving

    recording = serving.ServedRecording(
        served.open_journals,
        served.states,
        zone,
        cleared=named.archived,
        make_links=_make_links(options),
        controlled=controlled,
    )
    if not http:
        if is_terminal(sys.stdin):
            remark("a client talks to it over stdin", "to add it to one: vdbevents mcp install")
        serving.serve_client(recording)
        return ExitCode.DONE
    ended_by = serving.serve_clients(recording, port, "" if no_auth else _token(), _announce)
    return ExitCode.INTERRUPTED if ended_by is signal.SIGINT else ExitCode.DONE


def _announce(url: str) -> None:
    try:
        put(f"MCP_URL={url}")
    except (OSError, ValueError):
        # The reader is gone.
        silence_stdout()


def _require_package() -> None:
    """Check that the extra is installed.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec("mcp") is None:
        raise InputError(
            "the Python package mcp is missing",
            "install it: pip install 'vdbevents[mcp]'",
            error_id="package-missing",
        )


def _token() -> str:
    """Return the token of HTTP clients; the first time, make one.

    Raises:
        InputError: there is no place for it, or others can read it.
    """
    from vdbevents.journal import files

    configuration = locate(os.environ)
    if configuration is None:
        raise InputError(
            "no home directory to keep the token in", "set HOME, or use --no-auth", error_id="home-missing"
        )
    path = configuration.with_name(_KEPT_IN)
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace_file(path, f"{secrets.token_urlsafe(32)}\n".encode())
        text = path.read_text(encoding="ascii", errors="replace").strip()
        is_open = os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077
    except OSError as error:
        raise files.unusable(path, error) from error
    if is_open or len(text) < _SHORTEST_TOKEN:
        raise InputError(
            f"{path}: others can read it" if is_open else f"{path}: not a token",
            f"delete it, and start again: rm {path}",
            error_id="mcp-token-unusable",
        )
    return text


add_commands(mcp_app)


def _make_links(options: KeyOptions) -> "MakeLinks | None":
    """Return what makes links that play a moment; None without an API key."""
    export = player_of(options)
    if export is None:
        return None

    def make(stream_id: str, start: int, end: int) -> "PlayLinks":
        from vdbevents.mcp.play_tool import PlayLinks

        links = export(stream_id, start, end)
        return PlayLinks(links.stream_url, links.player_url)

    return make


def _controlled(served: ServedJournals) -> "StateDirectory":
    """Return the directory whose recording may be paused.

    Raises:
        InputError: there are several, or a file is named.
    """
    states = served.states()
    if len(states) != 1 or not states[0].path.is_dir():
        raise InputError(
            "--allow-control: needs one state directory",
            "name the one that is recorded into on this machine",
            error_id="control-not-one",
        )
    return states[0]
