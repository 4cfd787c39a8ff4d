"""Options that several commands share, each declared once.

A command takes a whole group of them as one parameter, annotated with a subclass of `OptionGroup`:

    @reports
    def streams(*, options: SessionArgumentOptions) -> ExitCode:
        service, state = begin(options)

`reports` replaces that parameter by the group's fields before the signature is read, so help, completion and
configuration see ordinary options. Options that only some commands of a group have (`--stream`) are
aliases: `stream: StreamOption = None`.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, TextIO, TypeVar, dataclass_transform

from vdbevents.cli.declared import (
    REQUIRED,
    Argument,
    CommandParameter,
    InvalidValueError,
    Option,
    declaration_of,
    parameters_of,
)
from vdbevents.cli.diagnostics import Color, Diagnostics, LogFormat, is_terminal, wants_colour
from vdbevents.cli.surroundings import locate
from vdbevents.errors import InputError, options_conflict

if TYPE_CHECKING:
    from vdbevents.cloud import Credentials
    from vdbevents.journal.state import StateDirectory
    from vdbevents.query.output.budget import Bound

KEY_FILE_NAME: Final = "api-key"
"""The name of the file that the key is looked for in, beside the configuration."""

_Diagnostics = TypeVar("_Diagnostics", bound=Diagnostics)
_Format = TypeVar("_Format", bound=StrEnum)
_Result = TypeVar("_Result")

AllowControlOption = Annotated[
    bool, Option("--allow-control", help="Add tools that pause and resume the recording.")
]
ColorOption = Annotated[Color, Option(help="When to use colour.")]
FormulasOption = Annotated[
    bool,
    Option("--no-formulas", help="csv: put ' before texts that a spreadsheet would take for formulas."),
]
JsonOption = Annotated[bool, Option("--json", help="Print JSON, with times in UTC; also: -o json.")]
AsJsonOption = Annotated[bool, Option("--json", help="Print JSON, with times in UTC: -o json.")]
StreamOption = Annotated[
    str | None, Option(metavar="ID|NAME|SOURCE", help="Such as rts-1, mic:default, or screen.")
]
CacheOption = Annotated[
    bool, Option(help="Use and extend the query cache; --no-cache reads the whole journal.")
]
ArchivedOption = Annotated[
    bool, Option("--archived", help="Also read journals that listen --clear archived.")
]
LowPriorityOption = Annotated[bool, Option("--low-priority", help="Run with the lowest CPU priority.")]


def seconds(least: float) -> Callable[[Any], float]:
    """Return what reads an option of a length of time: seconds as such, or a duration such as `5m`.

    Args:
        least: the shortest one, in seconds.
    """

    def seconds_of(value: Any) -> float:  # noqa: ANN401 - a text, or the default
        try:
            number = float(value)
        except ValueError:
            from vdbevents.times import is_duration, parse_duration

            if not is_duration(value):
                raise InvalidValueError(f"neither seconds nor a duration such as 5m: {value!r}") from None
            number = parse_duration("", value) / 1000
        if number < least:
            raise InvalidValueError(f"{value!r} is less than {least:g} seconds")
        return number

    return seconds_of


TimeoutOption = Annotated[
    float,
    Option(
        parser=seconds(0.1),
        metavar="SECONDS",
        help="Overall timeout, or 5m; transient errors are retried within it.",
    ),
]
WsIdOption = Annotated[
    str | None,
    Option(
        metavar="ID",
        help="WebSocket connection to send events to.",
        show_default="that of the listener in the state directory",
    ),
]


@dataclass_transform(kw_only_default=True)
class OptionGroup:
    """A set of options that a command takes as one parameter; subclasses declare them like a dataclass.

    (Those of `dataclasses` take 2 ms more to define, of the 60 that a command needs to start.)
    In the help, a subclass's own options stand before those of its base.
    """

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - of each option's type
        """Set the options that are given; the others have their defaults.

        Raises:
            InputError: two of them contradict each other.
        """
        vars(self).update(values)
        self.settle()

    def settle(self) -> None:
        """Bring options that are two forms of one into one; a subclass that has some extends it.

        Raises:
            InputError: they contradict each other.
        """

    def replace(self, **values: Any) -> Self:  # noqa: ANN401 - of each option's type
        """Return the same options but for the given ones."""
        options = {option.name: getattr(self, option.name) for option in self.parameters()}
        return type(self)(**{**options, **values})

    @classmethod
    def parameters(cls) -> Iterator[CommandParameter]:
        """Yield the parameters that declare the group's options."""
        annotations: dict[str, Any] = {}
        for base in cls.__mro__:
            for name, annotation in vars(base).get("__annotations__", {}).items():
                # A subclass's declaration counts, in the place of its base's.
                annotations[name] = annotations.pop(name, annotation)
        for name, annotation in annotations.items():
            yield CommandParameter(name, annotation, getattr(cls, name, REQUIRED))


