"""What `prune`, `forget` and `redact` share: how a removal is shown, confirmed and carried out."""

import contextlib
import errno
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

from vdbevents.cli.command import as_json, put, run_in_order
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode, can_redraw
from vdbevents.cli.localtime import local_text
from vdbevents.cli.options import EnvironmentOptions, JsonOptions, LowPriorityOption, StateOptions
from vdbevents.cli.tables import nothing, remark
from vdbevents.errors import InputError, StorageError
from vdbevents.journal.files import is_disk_full, wall_ms
from vdbevents.terminal import byte_size, counted, harmless

if TYPE_CHECKING:
    from vdbevents.journal.state import StateDirectory
    from vdbevents.removal.remover import FileRemoval, RemovalPlan, Task

_MOST_SHOWN_FILES: Final = 20


class RemovalOptions(JsonOptions, StateOptions):
    """The options of a command that removes something for good."""

    yes: Annotated[bool, Option("--yes", help="Apply the change; without this, only show it.")] = False
    low_priority: LowPriorityOption = False


def run(task: "Task", options: RemovalOptions, *, verb: str, again: Sequence[str], none: str) -> ExitCode:
    """Show what a task removes, or remove it; print a summary.

    Args:
        task: what to remove.
        options: the command's.
        verb: what is done to the events, such as `removed`.
        again: the command line that does it, without `--yes`.
        none: the message when there is nothing.

    Raises:
        InputError: there is no state directory.
        StorageError: it could not be done; each file is as it was, or done.
    """
    from vdbevents.query.cache import seal_policy
    from vdbevents.removal.remover import Remover

    state = options.state
    if not state.path.is_dir():
        raise InputError(
            f"{state.path}: no such directory", "name a state directory", error_id="path-missing"
        )
    run_in_order(low_priority=options.low_priority)
    with _progress(state) as progress, _storage_errors(state):
        remover = Remover(
            state, task, seal_policy.find_root(), clock_ms=wall_ms, day_of=local_day, progress=progress
        )
        plan = remover.carry_out() if options.yes else remover.plan()
    if options.as_json:
        put(as_json(_object(plan, task, is_done=options.yes)))
    if plan.files and not options.as_json:
        put(_shown(plan, verb if options.yes else f"would be {verb}"))
        if not options.yes:
            remark(f"nothing was {verb} yet", f"apply it with: {shlex.join([*again, '--yes'])}")
    if plan.damaged:
        for damaged in plan.damaged[1:]:
            remark(damaged.message, damaged.hint)
        raise plan.damaged[0]
    if plan.files:
        return ExitCode.DONE
    return ExitCode.NO_MATCH if options.as_json else nothing(none)


def command_line(options: RemovalOptions, words: Sequence[str]) -> list[str]:
    """Return the command line of a removal with some options, in the same directory."""
    directory = [] if options.directory is None else [str(options.directory)]
    return ["vdbevents", *words, *directory, *_environment(options)]


def _environment(options: EnvironmentOptions) -> Iterator[str]:
    for name, value in (("--env-file", options.env_file), ("--cwd", options.cwd)):
        if value is not None:
            yield f"{name}={value}"


def local_day(milliseconds: int) -> str:
    """Return the local day of a time: `2026-03-02`."""
    return local_text(milliseconds)[:10]


@contextlib.contextmanager
def _progress(state: "StateDirectory") -> Iterator[Callable[[str], None]]:
    """Show on a terminal which file is worked on, and nothing when it is done."""
    if not can_redraw(sys.stderr, state):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.status import Status

    with Status("reading", console=Console(stderr=True)) as status:
        yield lambda name: status.update(f"reading {harmless(name)}")


@contextlib.contextmanager
def _storage_errors(state: "StateDirectory") -> Iterator[None]:
    """Turn errors of files into errors of the command.

    Raises:
        StorageError: there is no room.
        InputError: a file cannot be read or written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EAGAIN:
            raise StorageError(
                f"cannot lock the journal in {state.path}: {reason}",
                "try again; a program that is suspended may hold the lock",
                error_id="journal-locked",
            ) from error
        if is_disk_full(error):
            raise StorageError(
                f"no room in {state.path} for the rewritten journal: {reason}",
                "free as much as the journal takes, and run it again; no event was lost",
                error_id="disk-full",
            ) from error
        # Windows does not let a file be replaced that another program has open.
        opened = "end the listener and other programs that use them" if sys.platform == "win32" else ""
        raise InputError(
            f"cannot rewrite the journals in {state.path}: {reason}",
            f"{opened or 'check the owner of the files'}, then run it again; no event was lost",
            error_id="rewrite-failed",
        ) from error


def _shown(plan: "RemovalPlan", done: str) -> str:
    """Format what goes for a person: two lines for each file, and the sum."""
    lines = [line for file in plan.files[:_MOST_SHOWN_FILES] for line in _described(file)]
    if len(plan.files) > _MOST_SHOWN_FILES:
        lines.append(f"and {counted(len(plan.files) - _MOST_SHOWN_FILES, 'file')} more")
    total = plan.total
    days = f" of {counted(len(total.days), 'day')}" if total.days else ""
    what = _counts(total.kinds or total.channels)
    lines.append(f"{counted(total.events, 'event')}{days}, {byte_size(total.size)}, {done}: {what}")
    return "\n".join(lines)


def _described(file: "FileRemoval") -> Iterator[str]:
    tally = file.tally
    yield harmless(file.name)
    facts = [counted(tally.events, "event"), byte_size(tally.size)]
    if tally.since_ms is not None:
        since, until = local_text(tally.since_ms), local_text(tally.until_ms)
        same_day = since[:10] == until[:10]
        facts.append(f"{since} to {until[11:] if same_day else until}")
    facts += [_counts(tally.kinds)] if tally.kinds else []
    facts += ["the whole file"] if file.is_whole else []
    yield f"  {', '.join(facts)}"


def _counts(counts: Mapping[str, int]) -> str:
    listed = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {harmless(name)}" for name, count in listed)


def _object(plan: "RemovalPlan", task: "Task", *, is_done: bool) -> Mapping[str, Any]:
    total = plan.total
    files = [{"file": file.name, "whole": file.is_whole, **file.tally.data()} for file in plan.files]
    damaged = [error.message for error in plan.damaged]
    whole = {"days": len(total.days), "files": files, "damaged": damaged}
    return {"done": is_done, **task.facts, **total.data(), **whole}
