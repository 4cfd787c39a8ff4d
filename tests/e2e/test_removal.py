"""Pruning, forgetting and redacting with the real program, while others read and write."""

import json
import re
import signal

import pytest
from support.processes import PATIENCE, Process, assert_failed, events_of, eventually, run

from vdbevents.events.envelope import utc_text
from vdbevents.journal import rewrite
from vdbevents.journal.append import Journal
from vdbevents.journal.files import wall_ms

DAY = 86_400_000
SECRET = "xylophonic quokka"


def line(text, channel="transcript", *, days=0, **data):
    at_ms = wall_ms() - int(days * DAY)
    event = {"ts": utc_text(at_ms), "unix_ts": at_ms / 1000, "channel": channel}
    event |= {"rtstream_id": "rts-1", "rtstream_name": "mic:default"}
    return json.dumps({**event, "data": {"text": text, **data}}, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def journal(state):
    with_lock = Journal(state, clock_ms=wall_ms)
    yield with_lock
    with_lock.close()


def texts_in(state):
    return [e["data"]["text"] for e in events_of(state) if "text" in e.get("data", {})]


def test_a_removal_is_shown_first_and_a_follower_goes_on_across_it(journal, state, environ, started):
    journal.append([line("old", days=100), line("kept"), line(f"the {SECRET}"), line("seen", "visual_index")])
    following = started(
        Process(
            ["query", state.path, "--follow", "--fields", "text", "--channel", "transcript,visual_index"],
            environ,
        )
    )
    eventually(lambda: following.out == f"old\nkept\nthe {SECRET}\nseen\n")
    before = state.journal.read_bytes()

    shown = run(["prune", state.path, "--older-than", "90d"], environ)
    assert shown.returncode == 0
    assert "1 event of 1 day" in shown.stdout
    assert "--older-than 90d" in shown.stderr
    assert state.journal.read_bytes() == before

    pruned = run(["prune", state.path, "--older-than", "90d", "--yes", "--json"], environ)
    assert {**json.loads(pruned.stdout), "since": 0, "until": 0, "files": 0, "bytes": 0} == {
        "damaged": [],
        "done": True,
        "older_than": "90d",
        "events": 1,
        "channels": {"transcript": 1},
        "days": 1,
        "since": 0,
        "until": 0,
        "files": 0,
        "bytes": 0,
    }
    journal.append([line("between")])
    forgettable = run(["forget", state.path, "--since", "-10m"], environ)
    confirm = forgettable.stderr.split("apply it with: ")[1]
    assert re.search(r"--since=\S+T\S+Z --until=\S+T\S+Z", confirm), (
        "-10m is another time when it is said again"
    )
    forgot = run(["forget", state.path, "--grep", SECRET, "--yes"], environ)
    assert (forgot.returncode, forgot.stderr) == (0, "")
    journal.append([line("after")])
    eventually(lambda: following.out.endswith("after\n"))

    assert following.out == f"old\nkept\nthe {SECRET}\nseen\nbetween\nafter\n"
    assert texts_in(state) == ["kept", "seen", "between", "after"]
    for file in state.path.iterdir():
        assert SECRET.encode() not in file.read_bytes()
    for again in (["prune", "--older-than", "90d"], ["forget", "--grep", SECRET]):
        assert run([again[0], state.path, *again[1:], "--yes"], environ).returncode == 1
    following.process.send_signal(signal.SIGINT)
    assert following.ends() == 130


def test_wrong_input_and_a_second_run_are_refused(state, environ, journal):
    journal.append([line("old", days=100)])
    for arguments, error_id in (
        (["prune"], "option-missing"),
        (["prune", "--channel", "alert"], "option-missing"),
        (["prune", "--older-than", "soon"], "duration-invalid"),
        (["forget"], "option-missing"),
        (["forget", "--grep", " "], "text-invalid"),
        (["forget", "--since", "2026-03-02 10:30", "--until", "2026-03-02 10:15"], "window-empty"),
        (["redact", "--dry-run", "--yes"], "options-conflict"),
    ):
        assert_failed(run([*arguments, state.path], environ), 2, error_id=error_id)
    missing = run(["forget", state.path / "none", "--from", "-10m"], environ)
    assert_failed(missing, 2, error_id="path-missing")
    with rewrite.rewriting(state):
        busy = run(["prune", state.path, "--older-than", "90d", "--yes"], environ)
    assert_failed(busy, 74, error_id="rewrite-busy")


def test_a_listener_prunes_by_the_configuration_and_writes_it_down(state, environ, journal, listen):
    journal.append([line("old", days=100), line("old", "visual_index", days=31), line("kept", days=31)])
    config = state.path.parent / "config" / "vdbevents" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[retention]\nolder-than = "90d"\nchannels = {visual_index = "30d"}\n')
    listener = listen(environ={**environ, "XDG_CONFIG_HOME": str(config.parent.parent)})
    listener.connected()
    [mark] = eventually(lambda: listener.own("journal.pruned"), PATIENCE)

    assert mark["channels"] == {"transcript": 1, "visual_index": 1}
    assert (mark["older_than"], mark["channels_older_than"]) == ("90d", {"visual_index": "30d"})
    listener.says("2 events of 2 days")
    # Files in which nothing is left to remove are not read again the next day.
    assert json.loads(state.pruned.read_text())["by"]["older_than"] == "90d"
    # It records on, into the new file.
    assert listener.stop() == 0
    assert texts_in(state) == ["kept"]
    assert [e["event"] for e in events_of(state) if e["channel"] == "vdbevents"][-1] == "listener.stopped"


def test_what_was_recorded_before_is_redacted(state, environ, journal):
    journal.append([line("my key is AKIAIOSFODNN7EXAMPLE"), line("nothing")])

    shown = run(["redact", state.path, "--dry-run"], environ)
    assert shown.returncode == 0
    assert "1 api-key" in shown.stdout
    assert "AKIA" not in shown.stdout + shown.stderr
    assert run(["redact", state.path, "--yes"], environ).returncode == 0
    assert texts_in(state) == ["my key is [redacted:api-key]", "nothing"]
    assert run(["redact", state.path], environ).returncode == 1


def test_an_archived_file_is_read_again_only_if_something_in_it_may_have_become_too_old(
    state, environ, journal, tmp_path
):
    journal.append([line("new")])
    state.archive.mkdir()
    stamps = [
        utc_text(wall_ms() - days * DAY).translate({ord("-"): None, ord(":"): None}) for days in (99, 98)
    ]
    older = state.archive / f"rotated-{'-'.join(stamps)}.jsonl"
    older.write_bytes(line("kept", "alert", days=99) + line("old", days=98))
    config = tmp_path / "config" / "vdbevents" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[retention]\nolder-than = "90d"\nchannels = {alert = "never"}\n')
    environ = {**environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}

    def prune():
        return run(["prune", state.path, "--yes"], environ).returncode

    assert prune() == 0
    assert b"kept" in older.read_bytes()
    assert b"old" not in older.read_bytes()
    # Whether it is read shows in a file that cannot be.
    damaged = older.with_suffix(".jsonl.zst")
    damaged.write_bytes(b"damaged")
    older.unlink()
    assert prune() == 74
    done = json.loads(state.pruned.read_text())
    state.pruned.write_text(json.dumps({**done, "at": utc_text(wall_ms() + DAY)}))
    assert prune() == 1
