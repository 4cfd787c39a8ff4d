"""Check values in requests and faults. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Json = dict[str, Any]
_Kind = TypeVar("_Kind")


class ApiError(ValueError):
    """A refused request: `{"success": false, "message", "error_code"}` with this HTTP status."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = status.name


@dataclass(frozen=True, slots=True)
class RequestField:
    """A rule for a value, as text and as a check. None and a missing value are the same."""

    needs: str
    fits: Callable[[Any], bool]
    is_required: bool = False

    @property
    def required(self) -> RequestField:
        """Return the same field, with a value needed."""
        return replace(self, is_required=True)


TEXT: Final = RequestField("a text", lambda value: isinstance(value, str))
NAME: Final = RequestField("a non-empty text", lambda value: isinstance(value, str) and value != "").required
FLAG: Final = RequestField("true or false", lambda value: isinstance(value, bool))
OBJECT: Final = RequestField("an object", lambda value: isinstance(value, dict))
ANY: Final = RequestField("any value", lambda _: True)
UNIX_TIME: Final = RequestField("a Unix time in seconds", lambda value: isinstance(value, (int, float)))


def number(least: float = 0, most: float = inf) -> RequestField:
    """Return a field for numbers in a range; bools and NaN are not numbers."""
    return RequestField(
        f"a number{_span(least, most)}",
        lambda value: (
            isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most
        ),
    )


def whole(least: float = 0, most: float = inf) -> RequestField:
    """Return a field for whole numbers in a range."""
    return RequestField(
        f"a whole number{_span(least, most)}", lambda value: type(value) is int and least <= value <= most
    )


def one_of(*choices: str) -> RequestField:
    """Return a field for one of these texts."""
    return RequestField(
        f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices
    )


def list_of(field: RequestField) -> RequestField:
    """Return a field for lists whose items fit another field."""
    return RequestField(
        f"a list; each item {field.needs}",
        lambda value: isinstance(value, list) and all(map(field.fits, value)),
    )


@dataclass(frozen=True, slots=True)
class RestCall:
    """A request to a REST endpoint: `call["id"]` is a part of its path."""

    parts: Mapping[str, str]
    query: Mapping[str, str]
    body: Json

    def __getitem__(self, name: str) -> str:
        return self.parts[name]


def invalid(message: str) -> ApiError:
    """Return the error for a request that makes no sense (400)."""
    return ApiError(HTTPStatus.BAD_REQUEST, message)


def find(known: Mapping[str, _Kind], wanted: str, subject: str) -> _Kind:
    """Return an entry by its id; raise 404 when there is none."""
    try:
        return known[wanted]
    except KeyError:
        raise ApiError(HTTPStatus.NOT_FOUND, f"There is no {subject} {wanted!r}.") from None


def read(
    values: Mapping[str, Any], name: str, field: RequestField, default: object = None, subject: str = ""
) -> Any:  # noqa: ANN401
    """Return one checked value, or the default when it is missing; raise 400 when it does not fit."""
    value = values.get(name)
    if value is None and not field.is_required:
        return default
    if not field.fits(value):
        raise invalid(f"{subject}{name}: must be {field.needs}, got {value!r}")
    return value


def optional_text(values: Mapping[str, Any], name: str) -> str | None:
    """Return a text, or None when it is missing or empty."""
    return read(values, name, TEXT) or None


def read_number(
    query: Mapping[str, Any], name: str, field: RequestField, default: float | None = None
) -> Any:  # noqa: ANN401
    """Return one number of a query string, where numbers are texts."""
    value = query.get(name)
    if isinstance(value, str):
        try:
            value = int(value) if field.needs.startswith("a whole") else float(value)
        except ValueError:
            value = query[name]
    return read({name: value}, name, field, default)


def check_all(values: Mapping[str, Any], fields: Mapping[str, RequestField], subject: str = "") -> Json:
    """Return the values that are given, each checked; raise 400 for an unknown, missing or unfit one."""
    for name in values:
        if name not in fields:
            raise invalid(f"{subject}{name}: not an option, use {', '.join(fields) or 'none'}")
    checked = {name: read(values, name, field, subject=subject) for name, field in fields.items()}
    return {
        name: value
        for name, value in checked.items()
        if value is not None or (name in values and fields[name].fits(None))
    }


def _span(least: float, most: float) -> str:
    bounds = [f" from {least:g}"] if least > -inf else []
    return "".join([*bounds, f" to {most:g}"] if most < inf else bounds)
