#!/usr/bin/env python3
"""Write docs/cli.md from the program: its help, its exit codes, and the variables that it reads.

usage: python scripts/make_cli_docs.py
"""

import re
import unittest.mock
from pathlib import Path

from typer.main import get_command

from vdbevents.cli import documents
from vdbevents.cli.app import whole_app
from vdbevents.cli.diagnostics import ExitCode

TARGET = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
COLUMNS = 100

EXIT_CODES = {
    ExitCode.DONE: "success; `query`, `sql`, `gaps`: something was found; `status`: connected; "
    "`cache status`: something is sealed",
    ExitCode.NO_MATCH: "`query`, `sql`, `gaps`: nothing was found; `cache status`, `cache clear`: no cache; "
    "`doctor`: errors were found",
    ExitCode.BAD_INPUT: "wrong usage, or invalid input",
    ExitCode.LISTENER_STATE: "the listener is not running, or another one already records there",
    ExitCode.REFUSED: "the service refused the key, the rights, or its certificate does not verify",
    ExitCode.UNREACHABLE: "gave up on the network; `status`: running but not connected, or stale",
    ExitCode.CAPTURE: "the capture failed: its runtime, a permission, a device, or the session on the "
    "server; `capture`, `backend`: another one uses the directory",
    ExitCode.BUG: "a bug in vdbevents",
    ExitCode.STORAGE: "not enough room on the disk or in memory, or no permission to write",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGINT",
}

NOTE_ON_EXIT_CODES = """\
A closed pipe (`vdbevents query | head`) is not an error.
A second signal ends a listener at once, with 128 plus the signal's number."""

ENVIRONMENT = {
    "VIDEO_DB_API_KEY": "the API key",
    "VIDEO_DB_API": "the base URL of the service; default: https://api.videodb.io",
    "VIDEO_DB_BASE_URL": "the same, if `VIDEO_DB_API` is not set",
    "VIDEODB_EVENTS_DIR": "the state directory, unless the command line names one",
    "XDG_STATE_HOME": "its `videodb` is the state directory if neither is given; default: ~/.local/state",
    "XDG_CACHE_HOME": "its `vdbevents` holds the query cache; default: ~/.cache",
    "TMPDIR": "where temporary folders are made, such as for unpacked journals; default: /tmp",
    "XDG_CONFIG_HOME": "its `vdbevents/config.toml` sets defaults of options; default: ~/.config",
    "CLAUDE_CONFIG_DIR": "where Claude Code keeps skills and servers; default: ~/.claude and ~/.claude.json",
    "APPDATA": "on Windows: where clients of `vdbevents mcp install` keep their settings",
    "VDBEVENTS_…": "`VDBEVENTS_<COMMAND>_<OPTION>`, as `VDBEVENTS_LISTEN_HOLD`: default of an option",
    "VDBEVENTS_BACKEND_TOKEN": "the token of `vdbevents capture --backend`, unless `--backend-token-file` "
    "names a file with it",
    "VDBEVENTS_CAPTURE_RUNTIME": "a capture runtime to use instead of VideoDB's; "
    "`vdbevents emulator` prints the path of its own",
    "VDBEVENTS_PAGER, PAGER": "the pager for text of `vdbevents query` on a terminal, instead of `less`; "
    "empty or `cat`: none",
    "LOCALAPPDATA, USERDOMAIN, USERNAME": "on Windows: where the task of `vdbevents service` is kept, and "
    "whose it is",
    "AWS_ENDPOINT_URL, AWS_…": "where a lake at `s3://` is, and its credentials, as tools of S3 take them",
    "GOOGLE_…, AZURE_…": "the same of a lake at `gs://`, at `az://`",
    "COLUMNS": "the width of a terminal, instead of its own",
    "NO_COLOR": "if set: no colour, unless `--color always`",
    "SSL_CERT_FILE, REQUESTS_CA_BUNDLE": "certificate authorities to trust, for the WebSocket and for HTTP",
}


NOTE_ON_ENVIRONMENT = """\
A variable that the environment does not set may be in a `.env` file:
the one in the current directory, or the one that `--cwd` or `--env-file` names.
Unless `--env-file` names it, such a file cannot name a capture runtime, nor change the service's
address for a key that is not from there.
`XDG_CACHE_HOME` and the defaults of options are read from the real environment only:
see [configuration](configuration.md)."""


def contexts(application=None):
    """Return a context for each command, groups before their commands; `command_path` is as typed."""
    settings = {"resilient_parsing": True, "terminal_width": COLUMNS, "max_content_width": COLUMNS}

    def of(command, name, parent):
        context = command.make_context(name, [], parent=parent, **settings)
        yield context
        for inner_name, inner in getattr(command, "commands", {}).items():
            yield from of(inner, inner_name, context)

    return list(of(get_command(application or whole_app()), "vdbevents", None))


def help_of(context):
    """Return a command's help as on a terminal of a fixed width."""
    # The documents are in another place on each machine.
    with unittest.mock.patch.object(documents, "documents_folder", return_value=None):
        page = context.command.get_help(context)
    return "\n".join(line.rstrip() for line in page.splitlines())


def document():
    """Return the text of docs/cli.md."""
    parts = [
        "# The command line",
        "Generated by `python scripts/make_cli_docs.py`; a test fails when it is out of date.",
        *(f"## {context.command_path}\n\n```text\n{help_of(context)}\n```" for context in contexts()),
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
