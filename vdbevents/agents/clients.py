"""The MCP clients whose configuration is known: where each keeps it, on which system, and in which form.

Sources, as of November 2026:

- Claude Desktop: modelcontextprotocol.io, "Connect to local MCP servers", has the folders of macOS and
  Windows; builds for Linux use Electron's folder there. The package of the Microsoft Store reads its own copy
  of `%APPDATA%` (anthropics/claude-code#26073).
- Claude Code: code.claude.com/docs/en/mcp: `~/.claude.json`, `.mcp.json` of a project, and `${NAME}`, which
  it replaces; within `CLAUDE_CONFIG_DIR` if that is set.
- Cursor: cursor.com/docs/mcp.
- VS Code: code.visualstudio.com/docs/agents/reference/mcp-configuration; its user folder:
  code.visualstudio.com/docs/configure/settings.
- Zed: zed.dev/docs/ai/mcp, and crates/paths of its source.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from vdbevents.errors import InputError


class Machine(NamedTuple):
    """Where a client's files can be.

    Attributes:
        system: as `sys.platform`.
        home: the home directory.
        environ: the environment.
    """

    system: str
    home: Path
    environ: Mapping[str, str]

    @property
    def settings(self) -> Path:
        """The folder in which programs keep their settings."""
        match self.system:
            case "darwin":
                return self.home / "Library" / "Application Support"
            case "win32":
                return Path(self.environ.get("APPDATA") or self.home / "AppData" / "Roaming")
            case _:
                return self.xdg_config

    @property
    def xdg_config(self) -> Path:
        """The folder of the XDG convention."""
        return Path(self.environ.get("XDG_CONFIG_HOME") or self.home / ".config")


class Client(NamedTuple):
    """A program that starts MCP servers.

    Attributes:
        name: as an option names it.
        title: as its maker writes it.
        key: the member of its configuration that holds the servers.
        user_file: its configuration for all projects, on a machine.
        project_file: its configuration in the folder of a project; empty if it has none.
        comments: whether it reads comments, and commas before a closing bracket.
        has_type: whether an entry names its transport.
        replaces: what it replaces within an entry by something else; empty if it replaces nothing.
        next_step: what to do so that it starts the server.
    """

    name: str
    title: str
    key: str
    user_file: Callable[[Machine], Path]
    project_file: str
    comments: bool
    has_type: bool
    replaces: str
    next_step: str

    def file(self, machine: Machine, project: Path | None = None) -> Path:
        """Return its configuration file: of a project, else for all.

        Raises:
            InputError: it has none for a project.
        """
        if project is None:
            return self.user_file(machine)
        if not self.project_file:
            raise InputError(
                f"--project: {self.title} has no configuration for a project",
                "leave it out",
                error_id="client-without-project",
            )
        return project / self.project_file

    def is_here(self, machine: Machine) -> bool:
        """Return whether it seems to be installed: the folder of its configuration is there, or its file."""
        file = self.user_file(machine)
        return file.exists() or (file.parent != machine.home and file.parent.is_dir())


def _of_claude_desktop(machine: Machine) -> Path:
    name = "claude_desktop_config.json"
    usual = machine.settings / "Claude" / name
    if machine.system != "win32":
        return usual
    local = Path(machine.environ.get("LOCALAPPDATA") or machine.home / "AppData" / "Local")
    # A packaged app sees its own copy of a file where it has one, else the usual one.
    packaged = sorted((local / "Packages").glob("Claude_*/LocalCache/Roaming/Claude"))
    for folder in packaged:
        if (folder / name).exists() or not usual.exists():
            return folder / name
    return usual


def _of_claude_code(machine: Machine) -> Path:
    return Path(machine.environ.get("CLAUDE_CONFIG_DIR") or machine.home) / ".claude.json"


def _of_zed(machine: Machine) -> Path:
    match machine.system:
        case "win32":
            folder = machine.settings / "Zed"
        case "darwin":
            folder = machine.home / ".config" / "zed"
        case _:
            folder = machine.xdg_config / "zed"
    return folder / "settings.json"


CLIENTS: Final = {
    client.name: client
    for client in (
        Client(
            name="claude-desktop",
            title="Claude Desktop",
            key="mcpServers",
            user_file=_of_claude_desktop,
            project_file="",
            comments=False,
            has_type=False,
            replaces="",
            next_step="quit Claude Desktop and start it again; to close its window is not enough",
        ),
        Client(
            name="claude-code",
            title="Claude Code",
            key="mcpServers",
            user_file=_of_claude_code,
            project_file=".mcp.json",
            comments=False,
            has_type=True,
            replaces="${",
            next_step="start a new session; /mcp shows the server",
        ),
        Client(
            name="cursor",
            title="Cursor",
            key="mcpServers",
            user_file=lambda machine: machine.home / ".cursor" / "mcp.json",
            project_file=".cursor/mcp.json",
            comments=True,
            has_type=True,
            replaces="${",
            next_step="restart Cursor, and switch the server on in its list of MCP servers",
        ),
        Client(
            name="vscode",
            title="VS Code",
            key="servers",
            user_file=lambda machine: machine.settings / "Code" / "User" / "mcp.json",
            project_file=".vscode/mcp.json",
            comments=True,
            has_type=True,
            replaces="${",
            next_step="in VS Code run the command MCP: List Servers, and start it there",
        ),
        Client(
            name="zed",
            title="Zed",
            key="context_servers",
            user_file=_of_zed,
            project_file=".zed/settings.json",
            comments=True,
            has_type=False,
            replaces="",
            next_step="Zed starts it by itself; its settings of the agent show a green dot",
        ),
    )
}
"""The clients, by name."""
