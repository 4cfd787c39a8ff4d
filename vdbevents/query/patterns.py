"""SQL, and a test, for whether a pattern is in what an event says. Pure.

Unless `Filters.exact`, texts and patterns are compared in the form of `alike`: `looks` is a column with that
of the text, NULL where it does not differ. Cheaper tests come first, on the bytes of a line, or on the words
of a segment; they drop only what cannot match.
"""

import re
from collections.abc import Callable
from typing import Final, Protocol

from vdbevents.query import alike
from vdbevents.query.filters import Filters
from vdbevents.query.lines import SEARCHED

# What is a letter of one case, whatever else the pattern has.
_CASED_CLASS: Final = re.compile(r"\[:\^?(?:upper|lower):\]|\\[pP]\{\^?L[ltu]\}")
# What is no letter to find: escapes, flags, names of groups.
_NO_LITERAL: Final = re.compile(r"\\(?:[pP](?:\{[^}]*\}|.)|x\{[^}]*\}|.)|\(\?(?:P?<\w*>|[imsU-]+[:)])")
NO_WORD: Final = rf"[^\pL\pM\pN_]|[{alike.UNSPACED}]"
"""A regular expression for what may be next to a whole word."""

_BEGIN: Final = f"(?:^|{NO_WORD})"
_END: Final = f"(?:{NO_WORD}|$)"


def ignores_case(pattern: str, filters: Filters) -> bool:
    """Return whether `pattern` ignores case."""
    if filters.exact:
        return False
    if filters.ignore_case is not None:
        return filters.ignore_case
    if filters.extended:
        if _CASED_CLASS.search(pattern.replace(r"\\", "")):
            return False
        pattern = _NO_LITERAL.sub("", pattern)
    return not any(character.isupper() for character in pattern)


def sought(pattern: str, filters: Filters) -> str:
    """Return a literal pattern in the form in which it is compared with texts."""
    if _is_as_written(pattern, filters):
        return pattern
    wanted = alike.spaced(alike.alike(pattern))
    return alike.lower(wanted) if ignores_case(pattern, filters) else wanted


def _is_as_written(pattern: str, filters: Filters) -> bool:
    """Return whether a literal pattern is looked for as it is; so is one of which nothing is seen."""
    return filters.exact or not alike.alike(pattern)


# -- Tests on bytes ----------------------------------------------------------------------------------------


def words(filters: Filters) -> str:
    r"""Return a condition on raw lines that holds wherever all literal patterns occur; may be empty.

    It tests for letters, digits and spaces only: JSON writes them unchanged, or as escapes. They are safe in
    the SQL itself, where DuckDB compiles them once.
    """
    if filters.extended:
        return ""
    conditions = [_word(pattern, filters) for pattern in filters.grep]
    alternatives = [_word(pattern, filters) for pattern in filters.any_of]
    if all(alternatives):
        conditions.append(" OR ".join(alternatives))
    conditions = [f"({condition})" for condition in conditions if condition]
    if not conditions:
        return ""
    # A line of ASCII, as almost all are, can hide nothing: that is seen by its length.
    disguised = f"regexp_matches(line, '[{alike.DISGUISES}]')"
    disguised = f"CASE WHEN strlen(line) = length(line) THEN false ELSE {disguised} END"
    return f"({' AND '.join(conditions)}) OR contains(line, '\\u') OR {disguised}"


# How JSON may write white space, or what looks like it; but for escapes with a number.
_SPACE: Final = r"(?: |\\[nrtf]|[^\x00-\x7f])+"


def _word(pattern: str, filters: Filters) -> str:
    wanted = sought(pattern, filters)
    run = max((run.strip() for run in re.findall(r"[A-Za-z0-9 ]+", wanted)), key=len, default="")
    if not run:
        return ""
    ignoring = "(?i)" if ignores_case(pattern, filters) else ""
    if " " in run or ignoring:
        return f"regexp_matches(line, '{ignoring}{re.sub(' +', lambda _: _SPACE, run)}')"
    return f"contains(line, '{run}')"


def word_groups(filters: Filters) -> list[list[list[bytes]]]:
    """Return what a segment's words must hold for a match: of each group, all runs of one pattern."""
    if filters.extended:
        return []
    groups = [[pattern] for pattern in filters.grep if pattern]
    if filters.any_of and all(filters.any_of):
        groups.append(list(filters.any_of))
    return [[_runs(pattern, filters) for pattern in group] for group in groups]


def _runs(pattern: str, filters: Filters) -> list[bytes]:
    wanted = sought(pattern, filters)
    if _is_as_written(pattern, filters) or wanted != alike.alike(wanted):
        # The words are those of texts that were made alike: a letter may be one with a mark that follows it.
        runs = [run[:-1] for run in re.findall(r"[A-Za-z0-9]+", wanted)]
    else:
        runs = wanted.split(" ")
    return [alike.lower(run).encode() for run in runs if run]


# -- Tests on texts ----------------------------------------------------------------------------------------


def need_looks(filters: Filters) -> bool:
    """Return whether the conditions have a column `looks`."""
    return not filters.exact and any((*filters.grep, *filters.any_of, *filters.none_of))


def conditions(filters: Filters, values: list[object]) -> list[str]:
    """Return SQL for each condition on the patterns; add the values for its `?`."""
    chosen = [_found(pattern, filters, values) for pattern in filters.grep]
    if filters.any_of:
        chosen.append(f"({' OR '.join(_found(pattern, filters, values) for pattern in filters.any_of)})")
    return chosen + [f"NOT {_found(pattern, filters, values)}" for pattern in filters.none_of]


