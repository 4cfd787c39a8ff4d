"""Defaults of options, from `$XDG_CONFIG_HOME/vdbevents/config.toml` and from `VDBEVENTS_…`.

Both are read before the command line is, checked by the type of the option that they are for, and handed to
it as click's `default_map`. So flags win over the environment, and that over the file. What is wrong stops
the commands that it concerns, and no other.
"""

import functools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from vdbevents.cli.command import as_json as json_text
from vdbevents.cli.diagnostics import Diagnostics, ExitCode, LogFormat
from vdbevents.errors import InputError
from vdbevents.terminal import cells, cut, harmless, padded

_PREFIX: Final = "VDBEVENTS"
_FILE_NAME: Final = "config.toml"
_DEFAULT: Final = "default"
_LISTS: Final = "vdbevents config --all lists what can be set"

# They say where to read settings from. And a listener that `--daemon` starts must not start another.
_NEVER_SET: Final = {"env-file", "cwd", "daemon"}
# It shows what is wrong with the others.
_WITHOUT_DEFAULTS: Final = {("config",)}
_OTHER_VARIABLES: Final = {"VDBEVENTS_BACKEND_TOKEN", "VDBEVENTS_CAPTURE_RUNTIME", "VDBEVENTS_PAGER"}

_LONGEST_IN_HELP: Final = 60
_LONGEST_ALIGNED: Final = 40

_HOW_TO_SET: Final = """
Nothing is set: every option has its own default, which vdbevents config --all lists. To set one, in the file:

  [listen]
  hold = 256.0

or in the environment:

  export VDBEVENTS_LISTEN_HOLD=256"""

_EVERY_COMMAND: Final = ((),)

_Path = tuple[str, ...]


class _Known(NamedTuple):
    """Each command's options that can be set, and the paths of commands and of groups."""

    commands: dict[_Path, dict[str, TyperOption]]
    tables: set[_Path]


class Setting(NamedTuple):
    """The value of an option that is in force where no flag says otherwise.

    Attributes:
        command: as one types it after `vdbevents`.
        option: its long name, without dashes.
        value: what is in force, as JSON has it.
        source: `default`, `config.toml`, or the variable's name.
        variable: the one that would set it.
    """

    command: str
    option: str
    value: Any
    source: str
    variable: str


class Problem(NamedTuple):
    """What is wrong with the file or a variable.

    Attributes:
        message: what, and where.
        hint: the cure.
        commands: the paths of the commands and groups that it stops; an empty path is all of them.
    """

    message: str
    hint: str
    commands: tuple[_Path, ...] = ()

    def stops(self, command: _Path) -> bool:
        """Whether a command cannot be run before it is mended."""
        return any(command[: len(path)] == path for path in self.commands)


class Content(NamedTuple):
    """What is known of the file."""

    path: Path | None
    exists: bool = False
    table: Mapping[str, Any] = MappingProxyType({})
    problem: Problem | None = None


class Configuration(NamedTuple):
    """What is in force, and what is wrong."""

    content: Content
    settings: tuple[Setting, ...]
    problems: tuple[Problem, ...]


class ConfiguredGroup(TyperGroup):
    """The program: its commands take their defaults from the file and the environment."""

    def main(self, *arguments: Any, **extra: Any) -> Any:  # noqa: ANN401 - as click has it
        found = gather(self, load(locate(os.environ)), os.environ)
        return super().main(*arguments, default_map=_apply(self, found), obj=found, **extra)


def is_silent(environ: Mapping[str, str]) -> bool:
    """Whether neither the file nor the environment could set anything, or be wrong."""
    path = locate(environ)
    names = {name for name in environ if name.startswith(_PREFIX + "_")}
    return names <= _OTHER_VARIABLES and (path is None or not os.path.lexists(path))


def configuration_of(context: typer.Context) -> Configuration:
    """What was in force when the program that a context is of was started."""
    found: Configuration = context.obj
    return found


def locate(environ: Mapping[str, str]) -> Path | None:
    """The file, which need not exist; none where there is no home either.

    A relative `XDG_CONFIG_HOME` is ignored, as the XDG specification says.
    """
    base = Path(environ.get("XDG_CONFIG_HOME") or "")
    if not base.is_absolute():
        try:
            base = Path.home() / ".config"
        except RuntimeError:
            return None
    return base / "vdbevents" / _FILE_NAME


