"""Groups of options: a command takes one parameter, and typer sees each option of it."""

import importlib
import os
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from vdbevents.cli.app import hand_to_typer
from vdbevents.cli.declared import Option, parameters_of
from vdbevents.cli.diagnostics import Color
from vdbevents.cli.options import (
    BoundOptions,
    EnvironmentOptions,
    KeyOptions,
    OptionGroup,
    expand_groups,
    words_of,
)
from vdbevents.cli.overview import COMMANDS
from vdbevents.cli.query_options import (
    TIMES_HELP,
    FilterOptions,
    OutputFormat,
    ResultOptions,
    SourceOptions,
    TimeBasis,
    WindowOptions,
)
from vdbevents.cli.summary_options import too_small
from vdbevents.errors import InputError
from vdbevents.query.output.budget import Bound


class Base(OptionGroup):
    size: Annotated[int, Option(min=0, help="The size.")] = 1
    name: Annotated[str, Option()] = "base"


class Derived(Base):
    flag: Annotated[bool, Option("--flag")] = False
    size: Annotated[int, Option(min=0, help="Another size.")] = 5


def app_of(command):
    app = typer.Typer(rich_markup_mode=None)
    app.command()(hand_to_typer(expand_groups(command)))
    return app


def printed(command, *arguments):
    done = CliRunner().invoke(app_of(command), arguments)
    assert done.exit_code == 0, done.output
    return done.output


def show(*, before: Annotated[str, Option()] = "", options: Derived) -> None:
    typer.echo(f"{before} {options.size} {options.name} {options.flag}")


def test_a_command_gets_a_group_with_the_given_values_and_the_defaults():
    assert printed(show) == " 5 base False\n"
    assert printed(show, "--before=x", "--size=7", "--name=y", "--flag") == "x 7 y True\n"


def test_an_invalid_value_of_a_group_is_refused_like_any_other():
    assert CliRunner().invoke(app_of(show), ["--size=-1"]).exit_code == 2


def test_a_subclass_puts_its_options_first_and_redeclares_those_of_its_base_in_place():
    assert [option.name for option in Derived.parameters()] == ["flag", "size", "name"]
    assert "Another size." in printed(show, "--help")


def test_a_command_without_a_group_stays_as_it_is():
    def command() -> None:
        """Do nothing."""

    assert expand_groups(command) is command


def test_replacing_an_option_leaves_the_others_and_the_original():
    options = Derived(name="x")

    assert vars(options.replace(size=2)) == {"flag": False, "size": 2, "name": "x"}
    assert options.size == 5


@pytest.fixture
def with_key_file(tmp_path, monkeypatch):
    """A user with `api-key` beside the configuration, in a folder of its own."""
    for name in ("VIDEO_DB_API_KEY", "VIDEO_DB_API", "VIDEO_DB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    file = tmp_path / "vdbevents" / "api-key"
    file.parent.mkdir()
    file.write_text("sk-usual")
    file.chmod(0o600)
    return file


def test_the_key_beside_the_configuration_is_taken_if_there_is_no_other(with_key_file, tmp_path, monkeypatch):
    assert KeyOptions().credentials.api_key == "sk-usual"

    (tmp_path / "named").write_text("sk-named")
    (tmp_path / "named").chmod(0o600)
    assert KeyOptions(key_file=tmp_path / "named").credentials.api_key == "sk-named"
    (tmp_path / "work" / ".env").write_text("VIDEO_DB_API_KEY=sk-in-env-file")
    assert KeyOptions().credentials.api_key == "sk-in-env-file"
    monkeypatch.setenv("VIDEO_DB_API_KEY", "sk-exported")
    assert KeyOptions().credentials.api_key == "sk-exported"


def test_the_key_beside_the_configuration_is_not_sent_where_a_strange_folder_wants_it(
    with_key_file, tmp_path
):
    (tmp_path / "work" / ".env").write_text("VIDEO_DB_API=http://elsewhere.example")
    with pytest.raises(InputError) as raised:
        _ = KeyOptions().credentials
    assert raised.value.error_id == "env-file-redirects"


@pytest.mark.skipif(os.name != "posix", reason="no file modes here")
def test_the_key_beside_the_configuration_must_be_private_too(with_key_file):
    with_key_file.chmod(0o644)
    with pytest.raises(InputError) as raised:
        _ = KeyOptions().credentials
    assert raised.value.error_id == "key-file-not-private"


def test_the_words_of_a_query_s_options_mean_the_same_options():
    groups = (SourceOptions, WindowOptions, FilterOptions, ResultOptions, BoundOptions, EnvironmentOptions)
    values = {
        "journal": Path("a b"),
        "files": ["x=-", "y"],
        "archived": True,
        "since": "-3h",
        "tz": "UTC",
        "by": TimeBasis.EVENT,
        "grep": ["-x", "it's"],
        "ignore_case": True,
        "fixed": True,
        "limit": 3,
        "channel": ["a,b"],
        "not_channel": ["c"],
        "everything": True,
        "min_confidence": 0.5,
        "offset": 7,
        "output": OutputFormat.JSON,
        "as_json": True,
        "pager": False,
        "cache": False,
        "width": 9,
        "color": Color.ALWAYS,
        "no_formulas": True,
        "max_tokens": 5,
        "cwd": Path("/tmp/x y"),
    }
    given = [
        group(**{option.name: values.get(option.name, option.default) for option in group.parameters()})
        for group in groups
    ]
    read = []

    def command(
        *,
        named: SourceOptions,
        when: WindowOptions,
        filtering: FilterOptions,
        printing: ResultOptions,
        sized: BoundOptions,
        options: EnvironmentOptions,
    ) -> None:
        read.extend([named, when, filtering, printing, sized, options])

    printed(command, *words_of(*given))
    assert [vars(group) for group in read] == [vars(group) for group in given]
    assert "--json" not in words_of(*read)  # `-o json` says it


def test_options_at_their_defaults_have_no_words():
    assert (
        words_of(WindowOptions(**{option.name: option.default for option in WindowOptions.parameters()}))
        == []
    )


def test_each_command_with_a_window_says_of_its_times_that_they_are_local():
    for name in COMMANDS:
        module = importlib.import_module(f"vdbevents.cli.{name}")
        command = getattr(module, name, None)
        if callable(command) and "tz" in {one.name for one in parameters_of(command)} and name != "sql":
            assert TIMES_HELP in module.HELP, name


@pytest.mark.parametrize(
    ("bound", "named"),
    [
        (Bound(tokens=3), ["--max-tokens: 3 ", "--max-tokens 200 "]),
        (Bound(bytes=1000), ["--max-bytes: 1000 ", "--max-bytes 4000 "]),
        (Bound(bytes=1000, tokens=30), ["--max-tokens: 30 ", "--max-tokens 200 "]),
        (Bound(bytes=100, tokens=30), ["--max-bytes: 100 ", "--max-bytes 800 "]),
    ],
)
def test_of_two_bounds_the_tighter_one_is_too_small_and_what_is_advised_suffices(bound, named):
    error = too_small(bound)

    for said, text in zip((str(error), error.hint), named, strict=True):
        assert text in said + " "
