"""Read plain command lines without typer, which takes as long to load as a query of the last minutes.

`read_plainly` gives what typer gives for the same words, or gives up, and then typer reads them: at whatever
is wrong, or seldom written. So all errors are typer's. A property test compares both.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, get_args, get_origin

from vdbevents.cli.declared import REQUIRED, Argument, CommandParameter, declaration_of

_WHOLE: Final = re.compile(r"[0-9]{1,15}")
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


class _UnusualError(ValueError):
    """The words, or the parameters, are not as plain as this reads them."""


class _Plain(NamedTuple):
    """A parameter: what it is set to by the words that name it."""

    name: str
    of_text: Callable[[str], object]
    is_list: bool


def read_plainly(parameters: Iterable[CommandParameter], words: Sequence[str]) -> dict[str, Any] | None:
    """Return the value of each parameter of a command, given the words after its name.

    None means that typer must read them.
    """
    try:
        return _read(parameters, words)
    except ValueError:
        return None


def _read(parameters: Iterable[CommandParameter], words: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    arguments: list[_Plain] = []
    options: dict[str, _Plain] = {}
    flags: dict[str, tuple[str, bool]] = {}
    for parameter in parameters:
        declared = declaration_of(parameter)
        if declared is None or parameter.default is REQUIRED:
            raise _UnusualError
        kind, is_list = _kind_of(parameter.annotation)
        plain = _Plain(parameter.name, partial(_value_of, kind=kind, settings=declared.settings), is_list)
        values[parameter.name] = _default_of(parameter, declared.settings)
        if isinstance(declared, Argument):
            arguments.append(plain)
        elif kind is bool:
            flags |= {form: (plain.name, value) for form, value in _forms_of(parameter, declared.names)}
        else:
            names = declared.names or (f"--{parameter.name.replace('_', '-')}",)
            options |= dict.fromkeys(names, plain)
    given: set[str] = set()
    left = list(reversed(words))
    while left:
        word = left.pop()
        if not word:
            raise _UnusualError
        if word in flags:
            name, values[name] = flags[word]
            _note(name, given)
        elif word.startswith("-") and word != "-":
            plain, text = _option_of(word, options, left)
            _set(plain, text, values, given)
        else:
            plain = next((one for one in arguments if one.is_list or one.name not in given), _NONE)
            _set(plain, word, values, given)
    return values


def _set(plain: _Plain, text: str, values: dict[str, Any], given: set[str]) -> None:
    """Set a parameter to what a text means, or add that to those of a list."""
    value = plain.of_text(text)
    if plain.is_list:
        values[plain.name] = [*(values[plain.name] if plain.name in given else ()), value]
        given.add(plain.name)
    else:
        values[plain.name] = value
        _note(plain.name, given)


def _note(name: str, given: set[str]) -> None:
    if name in given:
        raise _UnusualError
    given.add(name)


def _option_of(word: str, options: Mapping[str, _Plain], left: list[str]) -> tuple[_Plain, str]:
    """Return the option that a word names, and the text of its value: in the word, or the next one."""
    if plain := options.get(word):
        text = left.pop() if left else ""
    elif word.startswith("--"):
        name, _, text = word.partition("=")
        plain = options.get(name)
    else:
        plain, text = options.get(word[:2]), word[2:]
    if plain is None or not text or text[0] in "-=":
        raise _UnusualError
    return plain, text


def _forms_of(parameter: CommandParameter, names: Sequence[str]) -> Iterable[tuple[str, bool]]:
    """Yield the forms of an option without a value, each with what it means."""
    dashed = parameter.name.replace("_", "-")
    for name in names or (f"--{dashed}/--no-{dashed}",):
        on, slash, off = name.partition("/")
        if slash:
            yield on, True
            yield off, False
        elif parameter.default is False:
            yield on, True


def _kind_of(annotation: Any) -> tuple[Any, bool]:  # noqa: ANN401 - any type
    """Return the type of a parameter's value, or of each of its values; and whether it is a list."""
    kind = get_args(annotation)[0]
    if isinstance(kind, UnionType):
        kinds = [one for one in get_args(kind) if one is not NoneType]
        kind = kinds[0] if len(kinds) == 1 else None
    return (get_args(kind)[0], True) if get_origin(kind) is list else (kind, False)


def _default_of(parameter: CommandParameter, settings: Mapping[str, Any]) -> object:
    # typer parses a default, too.
    parse = settings["parser"]
    return parameter.default if parse is None or parameter.default is None else parse(parameter.default)


def _value_of(text: str, kind: Any, settings: Mapping[str, Any]) -> object:  # noqa: ANN401 - any type
    """Return the value that a text has.

    Raises:
        ValueError: it has none, or is seldom written so.
    """
    if settings["parser"] is not None:
        return settings["parser"](text)
    if kind in (int, float):
        return _number(text, kind, settings["min"], settings["max"])
    if kind in (str, Path) or (isinstance(kind, type) and issubclass(kind, Enum)):
        return kind(text)
    raise _UnusualError


def _number(text: str, kind: type[float], least: float | None, most: float | None) -> float:
    if not (_WHOLE if kind is int else _NUMBER).fullmatch(text):
        raise _UnusualError
    value = kind(text)
    if (least is not None and value < least) or (most is not None and value > most):
        raise _UnusualError
    return value


def _refuse(_: str) -> object:
    raise _UnusualError


_NONE: Final = _Plain("", _refuse, is_list=False)
