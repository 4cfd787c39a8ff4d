"""Caches of journals for tests that begin with one: a piece takes 0.15 s of CPU to seal, and 1 ms to copy."""

import atexit
import dataclasses
import functools
import shutil
import tempfile
from io import FileIO
from pathlib import Path

from vdbevents.journal.files import make_private, replace_file
from vdbevents.query.cache import build, index


@functools.cache
def _folder():
    folder = tempfile.mkdtemp(prefix="vdbevents-sealed-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def _sealed(content, piece):
    """Return the cache of a journal with this content, whose files nobody changes."""
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    journal = folder / "journal.jsonl"
    journal.write_bytes(content)
    return build.seal(journal, folder / "cache", piece=piece)


def sealed(journal, root, piece):
    """Return what `build.seal(journal, root, piece=piece)` does of a journal without a cache."""
    original = _sealed(journal.read_bytes(), piece)
    with FileIO(journal) as file:
        number = index.identity(file)
    cache = dataclasses.replace(original, folder=index.folder_of(journal, root), file=number)
    make_private(cache.folder)
    for file in original.folder.iterdir():
        shutil.copy2(file, cache.folder)
    replace_file(cache.manifest, index.stored(journal, cache))
    assert index.load(journal, root) == cache
    return cache
