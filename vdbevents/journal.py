"""Everything that is kept on disk: where, under which lock, written how, and repaired when.

The state directory holds the journal (`videodb_events.jsonl`) and small files about the processes that write
it. `docs/events-format.md` says what another program may rely on.
"""

import contextlib
import errno
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdbevents import record
from vdbevents.errors import CaptureError, InputError, ListenerStateError, VdbeventsError

_BLOCK = 1 << 16
_BACKWARD_BLOCK = 1 << 20
_FOLLOWED_BLOCK = 1 << 20
_LOCK_PATIENCE_SECONDS = 5.0
_LONGEST_PID = 19
_LOCK_POLL_SECONDS = 0.0005
_LOOK_BACK_BYTES = 16 << 20
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The folder of one recording, and the names of the files in it."""

    path: Path

    @property
    def journal(self) -> Path:
        """The events, one JSON object a line."""
        return self.path / "videodb_events.jsonl"

    @property
    def journal_lock(self) -> Path:
        """Held for the length of one append."""
        return self.path / "videodb_events.lock"

    @property
    def torn(self) -> Path:
        """What was found of lines that a crash cut short, one piece a line."""
        return self.path / "videodb_events.torn"

    @property
    def ws_id(self) -> Path:
        """The id of the connection that stands, nothing else."""
        return self.path / "videodb_ws_id"

    @property
    def ws_pid(self) -> Path:
        """The listener's process id, nothing else."""
        return self.path / "videodb_ws_pid"

    @property
    def listener_status(self) -> Path:
        """What the listener says of itself, a JSON object."""
        return self.path / "videodb_listener.json"

    @property
    def listener_lock(self) -> Path:
        """Held by the listener for as long as it lives."""
        return self.path / "videodb_listener.lock"

    @property
    def listener_log(self) -> Path:
        """What a listener that runs in the background would say on a terminal."""
        return self.path / "videodb_listener.log"

    @property
    def capture_pid(self) -> Path:
        """The capture's process id, nothing else."""
        return self.path / "videodb_capture_pid"

    @property
    def capture_info(self) -> Path:
        """What the capture records and what runs on it, a JSON object."""
        return self.path / "videodb_capture_info.json"

    @property
    def capture_info_lock(self) -> Path:
        """Held for the length of one change of `capture_info`, which the capture and the listener write."""
        return self.path / "videodb_capture_info.lock"

    @property
    def capture_lock(self) -> Path:
        """Held by the capture for as long as it lives."""
        return self.path / "videodb_capture.lock"

    @property
    def backend_lock(self) -> Path:
        """Held by the backend for as long as it lives."""
        return self.path / "videodb_backend.lock"

    @property
    def backend_credentials(self) -> Path:
        """What callers of the backend have to know, a JSON object."""
        return self.path / "videodb_backend_credentials.json"

    def create(self) -> None:
        """Makes the folder, mode 0700; one that exists keeps its mode.

        Raises:
            InputError: it cannot be made, or is no folder that one can write to.
        """
        hint = "name another directory, or set VIDEODB_EVENTS_DIR"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(f"{self.path} is a file, not a directory", hint) from None
        except OSError as error:
            raise InputError(f"cannot create the directory {self.path}: {error.strerror}", hint) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise InputError(f"the directory {self.path} is not writable", hint)


def locate_state(argument: Path | None, environ: Mapping[str, str], home: Path) -> StateDirectory:
    """The state directory: the argument, else `VIDEODB_EVENTS_DIR`, else `$XDG_STATE_HOME/videodb`.

    Without `XDG_STATE_HOME` (or with a relative one, which the XDG specification says to ignore) that is
    `~/.local/state/videodb`.
    """
    if argument is not None:
        return StateDirectory(argument.expanduser().absolute())
    if configured := environ.get("VIDEODB_EVENTS_DIR"):
        return StateDirectory(Path(configured).expanduser().absolute())
    base = Path(environ.get("XDG_STATE_HOME") or "")
    return StateDirectory((base if base.is_absolute() else home / ".local" / "state") / "videodb")