def words_of(*groups: OptionGroup) -> list[str]:
    """Return the words of a command line that sets these options: those that are not at their defaults."""
    words: list[str] = []
    for group in groups:
        for option in group.parameters():
            value = getattr(group, option.name)
            if value is not None and value != option.default:
                words += _words(option, value)
    return words


def _words(option: CommandParameter, value: object) -> list[str]:
    declared = declaration_of(option)
    if declared is None or isinstance(declared, Argument):
        return [str(value)]
    names = (*declared.names, f"--{option.name.replace('_', '-')}")
    flag = next(name for name in names if name.startswith("--"))
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    texts = [str(one) for one in (value if isinstance(value, list) else [value])]
    # A text that looks like an option is one with its name only.
    return [word for text in texts for word in ([f"{flag}={text}"] if text.startswith("-") else [flag, text])]


def expand_groups(command: Callable[..., _Result]) -> Callable[..., _Result]:
    """Return a command that takes an option for each field of the option groups in its signature."""
    parameters: list[CommandParameter] = []
    groups: dict[str, tuple[type[OptionGroup], list[str]]] = {}
    for parameter in parameters_of(command):
        kind = parameter.annotation
        if isinstance(kind, type) and issubclass(kind, OptionGroup):
            options = list(kind.parameters())
            groups[parameter.name] = kind, [option.name for option in options]
            parameters += options
        else:
            parameters.append(parameter)
    if not groups:
        return command

    @functools.wraps(command)
    def expanded(*arguments: Any, **values: Any) -> _Result:  # noqa: ANN401 - any command's
        for name, (group, options) in groups.items():
            values[name] = group(**{option: values.pop(option) for option in options})
        return command(*arguments, **values)

    expanded.parameters = parameters  # type: ignore[attr-defined]
    return expanded


class JsonOutput(StrEnum):
    """The output formats of a command that has no others."""

    TEXT = "text"
    JSON = "json"


class JsonOptions(OptionGroup):
    """The output of a command that prints text or JSON: `--json`, or `-o json` as in `query`."""

    as_json: JsonOption = False
    output: Annotated[
        JsonOutput | None, Option("-o", "--output", hidden=True, help="json: the same as --json.")
    ] = None

    def settle(self) -> None:
        """Take `-o json` for `--json`."""
        super().settle()
        self.as_json = self.as_json or self.output is JsonOutput.JSON

    def as_text_for(self, stream: TextIO) -> bool:
        """Return whether to print text where the default depends on the reader: it is for a terminal."""
        return not self.as_json and (self.output is JsonOutput.TEXT or is_terminal(stream))


class FormatOptions(OptionGroup):
    """The output of a command with several formats, of which `--json` names one: its options declare both."""

    if TYPE_CHECKING:
        output: StrEnum
        as_json: bool

    def settle(self) -> None:
        """Take `--json` for `-o json`.

        Raises:
            InputError: another format is given, too.
        """
        super().settle()
        if self.as_json:
            self.output = json_format(self.output, type(self).output)
            self.as_json = False  # a command that shows more says it once


