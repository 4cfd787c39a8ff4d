"""Prepare the state directory for a run, and read what the last run left."""

import contextlib
import itertools
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from vdbevents.errors import InputError, StorageError
from vdbevents.events import fields
from vdbevents.journal import append, aside, files, reader
from vdbevents.listener.counters import ListenerCounts
from vdbevents.listener.listener_options import ListenerOptions
from vdbevents.listener.listener_status import count_line, restore_counts
from vdbevents.listener.outage import Outage, unmarked_outage

_MOST_RECOUNTED_BYTES = 64 << 20
_MOST_IDS = 100


class Startup(NamedTuple):
    """The state that a run continues from.

    Attributes:
        counts: of the journal so far.
        outage: what earlier runs left unmarked.
        cleared_ids: the connections of a journal that was just cleared, newest first.
    """

    counts: ListenerCounts
    outage: Outage | None
    cleared_ids: tuple[str, ...]


def prepare(options: ListenerOptions, journal: append.Journal) -> Startup:
    """Write the PID, clear the journal if requested, and repair its end.

    Raises:
        InputError, StorageError: the directory cannot be written.
    """
    directory = options.directory
    cleared_ids: tuple[str, ...] = ()
    try:
        # Before all else: with the lock held, the PID of a dead run would be taken for ours.
        files.replace_file(directory.ws_pid, str(os.getpid()).encode())
        files.remove_file(directory.ws_id)
        aside.mend(directory)
        if options.clear is not None:
            # Pipelines bound to these connections still run: remember whose they are.
            cleared_ids = tuple(itertools.islice(reader.connection_ids(directory.journal), _MOST_IDS))
            cleared = journal.clear() if options.clear == "archive" else journal.delete()
            files.remove_file(directory.listener_status)
            options.on_cleared(cleared)
        journal.repair()
    except OSError as error:
        with contextlib.suppress(OSError):
            files.remove_file(directory.ws_pid)
        is_full = files.is_disk_full(error)
        place = error.filename2 or error.filename or directory.path
        raise (StorageError if is_full else InputError)(
            f"cannot write to {place}: {error.strerror or error}",
            "free disk space, or use another directory" if is_full else "check it, or use another directory",
            error_id="disk-full" if is_full else "state-directory-unwritable",
        ) from error
    status = files.read_object(directory.listener_status)
    return Startup(_counts_so_far(options, journal.size, status), _outage(options, status), cleared_ids)


def _counts_so_far(options: ListenerOptions, size: int, status: Mapping[str, Any]) -> ListenerCounts:
    """Return the last run's counts, and what was written since."""
    counts = ListenerCounts()
    counted, head = status.get("journal_bytes"), status.get("journal_head")
    start: int | reader.JournalPlace = 0
    if rewritten := reader.rewritten_since(options.directory.journal, status.get("journal_inode"), counted):
        # What was counted is before this place: nobody else had written meanwhile, or only a few lines.
        start, size = rewritten.place, size - rewritten.place
    elif isinstance(counted, int) and isinstance(head, str) and head:
        # The journal may have been rotated since.
        place = reader.JournalPlace(counted, head.encode("latin-1", "replace"))
        since = reader.size_since(options.directory.journal, place)
        start, size = (0, size) if since is None else (place, since)
    elif isinstance(counted, int) and counted <= size:
        start, size = counted, size - counted
    if size > _MOST_RECOUNTED_BYTES:
        return counts
    if start:
        restore_counts(counts, status)
    for line in reader.follow(options.directory.journal, from_end=False, wait=lambda: False, start=start):
        count_line(counts, line)
    return counts


def _outage(options: ListenerOptions, status: Mapping[str, Any]) -> Outage | None:
    outage, stopped_ms = unmarked_outage(status), fields.unix_ms(status.get("written"))
    if outage is not None or stopped_ms is None or options.recovery is None:
        return outage
    # After an orderly stop in the middle of a session its events are missing all the same.
    is_missed = options.recovery.was_live(stopped_ms)
    return Outage(stopped_ms, "no listener was running") if is_missed else None
