"""What a service manager is told, on a real datagram socket."""

import asyncio
import contextlib
import socket
import sys
import threading

import pytest
from support.patience import PATIENCE

from vdbevents.journal.append import Journal
from vdbevents.journal.files import wall_ms
from vdbevents.journal.state import StateDirectory
from vdbevents.journal.writer import JournalWriter
from vdbevents.listener.service_manager import ServiceManager


@pytest.fixture
def manager_socket(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(PATIENCE)
        yield listening


@pytest.fixture
def environ(tmp_path):
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "HOME": "/home/ada"}


def received(listening):
    """Return the messages that have arrived so far."""
    messages = []
    listening.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(listening.recv(4096).decode())
    return messages


def test_only_what_changes_is_sent(manager_socket, environ):
    manager = ServiceManager.take_from(environ)
    manager.show("connecting", is_ready=False)
    manager.show("connected", is_ready=True)
    manager.show("connected", is_ready=True)
    manager.show("waiting", is_ready=False)
    manager.stopping()

    assert received(manager_socket) == [
        "STATUS=connecting",
        "READY=1\nSTATUS=connected",
        "STATUS=waiting",
        "STOPPING=1",
    ]
    # A child process finds nothing to speak to.
    assert environ == {"HOME": "/home/ada"}


def test_a_status_from_outside_is_no_second_message(manager_socket, environ):
    ServiceManager.take_from(environ).show("refused:\nMAINPID=1\r\nWATCHDOG=trigger" * 99, is_ready=False)
    (message,) = received(manager_socket)

    assert message.startswith("STATUS=refused:⏎MAINPID=1⏎WATCHDOG=trigger")
    assert len(message.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
def test_an_abstract_socket_is_reached():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # the kernel chooses an abstract name
        name = listening.getsockname()[1:].decode()
        ServiceManager.take_from({"NOTIFY_SOCKET": f"@{name}"}).show("connected", is_ready=True)

        assert received(listening) == ["READY=1\nSTATUS=connected"]


@pytest.mark.parametrize("address", ["", "relative/notify", "vsock:2:9", "/gone/notify"])
def test_a_manager_that_cannot_be_reached_disturbs_nothing(address):
    manager = ServiceManager.take_from({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"})
    manager.show("connected", is_ready=True)
    manager.stopping()

    assert (manager.watchdog_seconds is None) is (address != "/gone/notify")


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_time_limit_of_the_watchdog(variables, seconds, environ):
    assert ServiceManager.take_from(environ | variables).watchdog_seconds == seconds


async def signs_of_life(manager, ask, most):
    """Return after `most` seconds, or when the manager's task has ended."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(manager.keep_alive(ask), most)


def test_signs_of_life_come_as_long_as_the_thread_answers(manager_socket, environ):
    asked, answers_until = [], 3

    def ask(answer):
        asked.append(answer)
        if len(asked) < answers_until:
            thread = threading.Thread(target=answer)
            thread.start()
            thread.join()

    manager = ServiceManager.take_from(environ | {"WATCHDOG_USEC": "40000"})
    asyncio.run(signs_of_life(manager, ask, 0.3))

    # The third question has no answer, and no other is asked: the manager's time limit runs out.
    assert received(manager_socket) == ["WATCHDOG=1"] * 3
    assert len(asked) == 3

    asked[-1]()
    answers_until = 10**6
    asyncio.run(signs_of_life(manager, ask, 0.1))
    assert set(received(manager_socket)) == {"WATCHDOG=1"}


def test_a_thread_that_writes_and_hangs_is_noticed(manager_socket, environ, tmp_path):
    state = StateDirectory(tmp_path)
    writer = JournalWriter(
        Journal(state, clock_ms=wall_ms), hold_bytes=1 << 20, sync_seconds=0.0, clock_ms=wall_ms
    )
    manager = ServiceManager.take_from(environ | {"WATCHDOG_USEC": "40000"})
    asyncio.run(signs_of_life(manager, writer.run, 0.1))
    assert len(received(manager_socket)) > 1

    hanging = threading.Event()
    writer.run(hanging.wait)
    asyncio.run(signs_of_life(manager, writer.run, 0.1))
    hanging.set()
    assert len(received(manager_socket)) == 1
    writer.close(PATIENCE)


def test_without_a_watchdog_no_thread_is_asked(manager_socket, environ):
    asyncio.run(ServiceManager.take_from(environ).keep_alive(pytest.fail))

    assert received(manager_socket) == []
