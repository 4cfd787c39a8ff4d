"""Find what DuckDB takes for JSON and others refuse: NaN, infinity, a comma before a bracket. Pure."""

import re
from typing import Final

_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_SUSPECT: Final = r",[ \t\r]*[}\]]|[nN][aA][nN]|[iI][nN][fF]"

LAX: Final = f"""CASE WHEN regexp_matches(line, '{_SUSPECT}')
    THEN regexp_matches(regexp_replace(line, '{_STRING}', '', 'g'), '{_SUSPECT}') ELSE false END"""
"""Whether `line`, which DuckDB takes for JSON, is refused. Texts may have such signs: they are left out."""

_PYTHON_STRING: Final = re.compile(_STRING)
_PYTHON_SUSPECT: Final = re.compile(_SUSPECT)


def is_lax(line: str) -> bool:
    """Return the same of one line."""
    is_suspect = _PYTHON_SUSPECT.search(line) is not None
    return is_suspect and _PYTHON_SUSPECT.search(_PYTHON_STRING.sub("", line)) is not None
