"""A database for many searches: to start one of its own takes half of a small search."""

import atexit
import functools
from unittest import mock

from vdbevents.query import engine
from vdbevents.query.duck import SharedDatabase


@functools.cache
def shared_database():
    """Return the database that the searches of this process can share; it is closed at the end."""
    database = SharedDatabase(threads=1)
    atexit.register(database.close)
    return database


def search(journal, filters, cache=None, **options):
    """Search as `engine.search` does, in the shared database.

    A search with a condition has its own: only that is kept from all files but the journal's.
    """
    shared = shared_database() if filters.where is None else None
    return engine.search(journal, filters, cache, shared=shared, **options)


def search_as_of_many(journal, filters, cache=None, **options):
    """Search with the SQL of a journal of many lines, of which it is not known what occurs in them."""
    with mock.patch.object(engine, "_FEW", -1):
        return search(journal, filters, cache, **options)
