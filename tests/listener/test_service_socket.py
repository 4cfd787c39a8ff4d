"""The WebSocket of the listener: its proxy, its limits, and what it makes of what the service says."""

import asyncio
import json
import os

import pytest
from support.patience import PATIENCE
from support.proxy import proxy_to
from websockets.asyncio.server import serve

from vdbevents import cloud
from vdbevents.emulator.application import EmulatorSettings, running
from vdbevents.listener import protocol, service_socket

KEY = "sk-very-secret-key"


def inputs_at(url, until, monkeypatch=None, websocket=None):
    """Connect once; return the inputs of the machine up to the first for which `until` is true."""

    async def connect():
        seen, done = [], asyncio.Event()

        def feed(input_):
            seen.append(input_)
            if until(input_):
                done.set()

        if websocket is not None:

            async def given(*_):
                return websocket

            monkeypatch.setattr(service_socket, "websocket_url", given)
        settings = protocol.ConnectionSettings(step_limit=PATIENCE)
        one = service_socket.ServiceSocket(cloud.Credentials(KEY, url), settings, feed, lambda: False)
        task = one.connect()
        await asyncio.wait_for(done.wait(), PATIENCE)
        one.disconnect()
        await asyncio.wait({task})
        return seen

    return asyncio.run(connect())


def is_received(input_):
    return isinstance(input_, protocol.Received | protocol.Failed)


def is_end(input_):
    return isinstance(input_, protocol.Closed | protocol.Failed)


@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        ("ALL_PROXY=http", [("GET", "service.test:8800"), ("CONNECT", "service.test:8800")]),
        ("HTTP_PROXY=http", [("GET", "service.test:8800"), ("CONNECT", "service.test:8800")]),
        ("ALL_PROXY=socks5h", [("SOCKS", "service.test"), ("SOCKS", "service.test")]),
    ],
)
def test_the_call_and_the_websocket_take_the_same_proxy(monkeypatch, setting, seen):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    name, _, scheme = setting.partition("=")
    if scheme != "http":
        pytest.importorskip("socks")
        pytest.importorskip("python_socks")
    with running(EmulatorSettings(autoplay=False, api_key=KEY)) as url, proxy_to(url) as (proxy, asked):
        monkeypatch.setenv(name, f"{scheme}://{proxy}")
        inputs = inputs_at("http://service.test:8800", is_received)

        assert [type(it) for it in inputs] == [protocol.Opened, protocol.Received]
        assert asked == seen
        # Within this machine nothing goes to it.
        assert [type(it) for it in inputs_at(url, is_received)] == [protocol.Opened, protocol.Received]
        assert asked == seen


def test_a_redirect_of_the_websocket_to_this_machine_leaves_the_proxy(monkeypatch):
    async def greet(connection):
        await connection.send('{"connection_id": "ws-1"}')
        await connection.wait_closed()

    def redirected(url):
        def redirect(connection, _):
            response = connection.respond(302, "")
            response.headers["Location"] = url
            return response

        def connect(first):
            with proxy_to(first) as (proxy, asked):
                monkeypatch.setenv("ALL_PROXY", f"http://{proxy}")
                return inputs_at("", is_received, monkeypatch, "ws://service.test:8800/"), asked

        return asyncio.run(_served(greet, connect, process_request=redirect))

    inputs, asked = asyncio.run(_served(greet, redirected))
    assert [type(it) for it in inputs] == [protocol.Opened, protocol.Received]
    assert asked == [("CONNECT", "service.test:8800")]


async def _served(handler, act, **options):
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        host, port = next(iter(server.sockets)).getsockname()[:2]
        return await asyncio.to_thread(act, f"ws://{host}:{port}/")


def test_the_key_is_taken_out_of_frames_and_of_the_reason_for_the_end(monkeypatch):
    async def handler(connection):
        await connection.send(json.dumps({"connection_id": "ws-1", "key": KEY}))
        await connection.close(4000, f"{KEY} has no credit")

    inputs = asyncio.run(_served(handler, lambda url: inputs_at("", is_end, monkeypatch, url)))

    assert [it for it in inputs if isinstance(it, protocol.Received)] == [
        protocol.Received(['{"connection_id": "ws-1", "key": "…"}'.encode()])
    ]
    assert inputs[-1] == protocol.Closed(4000, "… has no credit")


def test_a_message_beyond_the_limit_ends_the_connection_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(service_socket, "LARGEST_MESSAGE", 1 << 20)

    async def handler(connection):
        await connection.send("x" * (1 << 20))
        await connection.send("x" * (64 << 20))
        await connection.wait_closed()

    inputs = asyncio.run(_served(handler, lambda url: inputs_at("", is_end, monkeypatch, url)))

    received = [it.payloads for it in inputs if isinstance(it, protocol.Received)]
    assert [[len(payload) for payload in payloads] for payloads in received] == [[1 << 20]]
    assert inputs[-1].code == 1006
    assert "1048576" in inputs[-1].reason.replace(",", "")


def test_while_the_journal_is_behind_nothing_more_is_read_and_nothing_is_lost(monkeypatch):
    count, size = 1_000, 100_000
    sent = 0

    async def handler(connection):
        nonlocal sent
        for number in range(count):
            await connection.send(b"%d " % number + b"x" * size)
            sent += 1
        await connection.close(1000)

    def record(url):
        async def connect():
            is_behind, received, ended = True, [], asyncio.Event()

            def feed(input_):
                if isinstance(input_, protocol.Received):
                    received.extend(int(payload.split()[0]) for payload in input_.payloads)
                if isinstance(input_, protocol.Closed):
                    ended.set()

            async def given(*_):
                return url

            monkeypatch.setattr(service_socket, "websocket_url", given)
            settings = protocol.ConnectionSettings(step_limit=PATIENCE)
            one = service_socket.ServiceSocket(cloud.Credentials(KEY, url), settings, feed, lambda: is_behind)
            task = one.connect()
            before = -1
            while sent != before or not received:
                before = sent
                await asyncio.sleep(0.3)
            held_up = sent, len(received)
            is_behind = False
            await asyncio.wait_for(ended.wait(), PATIENCE)
            await asyncio.wait({task})
            return held_up, received

        return asyncio.run(connect())

    (held_up, first), received = asyncio.run(_served(handler, record, compression=None))
    assert first < 20
    # The systems' buffers take some.
    assert held_up < count / 2
    assert received == list(range(count))
