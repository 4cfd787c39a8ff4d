"""What a query asks, as values and as SQL. Pure: no file, no clock, no database.

A journal is answered in three small steps, each a temporary table of DuckDB's:

1. `candidates`: the lines that may belong to the answer, by cheap looks at their bytes, in the file's order,
   and those that tell of gaps, whenever they were written;
2. `events`: for each candidate its time of receipt and whether it matches, by folding its JSON once;
3. `answer`: the lines that are shown (no replaced interim transcripts, no repetitions, the newest N), oldest
   first.

They are printed as they are, or folded into `Event`s as they are read. With `around_ms` the answer becomes
`found`, and the same steps are taken once more, for all that happened in the `spans` around that.
"""
# ruff: noqa: S608 - the SQL is made here of constants, whole numbers and names of ours; values are bound

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeVar

from vdbevents.query.window import LEAST_MS, Window

# -- What a query asks -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked of a journal; every part that is given must hold.

    Attributes:
        window: the times of receipt.
        by_event: the times are those at which something was said or shown (`start`; without one, of receipt).
        grep: patterns, each of which must be found in the event's text or its label.
        any_of: patterns, one of which at least must be found there.
        none_of: patterns, none of which may be found there.
        ignore_case: None ignores case for each pattern that has no upper-case letter ("smart case").
        extended: the patterns are RE2 regular expressions instead of literal text.
        whole_words: a pattern is found only where no letter, digit or `_` is next to it.
        channels: any of these; aliases (`scene_index`, `visual`, `spoken_index`, `audio`) are understood.
        sources: any of these: `mic`, `system_audio`, `screen`, `camera`.
        streams: any of these, as a stream's id or its name.
        sessions, names, labels: any of these, as a session's id, an `event`, a `label`.
        least_confidence: only what has a confidence, of so much at least.
        limit: the newest so many only; they are still given oldest first.
        offset: so many of the newest are left out, before `limit` counts.
        around_ms: also all that happened so many milliseconds before and after what was chosen.
        newest_first: the order of the answer.
        interim: show interim transcripts even where a final one replaced them.
    """

    window: Window = field(default_factory=Window)
    by_event: bool = False
    grep: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    ignore_case: bool | None = None
    extended: bool = False
    whole_words: bool = False
    channels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    least_confidence: float | None = None
    limit: int | None = None
    offset: int = 0
    around_ms: int | None = None
    newest_first: bool = False
    interim: bool = False

    @property
    def looked_for(self) -> tuple[str, ...]:
        """The patterns that are found in what matches; no empty one."""
        return tuple(filter(None, (*self.grep, *self.any_of)))

    @property
    def in_order_of_events(self) -> bool:
        """Whether the answer's times are those at which something was said or shown."""
        return self.by_event or self.around_ms is not None


class Event(NamedTuple):
    """A line of a journal, its variants folded into columns (see docs/events-format.md); times in Unix ms."""

    time_ms: int | None
    channel: str | None
    event: str | None
    source: str | None
    stream: str | None
    stream_name: str | None
    session: str | None
    text: str | None
    is_final: bool | None
    start_ms: int | None
    end_ms: int | None
    label: str | None
    speaker: str | None
    confidence: float | None
    line: str


class Answer(Protocol):
    """What `query.engine.search` gives, as far as `query.render` needs it."""

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last time in the answer, in Unix ms; None without any."""

    @property
    def breaks(self) -> Collection[int]:
        """The rows, from 0, at which the events around another match begin."""

    def lines(self) -> Iterable[list[str]]:
        """The journal's own lines, oldest first, in batches."""

    def events(self, columns: Collection[str] = Event._fields) -> Iterable[list[Event]]:
        """The folded events, oldest first, in batches; None in columns other than `columns`."""


class Statement(NamedTuple):
    """An SQL statement and the values for its `?`."""

    sql: str
    values: list[object]


# -- Step 1: the lines that may belong to the answer -----------------------------------------------------

# One column of whole lines. Without a delimiter or a quote nothing in a line is touched; a line that is no
# UTF-8 is set aside in `reject_errors`. What exceeds the limit can be lost in silence.
_LINES: Final = """read_csv(?, delim = '', quote = '', escape = '', comment = '', header = false,
    columns = {'line': 'VARCHAR'}, auto_detect = false, strict_mode = false, ignore_errors = true,
    store_rejects = true, hive_partitioning = false,
    max_line_size = {limit}, buffer_size = {buffer})"""