def wall_ms() -> int:
    """Milliseconds since the epoch, by the system's clock."""
    return time.time_ns() // 1_000_000


def replace_file(path: Path, content: bytes) -> None:
    """Writes a small file so that a reader sees the old content or the new, whatever happens. Mode 0600.

    Raises:
        OSError: the old content stands.
    """
    # One writer a directory (it holds the listener's lock), so one name for what is not finished is enough.
    unfinished = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        try:
            _write_whole(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.replace(path)
    except OSError:
        remove_file(unfinished)
        raise


def remove_file(path: Path) -> None:
    """Removes a file that may be gone already."""
    path.unlink(missing_ok=True)


def read_small_file(path: Path) -> str | None:
    """The text of a state file without surrounding space, or None where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a state file, such as a listener's status; empty where none can be read."""
    try:
        told = json.loads(read_small_file(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def change_object(
    path: Path, lock: Path, change: Callable[[dict[str, Any]], Mapping[str, Any] | None]
) -> None:
    """Replaces the JSON object in a state file that several processes write.

    Args:
        path: the file; one that cannot be read counts as an empty object.
        lock: held meanwhile.
        change: from what is there to what is to be there; None leaves it.

    Raises:
        OSError: what was there stands.
    """
    from filelock import unlock_descriptor

    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _takes_lock(descriptor, _LOCK_PATIENCE_SECONDS):
            raise OSError(errno.EAGAIN, f"another process has held {lock} for 5 s")
        try:
            changed = change(read_object(path))
            if changed is not None:
                content = json.dumps(changed, ensure_ascii=False, indent=1)
                replace_file(path, content.encode("utf-8", "replace"))
        finally:
            unlock_descriptor(descriptor)
    finally:
        os.close(descriptor)


def read_pid(path: Path) -> int | None:
    """The process id in a file; what it says counts only while the lock that belongs to it is held."""
    content = read_small_file(path)
    is_one = content and len(content) <= _LONGEST_PID and content.isascii() and content.isdigit()
    return int(content) if content and is_one else None


def listener_pid(directory: StateDirectory) -> int | None:
    """The process id that the listener wrote down; what it says counts only while `listener_runs`."""
    return read_pid(directory.ws_pid)


def listener_runs(directory: StateDirectory) -> bool:
    """Whether a process holds the listener's lock; the kernel drops it with the process.

    Raises:
        InputError: the lock may not be looked at.
    """
    return _is_held(directory.listener_lock)


def capture_runs(directory: StateDirectory) -> bool:
    """Whether a process holds the capture's lock; raises as `listener_runs`."""
    return _is_held(directory.capture_lock)


def backend_runs(directory: StateDirectory) -> bool:
    """Whether a process holds the backend's lock; raises as `listener_runs`."""
    return _is_held(directory.backend_lock)


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unusable(path, error) from error
    try:
        return not _can_be_locked(descriptor)
    finally:
        os.close(descriptor)


def _can_be_locked(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return _takes_lock(descriptor, seconds=0.05)
    # Shared, so that two who ask at once do not take each other for a listener.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _takes_lock(descriptor: int, seconds: float) -> bool:
    """Whether the lock was taken. Whoever asks if it is held holds it for an instant: that is waited out."""
    from filelock import lock_descriptor

    deadline = time.monotonic() + seconds
    while not lock_descriptor(descriptor, blocking=False):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def unusable(path: Path, error: OSError) -> InputError:
    """The error of a state file that cannot be opened or written."""
    reason = error.strerror or str(error)
    return InputError(f"cannot use {path}: {reason}", "see who owns it, or name another directory")


def already_listening(directory: StateDirectory) -> ListenerStateError:
    """The error of who would be the second listener of a directory."""
    pid = listener_pid(directory)
    return ListenerStateError(
        f"a listener{f' (PID {pid})' if pid else ''} already records into {directory.path}",
        f"end it with: vdbevents stop {directory.path}",
    )


def already_capturing(directory: StateDirectory) -> CaptureError:
    """The error of who would be the second capture of a directory."""
    pid = read_pid(directory.capture_pid)
    return CaptureError(
        f"a capture{f' (PID {pid})' if pid else ''} already records into {directory.path}",
        f"end it with: kill {pid}" if pid else "find it among the processes, and send it SIGTERM",
    )


def already_serving(directory: StateDirectory) -> CaptureError:
    """The error of who would be the second backend of a directory."""
    return CaptureError(
        f"a backend already serves {directory.path}",
        "end that one, or name another directory",
    )


class ProcessLock:
    """One process of a kind a directory: held until `release`, or until the process ends."""

    def __init__(self, path: Path, taken: Callable[[], VdbeventsError]) -> None:
        """Takes the lock.

        Args:
            path: its file, which is made where it is not there.
            taken: makes the error for when another process holds it. Nothing was touched then.

        Raises:
            InputError: its file cannot be opened.
        """
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unusable(path, error) from error
        if not _takes_lock(self._descriptor, seconds=0.5):
            os.close(self._descriptor)
            raise taken()

    def release(self) -> None:
        """Lets the next one start."""
        os.close(self._descriptor)


class Journal:
    """The journal of one state directory, for writing.

    Any number of processes may hold one on the same directory: `append` is one write under a lock that is
    held for that long only. Not for use by two threads at once.
    """

    def __init__(
        self,
        directory: StateDirectory,
        *,
        clock_ms: Callable[[], int],
        on_repair: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Opens nothing yet.

        Args:
            directory: whose journal; it has to exist when something is appended.
            clock_ms: milliseconds since the epoch, for the line that tells of a repair.
            on_repair: called with the number of bytes that were set aside, after a repair is written down.
        """
        self._directory = directory
        self._clock_ms = clock_ms
        self._on_repair = on_repair
        self._descriptor: int | None = None
        self._lock_descriptor: int | None = None
        self._device: int | None = None
        self._unsynced = False
        self.size = 0
        """The journal's size in bytes after our last `append`."""

    @property
    def unsynced(self) -> bool:
        """Whether something was appended since the last `sync`."""
        return self._unsynced

    def append(self, lines: Sequence[bytes], once: Mapping[bytes, record.Once] | None = None) -> int:
        """Appends whole lines, all or none of them, and first sees to it that the last line is whole.

        Args:
            lines: each with its newline.
            once: of lines that are left out where the journal's last 16 MiB tell the same already: that is
                looked up and appended in one step, whoever else appends.

        Returns:
            How many were left out.

        Raises:
            OSError: nothing of it is in the journal; the call may be repeated.
        """
        with self._locked() as descriptor:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            torn, prefix = self._repair(descriptor, size)
            kept = (
                [line for line in lines if line not in once or not _is_told(descriptor, once[line])]
                if once
                else lines
            )
            content = prefix + b"".join(kept)
            self._write(descriptor, content, size - torn)
            self.size = size - torn + len(content)
        if torn:
            self._on_repair(torn)
        return len(lines) - len(kept)

    def repair(self) -> None:
        """Sees to it that the last line is whole, as every `append` does."""
        self.append(())

    def clear(self) -> None:
        """Empties the journal in place, so that whoever follows the file goes on with it."""
        with self._locked() as descriptor:
            os.ftruncate(descriptor, 0)
            self.size = 0
            remove_file(self._directory.torn)
            os.fsync(descriptor)

    def sync(self) -> None:
        """Has the operating system write to the disk what was appended.

        Raises:
            OSError: it is not known to be there.
        """
        if self._unsynced and self._descriptor is not None:
            os.fsync(self._descriptor)
            self._unsynced = False

    def close(self) -> None:
        """Closes the files; `append` would open them again."""
        for descriptor in (self._descriptor, self._lock_descriptor):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._descriptor = self._lock_descriptor = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        from filelock import lock_descriptor, unlock_descriptor

        deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
        while True:
            self._lock_descriptor = self._opened(self._lock_descriptor, self._directory.journal_lock)
            if lock_descriptor(self._lock_descriptor, blocking=False):
                # A lock file that was removed or replaced while we waited keeps nobody out.
                if _same_file(self._lock_descriptor, self._directory.journal_lock):
                    break
                unlock_descriptor(self._lock_descriptor)
            elif time.monotonic() > deadline:
                raise OSError(
                    errno.EAGAIN, f"another process has held {self._directory.journal_lock} for 5 s"
                )
            else:
                time.sleep(_LOCK_POLL_SECONDS)
        try:
            self._descriptor = self._opened(self._descriptor, self._directory.journal)
            yield self._descriptor
        finally:
            unlock_descriptor(self._lock_descriptor)

    def _opened(self, descriptor: int | None, path: Path) -> int:
        """A descriptor of the file that is at the path now; the one before may be removed or unmounted."""
        if descriptor is not None:
            if _same_file(descriptor, path):
                return descriptor
            with contextlib.suppress(OSError):
                os.close(descriptor)
            if path == self._directory.journal:
                self._descriptor = None
            else:
                self._lock_descriptor = None
        device = self._directory.path.stat().st_dev
        if self._device is None:
            self._device = device
        elif device != self._device and not self._directory.journal.exists():
            # The file system under the directory is gone. Writing to what was beneath it would hide the
            # lines as soon as it is back.
            raise OSError(errno.ENODEV, f"the file system of {self._directory.path} is not mounted")
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)

    def _repair(self, descriptor: int, size: int) -> tuple[int, bytes]:
        """Cuts off a torn last line. Answers how many bytes were cut, and what the next write begins with."""
        if size == 0 or _read_at(descriptor, size - 1, 1) == b"\n":
            return 0, b""
        start = _last_line_start(descriptor, size)
        tail = _read_at(descriptor, start, size - start)
        # No object cut short is an object: a tail that is one lacks its newline and nothing else.
        if record.parse_line(tail) is not None:
            return 0, b"\n"
        self._set_aside(tail)
        os.ftruncate(descriptor, start)
        told = {"bytes": len(tail), "kept_in": self._directory.torn.name}
        return len(tail), record.own_record("journal.repaired", told, self._clock_ms()).line

    def _set_aside(self, tail: bytes) -> None:
        # Safe on the disk before it is cut from the journal: a crash between the two leaves it in both.
        descriptor = os.open(self._directory.torn, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(descriptor).st_size
        try:
            _write_whole(descriptor, tail + b"\n")
            os.fsync(descriptor)
        except OSError:
            # A piece of it would be glued to the next attempt, and take the room that was just made.
            os.ftruncate(descriptor, size)
            raise
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, content: bytes, size: int) -> None:
        if not content:
            return
        try:
            _write_whole(descriptor, content)
        except OSError:
            # A full disk may have taken a part. Where even cutting fails, the next append repairs.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
        self._unsynced = True


def _is_told(descriptor: int, once: record.Once) -> bool:
    recent = _lines_backward(descriptor, [once.needle], _LOOK_BACK_BYTES)
    return any(once.is_told_by(line + b"\n") for line in recent)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _write_whole(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _read_at(descriptor: int, start: int, length: int) -> bytes:
    os.lseek(descriptor, start, os.SEEK_SET)
    pieces = []
    while length > 0 and (piece := os.read(descriptor, min(length, 1 << 24))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _last_line_start(descriptor: int, size: int) -> int:
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = _read_at(descriptor, start, end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def follow(
    path: Path, *, from_end: bool, wait: Callable[[], bool], start: int | None = None
) -> Iterator[bytes]:
    """The lines of a journal as they are written, each whole and with its newline.

    A journal that is cleared goes on from its new beginning, one that is replaced with the new file.

    Args:
        path: the journal; it need not exist yet.
        from_end: whether to pass over what is in it already.
        wait: called whenever there is no more for now; it should pause. True goes on, False ends.
        start: the byte to begin at, instead of the beginning or end.
    """
    for lines in follow_batches(path, from_end=from_end, wait=wait, start=start):
        yield from lines


def follow_batches(
    path: Path,
    *,
    from_end: bool,
    wait: Callable[[], bool],
    start: int | None = None,
    tail: "Tail | None" = None,
) -> Iterator[list[bytes]]:
    """The lines as `follow` has them, together with those that came meanwhile; about a MiB at most.

    A `tail` of the journal, where there is one already, goes on from where it is, and is closed at the end.
    """
    seen = None
    try:
        while True:
            # Before it is read: what comes meanwhile is a change.
            state = _state_of(path)
            if state is None or state != seen:
                seen = state
                if tail is None:
                    with contextlib.suppress(FileNotFoundError):
                        tail = Tail(path, None if from_end else start or 0)
                # Whatever file comes later is new from its first line.
                from_end, start = False, None
                if tail is not None:
                    while lines := tail.read():
                        yield lines
                    if not tail.is_of(path):
                        tail.close()
                        tail = seen = None
            if not wait():
                return
    finally:
        if tail is not None:
            tail.close()


def _state_of(path: Path) -> tuple[int, ...] | None:
    """What is another whenever a file was written or replaced; None where that cannot be told so cheaply."""
    if os.name != "posix":
        # Windows tells the size of a file that is open elsewhere late.
        return None
    try:
        state = os.stat(path)  # noqa: PTH116 - a hundred times a second, at a third of the cost
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


class Tail:
    """The whole lines of a journal from an offset on; from its beginning where it was cleared meanwhile.

    Attributes:
        offset: the byte up to which it was read.
    """

    MARK_BYTES = 64

    def __init__(self, path: Path, offset: int | None) -> None:
        """Opens it; without an offset after the last line that is whole.

        Raises:
            OSError: it cannot be read.
        """
        # Without a buffer: one would go on showing what was there before the file was cleared.
        self._file = path.open("rb", buffering=0)
        size = self._file.seek(0, os.SEEK_END)
        self.offset = _last_line_start(self._file.fileno(), size) if offset is None else offset
        self._mark_at, self._mark = 0, b""
        self._remember()

    def read(self) -> list[bytes]:
        """What came since, up to the last line that is whole; the rest may yet be cut off and replaced."""
        lines = self._whole_lines()
        # Looked at after the reading: what was read stands behind what was there before only if that holds.
        if self.is_cleared():
            self.offset, self._mark = 0, b""
            lines = self._whole_lines()
        if lines:
            self.offset += sum(map(len, lines))
            # A line begins with its time of receipt: in a cleared file none begins so at the same place.
            self._mark_at, self._mark = self.offset - len(lines[-1]), lines[-1][: self.MARK_BYTES]
        return lines

    def _remember(self) -> None:
        self._mark_at = max(self.offset - self.MARK_BYTES, 0)
        self._mark = self._bytes(self._mark_at, self.offset - self._mark_at)

    def is_cleared(self) -> bool:
        """Whether other bytes are where we were: a cleared file may have grown to the same size since."""
        return self._bytes(self._mark_at, len(self._mark)) != self._mark

    def is_of(self, path: Path) -> bool:
        """Whether the file is the one at `path` still."""
        return _same_file(self._file.fileno(), path)

    def close(self) -> None:
        """Closes the file. Harmless when repeated."""
        self._file.close()

    def _whole_lines(self) -> list[bytes]:
        size = _FOLLOWED_BLOCK
        while True:
            data = self._bytes(self.offset, size)
            end = data.rfind(b"\n") + 1
            if end or len(data) < size:
                return [line + b"\n" for line in data[:end].split(b"\n")[:-1]]
            size *= 4

    def _bytes(self, start: int, length: int) -> bytes:
        return _read_at(self._file.fileno(), start, length)


def backward(path: Path, needles: Sequence[bytes]) -> Iterator[bytes]:
    """The whole lines of a journal that hold any of some texts, from its end to its beginning.

    What is written while it is read is left out, and a journal that is not there has no lines.

    Raises:
        OSError: it cannot be read.
    """
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return
    with handle:
        yield from _lines_backward(handle.fileno(), needles)


def _lines_backward(descriptor: int, needles: Sequence[bytes], most: int | None = None) -> Iterator[bytes]:
    """The same of an open file, and of its last so many bytes; without their newlines."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    oldest = 0 if most is None else max(0, end - most)
    # What stands before the first newline of a block goes on in the block before it.
    rest: list[bytes] = []
    torn = True
    while end > oldest:
        start = max(oldest, end - _BACKWARD_BLOCK)
        block = _read_at(descriptor, start, end - start)
        end = start
        first = block.find(b"\n")
        if first < 0:
            rest.append(block)
            continue
        last = block.rfind(b"\n")
        across = block[last + 1 :] + b"".join(reversed(rest))
        rest = [block[:first]]
        if not torn:
            yield from _that_hold(needles, [across])
        torn = False
        # Most blocks hold none, and need not be taken apart.
        if first < last and any(block.find(needle, first, last) >= 0 for needle in needles):
            yield from _that_hold(needles, reversed(block[first + 1 : last].split(b"\n")))
    if not torn and end == 0:
        yield from _that_hold(needles, [b"".join(reversed(rest))])


def _that_hold(needles: Sequence[bytes], lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in lines if any(needle in line for needle in needles))


def connection_ids(path: Path) -> Iterator[str]:
    """The ids that a journal's listeners have had, newest first.

    A journal that was cleared tells in its first line of the connections before.

    Raises:
        OSError: it cannot be read.
    """
    for line in backward(path, [b'"listener.connected"', b'"ws_ids"']):
        event = record.parse_line(line) or {}
        data = event.get("data")
        if not record.is_own(event) or not isinstance(data, dict):
            continue
        if event.get("event") == "listener.connected" and isinstance(data.get("ws_id"), str):
            yield data["ws_id"]
        elif event.get("event") == "listener.started" and isinstance(data.get("ws_ids"), list):
            yield from (ws_id for ws_id in data["ws_ids"] if isinstance(ws_id, str))


@dataclass(slots=True)
class Dropped:
    """Events that arrived while the disk took nothing and the memory for them was used up."""

    count: int = 0
    size: int = 0
    since_ms: int = 0
    until_ms: int = 0
    channels: dict[str, int] = field(default_factory=dict)


class JournalWriter:
    """Appends to a journal from a thread of its own, so that a slow or full disk never stops who receives.

    Lines are written in the order of `put`. While the disk refuses, they are held in memory up to a bound;
    what arrives beyond it is counted and, as soon as the disk takes lines again, written down as a
    `listener.dropped` event at the place where it is missing.
    """

    RETRY_SECONDS = 0.5
    BATCH_BYTES = 1 << 20

    def __init__(
        self,
        journal: Journal,
        *,
        hold_bytes: int,
        sync_seconds: float,
        clock_ms: Callable[[], int],
        on_trouble: Callable[[str | None], None] = lambda _: None,
        on_dropped: Callable[[Dropped], None] = lambda _: None,
        on_crash: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        """Starts the thread.

        Args:
            journal: from now on the thread's alone.
            hold_bytes: how much to hold while the disk refuses.
            sync_seconds: at most this long after a line is written it is synced; 0: with each write.
            clock_ms: milliseconds since the epoch.
            on_trouble: called from the thread when the disk begins to refuse, with the reason, and with None
                when it takes lines again.
            on_dropped: called from the thread when a `listener.dropped` line is written.
            on_crash: called from the thread when it ends by an error that nobody foresaw.
        """
        self._journal = journal
        self._hold_bytes = hold_bytes
        self._sync_seconds = sync_seconds
        self._clock_ms = clock_ms
        self._on_trouble = on_trouble
        self._on_dropped = on_dropped
        self._on_crash = on_crash
        self._lines: deque[bytes] = deque()
        self._batch: list[bytes] = []
        self._once: dict[bytes, record.Once] = {}
        self._tasks: deque[Callable[[], None]] = deque()
        self._sync_at = 0.0
        # Each counter has one writer: the receiver's side, and the thread's. Their difference needs no lock.
        self._bytes_put = 0
        self._bytes_done = 0
        self._taken_ms = self._waiting_since_ms = 0
        self._failed: str | None = None
        self._mark = (journal.size, 0)
        self._dropped = Dropped()
        self._dropping = False
        self._drop_guard = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._finished = threading.Event()
        self.trouble: str | None = None
        self.last_progress = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def backlog_bytes(self) -> int:
        """What was put and is not yet written."""
        return self._bytes_put - self._bytes_done

    @property
    def put_bytes(self) -> int:
        """How much was put so far."""
        return self._bytes_put

    @property
    def done_bytes(self) -> int:
        """How much of that is written."""
        return self._bytes_done

    @property
    def waiting_since_ms(self) -> int | None:
        """When the oldest line that is not yet written came, about; None where none waits."""
        return self._waiting_since_ms if self.backlog_bytes else None

    @property
    def expected_size(self) -> int:
        """The journal's size once all that was put is in it, if nobody else appends."""
        size, done = self._mark
        return size + self._bytes_put - done

    @property
    def flows(self) -> bool:
        """Whether the disk takes lines, so that waiting for it is worth while."""
        return self.trouble is None and time.monotonic() - self.last_progress < 1.0

    def put(self, line: bytes, channel: str, *, keep: bool = False, once: record.Once | None = None) -> bool:
        """Hands over a line, with its newline. Never blocks. False: there was no room, and it is dropped.

        Args:
            line: with its newline.
            channel: by which what is dropped is counted.
            keep: hold it whether there is room or not: for what is small and rare.
            once: it is left out where the journal tells the same already.
        """
        if once is not None:
            self._once[line] = once
        backlog = self._bytes_put - self._bytes_done
        if not backlog:
            self.last_progress = time.monotonic()
            self._waiting_since_ms = self._clock_ms()
        if self._dropping or backlog + len(line) > self._hold_bytes:
            with self._drop_guard:
                if not keep and self._drop(line, channel):
                    self._once.pop(line, None)
                    return False
                self._hold(line)
        else:
            self._hold(line)
        if not self._wake.is_set():
            self._wake.set()
        return True

    def _hold(self, line: bytes) -> None:
        self._bytes_put += len(line)
        self._lines.append(line)

    def run(self, task: Callable[[], None]) -> None:
        """Has the thread call `task` after the next write, or the next attempt at one.

        An OSError of the task's goes unheard: it is the task's to tell.
        """
        self._tasks.append(task)
        self._wake.set()

    def close(self, seconds: float, slow_seconds: float = 0.0) -> int:
        """Writes and syncs what is left. Answers how many lines could not be written in that time.

        Args:
            seconds: how long to wait for it.
            slow_seconds: how much longer for a disk that has refused nothing: it is only slow.
        """
        self._stop = True
        self._wake.set()
        if not self._finished.wait(seconds):
            deadline = time.monotonic() + slow_seconds
            while self.trouble is None and (left := deadline - time.monotonic()) > 0:
                if self._finished.wait(min(left, _LOOK_SECONDS)):
                    break
        return len(self._batch) + len(self._lines) + self._dropped.count

    def _has_no_room_for(self, line: bytes) -> bool:
        # While the disk takes lines the bound means nothing: a single message may be larger than it.
        return self.backlog_bytes + len(line) > self._hold_bytes and not self.flows

    def _drop(self, line: bytes, channel: str) -> bool:
        # Nothing has been written down of an earlier loss yet, or there is no room: either way the loss goes
        # on, so that it is one stretch of time with one line about it.
        if not self._dropping and not self._has_no_room_for(line):
            return False
        self._dropping = True
        dropped = self._dropped
        now = self._clock_ms()
        dropped.since_ms = dropped.since_ms or now
        dropped.until_ms = now
        dropped.count += 1
        dropped.size += len(line)
        dropped.channels[channel] = dropped.channels.get(channel, 0) + 1
        return True

    def _run(self) -> None:
        try:
            while not self._cycle():
                pass
            self._journal.close()
        except Exception as error:  # noqa: BLE001 - a thread that dies unseen would be a recorder that records nothing
            self._on_crash(error)
        self._finished.set()

    def _cycle(self) -> bool:
        """Waits for something to do and does it; True when all is done and no more will come."""
        if not self._lines and not self._batch and not self._tasks and not self._stop:
            self._wake.wait(max(0.0, self._sync_at - time.monotonic()) if self._journal.unsynced else None)
        self._wake.clear()
        flows = self._write_batch()
        while self._tasks:
            with contextlib.suppress(OSError):
                self._tasks.popleft()()
        stopping = self._stop and not self._lines and not self._batch and not self._tasks
        if self._journal.unsynced and (stopping or time.monotonic() >= self._sync_at):
            flows = self._attempt("sync", self._journal.sync) and flows
        if not flows:
            time.sleep(0.05 if self._stop else self.RETRY_SECONDS)
        return stopping and flows

    def _write_batch(self) -> bool:
        """Writes the next lines; False when the disk refused them, and they wait for the next call."""
        batch = self._batch
        size = sum(map(len, batch))
        while self._lines and size < self.BATCH_BYTES:
            batch.append(self._lines.popleft())
            size += len(batch[-1])
        if not batch:
            return True
        self._taken_ms = self._taken_ms or self._clock_ms()
        if not self._journal.unsynced:
            self._sync_at = time.monotonic() + self._sync_seconds
        once = {line: self._once[line] for line in batch if line in self._once} if self._once else None
        if not self._attempt("append", lambda: self._journal.append(batch, once)):
            return False
        for line in once or ():
            self._once.pop(line, None)
        self._batch = []
        # What was left when this batch was taken had come before that, but hardly long before.
        self._waiting_since_ms, self._taken_ms = self._taken_ms, 0
        self._bytes_done += size
        self._mark = (self._journal.size, self._bytes_done)
        self.last_progress = time.monotonic()
        if self._dropping:
            self._tell_dropped()
        return True

    def _tell_dropped(self) -> None:
        with self._drop_guard:
            dropped, self._dropped = self._dropped, Dropped()
            line = record.own_record(
                "listener.dropped",
                {
                    "count": dropped.count,
                    "bytes": dropped.size,
                    "since": record.utc_text(dropped.since_ms),
                    "until": record.utc_text(dropped.until_ms),
                    "channels": dropped.channels,
                },
                self._clock_ms(),
            ).line
            # All events that are held came before what was dropped, all that will be put come after it.
            self._hold(line)
            self._dropping = False
        self._on_dropped(dropped)

    def _attempt(self, name: str, step: Callable[[], object]) -> bool:
        try:
            step()
        except OSError as error:
            reason = error.strerror or str(error)
            if self.trouble is None or name == "append":
                # Lines that sync say nothing of lines that cannot be written.
                self._failed = name
            if self.trouble is None:
                self.trouble = reason
                self._on_trouble(reason)
            return False
        if self.trouble is not None and self._failed == name:
            self.trouble = None
            self._on_trouble(None)
        return True