def load(path: Path | None) -> Content:
    """Reads and parses the file."""
    if path is None:
        return Content(path)
    try:
        # With or without the mark that editors on Windows put first.
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return Content(path)
    except OSError as error:
        reason, hint = f"cannot read {path}: {error.strerror or error}", "make it a readable file"
    except UnicodeDecodeError as error:
        reason, hint = f"cannot read {path}: {error}", "save it as UTF-8"
    else:
        import tomllib

        try:
            return Content(path, exists=True, table=tomllib.loads(text))
        except (ValueError, RecursionError) as error:
            reason = f"cannot parse {path}: {error}"
            hint = "mend it, or move it away; docs/configuration.md has an example"
    return Content(path, exists=True, problem=Problem(reason, hint, _EVERY_COMMAND))


def gather(group: TyperGroup, content: Content, environ: Mapping[str, str]) -> Configuration:
    """Holds the file and the environment against the options that there are."""
    commands = {path: options for path, options in _commands_of(group) if path not in _WITHOUT_DEFAULTS}
    known = _Known(commands, {path[:end] for path in commands for end in range(1, len(path) + 1)})
    problems = [content.problem] if content.problem else []
    in_file: dict[tuple[_Path, str], Any] = {}
    for one in _visit(content.table, (), known, str(content.path)):
        if isinstance(one, Problem):
            problems.append(one)
        else:
            in_file[one[0]] = one[1]
    problems += _unknown_variables(known, environ)
    settings = []
    for path, options in commands.items():
        for name, option in options.items():
            setting = Setting(
                " ".join(path), name, _plain(option.default), _DEFAULT, _variable((*path, name))
            )
            given = []
            if (path, name) in in_file:
                where = f"{content.path}: {name} in [{'.'.join(path)}]"
                given.append((_FILE_NAME, where, in_file[path, name]))
            # Set to nothing is not set, as everywhere in click.
            if text := environ.get(setting.variable):
                raw = [line for line in text.split("\n") if line] if option.multiple else text
                given.append((setting.variable, setting.variable, raw))
            for source, where, raw in given:
                try:
                    value = _checked(group, option, raw, typed=source == _FILE_NAME)
                except ValueError as error:
                    hint = f"see: vdbevents {' '.join(path)} --help, and: vdbevents config"
                    problems.append(Problem(f"{where}: {error}", hint, (path,)))
                else:
                    setting = Setting(setting.command, name, _plain(value), source, setting.variable)
            settings.append(setting)
    return Configuration(content, tuple(settings), tuple(problems))


def _commands_of(group: TyperGroup, above: _Path = ()) -> Iterator[tuple[_Path, dict[str, TyperOption]]]:
    for name, command in group.commands.items():
        path = (*above, name)
        if isinstance(command, TyperGroup):
            yield from _commands_of(command, path)
        else:
            options = (option for option in command.params if isinstance(option, TyperOption))
            named = {_name_of(option): option for option in options}
            yield path, {one: option for one, option in named.items() if one not in _NEVER_SET}


def _name_of(option: TyperOption) -> str:
    return max(option.opts, key=len).lstrip("-")


def _variable(path: _Path) -> str:
    return "_".join((_PREFIX, *path)).upper().replace("-", "_")


def _visit(
    table: Mapping[str, Any], path: _Path, known: _Known, file: str
) -> Iterator[tuple[tuple[_Path, str], Any] | Problem]:
    """The values of a table and of those in it, each with its command and option; and what is wrong."""
    options = known.commands.get(path)
    for key, value in table.items():
        name = key.replace("_", "-")
        inner = (*path, name)
        if options is not None and name in options:
            yield (path, name), value
        elif options is not None:
            yield _unknown(f"{file}: [{'.'.join(path)}]", name, path, options)
        elif inner not in known.tables:
            yield _unknown_table(file, inner, value, known)
        elif isinstance(value, dict):
            yield from _visit(value, inner, known, file)
        else:
            message = f"{file}: {'.'.join(inner)} is a command, and its options stand in a table"
            yield Problem(message, f"begin the table with: [{'.'.join(inner)}]", (inner,))


