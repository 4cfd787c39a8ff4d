"""Name and list the journals that were set aside: the files in `archive/` of a state directory.

A journal is `rotated`, and then still part of every answer, or `cleared`, and then only of answers that ask
for it. Its name says when its events were received, so that a query need not open the others:
`rotated-20260302T000000.120Z-20260302T235959.870Z.jsonl.zst`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from vdbevents.journal.state import StateDirectory

Kind = Literal["rotated", "cleared"]

PLAIN: Final = ".jsonl"
PACKED: Final = ".jsonl.zst"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_STAMP: Final = r"(\d{4}\d\d\d\dT\d{6}\.\d{3}Z)"
_NAME: Final = re.compile(rf"(rotated|cleared)-{_STAMP}-{_STAMP}(?:-([2-9]|[1-9]\d+))?(\.jsonl(?:\.zst)?)")


@dataclass(frozen=True, slots=True)
class ArchivedJournal:
    """A journal that was set aside.

    Attributes:
        path: its file.
        kind: how it was set aside.
        from_ms, to_ms: the earliest and the latest time at which one of its events was received, in Unix ms.
        number: 1, unless the name was taken; a larger one was set aside later.
    """

    path: Path
    kind: Kind
    from_ms: int
    to_ms: int
    number: int = 1

    @property
    def is_cleared(self) -> bool:
        """Whether it is part only of answers that ask for what was cleared."""
        return self.kind == "cleared"

    @property
    def is_packed(self) -> bool:
        """Whether it is compressed with Zstandard, as it will be for good."""
        return self.path.name.endswith(PACKED)

    @property
    def packed_path(self) -> Path:
        """Where its file is once it is compressed."""
        return self._stem.with_name(f"{self._stem.name}{PACKED}")

    @property
    def plain_path(self) -> Path:
        """Where its file is before it is compressed."""
        return self._stem.with_name(f"{self._stem.name}{PLAIN}")

    @property
    def _stem(self) -> Path:
        return self.path.with_name(self.path.name.removesuffix(PACKED).removesuffix(PLAIN))

    def may_hold(self, since_ms: int | None, until_ms: int | None) -> bool:
        """Return whether it may hold an event received at `since_ms` or later, and before `until_ms`."""
        return (since_ms is None or self.to_ms >= since_ms) and (until_ms is None or self.from_ms < until_ms)


def archived(directory: StateDirectory) -> list[ArchivedJournal]:
    """Return the journals that were set aside, oldest first, each once.

    Other files in the folder are ignored, such as the conflict copies of a synchronised folder. After a
    crash a journal can be there both plain and packed: the packed file is whole, and is the one returned.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        paths = sorted(directory.archive.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = {}
    for path in paths:  # the plain name comes before the packed one
        if journal := parse_name(path):
            found[journal.plain_path] = journal
    # By the ends: a clock that began at 1970 after a start makes one line of a file early, and no line late.
    return sorted(found.values(), key=lambda journal: (journal.to_ms, journal.from_ms, journal.number))


def parse_name(path: Path) -> ArchivedJournal | None:
    """Return what a file's name says; None if it is not the name of a journal that was set aside."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    kind, begin, end, number, _ = match.groups()
    try:
        from_ms, to_ms = _parse_stamp(begin), _parse_stamp(end)
    except ValueError:
        return None
    return ArchivedJournal(
        path, "cleared" if kind == "cleared" else "rotated", from_ms, to_ms, int(number or 1)
    )


def is_archived(path: Path) -> bool:
    """Return whether a file is a journal that was set aside, by its name and its folder."""
    return path.parent.name == StateDirectory(path).archive.name and parse_name(path) is not None


def free_path(directory: StateDirectory, kind: Kind, from_ms: int, to_ms: int, *, packed: bool) -> Path:
    """Return the path for a journal to set aside, with a number if the name is taken, packed or not.

    Args:
        directory: the state directory.
        kind: how it is set aside.
        from_ms: the earliest time at which one of its events was received, in Unix ms.
        to_ms: the latest one.
        packed: whether it is compressed.
    """
    stem = f"{kind}-{_stamp(from_ms)}-{_stamp(to_ms)}"
    number, name = 1, stem
    while any((directory.archive / f"{name}{suffix}").exists() for suffix in (PLAIN, PACKED)):
        number += 1
        name = f"{stem}-{number}"
    return directory.archive / f"{name}{PACKED if packed else PLAIN}"


def create_archive(directory: StateDirectory) -> None:
    """Create the folder with mode 0700; no-op if it exists.

    Raises:
        OSError: it cannot be created.
    """
    directory.archive.mkdir(mode=0o700, exist_ok=True)


def _stamp(milliseconds: int) -> str:
    moment = _EPOCH + milliseconds * _MILLISECOND
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z"


def _parse_stamp(stamp: str) -> int:
    return (datetime.fromisoformat(stamp) - _EPOCH) // _MILLISECOND
