"""Say what DuckDB's errors say, without its advice to change settings, which nobody can change here. Pure."""

import re
from typing import Final, NamedTuple

_LONGEST: Final = 500
_SENTENCE_ENDS: Final = re.compile(r"(?<=[.!?])\s+|\n\s*\*?\s*")
_SETTING: Final = re.compile(
    r"(?:,?\s*\bor\b)?[^,;]*?\b(?:SET|PRAGMA)\s+(?:GLOBAL\s+|SESSION\s+)?([a-z_]{4,}).*"
    r"|.*\b(?:this|the '?[a-z_]+'?) (?:setting|configuration|option)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_INSTEAD: Final = {
    "pivot_limit": "pivot over fewer values: name them with IN (…)",
    "scalar_subquery_error_on_multiple_rows": "give the subquery LIMIT 1, or an aggregate such as max(…)",
    "max_expression_depth": "write it with less nesting",
    "lambda_syntax": "write a lambda as: lambda x: x + 1",
    "error_on_division_by_zero": "divide by nullif(…, 0)",
    "order_by_non_integer_literal": "order by a column, or by its number",
    "parquet_use_page_index": "remove the cache: vdbevents cache clear",
    "disable_parquet_prefetching": "remove the cache: vdbevents cache clear",
}
_BARE_WINDOW: Final = re.compile(
    r'\A(?=Parser Error).*LINE \d+:.*(?<!")\bwindow\b', re.IGNORECASE | re.DOTALL
)
_QUOTED_WINDOW: Final = 'write the column window in double quotes: "window"'
_OTHERWISE: Final = "write the query in another way: settings cannot be changed here"


class EngineError(NamedTuple):
    """What an error of DuckDB says.

    Attributes:
        reason: on one line.
        advice: what to do instead of changing a setting, if DuckDB advises that, or how to write the column
            whose name is a keyword; else None.
    """

    reason: str
    advice: str | None


def understood(error: BaseException) -> EngineError:
    """Return what an error says."""
    text = str(error).split("\n\nLINE", maxsplit=1)[0]
    message, _, solutions = text.partition("Possible solutions:")
    advice = None if not solutions else _OTHERWISE
    sentences = []
    for sentence in _SENTENCE_ENDS.split(message.strip()):
        if match := _SETTING.search(sentence):
            advice = _INSTEAD.get((match[1] or "").lower(), _OTHERWISE)
            rest = sentence[: match.start()].strip()
            sentences += [f"{rest}."] if rest else []
        elif sentence.strip():
            sentences.append(sentence)
    reason = " ".join(" ".join(sentences).split())
    if _BARE_WINDOW.match(str(error)):
        advice = _QUOTED_WINDOW
    return EngineError(reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}…", advice)
