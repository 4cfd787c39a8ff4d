"""SQL that makes a line of CSV of an event, as `rows.csv_text` does it row by row. Pure.

To hand each value to Python, and to put them together there, takes several times as long.
"""

from collections.abc import Sequence
from typing import Final

from vdbevents.query.output.rows import COLUMNS, FORMULAS, TIMES

_UNQUOTED: Final = ("is_final", "confidence")
_UNSAFE: Final = (",", '"', "\n", "\r")


def csv_row(fields: Sequence[str], *, without_formulas: bool) -> str:
    """Return SQL for the line of an event, with its end.

    Args:
        fields: of `rows.FIELDS` and `rows.OLD_FIELDS`.
        without_formulas: as for `rows.csv_text`.
    """
    cells = ", ',', ".join(_cell(name, without_formulas=without_formulas) for name in fields)
    return f"concat({cells}, chr(10))"


def _cell(name: str, *, without_formulas: bool) -> str:
    """Return SQL for a value; of NULL, `concat` makes an empty field."""
    column = COLUMNS.get(name, name)
    if name in TIMES:
        return f"strftime(make_timestamp({column} * 1000), '%Y-%m-%dT%H:%M:%S.%gZ')"
    if column in _UNQUOTED:
        return f"{column}::VARCHAR"
    if not without_formulas:
        return _quoted(column)
    formulas = ", ".join(map(_character, FORMULAS))
    marked = _quoted(f"concat('''', {column})")
    return f"CASE WHEN left({column}, 1) IN ({formulas}) THEN {marked} ELSE {_quoted(column)} END"


def _quoted(text: str) -> str:
    unsafe = " OR ".join(f"contains({text}, {_character(character)})" for character in _UNSAFE)
    # Readers of CSV end a text, or a file, at a NUL.
    shown = f"replace({text}, chr(0), '\u2400')"
    return f"""CASE WHEN {text} = '' OR {unsafe} THEN concat('"', replace({shown}, '"', '""'), '"')
        WHEN contains({text}, chr(0)) THEN {shown} ELSE {text} END"""


def _character(character: str) -> str:
    return f"chr({ord(character)})"
