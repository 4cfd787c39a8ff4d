"""`vdbevents mcp install` and `uninstall`: the server in the configuration of a client."""

import importlib.util
import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import put, reports, require_text
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import KEY_FILE_NAME, AllowControlOption, KeyOptions, OptionGroup, words_of
from vdbevents.cli.query_options import SourceOptions, TzOption, zone_of
from vdbevents.cli.surroundings import locate
from vdbevents.cli.tables import remark
from vdbevents.errors import InputError, options_conflict
from vdbevents.terminal import harmless

if TYPE_CHECKING:
    from vdbevents.agents.client_configuration import ServerEntry
    from vdbevents.agents.clients import Client, Machine
    from vdbevents.agents.edited_files import EditedFile


_INDENT: Final = " " * 16


class ClientName(StrEnum):
    """The clients whose configuration is known."""

    CLAUDE_DESKTOP = "claude-desktop"
    CLAUDE_CODE = "claude-code"
    CURSOR = "cursor"
    VSCODE = "vscode"
    ZED = "zed"


class ClientOptions(OptionGroup):
    """Which client, and which of its files."""

    clients: Annotated[
        list[ClientName] | None, Option("--client", help="The client; repeatable.", show_default=False)
    ] = None
    name: Annotated[str, Option(metavar="NAME", help="What the client calls the server.")] = "vdbevents"
    project: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="The client's file in this project, such as .mcp.json.",
            show_default="that for all projects",
        ),
    ] = None
    client_file: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Another file in the form of the client, such as that of a profile.",
            show_default="where the client keeps it",
        ),
    ] = None

    def settle(self) -> None:
        """Check what does not go together.

        Raises:
            InputError: two options contradict each other, or the project or the name cannot be used.
        """
        super().settle()
        require_text(self.name)
        if not self.name.strip():
            raise InputError("--name: is empty", "leave it out, or give a name", error_id="name-empty")
        if self.client_file is not None and self.project is not None:
            raise options_conflict("--client-file", "--project")
        if self.client_file is not None and len(set(self.clients or ())) != 1:
            raise InputError(
                "--client-file: needs one --client, in whose form it is",
                "add --client NAME",
                error_id="client-missing",
            )
        if self.project is not None and not self.project.is_dir():
            raise InputError(
                f"--project: no such folder, got {self.project}",
                "name the folder of a project",
                error_id="project-missing",
            )

    def chosen(self) -> "list[Client]":
        """Return the clients that are named, each once."""
        from vdbevents.agents.clients import CLIENTS

        return [CLIENTS[name] for name in dict.fromkeys(self.clients or ())]

    def file_of(self, client: "Client") -> Path:
        """Return the configuration file of a client.

        Raises:
            InputError: it has none for a project; or this user has no home directory.
        """
        if self.client_file is not None:
            return self.client_file.absolute()
        return client.file(_machine(), None if self.project is None else self.project.absolute())


_INSTALL_HELP = """Add the server to a client: print its entry, or write it.

Prints what belongs into the client's configuration; --write puts it there. All else in that file stays as it
is, comments too, and the file as it was is kept beside it, as a .bak file. Without --client it lists the
clients, and prints the entry as most clients take it.

The entry names this installation and the journal, since clients start servers without the variables of a
shell. Several journals are one server with several --dir, or several servers, each with its --name.

\b
Examples:
  vdbevents mcp install
  vdbevents mcp install --client claude-desktop --write
  vdbevents mcp install --client claude-code --client zed --write
  vdbevents mcp install ~/work --client cursor --name work --write
  vdbevents mcp install --client vscode --project . --write
  vdbevents mcp install --client zed --allow-control --write
  vdbevents mcp install --dir laptop=~/laptop --dir desk=~/desk --client zed

docs/agents.md says which file each client has.

\b
Exit codes: 0 done, 2 wrong input, or a file that is not a configuration.
"""

_UNINSTALL_HELP = """Remove the server from each client that has it, or from those that are named.

All else in the client's configuration stays as it is, and the file as it was is kept beside it, as a .bak
file. A server that is not of this program stays.

\b
Examples:
  vdbevents mcp uninstall
  vdbevents mcp uninstall --client cursor --name work
  vdbevents mcp uninstall --client vscode --project .

\b
Exit codes: 0 removed, 1 no client has it, 2 wrong input, or a file that is not a configuration.
"""


def add_commands(group: typer.Typer) -> None:
    """Add the commands to `vdbevents mcp`."""
    group.command(help=_INSTALL_HELP)(install)
    group.command(help=_UNINSTALL_HELP)(uninstall)