class EnvironmentOptions(OptionGroup):
    """The options of every command that reads settings."""

    env_file: Annotated[
        Path | None, Option(metavar="FILE", help="Read settings from this file instead of ./.env.")
    ] = None
    cwd: Annotated[Path | None, Option(metavar="PATH", help="Read the .env of this directory instead.")] = (
        None
    )

    @cached_property
    def environ(self) -> dict[str, str]:
        """The environment; what it does not set is taken from a `.env` file.

        Raises:
            InputError: the file or the directory does not exist, or cannot be read.
        """
        if self.env_file is not None and not self.env_file.is_file():
            raise InputError(
                f"--env-file: no such file, got {self.env_file}",
                "name an existing file",
                error_id="env-file-missing",
            )
        if self.cwd is not None and not self.cwd.is_dir():
            raise InputError(
                f"--cwd: no such directory, got {self.cwd}",
                "name an existing directory",
                error_id="cwd-missing",
            )
        path = self.env_file or (self.cwd or Path()) / ".env"
        if not path.is_file():
            return dict(os.environ)
        from dotenv import dotenv_values

        try:
            values = dotenv_values(path, interpolate=False, encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            message = f"cannot read {path}: {error}"
            raise InputError(
                message, "make it a readable UTF-8 file", error_id="env-file-unreadable"
            ) from None
        if self.env_file is None:
            # A folder that somebody else has filled must not name a program to run.
            values.pop("VDBEVENTS_CAPTURE_RUNTIME", None)
        return {**{name: value for name, value in values.items() if value is not None}, **os.environ}

    def service_address(self, secret: str, *, from_file: bool) -> str:
        """Return the service's address.

        Args:
            secret: what will be sent there, as a message names it.
            from_file: whether it is from the `.env`, too, if it is from one.

        Raises:
            InputError: the address is malformed; or a `.env` that nobody named changes it, and the secret is
                not from there.
        """
        from vdbevents import cloud

        address = cloud.base_url_from(self.environ)
        if self.env_file is None and not from_file and address != cloud.base_url_from(os.environ):
            path, target = (self.cwd or Path()) / ".env", cloud.shown_address(address)
            raise InputError(
                f"{path}: {secret}, which is not from there, would be sent to {target}",
                f"if you trust it, name it: --env-file {path}",
                error_id="env-file-redirects",
            )
        return address

    def state_at(self, directory: Path | None) -> "StateDirectory":
        """Return the state directory that an argument names, else the environment."""
        from vdbevents.journal.state import home_directory, locate_state

        return locate_state(directory, self.environ, home_directory())

    def journal_at(
        self, path: Path | None, *, hint: str = "name a state directory, or the file of a journal"
    ) -> Path:
        """Return the journal that an argument names (a file or a state directory), else the environment.

        Args:
            path: the argument.
            hint: what to do if nothing has this name.

        Raises:
            InputError: there is no such journal.
        """
        if path is not None and path.is_file():
            return path
        state = self.state_at(path)
        journal = state.journal
        if journal.is_file():
            return journal
        if path is not None and not path.exists():
            raise InputError(f"{path}: no such directory or file", hint, error_id="path-missing")
        raise InputError(
            f"no journal in {journal.parent}",
            "name a state directory, or the file of a journal"
            if state.is_foreign
            else f"record one with: vdbevents listen {journal.parent}, or name another directory",
            error_id="journal-missing",
        )

    def as_arguments(self) -> list[str]:
        """Return these options for the command line of another process, which may run elsewhere."""
        file = [] if self.env_file is None else [f"--env-file={self.env_file.absolute()}"]
        return [f"--cwd={(self.cwd or Path()).absolute()}", *file]


class KeyOptions(EnvironmentOptions):
    """The options of every command that needs the API key."""

    key_file: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Read the API key from this file, which nobody else may be able to read.",
            show_default="VIDEO_DB_API_KEY, else api-key beside config.toml, else the system's keyring",
        ),
    ] = None

    @property
    def usual_key_file(self) -> Path | None:
        """The file `api-key` beside the configuration, if it is there."""
        configuration = locate(os.environ)
        file = configuration.with_name(KEY_FILE_NAME) if configuration else None
        return file if file is not None and file.exists() else None

    @property
    def chosen_key_file(self) -> Path | None:
        """The file to take the key from; None for the environment, or the keyring."""
        if self.key_file is not None or self.environ.get("VIDEO_DB_API_KEY"):
            return self.key_file
        return self.usual_key_file

    @property
    def key_address(self) -> str:
        """The address of the API.

        Raises:
            InputError: it is malformed, or a `.env` that nobody named would have the key sent elsewhere.
        """
        # The keyring has a key for each address.
        is_outside = self.chosen_key_file is not None or bool(os.environ.get("VIDEO_DB_API_KEY"))
        return self.service_address("the API key", from_file=not is_outside)

    @cached_property
    def credentials(self) -> "Credentials":
        """The API key and the address of the API.

        Raises:
            InputError: as `key_address`.
            VdbeventsError: as `cloud.credentials_from`.
        """
        from vdbevents import cloud

        _ = self.key_address
        return cloud.credentials_from(self.environ, self.chosen_key_file)

    def as_arguments(self) -> list[str]:
        """Return these options for the command line of another process, which may run elsewhere."""
        file = [] if self.key_file is None else [f"--key-file={self.key_file.absolute()}"]
        return [*super().as_arguments(), *file]


class DirectoryOptions(OptionGroup):
    """A state directory, as an argument or as `--dir`."""

    directory: Annotated[
        Path | None,
        Argument(
            metavar="DIR",
            help="The state directory. Default: $VIDEODB_EVENTS_DIR, else $XDG_STATE_HOME/videodb, "
            "else ~/.local/state/videodb.",
            show_default=False,
        ),
    ] = None
    named_directory: Annotated[
        Path | None, Option("--dir", metavar="DIR", help="The state directory, as an option.")
    ] = None

    def settle(self) -> None:
        """Take `--dir` for the argument.

        Raises:
            InputError: both are given, and differ.
        """
        super().settle()
        self.directory = one_of("--dir", self.named_directory, self.directory)


