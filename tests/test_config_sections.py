"""The tables of the configuration that belong to no command."""

import json
from datetime import datetime
from types import SimpleNamespace

import pytest

from vdbevents.cli import config, configuration
from vdbevents.cli.app import whole_app
from vdbevents.cli.config_sections import SECTIONS
from vdbevents.cli.recording_rules import recording_rules
from vdbevents.events import envelope
from vdbevents.journal.state import StateDirectory
from vdbevents.privacy.redaction import KINDS

TABLES = """
[redact]
email = true
card = false
private_key = true
[redact.expressions]
project = 'Project [A-Z]\\w+'
[exclude]
sources = ["camera"]
hours = ["Mon-Fri 22:00-06:00"]
"""


@pytest.fixture(scope="module")
def program():
    from typer.main import get_command

    return get_command(whole_app())


@pytest.fixture
def gathered(program, tmp_path):
    def gather(text="", **environ):
        file = tmp_path / "vdbevents" / "config.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return configuration.gather(program, {"XDG_CONFIG_HOME": str(tmp_path), **environ})

    return gather


def test_the_kinds_and_their_defaults_are_those_of_the_rules(gathered):
    values = gathered().section("redact")

    assert values.pop("expressions") == {}
    assert values == KINDS


def test_the_file_and_the_environment_set_keys(gathered):
    found = gathered(TABLES, VDBEVENTS_REDACT_CARD="yes", VDBEVENTS_EXCLUDE_WORDS="pay\nwages a month")

    assert found.problems == ()
    redact, exclude = found.section("redact"), found.section("exclude")
    assert (redact["email"], redact["card"], redact["phone"]) == (True, True, False)
    assert redact["expressions"] == {"project": r"Project [A-Z]\w+"}
    assert exclude["sources"] == ["camera"]
    assert exclude["words"] == ["pay", "wages a month"]


def test_sections_are_shown_beside_commands(gathered):
    found = gathered("[query]\nlimit = 3\n" + TABLES)

    assert config.render_text(found, everything=False).splitlines()[1:] == [
        "",
        "vdbevents query",
        "  limit        3                                  config.toml",
        "",
        "[redact]",
        "  private-key  true                               config.toml",
        "  card         false                              config.toml",
        "  email        true                               config.toml",
        '  expressions  {"project" = "Project [A-Z]\\\\w+"}  config.toml',
        "",
        "[exclude]",
        '  sources      ["camera"]                         config.toml',
        '  hours        ["Mon-Fri 22:00-06:00"]            config.toml',
    ]
    only = json.loads(config.render_json(config.only(found, ["redact"])))
    assert {setting["command"] for setting in only["settings"]} == {"redact"}
    assert only["settings"][0]["variable"] == "VDBEVENTS_REDACT_API_KEY"


@pytest.mark.parametrize(
    ("text", "error_id", "said"),
    [
        ("[redact]\ncard = 1", "config-value-invalid", "true or false, got 1"),
        ("[redact]\ncrad = true", "config-key-unknown", "crad"),
        ("[redcat]\ncard = true", "config-name-unknown", "redcat"),
        ("card = true", "config-name-unknown", "card"),
        ("redact = true", "config-value-invalid", "a table"),
        ("[redact]\nexpressions = ['x']", "config-value-invalid", "a table of texts"),
        ("[redact.expressions]\nx = '('", "config-value-invalid", "missing )"),
        ("[redact.expressions]\nx = 'a*'", "config-value-invalid", "empty text"),
        ("[redact.expressions]\n'X y' = 'a'", "config-value-invalid", "'X y'"),
        ("[exclude]\nsources = 'mic'", "config-value-invalid", "a list of texts"),
        ("[exclude]\nsources = ['mike']", "config-value-invalid", "'mike'"),
        ("[exclude]\nwords = ['-']", "config-value-invalid", "letter or digit"),
        ("[exclude]\nhours = ['10:00-25:00']", "config-value-invalid", "'10:00-25:00'"),
        ("[exclude]\nhours = ['Mom 10:00-11:00']", "config-value-invalid", "days"),
    ],
)
def test_a_mistake_stops_those_that_record_and_no_other(gathered, text, error_id, said):
    [problem] = gathered(text).problems

    assert problem.error_id == error_id
    assert said in problem.message
    assert problem.hint
    assert problem.stops(("listen",))
    assert problem.stops(("backend",))
    assert problem.stops(("capture",))
    assert not problem.stops(("query",))


def test_a_wrong_variable_is_named(gathered):
    wrong, unknown = gathered(VDBEVENTS_REDACT_CARD="maybe", VDBEVENTS_REDACT_CRAD="yes").problems

    assert (wrong.error_id, unknown.error_id) == ("config-value-invalid", "config-key-unknown")
    assert "VDBEVENTS_REDACT_CARD" in wrong.message


def test_without_google_re2_own_expressions_are_refused(gathered, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "re2", None)

    [problem] = gathered("[redact.expressions]\nx = 'a'").problems
    assert "vdbevents[expressions]" in problem.message


def test_a_section_has_no_name_of_an_option_of_a_command():
    assert all(key == key.lower() and "_" not in key for section in SECTIONS.values() for key in section.keys)


def test_those_that_record_follow_the_configuration(gathered, tmp_path):
    context = SimpleNamespace(obj=gathered(TABLES))
    context.find_root = lambda: context
    state = StateDirectory(tmp_path)
    state.capture_info.write_text('{"streams": [{"id": "rts-9", "source": "camera"}, 3]}')
    rules = recording_rules(context, state)

    assert rules.to_dict() == {
        "redact": ["api-key", "token", "private-key", "email", "project"],
        "exclude": {"sources": ["camera"], "hours": ["Mon-Fri 22:00-06:00"]},
        "excluded": 0,
    }
    at_ms = int(datetime(2026, 3, 1, 12).timestamp() * 1000)  # noqa: DTZ001 - local time
    event = {"channel": "visual_index", "rtstream_id": "rts-9", "data": {"text": "x"}}
    assert rules.received(envelope.envelop(json.dumps(event).encode(), at_ms), at_ms) is None
