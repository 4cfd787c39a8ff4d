"""`listen --clear`: what the option means, the question before something is deleted, and what is said."""

import os
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vdbevents.cli.command_classes import ProgramCommand
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import is_terminal
from vdbevents.cli.localtime import local_text
from vdbevents.errors import InputError
from vdbevents.terminal import byte_size, counted

if TYPE_CHECKING:
    from vdbevents.cli.diagnostics import Diagnostics
    from vdbevents.journal.aside import Contents
    from vdbevents.journal.state import StateDirectory


class ClearMode(StrEnum):
    """What becomes of what a journal has."""

    ARCHIVE = "archive"
    DELETE = "delete"


ClearOption = Annotated[
    ClearMode | None,
    Option(
        "--clear",
        help="Start with an empty journal. What it has is moved to DIR/archive; --clear=delete deletes it.",
        show_default=False,
    ),
]
YesOption = Annotated[bool, Option("--yes", help="Do not ask before --clear=delete.")]


class ClearableCommand(ProgramCommand):
    """A command whose `--clear` has a value only after `=`: in `--clear DIR`, DIR is the directory."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Give `--clear` its value."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(
            ctx,
            [f"--clear={ClearMode.ARCHIVE}" if word == "--clear" else word for word in args[:end]]
            + args[end:],
        )


def confirms_deletion(state: "StateDirectory", *, is_confirmed: bool) -> bool:
    """Return whether what is in a state directory may be deleted: ask, unless that is confirmed already.

    Raises:
        InputError: there is nobody to ask, or the journal cannot be read.
        ListenerStateError: a listener records into it.
    """
    from vdbevents.journal.aside import contents
    from vdbevents.journal.files import unusable
    from vdbevents.journal.locks import already_listening, listener_runs

    if listener_runs(state):
        raise already_listening(state)
    if is_confirmed:
        return True
    try:
        found = contents(state)
    except OSError as error:
        raise unusable(state.journal, error) from error
    if not found.size and not found.rotated:
        return True
    if not _can_ask():
        raise InputError(
            f"--clear=delete: would delete {described(found)}",
            "confirm it with --yes, or use --clear, which sets it aside",
            error_id="deletion-unconfirmed",
        )
    sys.stderr.write(f"vdbevents: delete {described(found)} in {state.path} for good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _can_ask() -> bool:
    if not is_terminal(sys.stdin) or not is_terminal(sys.stderr):
        return False
    # A job in the background is stopped when it reads from its terminal.
    return not hasattr(os, "tcgetpgrp") or os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()


def reporter(
    mode: ClearMode | None, state: "StateDirectory", observer: "Diagnostics"
) -> Callable[["Contents"], None]:
    """Return what is called with what was cleared: it says so, and lets the caches follow."""

    def report(cleared: "Contents") -> None:
        problem = _move_caches(cleared.moved)
        if not cleared.size and not cleared.rotated:
            pass
        elif mode is ClearMode.DELETE:
            observer.say(f"deleted {described(cleared)}", always=True)
        else:
            observer.say(
                f"set aside {described(cleared)} in {state.archive}",
                hint=f"search it with: vdbevents query --archived {state.path}",
                always=True,
            )
        if problem:
            observer.say(problem, problem=True)

    return report


def _move_caches(moved: Sequence[tuple[Path, Path | None]]) -> str:
    """Let the caches follow moved journals; return what is wrong, if anything."""
    from vdbevents.errors import StorageError
    from vdbevents.query.cache import seal_policy

    if not moved:
        return ""
    try:
        seal_policy.follow_moves(moved)
    except (InputError, StorageError) as error:
        return f"{error.message}: it holds what was cleared until then"
    return ""


def described(found: "Contents") -> str:
    """Describe what a journal holds: events, size, since when."""
    text = f"{counted(found.events, 'event')} ({byte_size(found.size)})"
    if found.rotated:
        text += f" and {counted(found.rotated, 'rotated journal')}"
    if found.since_ms is not None:
        text += f" since {local_text(found.since_ms)}"
    return text
