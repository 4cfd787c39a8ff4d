"""Declare options and arguments without typer, which takes longer to load than most commands take to run.

    limit: Annotated[int | None, Option("-n", "--limit", min=0, help="The newest N only.")] = None

`cli/app.py` hands the declarations of a command on to typer: help, completion and errors come from there.
`cli/plain_words.py` reads plain command lines by the same declarations.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple


class InvalidValueError(ValueError):
    """What the parser of an option raises: its text says what is wrong with the value."""


class Declaration:
    """What is said of a parameter, after its type in `Annotated`.

    Attributes:
        names: those of an option; without any it has the name of its parameter.
        settings: the keyword arguments for typer's class of the same name.
    """

    def __init__(
        self,
        *names: str,
        metavar: str | None = None,
        help: str | None = None,  # noqa: A002 - these are typer's names
        show_default: bool | str = True,
        hidden: bool = False,
        min: float | None = None,  # noqa: A002
        max: float | None = None,  # noqa: A002
        parser: Callable[[Any], Any] | None = None,
    ) -> None:
        """Take what typer's class takes; a parser raises `InvalidValueError`."""
        self.names = names
        self.settings: dict[str, Any] = {
            "metavar": metavar,
            "help": help,
            "show_default": show_default,
            "hidden": hidden,
            "min": min,
            "max": max,
            "parser": parser,
        }


class Option(Declaration):
    """Declare an option."""


class Argument(Declaration):
    """Declare an argument."""


REQUIRED: Final = object()
"""The default of a parameter that must be given."""


class CommandParameter(NamedTuple):
    """A parameter of a command, as `inspect` has it, which takes as long to load as typer's parser."""

    name: str
    annotation: Any
    default: Any


def parameters_of(command: Callable[..., Any]) -> list[CommandParameter]:
    """Return the parameters of a command, with those of its option groups."""
    expanded: list[CommandParameter] | None = getattr(command, "parameters", None)
    if expanded is not None:
        return expanded
    code = command.__code__
    named, last = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    positional = command.__defaults__ or ()
    defaults = dict(zip(code.co_varnames[named - len(positional) : named], positional, strict=True))
    defaults |= command.__kwdefaults__ or {}
    return [
        CommandParameter(name, command.__annotations__.get(name), defaults.get(name, REQUIRED))
        for name in code.co_varnames[:last]
    ]


def declaration_of(parameter: CommandParameter) -> Declaration | None:
    """Return what is declared of a parameter; None if nothing is."""
    of_it = getattr(parameter.annotation, "__metadata__", ())
    return next((one for one in of_it if isinstance(one, Declaration)), None)
