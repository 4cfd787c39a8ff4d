"""Count an answer by blocks of time, and choose what was said in each: the digest's SQL, and its reading.

Everything is counted and chosen in SQL: of a day, or a year, only what has room in a digest is read from it.
"""

# ruff: noqa: S608 - the SQL consists of constants, whole numbers and our own names; values are bound

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple, Protocol

from vdbevents.query.alike import UNSPACED_RANGES
from vdbevents.query.duck import execute, explained
from vdbevents.query.result_protocols import TabledRows
from vdbevents.query.screen_time import breaks_at, end_of, lasting
from vdbevents.times import LEAST_MS

MINUTE_MS: Final = 60_000

LONGEST_TEXT: Final = 300
"""The most characters of what was said at once: what is longer is cut."""

PART_OF_WORD: Final = " [^ ]{1,20}$"
"""A regular expression for a word at the end that was cut, unless it is long, for RE2 and for Python."""

LONGEST_SNIPPET: Final = 100
"""The most characters of a description."""

WEIGHED: Final = 400
"""Of more sentences in a block only its longest are weighed, unless there is room for more."""

CHARACTERS_OF_A_SENTENCE: Final = 20

_COLUMNS: Final = (
    *("time_ms", "channel", "source", "stream", "stream_name", "text", "start_ms", "end_ms", "label"),
    *("speaker", "window_name"),
)

# `at_ms` is when it happened. Other events have no kind: DuckDB would move a condition on the
# rows into the reading of the lines, and parse them several times. Of an OR it would evaluate both sides
# for each row, of a CASE only what is left.
_AT: Final = "coalesce(start_ms, time_ms)"
_HAPPENED: Final = f"""SELECT {_AT} AS at_ms, coalesce({end_of(_AT, "end_ms")}, {_AT}) AS end_ms,
    CASE WHEN {_AT} IS NULL THEN NULL WHEN channel IN ('alert', 'capture_session') THEN channel
        WHEN channel IN ('transcript', 'audio_index', 'visual_index')
            AND CASE WHEN trim(left(text, 8)) <> '' THEN true ELSE trim(text) <> '' END THEN channel
        END AS kind,
    coalesce(stream, stream_name, source) AS stream,
    coalesce(speaker, source, stream_name, stream) AS who, label, window_name AS name,
    CASE WHEN channel = 'visual_index' AND strlen(text) > {LONGEST_SNIPPET} THEN left(text, {LONGEST_SNIPPET})
        WHEN strlen(text) > {LONGEST_TEXT} AND length(text) > {LONGEST_TEXT}
        THEN regexp_replace(left(text, {LONGEST_TEXT - 1}), '{PART_OF_WORD}', '') || '…' ELSE text END AS text
    FROM ({{rows}})"""

_DESCRIBED: Final = (
    "(SELECT stream, at_ms AS moment, end_ms, name, text FROM happened WHERE kind = 'visual_index')"
)
_STEPS: Final = "SELECT at_ms FROM happened WHERE kind = 'capture_session'"

_SCREENS: Final = f"""CREATE OR REPLACE TEMP TABLE screens AS WITH {{breaks}}
    SELECT name, text, begin AS at_ms, least(finish, {{until}}) AS until_ms
    FROM ({lasting(_DESCRIBED, "name", "text")})"""

FILLERS: Final = (
    *("yes", "yeah", "yep", "nope", "okay", "uhm", "umm", "hmm", "mhm", "huh", "well", "like", "just"),
    *("you", "know", "the", "and", "that", "this", "there", "then", "thanks", "thank"),
)
"""Words that say nothing, beside those of one or two letters."""

# What is no letter: signs, digits, pictures. Each character is as both RE2 and Python read it in a class.
_SIGNS: Final = (
    r"\x00-`{-\x7f"
    "\u0080-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u037e\u0387\u055a-\u055f"
    "\u0589\u05be\u05c0\u05c3\u05f3\u05f4\u0600-\u060f\u061b-\u061f\u0660-\u066d\u06d4\u06f0-\u06f9\u0964-\u0970"
    "\u1680\u2000-\u206f\u2070-\u2bff\u2e00-\u3004\u3008-\u3020\u3030\u3036-\u303f\ue000-\uf8ff\ufe0e\ufe0f\ufe10-\ufe1f"
    "\ufe30-\ufe6f\ufeff\uff00-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffff\U0001d000-\U0001d3ff\U0001f000-\U0001fbff"
    "\U000e0000-\U0010ffff"
)

