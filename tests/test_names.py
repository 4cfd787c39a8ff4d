"""One name for one idea in all commands; old names and `--no-` forms are taken, and shown nowhere."""

import functools
import re
import sys
from collections import defaultdict

import pytest
import typer
from typer.core import TyperOption
from typer.main import get_command

from vdbevents.cli import command_classes
from vdbevents.cli.app import whole_app
from vdbevents.cli.configuration import can_be_set, gather
from vdbevents.cli.old_names import OLD_NAMES
from vdbevents.cli.options import (
    DirectoryOptions,
    JournalOptions,
    JsonOptions,
    JsonOutput,
    SessionArgumentOptions,
    looks_like_path,
)
from vdbevents.errors import InputError

# A name that another command might give to an idea that has a name.
REFUSED = {
    r"--(from|start|begin|after)": "--since",
    r"--(to|end|before)": "--until",
    r"--(day|date)": "--on",
    r"--(time-?zone|zone|utc|local)": "--tz",
    r"--(for|length|span|within)": "--duration, or --last",
    r"--(colou?rs?|colour)(?<!color)": "--color",
    r"--(directory|state|state-dir|folder|path)": "--dir",
    r"--(journal|input|in)": "--file",
    r"--(session-id|cap|capture-id)": "--session",
    r"--(format|out|as|to-json|output-format)": "-o, --output",
    r"--(json-lines|jsonl|csv|ndjson)": "-o jsonl, -o csv",
    r"--(max|max-count|number|lines|first|top|head|tail)": "-n, --limit",
    r"--(search|text|pattern|match|words?)": "--grep",
    r"--(kind|type|topic)": "--channel, or --event",
    r"--(force|confirm|no-confirm|assume-yes)": "--yes",
    r"--(silent|verbose)": "--quiet",
    r"--(wait-for|limit-seconds|max-wait|deadline)": "--timeout",
    r"--(ttl|lifetime|valid-for)": "--token-ttl",
    r"--(watch|tail-follow|live)": "--follow",
}
# Where such a name means something else.
OTHER_IDEAS = {
    ("status", "--watch"): "shows the whole status again, and follows no events",
    ("query", "--max-count"): "ends after the next N, where -n chooses the newest N",
    ("wait", "--max-count"): "ends after the next N, where -n chooses the newest N",
}
WINDOW = {"--last", "--since", "--until", "--on", "--tz"}
# They have no state directory, and no journal.
WITHOUT_A_PLACE = {
    *("channels", "config", "demo", "emulator", "help", "mcp uninstall", "skill", "token", "session list"),
    *("service uninstall", "service status", "service run", "lake status", "lake files"),
    *("lake compact", "lake forget"),
}
# They print no data: a line for a person, a page, or what another program prints.
WITHOUT_JSON = {
    *("listen", "stop", "pause", "resume", "backend", "emulator", "demo", "help", "skill", "cache clear"),
    *("mcp serve", "mcp install", "mcp uninstall", "view", "ship"),
    *("service install", "service uninstall", "service logs", "service run"),
}


@functools.cache
def commands():
    def of(command, path):
        for name, inner in command.commands.items():
            if hasattr(inner, "commands"):
                yield from of(inner, (*path, name))
            else:
                yield " ".join((*path, name)), inner

    return dict(of(get_command(whole_app()), ()))


def options_of(command):
    return [option for option in command.params if isinstance(option, TyperOption) and not option.hidden]


def names_of(command):
    return {name for option in options_of(command) for name in (*option.opts, *option.secondary_opts)}


def test_no_command_has_a_new_name_for_an_old_idea():
    refused = [
        f"{path} {name}: use {better}"
        for path, command in commands().items()
        for name in names_of(command)
        for pattern, better in REFUSED.items()
        if re.fullmatch(pattern, name) and (path, name) not in OTHER_IDEAS
    ]

    assert refused == []


def test_a_name_takes_the_same_kind_of_value_in_all_commands():
    kinds = defaultdict(lambda: defaultdict(list))
    for path, command in commands().items():
        for option in options_of(command):
            short = tuple(sorted(name for name in option.opts if not name.startswith("--")))
            is_flag = option.is_flag
            kinds[max(option.opts, key=len)][(is_flag, short if short != ("-m",) else ())].append(path)

    # What is started beside the listener, and whose sessions are recorded.
    del kinds["--backend"]
    assert {name: dict(kind) for name, kind in kinds.items() if len(kind) > 1} == {}


def test_a_command_with_a_window_of_time_has_all_five_options():
    partly = {
        path: sorted(WINDOW - names)
        for path, names in ((path, names_of(command)) for path, command in commands().items())
        if (WINDOW - {"--tz"}) & names and not names >= WINDOW
    }

    # What is waited for is still to come: its window has no end.
    assert partly == {"wait": ["--on", "--until"]}


def test_every_command_that_has_a_place_takes_it_as_an_argument_and_as_an_option():
    without = {
        path
        for path, command in commands().items()
        if "--dir" not in names_of(command)
        or not {"directory", "journal"} & {parameter.name for parameter in command.params}
    }

    assert without == WITHOUT_A_PLACE


def test_every_command_that_prints_data_takes_json_in_both_forms():
    for path, command in commands().items():
        names = {name for option in command.params for name in option.opts}

        assert ({"--json", "-o"} <= names) == (path not in WITHOUT_JSON), path


def test_every_option_that_the_configuration_can_set_has_a_form_that_undoes_it():
    for path, command in commands().items():
        undone = {id(option) for option in command_classes.no_forms(command).values()}
        left = [
            option.opts
            for option in options_of(command)
            if can_be_set(option) and not option.secondary_opts and id(option) not in undone
        ]

        # Its neutral value is `--store all`, and --no-store is an option.
        assert left == ([["--store"]] if path == "capture" else []), path


