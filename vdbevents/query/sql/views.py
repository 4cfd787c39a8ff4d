"""The views of `vdbevents sql` over a journal's events. Pure."""

# ruff: noqa: S608 - the SQL consists of constants and of our own paths

from collections.abc import Sequence
from typing import Final, NamedTuple

from vdbevents.query.cache.schema import ROWS
from vdbevents.query.lines import CONDITION_COLUMNS, NAMES, Statement, listed, moment
from vdbevents.query.session_tables import RECORDER, owned
from vdbevents.query.sql import once


class View(NamedTuple):
    """A view: a description, its columns (name, type, meaning), and its SQL."""

    holds: str
    columns: tuple[tuple[str, str, str], ...]
    sql: str


_MEANINGS: Final = {
    "time": "of receipt",
    "channel": "transcript, visual_index, audio_index, alert, capture_session, vdbevents, …",
    "event": "such as capture_session.active",
    "source": "mic, system_audio, screen, camera",
    "stream": "a stream's id",
    "stream_name": "such as mic:default",
    "session": "a capture session's id",
    "text": "what was said or shown",
    "is_final": "of a transcript",
    "started": "when the event began",
    "ended": "when the event ended",
    "label": "of an alert, else the event",
    "speaker": "who said it",
    "confidence": "0 to 1",
    "window": 'the window or app that a description names; SQL needs the quotes of "window"',
    "backfilled": "fetched after a gap, so received late",
}
_EVENT: Final = tuple((name, CONDITION_COLUMNS[name], meaning) for name, meaning in _MEANINGS.items())

_CHOSEN: Final = ", ".join(f"{NAMES[name]} AS {name}" if name in NAMES else name for name, *_ in _EVENT)


def _of(channel: str) -> str:
    return f"SELECT * FROM events WHERE channel = '{channel}'"


def _once(channel: str, condition: str = "") -> str:
    """Return a SELECT of a channel's events, each once though it was received and fetched later."""
    return f"""SELECT {_CHOSEN} FROM journal.recorded ANTI JOIN journal.repetitions USING (part, position)
        WHERE channel = '{channel}'{condition}"""


# What `query` shows of a session.
_SHOWN: Final = f"""(SELECT *, epoch_ms(coalesce(started, time)) AS happened FROM (
    FROM transcripts UNION ALL FROM visuals UNION ALL FROM audio UNION ALL
    FROM events WHERE channel NOT IN {("transcript", "visual_index", "audio_index", *RECORDER)!r}))"""

VIEWS: Final = {
    "events": View("Every event, as it was received.", _EVENT, f"SELECT {_CHOSEN} FROM journal.recorded"),
    "transcripts": View(
        "Speech: each utterance once, an interim one only where nothing has replaced it.",
        _EVENT,
        f"""{_once("transcript", " AND is_final IS DISTINCT FROM false")}
            UNION ALL SELECT {_CHOSEN} FROM journal.recorded
            SEMI JOIN journal.unfinished USING (part, position)""",
    ),
    "visuals": View("Screen descriptions: `visual_index`, each once.", _EVENT, _once("visual_index")),
    "audio": View("Audio summaries: `audio_index`, each once.", _EVENT, _once("audio_index")),
    "alerts": View("The alerts that fired.", _EVENT, _of("alert")),
    "sessions": View(
        "Capture sessions.",
        (
            ("session", "VARCHAR", "its id"),
            ("first", "TIMESTAMPTZ", "its first event"),
            ("last", "TIMESTAMPTZ", "its last event"),
            ("status", "VARCHAR", "the status in its last line, such as active, exported, failed"),
            (
                "events",
                "BIGINT",
                "how many events belong to it: steps, transcripts, visuals, audio, alerts, …",
            ),
            ("reason", "VARCHAR", "why it failed"),
            ("video", "VARCHAR", "the link to its video"),
        ),
        f"""SELECT known.session, least({moment("first_ms")}, first) AS first,
            greatest({moment("last_ms")}, last) AS last, status, coalesce(events, 0) AS events, reason, video
            FROM journal.known_sessions AS known LEFT JOIN (
                SELECT owner, min(time) AS first, max(time) AS last, count(*) AS events FROM ({
            owned(_SHOWN, "journal")
        }) GROUP BY owner) AS content ON content.owner = known.session""",
    ),
    "gaps": View(
        "Times in which nothing was received.",
        (
            ("id", "VARCHAR", "unique"),
            ("since", "TIMESTAMPTZ", "when it began"),
            ("until", "TIMESTAMPTZ", "when it ended; NULL while it goes on"),
            ("seconds", "DOUBLE", "how long; of one that goes on, until now"),
            ("reason", "VARCHAR", "why"),
            ("status", "VARCHAR", "open, recovered, incomplete"),
            ("recovered", "BIGINT", "the number of events backfilled"),
        ),
        f"""SELECT id, {moment("since_ms")} AS since,
            CASE WHEN NOT is_ongoing THEN {moment("until_ms")} END AS until,
            greatest(until_ms - since_ms, 0) / 1000 AS seconds, reason, status, recovered
            FROM journal.told_gaps""",
    ),
}
"""The views by name; each may use those before it."""