def _unknown(where: str, name: str, command: _Path, options: Mapping[str, TyperOption]) -> Problem:
    shown = " ".join(command)
    lists = f"vdbevents config {shown} --all lists what can be set"
    if name in _NEVER_SET:
        return Problem(f"{where}: --{name} takes no default", "give it on the command line", (command,))
    return Problem(
        f"{where}: vdbevents {shown} has no option {name}", _did_you_mean(name, options) + lists, (command,)
    )


def _unknown_table(file: str, path: _Path, value: object, known: _Known) -> Problem:
    name = ".".join(path)
    if not isinstance(value, dict):
        below = {one: options for one, options in known.commands.items() if one[: len(path) - 1] == path[:-1]}
        takers = tuple(one for one, options in below.items() if path[-1] in options)
        of = next((f"such as [{'.'.join(taker)}]: " for taker in takers), "")
        message = f"{file}: {name} stands in no command's table"
        return Problem(message, f"put it into one, {of}{_LISTS}", takers or (path[:-1],) * (len(path) > 1))
    tables = {".".join(table): table for table in known.tables}
    # Whoever wrote [lisen] is not to find out later that it had no effect.
    meant = [tables[one] for one in _closest(name, sorted(tables), 1)]
    stopped = meant or ([path[:-1]] if len(path) > 1 else [])
    message = f"{file}: there is no command for the table [{name}]"
    return Problem(message, _did_you_mean(name, tables) + _LISTS, tuple(stopped))


def _unknown_variables(known: _Known, environ: Mapping[str, str]) -> Iterator[Problem]:
    variables = {_variable((*path, name)) for path, options in known.commands.items() for name in options}
    for variable in sorted(environ):
        if not variable.startswith(_variable(("",))) or variable in variables | _OTHER_VARIABLES:
            continue
        above = [path for path in known.tables if variable.startswith(_variable((*path, "")))]
        command = max(above, key=len, default=())
        options = known.commands.get(command)
        name = variable.removeprefix(_variable((*command, ""))).lower().replace("_", "-")
        if options is not None:
            yield _unknown(variable, name, command, options)
        else:
            # By words, without what all variables begin with, which would make any two alike.
            paths = {" ".join((*path, one)): path for path, ones in known.commands.items() for one in ones}
            meant = _closest(" ".join((*command, name)), sorted(paths), 1)
            hint = "".join(f"did you mean {_variable(tuple(one.split()))}? " for one in meant)
            message = f"{variable}: there is no command or option for this variable"
            stopped = [command] if command else [paths[one] for one in meant]
            yield Problem(message, hint + _LISTS, tuple(stopped))


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    return "".join(f"did you mean {one}? " for one in _closest(name, sorted(known), 1))


def _checked(group: TyperGroup, option: TyperOption, raw: object, *, typed: bool) -> object:
    """The value as the option's type has it.

    Args:
        group: the program.
        option: the one it is for.
        raw: the value; a list for an option that is repeatable.
        typed: whether it comes from TOML, where 64 and "64" are two things.

    Raises:
        ValueError: it is of the wrong type, or out of range.
    """
    if typed:
        kinds, called = _kind(option)
        if option.multiple and not isinstance(raw, list):
            raise ValueError(f"{_as_toml(raw)} is not a list: write [{_as_toml(raw)}]")
        for value in raw if isinstance(raw, list) and option.multiple else [raw]:
            if type(value) not in kinds:
                raise ValueError(f"{_as_toml(value)} is not {called}")
    try:
        checked = option.type_cast_value(typer.Context(group), raw)
    except typer.BadParameter as error:
        raise ValueError(error.message.rstrip(".")) from None
    except OverflowError as error:
        raise ValueError(str(error)) from None
    if isinstance(checked, float) and not math.isfinite(checked):
        raise ValueError(f"{checked} is no number to count with")
    return checked


def _kind(option: TyperOption) -> tuple[tuple[type, ...], str]:
    name = option.type.name.split()[0]
    if option.is_flag:
        return (bool,), "true or false"
    if name == "int":
        return (int,), "a whole number"
    return ((int, float), "a number") if name == "float" else ((str,), "text in quotes")


