"""A tool as a model sees it, and its answer: a text and structured data, each complete on its own. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from vdbevents.mcp.quoting import NOTICE
from vdbevents.mcp.tool_parameters import Parameter
from vdbevents.query.output.budget import Bound

USUAL_TOKENS: Final = 1500
"""The bound of an answer for which none is given."""

MOST_TOKENS: Final = 20_000
"""The bound that no call can pass: more is cut off, or put into a file, by common clients."""

LEAST_TOKENS: Final = 200

BOUND: Final = Parameter(
    "max_tokens",
    "number",
    "The most tokens of the answer.",
    USUAL_TOKENS,
    LEAST_TOKENS,
    MOST_TOKENS,
)


class ToolAnswer(NamedTuple):
    """What a tool answers: clients hand on the text or the data, so each has all of it.

    Attributes:
        text: for a model that gets text.
        data: the same as JSON, with times in UTC.
    """

    text: str
    data: dict[str, Any]


class Reporting(Protocol):
    """What a tool may do while it runs."""

    def progress(self, done: float, total: float, message: str) -> None:
        """Report how far it is."""

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""


class Tool(NamedTuple):
    """A tool.

    Attributes:
        name: as a model calls it.
        title: for a person.
        description: when to use it, and what it costs.
        parameters: what it takes.
        output: the JSON schema of `ToolAnswer.data`.
        run: answers a call with the values of all parameters; it may raise `VdbeventsError`.
        is_read_only: whether it changes nothing.
        is_local: whether it asks nothing but this machine.
    """

    name: str
    title: str
    description: str
    parameters: tuple[Parameter, ...]
    output: Mapping[str, Any]
    run: Callable[[Mapping[str, Any], Reporting], ToolAnswer]
    is_read_only: bool = True
    is_local: bool = True


def bound_of(values: Mapping[str, Any]) -> Bound:
    """Return the bound that a call asks for."""
    return Bound(tokens=int(values[BOUND.name]))


# The parts of a schema.

TEXT: Final = {"type": "string"}
TEXT_OR_NULL: Final = {"type": ["string", "null"]}
WHOLE: Final = {"type": "integer"}
NUMBER_OR_NULL: Final = {"type": ["number", "null"]}
SWITCH: Final = {"type": "boolean"}


def object_of(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of an object."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required)}


def list_of(items: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": dict(items)}


def output_of(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of an answer, which begins with the notice on quoted data."""
    return object_of({"notice": TEXT, **required}, optional)


def noticed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data with the notice before it."""
    return {"notice": NOTICE, **data}
