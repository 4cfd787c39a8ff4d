"""The names under which a recording is in a lake: chosen once, and kept beside the journal."""

import contextlib
import os
import socket
from pathlib import Path
from typing import Final, NamedTuple

from vdbevents.errors import InputError
from vdbevents.journal.files import (
    give_to_owner,
    new_file,
    read_object,
    remove_file,
    sync_file,
    to_json,
    unusable,
)
from vdbevents.journal.state import StateDirectory
from vdbevents.lake.recorded_files import RecordedFiles
from vdbevents.lake.table_schema import is_host
from vdbevents.query.byte_ranges import unreadable_journal

_HINT: Final = "give a short name: --host laptop"


class RecordingName(NamedTuple):
    """A recording's names: of the host, and of the recording on it."""

    host: str
    journal: str


def recording_name(directory: StateDirectory, host: str | None) -> RecordingName | None:
    """Return the names of a recording; the first call chooses them. None while there is no line.

    The recording is named by its first line: to choose again, at the same time or after the file was lost,
    gives the same name.

    Args:
        directory: its state directory.
        host: the host's name; None for the one that it has, or else this machine's.

    Raises:
        InputError: no such name is allowed, or another was chosen; or a file cannot be read or written.
    """
    if host is not None and not is_host(host):
        raise InputError(f"--host: not a name, got {host!a}", _HINT, error_id="host-invalid")
    kept = _kept(directory)
    if kept is None:
        try:
            with RecordedFiles(directory.journal) as recorded:
                head = recorded.first_head
        except OSError as error:
            raise unreadable_journal(directory.journal, error) from None
        if head is None:
            return None
        _keep(directory.lake, RecordingName(host or _own_host(), f"{head:016x}"))
        kept = _kept(directory)
        if kept is None:
            raise unusable(directory.lake, OSError(None, "it is not what was written"))
    if host is not None and host != kept.host:
        raise InputError(
            f"--host: this recording is shipped as {kept.host}, not as {host}",
            f"leave out --host; under another name its lines would be there twice ({directory.lake})",
            error_id="host-differs",
        )
    return kept


def _kept(directory: StateDirectory) -> RecordingName | None:
    if not os.path.lexists(directory.lake):
        return None
    content = read_object(directory.lake)
    host, journal = content.get("host"), content.get("journal")
    if isinstance(host, str) and isinstance(journal, str) and is_host(host) and is_host(journal):
        return RecordingName(host, journal)
    raise InputError(
        f"{directory.lake}: not the names of a recording",
        "restore it from a backup, or remove it: the names are then chosen again",
        error_id="lake-name-invalid",
    )


def _keep(path: Path, name: RecordingName) -> None:
    """Write the names unless another process was first."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with new_file(unfinished) as file:
            file.write(to_json(name._asdict()))
            sync_file(file)
        give_to_owner(unfinished)
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
    except OSError as error:
        raise unusable(path, error) from error
    finally:
        remove_file(unfinished)


def _own_host() -> str:
    name = socket.gethostname().partition(".")[0]
    return name if is_host(name) else "recorder"
