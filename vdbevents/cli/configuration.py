"""Read defaults of options from `$XDG_CONFIG_HOME/vdbevents/config.toml` and from `VDBEVENTS_…`.

Both are read and checked before the command line, and given to it as click's `default_map`. So flags win over
variables, and variables over the file. A mistake stops the commands that it concerns, and no other.

click's `auto_envvar_prefix` is not used: it would rename the variables of 43 of 231 options (`AS_JSON` for
`JSON`), split the lists of 20 at blanks, accept a variable for `--help`, and find no mistake in a variable's
name. It would save four lines: those that look a variable up.
"""

import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from vdbevents.cli import config_sections
from vdbevents.cli.config_sections import SECTIONS
from vdbevents.cli.diagnostics import Diagnostics, ExitCode, LogFormat
from vdbevents.cli.old_names import old_names_of
from vdbevents.cli.surroundings import FILE_NAME, OTHER_VARIABLES, PREFIX, locate
from vdbevents.errors import InputError
from vdbevents.terminal import cut, harmless

DEFAULT: Final = "default"
"""The source of a setting that neither the file nor a variable sets."""
LISTS: Final = "vdbevents config --all lists what can be set"

# The first two say where to read settings from; a listener started by `--daemon` must not start another.
# What empties a journal, or removes something for good, does so only when it is told to, each time.
_NEVER_SET: Final = {"env-file", "cwd", "daemon", "clear", "yes"}
# It shows what is wrong with the others.
_SHOWS_PROBLEMS: Final = ("config",)
_LONGEST_IN_HELP: Final = 60

# A command's name after those of its groups; an option's has its name after that.
_Path = tuple[str, ...]


class OptionSetting(NamedTuple):
    """The value of an option without a flag, or of a key of a section.

    `command` is as typed after `vdbevents`, or the section's name, `option` the long name without dashes,
    `value` as in JSON; `source` is `default`, `config.toml` or a variable's name, `variable` what sets it.
    """

    command: str
    option: str
    value: Any
    source: str
    variable: str


class ConfigError(InputError):
    """A mistake in the file or in a variable.

    Attributes:
        commands: the paths of the commands and groups that it stops; an empty path stops all.
    """

    def __init__(self, message: str, hint: str, *commands: _Path, error_id: str) -> None:
        super().__init__(message, hint, error_id=error_id)
        self.commands = commands

    def stops(self, command: _Path) -> bool:
        """Return whether the command cannot run until this is fixed."""
        return any(command[: len(path)] == path for path in self.commands)


class Configuration(NamedTuple):
    """The file's path and whether it exists, the value of each option, and what is wrong."""

    file: Path | None
    exists: bool
    settings: tuple[OptionSetting, ...]
    problems: tuple[ConfigError, ...]

    def section(self, name: str) -> dict[str, Any]:
        """Return the values of a section's keys."""
        values = {key: _plain(kind.default) for key, kind in SECTIONS[name].keys.items()}
        return values | {
            setting.option: setting.value for setting in self.settings if setting.command == name
        }


class ConfiguredGroup(TyperGroup):
    """The program: its commands take defaults from the file and the environment."""

    def main(self, *arguments: Any, **extra: Any) -> Any:  # noqa: ANN401 - click's signature
        _refuse_empty_paths(self)
        configuration = gather(self, os.environ)
        defaults = _apply(self, configuration)
        return super().main(*arguments, default_map=defaults, obj=configuration, **extra)


def _refuse_empty_paths(group: TyperGroup) -> None:
    """Make an empty path an error: Python takes it for the current directory, but a script has lost it."""
    for _, command in commands_of(group):
        for parameter in command.params:
            if parameter.type.name == "path":
                convert = functools.partial(_path, parameter.type.convert, parameter.type.fail)
                parameter.type.convert = convert  # type: ignore[method-assign]


def _path(convert: Callable[..., Any], fail: Callable[..., NoReturn], value: Any, *where: Any) -> Any:  # noqa: ANN401 - click's
    if value == "":
        fail("the path is empty; for the current directory write .", *where)
    return convert(value, *where)