class StateOptions(DirectoryOptions, EnvironmentOptions):
    """A state directory, and the settings."""

    @cached_property
    def state(self) -> "StateDirectory":
        """The state directory."""
        return self.state_at(self.directory)


class RecorderOptions(StateOptions, KeyOptions):
    """A state directory to record into, and the API key."""


class JournalOptions(EnvironmentOptions):
    """A journal, as an argument, or as `--dir` or `--file`."""

    journal: Annotated[
        Path | None,
        Argument(
            metavar="DIR|FILE",
            help="A state directory, or any journal. Default: as for listen.",
            show_default=False,
        ),
    ] = None

    named_directory: Annotated[
        Path | None, Option("--dir", metavar="DIR", help="The state directory, as an option.")
    ] = None
    named_file: Annotated[
        Path | None, Option("--file", metavar="FILE", help="The file of a journal, as an option.")
    ] = None

    def settle(self) -> None:
        """Take `--dir` or `--file` for the argument.

        Raises:
            InputError: several are given, and differ.
        """
        super().settle()
        self.journal = one_of("--dir", self.named_directory, self.journal)
        self.journal = one_of("--file", self.named_file, self.journal)

    def find_journal(self) -> Path:
        """Return the journal's path.

        Raises:
            InputError: there is no such journal.
        """
        return self.journal_at(self.journal)


class BoundOptions(OptionGroup):
    """How large an answer may be."""

    max_bytes: Annotated[
        int | None,
        Option(min=1, metavar="N", help="Print at most N bytes, and say how much more there is."),
    ] = None
    max_tokens: Annotated[
        int | None,
        Option(min=1, metavar="N", help="The same in tokens of a language model, of 4 characters."),
    ] = None

    @property
    def bound(self) -> "Bound":
        """The bound of the answer."""
        from vdbevents.query.output.budget import Bound

        return Bound(self.max_bytes, self.max_tokens)


class MessageOptions(OptionGroup):
    """The options for messages on stderr, of a long-running command."""

    quiet: Annotated[bool, Option("--quiet", "-q", help="Print only problems on stderr.")] = False
    log_format: Annotated[
        LogFormat, Option(help="Format of messages on stderr; json: one object per line.")
    ] = LogFormat.TEXT
    color: ColorOption = Color.AUTO

    def diagnostics(self, kind: type[_Diagnostics]) -> _Diagnostics:
        """Return a reporter of this class that follows these options."""
        colour = wants_colour(self.color, sys.stderr, os.environ)
        return kind(log_format=self.log_format, colour=colour, quiet=self.quiet)


class CloudOptions(JsonOptions, KeyOptions):
    """The options of a command that calls VideoDB."""

    timeout: TimeoutOption = 30.0


class SessionOptions(DirectoryOptions, CloudOptions):
    """A capture session: the one with an id, else the one that was captured in a state directory."""

    session: Annotated[
        str | None, Option(metavar="ID", help="A session's id.", show_default="the captured session")
    ] = None
    collection: Annotated[
        str | None,
        Option(metavar="ID", help="The session's collection.", show_default="the captured session's"),
    ] = None


class SessionArgumentOptions(SessionOptions):
    """A capture session; until the next release, an argument may be its id, too."""

    def settle(self) -> None:
        """Take an argument that is a session's id for `--session`.

        Raises:
            InputError: both are given.
        """
        place = self.directory
        if place is not None and place != self.named_directory and not looks_like_path(place):
            if self.session not in (None, str(place)):
                raise options_conflict("--session", f"the argument {place}")
            self.session, self.directory = str(place), None
        super().settle()


def json_format(output: _Format, usual: _Format) -> _Format:
    """Return the output format that `--json` means.

    Args:
        output: the one that is given.
        usual: the one that holds where none is.

    Raises:
        InputError: another one is given.
    """
    json = type(output)("json")
    if output not in (usual, json):
        raise options_conflict("--json", f"-o {output}")
    return json


def looks_like_path(text: Path | str) -> bool:
    """Return whether an argument that may be a directory is one, or is written as a path."""
    return "/" in str(text) or "\\" in str(text) or str(text) in (".", "..") or Path(text).is_dir()


def one_of(option: str, named: Path | None, argument: Path | None) -> Path | None:
    """Return the path that an option or an argument names, or None.

    Raises:
        InputError: both are given, and differ.
    """
    if named is not None and argument not in (None, named):
        raise options_conflict(option, f"the argument {argument}")
    return argument if named is None else named
