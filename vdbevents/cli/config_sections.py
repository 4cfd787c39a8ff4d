"""The tables of the configuration that belong to no command: what is recorded, and for how long.

A mistake in one of them stops the commands that follow it: a listener must not run without its rules.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple


class SectionKey(NamedTuple):
    """A key of a section.

    Attributes:
        default: decides the type, too: true or false, a text, a list of texts, or a table of texts.
        check: raises ValueError for a value of the right type that is wrong.
    """

    default: bool | str | Sequence[str] | Mapping[str, str]
    check: Callable[[Any], object] = lambda _: None


class Section(NamedTuple):
    """A table of the configuration.

    Attributes:
        keys: by their names, with dashes.
        commands: those that a mistake in it stops.
    """

    keys: Mapping[str, SectionKey]
    commands: tuple[tuple[str, ...], ...]


NEVER: Final = "never"
"""The retention of a channel that is kept for ever."""

_LONGEST_CHANNEL: Final = 100
_RECORDERS: Final = (("listen",), ("backend",), ("capture",), ("demo",))


def _check_expressions(expressions: Mapping[str, str]) -> None:
    from vdbevents.errors import InputError
    from vdbevents.privacy.expressions import compile_all

    try:
        compile_all(expressions)
    except InputError as error:
        raise ValueError(f"{error.message}; {error.hint}") from None


def _check_sources(sources: Sequence[str]) -> None:
    from vdbevents.events.fields import SOURCE_WORDS

    for source in sources:
        if source not in SOURCE_WORDS:
            raise ValueError(f"must have sources of {', '.join(SOURCE_WORDS)}, got {source!r}")


def _check_hours(hours: Sequence[str]) -> None:
    from vdbevents.privacy.exclusion import parse_hours

    for text in hours:
        parse_hours(text)


def _check_names(names: Sequence[str]) -> None:
    from vdbevents.privacy.exclusion import check_phrase

    for name in names:
        check_phrase(name)


def _check_age(age: str) -> None:
    retention_age(age)


def _check_ages(ages: Mapping[str, str]) -> None:
    for channel, age in ages.items():
        if not channel or len(channel) > _LONGEST_CHANNEL:
            raise ValueError(f"{channel!r} is not a channel, such as visual_index")
        retention_age(age)


def retention_age(age: str) -> int | None:
    """Return how long events are kept, in ms; None for ever.

    Raises:
        ValueError: it is neither empty, nor `never`, nor a duration.
    """
    from vdbevents.errors import InputError
    from vdbevents.times import DURATION_FORMS, parse_duration

    if age in ("", NEVER):
        return None
    try:
        return parse_duration("", age)
    except InputError:
        raise ValueError(f"must be {NEVER}, or a duration: {DURATION_FORMS}, got {age!r}") from None


_NAMES: Final = SectionKey((), _check_names)

SECTIONS: Final[Mapping[str, Section]] = {
    "redact": Section(
        {
            **{kind: SectionKey(default=True) for kind in ("api-key", "token", "private-key", "card")},
            **{kind: SectionKey(default=False) for kind in ("iban", "email", "phone")},
            "expressions": SectionKey({}, _check_expressions),
        },
        (*_RECORDERS, ("redact",)),
    ),
    "retention": Section(
        {"older-than": SectionKey("", _check_age), "channels": SectionKey({}, _check_ages)},
        (("listen",), ("prune",)),
    ),
    "exclude": Section(
        {
            "sources": SectionKey((), _check_sources),
            **dict.fromkeys(("windows", "apps", "words"), _NAMES),
            "hours": SectionKey((), _check_hours),
        },
        _RECORDERS,
    ),
}


def checked(key: SectionKey, raw: object, *, typed: bool) -> Any:  # noqa: ANN401 - of the key's type
    """Return the value of a key.

    Args:
        key: the key.
        raw: the value as TOML has it, or the text of a variable.
        typed: whether it comes from TOML.

    Raises:
        ValueError: it is wrong.
    """
    value = raw if typed else _from_text(key, str(raw))
    is_right, expected = _has_type(key, value)
    if not is_right:
        raise ValueError(f"must be {expected}")
    key.check(value)
    return value


def _has_type(key: SectionKey, value: object) -> tuple[bool, str]:
    """Return whether a value has the type of a key, and what that is."""
    if isinstance(key.default, bool):
        return isinstance(value, bool), "true or false"
    if isinstance(key.default, str):
        return isinstance(value, str), "text in quotes"
    if isinstance(key.default, Mapping):
        texts = value.values() if isinstance(value, dict) else [None]
        return all(isinstance(text, str) for text in texts), 'a table of texts, such as name = "text"'
    items = value if isinstance(value, list) else [None]
    return all(isinstance(text, str) for text in items), 'a list of texts, such as ["text"]'


def _from_text(key: SectionKey, text: str) -> object:
    if isinstance(key.default, bool):
        words = {"1": True, "true": True, "yes": True, "on": True}
        words |= {"0": False, "false": False, "no": False, "off": False}
        return words.get(text.strip().lower())
    if isinstance(key.default, str):
        return text
    return [line for line in text.split("\n") if line] if not isinstance(key.default, Mapping) else text