def load(path: Path | None) -> dict[str, Any] | None:
    """Read and parse the file; return None if there is none.

    Raises:
        ConfigError: it cannot be read or parsed; this stops all commands.
    """
    try:
        # Editors on Windows put a byte order mark first.
        text = path.read_bytes().decode("utf-8-sig") if path else None
    except (FileNotFoundError, NotADirectoryError):
        text = None
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read the configuration {path}: {getattr(error, 'strerror', None) or error}"
        hint = "make it a readable UTF-8 file"
        raise ConfigError(message, hint, (), error_id="config-unreadable") from None
    if text is None:
        return None
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        problem = f"cannot parse the configuration {path}: {error}"
        hint = "fix or remove it; docs/configuration.md has an example"
        raise ConfigError(problem, hint, (), error_id="config-not-toml") from None


def gather(group: TyperGroup, environ: Mapping[str, str]) -> Configuration:
    """Read the file and the environment, and check them against the options of a program's commands."""
    reader = _Reader(group)
    path, exists = locate(environ), True
    try:
        table = load(path)
        exists = table is not None
        reader.read_table(table or {}, (), str(path))
    except ConfigError as problem:
        reader.problems.append(problem)
    reader.read_environment(environ)
    return Configuration(path, exists, tuple(reader.settings.values()), tuple(reader.problems))


