"""What the file and the environment set, held against a small program with every kind of option."""

import json
import re
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.main import get_command

from vdbevents.cli import configuration
from vdbevents.cli.app import whole_app
from vdbevents.errors import InputError

PACKAGE = Path(configuration.__file__).parent.parent
FILE = Path("/etc/xdg/vdbevents/config.toml")


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def paint_app(seen):
    """`paint`, and in a group `shop order`; what they are called with is appended to `seen`."""
    program = typer.Typer(cls=configuration.ConfiguredGroup, rich_markup_mode=None)
    shop = typer.Typer()

    @program.command()
    def paint(  # noqa: PLR0917 - as typer has it
        name: Annotated[str, typer.Argument()] = "wall",
        layers: Annotated[int, typer.Option(min=1, max=9)] = 1,
        width: Annotated[float, typer.Option("-w", "--brush-width", min=0.5)] = 2.0,
        colour: Colour = Colour.RED,
        label: list[str] | None = None,
        shine: bool = True,
        as_json: Annotated[bool, typer.Option("--json")] = False,
        until: Path | None = None,
        cwd: Path | None = None,
        daemon: Annotated[bool, typer.Option("--daemon")] = False,
    ) -> None:
        seen.append(dict(locals()) | {"seen": None})

    @shop.command()
    def order(count: Annotated[int, typer.Option(min=1)] = 1) -> None:
        seen.append({"count": count})

    @shop.command("send-back")
    def send_back(reason: str = "") -> None:
        seen.append({"reason": reason})

    program.add_typer(shop, name="shop")
    return program


def found_in(text="", environ=None):
    """The configuration that a file's text and variables make."""
    import tomllib

    content = configuration.Content(FILE, exists=True, table=tomllib.loads(text))
    return configuration.gather(get_command(paint_app([])), content, environ or {})


def setting(found, command, option):
    return next(one for one in found.settings if (one.command, one.option) == (command, option))


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls the small program: `call("paint", toml="…", VDBEVENTS_…="…")` answers with what a command got."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run(*arguments, toml="", **environ):
        (tmp_path / "vdbevents").mkdir(exist_ok=True)
        (tmp_path / "vdbevents" / "config.toml").write_text(toml, encoding="utf-8")
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        seen = []
        paint_app(seen)(list(arguments), standalone_mode=False)
        return seen[0] if seen else None

    return run


# Where it stands.


@pytest.mark.parametrize("value", [None, "", "relative/path"])
def test_without_an_absolute_xdg_config_home_the_file_is_in_the_home(value, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    environ = {} if value is None else {"XDG_CONFIG_HOME": value}

    assert configuration.locate(environ) == tmp_path / ".config" / "vdbevents" / "config.toml"


def test_xdg_config_home_names_the_folder(tmp_path):
    file = configuration.locate({"XDG_CONFIG_HOME": str(tmp_path)})

    assert file == tmp_path / "vdbevents" / "config.toml"


def test_without_a_home_there_is_no_file_and_no_error(monkeypatch):
    def no_home():
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)

    assert configuration.locate({}) is None
    assert configuration.load(None) == configuration.Content(None)


def test_a_file_that_is_not_there_is_no_problem(tmp_path):
    (tmp_path / "file").touch()

    assert configuration.load(tmp_path / "none") == configuration.Content(tmp_path / "none")
    assert configuration.load(tmp_path / "file" / "none") == configuration.Content(tmp_path / "file" / "none")


def test_the_mark_that_an_editor_on_windows_puts_first_is_passed_over(tmp_path):
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xef\xbb\xbf[listen]\r\nhold = 1\r\n")

    assert configuration.load(file).table == {"listen": {"hold": 1}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[listen\n", "cannot parse {}: Expected ']'"),
        (b"[listen]\nhold 3\n", "(at line 2, column 6)"),
        (b"x = " + b"[" * 5000, "cannot parse {}: "),
        (b"x = " + b"9" * 5000, "cannot parse {}: "),
        (b"x = '\xff'", "cannot read {}: 'utf-8'"),
    ],
)
def test_a_file_that_does_not_parse_is_named_with_the_place_and_stops_everything(content, said, tmp_path):
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    found = configuration.load(file)

    assert said.format(file) in found.problem.message
    assert found.exists
    assert found.problem.hint
    assert found.problem.stops(("any", "command"))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert configuration.load(tmp_path).problem.message.startswith(f"cannot read {tmp_path}: ")


