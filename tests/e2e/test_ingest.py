"""Many messages at once: each is in the journal once, in its order, whatever happens in their midst."""

import base64
import json
import signal
import time

from support.processes import eventually

from vdbevents.emulator.websocket_protocol import TEXT, frame_header


def burst(first, count, size=100):
    """The frames of numbered messages."""
    payloads = [b'{"channel":"x","n":%d,"pad":"%s"}' % (n, b"p" * size) for n in range(first, first + count)]
    return b"".join(frame_header(TEXT, len(payload)) + payload for payload in payloads)


def send(service, frames):
    service.request("send", raw_base64=base64.b64encode(frames).decode())


def numbers(listener):
    return [event["n"] for event in listener.events() if "n" in event]


def test_what_came_before_the_end_of_a_connection_is_kept_and_order_holds_across_connections(service, listen):
    listener = listen("--quiet")
    expected = 0
    for times in range(1, 4):
        listener.connected(times)
        send(service, burst(expected, 3_000))
        expected += 3_000
        service.request("close", code=1001, reason="going away")
    listener.connected(4)
    send(service, burst(expected, 10))

    eventually(lambda: len(numbers(listener)) == expected + 10)
    assert numbers(listener) == list(range(expected + 10))
    kinds = ["x" if "n" in event else event["event"] for event in listener.events()]
    assert [kind for kind, before in zip(kinds[1:], kinds, strict=False) if kind != before == "x"] == (
        ["listener.disconnected"] * 3
    )


def test_a_connection_that_is_reset_within_a_message_keeps_the_whole_ones(service, listen):
    listener = listen("--quiet")
    listener.connected()
    send(service, burst(0, 500) + burst(500, 1)[:50])
    eventually(lambda: len(numbers(listener)) == 500)
    service.request("reset")
    listener.connected(2)
    send(service, burst(501, 1))

    eventually(lambda: len(numbers(listener)) == 501)
    assert numbers(listener) == [*range(500), 501]
    assert all("raw" not in event for event in listener.events())


def test_a_listener_that_is_killed_or_stopped_in_a_flood_leaves_whole_lines_in_order(service, listen, state):
    frames = base64.b64encode(burst(0, 2_000)).decode()
    for times, number in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGINT), start=1):
        listener = listen("--quiet")
        listener.connected(times)
        before = state.journal.stat().st_size
        service.request("send", raw_base64=frames)
        eventually(lambda begin=before: state.journal.stat().st_size > begin + 10_000)
        listener.process.send_signal(number)
        listener.ends()
        content = state.journal.read_bytes()[before:]
        lines = [json.loads(line) for line in content.split(b"\n")[:-1]]
        written = [line["n"] for line in lines if "n" in line]
        assert written == list(range(len(written)))
        if number != signal.SIGKILL:
            assert content.endswith(b"\n")
            assert lines[-1]["event"] == "listener.stopped"
            # What had arrived when it was asked to stop was written.
            assert json.loads(state.listener_status.read_text())["events"]["total"] >= len(written)


def test_a_stopped_listener_reads_on_where_it_was(service, listen):
    listener = listen("--quiet")
    listener.connected()
    listener.process.send_signal(signal.SIGSTOP)
    send(service, burst(0, 1_000, size=2_000))
    time.sleep(0.2)
    listener.process.send_signal(signal.SIGCONT)

    eventually(lambda: len(numbers(listener)) == 1_000)
    assert numbers(listener) == list(range(1_000))