class _Reader:
    """Collects the value of each option, and problems."""

    def __init__(self, group: TyperGroup) -> None:
        self._group = group
        commands = dict(commands_of(group))
        self._sections: dict[_Path, config_sections.Section] = {
            (name,): section
            for name, section in SECTIONS.items()
            if not commands.keys().isdisjoint(section.commands)
        }
        self._commands = {
            path: command
            for path, command in commands.items()
            if path != _SHOWS_PROBLEMS and path[0] not in SECTIONS
        }
        self._tables = {path[:end] for path in self._commands for end in range(1, len(path) + 1)}
        self._options = {
            (*path, name): option
            for path, command in self._commands.items()
            for name, option in _options_of(command)
            if can_be_set(option)
        }
        # An option that was renamed is still set by its old name.
        self._renamed = {
            (*path, old.removeprefix("--")): (*path, present.removeprefix("--"))
            for path in self._commands
            for old, present in old_names_of(" ".join(path)).items()
        }
        self._keys = {
            (*path, key): kind
            for path, section in self._sections.items()
            for key, kind in section.keys.items()
        }
        self._tables |= self._sections.keys()
        self._paths = {_variable(old): path for old, path in self._renamed.items()}
        self._paths |= {_variable(path): path for path in (*self._options, *self._keys)}
        self.settings = {
            path: OptionSetting(
                " ".join(path[:-1]), path[-1], _plain(option.default), DEFAULT, _variable(path)
            )
            for path, option in self._options.items()
        } | {
            path: OptionSetting(path[0], path[1], _plain(key.default), DEFAULT, _variable(path))
            for path, key in self._keys.items()
        }
        self.problems: list[ConfigError] = []

    def read_table(self, table: Mapping[str, Any], above: _Path, file: str) -> None:
        """Take the values of a table and of the tables in it."""
        for key, value in table.items():
            name = key.replace("_", "-")
            path = self._renamed.get((*above, name), (*above, name))
            where = f"{file}: {name} in [{'.'.join(above)}]" if above else f"{file}: {name}"
            if path in self._options or path in self._keys:
                self._set(path, value, FILE_NAME, where)
            elif path not in self._tables:
                candidates = self._tables if isinstance(value, dict) else self._options
                self._report_unknown(where, path, candidates, ".".join)
            elif isinstance(value, dict):
                self.read_table(value, path, file)
            else:
                message = f"{where}: invalid value: must be a table of options, got {as_toml(value)}"
                hint = f"begin the table with: [{'.'.join(path)}]"
                self._report(message, hint, *self._stopped_by(path), error_id="config-value-invalid")

    def read_environment(self, environ: Mapping[str, str]) -> None:
        """Take the values of all variables."""
        for variable in sorted(environ):
            if path := self._paths.get(variable):
                # Set to nothing is not set, as everywhere in click.
                if text := environ[variable]:
                    self._set(path, self._lines(path, text), variable, variable)
            elif variable.startswith(f"{PREFIX}_") and variable not in OTHER_VARIABLES:
                above = [table for table in self._tables if variable.startswith(f"{_variable(table)}_")]
                table = max(above, key=len, default=())
                name = variable.removeprefix(f"{_variable(table)}_").lower().replace("_", "-")
                self._report_unknown(variable, (*table, name), self._options, _variable)

    def _lines(self, path: _Path, text: str) -> object:
        is_list = path in self._options and self._options[path].multiple
        return [line for line in text.split("\n") if line] if is_list else text

    def _set(self, path: _Path, raw: object, source: str, where: str) -> None:
        typed = source == FILE_NAME
        try:
            if path in self._keys:
                value = config_sections.checked(self._keys[path], raw, typed=typed)
            else:
                value = _checked(self._group, self._options[path], raw, typed=typed)
        except ValueError as error:
            if path in self._keys:
                hint = f"see docs/privacy.md, and: vdbevents config {path[0]} --all"
                stopped = self._sections[path[:1]].commands
                got = "" if ", got " in str(error) else f", got {as_toml(raw)}"
                message = f"{where}: invalid value: {error}{got}"
                self._report(message, hint, *stopped, error_id="config-value-invalid")
                return
            hint = f"see: vdbevents {' '.join(path[:-1])} --help, and: vdbevents config"
            message = f"{where}: invalid value: {error}"
            self._report(message, hint, path[:-1], error_id="config-value-invalid")
        else:
            self.settings[path] = self.settings[path]._replace(value=_plain(value), source=source)

    def _report_unknown(
        self, where: str, path: _Path, candidates: Iterable[_Path], spelled: Callable[[_Path], str]
    ) -> None:
        """Report an unknown name with the closest known one; this stops the commands that it concerns."""
        above, name = path[:-1], path[-1]
        if above in self._sections:
            close = did_you_mean(name, self._sections[above].keys)
            hint = f"{close}vdbevents config {above[0]} --all lists them"
            problem = f"{where}: [{above[0]}] has no key {name}"
            self._report(problem, hint, *self._sections[above].commands, error_id="config-key-unknown")
            return
        if above in self._commands:
            if name in _NEVER_SET:
                message, hint = f"{where}: --{name} takes no default", "give it on the command line"
                self._report(message, hint, above, error_id="config-option-fixed")
                return
            command = " ".join(above)
            siblings = [option[-1] for option in self._options if option[:-1] == above]
            hint = f"{did_you_mean(name, siblings)}vdbevents config {command} --all lists what can be set"
            problem = f"{where}: vdbevents {command} has no option {name}"
            self._report(problem, hint, above, error_id="config-option-unknown")
            return
        known = (*candidates, *self._sections, *self._keys)
        near = {"-".join(other): other for other in known if other[: len(above)] == above}
        # An option outside its table, else the closest name: a misspelt [lisen] must not go unnoticed.
        is_key = self._options.keys() | self._keys.keys()
        meant = [other for other in near.values() if other in is_key and other[-1] == name]
        meant = meant or [near[key] for key in _closest("-".join(path), near)]
        hint = "".join(f"did you mean {spelled(other)}? " for other in meant[:1]) + LISTS
        stopped = [command for other in meant for command in self._stopped_by(other)]
        stopped = stopped or ([above] if above else [])
        self._report(f"{where}: no such command or option", hint, *stopped, error_id="config-name-unknown")

    def _stopped_by(self, path: _Path) -> Sequence[_Path]:
        """Return the commands that follow an option, or a table."""
        if path[:1] in self._sections:
            return self._sections[path[:1]].commands
        return [path[:-1] if path in self._options else path]

    def _report(self, message: str, hint: str, *commands: _Path, error_id: str) -> None:
        self.problems.append(ConfigError(message, hint, *commands, error_id=error_id))


