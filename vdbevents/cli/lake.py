"""`vdbevents lake …`: look after a lake, the table that recorders ship to."""

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vdbevents.cli.command import as_json, put, reports, run_in_order
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.forget import ExactOption, GrepOption, IgnoreCaseOption, window_of, words_of
from vdbevents.cli.localtime import local_text
from vdbevents.cli.options import JsonOptions, LowPriorityOption
from vdbevents.cli.query_options import TIMES_HELP, WindowOptions
from vdbevents.cli.ship import LakeArgument
from vdbevents.cli.tables import nothing, remark, table, terminal_width
from vdbevents.errors import InputError
from vdbevents.terminal import byte_size, counted, harmless

if TYPE_CHECKING:
    from vdbevents.lake.lake_state import HostState, LakeState

lake_app = typer.Typer(
    help="Look after a lake, the table that recorders ship to.", no_args_is_help=True, rich_markup_mode=None
)

_STATUS_HELP = """Show what a lake holds: its recorders, how far each is shipped, its files.

The lag is the time since a recorder last shipped something new.

\b
Examples:
  vdbevents lake status /mnt/team/lake
  vdbevents lake status s3://team-events/lake --json | jq '.hosts[] | [.host, .lag_seconds]'

\b
Exit codes: 0 there are lines, 1 there are none, 2 wrong input, 4 the object store refused, 5 it was not
reached.
"""


