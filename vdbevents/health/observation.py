"""What the files, the locks and the disk of a state directory say, read once."""

from pathlib import Path
from typing import Any, Final, NamedTuple

from vdbevents.errors import VdbeventsError
from vdbevents.events.fields import OWN_CHANNEL, utc_text
from vdbevents.journal import files, locks
from vdbevents.journal.archive import archived
from vdbevents.journal.state import StateDirectory

_MOST_LOOKS: Final = 3


class Process(NamedTuple):
    """A process that may run on a directory; its id is None if its file does not say."""

    runs: bool
    pid: int | None


class Sealing(NamedTuple):
    """How much of a journal is in its cache, in bytes."""

    sealed: int
    rest: int


class Observation(NamedTuple):
    """The state of a directory, which need not exist.

    Attributes:
        listener, capture, backend: which of them run, by the locks that they hold.
        status: the object in `videodb_listener.json`; without one, and if its history was asked for, what the
            journal says of the same: it is a copy, or was written by another program.
        info: the object in `videodb_capture_info.json`.
        served: the object in `videodb_backend.json`.
        journal_bytes: the size of the journal; None if there is none.
        free_bytes: what the disk has left for this user; None if it does not say.
        sealing: None if that was not asked for, or there is no place for a cache.
        archive: the sizes of the journals that were set aside; None if that was not asked for.
        host: the name of this machine.
        pauses: the object in `videodb_pauses.json`.
    """

    listener: Process
    capture: Process
    backend: Process
    status: dict[str, Any]
    info: dict[str, Any]
    served: dict[str, Any]
    journal_bytes: int | None
    free_bytes: int | None
    sealing: Sealing | None
    archive: tuple[int, ...] | None = None
    host: str = ""
    pauses: dict[str, Any] | None = None


def observe(directory: StateDirectory, *, with_history: bool) -> Observation:
    """Read the state of a directory; `with_history` also that of its cache and its archive.

    Raises:
        InputError: a lock cannot be opened.
    """
    running = _running(directory)
    for _ in range(_MOST_LOOKS):
        status = files.read_object(directory.listener_status)
        info = files.read_object(directory.capture_info)
        served = files.read_object(directory.backend_status)
        before, running = running, _running(directory)
        if before == running:
            break
        # One has ended or begun: the files of a run, and its lock, must be of the same moment.
    listener, capture, backend = running
    if with_history and not status and not listener:
        status = _status_by(directory.journal)
    pid = served.get("pid")
    return Observation(
        listener=_process(listener, locks.listener_pid(directory)),
        capture=_process(capture, locks.read_pid(directory.capture_pid)),
        backend=_process(backend, pid if type(pid) is int else None),
        status=status,
        info=info,
        served=served,
        journal_bytes=_size(directory),
        free_bytes=files.free_bytes(directory.path),
        sealing=_sealing(directory) if with_history else None,
        archive=_archive(directory) if with_history else None,
        host=locks.host_name(),
        pauses=files.read_object(directory.pauses),
    )


def observe_copy(journal: Path) -> Observation:
    """Read the state of a journal that is in no state directory."""
    none = Process(runs=False, pid=None)
    size = journal.stat().st_size
    return Observation(none, none, none, _status_by(journal), {}, {}, size, None, None, pauses={})


def _status_by(journal: Path) -> dict[str, Any]:
    """Return a status with what a journal itself says; empty if there is none, or it cannot be read."""
    if not journal.is_file():
        return {}
    from vdbevents.query.cache.seal_policy import present_cache
    from vdbevents.query.channel_totals import channel_totals
    from vdbevents.query.older import Older

    try:
        totals = channel_totals(journal, present_cache(journal), Older(present_cache))
    except VdbeventsError:
        return {}
    counts, gaps = [row for row in totals.channels if row[0] != OWN_CHANNEL], totals.gaps
    first_ms = min((first for _, _, first, _ in counts if first is not None), default=None)
    return {
        "state": "stopped",
        "events": {
            "total": sum(count for _, count, _, _ in counts),
            "since": None if first_ms is None else utc_text(first_ms),
            "channels": {
                name: {"count": count, "last": None if last is None else utc_text(last)}
                for name, count, _, last in counts
            },
        },
        "gaps": len(gaps),
        "unrecovered": sum(not gap.is_recovered for gap in gaps),
        "open_gaps": [gap.data() for gap in gaps if gap.status == "open"],
    }


def _running(directory: StateDirectory) -> tuple[bool, bool, bool]:
    return locks.listener_runs(directory), locks.capture_runs(directory), locks.backend_runs(directory)


def _process(runs: bool, pid: int | None) -> Process:  # noqa: FBT001 - what it is made of
    return Process(runs, pid if runs else None)


def _size(directory: StateDirectory) -> int | None:
    try:
        return directory.journal.stat().st_size
    except OSError:
        return None


def _sealing(directory: StateDirectory) -> Sealing | None:
    from vdbevents.query.cache import index, seal_policy

    cache = seal_policy.present_cache(directory.journal)
    return None if cache is None else Sealing(cache.end, index.rest_of(directory.journal, cache))


def _archive(directory: StateDirectory) -> tuple[int, ...] | None:
    try:
        return tuple(journal.path.stat().st_size for journal in archived(directory))
    except OSError:
        return None
