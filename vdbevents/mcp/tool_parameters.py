"""The parameters of a tool: their JSON schema, and the arguments of a call checked against them. Pure."""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from vdbevents.errors import InputError

Kind = Literal["text", "texts", "number", "seconds", "switch"]
"""What a parameter takes: a text, several, a whole number, a number of seconds, or true and false."""

_TYPES: Final[Mapping[Kind, str]] = {
    "text": "string",
    "texts": "array",
    "number": "integer",
    "seconds": "number",
    "switch": "boolean",
}
_WANTED: Final[Mapping[Kind, str]] = {
    "text": "a text",
    "texts": "a text, or a list of texts",
    "number": "a whole number",
    "seconds": "a number of seconds",
    "switch": "true or false",
}
_SWITCHES: Final = {"true": True, "false": False}
_LONGEST_TEXT: Final = 20_000
_MOST_TEXTS: Final = 50


class Parameter(NamedTuple):
    """A parameter of a tool.

    Attributes:
        name: its name.
        kind: what it takes.
        meaning: for the model that fills it in.
        default: its value where none is given; None for no value.
        least, most: the bounds of a number.
        choices: the only texts that it takes, if there are some.
        required: whether a call must have it.
    """

    name: str
    kind: Kind
    meaning: str
    default: Any = None
    least: float = 0
    most: float = math.inf
    choices: tuple[str, ...] = ()
    required: bool = False

    @property
    def object(self) -> str:
        """Its meaning, as the end of a sentence."""
        return self.meaning[:1].lower() + self.meaning[1:]

    def schema(self) -> dict[str, Any]:
        """Return its JSON schema."""
        schema: dict[str, Any] = {"type": _TYPES[self.kind], "description": self.meaning}
        if self.kind == "texts":
            schema["items"] = {"type": "string"}
            if self.choices:
                schema["items"]["enum"] = list(self.choices)
        elif self.choices:
            schema["enum"] = list(self.choices)
        if self.kind in ("number", "seconds"):
            schema["minimum"] = self.least
            if self.most < math.inf:
                schema["maximum"] = self.most
        if self.default is not None:
            schema["default"] = self.default
        return schema


def schema_of(parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the JSON schema of a tool's arguments."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {parameter.name: parameter.schema() for parameter in parameters},
        "additionalProperties": False,
    }
    if required := [parameter.name for parameter in parameters if parameter.required]:
        schema["required"] = required
    return schema


def checked(tool: str, parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each parameter of a call.

    Models write numbers as texts, one text for a list, and null or an empty text for nothing: all are taken.

    Args:
        tool: the name of the tool, for messages.
        parameters: what it takes.
        given: the arguments of the call.

    Raises:
        InputError: one is unknown, missing, or not what its parameter takes.
    """
    by_name = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in by_name:
            closest = difflib.get_close_matches(name, by_name, 1)
            advice = f"did you mean {closest[0]}? " if closest else ""
            raise InputError(
                f"{tool}: no parameter {name!r}",
                f"{advice}use {', '.join(by_name) or 'none'}",
                error_id="argument-unknown",
            )
    values = {name: _value(tool, parameter, given.get(name)) for name, parameter in by_name.items()}
    for name, parameter in by_name.items():
        if parameter.required and values[name] is None:
            raise InputError(
                f"{tool}: {name} is missing",
                f"give {parameter.object}",
                error_id="argument-missing",
            )
    return values


def _value(tool: str, parameter: Parameter, value: object) -> Any:  # noqa: ANN401 - of the parameter's kind
    if value is None or value in ("", []):
        return parameter.default
    taken = _taken(parameter, value)
    if taken is None:
        raise InputError(
            f"{tool}: {parameter.name}: not {_WANTED[parameter.kind]}, got {_shown(value)}",
            f"give {parameter.object}",
            error_id="argument-invalid",
        )
    for text in taken if isinstance(taken, list) else [taken]:
        if parameter.choices and text not in parameter.choices:
            raise InputError(
                f"{tool}: {parameter.name}: got {_shown(text)}",
                f"use {', '.join(parameter.choices)}",
                error_id="argument-invalid",
            )
    if parameter.kind in ("number", "seconds") and not parameter.least <= taken <= parameter.most:
        most = f" and at most {parameter.most:g}" if parameter.most < math.inf else ""
        raise InputError(
            f"{tool}: {parameter.name}: got {_shown(taken)}",
            f"use at least {parameter.least:g}{most}",
            error_id="argument-out-of-range",
        )
    return taken


def _taken(parameter: Parameter, value: object) -> Any:  # noqa: ANN401, PLR0911 - of the parameter's kind
    """Return a value as the parameter has it; None if it cannot be one."""
    match parameter.kind, value:
        case "text", str() if len(value) <= _LONGEST_TEXT:
            return value
        case "text", int() | float() if not isinstance(value, bool):
            return str(value)
        case "texts", str() if len(value) <= _LONGEST_TEXT:
            return [value]
        case "texts", list() if len(value) <= _MOST_TEXTS:
            fit = all(isinstance(text, str) and len(text) <= _LONGEST_TEXT for text in value)
            return [text for text in value if text] if fit else None
        case "switch", bool():
            return value
        case "switch", str():
            return _SWITCHES.get(value.lower())
        case "number" | "seconds", int() | float() | str() if not isinstance(value, bool):
            return _number(value, is_whole=parameter.kind == "number")
    return None


def _number(value: float | str, *, is_whole: bool) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    if not is_whole:
        return number
    return int(number) if number == int(number) else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - a line
