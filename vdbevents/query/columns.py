"""SQL that folds the variants of an event into one set of columns. Pure.

docs/events-format.md defines the columns, and the members that they come from.
"""

# ruff: noqa: S608 - the SQL consists of constants and our own names

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from vdbevents.events import fields, window_names as windows
from vdbevents.query.lax_json import LAX
from vdbevents.query.occurring import EVERYTHING, Occurring
from vdbevents.times import LEAST_MS

_Definition = TypeVar("_Definition")

NO_TEXT: Final = "NULL::VARCHAR"

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


# All paths that are read: of the members, of names of windows, and of what is read for few events.
MEMBER_PATHS: Final = frozenset(
    path
    for paths in (
        *_MEMBERS.values(),
        *(member.paths for member in (*fields.RECEIPT, *fields.VIDEO, fields.ERROR_CODE)),
        *(windows.WINDOW_PATHS, windows.APP_PATHS, windows.TITLE_PATHS, ("data",)),
    )
    for path in paths
)


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


def _unaliased(kind: str, found: Occurring) -> str:
    aliases = {alias: channel for alias, channel in fields.CHANNEL_ALIASES.items() if found.says(alias)}
    cases = (f"WHEN '{alias}' THEN '{channel}'" for alias, channel in aliases.items())
    return f"CASE {kind} {' '.join(cases)} ELSE {kind} END" if aliases else kind


def _read_alone(member: fields.Member) -> str:
    """Return SQL for a member's value, read from `json` where it is asked for."""
    values = [f"json_extract_string(json, '$.{path}')" for path in member.paths]
    return f"coalesce({', '.join([*values, 'NULL'])})"


def _paths(*prefixes: str) -> list[str]:
    kinds = (windows.WINDOW_PATHS, windows.APP_PATHS, windows.TITLE_PATHS)
    return [f"$.{prefix}{path}" for paths in kinds for prefix in prefixes for path in paths]


def _names_in(*values: str) -> str:
    """Return SQL for a list of the values that are names, as `window_names` has it, and NULL for each other.

    A lambda's expressions are compiled where they are used, and those of a line's columns for each statement:
    for all letters of the world that takes 3 ms, as long as to read a thousand lines.
    """
    letters = r"""(regexp_matches(name, '[0-9A-Za-z]')
        OR len(list_filter([name], lambda other: regexp_matches(other, '[\pL\pN]'))) > 0)"""
    return f"""list_transform([{", ".join(values)}], lambda name: CASE
        WHEN length(name) <= {windows.LONGEST_NAME} AND {letters}
        AND NOT regexp_full_match(name, '{windows.NO_NAME}') THEN name END)"""


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
    {
        "names": f"""CASE WHEN is_stated OR bracketed IS NOT NULL
            THEN {_names_in("given_window", "given_app", "given_title", "bracketed")} END""",
    },
    {"named_app": "names[2]"},
    {"titled": "CASE WHEN named_app IS NULL THEN names[1] ELSE coalesce(names[1], names[3]) END"},
)

SOURCE: Final = f"coalesce({_source_named('given_stream_name')}, {_source_named('given_stream')})"

_Level = dict[str, str]


def _kind_levels(found: Occurring) -> list[_Level]:
    """Return the names that are texts, the kind, and the kind without a life cycle's step."""
    names = {f"name_{number}": key for number, key in enumerate(fields.KIND_KEYS, 1) if found.has(key)}
    first: _Level = {}
    for number, key in enumerate(fields.KIND_KEYS, 1):
        text = f"nullif(kind_{number}, '')"
        if found.has_other(key):
            text = f"CASE WHEN types[{number}] = 'VARCHAR' THEN {text} END"
        first[f"name_{number}"] = text if found.has(key) else NO_TEXT
    plain = "kind"
    if found.says(fields.LIFECYCLE_PREFIX):
        plain = f"""CASE WHEN starts_with(kind, '{fields.LIFECYCLE_PREFIX}') THEN 'capture_session'
            ELSE kind END"""
    return [first, {"kind": _first_of(names)}, {"plain": plain}]


def _first_of(values: Iterable[str], none: str = NO_TEXT) -> str:
    """Return SQL for the first of some values that is not NULL."""
    values = list(values)
    return f"coalesce({', '.join(values)})" if len(values) > 1 else values[0] if values else none


