"""Remove chosen lines from every file that holds them: journal, archive, torn lines and caches."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from vdbevents.errors import StorageError
from vdbevents.events import envelope
from vdbevents.events.forgotten import Forgotten, ForgottenSpan
from vdbevents.journal import rewrite
from vdbevents.journal.append import Journal
from vdbevents.journal.archive import ArchivedJournal, archived
from vdbevents.journal.files import (
    give_to_owner,
    is_disk_full,
    last_line_start,
    read_at,
    read_object,
    remove_file,
    replace_file,
    to_json,
)
from vdbevents.journal.locked_file import locked_journal
from vdbevents.journal.state import StateDirectory
from vdbevents.query.cache import build
from vdbevents.removal.line_selection import Chooser, Selection, Tally

_MOST_ATTEMPTS: Final = 10
_NOTICE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Task:
    """What to remove, and how to write it down.

    Attributes:
        selection: chooses the lines.
        event: of the line that says what was done, such as `journal.pruned`.
        facts: of that line, without any removed text.
        may_hold: whether an archived file may hold a line to choose, by its name.
        takes_all_of: whether all of an archived file goes, by its name.
        torn_without: returns a torn line as it may stay, None if it may not; None leaves them all.
        forgotten: returns the times that no recovery may fetch again, once all lines were looked at.
        is_thorough: whether nothing may be left in a cache that no longer fits its journal: what was just
            rotated may still be in the cache of the journal.
    """

    selection: Selection
    event: str
    facts: Mapping[str, Any]
    may_hold: Callable[[ArchivedJournal], bool] = lambda _: True
    takes_all_of: Callable[[ArchivedJournal], bool] = lambda _: False
    torn_without: Callable[[bytes], bytes | None] | None = None
    forgotten: Callable[[], list[ForgottenSpan]] = list
    is_thorough: bool = False


@dataclass(slots=True)
class FileRemoval:
    """What goes from one file.

    Attributes:
        name: its path within the state directory.
        tally: the lines.
        is_whole: whether nothing is left of it, so that it is removed itself.
        archive: set for a journal that was set aside.
    """

    name: str
    tally: Tally
    is_whole: bool = False
    archive: ArchivedJournal | None = None


@dataclass(slots=True)
class RemovalPlan:
    """What goes from which files.

    Attributes:
        files: without those that have nothing to remove.
        damaged: an error for each archived file that could not be read, and is left as it is.
    """

    files: list[FileRemoval] = field(default_factory=list)
    damaged: list[StorageError] = field(default_factory=list)

    @property
    def total(self) -> Tally:
        """What goes from all of them."""
        total = Tally()
        for file in self.files:
            total.add(file.tally)
        return total


class Remover:
    """Find out what a task removes, and remove it."""

    def __init__(
        self,
        directory: StateDirectory,
        task: Task,
        cache_root: Path | None,
        *,
        clock_ms: Callable[[], int],
        day_of: Callable[[int], str],
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Do nothing yet.

        Args:
            directory: whose files.
            task: what to remove.
            cache_root: the folder of all caches; None where there is no place for caches.
            clock_ms: returns milliseconds since the epoch.
            day_of: returns the day of a time in Unix ms.
            progress: called with the name of each file that is worked on.
        """
        self._directory = directory
        self._task = task
        self._cache_root = cache_root
        self._clock_ms = clock_ms
        self._day_of = day_of
        self._progress = progress
        self._looked = 0

    def plan(self) -> RemovalPlan:
        """Return what would go now; nothing is changed.

        Raises:
            OSError: a file cannot be read.
        """
        plan = RemovalPlan()
        journals = []
        for journal in filter(self._task.may_hold, archived(self._directory)):
            self._progress(journal.path.name)
            try:
                _each(rewrite.archived_lines(journal.path), self._chooser().look)
            except StorageError as error:
                self._note_damaged(plan, journal, error)
            else:
                journals.append(journal)
        self._progress(self._directory.journal.name)
        self._looked = _each(self._lines(), self._chooser().look)
        for journal in journals:
            self._add(plan, journal.path, rewrite.archived_lines(journal.path), journal)
        self._add(plan, self._directory.journal, self._lines(), None)
        self._add_torn(plan)
        return plan

    def _note_damaged(self, plan: RemovalPlan, journal: ArchivedJournal, error: StorageError) -> None:
        if not self._task.takes_all_of(journal):
            plan.damaged.append(error)
            return
        # By its name it goes as a whole; what can still be read of it is counted.
        chooser = self._chooser()
        with contextlib.suppress(StorageError):
            _each(rewrite.archived_lines(journal.path), chooser.change)
        name = str(journal.path.relative_to(self._directory.path))
        plan.files.append(FileRemoval(name, chooser.tally, is_whole=True, archive=journal))

    def _chooser(self, looked: int | None = None) -> Chooser:
        return Chooser(self._task.selection, self._day_of, looked)

    def _lines(self) -> Iterator[bytes]:
        torn = self._torn_end()
        with contextlib.suppress(FileNotFoundError):
            for line in rewrite.archived_lines(self._directory.journal):
                if line[:-1] != torn:
                    yield line

    def _add(
        self, plan: RemovalPlan, path: Path, lines: Iterator[bytes], archive: ArchivedJournal | None
    ) -> None:
        chooser, kept = self._chooser(), 0
        for line in lines:
            kept += chooser.change(line) is not None
        if chooser.tally.events:
            name = str(path.relative_to(self._directory.path))
            plan.files.append(FileRemoval(name, chooser.tally, archive is not None and not kept, archive))

    def _add_torn(self, plan: RemovalPlan) -> None:
        tally = Tally()
        before, after = self._torn_lines(self._torn_end())
        for line in before:
            if line not in after:
                tally.events += 1
                tally.size += len(line)
        if tally.events:
            tally.channels["torn"] = tally.events
            plan.files.append(FileRemoval(self._directory.torn.name, tally, is_whole=not after))

    def _torn_end(self) -> bytes:
        """Return the journal's last line if it is torn: it will be set aside before anything is removed."""
        with contextlib.suppress(FileNotFoundError), self._directory.journal.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = last_line_start(file.fileno(), size)
            tail = read_at(file.fileno(), start, size - start)
            return b"" if envelope.parse_line(tail) is not None else tail
        return b""

    def _torn_lines(self, end: bytes = b"") -> tuple[list[bytes], list[bytes]]:
        """Return the torn lines as they are, and as they may stay; `end` is one more."""
        change = self._task.torn_without
        if change is None:
            return [], []
        content = b""
        with contextlib.suppress(FileNotFoundError):
            content = self._directory.torn.read_bytes()
        lines = [line for line in (*content.split(b"\n"), end) if line]
        kept = (change(line) for line in lines)
        return lines, [line for line in kept if line is not None]

    def carry_out(self) -> RemovalPlan:
        """Remove it; return what was removed.

        Raises:
            StorageError: another process is rewriting, a cache is being written, or another program writes to
                the journal without its lock. Each file is as it was, or done.
            OSError: a file cannot be read or written; as above.
        """
        done = RemovalPlan()
        with rewrite.rewriting(self._directory):
            self._repair()
            for _ in range(_MOST_ATTEMPTS):
                known = {journal.path for journal in archived(self._directory)}
                # A file may be packed after it was listed.
                with contextlib.suppress(rewrite.JournalMovedError, FileNotFoundError):
                    plan = self.plan()
                    done.damaged = plan.damaged
                    self._forget()
                    for file in plan.files:
                        self._progress(file.name)
                        done.files += self._remove(file)
                    # A journal that was rotated meanwhile is in a file that the plan does not have.
                    if {journal.path for journal in archived(self._directory)} <= known:
                        return done
        raise StorageError(
            f"the journal in {self._directory.path} was replaced repeatedly meanwhile",
            "try again later",
            error_id="rewrite-overtaken",
        )

    def _repair(self) -> None:
        """Set a torn end of the journal aside, so that it is among the torn lines."""
        if self._directory.journal.exists():
            with contextlib.closing(Journal(self._directory, clock_ms=self._clock_ms)) as journal:
                journal.repair()

    def _forget(self) -> None:
        """Note the times that must not be fetched again, before anything is removed."""
        spans = self._task.forgotten()
        if spans:
            known = Forgotten.from_object(read_object(self._directory.forgotten))
            replace_file(self._directory.forgotten, to_json(Forgotten([*known.spans, *spans]).to_object()))
            give_to_owner(self._directory.forgotten)
            # By then a listener knows them, and has written what it had received before.
            time.sleep(_NOTICE_SECONDS)

    def _remove(self, file: FileRemoval) -> list[FileRemoval]:
        if file.archive is not None:
            return [self._remove_archived(file, file.archive)]
        if file.name == self._directory.torn.name:
            self._rewrite_torn()
            return [file]
        return [self._remove_from_journal(file)]

    def _remove_from_journal(self, file: FileRemoval) -> FileRemoval:
        chooser = self._chooser(self._looked)
        path = self._directory.journal

        def mark(_: rewrite.RewriteOutcome) -> rewrite.OwnMark:
            return rewrite.OwnMark(self._task.event, self._data(file.name, chooser.tally))

        with self._withheld_caches(path):
            rewrite.rewrite_journal(self._directory, chooser.change, mark, clock_ms=self._clock_ms)
        return dataclasses.replace(file, tally=chooser.tally)

    def _remove_archived(self, file: FileRemoval, journal: ArchivedJournal) -> FileRemoval:
        # After a crash the plain file may still be there beside the packed one.
        if journal.is_packed and journal.plain_path.exists():
            with self._withheld_caches(journal.plain_path):
                remove_file(journal.plain_path)
        with self._withheld_caches(
            journal.path, *([self._directory.journal] if self._task.is_thorough else [])
        ):
            if file.is_whole:
                with journal.path.open("rb") as source:
                    self._unlink(file, journal.path, source)
                return file
            chooser = self._chooser()
            rewrite.rewrite_archived(self._directory, journal.path, chooser.change)
        self._write_down(self._data(file.name, chooser.tally))
        return dataclasses.replace(file, tally=chooser.tally)

    def _unlink(self, file: FileRemoval, path: Path, source: BinaryIO) -> None:
        data = {**self._data(file.name, file.tally), "whole": True}
        try:
            # Before it is done: nothing may go without a trace.
            self._write_down(data)
        except OSError as error:
            if not is_disk_full(error):
                raise
            # The disk is full: this is what makes room.
            with rewrite.unchanged(self._directory, path, source):
                remove_file(path)
            self._write_down(data)
            return
        with rewrite.unchanged(self._directory, path, source):
            remove_file(path)

    def _data(self, name: str, tally: Tally) -> dict[str, Any]:
        return {"file": name, **self._task.facts, **tally.data()}

    def _write_down(self, data: Mapping[str, Any]) -> None:
        with contextlib.closing(Journal(self._directory, clock_ms=self._clock_ms)) as journal:
            journal.append([envelope.own_record(self._task.event, data, self._clock_ms()).line])
            journal.sync()

    def _rewrite_torn(self) -> None:
        # Whoever finds a torn line writes it there under this lock.
        with locked_journal(self._directory):
            _, kept = self._torn_lines()
            if kept:
                replace_file(self._directory.torn, b"".join(line + b"\n" for line in kept))
            else:
                remove_file(self._directory.torn)

    @contextlib.contextmanager
    def _withheld_caches(self, *journals: Path) -> Iterator[None]:
        root = self._cache_root
        if root is None:
            yield
            return
        with contextlib.ExitStack() as withheld:
            # In one order, so that no two processes wait for each other.
            for folder in sorted({folder for path in journals for folder in build.caches_of(path, root)}):
                withheld.enter_context(build.withheld(folder))
            yield


def _each(lines: Iterator[bytes], look: Callable[[bytes], object]) -> int:
    count = 0
    for line in lines:
        look(line)
        count += 1
    return count
