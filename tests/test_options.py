"""Groups of options: a command takes one parameter, and typer sees each option of it."""

from typing import Annotated

import typer
from typer.testing import CliRunner

from vdbevents.cli.options import OptionGroup, expand_groups


class Base(OptionGroup):
    size: Annotated[int, typer.Option(min=0, help="The size.")] = 1
    name: Annotated[str, typer.Option()] = "base"


class Derived(Base):
    flag: Annotated[bool, typer.Option("--flag")] = False
    size: Annotated[int, typer.Option(min=0, help="Another size.")] = 5


def app_of(command):
    app = typer.Typer(rich_markup_mode=None)
    app.command()(expand_groups(command))
    return app


def printed(command, *arguments):
    done = CliRunner().invoke(app_of(command), arguments)
    assert done.exit_code == 0, done.output
    return done.output


def show(*, before: Annotated[str, typer.Option()] = "", options: Derived) -> None:
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