def _channel(found: Occurring) -> str:
    """Return SQL for the channel; a webhook's alert may have no kind."""
    alert = "CASE WHEN webhook IS NOT NULL AND given_label IS NOT NULL THEN 'alert' END"
    return _first_of([_unaliased("plain", found), *([alert] if found.has("event_id") else [])])


def _event(found: Occurring) -> str:
    keys = [f"name_{number}" for number, key in enumerate(fields.KIND_KEYS, 1) if found.has(key)]
    return _first_of(f"nullif({name}, plain)" for name in reversed(keys) if name != "name_1")


def _stamped_ms(found: Occurring) -> str:
    """Return SQL for the time of receipt, as a recorder's own members have it."""
    if found.is_stamped:
        return "floor(unix_number * 1000 + 0.5)::BIGINT"
    of_text = [_iso_ms("unix_ts")] if found.has_text("unix_ts") else []
    return _first_of([_moment_ms("unix_number"), *of_text, _time_ms("ts")])


def _other_clock(found: Occurring) -> str:
    """Return SQL for the time of a line that has no other: read for few events, so not among the members."""
    paths = [] if found.is_stamped else [path for path in fields.RECEIPT[2].paths if found.has(path)]
    values = (f"""json_extract_string(json, '$."{path}"')""" for path in paths)
    return f"CASE WHEN stamped_ms IS NULL THEN {_first_of(values)} END" if paths else NO_TEXT


def _video(found: Occurring) -> str:
    values = [_read_alone(member) for member in fields.VIDEO if found.has(*member.paths)]
    if not values:
        return NO_TEXT
    return f"""CASE WHEN channel = 'capture_session' AND state = 'exported'
        THEN nullif(concat_ws(', ', {", ".join(values)}), '') END"""


def _failure(found: Occurring) -> str:
    if not found.says(fields.RUNTIME_CHANNEL):
        return NO_TEXT
    return f"""CASE WHEN channel = '{fields.RUNTIME_CHANNEL}'
        THEN nullif(error, '') || coalesce(' (' || {_read_alone(fields.ERROR_CODE)} || ')', '') END"""


def _levels(found: Occurring = EVERYTHING) -> tuple[_Level, ...]:
    """Return the columns built from the members, each level from those before it.

    The last of them are the fallbacks for a text: `data` is read only where there is none.
    """
    return (
        *_kind_levels(found),
        {
            "begin_number": "try_cast(begin AS DOUBLE)",
            "finish_number": "try_cast(finish AS DOUBLE)",
            "unix_number": "try_cast(unix_ts AS DOUBLE)",
            "confidence_number": "try_cast(given_confidence AS DOUBLE)",
        },
        {"channel": _channel(found), "event": _event(found)},
        {
            "state": "coalesce(nullif(status, ''), nullif(split_part(event, '.', 2), ''))",
            "other_data": """CASE WHEN given_text IS NULL
                THEN nullif(nullif(json_extract_string(json, '$.data'), ''), '{}') END""",
            "other_type": "CASE WHEN given_text IS NULL THEN json_type(json, '$.data') END",
        },
        {"stamped_ms": _stamped_ms(found)},
        {"other_clock": _other_clock(found)},
        {"video": _video(found), "failure": _failure(found)},
        *_WINDOW_LEVELS,
    )


def _text(found: Occurring) -> str:
    """Return SQL for the text: the one that is given, else what else there is for a person to read."""
    cases = []
    if found.says("capture_session"):
        cases.append("""WHEN 'capture_session' THEN nullif(concat_ws(': ', state,
            CASE state WHEN 'failed' THEN coalesce(error, other_data) WHEN 'exported' THEN video END), '')""")
    if found.says(fields.OWN_CHANNEL):
        cases.append("WHEN 'vdbevents' THEN other_data")
    if found.says(fields.RUNTIME_CHANNEL):
        cases.append("WHEN 'capture_client' THEN coalesce(failure, other_data)")
    others = "CASE WHEN other_type = 'VARCHAR' THEN other_data END"
    if not found.has_text("data"):
        others = NO_TEXT
    if cases:
        others = f"CASE channel {' '.join(cases)} ELSE {others} END"
    return _first_of(["given_text", *([others] if others != NO_TEXT else [])])


def _moment(found: Occurring, member: fields.Member, name: str) -> str:
    """Return SQL for a time of the event itself."""
    if not found.has(*member.paths):
        return "NULL::BIGINT"
    if found.has_only_milliseconds(*member.paths):
        return f"try_cast({name} AS BIGINT)"
    of_text = [_iso_ms(name)] if found.has_text(*member.paths) else []
    return _first_of([_moment_ms(f"{name}_number"), *of_text])


