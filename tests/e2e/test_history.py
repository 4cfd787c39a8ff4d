"""A listener clears, deletes and rotates; queries read what is kept."""

import json

from support.processes import assert_failed, eventually, run


def counted(state, environ, *arguments):
    ended = run(["query", state.path, "--channel", "test", "--count", *arguments], environ)
    return int(ended.stdout), ended.stderr


def names(state):
    parts = [path.name.partition(".jsonl") for path in state.archive.iterdir()]
    return sorted(stem.partition("-")[0] + end + suffix for stem, end, suffix in parts)


def test_what_is_cleared_is_set_aside_and_asked_for_and_deleted_only_when_told_to(
    listen, service, state, environ
):
    listener = listen()
    listener.connected()
    service.send(json={"channel": "test", "text": "first"})
    listener.receives(lambda event: event.get("text") == "first")
    listener.stop()

    listener = listen("--clear")
    listener.says("set aside")
    listener.connected()
    service.send(json={"channel": "test", "text": "second"})
    listener.receives(lambda event: event.get("text") == "second")
    listener.stop()

    assert names(state) == ["cleared.jsonl.zst"]
    assert counted(state, environ) == (1, "")
    assert counted(state, environ, "--archived")[0] == 2
    found, said = counted(state, environ, "--grep", "first")
    assert found == 0
    assert "--archived" in said

    refused = run(["listen", state.path, "--clear=delete"], {**environ, **service.environ})
    assert_failed(refused, 2, error_id="deletion-unconfirmed")
    listener = listen("--clear=delete", "--yes")
    listener.says("deleted")
    listener.connected()
    listener.stop()

    assert counted(state, environ)[0] == 0
    assert b"second" not in b"".join(path.read_bytes() for path in state.path.rglob("*") if path.is_file())


def listed(state):
    """The channels in the listener's status."""
    return json.loads(state.listener_status.read_bytes())["events"]["channels"]


def test_a_running_listener_rotates_and_packs_and_nothing_is_lost(listen, service, state, environ):
    listener = listen("--rotate", "1kB")
    listener.connected()
    for number in range(30):
        service.send(json={"channel": "test", "text": f"number {number}", "filler": "x" * 100})
    eventually(lambda: counted(state, environ)[0] == 30)
    assert names(state)
    # The status is written at most once a second.
    eventually(lambda: listed(state).get("test", {}).get("count") == 30)
    listener.stop()

    run(["cache", "build", state.path], environ)

    assert set(names(state)) == {"rotated.jsonl.zst"}
    assert counted(state, environ)[0] == 30
    lines = run(["query", state.path, "--channel", "test", "-o", "jsonl"], environ).stdout.splitlines()
    assert [json.loads(line)["text"] for line in lines] == [f"number {number}" for number in range(30)]
    # The next run goes on counting, wherever the lines are now.
    listener = listen("--rotate", "1kB")
    listener.connected()
    listener.stop()
    assert listed(state)["test"]["count"] == 30
