"""Name the machines whose journals are read together. Pure: a path is a tuple of its parts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from vdbevents.query.row_journal import RowJournal

JOURNAL: Final = "videodb_events.jsonl"
ARCHIVES: Final = (".gz", ".zst")


class HostJournal(NamedTuple):
    """One of several journals to search, with its host.

    Attributes:
        host: the machine it is from; two journals may be from one.
        path: the file to read.
        label: its name in messages.
        is_scratch: whether the file is a temporary copy.
        trouble: what was wrong with the original; empty if nothing.
        rows: the journal, if it is kept as rows, and `path` names no file.
    """

    host: str
    path: "Path"
    label: str
    is_scratch: bool = False
    trouble: str = ""
    rows: "RowJournal | None" = None


class Place(NamedTuple):
    """The place of a journal.

    Attributes:
        parts: those of an absolute path, from `parts_of`.
        name: the machine's name, if it was given.
    """

    parts: tuple[str, ...]
    name: str | None = None


def parts_of(file: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that name the machine, from the parts of its journal's absolute path.

    A journal with the default name is named by its directory; any other by its file name, without `.jsonl`,
    `.gz` or `.zst`.
    """
    *folders, name = file
    if name.startswith(JOURNAL) and folders:
        return tuple(folders)
    for suffix in (*ARCHIVES, ".jsonl"):
        name = name.removesuffix(suffix) or name
    return (*folders, name)


def named(text: str) -> tuple[str | None, str]:
    """Return the name and the path in `laptop=/path`; without a name, None and the whole."""
    name, sign, path = text.partition("=")
    # A name in front of a path has no folders in it.
    if not (sign and name and path) or "/" in name or "\\" in name:
        return None, text
    return name, path


def names(places: Sequence[Place]) -> list[str]:
    """Return the machines' names, in the order of their places.

    A name that was not given is the last part of the path, with as many parts before it as it takes for no
    two places to share a name. Journals of one place are of one machine.
    """
    lengths = [1] * len(places)
    while True:
        chosen = [
            place.name if place.name is not None else "/".join(place.parts[-length:]).replace("//", "/")
            for place, length in zip(places, lengths, strict=True)
        ]
        holders: dict[str, set[tuple[str, ...] | None]] = {}
        for name, place in zip(chosen, places, strict=True):
            holders.setdefault(name, set()).add(None if place.name is not None else place.parts)
        unclear = [
            number
            for number, place in enumerate(places)
            if place.name is None and len(holders[chosen[number]]) > 1 and lengths[number] < len(place.parts)
        ]
        if not unclear:
            return chosen
        for number in unclear:
            lengths[number] += 1