@reports
def install(
    *,
    write: Annotated[bool, Option("--write", help="Write it into the client's file.")] = False,
    which: ClientOptions,
    allow_control: AllowControlOption = False,
    tz: TzOption = None,
    named: SourceOptions,
    options: KeyOptions,
) -> ExitCode:
    from vdbevents.agents import client_configuration as configuration
    from vdbevents.agents.clients import CLIENTS
    from vdbevents.agents.edited_files import text_of

    passed = [*(["--allow-control"] if allow_control else []), *([] if tz is None else [f"--tz={tz}"])]
    zone_of(tz)
    entry = _entry(named, passed, options)
    clients = which.chosen()
    if not write:
        if not clients:
            _list_clients(which)
        for client in clients or [CLIENTS[ClientName.CLAUDE_DESKTOP]]:
            put(configuration.alone(client, which.name, entry))
        _hint_at_writing(which, clients, [*words_of(named, which, options), *passed])
        return ExitCode.DONE
    if not clients:
        raise InputError(
            "--write: which client?", f"name it: --client {'|'.join(ClientName)}", error_id="client-missing"
        )
    _require_startable(entry)
    _remark_on_key(options)
    files = {client: which.file_of(client) for client in clients}
    changes = {}
    for client, file in files.items():
        # Before any is written, all are checked.
        is_there = configuration.member_in(file, client, which.name) is not None
        configuration.merged(text_of(file) or "", client, which.name, entry, file)
        changes[client] = "changed" if is_there else "added"
    for client, file in files.items():
        is_private = which.project is None
        done = configuration.install_entry(file, client, which.name, entry, private=is_private)
        _report(client, done, changes[client])
        if done.is_changed:
            put(f"{_INDENT}→ {client.next_step}")
    return ExitCode.DONE


@reports
def uninstall(*, which: ClientOptions) -> ExitCode:
    from vdbevents.agents import client_configuration as configuration
    from vdbevents.agents.clients import CLIENTS

    removed = 0
    for client in which.chosen() or CLIENTS.values():
        if which.project is not None and not client.project_file and not which.clients:
            continue
        file = which.file_of(client)
        try:
            is_here = which.clients or configuration.is_own(configuration.member_in(file, client, which.name))
            done = configuration.remove_entry(file, client, which.name) if is_here else None
        except InputError as error:
            if which.clients:
                raise
            remark(error.message)
            continue
        if done is not None and done.is_changed:
            removed += 1
            _report(client, done, "removed")
    if not removed:
        put(f"no client has the server {harmless(which.name)}")
    return ExitCode.DONE if removed else ExitCode.NO_MATCH


def _machine() -> "Machine":
    from vdbevents.agents.clients import Machine
    from vdbevents.journal.state import home_directory

    home = home_directory()
    if home is None:
        raise InputError(
            "this user has no home directory: HOME is not set",
            "name the file: --client-file",
            error_id="home-missing",
        )
    return Machine(sys.platform, home, os.environ)


def _entry(named: SourceOptions, passed: list[str], options: KeyOptions) -> "ServerEntry":
    """Return how a client starts the server, with absolute paths."""
    from vdbevents.agents.client_configuration import server_entry

    words = cli_journals.words_from_anywhere(named)
    if not words:
        words = [str(options.state_at(None).path.absolute())]
    words += [*passed, *(["--archived"] if named.archived else [])]
    for option, file in (("--key-file", options.key_file), ("--env-file", options.env_file)):
        words += [] if file is None else [f"{option}={file.absolute()}"]
    require_text(*words)
    # A link of a virtual environment must stay one.
    return server_entry(os.path.abspath(sys.executable), words, os.environ)  # noqa: PTH100


def _require_startable(entry: "ServerEntry") -> None:
    """Check that the server of this installation can start, also later.

    Raises:
        InputError: a package is missing, or the installation is in a cache.
    """
    from vdbevents.agents.client_configuration import is_temporary

    if importlib.util.find_spec("mcp") is None:
        raise InputError(
            "the Python package mcp is missing",
            "install it: pip install 'vdbevents[mcp]'",
            error_id="package-missing",
        )
    if is_temporary(entry):
        raise InputError(
            f"this installation is in a cache, which may be emptied: {entry.command}",
            "install it: uv tool install 'vdbevents[mcp]'",
            error_id="installation-temporary",
        )


def _remark_on_key(options: KeyOptions) -> None:
    """Say that a key which only this terminal knows does not reach the server, whose links need one."""
    if os.environ.get("VIDEO_DB_API_KEY") and not (options.key_file or options.usual_key_file):
        configuration = locate(os.environ)
        name = configuration.with_name(KEY_FILE_NAME) if configuration else "FILE"
        remark(
            "the server does not see this terminal's VIDEO_DB_API_KEY, without which play_moment is missing",
            f"store it: (umask 077; printenv VIDEO_DB_API_KEY > '{name}')",
        )


def _list_clients(which: ClientOptions) -> None:
    from vdbevents.agents import client_configuration as configuration
    from vdbevents.agents.clients import CLIENTS

    machine = _machine()
    for client in CLIENTS.values():
        if which.project is not None and not client.project_file:
            continue
        file = which.file_of(client)
        try:
            has_it = configuration.is_own(configuration.member_in(file, client, which.name))
            state = "has it" if has_it else "without it" if client.is_here(machine) else "not found"
        except InputError:
            state = "malformed"
        put(f"{client.name:<15} {state:<11} {harmless(str(file))}")
    put("")


def _hint_at_writing(which: ClientOptions, clients: "list[Client]", words: list[str]) -> None:
    if clients:
        files = ", ".join(str(which.file_of(client)) for client in clients)
        about, more = f"this belongs into {files}", []
    else:
        about, more = (
            "this is the form of most clients; --client prints that of another",
            ["--client", "NAME"],
        )
    command = shlex.join(["vdbevents", "mcp", "install", *words, *more, "--write"])
    remark(about, f"put it there with: {command}")


def _report(client: "Client", done: "EditedFile", change: str) -> None:
    put(f"{client.name:<15} {change if done.is_changed else 'as before':<11} {harmless(str(done.path))}")
    if done.backup is not None:
        put(f"{_INDENT}before: {harmless(str(done.backup))}")
