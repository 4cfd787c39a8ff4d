#!/usr/bin/env python3
"""Writes docs/cli.md from the program itself: its help, its exit codes, the variables that it reads.

usage: python scripts/make_cli_docs.py
"""

import re
from pathlib import Path

from typer.main import get_command

from vdbevents.cli.app import whole_app
from vdbevents.cli.diagnostics import ExitCode

TARGET = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
COLUMNS = 100

EXIT_CODES = {
    ExitCode.DONE: "done; for `query`, `sql` and `gaps`: something was found; for `status`: connected; "
    "for `cache status`: something is sealed",
    ExitCode.NO_MATCH: "`query`, `sql`, `gaps`: nothing was found; "
    "`cache status`, `cache clear`: there is no cache",
    ExitCode.BAD_INPUT: "wrong usage, or an input that cannot be used",
    ExitCode.LISTENER_STATE: "the listener is not running, or another one already records there",
    ExitCode.REFUSED: "the service refused: the key, the rights, or a certificate that does not verify",
    ExitCode.UNREACHABLE: "gave up on the network; for `status`: running but not connected, or stale",
    ExitCode.CAPTURE: "the capture failed: its runtime, a permission, a device, or the session on the "
    "server; `capture`, `backend`: another one has the directory",
    ExitCode.BUG: "a bug in vdbevents",
    ExitCode.STORAGE: "the disk or the memory does not take what has to go there",
    ExitCode.INTERRUPTED: "interrupted, by Ctrl-C or SIGINT",
}

NOTE_ON_EXIT_CODES = """\
A closed pipe (`vdbevents query | head`) is no error. A second signal ends a listener at once, with 128 and
the signal's number."""

ENVIRONMENT = {
    "VIDEO_DB_API_KEY": "the key; needed by `listen`",
    "VIDEO_DB_API": "the base URL of the service; https://api.videodb.io unless set",
    "VIDEO_DB_BASE_URL": "the same, where `VIDEO_DB_API` is not set",
    "VIDEODB_EVENTS_DIR": "the state directory, where none is named on the command line",
    "XDG_STATE_HOME": "`videodb` in it is the directory where neither is given; else ~/.local/state",
    "XDG_CACHE_HOME": "`vdbevents` in it is where journals' caches are; else that in ~/.cache",
    "XDG_CONFIG_HOME": "`vdbevents/config.toml` in it sets defaults of options; else that in ~/.config",
    "VDBEVENTS_…": "`VDBEVENTS_<COMMAND>_<OPTION>`, as `VDBEVENTS_LISTEN_HOLD`: the default of an option",
    "VDBEVENTS_BACKEND_TOKEN": "what `vdbevents capture --backend` proves its right with, "
    "unless `--backend-token-file` names a file that holds it",
    "VDBEVENTS_CAPTURE_RUNTIME": "another capture runtime than the one that VideoDB ships; "
    "`vdbevents emulator` prints the path of its own",
    "VDBEVENTS_PAGER, PAGER": "what shows the text of `vdbevents query` on a terminal, "
    "instead of `less`; empty or `cat`: nothing",
    "NO_COLOR": "set to anything: no colour, unless `--color always` asks for it",
    "SSL_CERT_FILE, REQUESTS_CA_BUNDLE": "certificate authorities to trust, for the WebSocket and for HTTP",
}


NOTE_ON_ENVIRONMENT = """\
What the environment does not set may stand in a `.env` file: that of the current directory, or the one that
`--cwd` or `--env-file` names; but for `XDG_CACHE_HOME`, and the defaults of options, which only the real
environment sets, as [configuration](configuration.md) tells."""


def contexts(application=None):
    """A context for each command, each group before its own; `command_path` is what one types."""
    settings = {"resilient_parsing": True, "terminal_width": COLUMNS, "max_content_width": COLUMNS}

    def of(command, name, parent):
        context = command.make_context(name, [], parent=parent, **settings)
        yield context
        for inner, one in getattr(command, "commands", {}).items():
            yield from of(one, inner, context)

    return list(of(get_command(application or whole_app()), "vdbevents", None))


def help_of(context):
    """A command's help as it is on a terminal of a fixed width."""
    return "\n".join(line.rstrip() for line in context.command.get_help(context).splitlines())


def document():
    """The whole of docs/cli.md."""
    parts = [
        "# The command line",
        "Made from the program by `python scripts/make_cli_docs.py`; a test fails when it is stale.",
        *(f"## {one.command_path}\n\n```text\n{help_of(one)}\n```" for one in contexts()),
        "## Exit codes\n\n| code | meaning |\n|---|---|\n"
        + "\n".join(f"| {code.value} | {EXIT_CODES[code]} |" for code in ExitCode),
        NOTE_ON_EXIT_CODES,
        "## Environment\n\n| variable | meaning |\n|---|---|\n"
        + "\n".join(f"| `{name.replace(', ', '`, `')}` | {text} |" for name, text in ENVIRONMENT.items()),
        NOTE_ON_ENVIRONMENT,
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(parts)) + "\n"


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
    print(f"wrote {TARGET}")
