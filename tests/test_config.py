"""Defaults from the file and the environment, for a small program with every kind of option."""

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

from vdbevents.cli import config, configuration, surroundings
from vdbevents.cli.app import whole_app
from vdbevents.errors import InputError

PACKAGE = Path(configuration.__file__).parent.parent


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


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "vdbevents" / "config.toml"
    path.parent.mkdir()
    return path


@pytest.fixture
def gathered(file):
    """Gather the configuration of a file's text and of variables: `gathered("…", {"VDBEVENTS_…": "…"})`."""

    def gather(text="", environ=None):
        file.write_text(text, encoding="utf-8")
        environ = {"XDG_CONFIG_HOME": str(file.parent.parent), **(environ or {})}
        return configuration.gather(get_command(paint_app([])), environ)

    return gather


def setting(configuration, command, option):
    return next(one for one in configuration.settings if (one.command, one.option) == (command, option))


@pytest.fixture
def call(file, tmp_path, monkeypatch):
    """Call the small program: `call("paint", toml="…", VDBEVENTS_…="…")` returns a command's arguments."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run(*arguments, toml="", **environ):
        file.write_text(toml, encoding="utf-8")
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        seen = []
        paint_app(seen)(list(arguments), standalone_mode=False)
        return seen[0] if seen else None

    return run


# Where the file is.


@pytest.mark.parametrize("value", [None, "", "relative/path"])
def test_without_an_absolute_xdg_config_home_the_file_is_in_the_home(value, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    environ = {} if value is None else {"XDG_CONFIG_HOME": value}

    assert surroundings.locate(environ) == tmp_path / ".config" / "vdbevents" / "config.toml"


def test_xdg_config_home_names_the_folder(tmp_path):
    located = surroundings.locate({"XDG_CONFIG_HOME": str(tmp_path)})

    assert located == tmp_path / "vdbevents" / "config.toml"


def test_without_a_home_there_is_no_file_and_no_error(monkeypatch):
    def no_home():
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)

    assert surroundings.locate({}) is None
    assert configuration.load(None) is None


def test_a_missing_file_is_not_a_problem(tmp_path):
    (tmp_path / "file").touch()

    assert configuration.load(tmp_path / "none") is None
    assert configuration.load(tmp_path / "file" / "none") is None


def test_a_missing_file_is_shown_as_missing(tmp_path):
    settings = configuration.gather(get_command(paint_app([])), {"XDG_CONFIG_HOME": str(tmp_path)})

    assert (settings.file, settings.exists) == (tmp_path / "vdbevents" / "config.toml", False)
    assert settings.problems == ()


def test_a_byte_order_mark_is_skipped(file):
    file.write_bytes(b"\xef\xbb\xbf[listen]\r\nhold = 1\r\n")

    assert configuration.load(file) == {"listen": {"hold": 1}}


@pytest.mark.parametrize(
    ("content", "error_id", "place"),
    [
        (b"[listen\n", "config-not-toml", "at line 1, column 8"),
        (b"[listen]\nhold 3\n", "config-not-toml", "(at line 2, column 6)"),
        (b"x = " + b"[" * 5000, "config-not-toml", ""),
        (b"x = " + b"9" * 5000, "config-not-toml", ""),
        (b"x = '\xff'", "config-unreadable", "'utf-8'"),
    ],
)
def test_a_file_that_does_not_parse_is_named_with_the_place_and_stops_everything(
    content, error_id, place, file
):
    file.write_bytes(content)
    environ = {"XDG_CONFIG_HOME": str(file.parent.parent)}
    found = configuration.gather(get_command(paint_app([])), environ)
    (problem,) = found.problems

    assert problem.error_id == error_id
    assert str(file) in problem.message
    assert place in problem.message
    assert found.exists
    assert problem.hint
    assert problem.stops(("any", "command"))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError) as raised:
        configuration.load(tmp_path)

    assert raised.value.error_id == "config-unreadable"
    assert str(tmp_path) in raised.value.message


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


# The value of each option.


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
def test_an_option_that_ends_the_program_cannot_have_a_default(call, name):
    # Were it a default, the command would not be reached.
    assert call("shop", "order", **{f"VDBEVENTS_{name}": "1"}) == {"count": 1}


def test_each_setting_says_where_it_comes_from(gathered):
    found = gathered("[paint]\nlayers = 2\nshine = false", {"VDBEVENTS_PAINT_SHINE": "on"})
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


def test_every_option_of_the_program_has_a_variable_of_its_own_that_is_not_needed_otherwise(tmp_path):
    found = configuration.gather(get_command(whole_app()), {"XDG_CONFIG_HOME": str(tmp_path)})
    variables = [one.variable for one in found.settings]

    assert {"VDBEVENTS_LISTEN_HOLD", "VDBEVENTS_QUERY_GREP", "VDBEVENTS_STATUS_JSON"} <= set(variables)
    assert len(set(variables)) == len(variables)
    assert not any(re.search("_(ENV_FILE|CWD|DAEMON|HELP|VERSION)$", variable) for variable in variables)
    assert not set(variables) & surroundings.OTHER_VARIABLES


def test_every_variable_that_the_program_s_text_names_is_known(tmp_path):
    named = set()
    for file in PACKAGE.rglob("*.py"):
        named |= set(re.findall(r"VDBEVENTS_[A-Z_]*[A-Z]", file.read_text(encoding="utf-8")))
    environ = {"XDG_CONFIG_HOME": str(tmp_path), **dict.fromkeys(named, "1")}
    found = configuration.gather(get_command(whole_app()), environ)

    assert {"VDBEVENTS_CAPTURE_RUNTIME", "VDBEVENTS_LISTEN_HOLD"} <= named
    assert found.problems == ()


# What is wrong.

FIXED, OPTION, NAME, VALUE = (
    f"config-{kind}" for kind in ("option-fixed", "option-unknown", "name-unknown", "value-invalid")
)
LISTS = "config --all lists"


@pytest.mark.parametrize(
    ("toml", "error_id", "shown", "hint", "stopped"),
    [
        ("[paint]\nlayer = 2", OPTION, "no option layer", "did you mean layers? ", "paint"),
        ("[paint]\nzzz = 2", OPTION, "zzz in [paint]: ", "config paint --all lists", "paint"),
        ("[paint]\nw = 2", OPTION, "no option w", "config paint --all lists", "paint"),
        ("[paint]\ndaemon = true", FIXED, "--daemon", "on the command line", "paint"),
        ("[paint]\ncwd = '/'", FIXED, "--cwd", "on the command line", "paint"),
        ("[pain]\nlayers = 2", NAME, ": pain: ", "did you mean paint? ", "paint"),
        ("[zzz]\nlayers = 2", NAME, ": zzz: ", LISTS, ""),
        ("[shop.ordr]\ncount = 2", NAME, "ordr in [shop]: ", "did you mean shop.order? ", "shop order"),
        ("[shop.zzz]\ncount = 2", NAME, "zzz in [shop]: ", LISTS, "shop"),
        ("layers = 2", NAME, ": layers: ", "did you mean paint.layers? ", "paint"),
        ("zzz = 2", NAME, ": zzz: ", LISTS, ""),
        ("[shop]\ncount = 2", NAME, "count in [shop]: ", "did you mean shop.order.count? ", "shop order"),
        ("[shop]\nlayers = 2", NAME, "layers in [shop]: ", LISTS, "shop"),
        ("paint = 2", VALUE, ": paint: ", "begin the table with: [paint]", "paint"),
        ("[[paint]]\nlayers = 2", VALUE, ": paint: ", "begin the table with: [paint]", "paint"),
        ("[paint]\nlayers = '2'", VALUE, 'a whole number, got "2"', "paint --help", "paint"),
        ("[paint]\nlayers = 2.0", VALUE, "a whole number, got 2.0", "paint --help", "paint"),
        ("[paint]\nlayers = true", VALUE, "a whole number, got true", "paint --help", "paint"),
        ("[paint]\nlayers = [2]", VALUE, "a whole number, got [2]", "paint --help", "paint"),
        ("[paint.layers]\nx = 2", VALUE, 'a whole number, got {"x" = 2}', "paint --help", "paint"),
        ("[paint]\nlayers = 10", VALUE, "10 is not in the range 1<=x<=9", "--help", "paint"),
        ("[paint]\nbrush-width = false", VALUE, "a number, got false", "--help", "paint"),
        ("[paint]\nbrush-width = nan", VALUE, "finite, got nan", "--help", "paint"),
        ("[paint]\nbrush-width = inf", VALUE, "finite, got inf", "--help", "paint"),
        (f"[paint]\nbrush-width = 1{'0' * 400}", VALUE, "int too large", "--help", "paint"),
        ("[paint]\nshine = 1", VALUE, "shine in [paint]: invalid value: must be", "--help", "paint"),
        ("[paint]\nshine = 'yes'", VALUE, 'true or false, got "yes"', "--help", "paint"),
        ("[paint]\ncolour = 'mud'", VALUE, "'mud' is not one of 'red', 'blue'", "--help", "paint"),
        ("[paint]\nuntil = 2026-03-02", VALUE, 'text in quotes, got "2026-03-02"', "--help", "paint"),
        ("[paint]\nlabel = 'a'", VALUE, 'a list, ["a"], got "a"', "--help", "paint"),
        ("[paint]\nlabel = ['a', 2]", VALUE, "text in quotes, got 2", "--help", "paint"),
        ("[shop.order]\ncount = 0", VALUE, "count in [shop.order]: invalid value: 0", "--help", "shop order"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_reported_with_a_hint_and_stops_the_commands_it_concerns(
    gathered, file, *, toml, error_id, shown, hint, stopped
):
    (problem,) = gathered(toml).problems

    assert problem.error_id == error_id
    assert problem.message.startswith(f"{file}: ")
    assert shown in problem.message
    assert hint in problem.hint
    assert [" ".join(path) for path in problem.commands] == ([stopped] if stopped else [])


@pytest.mark.parametrize(
    ("variable", "value", "error_id", "shown", "hint", "stopped"),
    [
        ("PAINT_LAYERS", "two", VALUE, "'two' is not a valid int range", "paint --help", "paint"),
        ("PAINT_LAYERS", "0", VALUE, "0 is not in the range 1<=x<=9", "paint --help", "paint"),
        ("PAINT_BRUSH_WIDTH", "nan", VALUE, "finite, got nan", "paint --help", "paint"),
        ("PAINT_SHINE", "maybe", VALUE, "'maybe' is not a valid boolean", "paint --help", "paint"),
        ("PAINT_COLOUR", "mud", VALUE, "'mud' is not one of 'red', 'blue'", "paint --help", "paint"),
        ("PAINT_LAYER", "1", OPTION, "paint has no option layer", "did you mean layers? ", "paint"),
        ("PAINT_DAEMON", "1", FIXED, "--daemon", "on the command line", "paint"),
        ("PAIN_LAYERS", "1", NAME, "", "did you mean VDBEVENTS_PAINT_LAYERS? ", "paint"),
        ("SHOP_SEND_BACK_RESON", "x", OPTION, "send-back has no option reson", "reason? ", "shop send-back"),
        ("SHOP_OOPS", "1", NAME, "", LISTS, "shop"),
        ("X", "1", NAME, "", LISTS, ""),
    ],
)  # fmt: skip
def test_a_mistake_in_the_environment_is_reported_with_the_variable(
    gathered, *, variable, value, error_id, shown, hint, stopped
):
    (problem,) = gathered(environ={f"VDBEVENTS_{variable}": value}).problems

    assert problem.error_id == error_id
    assert problem.message.startswith(f"VDBEVENTS_{variable}: ")
    assert shown in problem.message
    assert hint in problem.hint
    assert [" ".join(path) for path in problem.commands] == ([stopped] if stopped else [])


def test_a_mistake_with_one_command_stops_no_other(call, capfd):
    toml = "[paint]\nlayers = 20\n[shop.order]\ncount = 2"

    assert call("shop", "order", toml=toml) == {"count": 2}
    assert call("paint", toml=toml) is None
    output = capfd.readouterr().err
    assert "config.toml: layers in [paint]: invalid value: 20 is not in the range 1<=x<=9\n" in output
    assert "  → see: vdbevents paint --help, and: vdbevents config\n" in output


def test_a_valid_variable_does_not_hide_a_mistake_in_the_file(call, capfd):
    assert call("paint", toml="[paint]\nlayers = 20", VDBEVENTS_PAINT_LAYERS="3") is None
    assert "20 is not in the range" in capfd.readouterr().err


# How settings are shown.


def test_settings_are_shown_by_command_and_aligned(gathered, file):
    found = gathered(
        "[paint]\nbrush-width = 3\nlabel = ['ä', '日本']\n[shop.order]\ncount = 2",
        {"VDBEVENTS_PAINT_SHINE": "off"},
    )

    assert config.render_text(found, everything=False) == (
        f"file: {file}\n\n"
        "vdbevents paint\n"
        "  brush-width  3.0            config.toml\n"
        '  label        ["ä", "日本"]  config.toml\n'
        "  shine        false          VDBEVENTS_PAINT_SHINE\n\n"
        "vdbevents shop order\n"
        "  count        2              config.toml"
    )


def test_a_long_value_does_not_move_the_others(gathered):
    found = gathered(f"[paint]\nlayers = 2\nlabel = ['{'x' * 100}']")
    shown = config.render_text(found, everything=False)

    assert "  layers  2  config.toml\n" in shown
    assert f'  label   ["{"x" * 100}"]  config.toml' in shown


def test_with_all_the_defaults_are_shown_with_the_variable_that_sets_them(gathered, file):
    found = config.only(gathered("[shop.order]\ncount = 2"), ["shop"])

    assert config.render_text(found, everything=True) == (
        f"file: {file}\n\n"
        "vdbevents shop order\n"
        "  count   2   config.toml\n\n"
        "vdbevents shop send-back\n"
        '  reason  ""  default (VDBEVENTS_SHOP_SEND_BACK_REASON)'
    )


def test_an_unknown_command_is_reported_with_the_closest(gathered):
    with pytest.raises(InputError) as raised:
        config.only(gathered(), ["shop", "ordr"])

    assert raised.value.error_id == "command-unknown"
    assert "vdbevents shop ordr" in raised.value.message
    assert "did you mean shop order? " in raised.value.hint


def test_text_from_elsewhere_is_harmless_on_a_terminal(gathered):
    hostile = "\\u001b[31m\\u009b31m\\u202e"
    found = gathered(f'[paint]\nuntil = "{hostile}"\n', {"VDBEVENTS_PAINT_LABEL": "\x1b]0;x\x07\n\udc9b31m"})
    shown = config.render_text(found, everything=False)
    as_json = config.render_json(found)

    assert len(shown.splitlines()) == 5
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert as_json.isascii()
    assert setting(found, "paint", "until").value == "\x1b[31m\x9b31m\u202e"
    assert json.loads(as_json)["settings"][6]["value"] == "\x1b[31m\x9b31m\u202e"


def test_the_help_shows_the_default_in_force_and_its_source_and_is_harmless(call, capfd):
    call("paint", "--help", toml='[paint]\nuntil = "\\u009b31m"\nshine = false', VDBEVENTS_PAINT_LAYERS="3")
    output = " ".join(capfd.readouterr().out.split())

    assert "[default: (3, VDBEVENTS_PAINT_LAYERS); 1<=x<=9]" in output
    assert "[default: (false, config.toml)]" in output
    assert '[default: ("�31m", config.toml)]' in output
    assert "[default: red]" in output
