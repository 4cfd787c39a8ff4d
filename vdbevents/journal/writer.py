"""Append lines from a thread, so that a slow disk does not stop the receiver."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from vdbevents.events.duplicate_check import DuplicateCheck
from vdbevents.journal.append import Journal
from vdbevents.journal.disk_trouble import DiskTrouble
from vdbevents.journal.dropped_events import DroppedEvents
from vdbevents.journal.rotation import Rotator

_POLL_SECONDS = 0.1


class JournalWriter:
    """A queue of lines, and a thread that appends them to a journal.

    Lines are written in the order of `put`. While the disk refuses, they are held in memory up to a limit.
    Lines beyond it are dropped and counted; once the disk accepts lines again, a `listener.dropped` event
    marks their place.

    Attributes:
        put_bytes: how many bytes were queued so far.
        done_bytes: how many of them are written.
        last_progress: when the queue was last written or empty, by the monotonic clock.
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
        on_dropped: Callable[[DroppedEvents], None] = lambda _: None,
        on_crash: Callable[[Exception], None] = lambda _: None,
        rotator: Rotator | None = None,
    ) -> None:
        """Start the thread, which makes all the calls below.

        Args:
            journal: used only by the thread from now on.
            hold_bytes: how much to hold while the disk refuses.
            sync_seconds: how long after a write to sync; 0 syncs with each write.
            clock_ms: returns milliseconds since the epoch.
            on_trouble: called when the disk begins to refuse, with the reason, and with None when it accepts
                lines again.
            on_dropped: called when a `listener.dropped` line is queued.
            on_crash: called when the thread ends by an unexpected error.
            rotator: rotates the journal between two lines.
        """
        self._journal = journal
        self._hold_bytes = hold_bytes
        self._sync_seconds = sync_seconds
        self._clock_ms = clock_ms
        self._trouble = DiskTrouble(on_trouble)
        self._on_dropped = on_dropped
        self._on_crash = on_crash
        self._rotator = rotator
        # Each entry was put at once.
        self._queue: deque[Sequence[bytes]] = deque()
        self._batch: list[bytes] = []
        self._checks: dict[bytes, DuplicateCheck] = {}
        self._tasks: deque[Callable[[], None]] = deque()
        self._sync_at = 0.0
        # Each counter has one writer, the receiver or the thread: their difference needs no lock.
        self.put_bytes = self.done_bytes = 0
        self._put_lines = self._done_lines = 0
        self._taken_ms = self._waiting_since_ms = 0
        self._mark = (journal.size, 0, journal.head, journal.inode)
        self._dropped = DroppedEvents()
        self._dropping = False
        self._drop_guard = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._finished = threading.Event()
        self.last_progress = time.monotonic()
        threading.Thread(target=self._run, name="journal", daemon=True).start()

    @property
    def trouble(self) -> str | None:
        """Why the disk refuses; None while it accepts lines."""
        return self._trouble.reason

    @property
    def backlog_bytes(self) -> int:
        """How many bytes are queued and not yet written."""
        return self.put_bytes - self.done_bytes

    @property
    def waiting_since_ms(self) -> int | None:
        """About when the oldest unwritten line arrived; None without unwritten lines."""
        return self._waiting_since_ms if self.backlog_bytes else None

    @property
    def expected_size(self) -> int:
        """The journal's size once the queue is written, if no other process appends."""
        size, done, *_ = self._mark
        return size + self.put_bytes - done

    @property
    def journal_head(self) -> bytes:
        """The first bytes of the journal that has this size."""
        return self._mark[2]

    @property
    def journal_inode(self) -> int:
        """The number of that journal's file."""
        return self._mark[3]

    @property
    def flows(self) -> bool:
        """Whether the disk accepts lines, so that it is worth waiting for."""
        return self.trouble is None and time.monotonic() - self.last_progress < 1.0

    def put(
        self, line: bytes, channel: str, *, keep: bool = False, duplicate: DuplicateCheck | None = None
    ) -> bool:
        """Queue a line without blocking; return False if there was no room, and it was dropped.

        Args:
            line: with its newline.
            channel: under which to count the line if it is dropped.
            keep: queue it even if there is no room; for small, rare lines.
            duplicate: skip the line if the journal has the event already.
        """
        if duplicate is not None:
            self._checks[line] = duplicate
        self._note_arrival()
        if self._dropping or self.backlog_bytes + len(line) > self._hold_bytes:
            with self._drop_guard:
                if not keep and self._drop(line, channel):
                    self._checks.pop(line, None)
                    return False
                self._enqueue((line,), len(line))
        else:
            self._enqueue((line,), len(line))
        self._wake_thread()
        return True

    def put_all(self, lines: Sequence[bytes], channels: Sequence[str]) -> int:
        """Queue lines that arrived together as `put` queues each, and wake the thread once.

        Args:
            lines: each with its newline.
            channels: of each line, under which to count it if it is dropped.

        Returns:
            How many lines were dropped.
        """
        if not lines:
            return 0
        size = sum(map(len, lines))
        if self._dropping or size > self.BATCH_BYTES or self.backlog_bytes + size > self._hold_bytes:
            return sum(not self.put(line, channel) for line, channel in zip(lines, channels, strict=True))
        self._note_arrival()
        self._enqueue(lines, size)
        self._wake_thread()
        return 0

    def _note_arrival(self) -> None:
        if not self.backlog_bytes:
            self.last_progress = time.monotonic()
            self._waiting_since_ms = self._clock_ms()

    def _enqueue(self, lines: Sequence[bytes], size: int) -> None:
        self.put_bytes += size
        self._put_lines += len(lines)
        self._queue.append(lines)

    def _wake_thread(self) -> None:
        if not self._wake.is_set():
            self._wake.set()

    def run(self, task: Callable[[], None]) -> None:
        """Call `task` in the thread after the next write or attempt; its OSErrors are ignored."""
        self._tasks.append(task)
        self._wake.set()

    def close(self, seconds: float, slow_seconds: float = 0.0) -> int:
        """Write and sync the queue; return how many lines could not be written in time.

        Args:
            seconds: how long to wait.
            slow_seconds: how much longer to wait while the disk is slow but refuses nothing.
        """
        self._stop = True
        self._wake.set()
        if not self._finished.wait(seconds):
            deadline = time.monotonic() + slow_seconds
            while self.trouble is None and (left := deadline - time.monotonic()) > 0:
                if self._finished.wait(min(left, _POLL_SECONDS)):
                    break
        return self._put_lines - self._done_lines + self._dropped.count

    def _drop(self, line: bytes, channel: str) -> bool:
        # While the disk accepts lines there is no limit: a single message may exceed it. A stretch of drops
        # goes on until its line is queued, so that each has exactly one.
        is_full = self.backlog_bytes + len(line) > self._hold_bytes and not self.flows
        if not self._dropping and not is_full:
            return False
        self._dropping = True
        self._dropped.add(len(line), channel, self._clock_ms())
        return True

    def _queue_dropped(self) -> None:
        with self._drop_guard:
            dropped, self._dropped = self._dropped, DroppedEvents()
            # All queued lines came before the dropped ones, all that follow come after them.
            line = dropped.record(self._clock_ms()).line
            self._enqueue((line,), len(line))
            self._dropping = False
        self._on_dropped(dropped)

    def _run(self) -> None:
        try:
            while not self._cycle():
                pass
            self._journal.close()
        except Exception as error:  # noqa: BLE001 - if the thread died unseen, nothing would be recorded
            self._on_crash(error)
        self._finished.set()

    def _cycle(self) -> bool:
        """Wait for work and do it; return True when everything is done and the writer is closed."""
        if not self._queue and not self._batch and not self._tasks and not self._stop:
            self._wake.wait(max(0.0, self._sync_at - time.monotonic()) if self._journal.unsynced else None)
        self._wake.clear()
        flows = self._write_batch()
        while self._tasks:
            with contextlib.suppress(OSError):
                self._tasks.popleft()()
        stopping = self._stop and not self._queue and not self._batch and not self._tasks
        if self._journal.unsynced and (stopping or time.monotonic() >= self._sync_at):
            flows = self._trouble.attempt("sync", self._journal.sync) and flows
        if not flows:
            time.sleep(0.05 if self._stop else self.RETRY_SECONDS)
        return stopping and flows

    def _next_lines(self) -> Sequence[bytes]:
        """Take the next lines that belong into the same file; none if a day ends before them."""
        if self._rotator is None:
            return self._queue.popleft()
        lines = self._queue[0]
        if not self._rotator.is_same_day(lines[0]):
            return ()
        self._queue.popleft()
        if not self._rotator.is_same_day(lines[-1]):
            self._queue.extendleft((line,) for line in reversed(lines[1:]))
            return lines[:1]
        return lines

    def _write_batch(self) -> bool:
        """Write the next lines; if the disk refuses, return False and keep them for the next call."""
        batch = self._batch
        size = sum(map(len, batch))
        if self._rotator is not None and (batch or self._queue):
            self._rotator.before((batch or self._queue[0])[0])
        while self._queue and size < self.BATCH_BYTES and (lines := self._next_lines()):
            batch += lines
            size += sum(map(len, lines))
        if not batch:
            return True
        self._taken_ms = self._taken_ms or self._clock_ms()
        if not self._journal.unsynced:
            self._sync_at = time.monotonic() + self._sync_seconds
        checks = (
            {line: self._checks[line] for line in batch if line in self._checks} if self._checks else None
        )
        if not self._trouble.attempt("append", lambda: self._journal.append(batch, checks)):
            return False
        for line in checks or ():
            self._checks.pop(line, None)
        self._batch = []
        # The lines still queued arrived before this batch was taken, but hardly long before.
        self._waiting_since_ms, self._taken_ms = self._taken_ms, 0
        self.done_bytes += size
        self._done_lines += len(batch)
        self._mark = (self._journal.size, self.done_bytes, self._journal.head, self._journal.inode)
        self.last_progress = time.monotonic()
        if self._dropping:
            self._queue_dropped()
        return True
