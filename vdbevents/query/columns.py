"""SQL that folds the variants of an event into one set of columns. Pure.

docs/events-format.md defines the columns, and the members that they come from.
"""

# ruff: noqa: S608 - the SQL consists of constants and our own names

import json
import re
from collections.abc import Iterable
from typing import Final, TypeVar

from vdbevents.events import fields, window_names as windows
from vdbevents.query.lax_json import LAX
from vdbevents.times import LEAST_MS

_Definition = TypeVar("_Definition")

# A member's value is that of the first of these paths that is present and not null.
_MEMBERS: Final = {
    "unix_ts": fields.RECEIPT[0].paths,
    "ts": fields.RECEIPT[1].paths,
    **{f"kind_{number}": (key,) for number, key in enumerate(fields.KIND_KEYS, 1)},
    "webhook": ("event_id",),
    "given_stream": fields.STREAM.paths,
    "given_stream_name": fields.STREAM_NAME.paths,
    "given_session": fields.SESSION.paths,
    "given_text": fields.TEXT.paths,
    "status": ("status", "data.status"),
    "status_1": ("status",),
    "status_2": ("data.status",),
    "backfilled_mark": ("backfilled",),
    "error": fields.ERROR_PATHS,
    "final": fields.FINAL.paths,
    "begin": fields.START.paths,
    "finish": fields.END.paths,
    "given_label": fields.LABEL.paths,
    "given_speaker": fields.SPEAKER.paths,
    "given_confidence": fields.CONFIDENCE.paths,
}


def _iso_ms(value: str) -> str:
    """Return SQL for the Unix milliseconds of an ISO 8601 time from year 1000 on; UTC if it names no zone."""
    form = (
        r"[1-8]\d{3}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d+)?)?([Zz]|[+-][01]\d(:?[0-5]\d)?)?"
    )
    zoned = rf"regexp_replace(replace(upper({value}), ',', '.'), '^[^Z+]{{10}}[^Z+-]*$', '\0Z')"
    # `//` rounds towards zero; counting from before year 1 makes it round half up, as for numbers.
    milliseconds = f"(epoch_us(try_cast({zoned} AS TIMESTAMPTZ)) + {-LEAST_MS}500) // 1000 - {-LEAST_MS}"
    return f"CASE WHEN regexp_full_match({value}, '{form}') THEN {milliseconds} END"


def _seconds_ms(number: str) -> str:
    """Return SQL that rounds seconds to milliseconds, half up; NULL outside the range of times."""
    return f"CASE WHEN {number} BETWEEN -3e10 AND 2.5e11 THEN floor({number} * 1000 + 0.5)::BIGINT END"


def _moment_ms(number: str) -> str:
    """Return SQL for the milliseconds of a number: in seconds, or in a smaller unit if it is large."""
    sizes = (f"WHEN abs({number}) <= {most:g} THEN {number} / {per:g}" for _, most, per in fields.NUMBERS)
    least, *_ = fields.NUMBERS[0]
    seconds = f"CASE WHEN abs({number}) < {least:g} THEN {number} {' '.join(sizes)} ELSE {number} END"
    return _seconds_ms(f"({seconds})")


def _time_ms(text: str) -> str:
    """Return SQL for the milliseconds of a text with a number or an ISO 8601 time."""
    return f"coalesce({_moment_ms(f'try_cast({text} AS DOUBLE)')}, {_iso_ms(text)})"


def _source_named(name: str) -> str:
    """Return SQL for `fields.source_named`."""
    cases = (f"WHEN regexp_matches({name}, '{pattern}') THEN '{source}'"
             for source, pattern in fields.SOURCE_PATTERNS.items())  # fmt: skip
    return f"CASE {' '.join(cases)} END"


def _unaliased(kind: str) -> str:
    cases = (f"WHEN '{alias}' THEN '{channel}'" for alias, channel in fields.CHANNEL_ALIASES.items())
    return f"CASE {kind} {' '.join(cases)} ELSE {kind} END"


def _read_alone(member: fields.Member) -> str:
    """Return SQL for a member's value, read from `json` where it is asked for."""
    values = [f"json_extract_string(json, '$.{path}')" for path in member.paths]
    return f"coalesce({', '.join([*values, 'NULL'])})"


def _paths(*prefixes: str) -> list[str]:
    kinds = (windows.WINDOW_PATHS, windows.APP_PATHS, windows.TITLE_PATHS)
    return [f"$.{prefix}{path}" for paths in kinds for prefix in prefixes for path in paths]


def _name_in(value: str) -> str:
    """Return SQL for a value that is a name, as `window_names` has it; NULL for any other."""
    return rf"""CASE WHEN length({value}) <= {windows.LONGEST_NAME} AND regexp_matches({value}, '[\pL\pN]')
        AND NOT regexp_full_match({value}, '{windows.NO_NAME}') THEN {value} END"""


