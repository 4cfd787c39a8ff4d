"""The columns of the table `events`, which every recorder ships its lines to. Pure.

A row is a line of a journal. Its types are those that every engine has: texts, booleans, doubles, 64-bit
numbers, a date, and times in UTC with microseconds.
"""

from typing import Final, NamedTuple

SCHEMA_VERSION: Final = 1
"""Of the columns; a table of a later version is not written by this program."""

VERSION_KEY: Final = "vdbevents.schemaVersion"
"""The table's property with that number."""

PARTITIONS: Final = ("date",)
"""By day alone: the statistics of each file say which hosts are in it."""

NO_TIME_DATE: Final = "1970-01-01"
"""The date of a line without a time, and of one that could not be read."""


class LakeColumn(NamedTuple):
    """A column: its name, its type as Delta Lake calls it, and what it holds."""

    name: str
    kind: str
    meaning: str


_WHERE: Final = (
    LakeColumn("host", "string", "the recorder's name, from `ship --host`"),
    LakeColumn("journal", "string", "the id of the recording on that host"),
    LakeColumn("position", "long", "the order of lines in that recording: where it begins, in bytes"),
    LakeColumn("length", "long", "of the line, in bytes, without its end"),
    LakeColumn("date", "date", f"the UTC day of `time`; {NO_TIME_DATE} of a line without one"),
)

_EVENT: Final = (
    LakeColumn("time", "timestamp", "of receipt"),
    LakeColumn("channel", "string", "transcript, visual_index, audio_index, alert, capture_session, …"),
    LakeColumn("event", "string", "such as capture_session.active"),
    LakeColumn("source", "string", "mic, system_audio, screen, camera"),
    LakeColumn("stream", "string", "a stream's id"),
    LakeColumn("stream_name", "string", "such as mic:default"),
    LakeColumn("session", "string", "a capture session's id"),
    LakeColumn("text", "string", "what was said or shown"),
    LakeColumn("is_final", "boolean", "of a transcript"),
    LakeColumn("started", "timestamp", "when the event began"),
    LakeColumn("ended", "timestamp", "when the event ended"),
    LakeColumn("label", "string", "of an alert, else the event"),
    LakeColumn("speaker", "string", "who said it"),
    LakeColumn("confidence", "double", "0 to 1"),
    LakeColumn("window", "string", "the window or app that a description names"),
    LakeColumn("backfilled", "boolean", "fetched after a gap, so received late"),
)

_BESIDE: Final = (
    LakeColumn("looks", "string", "the text as texts are compared, where that differs"),
    LakeColumn(
        "identity",
        "string",
        "the same of a received and of a fetched copy of an event: the first 20 letters of the MD5 of its "
        "channel, stream, start, end (in Unix ms) and text, joined by |",
    ),
    LakeColumn(
        "readable", "boolean", "false of a line that is not an event: it has values for its place alone"
    ),
    LakeColumn("line", "string", "the whole line, without its end"),
    LakeColumn("schema_version", "long", "of the program that shipped it"),
)

COLUMNS: Final = (*_WHERE, *_EVENT, *_BESIDE)
"""In their order in the table. A later version adds columns at the end; none is renamed or removed."""

EVENT_COLUMNS: Final = tuple(column.name for column in _EVENT)
"""Those of an event, named as in the user's SQL (`query.sql.views`)."""

_NOT_IN_NAMES: Final = frozenset("/\\'\"")
_LONGEST_NAME: Final = 100


def is_host(name: str) -> bool:
    r"""Return whether a name may be a recorder's: printable, at most 100 letters, no `/`, `\` or quote."""
    return (
        0 < len(name) <= _LONGEST_NAME
        and name == name.strip()
        and name.isprintable()
        and not _NOT_IN_NAMES.intersection(name)
    )


def application(host: str, journal: str) -> str:
    """Return the id under which the commits of one recording are counted."""
    return f"vdbevents/{host}/{journal}"
