"""What a check of the machine, the account or the state directory found out. Pure."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """One result of a check.

    Attributes:
        message: what is so.
        hint: what to do; empty if there is nothing to do.
    """

    severity: Severity
    message: str
    hint: str = ""


class Check(NamedTuple):
    """Something to find out.

    Attributes:
        name: in one or two words.
        run: returns what was found; may raise, and may hang.
    """

    name: str
    run: Callable[[], Finding | Iterable[Finding]]


def ok(message: str) -> Finding:
    """Return a finding that needs nothing to be done."""
    return Finding(Severity.OK, message)


def warning(message: str, hint: str = "") -> Finding:
    """Return a finding that may cost events, or tells less than it should."""
    return Finding(Severity.WARNING, message, hint)


def error(message: str, hint: str = "") -> Finding:
    """Return a finding that prevents a recording."""
    return Finding(Severity.ERROR, message, hint)
