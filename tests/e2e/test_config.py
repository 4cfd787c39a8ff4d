"""Defaults from the file and the environment, in the real program."""

import json
import os
import re
from pathlib import Path

import pytest
from support.messages import error_id_in
from support.processes import run

ROOT = Path(__file__).parent.parent.parent
SESSION = ROOT / "vdbevents" / "emulator" / "data" / "real-session.jsonl"
PAGE = ROOT / "docs" / "configuration.md"


@pytest.fixture
def file(tmp_path, environ):
    """The file, with nothing in it."""
    path = tmp_path / ".config" / "vdbevents" / "config.toml"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def lines_of(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("flag", [None, 5])
@pytest.mark.parametrize("variable", [None, 3])
@pytest.mark.parametrize("key", [None, 2])
def test_flags_win_over_the_environment_and_that_over_the_file(key, variable, flag, file, environ):
    file.write_text("" if key is None else f"[query]\nlimit = {key}\n")
    environ |= {} if variable is None else {"VDBEVENTS_QUERY_LIMIT": str(variable)}
    arguments = [] if flag is None else ["-n", flag]
    shown = lines_of(run(["query", SESSION, "-o", "jsonl", *arguments], environ))

    assert min(len(shown), 9) == (flag or variable or key or 9)


def test_xdg_config_home_is_followed_if_it_is_absolute(file, environ, tmp_path):
    file.write_text("[query]\nlimit = 2\n")
    other = tmp_path / "other" / "vdbevents" / "config.toml"
    other.parent.mkdir(parents=True)
    other.write_text("[query]\nlimit = 3\n")
    command = ["query", SESSION, "-o", "jsonl"]

    assert len(lines_of(run(command, environ | {"XDG_CONFIG_HOME": str(tmp_path / "other")}))) == 3
    assert len(lines_of(run(command, environ | {"XDG_CONFIG_HOME": "other"}, cwd=tmp_path))) == 2


def test_lists_and_flags_are_taken_from_both(file, environ):
    command = ["query", SESSION, "-o", "jsonl"]
    file.write_text('[query]\ngrep = ["a", "the"]\ninterim = true\nchannel = ["transcript"]\n')
    in_file = lines_of(run(command, environ))
    environ |= {"VDBEVENTS_QUERY_GREP": "of spades", "VDBEVENTS_QUERY_INTERIM": "no"}
    in_environment = lines_of(run(command, environ))
    file.unlink()
    typed = ["--grep=a", "--grep=the", "--interim", "--channel=transcript"]
    for variable in ("GREP", "INTERIM"):
        del environ[f"VDBEVENTS_QUERY_{variable}"]

    assert in_file == lines_of(run([*command, *typed], environ))
    assert in_environment == lines_of(run([*command, "--grep=of spades", "--channel=transcript"], environ))
    assert in_environment


def test_an_env_file_sets_no_defaults_of_options(environ, tmp_path):
    (tmp_path / ".env").write_text("VDBEVENTS_QUERY_LIMIT=2\n")

    assert len(lines_of(run(["query", SESSION, "-o", "jsonl"], environ, cwd=tmp_path))) > 9


def test_a_file_that_does_not_parse_stops_every_command_but_not_the_help_nor_the_version(file, environ):
    file.write_text("[listen]\nhold 3\n")

    for command in (["status"], ["stop"], ["query", SESSION], ["listen"]):
        done = run(command, environ)
        assert done.returncode == 2
        assert done.stdout == ""
        assert error_id_in(done.stderr) == "config-not-toml"
        assert str(file) in done.stderr
        assert "(at line 2, column 6)" in done.stderr
        assert "Traceback" not in done.stderr
    for command in (["--help"], ["--version"], ["listen", "--help"], ["query", "-h"]):
        done = run(command, environ)
        assert (done.returncode, done.stderr) == (0, "")
    assert run(["config"], environ).returncode == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it_is_named(file, environ):
    file.chmod(0)
    done = run(["status"], environ)

    assert done.returncode == 2
    assert error_id_in(done.stderr) == "config-unreadable"
    assert f"{file}: Permission denied" in done.stderr


def test_a_wrong_key_stops_the_command_whose_table_it_is_in_and_no_other(file, environ):
    file.write_text("[listen]\nhodl = 3\n")
    stopped = run(["listen"], environ)
    working = run(["status"], environ)
    shown = run(["config"], environ)

    assert stopped.returncode == 2
    assert stopped.stderr == (
        f"vdbevents: {file}: hodl in [listen]: vdbevents listen has no option hodl\n"
        "  → did you mean hold? vdbevents config listen --all lists what can be set\n"
    )
    assert working.returncode == 3
    assert "hodl" not in working.stderr
    assert shown.returncode == 2
    assert shown.stderr == stopped.stderr


def test_a_wrong_value_is_reported_in_the_chosen_log_format(environ):
    environ |= {"VDBEVENTS_LISTEN_HOLD": "much", "VDBEVENTS_LISTEN_LOG_FORMAT": "json"}
    done = run(["listen"], environ)
    message = json.loads(done.stderr)

    assert done.returncode == 2
    assert (message["level"], message["error_id"]) == ("error", "config-value-invalid")
    assert message["message"].startswith("VDBEVENTS_LISTEN_HOLD: invalid value: 'much' is not")


def test_the_background_cannot_be_a_default(environ, state):
    # The listener that is started in the background would start one, too.
    done = run(["listen", state.path], environ | {"VDBEVENTS_LISTEN_DAEMON": "1"})

    assert done.returncode == 2
    assert error_id_in(done.stderr) == "config-option-fixed"
    assert "--daemon" in done.stderr


def test_the_other_variables_of_the_program_are_not_mistakes(environ):
    done = run(["config"], environ | {"VDBEVENTS_CAPTURE_RUNTIME": "/usr/bin/true"})

    assert (done.returncode, done.stderr) == (0, "")


def test_the_advice_on_how_to_set_an_option_works(environ, tmp_path):
    file = tmp_path / ".config" / "vdbevents" / "config.toml"
    output = run(["config"], environ).stdout

    assert output.startswith(f"file: {file} (does not exist)\n\nNothing is set")
    assert "export VDBEVENTS_LISTEN_HOLD=256" in output
    file.parent.mkdir(parents=True)
    file.write_text(re.search(r"\[listen\]\n *hold.*\n", output)[0])
    assert lines_of(run(["config"], environ))[2:] == ["vdbevents listen", "  hold  256.0  config.toml"]


def test_config_shows_a_program_everything(file, environ):
    file.write_text("[stop]\ntimeout = 3\n[query]\nlimt = 2\n")
    done = run(["config", "stop", "--json"], environ | {"VDBEVENTS_STOP_OOPS": "1"})

    assert done.returncode == 2
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "file": str(file),
        "exists": True,
        "settings": [
            {
                "command": "stop",
                "option": "timeout",
                "value": 3.0,
                "source": "config.toml",
                "variable": "VDBEVENTS_STOP_TIMEOUT",
            },
            {
                "command": "stop",
                "option": "dir",
                "value": None,
                "source": "default",
                "variable": "VDBEVENTS_STOP_DIR",
            },
        ],
        "problems": [
            {
                "message": f"{file}: limt in [query]: vdbevents query has no option limt",
                "hint": "did you mean limit? vdbevents config query --all lists what can be set",
                "commands": ["query"],
            },
            {
                "message": "VDBEVENTS_STOP_OOPS: vdbevents stop has no option oops",
                "hint": "vdbevents config stop --all lists what can be set",
                "commands": ["stop"],
            },
        ],
    }


