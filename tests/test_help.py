"""The help is whole and readable at any width, names documents that exist, and needs no command's module."""

import functools
import inspect
import re
import sys

import pytest
from typer.main import get_command

from vdbevents.cli import documents, overview, program_help
from vdbevents.cli.app import whole_app
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.help_layout import laid_out

WIDTHS = (60, 80, 120)


@functools.cache
def contexts():
    """A context for each command, by its name as typed."""
    program = get_command(whole_app())

    def of(command, name, parent):
        context = command.make_context(name, [], parent=parent, resilient_parsing=True)
        yield context.command_path, context
        for inner_name, inner in getattr(command, "commands", {}).items():
            yield from of(inner, inner_name, context)

    return dict(of(program, "vdbevents", None))


def page(name, width):
    context = contexts()[name]
    context.terminal_width = width - 2
    return context.command.get_help(context)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_of_any_help_is_broken_by_the_terminal_or_cut(width):
    lines = [(name, line) for name in contexts() for line in page(name, width).splitlines()]
    # A path is one word, and so is what a shell's quotes hold: a reader copies it.
    long = [
        (name, line)
        for name, line in lines
        if len(line) > width and len(re.sub(r"'[^']*'|\"[^\"]*\"", "", line).removesuffix(" \\").split()) > 1
    ]

    assert long == []
    assert [(name, line) for name, line in lines if re.search(r"[\w-]-$", line)] == []
    cut = [(name, line) for name, line in lines if re.search(r"[\w.](…|\.\.\.)$", line)]
    assert [(name, line) for name, line in cut if not line.startswith("Usage: ")] == []


def test_the_list_of_commands_says_what_each_says_of_itself_in_a_line():
    commands = get_command(whole_app()).commands
    listed = {name: text for group in overview.GROUPS.values() for name, text in group.items()}

    assert {
        name: inspect.cleandoc(command.help).split("\n")[0] for name, command in commands.items()
    } == listed
    shown = page("vdbevents", 80)
    rows = {name: rf"^  {name} +{re.escape(text)}$" for name, text in listed.items()}
    assert [name for name, row in rows.items() if not re.search(row, shown, re.MULTILINE)] == []


def test_the_help_of_the_program_names_all_exit_codes_and_three_examples_that_can_be_typed():
    assert set(overview.EXIT_CODES) == set(ExitCode)
    assert len(overview.EXAMPLES) == 3
    for example in overview.EXAMPLES:
        _, name, *arguments = example.split()
        get_command(whole_app()).commands[name].make_context(name, arguments)


@pytest.mark.parametrize("width", [40, *WIDTHS])
def test_the_help_of_the_program_is_printed_without_typer_as_typer_prints_it(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "argv", ["/some/bin/vdbevents", "--help"])

    assert program_help.plain_help() == page("vdbevents", min(max(width, 52), 100)) + "\n"


def test_typer_prints_the_help_where_the_program_has_another_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/vdbevents/__main__.py", "--help"])

    assert program_help.plain_help() is None


def test_the_help_of_the_program_loads_no_command(monkeypatch, capsys):
    from vdbevents.cli import app

    for name in overview.GROUPS["Find"]:
        monkeypatch.delitem(sys.modules, f"vdbevents.cli.{name}", raising=False)
    monkeypatch.setattr(
        app, "_add_commands", lambda names: [app.importlib.import_module("no")] if names else None
    )
    monkeypatch.setattr(sys, "argv", ["vdbevents", "help"])
    app.app.registered_commands.clear()
    app.app.registered_groups.clear()

    with pytest.raises(SystemExit) as ended:
        app.run_with_typer()
    assert (ended.value.code, "query" in capsys.readouterr().out) == (0, True)


@pytest.mark.parametrize("words", [["query"], ["session", "list"]])
def test_help_of_a_command_is_what_its_own_option_shows(words, capsys):
    program = get_command(whole_app())
    printed = []
    for line in (["help", *words], [*words, "--help"]):
        with pytest.raises(SystemExit) as ended:
            program.main(line, prog_name="vdbevents")
        assert ended.value.code == 0
        printed.append(capsys.readouterr().out)

    assert printed[0] == printed[1] != ""


def test_help_of_an_unknown_command_ends_with_wrong_usage(capsys):
    with pytest.raises(SystemExit) as ended:
        get_command(whole_app()).main(["help", "qery"], prog_name="vdbevents")

    assert ended.value.code == ExitCode.BAD_INPUT
    assert "query" in capsys.readouterr().err


def test_every_document_that_a_help_names_is_there():
    named = {
        name
        for text in map(page, contexts(), [80] * len(contexts()))
        for name in re.findall(r"[\w/.~-]*docs/\S+\.md", text)
    }

    assert {"docs/query.md", str(documents.documents_folder() / "query.md")} <= named
    root = documents.documents_folder().parent
    assert [name for name in named if not (root / name).is_file()] == []


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "vdbevents query --grep 'a b' -n 5 | head",
            ["vdbevents query \\", "    --grep 'a b' -n 5 \\", "    | head"],
        ),
        ("vdbevents pause          until some resume", ["# until some resume", "vdbevents pause"]),
        ("vdbevents pause          until", ["vdbevents pause  # until"]),
        ("10:15, yesterday, friday, -3h", ["10:15, yesterday, friday,", "  -3h"]),
        ("vdbevents stop", ["vdbevents stop"]),
    ],
)
def test_a_line_that_is_too_long_is_broken_where_it_can_still_be_used(line, shown):
    assert laid_out(f"\b\n  {line}", 27).split("\n") == [f"  {part}" for part in shown]