def commands_of(group: TyperGroup, above: _Path = ()) -> Iterator[tuple[_Path, TyperCommand]]:
    """Yield the commands of a group and of the groups in it, each with its path."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands_of(command, (*above, name))
        elif isinstance(command, TyperCommand):
            yield (*above, name), command


def _options_of(command: TyperCommand) -> Iterator[tuple[str, TyperOption]]:
    for option in command.params:
        if isinstance(option, TyperOption) and not option.hidden:
            yield name_of(option), option


def name_of(option: TyperOption) -> str:
    """Return the long name of an option, without dashes."""
    return max(option.opts, key=len).lstrip("-")


def can_be_set(option: TyperOption) -> bool:
    """Return whether the configuration can set an option."""
    return not option.hidden and name_of(option) not in _NEVER_SET


def _variable(path: _Path) -> str:
    return "_".join((PREFIX, *path)).upper().replace("-", "_")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that names the closest known name; an empty text if none is close."""
    return "".join(f"did you mean {other}? " for other in _closest(name, known))


def _closest(name: str, known: Iterable[str]) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, sorted(known), 1)


def _checked(group: TyperGroup, option: TyperOption, raw: object, *, typed: bool) -> object:
    """Convert a value to the option's type.

    Args:
        group: the program.
        option: the option that the value is for.
        raw: the value; a list for an option that is repeatable.
        typed: whether it comes from TOML, where 64 and "64" differ.

    Raises:
        ValueError: the value is of the wrong type, or out of range.
    """
    if typed:
        kinds, expected = _kind(option)
        if option.multiple and not isinstance(raw, list):
            raise ValueError(f"must be a list, [{as_toml(raw)}], got {as_toml(raw)}")
        for value in raw if isinstance(raw, list) and option.multiple else [raw]:
            if type(value) not in kinds:
                raise ValueError(f"must be {expected}, got {as_toml(value)}")
    try:
        checked = option.type_cast_value(typer.Context(group), raw)
    except typer.BadParameter as error:
        raise ValueError(error.message.rstrip(".")) from None
    except OverflowError as error:
        raise ValueError(str(error)) from None
    if isinstance(checked, float) and not math.isfinite(checked):
        raise ValueError(f"must be finite, got {checked}")
    return checked


def _kind(option: TyperOption) -> tuple[tuple[type, ...], str]:
    name = option.type.name.split()[0]
    if option.is_flag:
        return (bool,), "true or false"
    if name == "int":
        return (int,), "a whole number"
    if name == "seconds_of":
        return (int, float, str), "seconds, or a duration in quotes"
    return ((int, float), "a number") if name == "float" else ((str,), "text in quotes")


def _plain(value: object) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Enum):
        return value.value
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def as_toml(value: object) -> str:
    """Format a value for a person as in the file; it is safe on a terminal."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{as_toml(key)} = {as_toml(item)}' for key, item in value.items())}}}"
    # JSON's form is TOML's too for every value that an option takes.
    return "none" if value is None else harmless(json.dumps(value, ensure_ascii=False, default=str))


def _apply(group: TyperGroup, configuration: Configuration) -> dict[str, Any]:
    """Show in the help what is set, have problems stop their commands, and return click's `default_map`."""
    changed = {
        (setting.command, setting.option): setting
        for setting in configuration.settings
        if setting.source != DEFAULT
    }
    defaults: dict[str, Any] = {}
    if not changed and not configuration.problems:
        return defaults
    for path, command in commands_of(group):
        for name, option in _options_of(command):
            if setting := changed.get((" ".join(path), name)):
                # Only where something is set: an empty table of `help` would be a value of --help.
                table = defaults
                for word in path:
                    table = table.setdefault(word, {})
                table[str(option.name)] = setting.value
                option.show_default = f"{cut(as_toml(setting.value), _LONGEST_IN_HELP)}, {setting.source}"
        problems = [problem for problem in configuration.problems if problem.stops(path)]
        if problems and path != _SHOWS_PROBLEMS:
            command.callback = functools.partial(_refuse, problems)
    return defaults


def _refuse(problems: Sequence[ConfigError], **options: Any) -> NoReturn:  # noqa: ANN401 - any command's
    report(problems, LogFormat(options.get("log_format", LogFormat.TEXT)))
    raise typer.Exit(ExitCode.BAD_INPUT)


def report(problems: Sequence[ConfigError], log_format: LogFormat = LogFormat.TEXT) -> None:
    """Write each problem to stderr."""
    diagnostics = Diagnostics(log_format=log_format)
    for problem in problems:
        diagnostics.error(problem)
    diagnostics.flush()