# Chinese and Japanese have no spaces between words: each character is one.
WORD: Final = f"[{UNSPACED_RANGES}]|[^{_SIGNS}{UNSPACED_RANGES}]{{3,}}"
"""A regular expression for a word in lower case, for RE2 and for Python."""

# Of a stream that has audio summaries in a block, these stand for its sentences.
_HEARD: Final = """CREATE OR REPLACE TEMP TABLE heard AS
    WITH spoken AS (SELECT place.block, kind, at_ms, stream, who, text
            FROM happened JOIN place ON bucket = {bucket} WHERE kind IN ('transcript', 'audio_index')),
        summed AS (SELECT DISTINCT block, stream, true AS is_summed FROM spoken WHERE kind = 'audio_index')
    SELECT spoken.* FROM spoken LEFT JOIN summed
        ON summed.block = spoken.block AND summed.stream IS NOT DISTINCT FROM spoken.stream
    WHERE kind = 'audio_index' OR is_summed IS NULL"""

# What is said twice in a block counts once.
_SAID: Final = """CREATE OR REPLACE TEMP TABLE said AS
    SELECT block, kind, at_ms, who, text, row_number() OVER (ORDER BY at_ms, who, text, kind) AS id FROM (
        SELECT *, row_number() OVER (PARTITION BY block, lower(text) ORDER BY at_ms, who, text, kind) AS again
        FROM (SELECT *, row_number()
                OVER (PARTITION BY block ORDER BY length(text) DESC, at_ms, who, text, kind) AS place
            FROM heard) WHERE place <= {weighed}) WHERE again = 1"""

_WORD_TABLE: Final = f"""CREATE OR REPLACE TEMP TABLE words AS SELECT DISTINCT block, id, word FROM (
    SELECT block, id, unnest(regexp_extract_all(lower(text), '{WORD}')) AS word FROM said)
    WHERE word NOT IN {FILLERS}"""

# A word counts for more the oftener it is said in its block, and the rarer it is elsewhere.
_CHOSEN: Final = """WITH
    within AS (SELECT block, word, count(*) AS times FROM words GROUP BY ALL),
    overall AS (SELECT word, sum(times) AS times FROM within GROUP BY ALL),
    weighed AS (SELECT id, sum(within.times * ln(1 + total / overall.times)) / sqrt(count(*)) AS weight
        FROM words JOIN within USING (block, word) JOIN overall USING (word),
        (SELECT count(DISTINCT id) AS total FROM words) GROUP BY id),
    ranked AS (SELECT said.*,
        row_number() OVER (PARTITION BY block ORDER BY round(coalesce(weight, 0), 9) DESC, id) AS rank
        FROM said LEFT JOIN weighed USING (id))
    SELECT block, rank, id, at_ms, who, text, kind = 'audio_index' FROM (
        SELECT *, sum(length(text)) OVER (PARTITION BY block ORDER BY rank) - length(text) AS before
        FROM ranked) WHERE before < {room} ORDER BY block, rank"""

_WINDOWS: Final = """CREATE OR REPLACE TEMP TABLE windows AS
    SELECT block, name, sum(ms)::BIGINT AS shown_ms, arg_max(text, (ms, -at_ms, text)) AS text
    FROM (SELECT blocks.block, name, text, at_ms,
            least(screens.until_ms, blocks.until_ms) - greatest(at_ms, blocks.since_ms) AS ms
        FROM screens JOIN (SELECT DISTINCT block, since_ms, until_ms FROM place) AS blocks
        ON at_ms < blocks.until_ms AND greatest(screens.until_ms, at_ms + 1) > blocks.since_ms)
    GROUP BY block, name"""

_SHOWN: Final = """SELECT block, name, shown_ms, text FROM (SELECT *,
        row_number() OVER (PARTITION BY block ORDER BY shown_ms DESC, name NULLS LAST) AS rank FROM windows)
    WHERE rank <= {most} ORDER BY block, rank"""

