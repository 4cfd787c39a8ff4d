"""The thread that appends what was received, so that a slow disk does not stop the receiver."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from vdbevents.events import envelope, identity
from vdbevents.journal.append import Journal

_LOOK_SECONDS = 0.1


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
        self._once: dict[bytes, identity.Once] = {}
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

    def put(
        self, line: bytes, channel: str, *, keep: bool = False, once: identity.Once | None = None
    ) -> bool:
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
            line = envelope.own_record(
                "listener.dropped",
                {
                    "count": dropped.count,
                    "bytes": dropped.size,
                    "since": envelope.utc_text(dropped.since_ms),
                    "until": envelope.utc_text(dropped.until_ms),
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
