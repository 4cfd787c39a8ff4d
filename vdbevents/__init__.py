"""Save and search the events of a desktop recorded with VideoDB.

These names are the Python interface beside the `vdbevents` command. Each is loaded on first use.

    >>> from pathlib import Path
    >>> import vdbevents
    >>> journal = vdbevents.locate_state(None, {}, Path("/home/ada")).journal
    >>> journal.as_posix()
    '/home/ada/.local/state/videodb/videodb_events.jsonl'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vdbevents.api import OpenJournal, OpenLake, QueryResult, open  # noqa: A004 - as `gzip.open`
    from vdbevents.errors import VdbeventsError
    from vdbevents.events.envelope import envelop, parse_line
    from vdbevents.journal.append import Journal
    from vdbevents.journal.reader import follow
    from vdbevents.journal.state import StateDirectory, locate_state
    from vdbevents.query.engine import search
    from vdbevents.query.filters import Filters
    from vdbevents.times import Window

__version__ = "0.1.0"

__all__ = [
    "Filters",
    "Journal",
    "OpenJournal",
    "OpenLake",
    "QueryResult",
    "StateDirectory",
    "VdbeventsError",
    "Window",
    "envelop",
    "follow",
    "locate_state",
    "open",
    "parse_line",
    "search",
]

_HOMES = {
    "Filters": "vdbevents.query.filters",
    "QueryResult": "vdbevents.api",
    "Journal": "vdbevents.journal.append",
    "OpenJournal": "vdbevents.api",
    "OpenLake": "vdbevents.api",
    "StateDirectory": "vdbevents.journal.state",
    "VdbeventsError": "vdbevents.errors",
    "Window": "vdbevents.times",
    "envelop": "vdbevents.events.envelope",
    "follow": "vdbevents.journal.reader",
    "locate_state": "vdbevents.journal.state",
    "open": "vdbevents.api",
    "parse_line": "vdbevents.events.envelope",
    "search": "vdbevents.query.engine",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of the public names
    if name not in _HOMES:
        raise AttributeError(f"module 'vdbevents' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
