"""The daemon's answers to what should never happen."""

import asyncio
import errno
import json
import os
import signal

import pytest
from support.processes import eventually

from vdbevents import cloud
from vdbevents.errors import InputError
from vdbevents.journal import append, files, locks, state as journal_state
from vdbevents.listener import daemon, listener_options, protocol, service_socket


class Silent:
    shows_events = False

    def say(self, text, *, problem=False, hint=""):
        pass

    def show(self, record, received_ms):
        pass

    def announce(self, ws_id):
        pass


@pytest.mark.parametrize("name", ["videodb_ws_pid", "videodb_ws_id", ".videodb_ws_pid.tmp"])
def test_a_folder_in_the_place_of_a_file_is_an_error_that_names_it(tmp_path, name):
    state = journal_state.StateDirectory(tmp_path / "state")
    (state.path / name).mkdir(parents=True)
    options = listener_options.ListenerOptions(
        state, cloud.Credentials("sk-x", "http://127.0.0.1:1"), protocol.ConnectionSettings()
    )

    with pytest.raises(InputError, match=name) as raised:
        daemon.listen(options, Silent())
    assert raised.value.error_id == "state-directory-unwritable"
    assert not locks.listener_runs(state)


def test_a_bug_while_connecting_ends_the_listener(tmp_path, monkeypatch):
    state = journal_state.StateDirectory(tmp_path / "state")
    state.create()

    before = signal.getsignal(signal.SIGHUP)

    async def broken(self):
        raise ZeroDivisionError

    monkeypatch.setattr(service_socket.ServiceSocket, "_run", broken)
    options = listener_options.ListenerOptions(
        state, cloud.Credentials("sk-x", "http://127.0.0.1:1"), protocol.ConnectionSettings()
    )

    with pytest.raises(ZeroDivisionError):
        daemon.listen(options, Silent())
    assert not state.ws_pid.exists()
    assert not locks.listener_runs(state)
    assert signal.getsignal(signal.SIGHUP) is before


def test_a_listener_to_which_nothing_happens_writes_its_status_again(tmp_path, monkeypatch):
    state = journal_state.StateDirectory(tmp_path / "state")
    state.create()

    def written():
        return files.read_object(state.listener_status).get("written")

    async def seen_twice(self):
        while (first := written()) is None:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.005)
        while written() == first:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.005)
        raise ZeroDivisionError

    monkeypatch.setattr(daemon, "_TICK_SECONDS", 0.01)
    monkeypatch.setattr(daemon, "_HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(service_socket.ServiceSocket, "_run", seen_twice)
    options = listener_options.ListenerOptions(
        state, cloud.Credentials("sk-x", "http://127.0.0.1:1"), protocol.ConnectionSettings()
    )

    with pytest.raises(ZeroDivisionError):
        daemon.listen(options, Silent())


def test_what_a_full_disk_refuses_at_the_end_does_not_make_an_outage_younger(tmp_path, monkeypatch):
    state = journal_state.StateDirectory(tmp_path / "state")
    state.create()
    lost = {"state": "stopped", "blind_since": "2026-03-02T10:15:30.123Z", "blind_reason": "dropped (1006)"}
    files.replace_file(state.listener_status, json.dumps(lost).encode())

    append_lines = append.Journal.append

    def refuse(journal, lines, *rest):
        if lines:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return append_lines(journal, lines, *rest)

    async def stop(self):
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()

    monkeypatch.setattr(append.Journal, "append", refuse)
    monkeypatch.setattr(service_socket.ServiceSocket, "_run", stop)
    options = listener_options.ListenerOptions(
        state, cloud.Credentials("sk-x", "http://127.0.0.1:1"), protocol.ConnectionSettings()
    )
    daemon.listen(options, Silent())

    # It is not waited for longer than a disk that works takes.
    begin = "dropped (1006); 2 events could not be written"
    eventually(lambda: files.read_object(state.listener_status)["blind_reason"].startswith(begin))
    assert files.read_object(state.listener_status)["blind_since"] == lost["blind_since"]


class NotedRecovery:
    """Notes in which order it hears of connections and of events."""

    stale = ()

    def __init__(self):
        self.heard = []

    def was_live(self, _):
        return False

    def connected(self, ws_id):
        self.heard.append(ws_id)

    def disconnected(self):
        self.heard.append("disconnected")

    def is_known(self, record):
        self.heard.append(record.event["n"])
        return record.event["n"] == 3

    async def run(self, _):
        await asyncio.Event().wait()


def test_of_messages_that_come_at_once_with_an_id_the_recovery_knows_the_connection_first(
    tmp_path, monkeypatch
):
    state = journal_state.StateDirectory(tmp_path / "state")
    state.create()
    recovery = NotedRecovery()

    async def connected(self):
        self._feed(protocol.Opened())
        before = [b'{"n":%d}' % number for number in (1, 2)]
        after = [b'{"n":%d}' % number for number in (3, 4)]
        self._feed(protocol.Received([*before, b'{"connection_id":"ws-1"}', *after]))
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()

    monkeypatch.setattr(service_socket.ServiceSocket, "_run", connected)
    credentials = cloud.Credentials("sk-x", "http://127.0.0.1:1")
    options = listener_options.ListenerOptions(
        state, credentials, protocol.ConnectionSettings(), recovery=recovery
    )
    daemon.listen(options, Silent())

    assert recovery.heard == ["ws-1", 3, 4, "disconnected"]
    events = [json.loads(line) for line in state.journal.read_bytes().splitlines()]
    assert [event.get("n", event.get("event")) for event in events] == [
        "listener.started", 1, 2, "listener.connected", 4, "listener.stopped",
    ]  # fmt: skip