def _columns(found: Occurring = EVERYTHING) -> dict[str, str]:
    """Return SQL for each column of `Event`."""
    windowed = """CASE WHEN named_app IS NULL OR contains(titled, named_app)
        THEN coalesce(titled, names[4]) ELSE concat_ws(' - ', titled, named_app) END"""
    stamps = ["stamped_ms", *([] if found.is_stamped else [_time_ms("other_clock")])]
    return {
        "time_ms": _first_of(stamps),
        "channel": "channel",
        "event": "event",
        "source": SOURCE,
        "stream": "given_stream",
        "stream_name": "given_stream_name",
        "session": "given_session",
        "text": _text(found),
        "is_final": "CASE final WHEN 'true' THEN true WHEN 'false' THEN false END",
        "start_ms": _moment(found, fields.START, "begin"),
        "end_ms": _moment(found, fields.END, "finish"),
        "label": "coalesce(given_label, event)",
        "speaker": "given_speaker",
        "confidence": "CASE WHEN isfinite(confidence_number) THEN confidence_number END",
        "window_name": windowed if found.may_name_windows else NO_TEXT,
    }


_LEVELS: Final = _levels()

COLUMNS: Final = _columns()
"""SQL for each column of `Event`, from any line."""

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


# A usual line byte for byte as a recorder writes it, in VideoDB's order of members, whose values have their
# SQL in `{0}` to `{8}`. A line that is the same as this has no other members, and none twice.
_WRITTEN: Final = """concat('{{"ts":"', {0}, '","unix_ts":', try_cast({1} AS DECIMAL(13, 3)),
    ',"channel":"', {2}, '","rtstream_id":"', {3}, '","rtstream_name":"', {4}, '","data":{{"text":', {5},
    CASE {6} WHEN 'true' THEN ',"is_final":true,"start":' WHEN 'false' THEN ',"is_final":false,"start":'
    ELSE ',"start":' END, {7}, ',"end":', {8}, '}}}}')"""
_IN_ORDER: Final = (
    *("ts", "unix_ts", "channel", "rtstream_id", "rtstream_name", "data.text", "data.is_final"),
    *("data.start", "data.end"),
)


class Reading(NamedTuple):
    """How a table's lines are read.

    Attributes:
        found: what may occur in them.
        known: columns of `Event` that the table has already.
        written: whether the table has a column `written`: of lines for which it holds, only the usual members
            are read, as they have no others. None reads all of every line.
    """

    found: Occurring = EVERYTHING
    known: Collection[str] = ()
    written: bool | None = None


_READING: Final = Reading()


def folded(table: str, columns: Iterable[str], *others: str, reading: Reading = _READING) -> str:
    """Return a SELECT of `columns` (of `Event`) and `others` (`table`'s own, `readable`, or `written`).

    `table` is SQL with a column `line`. Each event's JSON is parsed once, for the members that are needed.
    """
    sql_of = _columns(reading.found) if reading.found.is_known else COLUMNS
    selected = {name: name if name in reading.known else sql_of.get(name, name) for name in columns}
    parsed = _parsed(table, " ".join(selected.values()), reading)
    return f"SELECT {', '.join([*_aliased(selected), *others])} FROM {parsed}"


def _parsed(table: str, wanted: str, reading: Reading, typed: tuple[str, ...] = ()) -> str:
    """Return SQL of `table` with `json`, `readable`, and those members and levels that `wanted` names.

    It also has `types`: the types of the members that may name the kind, then of the paths `typed`.
    """
    all_levels = _levels(reading.found) if reading.found.is_known else _LEVELS
    known = set(reading.known)
    levels, members = _needed(
        wanted, [{name: sql for name, sql in level.items() if name not in known} for level in all_levels]
    )
    paths = dict.fromkeys(path for member in members.values() for path in member if reading.found.has(path))
    kinds = [f"$.{path}" for path in (*fields.KIND_KEYS, *typed)]
    types = f"json_type(json, {kinds})"
    if reading.written is None:
        value = {path: f"v[{index}]" for index, path in enumerate(paths, 1)}
        sql = f"(SELECT *, {_JSON} AS json FROM {table})"
        also = {"v": _values(paths)} if paths else {}
        if "types" in " ".join(sql for level in levels for sql in level.values()):
            also["types"] = types
    else:
        sql, value, also = _parsed_by_shape(table, list(paths), types, is_told=reading.written)
    return _leveled(sql, [also, {"readable": "json IS NOT NULL", **_read(members, value)}, *levels])