def _first_under(paths: tuple[str, ...], before: int) -> str:
    """Return SQL for the first value under some paths, of which so many others are before them."""
    beside = (f"beside[{number}]" for number in range(2 * before + 1, 2 * (before + len(paths)) + 1))
    stated = (f"stated[{number}]" for number in range(before + 1, before + len(paths) + 1))
    return f"trim(coalesce({', '.join((*beside, *stated))}), {_BLANKS})"


_BLANKS: Final = "' ' || chr(9) || chr(13) || chr(10)"

_BEFORE_APP: Final = len(windows.WINDOW_PATHS)
_BEFORE_TITLE: Final = _BEFORE_APP + len(windows.APP_PATHS)

# As `window_names.window_of` reads it. Most descriptions begin with a letter: nothing else is done for these.
_WINDOW_LEVELS: Final = (
    {
        "described": f"""CASE WHEN channel = 'visual_index'
            AND regexp_matches(given_text, '{windows.MARKED}') THEN trim(given_text, {_BLANKS}) END""",
        "beside": f"""CASE WHEN channel = 'visual_index'
            THEN json_extract_string(json, {_paths("data.", "")}) END""",
    },
    {
        "document": f"""CASE described[1] WHEN '{{' THEN described
            WHEN '`' THEN regexp_extract(described, '{windows.FENCED}', 1) END""",
        "bracketed": f"""CASE described[1] WHEN '['
            THEN trim(regexp_extract(described, '{windows.BRACKETED}', 1), {_BLANKS}) END""",
    },
    {"stated": f"CASE WHEN json_valid(document) THEN json_extract_string(document, {_paths('')}) END"},
    {"is_stated": "stated IS NOT NULL OR beside IS NOT NULL"},
    {
        "given_window": f"CASE WHEN is_stated THEN {_first_under(windows.WINDOW_PATHS, 0)} END",
        "given_app": f"CASE WHEN is_stated THEN {_first_under(windows.APP_PATHS, _BEFORE_APP)} END",
        "given_title": f"CASE WHEN is_stated THEN {_first_under(windows.TITLE_PATHS, _BEFORE_TITLE)} END",
    },
    {"named_window": _name_in("given_window"), "named_app": _name_in("given_app")},
    {
        "titled": f"""CASE WHEN named_app IS NULL THEN named_window
            ELSE coalesce(named_window, {_name_in("given_title")}) END""",
    },
)

SOURCE: Final = f"coalesce({_source_named('given_stream_name')}, {_source_named('given_stream')})"

_OTHER_CLOCKS: Final = tuple(
    f"""json_extract_string(json, '$."{path}"')""" for path in fields.RECEIPT[2].paths
)

# Columns built from the members, each level from those before it: the names that are strings, the kind, the
# kind without a lifecycle's step, channel and event, and the fallbacks for a text. `data` is read only where
# there is no text.
_LEVELS: Final = (
    {
        f"name_{number}": f"CASE WHEN types[{number}] = 'VARCHAR' THEN nullif(kind_{number}, '') END"
        for number in range(1, 5)
    },
    {"kind": "coalesce(name_1, name_2, name_3, name_4)"},
    {
        "plain": f"""CASE WHEN starts_with(kind, '{fields.LIFECYCLE_PREFIX}') THEN 'capture_session'
            ELSE kind END""",
        "begin_number": "try_cast(begin AS DOUBLE)",
        "finish_number": "try_cast(finish AS DOUBLE)",
        "unix_number": "try_cast(unix_ts AS DOUBLE)",
        "confidence_number": "try_cast(given_confidence AS DOUBLE)",
    },
    {
        "channel": f"""coalesce({_unaliased("plain")},
            CASE WHEN webhook IS NOT NULL AND given_label IS NOT NULL THEN 'alert' END)""",
        "event": "coalesce(nullif(name_4, plain), nullif(name_3, plain), nullif(name_2, plain))",
    },
    {
        "state": "coalesce(nullif(status, ''), nullif(split_part(event, '.', 2), ''))",
        "other_data": """CASE WHEN given_text IS NULL
            THEN nullif(nullif(json_extract_string(json, '$.data'), ''), '{}') END""",
        "other_type": "CASE WHEN given_text IS NULL THEN json_type(json, '$.data') END",
    },
    # Read for few events, so not among the members.
    {"stamped_ms": f"coalesce({_moment_ms('unix_number')}, {_iso_ms('unix_ts')}, {_time_ms('ts')})"},
    {"other_clock": f"CASE WHEN stamped_ms IS NULL THEN coalesce({', '.join(_OTHER_CLOCKS)}) END"},
    {
        "video": f"""CASE WHEN channel = 'capture_session' AND state = 'exported'
            THEN nullif(concat_ws(', ', {", ".join(map(_read_alone, fields.VIDEO))}), '') END""",
        "failure": f"""CASE WHEN channel = '{fields.RUNTIME_CHANNEL}'
            THEN nullif(error, '') || coalesce(' (' || {_read_alone(fields.ERROR_CODE)} || ')', '') END""",
    },
    *_WINDOW_LEVELS,
)

