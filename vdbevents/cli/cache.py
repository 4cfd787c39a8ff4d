"""`vdbevents cache …`: manage the query cache."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vdbevents.cli.command import as_json, put, reports, run_in_order
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import Color, Diagnostics, ExitCode, exit_code_of
from vdbevents.cli.options import ColorOption, JournalOptions, JsonOptions, LowPriorityOption
from vdbevents.cli.seal_display import SealDisplay
from vdbevents.cli.tables import nothing, remark, table
from vdbevents.errors import InputError, StorageError, VdbeventsError, options_conflict
from vdbevents.journal.history import older_journals
from vdbevents.terminal import byte_size, counted

cache_app = typer.Typer(help="Manage the query cache.", no_args_is_help=True, rich_markup_mode=None)

_STATUS_HELP = """Show how much of a journal is in the query cache.

Also shows the cache's size on disk.

\b
Examples:
  vdbevents cache status
  vdbevents cache status old/videodb_events.jsonl --json | jq .sealed_bytes

\b
Exit codes: 0 something is sealed, 1 nothing is, 2 wrong input.
"""


@cache_app.command(help=_STATUS_HELP)
@reports
def status(
    *,
    printing: JsonOptions,
    options: JournalOptions,
) -> ExitCode:
    from vdbevents.query.cache import index, seal_policy

    state = _cache_state(options.find_journal(), seal_policy.default_root())
    put(as_json(state) if printing.as_json else _shown(state, index.PART))
    return ExitCode.DONE if state["segments"] else ExitCode.NO_MATCH


def _cache_state(journal: Path, root: Path) -> dict[str, Any]:
    from vdbevents.query.cache import index

    cache = index.load(journal, root)
    size = cache.end + index.rest_of(journal, cache)
    on_disk = cache.size()
    caches = [folder for folder in index.folders(root) if index.is_own(folder)]
    orphans = list(index.orphans(root))
    return {
        "journal": str(journal.absolute()),
        "journal_bytes": size,
        "sealed_bytes": cache.end,
        "segments": len(cache.segments),
        "folder": str(cache.folder),
        # A cache of another version, or of a former journal of this name, is replaced at the next sealing.
        "fits": bool(cache.segments) if cache.manifest.exists() else None,
        "cache_bytes": on_disk,
        "cache_percent": round(100 * on_disk / size, 1) if size else None,
        "root": str(root),
        "caches": len(caches),
        "caches_bytes": sum(map(index.size_of, caches)),
        "orphans": len(orphans),
        "orphans_bytes": sum(map(index.size_of, orphans)),
    }


def _shown(state: Mapping[str, Any], piece: int) -> str:
    """Format the state of a cache for a person."""
    size = state["journal_bytes"]
    if state["segments"]:
        percent = 100 * state["sealed_bytes"] / size
        segments = counted(state["segments"], "segment")
        sealed = f"{byte_size(state['sealed_bytes'])} ({percent:.0f} %) in {segments}"
    elif state["fits"] is False:
        sealed = "nothing: the cache does not fit the journal"
    elif size < piece:
        sealed = f"nothing yet (first {byte_size(piece)} not reached)"
    else:
        sealed = "nothing"
    on_disk = "none"
    if state["cache_bytes"]:
        size_on_disk = byte_size(state["cache_bytes"])
        on_disk = f"{size_on_disk}, {state['cache_percent']} % of the journal, in {state['folder']}"
    caches = counted(state["caches"], "cache")
    rows = [
        ["journal", f"{byte_size(size)} in {state['journal']}"],
        ["sealed", sealed],
        ["cache", on_disk],
        ["all", f"{byte_size(state['caches_bytes'])} in {caches} in {state['root']}"],
    ]
    if state["orphans"]:
        orphans = f"{byte_size(state['orphans_bytes'])} in {counted(state['orphans'], 'cache')}"
        rows.append(["orphans", f"{orphans} without a journal: vdbevents cache clear --orphans"])
    return table(rows, None)


_CLEAR_HELP = """Remove the cache of a journal, or all caches. Journals are not touched.

\b
Examples:
  vdbevents cache clear
  vdbevents cache clear /mnt/gone/videodb_events.jsonl
  vdbevents cache clear --all

