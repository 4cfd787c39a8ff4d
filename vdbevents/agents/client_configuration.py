"""The entry of this program's server in the configuration of an MCP client: add, change, find, remove it."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final, NamedTuple

from vdbevents.agents.clients import Client
from vdbevents.agents.commented_json import MalformedJsonError, parsed, with_member, without_member
from vdbevents.agents.edited_files import EditedFile, edit, text_of
from vdbevents.errors import InputError

# Clients start a server without them; where caches and settings are, and which time is local, is the user's.
_PASSED: Final = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TZ")
_TEMPORARY: Final = re.compile(r"[/\\](archive-v\d+|\.cache)[/\\]")
_PROGRAM: Final = "vdbevents"
_GROUP: Final = "mcp"


class ServerEntry(NamedTuple):
    """How a client starts the server.

    Attributes:
        command: the absolute path of a program.
        arguments: what it is started with.
        environ: variables that it needs beside those that a client leaves it.
    """

    command: str
    arguments: tuple[str, ...]
    environ: Mapping[str, str]

    def member(self, client: Client) -> dict[str, Any]:
        """Return the entry in the form of a client.

        Raises:
            InputError: the client would replace a part of it by something else.
        """
        words = (self.command, *self.arguments, *self.environ.values())
        changed = [word for word in words if client.replaces and client.replaces in word]
        if changed:
            raise InputError(
                f"{client.title} replaces what begins with {client.replaces}, which is in {changed[0]}",
                "name the journal by another path, such as a link",
                error_id="client-replaces",
            )
        return {
            **({"type": "stdio"} if client.has_type else {}),
            "command": self.command,
            "args": list(self.arguments),
            **({"env": dict(self.environ)} if self.environ else {}),
        }


def server_entry(executable: str, arguments: Sequence[str], environ: Mapping[str, str]) -> ServerEntry:
    """Return how to start the server of this installation.

    Args:
        executable: the absolute path of the running interpreter.
        arguments: of `vdbevents mcp`; all paths are absolute.
        environ: the environment, of which the entry gets what the server needs.
    """
    name = _PROGRAM + (".exe" if executable.lower().endswith(".exe") else "")
    script = Path(executable).with_name(name)
    program = [str(script)] if script.is_file() else [executable, "-P", "-m", _PROGRAM]
    passed = {name: environ[name] for name in _PASSED if environ.get(name)}
    return ServerEntry(program[0], (*program[1:], _GROUP, *arguments), passed)


def is_temporary(entry: ServerEntry) -> bool:
    """Return whether a program is in the cache of a tool such as `uvx`, which may be emptied."""
    return _TEMPORARY.search(entry.command) is not None


def is_own(member: object) -> bool:
    """Return whether a member of a client's configuration starts this program's server."""
    if not isinstance(member, dict):
        return False
    command, arguments = member.get("command"), member.get("args")
    if not isinstance(command, str) or not isinstance(arguments, list) or _GROUP not in arguments:
        return False
    # The configuration of Windows may be read on another system.
    stem = PurePath(command.replace("\\", "/")).stem
    return stem == _PROGRAM or _PROGRAM in arguments


def alone(client: Client, name: str, entry: ServerEntry) -> str:
    """Return a configuration of a client with nothing but the server."""
    return json.dumps({client.key: {name: entry.member(client)}}, indent=2, ensure_ascii=False)


def member_in(file: Path, client: Client, name: str) -> object:
    """Return what a configuration file has under a server's name; None if it has nothing.

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    text = text_of(file)
    whole = None if text is None else _parsed(text, client, file)
    servers = whole.get(client.key) if isinstance(whole, dict) else None
    return servers.get(name) if isinstance(servers, dict) else None


def merged(text: str, client: Client, name: str, entry: ServerEntry, file: Path) -> str:
    """Return a configuration with the server; all else keeps its bytes, also what the entry has besides.

    Args:
        text: the configuration; an empty one is made.
        client: whose it is.
        name: the server's.
        entry: how to start it.
        file: the configuration's, for messages.

    Raises:
        InputError: it is not JSON, or has another server of this name.
    """
    whole = _parsed(text, client, file)
    servers = whole.get(client.key) if isinstance(whole, dict) else None
    present = servers.get(name) if isinstance(servers, dict) else None
    if present is not None:
        _require_own(present, client, name, file)
    wanted = entry.member(client)
    # Of an entry that is there, what somebody has added stays: `disabled`, or another variable.
    changes: list[tuple[tuple[str, ...], object]] = [((), wanted)]
    if isinstance(present, dict):
        changes = [((key,), value) for key, value in wanted.items() if key != "env"]
        changes += [(("env", key), value) for key, value in entry.environ.items()]
    try:
        for path, value in changes:
            text = with_member(text, (client.key, name, *path), value, comments=client.comments)
    except MalformedJsonError as error:
        raise _malformed(error, client, file) from None
    return text


def without(text: str, client: Client, name: str, file: Path) -> str:
    """Return a configuration without the server; all else keeps its bytes.

    Raises:
        InputError: as of `merged`.
    """
    whole = _parsed(text, client, file)
    servers = whole.get(client.key) if isinstance(whole, dict) else None
    if not isinstance(servers, dict) or name not in servers:
        return text
    _require_own(servers[name], client, name, file)
    return without_member(text, (client.key, name), comments=client.comments)


def install_entry(file: Path, client: Client, name: str, entry: ServerEntry, *, private: bool) -> EditedFile:
    """Write the server into a configuration file, which is made if it is missing.

    Raises:
        InputError: as of `merged`, and `edit`.
        StorageError: the disk has no room.
    """
    return edit(file, lambda text: merged(text, client, name, entry, file), private=private)


def remove_entry(file: Path, client: Client, name: str) -> EditedFile:
    """Remove the server from a configuration file.

    Raises:
        InputError: as of `merged`, and `edit`.
        StorageError: the disk has no room.
    """
    before = text_of(file)
    if before is None:
        return EditedFile(file, None, None)
    return edit(file, lambda text: without(text, client, name, file), private=True)


def _parsed(text: str, client: Client, file: Path) -> object:
    try:
        return parsed(text, comments=client.comments)
    except MalformedJsonError as error:
        raise _malformed(error, client, file) from None


def _malformed(error: MalformedJsonError, client: Client, file: Path) -> InputError:
    return InputError(
        f"{file}: not a configuration of {client.title}: {error}",
        "mend it first; nothing was changed",
        error_id="client-file-malformed",
    )


def _require_own(member: object, client: Client, name: str, file: Path) -> None:
    if not is_own(member):
        raise InputError(
            f"{file}: another server of {client.title} has the name {name}",
            "give another --name, or remove that server in the client",
            error_id="server-name-taken",
        )