def values_of(path, *words, **configured):
    """The values of a command's options, on a command line and with a configuration."""
    command = commands()[path]
    context = typer.Context(get_command(whole_app()), info_name="vdbevents")
    for name in path.split():
        parent, context = context, typer.Context(command, info_name=name, parent=context)
    made = command.make_context(path.split()[-1], list(words), parent=parent, default_map=configured or None)
    return made.params


@pytest.mark.parametrize(
    ("path", "words", "name", "configured", "value"),
    [
        ("query", ["--no-interim"], "interim", True, False),
        ("query", ["--no-last"], "last", "1h", None),
        ("query", ["--no-last", "--last", "5m"], "last", "1h", "5m"),
        ("query", ["--no-channel"], "channel", ["transcript"], None),
        ("query", ["--no-limit"], "limit", 20, None),
        ("query", ["--no-output"], "output", "csv", "text"),
        ("query", ["--formulas"], "no_formulas", True, False),
        ("query", ["--grep", "--no-limit"], "limit", 20, 20),
        ("listen", ["--no-hold"], "hold", 1.0, 64.0),
        ("listen", ["--no-quiet"], "quiet", True, False),
        ("status", ["--no-json"], "as_json", True, False),
        ("session list", ["--no-status"], "status", "active", None),
    ],
)
def test_a_form_undoes_what_the_configuration_sets(path, words, name, configured, value):
    default = value if name == "channel" else values_of(path, *words, **{name: configured})[name]

    assert (default or None if value is None else default) == value


@pytest.mark.parametrize(
    "configured", [{"named_directory": "/set"}, {"directories": ["/set"], "files": ["x"]}]
)
def test_an_argument_counts_more_than_a_place_in_the_configuration(configured):
    path = "query" if "files" in configured else "status"
    values = values_of(path, "/given", **configured)

    assert [values[name] for name in configured] == [None] * len(configured)


def test_a_format_on_the_command_line_counts_more_than_one_in_the_configuration():
    assert [values_of("query", "-o", "md", as_json=True)[name] for name in ("output", "as_json")] == [
        *("md", False)
    ]
    assert [values_of("query", "--json", output="csv")[name] for name in ("output", "as_json")] == [
        *("text", True)
    ]


@pytest.mark.parametrize(("path", "old"), OLD_NAMES)
def test_an_old_name_is_taken_and_not_shown(path, old, tmp_path, monkeypatch):
    present, value = OLD_NAMES[path, old], "3" if old == "--lines" else "1h"
    name = next(option.name for option in options_of(commands()[path]) if present in option.opts)

    assert str(values_of(path, old, value)[name]) == value
    assert old not in names_of(commands()[path])

    file = tmp_path / "vdbevents" / "config.toml"
    file.parent.mkdir()
    quoted = value if value.isdigit() else f'"{value}"'
    file.write_text(f"[{path.replace(' ', '.')}]\n{old[2:]} = {quoted}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settings = gather(get_command(whole_app()), {"XDG_CONFIG_HOME": str(tmp_path)})
    assert settings.problems == ()
    assert [(it.option, str(it.value)) for it in settings.settings if it.source == "config.toml"] == [
        (present[2:], value)
    ]


def test_json_is_asked_for_in_both_forms():
    assert [
        JsonOptions(**given).as_json for given in ({}, {"as_json": True}, {"output": JsonOutput.JSON})
    ] == [*(False, True, True)]


def test_a_directory_that_is_named_twice_must_be_the_same(tmp_path):
    for kind, argument in ((DirectoryOptions, "directory"), (JournalOptions, "journal")):
        assert getattr(kind(named_directory=tmp_path), argument) == tmp_path
        assert getattr(kind(named_directory=tmp_path, **{argument: tmp_path}), argument) == tmp_path
        with pytest.raises(InputError) as raised:
            kind(named_directory=tmp_path, **{argument: tmp_path / "other"})
        assert raised.value.error_id == "options-conflict"


def test_an_argument_that_is_no_directory_is_still_a_sessions_id(tmp_path):
    known = SessionArgumentOptions(directory=tmp_path)
    old = SessionArgumentOptions(directory=type(tmp_path)("cap-1"), named_directory=None)

    assert (known.directory, known.session) == (tmp_path, None)
    assert (old.directory, old.session) == (None, "cap-1")
    with pytest.raises(InputError) as raised:
        SessionArgumentOptions(directory=type(tmp_path)("cap-1"), session="cap-2")
    assert raised.value.error_id == "options-conflict"
    assert [looks_like_path(text) for text in ("cap-1", "./cap-1", "..", str(tmp_path))] == [
        *(False, True, True, True)
    ]


def test_an_old_sessions_id_goes_with_a_directory_that_is_an_option(tmp_path):
    both = SessionArgumentOptions(directory=type(tmp_path)("cap-1"), named_directory=tmp_path)

    assert (both.directory, both.session) == (tmp_path, "cap-1")


@pytest.mark.parametrize(
    ("given", "is_a_terminal", "as_text"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"as_json": True}, True, False),
        ({"output": "json"}, True, False),
        ({"output": "text"}, False, True),
    ],
)
def test_a_summary_is_text_on_a_terminal_unless_told_otherwise(given, is_a_terminal, as_text, monkeypatch):
    monkeypatch.setattr("vdbevents.cli.options.is_terminal", lambda _: is_a_terminal)
    if "output" in given:
        given = {"output": JsonOutput(given["output"])}

    assert JsonOptions(**given).as_text_for(sys.stdout) is as_text
