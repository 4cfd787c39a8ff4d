"""The SQL that finds the events of a session, and the session of each event. Pure.

`events.session_content` has the rule; docs/events-format.md explains it.
"""

# ruff: noqa: S608 - the SQL consists of constants and whole numbers; values are bound

from collections.abc import Iterator, Sequence
from typing import Final

from vdbevents.events.session_content import CONTENT, Claim, SessionBook, SessionScope, SessionSpan
from vdbevents.query.lines import Statement

_MOMENT: Final = "coalesce(start_ms, time_ms)"
_IS_CONTENT: Final = f"channel IN {CONTENT!r}"

RECORDER: Final = ("vdbevents", "capture_client")
"""The channels of the recorder itself, whose lines are left out of a session."""


def filled(book: SessionBook, place: str) -> Iterator[Statement]:
    """Yield the statements that create the tables of what a journal says about its sessions.

    Args:
        book: its sessions.
        place: the schema or catalog of the tables, such as `temp`.
    """
    texts = ("status", "reason", "video")
    known = [
        (
            *(one.id, one.first_ms, one.last_ms, one.over_ms),
            *(getattr(one, name) or None for name in texts),
        )
        for one in book.sessions()
    ]
    facts = """session VARCHAR, first_ms BIGINT, last_ms BIGINT, ended_ms BIGINT,
        status VARCHAR, reason VARCHAR, video VARCHAR"""
    times = "since_ms BIGINT, until_ms BIGINT"
    for table, columns, rows in (
        ("known_sessions", facts, known),
        ("claims", f"session VARCHAR, stream VARCHAR, {times}", book.claims()),
        ("spans", f"session VARCHAR, {times}, is_for_streams BOOLEAN", book.spans()),
    ):
        kind = "TEMP TABLE" if place == "temp" else "TABLE"
        yield Statement(f"CREATE OR REPLACE {kind} {place}.{table} ({columns})", [])
        if values := [list(column) for column in zip(*rows, strict=True)]:
            unnested = ", ".join(["unnest(?)"] * len(values))
            yield Statement(f"INSERT INTO {place}.{table} SELECT {unnested}", [*values])


def owned(events: str, place: str) -> str:
    """Return a SELECT of the events that belong to a session, with that as the column `owner`.

    Args:
        events: SQL with the columns session, stream, channel, and `happened`: the own time in Unix ms.
        place: of the tables.
    """
    return f"""WITH named AS MATERIALIZED (
            SELECT event.*, coalesce(event.session, claim.session) AS owner FROM {events} AS event
            LEFT JOIN {place}.claims AS claim ON event.session IS NULL AND event.stream = claim.stream
            AND (claim.since_ms IS NULL OR happened >= claim.since_ms)
            AND (claim.until_ms IS NULL OR happened < claim.until_ms))
        SELECT * FROM named WHERE owner IS NOT NULL
        UNION ALL BY NAME SELECT rest.* EXCLUDE (owner), span.session AS owner FROM (
            FROM named WHERE owner IS NULL AND {_IS_CONTENT}
            AND (stream IS NULL OR stream NOT IN (SELECT stream FROM {place}.claims))) AS rest
            ASOF JOIN {place}.spans AS span
            ON span.is_for_streams = (rest.stream IS NOT NULL) AND rest.happened >= span.since_ms
            WHERE span.until_ms IS NULL OR rest.happened < span.until_ms"""


def counts(events: str) -> str:
    """Return a SELECT of each session and channel: how many events, and the latest.

    Its rows are (session, channel, count, own time in Unix ms). The tables are in `temp`.

    Args:
        events: SQL with the columns session, stream, channel, start_ms and time_ms.
    """
    shown = f"""(SELECT session, stream, channel, {_MOMENT} AS happened
        FROM ({events}) WHERE coalesce(channel, '') NOT IN {RECORDER!r})"""
    return f"""SELECT owner, coalesce(channel, 'unknown') AS kind, count(*), max(happened)
        FROM ({owned(shown, "temp")}) GROUP BY ALL ORDER BY ALL"""


EARLIEST_UNSEALED: Final = """SELECT min(time_ms), count(*) - count(time_ms) FROM events
    WHERE transcript AND length IS NULL AND (is_final OR matched)"""
"""The earliest receipt of an unsealed transcript, and how many have none."""

REPLACED_LATER: Final = """WITH late AS MATERIALIZED (SELECT stream, start_ms, end_ms, is_final,
        row_number() OVER (ORDER BY time_ms, position) AS number FROM events
        WHERE transcript AND length IS NULL AND (is_final OR matched)),
    heads AS (SELECT DISTINCT ON (stream) stream, start_ms, end_ms, true AS is_there FROM late WHERE is_final
        ORDER BY stream, number),
    asked AS (SELECT unnest(?::BIGINT[]) AS id, unnest(?::VARCHAR[]) AS stream,
        unnest(?::BIGINT[]) AS start_ms, unnest(?::BIGINT[]) AS end_ms, unnest(?::BOOLEAN[]) AS is_last)
    SELECT DISTINCT id FROM asked LEFT JOIN heads ON asked.stream IS NOT DISTINCT FROM heads.stream
    LEFT JOIN late ON asked.stream IS NOT DISTINCT FROM late.stream AND asked.start_ms = late.start_ms
    WHERE late.number IS NOT NULL OR (is_last AND is_there
        AND coalesce(asked.start_ms < heads.end_ms AND heads.start_ms < asked.end_ms, true))"""
"""Which sealed interim transcripts an unsealed one replaced, of those that no sealed one did.

Its values are lists: numbers, streams, starts, ends, and whether no sealed final one of the stream follows.
"""


def belongs(scope: SessionScope, values: list[object]) -> str:
    """Return a condition for the events of some sessions, over the columns of `Event`.

    Args:
        scope: the sessions' content.
        values: those for the condition's `?` are added.
    """
    values.append(list(scope.sessions))
    nameless = [*_of_streams(scope.claims, values)]
    for is_for_streams in (False, True):
        spans = [_within(span) for span in scope.spans if span.is_for_streams is is_for_streams]
        if not spans:
            continue
        whose = "stream IS NULL"
        if is_for_streams:
            whose = "stream IS NOT NULL"
            if scope.named:
                values.append(list(scope.named))
                whose = "NOT list_contains(?, stream)"
        nameless.append(f"({_IS_CONTENT} AND {whose} AND ({' OR '.join(spans)}))")
    others = f" OR (session IS NULL AND ({' OR '.join(nameless)}))" if nameless else ""
    return f"coalesce(list_contains(?, session){others}, false)"


def _of_streams(claims: Sequence[Claim], values: list[object]) -> Iterator[str]:
    if always := [claim.stream for claim in claims if claim.is_for_ever]:
        values.append(always)
        yield "list_contains(?, stream)"
    for claim in (claim for claim in claims if not claim.is_for_ever):
        values.append(claim.stream)
        yield f"(stream = ? AND {_between(claim.since_ms, claim.until_ms)})"


def _within(span: SessionSpan) -> str:
    return _between(span.since_ms, span.until_ms)


def _between(since_ms: int | None, until_ms: int | None) -> str:
    bounds = [] if since_ms is None else [f"{_MOMENT} >= {since_ms:d}"]
    bounds += [] if until_ms is None else [f"{_MOMENT} < {until_ms:d}"]
    return f"({' AND '.join(bounds)})"