def _found(pattern: str, filters: Filters, values: list[object]) -> str:
    """Return SQL for whether `pattern` is in a column that is searched.

    Most events have nothing but a text: of these, no more is looked at.
    """
    if not pattern:
        return "true"
    text, *others = (is_in(pattern, column, filters, values) for column in SEARCHED)
    none = " AND ".join(f"{column} IS NULL" for column in SEARCHED[1:])
    return f"({text} OR CASE WHEN {none} THEN false ELSE {' OR '.join(others)} END)"


def is_in(pattern: str, column: str, filters: Filters, values: list[object]) -> str:
    """Return SQL for whether `pattern` is in a column; add the values for its `?`. An empty one is."""
    if not pattern:
        return "true"
    # Other columns than the text are short, or empty.
    looks = "looks" if column == "text" else f"({alike.looks(column)})"
    if filters.extended:
        test = _expression(pattern, column, looks, filters, values)
    else:
        test = _literal(pattern, column, looks, filters, values)
    return f"coalesce({test}, false)"


def _expression(pattern: str, column: str, looks: str, filters: Filters, values: list[object]) -> str:
    """Return SQL for a regular expression: in the text as it is, or in what it looks like.

    A text is one, whatever its lines are: `.` is any character, `^` and `$` are where a line begins and ends.
    """
    options = f"'{'i' if ignores_case(pattern, filters) else 'c'}'"
    wanted = "'(?ms:' || ? || ')'"
    if filters.whole_words:
        wanted = f"'{_BEGIN}' || {wanted} || '{_END}'"
    values.append(pattern)
    as_written = f"regexp_matches({column}, {wanted}, {options})"
    if filters.exact:
        return as_written
    values.append(_expression_alike(pattern))
    return f"({as_written} OR coalesce(regexp_matches({looks}, {wanted}, {options}), false))"


def _expression_alike(pattern: str) -> str:
    """Return a regular expression in the form in which it is compared; as it is, if that is not one."""
    wanted = alike.alike(pattern)
    if wanted != pattern:
        try:
            re.compile(wanted)  # such as a class from one quote to another
        except re.error:
            return pattern
    return wanted


def _literal(pattern: str, column: str, looks: str, filters: Filters, values: list[object]) -> str:
    as_written = _is_as_written(pattern, filters)
    text = column if as_written else f"coalesce({looks}, {column})"
    wanted = sought(pattern, filters)
    if ignores_case(pattern, filters):
        if wanted.isascii() and not as_written and not filters.whole_words:
            values.append(_ignoring_case(wanted))
            return f"regexp_matches({text}, ?, 'c')"
        text = f"lower({text})"
    if filters.whole_words:
        values.append(_whole(wanted, filters))
        return f"regexp_matches({text}, ?, 'c')"
    run = max(wanted.split(" "), key=len)
    if as_written or run == wanted:
        values.append(wanted)
        return f"contains({text}, ?)"
    one_line = f"regexp_replace({text}, '{alike.BLANK}', ' ', 'g')"
    if column != "text":
        values.append(wanted)
        return f"contains({one_line}, ?)"
    values += [run, wanted, wanted]
    # Only of the few texts that have the word, the white space is looked at.
    return f"""CASE WHEN NOT contains({text}, ?) THEN false WHEN contains({text}, ?) THEN true
        WHEN regexp_matches({text}, '[\\t-\\r]|  ') THEN contains({one_line}, ?) ELSE false END"""


def _ignoring_case(wanted: str) -> str:
    """Return an expression for an ASCII text in any case, as `lower` has it: that takes twice as long."""
    parts = (re.escape(part).replace("i", "[iİ]") for part in wanted.split(" "))
    return f"(?i){alike.BLANK.join(parts)}"


def _whole(wanted: str, filters: Filters) -> str:
    """Return an expression for words that no letter is next to, where words have spaces between them."""
    begin = "" if alike.is_unspaced(wanted[0]) else _BEGIN
    end = "" if alike.is_unspaced(wanted[-1]) else _END
    parts = [re.escape(part) for part in ([wanted] if filters.exact else wanted.split(" "))]
    return f"{begin}(?:{alike.BLANK.join(parts)}){end}"


class Searchable(Protocol):
    """An event with the columns that are searched."""

    @property
    def text(self) -> str | None:
        """What was said or shown."""

    @property
    def label(self) -> str | None:
        """Its label."""

    @property
    def speaker(self) -> str | None:
        """Who said it."""

    @property
    def shown_line(self) -> str | None:
        """Its line, if it has neither a text nor a label."""


def literal_test(pattern: str, filters: Filters) -> Callable[[Searchable], bool]:
    """Return a test for whether a literal pattern is in an event, as `conditions` has it.

    Whole words are left to those.
    """
    if not pattern:
        return lambda _: True
    as_written = _is_as_written(pattern, filters)
    ignoring, wanted = ignores_case(pattern, filters), sought(pattern, filters)
    has_spaces = not as_written and " " in wanted

    def is_in(value: str | None) -> bool:
        if value is None:
            return False
        text = value if as_written else alike.alike(value)
        if ignoring:
            text = alike.lower(text)
        return wanted in text or (has_spaces and wanted in alike.spaced(text))

    return lambda event: (
        is_in(event.text) or is_in(event.label) or is_in(event.speaker) or is_in(event.shown_line)
    )


def literal_expression(pattern: str, filters: Filters) -> str:
    """Return a regular expression of Python for where a literal pattern is in a text that is shown."""
    wanted = re.escape(pattern) if _is_as_written(pattern, filters) else alike.expression(pattern)
    if not filters.whole_words:
        return wanted
    word = rf"(?![{alike.UNSPACED_RANGES}])\w"
    begin = "" if alike.is_unspaced(pattern[0]) else rf"(?<!{word})"
    end = "" if alike.is_unspaced(pattern[-1]) else rf"(?!{word})"
    return f"{begin}(?:{wanted}){end}"