def candidates(path: str, filters: Filters, longest: int) -> Statement:
    """Make the table `candidates (line)`: what may match, is unreadable, or tells of a gap; no empty line.

    `path` is as DuckDB's globs have it; no line there has more than `longest` bytes.

    What these looks at raw bytes drop, the JSON could only confirm; what they keep proves nothing.
    """
    looks = ["WHEN line IS NULL THEN false", r"WHEN line NOT LIKE '{%}' THEN regexp_matches(line, '\S')"]
    # The head of a line tells when it was received, not when what it tells of happened.
    if outside := "" if filters.by_event else _outside(filters.window):
        looks.append(f"WHEN regexp_matches(line, '{outside}') THEN false")
    if words := _words(filters):
        looks.append(f"WHEN {words} THEN true")
        # A final transcript may hide a match, so it is a candidate whatever it says.
        finals = "contains(line, 'inal\"') AND contains(line, 'true')"
        looks.append(f"ELSE {_GAP}" if filters.interim else f"ELSE ({finals}) OR {_GAP}")
    else:
        looks.append("ELSE true")
    # A short limit lets DuckDB cut the file into more parts, and read them in parallel.
    limit = max(longest, 1 << 21)
    lines = _LINES.replace("{limit}", str(limit)).replace("{buffer}", str(max(limit, 1 << 25)))
    sql = f"CREATE TEMP TABLE candidates AS SELECT line FROM {lines} WHERE CASE {' '.join(looks)} END"
    return Statement(sql, [path])


# What a line that tells of a gap holds. The first four bytes are found faster than the whole.
_GAP: Final = "contains(line, '.gap\"')"


def _unlike(text: str) -> str:
    """Return a regular expression of what begins otherwise than `text`, in which a space may be left out."""
    if text[0] == " ":
        return f" ?(?:[^ {text[1]}]|{text[1]}{_unlike(text[2:])})"
    return f"(?:[^{text[0]}]{f'|{text[0]}{_unlike(text[1:])}' if len(text) > 1 else ''})"


# A gap is told of after its end: what the recorder says of itself is not dropped for its time.
_NOT_OURS: Final = _unlike(' "channel": "vd')


