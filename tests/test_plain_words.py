"""Plain command lines are read without typer, which gives the same for them."""

import functools
import importlib
import shlex

import pytest
import typer
from hypothesis import given, strategies as st
from typer.core import TyperOption
from typer.main import get_command

from vdbevents.cli.app import hand_to_typer, whole_app
from vdbevents.cli.command_classes import ProgramCommand
from vdbevents.cli.declared import parameters_of
from vdbevents.cli.overview import COMMANDS
from vdbevents.cli.plain_words import read_plainly

VALUES = (
    "10m",
    "0",
    "20",
    "5",
    "1.5",
    "text",
    "json",
    "utc",
    "a b",
    "-",
    "-3h",
    "",
    "é",
    "--",
    "=x",
    "9" * 20,
)


@functools.cache
def readable():
    """The commands that plain words may be read for, by their names."""
    modules = {name: importlib.import_module(f"vdbevents.cli.{name}") for name in COMMANDS}
    found = {
        name: getattr(getattr(module, name, None), "__wrapped__", None) for name, module in modules.items()
    }
    return {
        name: command for name, command in found.items() if command and not hasattr(modules[name], "COMMAND")
    }


def plainly(name, words):
    return read_plainly(parameters_of(readable()[name]), words)


@functools.cache
def read_by_typer(name):
    """What reads a command's words with typer: it returns the values, or None where typer refuses them."""
    read = []

    def spy(**values):
        read.append(values)

    spy.parameters = parameters_of(readable()[name])
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command(cls=ProgramCommand)(hand_to_typer(spy))
    command = get_command(app)

    def values_of(words):
        read.clear()
        with pytest.raises(SystemExit):
            command.main(list(words), prog_name=name)
        return read[0] if read else None

    return values_of


@functools.cache
def forms(name):
    """All names of a command's options, and some that it does not have."""
    command = get_command(whole_app()).commands[name]
    options = [one for one in command.params if isinstance(one, TyperOption)]
    return sorted(
        {form for one in options for form in (*one.opts, *one.secondary_opts)} | {"--no-limit", "-x", "--"}
    )


def word_lists(name):
    form, value = st.sampled_from(forms(name)), st.sampled_from(VALUES)
    part = st.one_of(
        form.map(lambda one: [one]),
        st.tuples(form, value).map(list),
        st.tuples(form, value).map(lambda both: ["=".join(both)]),
        st.tuples(form, value).map(lambda both: ["".join(both)]),
        value.map(lambda one: [one]),
    )
    return st.lists(part, max_size=4).map(lambda parts: [word for words in parts for word in words])


@pytest.mark.long
@given(st.data())
def test_typer_reads_the_same_from_words_that_are_read_without_it(data):
    name = data.draw(st.sampled_from(sorted(readable())))
    words = data.draw(word_lists(name))

    values = plainly(name, words)
    if values is not None:
        assert values == read_by_typer(name)(words)


@pytest.mark.long
@pytest.mark.parametrize("name", ["query", "gaps", "status", "stop"])
def test_typer_reads_the_same_from_each_option_that_is_read_without_it(name):
    lines = [[form, *values] for form in forms(name) for values in ([], *([value] for value in VALUES))]
    both = [(words, read, read_by_typer(name)(words)) for words in lines if (read := plainly(name, words))]

    assert [(words, read) for words, read, by_typer in both if read != by_typer] == []
    assert len(both) > len(forms(name)) / 2


@pytest.mark.parametrize(
    "line",
    [
        "query",
        "query --last 10m",
        "query --last=10m --grep 'deploy now' -g code",
        "query -n 20",
        "query -n20 -o jsonl --no-cache",
        "query /some/place --since 10:15 --until 10:30 --channel transcript --color never",
        "query - --count --min-confidence 0.5",
        "status",
        "status /some/place --json",
        "status --watch --every 5s",
        "stop --timeout 3",
        "gaps --last 1w --open --json",
        "gaps --dir /some/place",
        "transcript --last 1h",
        "sessions",
        "stats --last 1d -o json",
    ],
)
def test_a_line_as_people_type_it_needs_no_typer(line):
    name, *words = shlex.split(line)

    assert plainly(name, words) == read_by_typer(name)(words) is not None


@pytest.mark.parametrize(
    "line",
    [
        "query --help",
        "query --lasst 10m",
        "query --last",
        "query --last 10m --last 5m",
        "query --since -3h",
        "query -n -1",
        "query -n x",
        "query -o yaml",
        "query a b",
        "query ''",
        "query --no-last",
        "query -- x",
        "query --count=yes",
        "stop --timeout soon",
        "listen",
        "help query",
    ],
)
def test_a_line_that_is_wrong_or_seldom_is_left_to_typer(line):
    name, *words = shlex.split(line)

    assert name not in readable() or plainly(name, words) is None
