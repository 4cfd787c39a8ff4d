"""`vdbevents config`: show which options the file and the environment set."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from vdbevents.cli.command import as_json as json_text, put, reports
from vdbevents.cli.config_sections import SECTIONS
from vdbevents.cli.configuration import DEFAULT, LISTS, Configuration, as_toml, did_you_mean, report
from vdbevents.cli.declared import Argument, Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import JsonOptions
from vdbevents.errors import InputError
from vdbevents.terminal import cells, harmless, padded

HELP = """Show which options the file and the environment set.

Also shows what is wrong there. An option takes its value from its flag, else from
VDBEVENTS_<COMMAND>_<OPTION>, else from the table of its command in $XDG_CONFIG_HOME/vdbevents/config.toml
(else ~/.config/vdbevents/config.toml), else its default.

\b
Examples:
  vdbevents config
  vdbevents config listen --all
  VDBEVENTS_QUERY_LIMIT=20 vdbevents config query

\b
Exit codes: 0 no problems, 2 problems found.
"""

_HOW_TO_SET: Final = """
Nothing is set: every option has its default (vdbevents config --all lists them). To set one, in the file:

  [listen]
  hold = 256.0

or in the environment:

  export VDBEVENTS_LISTEN_HOLD=256"""

_LONGEST_ALIGNED: Final = 40


def only(configuration: Configuration, words: Sequence[str]) -> Configuration:
    """Return the settings of one command or group, with all problems.

    Raises:
        InputError: there is no such command, or it takes no defaults.
    """
    wanted = tuple(words)
    settings = configuration.settings
    kept = tuple(setting for setting in settings if tuple(setting.command.split())[: len(wanted)] == wanted)
    if not kept:
        name = " ".join(wanted)
        raise InputError(
            f"vdbevents {name}: no such command, or none with options to set",
            did_you_mean(name, {setting.command for setting in settings}) + LISTS,
            error_id="command-unknown",
        )
    return configuration._replace(settings=kept)


def render_json(configuration: Configuration) -> str:
    """Format all settings and problems as one JSON object."""
    file, exists, settings, problems = configuration
    shown = [
        {
            "message": problem.message,
            "hint": problem.hint,
            "commands": [" ".join(path) for path in problem.commands],
        }
        for problem in problems
    ]
    return json_text(
        {
            "file": str(file) if file else None,
            "exists": exists,
            "settings": [setting._asdict() for setting in settings],
            "problems": shown,
        }
    )


def render_text(configuration: Configuration, *, everything: bool) -> str:
    """Format the settings for a person, with defaults only if `everything` is wanted."""
    file, exists, settings, problems = configuration
    missing = "" if exists else " (does not exist)"
    lines = [f"file: {harmless(str(file or 'none, without a home directory'))}{missing}"]
    shown = [setting for setting in settings if everything or setting.source != DEFAULT]
    if not shown:
        return "\n".join([*lines, *([] if problems else [_HOW_TO_SET])])
    name_width = max(len(setting.option) for setting in shown)
    widths = [cells(as_toml(setting.value)) for setting in shown]
    value_width = max((width for width in widths if width <= _LONGEST_ALIGNED), default=0)
    command = None
    for setting in shown:
        if setting.command != command:
            command = setting.command
            lines += ["", f"[{command}]" if command in SECTIONS else f"vdbevents {command}"]
        source = f"{DEFAULT} ({setting.variable})" if setting.source == DEFAULT else setting.source
        lines.append(
            f"  {setting.option:<{name_width}}  {padded(as_toml(setting.value), value_width)}  {source}"
        )
    return "\n".join(lines)


@reports
def config(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        Argument(metavar="[COMMAND]...", help="Only this command or group.", show_default=False),
    ] = None,
    *,
    everything: Annotated[bool, Option("--all", help="Include options with their defaults.")] = False,
    printing: JsonOptions,
) -> ExitCode:
    configuration: Configuration = context.obj
    if command:
        configuration = only(configuration, command)
    put(render_json(configuration) if printing.as_json else render_text(configuration, everything=everything))
    if not configuration.problems:
        return ExitCode.DONE
    if not printing.as_json:
        report(configuration.problems)
    return ExitCode.BAD_INPUT