def _outside(window: Window) -> str:
    """Return a regular expression of lines whose head gives a time outside `window`; empty without one.

    It compares whole seconds digit by digit, with one to spare for rounding, on heads as listeners write
    them: `{"ts":"...","unix_ts":1772446530.123,`. All others it leaves to the JSON, and the recorder's own.
    """
    numbers = []
    if window.since_ms is not None and (least := window.since_ms // 1000 - 1) > 0:
        numbers += _below(str(least))
    if window.until_ms is not None and (most := window.until_ms // 1000 + 2) > 0:
        numbers += _above(str(most))
    if not numbers:
        return ""
    number = f"(?:{'|'.join(numbers)})" + r"(?:\.[0-9]+)?"
    return r'^\{"ts": ?"[^"\\]*", ?"unix_ts": ?' + number + r"(?:\}|," + _NOT_OURS + ")"


def _below(number: str) -> list[str]:
    """Return regular expressions that together match the natural numbers less than `number`."""
    shorter = [f"[0-9]{{1,{len(number) - 1}}}"] if len(number) > 1 else []
    return shorter + [
        f"{number[:place]}[0-{int(digit) - 1}][0-9]{{{len(number) - place - 1}}}"
        for place, digit in enumerate(number)
        if digit != "0"
    ]


def _above(number: str) -> list[str]:
    """Return regular expressions that together match the natural numbers greater than `number`."""
    longer = [f"[1-9][0-9]{{{len(number)},}}"]
    return longer + [
        f"{number[:place]}[{int(digit) + 1}-9][0-9]{{{len(number) - place - 1}}}"
        for place, digit in enumerate(number)
        if digit != "9"
    ]


def _words(filters: Filters) -> str:
    """Return a condition on raw lines that holds wherever all literal patterns can be found; may be empty.

    Only letters, digits and spaces are looked for: JSON writes them as they are, or after a backslash and
    a u. Being no other characters, they stand in the SQL itself, where DuckDB compiles them once.
    """
    if filters.extended:
        return ""
    conditions = [_word(pattern, filters) for pattern in filters.grep]
    alternatives = [_word(pattern, filters) for pattern in filters.any_of]
    if all(alternatives):
        conditions.append(" OR ".join(alternatives))
    conditions = [f"({condition})" for condition in conditions if condition]
    return f"({' AND '.join(conditions)}) OR contains(line, '\\u')" if conditions else ""


def _word(pattern: str, filters: Filters) -> str:
    run = max((run.strip() for run in re.findall(r"[A-Za-z0-9 ]+", pattern)), key=len, default="")
    if not run:
        return ""
    if ignores_case(pattern, filters):
        # Two letters beyond ASCII have an ASCII lower case: RE2 knows the Kelvin sign, not the dotted I.
        return f"regexp_matches(line, '(?i){run}') OR contains(line, '\u0130')"
    return f"contains(line, '{run}')"


def ignores_case(pattern: str, filters: Filters) -> bool:
    """Tell whether `pattern` is looked for without regard to case."""
    if filters.ignore_case is not None:
        return filters.ignore_case
    if filters.extended:
        pattern = re.sub(r"\\(?:[pP](?:\{[^}]*\}|.)|x\{[^}]*\}|.)", "", pattern)
    return not any(character.isupper() for character in pattern)


_Definition = TypeVar("_Definition")

# -- Folding: the variants of an event in one set of columns ---------------------------------------------

_ALIASES: Final = {
    "scene_index": "visual_index",
    "visual": "visual_index",
    "spoken_index": "audio_index",
    "audio": "audio_index",
}

# The first of these that is there, and not null, is the member's value.
_MEMBERS: Final = {
    "unix_ts": ["unix_ts"],
    "ts": ["ts"],
    "kind_1": ["channel"],
    "kind_2": ["type"],
    "kind_3": ["event_type"],
    "kind_4": ["event"],
    "webhook": ["event_id"],
    "given_stream": ["rtstream_id", "rtstreamId", "data.rtstream_id", "data.rtstreamId"],
    "given_stream_name": [
        *("rtstream_name", "rtstreamName", "data.rtstream_name", "data.rtstreamName"),
        *("channel_id", "data.channel_id"),
    ],
    "given_session": ["capture_session_id", "session_id", "data.capture_session_id", "data.session_id"],
    "said": [
        "data.text",
        "text",
        "data.description",
        "description",
        "data.explanation",
        "explanation",
        "raw",
    ],
    "status": ["status", "data.status"],
    "error": ["data.error.message", "data.error", "data.message", "error.message", "error"],
    "final": ["data.is_final", "data.isFinal", "is_final", "isFinal"],
    "begin": [
        *("data.start", "data.startMs", "data.start_ms", "data.start_time", "data.timestamp"),
        *("start", "startMs", "start_ms", "start_time", "timestamp"),
    ],
    "finish": [
        *("data.end", "data.endMs", "data.end_ms", "data.end_time", "end", "endMs", "end_ms", "end_time"),
    ],
    "given_label": ["data.event_label", "data.label", "label"],
    "given_speaker": ["data.speaker", "speaker"],
    "sure": ["data.confidence", "confidence"],
}


def _iso_ms(value: str) -> str:
    """Return SQL for the Unix milliseconds of an ISO 8601 time from year 1000 on; UTC if it names no zone."""
    form = (
        r"[1-8]\d{3}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?([Zz]|[+-][01]\d(:?[0-5]\d)?)?"
    )
    zoned = rf"regexp_replace(upper({value}), '^[^Z+]{{10}}[^Z+-]*$', '\0Z')"
    # `//` rounds towards zero: it is made to round half up, as numbers are, by counting from before year 1.
    milliseconds = f"(epoch_us(try_cast({zoned} AS TIMESTAMPTZ)) + {-LEAST_MS}500) // 1000 - {-LEAST_MS}"
    return f"CASE WHEN regexp_full_match({value}, '{form}') THEN {milliseconds} END"


def _seconds_ms(number: str) -> str:
    """Return SQL that rounds seconds to milliseconds, half up; NULL for what is no time."""
    return f"CASE WHEN {number} BETWEEN -3e10 AND 2.5e11 THEN floor({number} * 1000 + 0.5)::BIGINT END"


def _moment_ms(value: str, number: str) -> str:
    """Return SQL for the milliseconds of a number, of seconds if it is small, or of an ISO 8601 time."""
    milliseconds = f"CASE WHEN abs({number}) BETWEEN 1e11 AND 2.5e14 THEN {number} / 1000 ELSE {number} END"
    return f"coalesce({_seconds_ms(f'({milliseconds})')}, {_iso_ms(value)})"


_SOURCE_PREFIX: Final = (
    r"(?m)^(?:capture )?(mic|system[_ ]audio|display|screen|camera)(?:rophone)?(?:[^a-z]|$)"
)
_SOURCE: Final = f"""CASE left(regexp_extract(lower(concat_ws(chr(10), given_stream_name, given_stream)),
    '{_SOURCE_PREFIX}', 1), 3) WHEN 'mic' THEN 'mic' WHEN 'sys' THEN 'system_audio' WHEN 'dis' THEN 'screen'
    WHEN 'scr' THEN 'screen' WHEN 'cam' THEN 'camera' END"""

# What follows the members, each level made from those before it: the names that are strings, the kind, the
# kind without a lifecycle's step, channel and event, and what else a text can be made of. `data` is looked at
# only where nothing is said.
_LEVELS: Final = (
    {
        "name_1": "CASE WHEN types[1] = 'VARCHAR' THEN kind_1 END",
        "name_2": "CASE WHEN types[2] = 'VARCHAR' THEN kind_2 END",
        "name_3": "CASE WHEN types[3] = 'VARCHAR' THEN kind_3 END",
        "name_4": "CASE WHEN types[4] = 'VARCHAR' THEN kind_4 END",
    },
    {"kind": "coalesce(name_1, name_2, name_3, name_4)"},
    {
        "plain": "CASE WHEN starts_with(kind, 'capture_session.') THEN 'capture_session' ELSE kind END",
        "begin_number": "try_cast(begin AS DOUBLE)",
        "finish_number": "try_cast(finish AS DOUBLE)",
        "unix_number": "try_cast(unix_ts AS DOUBLE)",
        "sure_number": "try_cast(sure AS DOUBLE)",
    },
    {
        "channel": """CASE plain WHEN 'scene_index' THEN 'visual_index'
            WHEN 'spoken_index' THEN 'audio_index' ELSE coalesce(plain,
            CASE WHEN webhook IS NOT NULL AND given_label IS NOT NULL THEN 'alert' END) END""",
        "event": "coalesce(nullif(name_4, plain), nullif(name_3, plain), nullif(name_2, plain))",
    },
    {
        "state": "coalesce(nullif(status, ''), nullif(split_part(event, '.', 2), ''))",
        "rest": """CASE WHEN said IS NULL
            THEN nullif(nullif(json_extract_string(json, '$.data'), ''), '{}') END""",
        "rest_type": "CASE WHEN said IS NULL THEN json_type(json, '$.data') END",
    },
)

# How each column of `Event` is made.
_COLUMNS: Final = {
    "time_ms": f"coalesce({_seconds_ms('unix_number')}, {_iso_ms('ts')})",
    "channel": "channel",
    "event": "event",
    "source": _SOURCE,
    "stream": "given_stream",
    "stream_name": "given_stream_name",
    "session": "given_session",
    "text": """coalesce(said, CASE channel WHEN 'capture_session'
        THEN nullif(concat_ws(': ', state, CASE WHEN state = 'failed' THEN coalesce(error, rest) END), '')
        WHEN 'vdbevents' THEN rest
        ELSE CASE WHEN rest_type = 'VARCHAR' THEN rest END END)""",
    "is_final": "CASE final WHEN 'true' THEN true WHEN 'false' THEN false END",
    "start_ms": _moment_ms("begin", "begin_number"),
    "end_ms": _moment_ms("finish", "finish_number"),
    "label": "coalesce(given_label, event)",
    "speaker": "given_speaker",
    "confidence": "CASE WHEN isfinite(sure_number) THEN sure_number END",
}

# DuckDB reads no JSON with half a surrogate pair, which a recorder may well have been sent. `\x01` cannot
# stand in JSON: it marks the escapes that are whole, and then stands for those that were not.
_PAIR: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_OTHER: Final = r"\\[^u]|\\u(?:[0-9abcefABCEF][0-9a-fA-F]|[dD][0-7])[0-9a-fA-F]{2}"
_HALF: Final = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_MENDED: Final = rf"""replace(regexp_replace(
    regexp_replace(line, '({_PAIR}|{_OTHER})|{_HALF}', '\1' || chr(1), 'g'),
    '({_PAIR}|{_OTHER})' || chr(1), '\1', 'g'), chr(1), '\ufffd')"""
_JSON: Final = rf"""CASE WHEN NOT starts_with(ltrim(line, ' \t'), '{{') THEN NULL
    WHEN json_valid(line) THEN line
    WHEN regexp_matches(line, '{_HALF}') AND json_valid({_MENDED}) THEN {_MENDED} END"""


def folded(table: str, columns: Iterable[str], *others: str) -> str:
    """Return a SELECT of `columns` (names of `Event`'s), and of `others`: `table`'s own, or `readable`.

    `table` is SQL that has a column `line`. An event's JSON is parsed once, for the members that are needed.
    """
    made = {name: _COLUMNS.get(name, name) for name in columns}
    levels: list[dict[str, str]] = []
    wanted = " ".join(made.values())
    for level in reversed(_LEVELS):
        needed = _named(level, wanted)
        levels.insert(0, needed)
        wanted = " ".join([wanted, *needed.values()])
    members = _named(_MEMBERS, wanted)
    paths = list(dict.fromkeys(path for member in members.values() for path in member))
    value = {path: f"v[{index}]" for index, path in enumerate(paths, 1)}
    read = {
        name: f"coalesce({', '.join(value[path] for path in member)})" for name, member in members.items()
    }
    sql = f"(SELECT *, {_JSON} AS json FROM {table})"
    sql = f"""(SELECT *, json_extract_string(json, {[f"$.{path}" for path in paths]}) AS v,
        json_type(json, ['$.channel', '$.type', '$.event_type', '$.event']) AS types FROM {sql})"""
    for level in ({"readable": "v IS NOT NULL", **read}, *filter(None, levels)):
        sql = f"(SELECT *, {_aliased(level)} FROM {sql})"
    return f"SELECT {', '.join([_aliased(made), *others])} FROM {sql}"


def _named(definitions: dict[str, _Definition], sql: str) -> dict[str, _Definition]:
    """Return those definitions whose names stand in `sql`."""
    words = set(re.findall(r"\w+", sql))
    return {name: definition for name, definition in definitions.items() if name in words}


def _aliased(columns: dict[str, str]) -> str:
    return ", ".join(name if sql == name else f"{sql} AS {name}" for name, sql in columns.items())


# -- Steps 2 and 3: which of them match, and which are shown ---------------------------------------------


_NUMBERED: Final = "(SELECT rowid AS position, line FROM candidates)"


def events(filters: Filters) -> Statement:
    """Make the table `events`, a row a candidate: position, time_ms, readable, ours, within, matched.

    Where times of what happened count, or interim transcripts are to be hidden, also end_ms; where they are:
    transcript, stream, is_final, start_ms.
    """
    values: list[object] = []
    moment = "coalesce(start_ms, time_ms)" if filters.by_event else "time_ms"
    within = _between(filters.window, moment)
    matched = [*_membership(filters, values), *_greps(filters, values)]
    others = ", end_ms" if filters.by_event or not filters.interim else ""
    if not filters.interim:
        others += """, channel IS NOT DISTINCT FROM 'transcript' AND is_final IS NOT NULL AS transcript,
            coalesce(stream, stream_name) AS stream, is_final, start_ms"""
    columns = _named(_COLUMNS, " ".join(["time_ms channel", moment, *matched, others]))
    sql = f"""CREATE TEMP TABLE events AS
        SELECT position, {moment} AS time_ms, readable, channel IS NOT DISTINCT FROM 'vdbevents' AS ours,
        readable AND {within} AS within,
        {" AND ".join(["within", *matched])} AS matched{others}
        FROM ({folded(_NUMBERED, columns, "position", "readable")})"""
    return Statement(sql, values)


def _between(window: Window, moment: str) -> str:
    conditions = ["true"]
    if window.since_ms is not None:
        conditions.append(f"{moment} >= {window.since_ms:d}")
    if window.until_ms is not None:
        conditions.append(f"{moment} < {window.until_ms:d}")
    return f"coalesce({' AND '.join(conditions)}, false)"


def _membership(filters: Filters, values: list[object]) -> list[str]:
    conditions = []
    for columns, wanted in (
        (("channel",), [_ALIASES.get(channel, channel) for channel in filters.channels]),
        (("source",), list(filters.sources)),
        (("stream", "stream_name"), list(filters.streams)),
        (("session",), list(filters.sessions)),
        (("event",), list(filters.names)),
        (("label",), list(filters.labels)),
    ):
        if wanted:
            either = " OR ".join(f"coalesce(list_contains(?, {column}), false)" for column in columns)
            conditions.append(f"({either})")
            values += [wanted] * len(columns)
    if filters.least_confidence is not None:
        conditions.append("coalesce(confidence >= ?, false)")
        values.append(filters.least_confidence)
    return conditions


def _greps(filters: Filters, values: list[object]) -> list[str]:
    conditions = [_found(pattern, filters, values) for pattern in filters.grep]
    if filters.any_of:
        conditions.append(f"({' OR '.join(_found(pattern, filters, values) for pattern in filters.any_of)})")
    return conditions + [f"NOT {_found(pattern, filters, values)}" for pattern in filters.none_of]


def _found(pattern: str, filters: Filters, values: list[object]) -> str:
    """Return SQL that tells whether `pattern` is in an event's text or label; an empty one is in each."""
    if not pattern:
        return "true"
    expression = re.escape(pattern) if filters.whole_words and not filters.extended else pattern
    values += [expression] * 2
    either = " OR ".join(
        f"coalesce({_grep(pattern, column, filters)}, false)" for column in ("text", "label")
    )
    return f"({either})"


_NO_WORD: Final = r"[^\pL\pM\pN_]"


def _grep(pattern: str, column: str, filters: Filters) -> str:
    ignoring = ignores_case(pattern, filters)
    sought = "?"
    if ignoring and not filters.extended:
        column, sought = f"lower({column})", "lower(?)"
    if filters.whole_words:
        sought = f"'(?:^|{_NO_WORD})(?:' || {sought} || ')(?:{_NO_WORD}|$)'"
    elif not filters.extended:
        return f"contains({column}, {sought})"
    return f"regexp_matches({column}, {sought}, '{'i' if ignoring and filters.extended else 'c'}')"


# An interim transcript is replaced by a final one of its stream with the same start, or by the next final one
# unless both have times and these are apart.
_REPLACED: Final = """SELECT interim.position FROM (
    SELECT *, bool_or(is_final) OVER (PARTITION BY stream, start_ms) AS same_start,
        min(CASE WHEN is_final THEN number END) OVER (
            PARTITION BY stream ORDER BY number ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next
    FROM numbered) AS interim LEFT JOIN numbered AS final ON final.number = interim.next
    WHERE NOT interim.is_final AND ((same_start AND interim.start_ms IS NOT NULL) OR (final.number IS NOT NULL
    AND coalesce(interim.start_ms < final.end_ms AND final.start_ms < interim.end_ms, true)))"""


# -- What came, and was fetched as well ------------------------------------------------------------------

_NAMES: Final = ("event", "type", "event_type", "channel")
_LIFECYCLE: Final = "capture_session."

# What Python takes for space.
_BLANK: Final = "".join(
    rf"\x{{{code:x}}}"
    for code in (
        *(*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)),
        *(0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
    )
)


class _Members:
    """SQL for members of a line's JSON, each of them extracted once: as text into `v`, its type into `t`."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def value(self, path: str) -> str:
        return f"v[{self._place(path)}]"

    def type(self, path: str) -> str:
        return f"t[{self._place(path)}]"

    def text(self, path: str) -> str:
        """A text with something in it, or NULL."""
        return f"CASE WHEN {self.type(path)} = 'VARCHAR' THEN nullif({self.value(path)}, '') END"

    def first_text(self, paths: Iterable[str]) -> str:
        return f"coalesce({', '.join(map(self.text, paths))})"

    def first(self, paths: Iterable[str]) -> str:
        return f"coalesce({', '.join(map(self.value, paths))})"

    def _place(self, path: str) -> int:
        if path not in self.paths:
            self.paths.append(path)
        return self.paths.index(path) + 1


def identities(table: str) -> str:
    """Return a SELECT of the lines that have an identity, as `record.identity_of` has it.

    `table` is SQL that has a column `line`. It is given more of them: backfilled, channel, owner (a stream or
    a session), told (a text, or a status), start_ms, end_ms.
    """
    members = _Members()
    said = [members.text(f"{holder}{name}") for holder in ("data.", "")
            for name in ("text", "description", "explanation")]  # fmt: skip
    levels = (
        {
            "backfilled": _says(members, "backfilled", "true"),
            "kind": members.first_text(["channel", "type", "event_type", "event"]),
            "step": f"coalesce({', '.join(_step(members.text(name)) for name in _NAMES)})",
            "status": f"CASE {members.text('channel')} WHEN 'capture_session'"
            f" THEN {members.first_text(['status', 'data.status'])} END",
            "stream": members.first_text(_MEMBERS["given_stream"]),
            "session": members.first_text(_MEMBERS["given_session"]),
            "said": f"coalesce({', '.join(map(_not_blank, said))}, {members.text('raw')}, '')",
            "interim": f"CASE {' '.join(_says_interim(members, path) for path in _MEMBERS['final'])} END",
            "begin": members.first(_MEMBERS["begin"]),
            "finish": members.first(_MEMBERS["finish"]),
        },
        {
            "begin_number": "try_cast(begin AS DOUBLE)",
            "finish_number": "try_cast(finish AS DOUBLE)",
            "channel": f"""CASE WHEN starts_with(kind, '{_LIFECYCLE}') THEN 'capture_session'
                WHEN kind = 'scene_index' THEN 'visual_index'
                WHEN kind = 'spoken_index' THEN 'audio_index' ELSE kind END""",
        },
        {"recorded": "channel IN ('transcript', 'visual_index', 'audio_index')"},
        {
            "owner": "CASE WHEN recorded THEN stream WHEN channel = 'capture_session' THEN session END",
            "told": f"""CASE WHEN recorded THEN said WHEN step IS NOT NULL
                THEN nullif(substr(step, {len(_LIFECYCLE) + 1}), '') ELSE status END""",
            "start_ms": f"CASE WHEN recorded THEN {_COLUMNS['start_ms']} END",
            "end_ms": f"CASE WHEN recorded THEN {_COLUMNS['end_ms']} END",
        },
    )
    paths = [f"$.{path}" for path in members.paths]
    sql = f"(SELECT *, {_JSON} AS json FROM {table})"
    sql = f"(SELECT *, json_extract_string(json, {paths}) AS v, json_type(json, {paths}) AS t FROM {sql})"
    for level in levels:
        sql = f"(SELECT *, {_aliased(level)} FROM {sql})"
    return f"""SELECT * FROM {sql} WHERE owner IS NOT NULL AND told IS NOT NULL
        AND (NOT recorded OR (start_ms IS NOT NULL AND interim IS DISTINCT FROM true))"""


def _step(text: str) -> str:
    return f"CASE WHEN starts_with({text}, '{_LIFECYCLE}') THEN {text} END"


def _not_blank(text: str) -> str:
    return f"CASE WHEN regexp_matches({text}, '[^{_BLANK}]') THEN {text} END"


def _says(members: _Members, path: str, value: str) -> str:
    return f"{members.type(path)} = 'BOOLEAN' AND {members.value(path)} = '{value}'"


def _says_interim(members: _Members, path: str) -> str:
    return f"WHEN {members.type(path)} IS NOT NULL THEN {_says(members, path, 'false')}"


def repeated(filters: Filters) -> str:
    """Make the table `repeated (position)`: the matches that tell again what one before them told.

    Among lines of one identity all but the first are that, if one of them was fetched later.
    """
    matches, begun = "events JOIN candidates ON candidates.rowid = position", ""
    if filters.interim:
        # Where interims are to be hidden, `events` knows already when each begins.
        starts = folded(f"(SELECT position, line FROM {matches} WHERE matched)", ["start_ms"], "position")
        matches, begun = f"{matches} JOIN begun USING (position)", f"WITH begun AS MATERIALIZED ({starts})"
    # What tells the same begins at the same time: the rest need not be read again.
    begins = f"SELECT start_ms FROM {matches} WHERE matched AND {_FETCHED}"
    lines = f"""(SELECT position, time_ms, line FROM {matches} WHERE matched
        AND (start_ms IN ({begins}) OR contains(line, 'capture_session')))"""
    same = "PARTITION BY channel, owner, start_ms, end_ms, told"
    return f"""CREATE TEMP TABLE repeated AS {begun} SELECT position FROM (
        SELECT position, bool_or(backfilled) OVER ({same}) AS is_fetched,
            row_number() OVER ({same} ORDER BY time_ms NULLS FIRST, position) AS place
        FROM ({identities(lines)})) WHERE is_fetched AND place > 1"""


def answer(filters: Filters, *, hiding: bool, sparing: bool) -> str:
    """Make the table `answer (line, time_ms, position)`, in order.

    It is without replaced interim transcripts if `hiding`, and without what is `repeated` if `sparing`.
    """
    shown = "matched AND position NOT IN (SELECT position FROM repeated)" if sparing else "matched"
    if hiding:
        shown += f""" AND (NOT transcript OR is_final OR position NOT IN (
            WITH numbered AS MATERIALIZED (
                SELECT *, row_number() OVER (ORDER BY time_ms NULLS FIRST, position) AS number FROM events
                WHERE transcript AND within AND (is_final OR matched))
            {_REPLACED}))"""
    newest = ""
    if filters.limit is not None or filters.offset:
        limit = "ALL" if filters.limit is None else f"{filters.limit:d}"
        newest = f"{_NEWEST_FIRST} LIMIT {limit} OFFSET {filters.offset:d}"
    order = _NEWEST_FIRST if filters.newest_first else "ORDER BY time_ms NULLS FIRST, position"
    return f"""CREATE TEMP TABLE answer AS SELECT line, time_ms, position
        FROM (SELECT position, time_ms FROM events WHERE {shown} {newest})
        JOIN candidates ON candidates.rowid = position {order}"""


_NEWEST_FIRST: Final = "ORDER BY time_ms DESC NULLS LAST, position DESC"


# -- What happened around that ---------------------------------------------------------------------------


def context(filters: Filters) -> Filters:
    """Return what is asked for the second time: all that there is, by when it happened."""
    return Filters(by_event=True, interim=filters.interim, newest_first=filters.newest_first)


def spans(filters: Filters) -> list[str]:
    """Make the table `spans (place, first, last)` of times around the answer, merged where they meet.

    What the tables of the steps held is gone then.
    """
    begin, end = "coalesce(start_ms, time_ms)", "greatest(coalesce(start_ms, time_ms), end_ms)"
    found = folded("(SELECT line FROM found)", ["time_ms", "start_ms", "end_ms"])
    order = "ORDER BY first, last ROWS BETWEEN UNBOUNDED PRECEDING AND"
    return [
        "ALTER TABLE answer RENAME TO found",
        f"""CREATE TEMP TABLE spans AS WITH
            around AS (SELECT {begin} - {filters.around_ms:d} AS first, {end} + {filters.around_ms:d} AS last
                FROM ({found}) WHERE {begin} IS NOT NULL),
            reaching AS (SELECT *, max(last) OVER ({order} 1 PRECEDING) AS reach FROM around),
            numbered AS (SELECT *, count(CASE WHEN reach >= first THEN NULL ELSE 1 END)
                OVER ({order} CURRENT ROW) AS place FROM reaching)
            SELECT place, min(first) AS first, max(last) AS last FROM numbered GROUP BY place""",
        "DROP TABLE candidates",
        "DROP TABLE events",
        "DROP TABLE IF EXISTS repeated",
    ]


# An event is in each span that it overlaps, and is shown in the first of them.
PLACED: Final = (
    """CREATE TEMP TABLE placed AS SELECT position, min(place) AS place FROM events JOIN spans
        ON time_ms <= last AND greatest(time_ms, end_ms) >= first WHERE matched GROUP BY position""",
    "UPDATE events SET matched = false WHERE position NOT IN (SELECT position FROM placed)",
)

# The rows of the answer at which the events of another span begin.
BREAKS: Final = """SELECT row FROM (
    SELECT answer.rowid AS row, place, lag(place) OVER (ORDER BY answer.rowid) AS before
    FROM answer JOIN placed USING (position)) WHERE place <> before"""


# -- Questions to the tables -----------------------------------------------------------------------------

# How many of the matches are interim, and could be hidden.
INTERIMS: Final = "SELECT count(*) FROM events WHERE matched AND transcript AND NOT is_final"

# A recorder writes `backfilled` as the last member, so that it is found without reading the line.
_FETCHED: Final = "(ends_with(line, '\"backfilled\":true}') OR ends_with(line, '\"backfilled\": true}'))"

# How many of the matches may have come before.
FETCHED: Final = f"SELECT count(*) FROM candidates WHERE {_FETCHED}"

# What the recorder says of itself, in the file's order. A look into lines here would be one into all of them.
OURS: Final = (
    "SELECT line FROM candidates WHERE rowid IN (SELECT position FROM events WHERE ours) ORDER BY rowid"
)

SKIPPED: Final = """SELECT (SELECT count(*) FROM events WHERE NOT readable),
    (SELECT count(DISTINCT line) FROM reject_errors)"""

SPAN: Final = "SELECT count(*), min(time_ms), max(time_ms) FROM answer"

# A table is read in the order in which it was made.
LINES: Final = "SELECT line FROM answer"


def rows(columns: Collection[str]) -> str:
    """Return a SELECT of `Event`s, their columns NULL but for `columns`; its values are two row numbers."""
    columns = [name for name in Event._fields if name in columns]
    kept = folded("(SELECT line FROM answer WHERE rowid BETWEEN ? AND ?)", columns)
    return f"SELECT {', '.join(name if name in columns else 'NULL' for name in Event._fields)} FROM ({kept})"


# Folding holds a line several times over, for many lines at once: the rows of large ones are folded alone.
LARGE: Final = "SELECT rowid FROM answer WHERE strlen(line) > 1000000 ORDER BY rowid"