_FIRED: Final = """SELECT block, name, times, first_ms, text FROM (
    SELECT *, row_number() OVER (PARTITION BY block ORDER BY times DESC, name) AS rank FROM (
        SELECT block, coalesce(label, '') AS name, count(*) AS times, min(at_ms) AS first_ms,
            arg_min(text, (at_ms, text)) AS text
        FROM happened JOIN place ON bucket = {bucket} WHERE kind = 'alert'
        GROUP BY block, coalesce(label, '')))
    WHERE rank <= {most} ORDER BY block, rank"""

_TOTALS: Final = """SELECT block, sum(said)::BIGINT, sum(shown)::BIGINT, sum(fired)::BIGINT FROM (
    SELECT block, count(DISTINCT lower(text)) AS said, 0 AS shown, 0 AS fired FROM heard GROUP BY block
    UNION ALL SELECT block, 0, count(*), 0 FROM windows GROUP BY block
    UNION ALL SELECT block, 0, 0, count(DISTINCT coalesce(label, ''))
        FROM happened JOIN place ON bucket = {bucket} WHERE kind = 'alert' GROUP BY block)
    GROUP BY block ORDER BY block"""


def _bucket(unit_ms: int, moment: str = "at_ms") -> str:
    """Return SQL for the number of the unit of time that a moment is in."""
    return f"({moment} + {-LEAST_MS}) // {unit_ms:d}"


class Recorded(NamedTuple):
    """How much of each kind was recorded, each counted once, however often it is in blocks."""

    sentences: int = 0
    summaries: int = 0
    windows: int = 0
    alerts: int = 0

    def plus(self, other: "Recorded") -> "Recorded":
        """Return what both have; a window of another journal is another one."""
        return Recorded(*(one + more for one, more in zip(self, other, strict=True)))


class Outline(NamedTuple):
    """What there is to digest in an answer, before it is divided into blocks.

    Attributes:
        span: the first and the last time of an event, in Unix ms.
        occupied: about how many blocks of each length, in ms, have something in them.
        said: the number of sentences and summaries.
        said_characters: how many characters they have.
        recorded: how much there is of each kind.
    """

    span: tuple[int, int]
    occupied: Mapping[int, int]
    said: int
    said_characters: int
    recorded: Recorded = Recorded()


class Said(NamedTuple):
    """Something that was said in a block.

    `rank` counts from 1, the most telling first; `nth` is its place in what was said, in the order of time.
    """

    block: int
    rank: int
    nth: int
    at_ms: int
    who: str | None
    text: str
    is_summary: bool


class Shown(NamedTuple):
    """A window that was on the screen in a block, and how long; without a name, what was shown longest."""

    block: int
    name: str | None
    shown_ms: int
    text: str


class Fired(NamedTuple):
    """The alerts of one label in a block; the text is the first one's."""

    block: int
    label: str
    times: int
    first_ms: int
    text: str | None


class Total(NamedTuple):
    """How many sentences, windows and labels of alerts a block has."""

    block: int
    said: int
    shown: int
    fired: int


class BlockCounts(Protocol):
    """One journal's answer, counted by blocks of time."""

    def outline(self, lengths_ms: Sequence[int]) -> Outline | None:
        """Return what there is to digest; None if there is nothing.

        Args:
            lengths_ms: the lengths that a block may have, in ms.
        """

    def units(self, unit_ms: int) -> list[int]:
        """Return the beginnings of the units of time in which something happened, in Unix ms, in order."""

    def divide(self, blocks: Mapping[int, tuple[int, int]], room: int) -> list[Total]:
        """Divide the answer into blocks; return their totals, in order.

        Args:
            blocks: for each beginning that `units` returned the block it is in: from when to when, in Unix
                ms. In the results, the block's beginning stands for it.
            room: the most characters of a block that are asked for.
        """

    def said(self, room: int) -> list[Said]:
        """Return of each block the best of what was said, up to so many characters."""

    def shown(self, most: int) -> list[Shown]:
        """Return of each block the windows that were on the screen, the longest first."""

    def fired(self, most: int) -> list[Fired]:
        """Return of each block the alerts by label, the most frequent first."""