def _parsed_by_shape(
    table: str, paths: list[str], types: str, *, is_told: bool
) -> tuple[str, dict[str, str], _Level]:
    """Return SQL of `table` with `json`, `written` and usual members; SQL for all members' values, and more.

    To read also the others of the few lines that have some takes less time than to read all of each line.
    """
    usual = [path for path in _IN_ORDER if path in paths] if is_told else list(_IN_ORDER)
    others = [path for path in paths if path not in usual]
    value = {path: f"u[{index}]" for index, path in enumerate(usual, 1)}
    value |= {path: f"v[{index}]" for index, path in enumerate(others, 1)}
    json = f"CASE WHEN written THEN line ELSE {_JSON} END" if is_told else _JSON
    sql = f"(SELECT *, {json} AS json FROM {table})"
    if usual:
        sql = f"(SELECT *, {_values(usual)} AS u FROM {sql})"
    if not is_told:
        values = [f"to_json({value[path]})" if path == "data.text" else value[path] for path in _IN_ORDER]
        sql = f"(SELECT *, coalesce(line = {_WRITTEN.format(*values)}, false) AS written FROM {sql})"
    also = {"types": f"CASE WHEN written THEN ['VARCHAR'] ELSE {types} END"}
    if others:
        also["v"] = f"CASE WHEN NOT written THEN {_values(others)} END"
    return sql, value, also


def _values(paths: Iterable[str]) -> str:
    return f"json_extract_string(json, {[f'$.{path}' for path in paths]})"


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
    written = _WRITTEN.format(*map(_usually_written, _IN_ORDER))
    return f"""SELECT *, CASE WHEN is_written THEN false ELSE {FETCHED} END AS fetched,
        coalesce(usual.channel IN {_USUAL_CHANNELS} AND usual.unix_ts > 1 AND usual.unix_ts < 1e11
        AND CASE WHEN is_written THEN true ELSE starts_with(line, '{{"ts":"')
        AND contains(line, '"text":"') AND NOT ({truths})
        AND {names} = 1 + {FETCHED}::INTEGER + {present}
        AND NOT contains(line, ' :') AND NOT contains(line, chr(9)) AND NOT {LAX} END, false) AS is_usual
        FROM (SELECT *, coalesce(line = {written}, false) AS is_written
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
    return f"SELECT {', '.join([*_aliased(selected), *others])} FROM {sql}"


def _usually_written(path: str) -> str:
    """Return SQL for a member's value in `_WRITTEN`."""
    value = _usual_path(path)
    if path == "data.text":
        # Most texts have nothing to escape.
        return f"""'"', {value}, '"'"""
    return f"try_cast({value} AS BIGINT)" if path in ("data.start", "data.end") else value


def _usual_path(path: str) -> str:
    return ".".join(["usual", *(f'"{name}"' for name in path.split("."))])


def _needed(wanted: str, all_levels: Sequence[_Level]) -> tuple[list[_Level], dict[str, tuple[str, ...]]]:
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
        sql = f"(SELECT *, {', '.join(_aliased(level))} FROM {sql})"
    return sql


def named(definitions: dict[str, _Definition], sql: str) -> dict[str, _Definition]:
    """Return the definitions whose names occur in `sql`."""
    words = set(re.findall(r"\w+", sql))
    return {name: definition for name, definition in definitions.items() if name in words}


def _aliased(columns: dict[str, str]) -> list[str]:
    return [name if sql == name else f"{sql} AS {name}" for name, sql in columns.items()]


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
    typed = (*_MEMBERS["status"], *_MEMBERS["backfilled_mark"])
    parsed = _parsed(table, f"{wanted} final", _READING, typed)
    # Materialized: DuckDB would put the levels into the condition, each as often as it is named there.
    return f"""WITH known AS MATERIALIZED (SELECT * FROM {_leveled(parsed, levels)})
        SELECT * FROM known WHERE owner IS NOT NULL AND CASE WHEN recorded
        THEN start_ms IS NOT NULL AND final IS DISTINCT FROM 'false' ELSE lifecycle_status IS NOT NULL END"""
