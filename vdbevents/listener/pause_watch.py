"""Watch the file with the pauses of a directory, which `vdbevents pause` and `resume` change."""

from collections.abc import Callable
from functools import partial

from vdbevents.journal import files, locks
from vdbevents.journal.state import StateDirectory
from vdbevents.privacy.pauses import Noted, Pause, Pauses


def change_pauses(directory: StateDirectory, change: Callable[[Pauses], Pauses]) -> Pauses:
    """Change the pauses of a directory: `change` takes them and returns the new ones, which this returns.

    Raises:
        OSError: the file is unchanged.
    """
    changed: list[Pauses] = []

    def rewrite(content: dict[str, object]) -> dict[str, object]:
        changed.append(change(Pauses.from_dict(content)))
        return changed[0].to_dict()

    locks.change_object(directory.pauses, directory.pauses_lock, rewrite)
    return changed[0]


class PauseWatch:
    """The pauses of a directory as the file has them now. A file that cannot be read changes nothing."""

    def __init__(self, directory: StateDirectory, *, forget_current: bool = False) -> None:
        """Read the file.

        Args:
            directory: where it is.
            forget_current: whether a line of a pause that goes on is due again: the journal was cleared.
        """
        self._directory = directory
        self._seen: tuple[int, ...] = ()
        self._pauses = Pauses()
        self._noted: dict[str, tuple[int | None, Noted]] = {}
        self._forgets = forget_current
        self.refresh()

    def refresh(self) -> bool:
        """Read the file again if it was replaced; return whether it was."""
        try:
            status = self._directory.pauses.stat()
        except FileNotFoundError:
            seen: tuple[int, ...] = (0,)
        except OSError:
            return False
        else:
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if seen == self._seen:
            return False
        content = files.read_object(self._directory.pauses)
        if seen != (0,) and "pauses" not in content:
            return False
        self._seen, self._pauses = seen, Pauses.from_dict(content)
        return True

    def last(self) -> Pauses:
        """Return the pauses as they were last read."""
        return self._pauses

    def current(self) -> Pauses:
        """Return the pauses as they are now."""
        self.refresh()
        return self._pauses

    def unnoted(self, now_ms: int) -> list[tuple[Pause, Noted]]:
        """Return the pauses of which a line is due, and which one; each only once."""
        due: list[tuple[Pause, Noted]] = []
        for pause in self._pauses.all:
            is_forgotten = self._forgets and pause.is_on(now_ms)
            end_ms, noted = self._noted.get(pause.id, (None, "" if is_forgotten else pause.noted))
            if not noted or (pause.is_on(now_ms) and noted == "paused" and self._is_other_end(pause, end_ms)):
                due.append((pause, "paused"))
            if noted != "resumed" and not pause.is_on(now_ms):
                due.append((pause, "resumed"))
        for pause, noted in due:
            self._noted[pause.id] = (pause.end_ms, noted)
        return due

    def _is_other_end(self, pause: Pause, noted_end_ms: int | None) -> bool:
        return pause.id in self._noted and pause.end_ms != noted_end_ms

    def note(self, pause_id: str, noted: Noted) -> None:
        """Note in the file that a line of a pause is in the journal.

        Raises:
            OSError: the file is unchanged: another run writes the line again.
        """
        change_pauses(self._directory, partial(Pauses.note, pause_id=pause_id, noted=noted))
