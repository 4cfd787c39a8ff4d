"""A database for many searches: to start one of its own takes half of a small search."""

import atexit
import functools

from vdbevents.query.duck import SharedDatabase


@functools.cache
def shared_database():
    """Return the database that the searches of this process can share; it is closed at the end."""
    database = SharedDatabase()
    atexit.register(database.close)
    return database