@lake_app.command(help=_STATUS_HELP)
@reports
def status(lake: LakeArgument, *, printing: JsonOptions) -> ExitCode:
    from vdbevents.lake.compaction import TARGET_BYTES
    from vdbevents.lake.lake_state import lake_state
    from vdbevents.lake.lake_table import lake_address, lake_errors, open_lake

    run_in_order(low_priority=False)
    opened = open_lake(lake)
    with lake_errors(lake_address(lake)):
        state = lake_state(opened, TARGET_BYTES // 2)
    now_ms = time.time_ns() // 1_000_000
    if printing.as_json:
        put(as_json(_state_object(lake, state, now_ms)))
    else:
        put(_shown(lake, state, now_ms))
    return ExitCode.DONE if state.hosts else ExitCode.NO_MATCH


def _state_object(lake: str, state: "LakeState", now_ms: int) -> dict[str, Any]:
    return {
        "lake": lake,
        "version": state.version,
        "files": state.files,
        "small_files": state.small,
        "bytes": state.bytes,
        "days": state.days,
        "lines": sum(host.lines for host in state.hosts),
        "hosts": [_host_object(host, now_ms) for host in state.hosts],
    }


def _host_object(host: "HostState", now_ms: int) -> dict[str, Any]:
    from vdbevents.events.envelope import utc_text

    def text(at_ms: int | None) -> str | None:
        return None if at_ms is None else utc_text(at_ms)

    lag = host.lag_ms(now_ms)
    return {
        "host": host.host,
        "journal": host.journal,
        "lines": host.lines,
        "journal_bytes": host.bytes,
        "first": text(host.first_ms),
        "last": text(host.last_ms),
        "shipped": text(host.shipped_ms),
        "lag_seconds": None if lag is None else lag / 1000,
    }


def _shown(lake: str, state: "LakeState", now_ms: int) -> str:
    from vdbevents.times import format_duration

    small = f", {state.small:,} of them small" if state.small else ""
    rows = [
        ["lake", harmless(lake)],
        ["files", f"{state.files:,} ({byte_size(state.bytes)}) of {counted(state.days, 'day')}{small}"],
        ["lines", f"{sum(host.lines for host in state.hosts):,}"],
    ]
    text = table(rows, None)
    if not state.hosts:
        return text
    listed = [["host", "lines", "last event", "shipped", "lag"]]
    for host in state.hosts:
        lag = host.lag_ms(now_ms)
        listed.append(
            [
                host.host,
                f"{host.lines:,}",
                "" if host.last_ms is None else local_text(host.last_ms),
                "" if host.shipped_ms is None else local_text(host.shipped_ms),
                "" if lag is None else format_duration(lag),
            ]
        )
    return f"{text}\n\n{table(listed, terminal_width())}"


_FILES_HELP = """Print the data files that a lake has now, one a line, for tools that read no Delta Lake.

The folder has others, too: those that were joined or rewritten, until they are deleted. Who reads all of them
counts events twice. Each is in a folder date=YYYY-MM-DD, and has no column for that.

\b
Examples:
  vdbevents lake files /mnt/team/lake
  vdbevents lake files s3://team-events/lake | grep date=2026-03-02

\b
Exit codes: 0 there are files, 1 there are none, 2 wrong input, 4 the object store refused, 5 it was not
reached.
"""


@lake_app.command(help=_FILES_HELP)
@reports
def files(lake: LakeArgument, *, printing: JsonOptions) -> ExitCode:
    from vdbevents.lake.lake_table import lake_address, lake_errors, open_lake

    run_in_order(low_priority=False)
    opened = open_lake(lake)
    with lake_errors(lake_address(lake)):
        uris = sorted(opened.file_uris())
    if printing.as_json:
        put(as_json(uris))
    elif uris:
        put("\n".join(map(harmless, uris)))
    return ExitCode.DONE if uris else ExitCode.NO_MATCH


_COMPACT_HELP = """Join a lake's small files of days that are over, and delete what is not used any more.

Recorders may ship meanwhile. Let one machine do it, once a day: of two at one time, one does its work for
nothing. Files that the table has not had for a week are deleted for good, also those that a crash left.

\b
Examples:
  vdbevents lake compact /mnt/team/lake
  vdbevents lake compact s3://team-events/lake --unused-for 30d

\b
Exit codes: 0 done, 2 wrong input, 4 the object store refused, 5 it was not reached, 74 no room.
"""


@lake_app.command(help=_COMPACT_HELP)
@reports
def compact(
    lake: LakeArgument,
    *,
    unused_for: Annotated[
        str,
        Option(metavar="TIME", help="Delete what the table has not had for so long; at least 2d."),
    ] = "7d",
    low_priority: LowPriorityOption = False,
    printing: JsonOptions,
) -> ExitCode:
    from vdbevents.lake import compaction
    from vdbevents.lake.table_rewrite import TableRewrite
    from vdbevents.query import duck
    from vdbevents.times import parse_duration

    kept = timedelta(milliseconds=parse_duration("--unused-for", unused_for))
    if kept < compaction.LEAST_KEPT:
        raise InputError(
            f"--unused-for: too short, got {unused_for!a}",
            "give 2d or more: a recorder may take a day from an upload to its commit",
            error_id="time-too-short",
        )
    run_in_order(low_priority=low_priority)
    with duck.interruptible(), TableRewrite(lake) as rewrite:
        done = compaction.compact(rewrite, kept)
    if printing.as_json:
        put(as_json(done._asdict()))
        return ExitCode.DONE
    put(
        f"joined {counted(done.before, 'file')} of {counted(done.days, 'day')} into {done.after:,}, "
        f"deleted {counted(done.deleted, 'file')} that {'was' if done.deleted == 1 else 'were'} not used"
    )
    if done.busy:
        remark(
            f"{counted(done.busy, 'part')} of a day could not be joined: another process changed its files",
            "let one machine alone compact a lake",
        )
    return ExitCode.DONE


_FORGET_HELP = f"""Show what was said or shown, and with --yes delete it from a lake for good.

Give the time, or words in it, as for `vdbevents forget`. The rows go from the table, and the files that had
them from the store; earlier versions of the table cannot be read any more. It does not change a recorder's
own journal: forget it there first, or what was not shipped yet comes later. Lines about the recording itself
that have the words go, too.

\b
Examples:
  vdbevents lake forget /mnt/team/lake --host laptop --since 10:15 --until 10:30
  vdbevents lake forget s3://team-events/lake --grep "project falcon" --yes

{TIMES_HELP}

\b
Exit codes: 0 something to delete, or deleted; 1 nothing to delete; 2 wrong input; 4 the object store refused;
5 it was not reached; 74 no room, or others change the table.
"""


@lake_app.command(help=_FORGET_HELP)
@reports
def forget(
    lake: LakeArgument,
    *,
    when: WindowOptions,
    grep: GrepOption = None,
    ignore_case: IgnoreCaseOption = False,
    exact: ExactOption = False,
    host: Annotated[str | None, Option(metavar="NAME", help="Only what this recorder shipped.")] = None,
    yes: Annotated[bool, Option("--yes", help="Apply the change; without this, only show it.")] = False,
    printing: JsonOptions,
) -> ExitCode:
    from vdbevents.lake.lake_forgetting import LakeForgetting
    from vdbevents.lake.table_rewrite import TableRewrite
    from vdbevents.query import duck
    from vdbevents.times import Window

    window, words = window_of(when), words_of(grep, ignore_case=ignore_case, exact=exact)
    if window == Window() and words is None and host is None:
        hint = "give --last, --on, or --since and --until, --grep TEXT, or --host NAME"
        raise InputError("--since: missing", hint, error_id="option-missing")
    run_in_order(low_priority=False)
    with duck.interruptible(), TableRewrite(lake) as rewrite:
        forgetting = LakeForgetting(rewrite, window, words, host)
        doomed = forgetting.delete() if yes else forgetting.find()
    if yes:
        _drop_copies(lake)
    rows, hosts = len(doomed.rows), [harmless(name) for name in doomed.hosts]
    if printing.as_json:
        put(as_json({"done": yes, "lines": rows, "files": len(doomed.files), "hosts": list(doomed.hosts)}))
    elif rows:
        put(
            f"{counted(rows, 'line')} of {', '.join(hosts)} {'deleted' if yes else 'would be deleted'}, "
            f"from {counted(len(doomed.files), 'file')}"
        )
        if not yes:
            remark("nothing was deleted yet", "apply it: the same command with --yes")
    if rows:
        return ExitCode.DONE
    return ExitCode.NO_MATCH if printing.as_json else nothing(_NONE)


def _drop_copies(lake: str) -> None:
    """Remove this machine's copies of an object store's files that the lake does not have any more."""
    from vdbevents.lake.lake_reader import LakeReader
    from vdbevents.query.cache.seal_policy import find_root

    LakeReader(lake, os.environ, find_root())


_NONE: Final = "nothing to forget"