def test_config_suggests_the_command_that_was_meant(environ):
    done = run(["config", "lisen"], environ)

    assert done.returncode == 2
    assert error_id_in(done.stderr) == "command-unknown"
    assert "did you mean listen? " in done.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_text_without_an_encoding_is_shown_all_the_same(environ, encoding):
    environ |= {"VDBEVENTS_QUERY_LAST": "\udcff ü \x1b[31m", "PYTHONIOENCODING": encoding}
    done = run(["config"], environ, text=False, encoding=None)

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"VDBEVENTS_QUERY_LAST" in done.stdout
    assert b"\x1b" not in done.stdout


def test_the_page_about_it_is_true(file, environ):
    page = PAGE.read_text(encoding="utf-8")
    file.write_text(re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    (shown,) = re.findall(r"\$ VDBEVENTS_QUERY_INTERIM=no vdbevents config\n(.*?)```", page, re.DOTALL)
    (refused,) = re.findall(r"\$ VDBEVENTS_LISTEN_HODL=3 vdbevents listen\n(.*?)```", page, re.DOTALL)
    (one,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    environ |= {"VDBEVENTS_QUERY_INTERIM": "no"}

    output = run(["config"], environ).stdout
    assert output.replace(str(file), "/home/ada/.config/vdbevents/config.toml") == shown
    assert run(["listen"], environ | {"VDBEVENTS_LISTEN_HODL": "3"}).stderr == refused
    assert json.loads(one) in json.loads(run(["config", "--json"], environ).stdout)["settings"]
