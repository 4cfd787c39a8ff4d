"""Every error has an id, and one file shows how all errors are worded."""

import json
import re

import pytest
from support import messages
from support.messages import VALUE, Message, error_id_in

KNOWN = (
    Message("journal-missing", f"there is no journal in {VALUE}", "record one", "a.py:1"),
    Message("path-missing", f"there is no {VALUE} in {VALUE}", "", "a.py:2"),
    Message("request-failed", f"could not {VALUE}: {VALUE}", "", "a.py:3"),
    Message("key-refused", f"could not {VALUE}: {VALUE}", "", "a.py:4"),
    Message("session-failed", VALUE, "", "a.py:5"),
    Message(VALUE, f"gave up after {VALUE} attempts: {VALUE}", "", "a.py:7"),
)


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(messages, "snapshot_messages", lambda: KNOWN)


@pytest.mark.parametrize(
    ("stderr", "error_id"),
    [
        ("vdbevents: there is no journal in /a\n  → record one\n", "journal-missing"),
        ("vdbevents: there is no cache in /a\n", "path-missing"),
        ("\x1b[31mvdbevents: there is no journal in /a\x1b[0m\n  → record one\n", "journal-missing"),
        ("vdbevents: waiting\nvdbevents: there is no journal in /a at all\n", "journal-missing"),
        ("vdbevents: there is no journal in /a\nvdbevents: gone\n", "journal-missing"),
        ("vdbevents: started\nvdbevents: gone\n", "session-failed"),
        ("vdbevents: gave up after 5 attempts: a: there is no journal in /a\n", "journal-missing"),
        (json.dumps({"level": "error", "error_id": "other", "message": "x"}) + "\n", "other"),
    ],
)
def test_the_id_of_the_last_error_is_found_by_its_most_fixed_wording(known, stderr, error_id):
    assert error_id_in(stderr) == error_id


@pytest.mark.parametrize(
    ("stderr", "complaint"),
    [
        ("", "no error with an id"),
        ("something else\n", "no error with an id"),
        ("vdbevents: could not read: gone\n", "several errors look like this"),
    ],
)
def test_an_error_that_looks_like_another_is_refused(known, stderr, complaint):
    with pytest.raises(AssertionError, match=complaint):
        error_id_in(stderr)


def test_templates_are_read_from_calls_variables_and_choices(tmp_path, monkeypatch):
    (tmp_path / "module.py").write_text(
        "from vdbevents import errors\n"
        "HINT = 'look'\n"
        "class OwnError(errors.InputError):\n"
        "    pass\n"
        "def check(value, told):\n"
        "    message = f'{value!r} is wrong' if told else 'nothing ' + 'given'\n"
        "    raise OwnError(message, HINT, error_id='value-invalid')\n"
        "def build(value):\n"
        "    return make(value, error_id='made')\n"
        "class InputError(VdbeventsError):\n"
        "    def __init__(self, message, error_id=''):\n"
        "        super().__init__(message, error_id=error_id)\n"
    )
    monkeypatch.setattr(messages, "PACKAGE", tmp_path)
    monkeypatch.setattr(messages, "ROOT", tmp_path)

    assert messages.messages.__wrapped__() == (
        Message("value-invalid", f"{VALUE} is wrong", "look", "module.py:7"),
        Message("value-invalid", "nothing given", "look", "module.py:7"),
        Message("made", VALUE, "", "module.py:9"),
    )


def test_every_error_has_an_id():
    assert [message.place for message in messages.messages() if message.error_id is None] == []
    ids = {message.error_id for message in messages.messages()} - {VALUE}
    assert [error_id for error_id in ids if not re.fullmatch("[a-z]+(-[a-z0-9]+)+", error_id)] == []


def test_messages_are_worded_as_the_snapshot_shows():
    """After a change of wording: `.venv/bin/python tests/support/messages.py`, and look at the diff."""
    assert messages.SNAPSHOT.read_text(encoding="utf-8") == messages.snapshot(), (
        "if the new wording is meant: .venv/bin/python tests/support/messages.py"
    )


def test_the_snapshot_is_read_as_it_was_written():
    written = {(it.error_id, it.message, it.hint) for it in messages.messages()}

    assert {(it.error_id, it.message, it.hint) for it in messages.snapshot_messages()} == written
