"""SQL that folds the variants of an event into one set of columns. Pure.

docs/events-format.md defines the columns, and the members that they come from.
"""

# ruff: noqa: S608 - the SQL consists of constants and our own names

import json
import re
from collections.abc import Iterable
from typing import Final, TypeVar

from vdbevents.times import LEAST_MS

_Definition = TypeVar("_Definition")

ALIASES: Final = {
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
    # `//` rounds towards zero; counting from before year 1 makes it round half up, as for numbers.
    milliseconds = f"(epoch_us(try_cast({zoned} AS TIMESTAMPTZ)) + {-LEAST_MS}500) // 1000 - {-LEAST_MS}"
    return f"CASE WHEN regexp_full_match({value}, '{form}') THEN {milliseconds} END"


def _seconds_ms(number: str) -> str:
    """Return SQL that rounds seconds to milliseconds, half up; NULL outside the range of times."""
    return f"CASE WHEN {number} BETWEEN -3e10 AND 2.5e11 THEN floor({number} * 1000 + 0.5)::BIGINT END"


def _moment_ms(number: str) -> str:
    """Return SQL for the milliseconds of a number: in milliseconds if it is large, else in seconds."""
    milliseconds = f"CASE WHEN abs({number}) BETWEEN 1e11 AND 2.5e14 THEN {number} / 1000 ELSE {number} END"
    return _seconds_ms(f"({milliseconds})")


_SOURCE_PREFIX: Final = (
    r"(?m)^(?:capture )?(mic|system[_ ]audio|display|screen|camera)(?:rophone)?(?:[^a-z]|$)"
)
SOURCE: Final = f"""CASE left(regexp_extract(lower(concat_ws(chr(10), given_stream_name, given_stream)),
    '{_SOURCE_PREFIX}', 1), 3) WHEN 'mic' THEN 'mic' WHEN 'sys' THEN 'system_audio' WHEN 'dis' THEN 'screen'
    WHEN 'scr' THEN 'screen' WHEN 'cam' THEN 'camera' END"""

# Columns built from the members, each level from those before it: the names that are strings, the kind, the
# kind without a lifecycle's step, channel and event, and the fallbacks for a text. `data` is read only where
# there is no text.
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

# SQL for each column of `Event`.
COLUMNS: Final = {
    "time_ms": f"coalesce({_seconds_ms('unix_number')}, {_iso_ms('ts')})",
    "channel": "channel",
    "event": "event",
    "source": SOURCE,
    "stream": "given_stream",
    "stream_name": "given_stream_name",
    "session": "given_session",
    "text": """coalesce(said, CASE channel WHEN 'capture_session'
        THEN nullif(concat_ws(': ', state, CASE WHEN state = 'failed' THEN coalesce(error, rest) END), '')
        WHEN 'vdbevents' THEN rest
        ELSE CASE WHEN rest_type = 'VARCHAR' THEN rest END END)""",
    "is_final": "CASE final WHEN 'true' THEN true WHEN 'false' THEN false END",
    "start_ms": f"coalesce({_moment_ms('begin_number')}, {_iso_ms('begin')})",
    "end_ms": f"coalesce({_moment_ms('finish_number')}, {_iso_ms('finish')})",
    "label": "coalesce(given_label, event)",
    "speaker": "given_speaker",
    "confidence": "CASE WHEN isfinite(sure_number) THEN sure_number END",
}

# DuckDB rejects JSON with half a surrogate pair, which a service may send. `\x01` cannot occur in JSON: it
# first marks whole escapes, and then replaces the others.
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
    """Return a SELECT of `columns` (of `Event`) and `others` (`table`'s own, or `readable`).

    `table` is SQL with a column `line`. Each event's JSON is parsed once, for the members that are needed.
    """
    made, levels, members = _needed({name: COLUMNS.get(name, name) for name in columns}, _LEVELS)
    paths = list(dict.fromkeys(path for member in members.values() for path in member))
    value = {path: f"v[{index}]" for index, path in enumerate(paths, 1)}
    sql = f"(SELECT *, {_JSON} AS json FROM {table})"
    sql = f"""(SELECT *, json_extract_string(json, {[f"$.{path}" for path in paths]}) AS v,
        json_type(json, ['$.channel', '$.type', '$.event_type', '$.event']) AS types FROM {sql})"""
    return _leveled(sql, [{"readable": "v IS NOT NULL", **_read(members, value)}, *levels], made, others)


# The members of most lines, with the types that are read fastest.
_USUAL: Final = {
    "ts": "VARCHAR",
    "unix_ts": "DOUBLE",
    "channel": "VARCHAR",
    "rtstream_id": "VARCHAR",
    "rtstream_name": "VARCHAR",
    "data.text": "VARCHAR",
    "data.is_final": "VARCHAR",
    "data.start": "DOUBLE",
    "data.end": "DOUBLE",
}
_USUALLY: Final = {
    "plain": "kind_1",
    **dict.fromkeys(("event", "label", "session", "speaker"), "NULL::VARCHAR"),
    "text": "said",
    "confidence": "NULL::DOUBLE",
    "begin_number": "begin",
    "finish_number": "finish",
    "unix_number": "unix_ts",
    "time_ms": _seconds_ms("unix_number"),
    "start_ms": _moment_ms("begin_number"),
    "end_ms": _moment_ms("finish_number"),
}


# A usual line byte for byte as a listener writes it, in VideoDB's order of members. If the line rebuilt from
# the members read is the same, it has no others.
_WRITTEN: Final = """concat('{"ts":"', usual.ts, '","unix_ts":', try_cast(usual.unix_ts AS DECIMAL(13, 3)),
    ',"channel":"', usual.channel, '","rtstream_id":"', usual.rtstream_id,
    '","rtstream_name":"', usual.rtstream_name, '","data":{"text":"', usual.data.text,
    CASE usual.data.is_final WHEN 'true' THEN '","is_final":true,"start":'
    WHEN 'false' THEN '","is_final":false,"start":' ELSE '","start":' END,
    try_cast(usual.data.start AS BIGINT), ',"end":', try_cast(usual.data."end" AS BIGINT), '}}')"""


def usual(table: str) -> str:
    """Return a SELECT of `table` with three more columns, for `folded_usual`.

    `usual` holds the members of a transcript or description; `is_usual` is whether the line has no others,
    and a text and a time; `fetched` is whether it was backfilled. To read only these members costs a third of
    `folded`, which handles any line.
    """
    outer: dict[str, object] = {path: kind for path, kind in _USUAL.items() if "." not in path}
    inner = {path.removeprefix("data."): kind for path, kind in _USUAL.items() if "." in path}
    shape = json.dumps({**outer, "data": inner})
    present = " + ".join(f"({_usual_path(path)} IS NOT NULL)::INTEGER" for path in _USUAL)
    # In JSON, `":` follows each name, and is rare elsewhere: such a line counts as unusual.
    names = """(strlen(line) - strlen(replace(line, '":', ''))) // 2"""
    # `true` and `false` are read as 1 and 0, but are not numbers.
    truths = " OR ".join(
        f"coalesce({_usual_path(path)} IN (0, 1), false)" for path in ("data.start", "data.end")
    )
    return f"""SELECT *, CASE WHEN is_written THEN false ELSE {FETCHED} END AS fetched,
        coalesce(usual.channel IN {_USUAL_CHANNELS} AND usual.unix_ts > 1 AND usual.unix_ts <= 2.5e11
        AND CASE WHEN is_written THEN true ELSE starts_with(line, '{{"ts":"')
        AND usual.data.text IS NOT NULL AND NOT ({truths})
        AND {names} = 1 + {FETCHED}::INTEGER + {present}
        AND NOT contains(line, ' :') AND NOT contains(line, chr(9)) END, false) AS is_usual
        FROM (SELECT *, coalesce(line = {_WRITTEN}, false) AS is_written
        FROM (SELECT *, TRY(json_transform(line, '{shape}')) AS usual FROM {table}))"""


_USUAL_CHANNELS: Final = "('transcript', 'visual_index', 'audio_index', 'scene_index', 'spoken_index')"

FETCHED: Final = "(ends_with(line, '\"backfilled\":true}') OR ends_with(line, '\"backfilled\": true}'))"
"""Whether a line was backfilled: that is its last member, which is found without parsing."""


def folded_usual(table: str, columns: Iterable[str], *others: str) -> str:
    """Return the same as `folded`, for a `table` of lines for which `is_usual` holds."""
    levels = tuple({**level, **named(_USUALLY, " ".join(level))} for level in _LEVELS)
    made, needed, members = _needed({name: _USUALLY.get(name, COLUMNS[name]) for name in columns}, levels)
    value = {path: _usual_path(path) for path in _USUAL}
    return _leveled(table, [{"readable": "true", **_read(members, value)}, *needed], made, others)


def _usual_path(path: str) -> str:
    return ".".join(["usual", *(f'"{name}"' for name in path.split("."))])


_Level = dict[str, str]


def _needed(
    columns: _Level, all_levels: tuple[_Level, ...]
) -> tuple[_Level, list[_Level], dict[str, list[str]]]:
    """Return the columns, and the parts of levels and the members that they need."""
    levels: list[_Level] = []
    wanted = " ".join(columns.values())
    for level in reversed(all_levels):
        needed = named(level, wanted)
        levels.insert(0, needed)
        wanted = " ".join([wanted, *needed.values()])
    return columns, levels, named(_MEMBERS, wanted)


def _read(members: dict[str, list[str]], value: dict[str, str]) -> _Level:
    """Return SQL for each member's value: that of the first of its paths that has one."""
    known = {name: [value[path] for path in paths if path in value] for name, paths in members.items()}
    return {
        name: f"coalesce({', '.join(values)})" if values else "NULL::VARCHAR"
        for name, values in known.items()
    }


def _leveled(sql: str, levels: Iterable[_Level], columns: _Level, others: tuple[str, ...]) -> str:
    for level in filter(None, levels):
        sql = f"(SELECT *, {_aliased(level)} FROM {sql})"
    return f"SELECT {', '.join([_aliased(columns), *others])} FROM {sql}"


def named(definitions: dict[str, _Definition], sql: str) -> dict[str, _Definition]:
    """Return the definitions whose names occur in `sql`."""
    words = set(re.findall(r"\w+", sql))
    return {name: definition for name, definition in definitions.items() if name in words}


def _aliased(columns: dict[str, str]) -> str:
    return ", ".join(name if sql == name else f"{sql} AS {name}" for name, sql in columns.items())


# -- The identity of an event, to find those received and backfilled ---------------------------------------

_NAMES: Final = ("event", "type", "event_type", "channel")
_LIFECYCLE: Final = "capture_session."

# Python's white space.
_BLANK: Final = "".join(
    rf"\x{{{code:x}}}"
    for code in (
        *(*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)),
        *(0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
    )
)


class _Members:
    """SQL for members of a line's JSON; each is extracted once, its text into `v`, its type into `t`."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def value(self, path: str) -> str:
        return f"v[{self._place(path)}]"

    def type(self, path: str) -> str:
        return f"t[{self._place(path)}]"

    def text(self, path: str) -> str:
        """Return SQL for a text that is not empty, or NULL."""
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
    """Return a SELECT of the lines that have an identity, as `events.identity.identity_of` defines it.

    `table` is SQL with a column `line`. More columns are added: backfilled, channel, owner (a stream or a
    session), told (a text or a status), start_ms, end_ms.
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
            "start_ms": f"CASE WHEN recorded THEN {COLUMNS['start_ms']} END",
            "end_ms": f"CASE WHEN recorded THEN {COLUMNS['end_ms']} END",
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
