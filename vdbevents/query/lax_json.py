"""SQL for what DuckDB takes for JSON and others refuse: NaN, infinity, a comma before a bracket. Pure."""

from typing import Final

_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_SUSPECT: Final = r",[ \t\r]*[}\]]|[nN][aA][nN]|[iI][nN][fF]"

LAX: Final = f"""CASE WHEN regexp_matches(line, '{_SUSPECT}')
    THEN regexp_matches(regexp_replace(line, '{_STRING}', '', 'g'), '{_SUSPECT}') ELSE false END"""
"""Whether `line`, which DuckDB takes for JSON, is refused. Texts may have such signs: they are left out."""
