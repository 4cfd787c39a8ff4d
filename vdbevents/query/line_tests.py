"""Tests on the bytes of a line that tell, without parsing it, that its event cannot match. Pure.

A line that they leave need not match.
"""

import re
from collections.abc import Callable, Collection
from typing import Final

from vdbevents.query.filters import ALIASES
from vdbevents.times import Window


def _unlike(text: str) -> str:
    """Return a regular expression for what does not begin with `text`, whose spaces are optional."""
    if text[0] == " ":
        return f" ?(?:[^ {text[1]}]|{text[1]}{_unlike(text[2:])})"
    return f"(?:[^{text[0]}]{f'|{text[0]}{_unlike(text[1:])}' if len(text) > 1 else ''})"


# The line about a gap is written after its end, so the recorder's own lines are kept whatever their time.
_NOT_OURS: Final = _unlike(' "channel": "vd')


def received_outside(window: Window) -> str:
    """Return a regular expression for lines whose head has a time outside `window`; empty without one.

    It compares whole seconds digit by digit, with one to spare for rounding, on heads as listeners write
    them: `{"ts":"...","unix_ts":1772446530.123,`. Other lines, and the recorder's own, do not match.
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


STAMPED_AGAIN: Final = r"""line LIKE '%x_ts"%x_ts"%' OR contains(line, '\u00')"""
"""SQL for whether a line may have a second time of receipt after that of its head: the last one counts."""


def may_be_stamped_again(line: bytes) -> bool:
    """Return the same of a line."""
    return line.count(b'x_ts"') > 1 or b"\\u00" in line


# A number with more digits is in milliseconds, or smaller units.
_SECONDS_DIGITS: Final = 11

_USUAL_HEAD: Final = (
    r'^\{"ts":"[^"\\]*","unix_ts":[0-9.]+,"channel":"(?:transcript|visual_index|audio_index|scene_index)",'
    r'(?:"rtstream_id":"[^"\\]*",)?(?:"rtstream_name":"[^"\\]*",)?'
    r'"data":\{"text":"[^"\\]*(?:\\.[^"\\]*)*",(?:"is_final":(?:true|false),)?'
)

# Of a line without an escape and with two closing braces, which end it, the end is that of the only object in
# it. Where that is `data`, and no other name in the line ends as `start` does, the number before `end` is the
# start. To look for a text takes a third of the time of a pattern, and that a fraction of what a regular
# expression takes; but one that is anchored at the end reads only that.
_IS_SIMPLE: Final = """NOT contains(line, '\\') AND NOT line LIKE '%}%}%}%'
    AND contains(line, '"data":{') AND NOT line LIKE '%rt":%rt":%' AND NOT contains(line, 'vdbevents')"""


_LEAST_USUAL_MS: Final = 10**12
_MOST_USUAL_MS: Final = 10**13


def happened_outside(window: Window) -> str:
    """Return a regular expression for lines whose event has a start outside `window`; empty without one.

    It compares Unix milliseconds digit by digit, on whole lines as a listener writes usual ones.
    """
    before, after = _usual_before(window.since_ms), _usual_after(window.until_ms)
    numbers = [*before, *after]
    return rf'{_USUAL_HEAD}"start":(?:{"|".join(numbers)}),"end":[0-9]+\}}\}}$' if numbers else ""


def happened_beside(first: int, last: int) -> str:
    """Return a regular expression for lines whose event was over before `first`, or began after `last`.

    Both are Unix ms; it is as that of `happened_outside`.
    """
    ends = []
    if before := "|".join(_usual_before(first)):
        ends.append(rf'"start":(?:{before}),"end":(?:{before})')
    if after := "|".join(_usual_after(last + 1)):
        ends.append(rf'"start":(?:{after}),"end":[0-9]+')
    return rf"{_USUAL_HEAD}(?:{'|'.join(ends)})\}}\}}$" if ends else ""


def over_before(moment_ms: int) -> Callable[[bytes], bool] | None:
    """Return what returns whether a line was received, and its event was over, before a time in Unix ms.

    It does so only of usual lines, and they may name a session or a stream. None if it could do so of none.
    """
    received, happened = received_outside(Window(moment_ms)), happened_beside(moment_ms, _MOST_USUAL_MS)
    if not (received and happened):
        return None
    was_received, was_over = line_test(received), line_test(happened)
    return lambda line: was_received(line) and was_over(line) and not may_be_stamped_again(line)


_LONGEST_END: Final = 64
_BRACES: Final = 2


def line_test(expression: str) -> Callable[[bytes], bool]:
    """Return what returns whether a line in braces matches one of these regular expressions.

    As `condition` has it: of a simple line it looks at the end alone.
    """
    matches = re.compile(expression.encode()).match
    if not expression.startswith(_USUAL_HEAD):
        return lambda line: matches(line) is not None
    ends_so = re.compile(expression.removeprefix(_USUAL_HEAD).encode()).search

    def test(line: bytes) -> bool:
        # As `_IS_SIMPLE` has it; a braced line has one brace that closes at least.
        is_simple = (
            b"\\" not in line
            and line.count(b"}") <= _BRACES
            and b'"data":{' in line
            and line.count(b'rt":') == 1
            and b"vdbevents" not in line
        )
        return (ends_so(line[-_LONGEST_END:]) if is_simple else matches(line)) is not None

    return test


def _usual_before(moment_ms: int | None) -> list[str]:
    # Of numbers with fewer digits, the first of those below, it is not certain that they are milliseconds.
    return _below(str(moment_ms))[1:] if _is_usual(moment_ms) else []


def _usual_after(moment_ms: int | None) -> list[str]:
    return _above(str((moment_ms or 0) - 1)) if _is_usual(moment_ms) else []


def _is_usual(moment_ms: int | None) -> bool:
    return moment_ms is not None and _LEAST_USUAL_MS < moment_ms < _MOST_USUAL_MS


def condition(expression: str) -> str:
    """Return SQL for whether `line` matches one of these regular expressions."""
    if not expression.startswith(_USUAL_HEAD):
        return f"regexp_matches(line, '{expression}')"
    end = expression.removeprefix(_USUAL_HEAD)
    return f"""CASE WHEN {_IS_SIMPLE} THEN regexp_matches(line, '{end}')
        ELSE regexp_matches(line, '{expression}') END"""


def names_of(channels: Collection[str]) -> str:
    """Return a condition on raw lines that holds for all events of some channels; empty if there is none."""
    wanted = {ALIASES.get(channel, channel) for channel in channels}
    names = wanted | {alias for alias, channel in ALIASES.items() if channel in wanted}
    # An alert may be without a name, and a name that is not plain may be written in several ways.
    if not names or "alert" in names or not all(re.fullmatch("[a-z_]+", name) for name in names):
        return ""
    return " OR ".join([*(f"contains(line, '{name}')" for name in sorted(names)), "contains(line, '\\u')"])


def _below(number: str) -> list[str]:
    """Return regular expressions for the natural numbers less than `number`."""
    shorter = [f"[0-9]{{1,{len(number) - 1}}}"] if len(number) > 1 else []
    return shorter + [
        f"{number[:place]}[0-{int(digit) - 1}][0-9]{{{len(number) - place - 1}}}"
        for place, digit in enumerate(number)
        if digit != "0"
    ]


def _above(number: str) -> list[str]:
    """Return regular expressions for the natural numbers greater than `number`, if they are seconds."""
    longer = [f"[1-9][0-9]{{{len(number)},{_SECONDS_DIGITS - 1}}}"] if len(number) < _SECONDS_DIGITS else []
    return longer + [
        f"{number[:place]}[{int(digit) + 1}-9][0-9]{{{len(number) - place - 1}}}"
        for place, digit in enumerate(number)
        if digit != "9"
    ]
