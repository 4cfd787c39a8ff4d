"""A user's own expressions, in RE2's syntax.

RE2 takes time proportional to the text, whatever the expression: none can make the listener hang. Pure.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vdbevents.errors import InputError
from vdbevents.privacy.number_forms import Span

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_MOST: Final = 100
_LONGEST: Final = 1000


def check_name(name: str) -> None:
    """Check the name of an expression, which is in its marks.

    Raises:
        ValueError: it is not one.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"a name has the letters a to z, digits, - and _, at most 40, got {name!r}")


def compile_all(expressions: Mapping[str, str]) -> dict[str, Any]:
    """Compile expressions, by their names.

    Raises:
        ValueError: one is wrong, or there are too many.
        InputError: the library `re2` is not installed.
    """
    if len(expressions) > _MOST:
        raise ValueError(f"at most {_MOST} expressions, got {len(expressions)}")
    return {name: compile_one(name, expression) for name, expression in expressions.items()}


def compile_one(name: str, expression: str) -> Any:  # noqa: ANN401 - a pattern of re2
    """Compile an expression.

    Raises:
        ValueError: its name or itself is wrong.
        InputError: the library `re2` is not installed.
    """
    check_name(name)
    if len(expression) > _LONGEST:
        raise ValueError(f"{name}: at most {_LONGEST} characters, got {len(expression)}")
    try:
        import re2
    except ImportError:
        raise InputError(
            f"redact.expressions: {name}: own expressions need google-re2, which is not installed",
            "install it with: pip install 'vdbevents[expressions]'",
            error_id="expressions-unavailable",
        ) from None
    options = re2.Options()
    # It would write to stderr by itself.
    options.log_errors = False
    try:
        pattern = re2.compile(expression, options)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{name}: not an expression: {text}, got {expression!r}") from None
    if pattern.search("") is not None:
        raise ValueError(f"{name}: matches an empty text, and so everything, got {expression!r}")
    return pattern


def find(pattern: Any, text: str) -> Iterator[Span]:  # noqa: ANN401 - a pattern of re2
    """Yield what an expression finds in a text. Half a surrogate pair reads as U+FFFD."""
    encodable = text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if len(encodable) != len(text):  # pairs of halves became characters: their places are not known
        encodable = text.encode("utf-8", "replace").decode("utf-8")
    for match in pattern.finditer(encodable):
        if match.end() > match.start():
            yield Span(*match.span())
