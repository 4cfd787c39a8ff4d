"""The outage of a state directory that goes on now: the journal has no line about it yet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vdbevents.events import fields
from vdbevents.events.gaps import Gap
from vdbevents.journal import files, locks
from vdbevents.journal.state import StateDirectory
from vdbevents.listener.outage import Outage, present_outage

ONGOING_ID: Final = "ongoing"
"""The id of a gap that has no line."""


def ongoing_gap(journal: Path, now_ms: int) -> Gap | None:
    """Return the gap that goes on now in a journal of a state directory; None without one.

    Args:
        journal: a journal; one of another name than that of a state directory has no ongoing gap.
        now_ms: the present, in milliseconds since the epoch.

    Raises:
        InputError: the listener's lock cannot be opened.
    """
    directory = StateDirectory(journal.parent)
    if journal != directory.journal:
        return None
    status = files.read_object(directory.listener_status)
    if not status:
        return None
    runs = locks.listener_runs(directory) and status.get("pid") == locks.listener_pid(directory)
    if not runs and is_elsewhere(status, locks.host_name()):
        return None
    return gap_of(status, files.read_object(directory.capture_info), runs=runs, now_ms=now_ms)


def is_elsewhere(status: Mapping[str, Any], host: str) -> bool:
    """Return whether a status is that of another machine, as in a copy: it may run there."""
    return isinstance(status.get("host"), str) and status["host"] != host


def gap_of(status: Mapping[str, Any], info: Mapping[str, Any], *, runs: bool, now_ms: int) -> Gap | None:
    """Return the ongoing gap by the content of a directory's files.

    Args:
        status: that of `videodb_listener.json`.
        info: that of `videodb_capture_info.json`.
        runs: whether the listener that wrote the status still runs.
        now_ms: the present, in milliseconds since the epoch.
    """
    outage = present_outage(status, runs=runs)
    if outage is None and not runs:
        outage = _missed_session(status, info)
    if outage is None:
        return None
    since_ms = min(outage.since_ms, now_ms)
    return Gap(ONGOING_ID, since_ms, now_ms, outage.reason, ongoing=True)


def _missed_session(status: Mapping[str, Any], info: Mapping[str, Any]) -> Outage | None:
    """Return the outage after an orderly stop in the middle of a session."""
    from vdbevents.sessions.recorded_session import session_from_info

    stopped_ms, session = fields.unix_ms(status.get("written")), session_from_info(info)
    if stopped_ms is None or session is None or not session.was_sent_to_listener(stopped_ms):
        return None
    return Outage(stopped_ms, "no listener is running")