def test_the_parser_of_toml_is_loaded_only_if_there_is_a_file(tmp_path):
    program = (
        "import sys; from vdbevents.cli.configuration import *; load(Path(sys.argv[1])); print(*sys.modules)"
    )

    def loaded():
        command = [sys.executable, "-c", program, str(tmp_path / "config.toml")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    assert "tomllib" not in loaded()
    (tmp_path / "config.toml").touch()
    assert "tomllib" in loaded()


# What is in force.


@pytest.mark.parametrize(
    ("toml", "environ", "flags", "expected"),
    [
        ("", {}, [], 1),
        ("", {}, ["--layers=4"], 4),
        ("", {"VDBEVENTS_PAINT_LAYERS": "3"}, [], 3),
        ("", {"VDBEVENTS_PAINT_LAYERS": "3"}, ["--layers=4"], 4),
        ("[paint]\nlayers = 2", {}, [], 2),
        ("[paint]\nlayers = 2", {}, ["--layers=4"], 4),
        ("[paint]\nlayers = 2", {"VDBEVENTS_PAINT_LAYERS": "3"}, [], 3),
        ("[paint]\nlayers = 2", {"VDBEVENTS_PAINT_LAYERS": "3"}, ["--layers=4"], 4),
        ("[paint]\nlayers = 2", {"VDBEVENTS_PAINT_LAYERS": ""}, [], 2),
        ("[paint]\nlayers = 2", {"VDBEVENTS_PAINT_LAYERS": ""}, ["--layers=1"], 1),
    ],
)
def test_flags_win_over_the_environment_and_that_over_the_file(call, toml, environ, flags, expected):
    assert call("paint", *flags, toml=toml, **environ)["layers"] == expected


@pytest.mark.parametrize(
    ("toml", "environ", "flags", "expected"),
    [
        ("shine = false", {}, [], False),
        ("shine = false", {}, ["--shine"], True),
        ("shine = true", {"VDBEVENTS_PAINT_SHINE": "no"}, [], False),
        ("shine = false", {"VDBEVENTS_PAINT_SHINE": "on"}, ["--no-shine"], False),
        ("shine = false", {"VDBEVENTS_PAINT_SHINE": "1"}, [], True),
    ],
)
def test_a_flag_is_named_by_its_positive_name(call, toml, environ, flags, expected):
    assert call("paint", *flags, toml=f"[paint]\n{toml}", **environ)["shine"] is expected


@pytest.mark.parametrize(
    ("toml", "environ", "flags", "expected"),
    [
        ("", {}, [], None),
        ("label = ['a b', 'c']", {}, [], ["a b", "c"]),
        ("label = []", {}, [], None),
        ("label = ['a']", {"VDBEVENTS_PAINT_LABEL": "b c\n\nd\n"}, [], ["b c", "d"]),
        ("label = ['a']", {"VDBEVENTS_PAINT_LABEL": "b"}, ["--label", "e f", "--label=g"], ["e f", "g"]),
    ],
)
def test_a_list_is_one_in_the_file_and_lines_in_the_environment(call, toml, environ, flags, expected):
    assert call("paint", *flags, toml=f"[paint]\n{toml}", **environ)["label"] == expected


def test_a_key_is_the_long_name_of_the_option_with_either_kind_of_dash(call):
    assert call("paint", toml="[paint]\nbrush-width = 3")["width"] == 3.0
    assert call("paint", toml="[paint]\nbrush_width = 3.5")["width"] == 3.5
    assert call("paint", VDBEVENTS_PAINT_BRUSH_WIDTH="4", VDBEVENTS_PAINT_JSON="yes")["width"] == 4.0
    assert call("paint", toml="[paint]\njson = true\nuntil = '~/x'\ncolour = 'blue'") | {"name": ""} == {
        "name": "", "layers": 1, "width": 4.0, "colour": Colour.BLUE, "label": None, "shine": True,
        "as_json": True, "until": Path("~/x"), "cwd": None, "daemon": False, "seen": None,
    }  # fmt: skip


def test_a_command_in_a_group_has_a_table_in_that_of_the_group(call):
    toml = "[shop.order]\ncount = 2\n[shop.send_back]\nreason = 'torn'"

    assert call("shop", "order", toml=toml) == {"count": 2}
    assert call("shop", "send-back", toml=toml) == {"reason": "torn"}
    assert call("shop", "order", toml=toml, VDBEVENTS_SHOP_ORDER_COUNT="3") == {"count": 3}
    assert call("shop", "send-back", VDBEVENTS_SHOP_SEND_BACK_REASON="old") == {"reason": "old"}


@pytest.mark.parametrize("name", ["HELP", "VERSION", "PAINT_HELP", "SHOW_COMPLETION"])
def test_what_ends_the_program_at_once_cannot_be_a_default(call, name):
    # Were it a default, the command would not be reached.
    assert call("shop", "order", **{f"VDBEVENTS_{name}": "1"}) == {"count": 1}


def test_each_setting_says_where_it_comes_from():
    found = found_in("[paint]\nlayers = 2\nshine = false", {"VDBEVENTS_PAINT_SHINE": "on"})
    source = {one.option: (one.value, one.source) for one in found.settings if one.command == "paint"}

    assert found.problems == ()
    assert source == {
        "layers": (2, "config.toml"),
        "brush-width": (2.0, "default"),
        "colour": ("red", "default"),
        "label": (None, "default"),
        "shine": (True, "VDBEVENTS_PAINT_SHINE"),
        "json": (False, "default"),
        "until": (None, "default"),
    }


def test_every_option_of_the_program_has_a_variable_of_its_own_that_is_not_needed_otherwise():
    found = configuration.gather(get_command(whole_app()), configuration.Content(None), {})
    variables = [one.variable for one in found.settings]

    assert {"VDBEVENTS_LISTEN_HOLD", "VDBEVENTS_QUERY_GREP", "VDBEVENTS_STATUS_JSON"} <= set(variables)
    assert len(set(variables)) == len(variables)
    assert not any(re.search("_(ENV_FILE|CWD|DAEMON|HELP|VERSION)$", variable) for variable in variables)
    assert not set(variables) & configuration._OTHER_VARIABLES


def test_every_variable_that_the_program_s_text_names_is_known():
    named = set()
    for file in PACKAGE.rglob("*.py"):
        named |= set(re.findall(r"VDBEVENTS_[A-Z_]*[A-Z]", file.read_text(encoding="utf-8")))
    found = configuration.gather(
        get_command(whole_app()), configuration.Content(None), dict.fromkeys(named, "1")
    )

    assert {"VDBEVENTS_CAPTURE_RUNTIME", "VDBEVENTS_LISTEN_HOLD"} <= named
    assert found.problems == ()


# What is wrong.


@pytest.mark.parametrize(
    ("toml", "said", "cure", "stopped"),
    [
        ("[paint]\nlayer = 2", "vdbevents paint has no option layer", "did you mean layers? ", "paint"),
        ("[paint]\nzzz = 2", "[paint]: vdbevents paint has no", "config paint --all lists", "paint"),
        ("[paint]\nw = 2", "vdbevents paint has no option w", "config paint --all lists", "paint"),
        ("[paint]\ndaemon = true", "--daemon takes no default", "on the command line", "paint"),
        ("[paint]\ncwd = '/'", "--cwd takes no default", "on the command line", "paint"),
        ("[pain]\nlayers = 2", "no command for the table [pain]", "did you mean paint? ", "paint"),
        ("[zzz]\nlayers = 2", "no command for the table [zzz]", "vdbevents config --all lists", ""),
        ("[shop.ordr]\ncount = 2", "the table [shop.ordr]", "did you mean shop.order? ", "shop order"),
        ("[shop.zzz]\ncount = 2", "the table [shop.zzz]", "vdbevents config --all lists", "shop"),
        ("layers = 2", "layers stands in no command's table", "such as [paint]: ", "paint"),
        ("zzz = 2", "zzz stands in no command's table", "vdbevents config --all lists", ""),
        ("[shop]\ncount = 2", "shop.count stands in no", "such as [shop.order]", "shop order"),
        ("[shop]\nlayers = 2", "shop.layers stands in no", "vdbevents config --all lists", "shop"),
        ("paint = 2", "paint is a command", "begin the table with: [paint]", "paint"),
        ("[[paint]]\nlayers = 2", "paint is a command", "begin the table with: [paint]", "paint"),
        ("[paint]\nlayers = '2'", 'layers in [paint]: "2" is not a whole number', "paint --help", "paint"),
        ("[paint]\nlayers = 2.0", "layers in [paint]: 2.0 is not a whole number", "paint --help", "paint"),
        ("[paint]\nlayers = true", "layers in [paint]: true is not a whole number", "paint --help", "paint"),
        ("[paint]\nlayers = [2]", "layers in [paint]: [2] is not a whole number", "paint --help", "paint"),
        ("[paint.layers]\nx = 2", 'layers in [paint]: {"x": 2} is not a whole', "paint --help", "paint"),
        ("[paint]\nlayers = 10", "layers in [paint]: 10 is not in the range 1<=x<=9", "--help", "paint"),
        ("[paint]\nbrush-width = false", "brush-width in [paint]: false is not a number", "--help", "paint"),
        ("[paint]\nbrush-width = nan", "nan is no number to count with", "--help", "paint"),
        ("[paint]\nbrush-width = inf", "inf is no number to count with", "--help", "paint"),
        (f"[paint]\nbrush-width = 1{'0' * 400}", "int too large", "--help", "paint"),
        ("[paint]\nshine = 1", "shine in [paint]: 1 is not true or false", "--help", "paint"),
        ("[paint]\nshine = 'yes'", 'shine in [paint]: "yes" is not true or false', "--help", "paint"),
        ("[paint]\ncolour = 'mud'", "'mud' is not one of 'red', 'blue'", "--help", "paint"),
        ("[paint]\nuntil = 2026-03-02", '"2026-03-02" is not text in quotes', "--help", "paint"),
        ("[paint]\nlabel = 'a'", 'label in [paint]: "a" is not a list: write ["a"]', "--help", "paint"),
        ("[paint]\nlabel = ['a', 2]", "label in [paint]: 2 is not text in quotes", "--help", "paint"),
        ("[shop.order]\ncount = 0", "count in [shop.order]: 0 is not in the", "--help", "shop order"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_file_is_said_with_the_cure_and_stops_whom_it_concerns(
    toml, said, cure, stopped
):
    (problem,) = found_in(toml).problems

    assert problem.message.startswith(f"{FILE}: ")
    assert said in problem.message
    assert cure in problem.hint
    assert [" ".join(path) for path in problem.commands] == ([stopped] if stopped else [])


@pytest.mark.parametrize(
    ("variable", "value", "said", "cure", "stopped"),
    [
        ("PAINT_LAYERS", "two", "'two' is not a valid int range", "paint --help", "paint"),
        ("PAINT_LAYERS", "0", "0 is not in the range 1<=x<=9", "paint --help", "paint"),
        ("PAINT_BRUSH_WIDTH", "nan", "nan is no number to count with", "paint --help", "paint"),
        ("PAINT_SHINE", "maybe", "'maybe' is not a valid boolean", "paint --help", "paint"),
        ("PAINT_COLOUR", "mud", "'mud' is not one of 'red', 'blue'", "paint --help", "paint"),
        ("PAINT_LAYER", "1", "vdbevents paint has no option layer", "did you mean layers? ", "paint"),
        ("PAINT_DAEMON", "1", "--daemon takes no default", "on the command line", "paint"),
        ("PAIN_LAYERS", "1", "no command or option", "did you mean VDBEVENTS_PAINT_LAYERS? ", "paint"),
        ("SHOP_SEND_BACK_RESON", "x", "shop send-back has no option reson", "reason? ", "shop send-back"),
        ("SHOP_OOPS", "1", "no command or option", "vdbevents config --all lists", "shop"),
        ("X", "1", "no command or option", "vdbevents config --all lists", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_environment_is_said_with_the_variable(variable, value, said, cure, stopped):
    (problem,) = found_in(environ={f"VDBEVENTS_{variable}": value}).problems

    assert problem.message.startswith(f"VDBEVENTS_{variable}: ")
    assert said in problem.message
    assert cure in problem.hint
    assert [" ".join(path) for path in problem.commands] == ([stopped] if stopped else [])


def test_what_is_wrong_with_one_command_stops_no_other(call, capfd):
    toml = "[paint]\nlayers = 20\n[shop.order]\ncount = 2"

    assert call("shop", "order", toml=toml) == {"count": 2}
    assert call("paint", toml=toml) is None
    said = capfd.readouterr().err
    assert "config.toml: layers in [paint]: 20 is not in the range 1<=x<=9\n" in said
    assert "  → see: vdbevents paint --help, and: vdbevents config\n" in said


def test_a_variable_that_is_good_does_not_hide_that_the_file_is_not(call, capfd):
    assert call("paint", toml="[paint]\nlayers = 20", VDBEVENTS_PAINT_LAYERS="3") is None
    assert "20 is not in the range" in capfd.readouterr().err


# How it is shown.


def test_what_is_set_is_shown_by_command_and_aligned():
    found = found_in(
        "[paint]\nbrush-width = 3\nlabel = ['ä', '日本']\n[shop.order]\ncount = 2",
        {"VDBEVENTS_PAINT_SHINE": "off"},
    )

    assert configuration.render(found, everything=False, as_json=False) == (
        f"file: {FILE}\n\n"
        "vdbevents paint\n"
        "  brush-width  3.0            config.toml\n"
        '  label        ["ä", "日本"]  config.toml\n'
        "  shine        false          VDBEVENTS_PAINT_SHINE\n\n"
        "vdbevents shop order\n"
        "  count        2              config.toml"
    )


def test_a_long_value_does_not_move_the_others():
    found = found_in(f"[paint]\nlayers = 2\nlabel = ['{'x' * 100}']")
    shown = configuration.render(found, everything=False, as_json=False)

    assert "  layers  2  config.toml\n" in shown
    assert f'  label   ["{"x" * 100}"]  config.toml' in shown


def test_with_all_the_defaults_are_shown_with_the_variable_that_sets_them():
    found = configuration.only(found_in("[shop.order]\ncount = 2"), ["shop"])

    assert configuration.render(found, everything=True, as_json=False) == (
        f"file: {FILE}\n\n"
        "vdbevents shop order\n"
        "  count   2   config.toml\n\n"
        "vdbevents shop send-back\n"
        '  reason  ""  default (VDBEVENTS_SHOP_SEND_BACK_REASON)'
    )


def test_a_command_that_there_is_not_is_told_with_the_closest():
    with pytest.raises(InputError, match="no command vdbevents shop ordr") as told:
        configuration.only(found_in(), ["shop", "ordr"])

    assert "did you mean shop order? " in told.value.hint


def test_text_from_elsewhere_is_harmless_on_a_terminal():
    hostile = "\\u001b[31m\\u009b31m\\u202e"
    found = found_in(f'[paint]\nuntil = "{hostile}"\n', {"VDBEVENTS_PAINT_LABEL": "\x1b]0;x\x07\n\udc9b31m"})
    shown = configuration.render(found, everything=False, as_json=False)
    as_json = configuration.render(found, everything=False, as_json=True)

    assert len(shown.splitlines()) == 5
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert as_json.isascii()
    assert setting(found, "paint", "until").value == "\x1b[31m\x9b31m\u202e"
    assert json.loads(as_json)["settings"][6]["value"] == "\x1b[31m\x9b31m\u202e"


def test_the_help_shows_the_default_in_force_and_its_source_and_is_harmless(call, capfd):
    call("paint", "--help", toml='[paint]\nuntil = "\\u009b31m"\nshine = false', VDBEVENTS_PAINT_LAYERS="3")
    said = " ".join(capfd.readouterr().out.split())

    assert "[default: (3, VDBEVENTS_PAINT_LAYERS); 1<=x<=9]" in said
    assert "[default: (false, config.toml)]" in said
    assert '[default: ("�31m", config.toml)]' in said
    assert "[default: red]" in said