class TabledBlocks:
    """An answer that DuckDB counts by blocks of time, as `plain_blocks` counts events in memory."""

    def __init__(self, answer: TabledRows, until_ms: int, breaks: Iterable[int] = ()) -> None:
        """Read the answer's events once.

        Args:
            answer: it must not be closed.
            until_ms: the end of the window, in Unix ms: what is on the screen then counts until then.
            breaks: when gaps and pauses began, in Unix ms: nothing is known to last beyond.

        Raises:
            StorageError: memory or temporary space is used up, or the cache vanished.
        """
        self._connection = answer.connection
        self._unit_ms = 0
        answer.tabulate("happened", _HAPPENED, _COLUMNS)
        sql = _SCREENS.replace("{breaks}", breaks_at(breaks, _STEPS))
        self._execute(sql.replace("{until}", f"{until_ms:d}"))

    def outline(self, lengths_ms: Sequence[int]) -> Outline | None:
        """Return what there is to digest; None if there is nothing."""
        [(first, last, characters, *recorded)] = self._rows(
            """SELECT min(at_ms), max(end_ms), coalesce(sum(length(text)) FILTER (kind = 'transcript'
                OR kind = 'audio_index'), 0)::BIGINT, count(*) FILTER (kind = 'transcript'),
                count(*) FILTER (kind = 'audio_index'),
                (SELECT count(DISTINCT coalesce('w' || name, '')) FROM screens),
                count(*) FILTER (kind = 'alert') FROM happened WHERE kind <> 'capture_session'"""
        )
        if first is None:
            return None
        of_lengths = {
            length: len({minute * MINUTE_MS // length for minute in self._minutes}) for length in lengths_ms
        }
        found = Recorded(*recorded)
        return Outline((first, last), of_lengths, found.sentences + found.summaries, characters, found)

    def units(self, unit_ms: int) -> list[int]:
        """Return the beginnings of the units of time in which something happened, in Unix ms, in order."""
        self._unit_ms = unit_ms
        buckets = {minute * MINUTE_MS // unit_ms for minute in self._minutes}
        ends = _bucket(unit_ms, "until_ms - 1")
        for first, last in self._rows(f"SELECT DISTINCT {_bucket(unit_ms)}, {ends} FROM screens"):
            buckets.update(range(first, last + 1))
        return [bucket * unit_ms + LEAST_MS for bucket in sorted(buckets)]

    @cached_property
    def _minutes(self) -> list[int]:
        """The numbers of the minutes in which something happened."""
        minutes = f"SELECT DISTINCT {_bucket(MINUTE_MS)} FROM happened WHERE kind <> 'capture_session'"
        return [minute for (minute,) in self._rows(minutes)]

    def divide(self, blocks: Mapping[int, tuple[int, int]], room: int) -> list[Total]:
        """Divide the answer into blocks; return their totals, in order."""
        self._execute(
            """CREATE OR REPLACE TEMP TABLE place AS SELECT unnest(?::BIGINT[]) AS bucket,
                unnest(?::BIGINT[]) AS block, unnest(?::BIGINT[]) AS until_ms, block AS since_ms""",
            [
                [(unit - LEAST_MS) // self._unit_ms for unit in blocks],
                [since_ms for since_ms, _ in blocks.values()],
                [until_ms for _, until_ms in blocks.values()],
            ],
        )
        for sql in (_HEARD, _SAID, _WORD_TABLE, _WINDOWS):
            self._execute(self._filled(sql, weighed=max(WEIGHED, room // CHARACTERS_OF_A_SENTENCE)))
        return [Total(*row) for row in self._rows(self._filled(_TOTALS))]

    def said(self, room: int) -> list[Said]:
        """Return of each block the best of what was said, up to so many characters."""
        return [Said(*row) for row in self._rows(self._filled(_CHOSEN, room=room))]

    def shown(self, most: int) -> list[Shown]:
        """Return of each block the windows that were on the screen, the longest first."""
        return [Shown(*row) for row in self._rows(self._filled(_SHOWN, most=most))]

    def fired(self, most: int) -> list[Fired]:
        """Return of each block the alerts by label, the most frequent first."""
        return [Fired(*row) for row in self._rows(self._filled(_FIRED, most=most))]

    def _filled(self, sql: str, **numbers: int) -> str:
        sql = sql.replace("{bucket}", _bucket(self._unit_ms))
        for name, number in numbers.items():
            sql = sql.replace(f"{{{name}}}", f"{number:d}")
        return sql

    def _execute(self, sql: str, values: Sequence[object] = ()) -> None:
        with explained():
            execute(self._connection, sql, values)

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        with explained():
            return execute(self._connection, sql).fetchall()
