"""Names for the machines whose journals are read together. Pure: a path is the parts that it has."""

from collections.abc import Sequence
from typing import Final, NamedTuple

JOURNAL: Final = "videodb_events.jsonl"
ARCHIVES: Final = (".gz", ".zst")


class Place(NamedTuple):
    """Where a journal is.

    Attributes:
        parts: of an absolute path, as `parts_of` tells them.
        name: what the machine is called, if that was said.
    """

    parts: tuple[str, ...]
    name: str | None = None


def parts_of(file: Sequence[str]) -> tuple[str, ...]:
    """Return the parts of the path that names a machine, of those of its journal's absolute path.

    A journal that is called as all are is named by its directory; any other by itself, without what says
    that it is a journal, or packed.
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
    """Return what the machines are called, in the order of their places.

    Those that were not said are the last part of a path, and as many before it as it takes for two places not
    to be called alike. Journals of one place are of one machine.
    """
    lengths = [1] * len(places)
    while True:
        called = [
            place.name if place.name is not None else "/".join(place.parts[-length:]).replace("//", "/")
            for place, length in zip(places, lengths, strict=True)
        ]
        holders: dict[str, set[tuple[str, ...] | None]] = {}
        for name, place in zip(called, places, strict=True):
            holders.setdefault(name, set()).add(None if place.name is not None else place.parts)
        unclear = [
            number
            for number, place in enumerate(places)
            if place.name is None and len(holders[called[number]]) > 1 and lengths[number] < len(place.parts)
        ]
        if not unclear:
            return called
        for number in unclear:
            lengths[number] += 1