\b
Exit codes: 0 removed, 1 there was none, 2 wrong input, 74 it cannot be removed, or is being written.
"""


@cache_app.command(help=_CLEAR_HELP)
@reports
def clear(
    *,
    everything: Annotated[bool, Option("--all", help="Remove the caches of all journals.")] = False,
    only_orphans: Annotated[
        bool, Option("--orphans", help="Remove the caches whose journal is gone.")
    ] = False,
    options: JournalOptions,
) -> ExitCode:
    from vdbevents.query.cache import index, seal_policy

    root, journal = seal_policy.default_root(), options.journal
    for option, is_given in (("--all", everything), ("--orphans", only_orphans)):
        if is_given and journal is not None:
            raise options_conflict(option, "a journal")
    if everything and only_orphans:
        raise options_conflict("--all", "--orphans")
    if only_orphans:
        folders = list(index.orphans(root))
        none = f"no cache in {root} whose journal is gone"
    elif everything:
        folders = index.folders(root)
        none = f"no cache in {root}"
    else:
        # The journal may be gone, so that the path may be that of the directory or of the file.
        journals = [options.state_at(journal).journal]
        journals += [] if journal is None else [journal]
        journals += [older.path for older in older_journals(journals[0], cleared=True)]
        folders = [index.folder_of(path, root) for path in journals]
        none = f"no cache of {journal or journals[0]} in {root}"
    return _clear(folders, none)


def _clear(folders: list[Path], none: str) -> ExitCode:
    from vdbevents.query.cache import build as cache_build

    freed = count = 0
    failures: list[VdbeventsError] = []
    for folder in folders:
        try:
            size = cache_build.clear(folder)
        except (InputError, StorageError) as error:
            failures.append(error)
        else:
            freed, count = freed + size, count + (size > 0)
    if count:
        remark(f"freed {byte_size(freed)}: {counted(count, 'cache')} removed")
    for failure in failures:
        diagnostics = Diagnostics()
        diagnostics.error(failure)
        diagnostics.flush()
    if failures:
        return exit_code_of(failures[-1])
    return ExitCode.DONE if count else nothing(none)


_VERIFY_HELP = """Check all of a journal's cache, and that the journal is still what was sealed.

Reads both from beginning to end. A query checks each file of the cache when it first reads it, and the ends
of each segment of the journal.

\b
Examples:
  vdbevents cache verify
  vdbevents cache verify old/videodb_events.jsonl

\b
Exit codes: 0 all is as it was sealed, 1 nothing is sealed, 2 wrong input, 74 something differs.
"""


@cache_app.command(help=_VERIFY_HELP)
@reports
def verify(*, printing: JsonOptions, options: JournalOptions) -> ExitCode:
    from vdbevents.query.cache import index, seal_policy

    journal, root = options.find_journal(), seal_policy.default_root()
    journals = [*(older.path for older in older_journals(journal, cleared=True)), journal]
    segments = sum(len(index.load(path, root).segments) for path in journals)
    found = [fault for path in journals for fault in seal_policy.faults(path, root)]
    if printing.as_json:
        put(as_json({"segments": segments, "faults": [fault.what for fault in found]}))
    for fault in () if printing.as_json else found:
        remark(fault.what)
    if found:
        command = shlex.join(["vdbevents", "cache", "clear", str(journal)])
        raise StorageError(
            f"{counted(len(found), 'fault')} in the cache of {journal}",
            f"remove the cache, which is made again: {command}",
            error_id="cache-damaged",
        )
    if not segments:
        return nothing(f"nothing of {journal} is in a cache that fits it")
    if not printing.as_json:
        put(f"{counted(segments, 'segment')} as sealed, and the journal as it was then")
    return ExitCode.DONE


_BUILD_HELP = """Add the full segments of a journal to the query cache.

A segment has 32 MiB, or 8 MiB at the end of the journal. `vdbevents listen` does this in the background, and
a query over more than a day does it first.

\b
Examples:
  vdbevents cache build
  vdbevents cache build old/videodb_events.jsonl --low-priority
"""


@cache_app.command(help=_BUILD_HELP)
@reports
def build(
    *,
    low_priority: LowPriorityOption = False,
    printing: JsonOptions,
    options: JournalOptions,
    color: ColorOption = Color.AUTO,
) -> ExitCode:
    from vdbevents.query.cache import seal_policy

    path = options.find_journal()
    root = seal_policy.default_root()
    run_in_order(low_priority=low_priority)
    seal_policy.seal(path, root, SealDisplay(color))
    if freed := seal_policy.tidy(path, root):
        remark(f"freed {byte_size(freed)}: removed caches whose journal is gone")
    state = _cache_state(path, root)
    sealed, size = byte_size(state["sealed_bytes"]), byte_size(state["journal_bytes"])
    put(as_json(state) if printing.as_json else f"{sealed} of {size} are sealed")
    return ExitCode.DONE