# SQL for each column of `Event`.
COLUMNS: Final = {
    "time_ms": f"coalesce(stamped_ms, {_time_ms('other_clock')})",
    "channel": "channel",
    "event": "event",
    "source": SOURCE,
    "stream": "given_stream",
    "stream_name": "given_stream_name",
    "session": "given_session",
    "text": """coalesce(given_text, CASE channel WHEN 'capture_session'
        THEN nullif(concat_ws(': ', state,
            CASE state WHEN 'failed' THEN coalesce(error, other_data) WHEN 'exported' THEN video END), '')
        WHEN 'vdbevents' THEN other_data
        WHEN 'capture_client' THEN coalesce(failure, other_data)
        ELSE CASE WHEN other_type = 'VARCHAR' THEN other_data END END)""",
    "is_final": "CASE final WHEN 'true' THEN true WHEN 'false' THEN false END",
    "start_ms": f"coalesce({_moment_ms('begin_number')}, {_iso_ms('begin')})",
    "end_ms": f"coalesce({_moment_ms('finish_number')}, {_iso_ms('finish')})",
    "label": "coalesce(given_label, event)",
    "speaker": "given_speaker",
    "confidence": "CASE WHEN isfinite(confidence_number) THEN confidence_number END",
    "window_name": f"""CASE WHEN named_app IS NULL OR contains(titled, named_app)
        THEN coalesce(titled, {_name_in("bracketed")}) ELSE concat_ws(' - ', titled, named_app) END""",
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
    selected = {name: COLUMNS.get(name, name) for name in columns}
    parsed = _parsed(table, " ".join(selected.values()))
    return f"SELECT {', '.join([_aliased(selected), *others])} FROM {parsed}"


def _parsed(table: str, wanted: str, typed: tuple[str, ...] = ()) -> str:
    """Return SQL of `table` with `json`, `readable`, and those members and levels that `wanted` names.

    It also has `types`: the types of the members that may name the kind, then of the paths `typed`.
    """
    levels, members = _needed(wanted, _LEVELS)
    paths = list(dict.fromkeys(path for member in members.values() for path in member))
    value = {path: f"v[{index}]" for index, path in enumerate(paths, 1)}
    kinds = [f"$.{path}" for path in (*fields.KIND_KEYS, *typed)]
    sql = f"""(SELECT *, json_extract_string(json, {[f"$.{path}" for path in paths]}) AS v,
        json_type(json, {kinds}) AS types FROM (SELECT *, {_JSON} AS json FROM {table}))"""
    return _leveled(sql, [{"readable": "v IS NOT NULL", **_read(members, value)}, *levels])


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
    "text": "given_text",
    "confidence": "NULL::DOUBLE",
    "begin_number": "begin",
    "finish_number": "finish",
    "unix_number": "unix_ts",
    "time_ms": _seconds_ms("unix_number"),
    "start_ms": _moment_ms("begin_number"),
    "end_ms": _moment_ms("finish_number"),
    "beside": "NULL::VARCHAR[]",
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
        coalesce(usual.channel IN {_USUAL_CHANNELS} AND usual.unix_ts > 1 AND usual.unix_ts < 1e11
        AND CASE WHEN is_written THEN true ELSE starts_with(line, '{{"ts":"')
        AND usual.data.text IS NOT NULL AND NOT ({truths})
        AND {names} = 1 + {FETCHED}::INTEGER + {present}
        AND NOT contains(line, ' :') AND NOT contains(line, chr(9)) AND NOT {LAX} END, false) AS is_usual
        FROM (SELECT *, coalesce(line = {_WRITTEN}, false) AS is_written
        FROM (SELECT *, TRY(json_transform(line, '{shape}')) AS usual FROM {table}))"""


_USUAL_CHANNELS: Final = "('transcript', 'visual_index', 'audio_index', 'scene_index', 'spoken_index')"

FETCHED: Final = "(ends_with(line, '\"backfilled\":true}') OR ends_with(line, '\"backfilled\": true}'))"
"""Whether a line was backfilled: that is its last member, which is found without parsing."""


def folded_usual(table: str, columns: Iterable[str], *others: str) -> str:
    """Return the same as `folded`, for a `table` of lines for which `is_usual` holds."""
    selected = {name: _USUALLY.get(name, COLUMNS[name]) for name in columns}
    levels = tuple({**level, **named(_USUALLY, " ".join(level))} for level in _LEVELS)
    needed, members = _needed(" ".join(selected.values()), levels)
    value = {path: _usual_path(path) for path in _USUAL}
    sql = _leveled(table, [{"readable": "true", **_read(members, value)}, *needed])
    return f"SELECT {', '.join([_aliased(selected), *others])} FROM {sql}"


def _usual_path(path: str) -> str:
    return ".".join(["usual", *(f'"{name}"' for name in path.split("."))])


_Level = dict[str, str]


def _needed(wanted: str, all_levels: tuple[_Level, ...]) -> tuple[list[_Level], dict[str, tuple[str, ...]]]:
    """Return the parts of levels and the members that the SQL `wanted` needs."""
    levels: list[_Level] = []
    for level in reversed(all_levels):
        needed = named(level, wanted)
        levels.insert(0, needed)
        wanted = " ".join([wanted, *needed.values()])
    return levels, named(_MEMBERS, wanted)


def _read(members: dict[str, tuple[str, ...]], value: dict[str, str]) -> _Level:
    """Return SQL for each member's value: that of the first of its paths that has one."""
    level = {}
    for name, paths in members.items():
        values = [value[path] for path in paths if path in value]
        if name == "given_text" and len(values) > 1:
            values = [*map(_not_blank, values), *values]
        level[name] = f"coalesce({', '.join(values)})" if values else "NULL::VARCHAR"
    return level


def _not_blank(text: str) -> str:
    return f"CASE WHEN regexp_matches({text}, '[^{BLANK}]') THEN {text} END"


def _leveled(sql: str, levels: Iterable[_Level]) -> str:
    for level in filter(None, levels):
        sql = f"(SELECT *, {_aliased(level)} FROM {sql})"
    return sql


def named(definitions: dict[str, _Definition], sql: str) -> dict[str, _Definition]:
    """Return the definitions whose names occur in `sql`."""
    words = set(re.findall(r"\w+", sql))
    return {name: definition for name, definition in definitions.items() if name in words}


def _aliased(columns: dict[str, str]) -> str:
    return ", ".join(name if sql == name else f"{sql} AS {name}" for name, sql in columns.items())


# -- The identity of an event, to find those received and backfilled ---------------------------------------

# Python's white space.
BLANK: Final = "".join(
    rf"\x{{{code:x}}}"
    for code in (
        *(*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)),
        *(0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
    )
)


def identities(table: str) -> str:
    """Return a SELECT of the lines that have an identity, as `events.identity.identity_of` defines it.

    `table` is SQL with a column `line`. The SELECT has its columns and these: backfilled, channel, owner (a
    stream or a session), content (a text or a status), start_ms, end_ms.
    """
    steps = ", ".join(
        f"CASE WHEN starts_with(name_{number}, '{fields.LIFECYCLE_PREFIX}') THEN name_{number} END"
        for number in (4, 2, 3, 1)  # as `lifecycle.lifecycle_of` looks for them
    )
    statuses = ", ".join(
        f"CASE WHEN types[{number + 4}] = 'VARCHAR' THEN nullif(status_{number}, '') END" for number in (1, 2)
    )
    levels: list[_Level] = [
        {
            "backfilled": "coalesce(types[7] = 'BOOLEAN' AND backfilled_mark = 'true', false)",
            "step": f"coalesce({steps})",
            "given_status": f"CASE WHEN name_1 = 'capture_session' THEN coalesce({statuses}) END",
            "recorded": "channel IN ('transcript', 'visual_index', 'audio_index')",
        },
        {
            "lifecycle_status": f"""CASE WHEN step IS NOT NULL
                THEN nullif(substr(step, {len(fields.LIFECYCLE_PREFIX) + 1}), '') ELSE given_status END""",
        },
        {
            "owner": """nullif(CASE WHEN recorded THEN given_stream
                WHEN channel = 'capture_session' THEN given_session END, '')""",
            "content": f"""CASE WHEN recorded THEN coalesce({_not_blank("given_text")}, '')
                ELSE lifecycle_status END""",
            "start_ms": f"CASE WHEN recorded THEN {COLUMNS['start_ms']} END",
            "end_ms": f"CASE WHEN recorded THEN {COLUMNS['end_ms']} END",
        },
    ]
    wanted = " ".join(sql for level in levels for sql in level.values())
    parsed = _parsed(table, f"{wanted} final", (*_MEMBERS["status"], *_MEMBERS["backfilled_mark"]))
    # Materialized: DuckDB would put the levels into the condition, each as often as it is named there.
    return f"""WITH known AS MATERIALIZED (SELECT * FROM {_leveled(parsed, levels)})
        SELECT * FROM known WHERE owner IS NOT NULL AND CASE WHEN recorded
        THEN start_ms IS NOT NULL AND final IS DISTINCT FROM 'false' ELSE lifecycle_status IS NOT NULL END"""
