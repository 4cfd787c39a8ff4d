"""SQL that leaves out what was told twice, so that the views agree with `vdbevents query`. Pure.

Both views read `journal.recorded`, and name events by `part` and `position`.
"""

# ruff: noqa: S608 - the SQL consists of constants and our own names

from typing import Final

from vdbevents.query.columns import BLANK
from vdbevents.times import LEAST_MS

# The order of the lines, as one number: by receipt, then as in the files.
_PLACE: Final = f"((coalesce(time_ms, {LEAST_MS}) - {LEAST_MS})::HUGEINT << 64) + (part << 40 | position)"

_SAME: Final = "PARTITION BY channel, stream, start_ms, end_ms, content"

REPETITIONS: Final = f"""SELECT part, position FROM (
    SELECT part, position, bool_or(fetched) OVER ({_SAME}) AS is_fetched,
        row_number() OVER ({_SAME} ORDER BY place) AS number
    FROM (SELECT part, position, fetched, channel, stream, start_ms, end_ms, {_PLACE} AS place,
            CASE WHEN regexp_matches(text, '[^{BLANK}]') THEN text ELSE '' END AS content
        FROM journal.recorded
        SEMI JOIN (SELECT DISTINCT channel, stream, start_ms FROM journal.recorded WHERE fetched)
        USING (channel, stream, start_ms)
        WHERE channel IN ('transcript', 'visual_index', 'audio_index') AND stream <> ''
        AND is_final IS DISTINCT FROM false)) WHERE is_fetched AND number > 1"""
"""Of events that were received and fetched, all but the first: `query.statements.repeated` in SQL."""

# Few interim transcripts are left after the first step, which is a hash join: most begin as their final one.
UNFINISHED: Final = f"""WITH spoken AS (
        SELECT part, position, is_final, start_ms, end_ms, {_PLACE} AS place,
            coalesce('.' || coalesce(stream, stream_name), '') AS owner
        FROM journal.recorded WHERE channel = 'transcript' AND is_final IS NOT NULL),
    finals AS (SELECT owner, place, start_ms, end_ms FROM spoken WHERE is_final),
    alone AS (SELECT * FROM spoken ANTI JOIN finals USING (owner, start_ms) WHERE NOT is_final),
    newest AS (SELECT * FROM alone WHERE true QUALIFY start_ms IS NULL
        OR row_number() OVER (PARTITION BY owner, start_ms ORDER BY place DESC) = 1)
    SELECT part, position FROM newest AS interim ASOF LEFT JOIN finals AS final
    ON interim.owner = final.owner AND interim.place <= final.place
    WHERE final.place IS NULL
    OR NOT coalesce(interim.start_ms < final.end_ms AND final.start_ms < interim.end_ms, true)"""
"""The interim transcripts that nothing has replaced: the opposite of `query.statements`' replaced ones."""