GAPS: Final = """CREATE TABLE journal.told_gaps
    (id VARCHAR, since_ms BIGINT, until_ms BIGINT, reason VARCHAR, status VARCHAR, recovered BIGINT,
    is_ongoing BOOLEAN)"""
GAP: Final = "INSERT INTO journal.told_gaps VALUES (?, ?, ?, ?, ?, ?, ?)"


SCHEMA: Final = "CREATE SCHEMA journal"
"""The schema of the tables behind the views, so that `SHOW TABLES` lists the views alone."""

_INTERMEDIATE_TABLES: Final = ("sealed", "sources", "folded", "lines", "reject_errors", "reject_scans")


def creating(paths: Sequence[str], globs: Sequence[str]) -> list[Statement]:
    """Return the statements that create the views over the table `sealed`, and over files, oldest first.

    Args:
        paths: of the files.
        globs: the same as DuckDB globs.
    """
    recorded = f"SELECT *, {len(paths) + 1}::BIGINT AS part FROM journal.unsealed"
    if paths:
        # A position is one in its own journal, and there may be rotated ones.
        recorded += f""" UNION ALL BY NAME SELECT * EXCLUDE (filename),
            coalesce(list_position({listed(paths)}, filename), 0)::BIGINT AS part
            FROM read_parquet({listed(globs)}, filename = true)"""
    views = {
        "journal.recorded": recorded,
        "journal.repetitions": once.REPETITIONS,
        "journal.unfinished": once.UNFINISHED,
        **{name: view.sql for name, view in VIEWS.items()},
    }
    return [
        Statement(f"CREATE TABLE journal.unsealed AS {ROWS}", []),
        *(Statement(f"CREATE VIEW {name} AS {sql}", []) for name, sql in views.items()),
        *(Statement(f"DROP TABLE {name}", []) for name in _INTERMEDIATE_TABLES),
    ]


def closing(paths: Sequence[str], temporary_mb: int) -> list[Statement]:
    """Return the statements that take from a connection, for good, all access to files but `paths`.

    DuckDB allows writing these as well (`WITH x AS (COPY … TO …)` is a SELECT): unless it is certain that a
    query only reads, they have to be copies that nothing else reads.

    Args:
        paths: files.
        temporary_mb: the disk space that a query may take.
    """
    return [
        Statement("SET allowed_paths = ?", [list(paths)]),
        Statement("SET python_enable_replacements = false", []),
        Statement(f"SET max_temp_directory_size = '{temporary_mb:d}MB'", []),
        Statement("SET enable_external_access = false", []),
        Statement("SET lock_configuration = true", []),
    ]
