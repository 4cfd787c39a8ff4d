"""Find the video of the session at a moment: its address at VideoDB, and a file of it beside the journal.

The recorder writes no video. A file counts that somebody has put there under the session's id.
"""

import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from vdbevents.query.filters import Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.times import Window
from vdbevents.web.page_requests import AskedTime
from vdbevents.web.timeline_answers import sessions_within
from vdbevents.web.timeline_state import TimelineState

TYPES: Final = {".mp4": "video/mp4", ".webm": "video/webm"}
"""The endings of files that browsers play, with their media types."""


_START_MS: Final = 3_600_000


class VideoFile(NamedTuple):
    """A video of a session on this machine's disk, and its media type."""

    path: Path
    media_type: str


def videos_at(state: TimelineState, at_ms: int) -> list[dict[str, Any]]:
    """Return the videos of the sessions at a moment.

    Returns: of each its `session`, `offset`, where the moment is in it, in ms, `address`, of its player, or
        empty, and `file`, whether there is one on this machine.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    found = []
    for session in sessions_within(state.known(), AskedTime(at_ms, at_ms + 1), at_ms):
        has_file = video_file(state, session["id"]) is not None
        if has_file or session["video"]:
            begin_ms = _beginning(state, session["id"], session["since"])
            found.append(
                {
                    "session": session["id"],
                    "offset": max(0, at_ms - begin_ms),
                    "address": session["video"],
                    "file": has_file,
                }
            )
    return found


def video_file(state: TimelineState, session: str) -> VideoFile | None:
    """Return the file of a session's video that lies beside its journal; None if there is none.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    for journal, book in zip(state.journals.all(), state.known().books, strict=True):
        if not journal.is_scratch and any(facts.id == session for facts in book.sessions()):
            for path in _files_beside(journal):
                if path.stem == session and path.suffix in TYPES:
                    return VideoFile(path, TYPES[path.suffix])
    return None


def _files_beside(journal: HostJournal) -> list[Path]:
    """Return the files in a journal's folder; a session's id is never taken for a path."""
    try:
        with os.scandir(journal.path.parent) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_file())
    except OSError:
        return []


def _beginning(state: TimelineState, session: str, first_ms: int) -> int:
    """Return where a session's video begins, as `--zero session` of `transcript` has it."""
    window = Window(first_ms, first_ms + _START_MS)
    filters = Filters(window=window, channels=("capture_session",), any_of=("active",))
    with state.journals.search_rows(filters) as answer:
        for batch in answer.events(("time_ms", "text", "session")):
            for event in batch:
                if event.session == session and event.text == "active" and event.time_ms is not None:
                    return event.time_ms
    return first_ms