def _plain(value: object) -> Any:  # noqa: ANN401 - what JSON has
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _as_toml(value: object) -> str:
    # For what can be set, JSON's way of writing is TOML's too; the rest, a date or a table, is in a message.
    return "none" if value is None else harmless(json.dumps(value, ensure_ascii=False, default=str))


def _apply(group: TyperGroup, found: Configuration) -> dict[str, Any]:
    """Makes the help show what is in force, and what is wrong stop its commands; returns `default_map`."""
    set_ = {(one.command, one.option): one for one in found.settings if one.source != _DEFAULT}
    defaults: dict[str, Any] = {}
    if not set_ and not found.problems:
        return defaults
    for path, options in _commands_of(group):
        inner = defaults
        for name in path:
            inner = inner.setdefault(name, {})
        for name, option in options.items():
            if setting := set_.get((" ".join(path), name)):
                inner[str(option.name)] = setting.value
                option.show_default = f"{cut(_as_toml(setting.value), _LONGEST_IN_HELP)}, {setting.source}"
        problems = [problem for problem in found.problems if problem.stops(path)]
        if problems and path not in _WITHOUT_DEFAULTS:
            _command(group, path).callback = functools.partial(_refuse, problems)
    return defaults


def _command(group: TyperGroup, path: _Path) -> TyperCommand:
    found: Any = group
    for name in path:
        found = found.commands[name]
    command: TyperCommand = found
    return command


def _refuse(problems: Sequence[Problem], **options: Any) -> NoReturn:  # noqa: ANN401 - any command's
    tell(problems, LogFormat(options.get("log_format", LogFormat.TEXT)))
    raise typer.Exit(ExitCode.BAD_INPUT)


def tell(problems: Sequence[Problem], log_format: LogFormat = LogFormat.TEXT) -> None:
    """Says on stderr what is wrong."""
    diagnostics = Diagnostics(log_format=log_format)
    for problem in problems:
        diagnostics.error(InputError(problem.message, problem.hint))
    diagnostics.flush()


def only(found: Configuration, words: Sequence[str]) -> Configuration:
    """What concerns one command, or the commands of one group; what is wrong stays, all of it.

    Raises:
        InputError: there is no such command, or it takes no defaults.
    """
    wanted = tuple(words)
    kept = tuple(one for one in found.settings if tuple(one.command.split())[: len(wanted)] == wanted)
    if not kept:
        known = {one.command for one in found.settings}
        name = " ".join(wanted)
        raise InputError(
            f"there is no command vdbevents {name} whose options can be set",
            _did_you_mean(name, known) + _LISTS,
        )
    return Configuration(found.content, kept, found.problems)


def render(found: Configuration, *, everything: bool, as_json: bool) -> str:
    """The same for a program, or for a person, to whom defaults are shown only if `everything` is."""
    if as_json:
        return json_text(
            {
                "file": str(found.content.path) if found.content.path else None,
                "exists": found.content.exists,
                "settings": [setting._asdict() for setting in found.settings],
                "problems": [
                    {
                        "message": problem.message,
                        "hint": problem.hint,
                        "commands": [" ".join(path) for path in problem.commands],
                    }
                    for problem in found.problems
                ],
            }
        )
    exists = "" if found.content.exists else " (does not exist)"
    lines = [f"file: {harmless(str(found.content.path or 'none, for want of a home'))}{exists}"]
    shown = [one for one in found.settings if everything or one.source != _DEFAULT]
    if not shown:
        return "\n".join([*lines, *([] if found.problems else [_HOW_TO_SET])])
    width = max(len(one.option) for one in shown)
    values = [cells(_as_toml(one.value)) for one in shown]
    room = max((value for value in values if value <= _LONGEST_ALIGNED), default=0)
    command = None
    for one in shown:
        if one.command != command:
            command = one.command
            lines += ["", f"vdbevents {command}"]
        source = f"{_DEFAULT} ({one.variable})" if one.source == _DEFAULT else one.source
        lines.append(f"  {one.option:<{width}}  {padded(_as_toml(one.value), room)}  {source}")
    return "\n".join(lines)


def _closest(name: str, known: Sequence[str], most: int) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, known, most)
