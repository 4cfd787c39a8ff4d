"""Read which sessions a journal has, and limit a search to the content of some of them."""

import os
from collections.abc import Iterator
from dataclasses import replace
from io import FileIO
from pathlib import Path

from vdbevents.errors import InputError
from vdbevents.events.envelope import parse_line
from vdbevents.events.session_content import SessionBook, resolved
from vdbevents.events.session_facts import NEEDLE, SessionFacts, facts_in
from vdbevents.journal.history import lines_with, open_archived, open_with_older
from vdbevents.journal.packed import PackedFile
from vdbevents.query.byte_ranges import JOURNAL_HINT, unreadable_journal
from vdbevents.query.cache.index import Cache
from vdbevents.query.filters import Filters
from vdbevents.query.older import Older


def read_sessions(journal: Path, cache: Cache | None = None, older: Older | None = None) -> SessionBook:
    """Return the sessions of a journal, and of what was rotated out of it, whatever the window.

    What is sealed is not read: the cache has its sessions.

    Args:
        journal: its file.
        cache: its sealed segments; None reads all of it.
        older: how to read what was set aside; None unpacks what was rotated.

    Raises:
        InputError: the journal cannot be read.
    """
    older = older or Older()
    while True:
        try:
            return _read(journal, cache, older)
        except FileNotFoundError as error:
            if not journal.exists():
                raise InputError(
                    f"{journal}: no such file", JOURNAL_HINT, error_id="journal-missing"
                ) from error
            # One that was set aside was packed or pruned meanwhile.
        except OSError as error:
            raise unreadable_journal(journal, error) from None


def in_sessions(filters: Filters, book: SessionBook) -> Filters:
    """Return the filters with the content of the sessions that they name, as a journal's book has it.

    Raises:
        InputError: several ids begin as one of them does.
    """
    return replace(filters, scope=book.scope(resolved([book], filters.sessions)))


def _read(journal: Path, cache: Cache | None, older: Older) -> SessionBook:
    book = SessionBook()
    file, aside = open_with_older(journal, cleared=older.cleared)
    with file:
        for one in aside:
            sealed = older.cache_of(one.path)
            with open_archived(one) as content:
                _add_all(book, content, sealed)
        _add_all(book, file, cache)
    return book


def _add_all(book: SessionBook, file: FileIO | PackedFile, cache: Cache | None) -> None:
    size = file.seek(0, os.SEEK_END)
    sealed_to = 0
    if cache is not None and cache.segments and cache.end <= size and cache.fits(file):
        sealed_to = cache.end
        for segment in cache.segments:
            known = segment.sessions
            for facts in _facts(file, segment.start, segment.end) if known is None else known:
                book.add(facts)
    for facts in _facts(file, sealed_to, size):
        book.add(facts)


def _facts(file: FileIO | PackedFile, start: int, end: int) -> Iterator[SessionFacts]:
    for line in lines_with(file, NEEDLE, start, end):
        event = parse_line(line)
        facts = facts_in(event) if event else None
        if facts is not None:
            yield facts
