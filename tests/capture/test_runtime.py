"""The capture runtime: asked within limits, watched until it ends, and never left behind."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import types
from pathlib import Path

import pytest
from support.patience import PATIENCE
from support.processes import is_gone

from vdbevents import cloud
from vdbevents.capture import runtime as runtime_module
from vdbevents.capture.runtime import CaptureRuntime, where_to_grant
from vdbevents.errors import CaptureError
from vdbevents.sessions.plan import Channel, Choice

MIC = Channel("mic:default", "Microphone", "mic")
DISPLAY = Channel("display:1", "Display", "display")
posix = pytest.mark.skipif(sys.platform == "win32", reason="the program is a script, and signals are POSIX's")


async def until(condition):
    """Waits for what nobody can be asked to tell: a file, the state of a process."""
    async with asyncio.timeout(PATIENCE):
        while not (found := condition()):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)
        return found


def status_of(pid):
    return Path(f"/proc/{pid}/status").read_text()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(runtime_module, "_EXIT_SECONDS", 0.2)


# With a stand-in for the client: how its answers are handled


def listed(*channels):
    """As the SDK's `Channels`."""
    groups = {"mic": [], "system_audio": [], "display": [], "camera": []}
    for channel_id in channels:
        channel = types.SimpleNamespace(id=channel_id, name=channel_id.upper(), store=None, is_primary=None)
        groups[channel_id.partition(":")[0]].append(channel)
    return types.SimpleNamespace(
        mics=groups["mic"],
        system_audio=groups["system_audio"],
        displays=groups["display"],
        cameras=groups["camera"],
    )


class StandIn:
    """A client without a process: what it was asked is in `calls`."""

    def __init__(self, answer=None):
        self.answer = answer
        self.calls = []
        self._proc = None

    async def _reply(self, *call):
        self.calls.append(call)
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, asyncio.Event):
            await self.answer.wait()
        return self.answer

    async def request_permission(self, kind):
        return await self._reply("request_permission", kind)

    async def list_channels(self):
        return await self._reply("list_channels")

    async def shutdown(self):
        return await self._reply("shutdown")


class Today(StandIn):
    async def start_session(self, session_id, channels):
        await self._reply("start", session_id, channels)

    async def stop_session(self):
        await self._reply("stop")


class Documented(StandIn):
    async def start_capture_session(self, session_id, channels):
        await self._reply("start", session_id, channels)

    async def stop_capture(self):
        await self._reply("stop")


def with_client(client, steps, told=None):
    """Runs steps on a `Runtime` over this client."""

    async def run():
        heard = [] if told is None else told
        return await steps(CaptureRuntime(client, lambda name, payload: heard.append((name, payload))))

    return asyncio.run(run())


@pytest.mark.parametrize("kind", [Today, Documented])
def test_recording_begins_and_ends_under_either_name_of_the_methods(kind):
    client = kind(listed("mic:default", "display:1"))

    async def steps(runtime):
        await runtime.channels(PATIENCE)
        await runtime.start("cap-1", [Choice(MIC, store=True, primary=False)], PATIENCE)
        await runtime.stop(PATIENCE)

    with_client(client, steps)

    assert [call[0] for call in client.calls] == ["list_channels", "start", "stop"]
    assert client.calls[1][1] == "cap-1"
    assert [channel.id for channel in client.calls[1][2]] == ["mic:default"]


def test_channels_are_started_with_whether_they_are_stored_and_which_is_primary():
    client = Today(listed("mic:default", "display:1"))
    choices = [Choice(DISPLAY, store=True, primary=True), Choice(MIC, store=False, primary=False)]

    async def steps(runtime):
        await runtime.channels(PATIENCE)
        await runtime.start("cap-1", choices, PATIENCE)

    with_client(client, steps)

    assert [(it.id, it.store, it.is_primary) for it in client.calls[1][2]] == [
        ("display:1", True, True),
        ("mic:default", False, False),
    ]


def test_channels_are_listed_kind_by_kind_in_the_runtime_s_order():
    client = Today(listed("camera:0", "display:2", "display:1", "mic:b", "mic:a", "system_audio:x"))

    found = with_client(client, lambda runtime: runtime.channels(PATIENCE))

    assert [(channel.id, channel.kind) for channel in found] == [
        ("mic:b", "mic"),
        ("mic:a", "mic"),
        ("system_audio:x", "system_audio"),
        ("display:2", "display"),
        ("display:1", "display"),
        ("camera:0", "camera"),
    ]
    assert found[0].name == "MIC:B"


@pytest.mark.parametrize(("answer", "granted"), [(True, True), (False, False), (None, False), ("no", False)])
def test_a_permission_is_given_only_by_a_plain_yes(answer, granted):
    client = Today(answer)

    assert with_client(client, lambda runtime: runtime.permit("microphone", PATIENCE)) is granted
    assert client.calls == [("request_permission", "microphone")]


@pytest.mark.parametrize("permission", ["microphone", "screen_capture"])
def test_each_permission_has_a_hint_where_to_grant_it(permission):
    assert "Privacy" in where_to_grant(permission)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("The microphone is in use."), "says: The microphone is in use."),
        (RuntimeError("first line\nsecond line"), "says: first line"),
        (RuntimeError(), "says: no reason given"),
        (RuntimeError("x" * 1000), "says: " + "x" * 300),
        (FileNotFoundError(2, "No such file or directory"), "No such file or directory"),
    ],
)
def test_a_refusal_is_quoted_in_one_line(error, said):
    with pytest.raises(CaptureError) as raised:
        with_client(Today(error), lambda runtime: runtime.channels(PATIENCE))
    assert raised.value.error_id == "runtime-refused"
    assert "list the channels" in raised.value.message
    assert raised.value.message.endswith(said)


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("ask for the permission microphone", lambda it: it.permit("microphone", 0.02)),
        ("list the channels", lambda it: it.channels(0.02)),
        ("start the recording", lambda it: it.start("cap-1", [], 0.02)),
        ("stop the recording", lambda it: it.stop(0.02)),
    ],
)
def test_a_call_without_an_answer_ends_at_its_limit_and_says_what_was_asked(what, call):
    async def steps(runtime):
        runtime._client.answer = asyncio.Event()
        with pytest.raises(CaptureError) as raised:
            await call(runtime)
        return raised.value

    error = with_client(Today(), steps)

    assert error.error_id == "runtime-timeout"
    assert what in error.message
    assert "0.02 s" in error.message
    assert error.hint


def test_a_call_that_was_given_up_does_not_go_on():
    ended = []

    async def steps(runtime):
        async def never():
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        runtime._client.list_channels = never
        with pytest.raises(CaptureError):
            await runtime.channels(0.02)

    with_client(Today(), steps)

    assert ended == [True]


def test_when_the_process_ends_the_call_in_flight_and_all_later_ones_say_so():
    client = Today()

    async def steps(runtime):
        client.answer = asyncio.Event()
        asked = asyncio.create_task(runtime.channels(3600))
        await until(lambda: client.calls)
        runtime.ended.set_result(9)
        await until(asked.done)
        errors = []
        for call in (asked, runtime.stop(3600), runtime.permit("microphone", 3600)):
            with pytest.raises(CaptureError) as raised:
                await call
            errors.append(raised.value)
        return errors

    errors = with_client(client, steps)

    for error, step in zip(errors, ("list the channels", "stop the recording", "microphone"), strict=True):
        assert error.error_id == "runtime-ended"
        assert step in error.message
        assert "exit code 9" in error.message
    assert client.calls == [("list_channels",)]


def test_an_answer_that_came_with_the_end_counts():
    async def steps(runtime):
        async def last_words():
            runtime.ended.set_result(0)
            return listed("mic:default")

        runtime._client.list_channels = last_words
        return await runtime.channels(PATIENCE)

    assert with_client(Today(), steps) == [Channel("mic:default", "MIC:DEFAULT", "mic")]


def test_a_runtime_that_never_started_is_closed_without_a_call():
    client = Today()

    async def steps(runtime):
        assert (runtime.runs, runtime.pid) == (False, None)
        await runtime.close(PATIENCE)

    with_client(client, steps)

    assert client.calls == []


# With the SDK's own client and a program that speaks the runtime's lines


PROGRAM = '''#!PYTHON -SE
"""A capture runtime in which everything goes as `plan.json` beside it says."""
import json, os, signal, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
plan = json.load(open(os.path.join(here, "plan.json")))
PREFIX = "videodb_recorder|"


def note(name, text):
    with open(os.path.join(here, name), "a") as file:
        file.write(text + "\\n")


def say(**message):
    sys.stdout.write(PREFIX + json.dumps(message) + "\\n")


def answer(message, result, status="success"):
    say(type="response", commandId=message["commandId"], status=status, result=result)


def sleep_for_ever():
    while True:
        time.sleep(60)


if plan.get("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
note("starts", str(os.getpid()))
for line in sys.stdin:
    message = json.loads(line.removeprefix(PREFIX))
    command = message["command"]
    note("commands", json.dumps(message))
    doing = plan.get(command, {})
    if "noise" in doing:
        sys.stdout.write(doing["noise"] + "\\n")
        sys.stderr.write(doing["noise"] + "\\n")
        sys.stderr.flush()
    for event in doing.get("events", []):
        say(type="event", **event)
    if "long" in doing:
        sys.stdout.write(PREFIX + '"' + "x" * doing["long"] + '"\\n')
    if doing.get("answers_first"):
        answer(message, doing.get("result", {}))
    sys.stdout.flush()
    if "exit" in doing:
        if "leaves" in doing:
            child = subprocess.Popen(["sleep", str(doing["leaves"])], stdin=-3, stderr=-3)
            note("children", str(child.pid))
        os._exit(doing["exit"])
    if "deaf" in doing:
        os.close(1)
        sleep_for_ever()
    if "hang" in doing:
        sleep_for_ever()
    if "silent" in doing or "answers_first" in doing:
        continue
    if "refuse" in doing:
        answer(message, doing["refuse"], "error")
    else:
        answer(message, doing.get("result", {"channels": plan.get("channels", [])}))
    sys.stdout.flush()
    if command == "shutdown" and not plan.get("stubborn"):
        break
'''

CHANNELS = [
    {"channel_id": "display:1", "type": "video", "name": "Display"},
    {"channel_id": "mic:default", "type": "audio", "name": "Microphone"},
]


class Program:
    """The program, what it is to do, and what it was asked."""

    def __init__(self, folder):
        self.path = folder / "recorder"
        self.told = []
        self.path.write_text(PROGRAM.replace("PYTHON", sys.executable))
        self.path.chmod(0o700)

    def plan(self, **doing):
        (self.path.parent / "plan.json").write_text(json.dumps({"channels": CHANNELS, **doing}))

    def noted(self, name):
        with contextlib.suppress(FileNotFoundError):
            return [line for line in (self.path.parent / name).read_text().splitlines() if line]
        return []

    @property
    def commands(self):
        """(command, params) of everything it was asked."""
        messages = map(json.loads, self.noted("commands"))
        return [(message["command"], message["params"]) for message in messages]

    @property
    def pids(self):
        """Of all processes that were started."""
        return [int(pid) for pid in self.noted("starts")]

    def run(self, steps):
        """Runs steps on a `Runtime` that starts this program; afterwards no process is left."""

        async def run():
            client = cloud.capture_client(cloud.Token("st-1", 0), "http://127.0.0.1:9")
            runtime = CaptureRuntime(client, lambda *event: self.told.append(event))
            try:
                return await steps(runtime)
            finally:
                await runtime.close(PATIENCE)

        try:
            return asyncio.run(run())
        finally:
            left = [pid for pid in self.pids if not is_gone(pid)]
            for pid in [*left, *map(int, self.noted("children"))]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert left == []


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The SDK finds this program through a module that is taken away again."""
    monkeypatch.setitem(sys.modules, "videodb_capture_bin", types.ModuleType("videodb_capture_bin"))
    one = Program(tmp_path)
    one.plan()
    assert cloud.find_runtime(one.path) == one.path
    return one


async def refused(call):
    """Return the error of a call that has to fail."""
    with pytest.raises(CaptureError) as raised:
        await call
    return raised.value


def assert_ended(error, code):
    """Assert that the channels could not be listed, because the runtime had ended with an exit code."""
    assert error.error_id == "runtime-ended"
    assert "list the channels" in error.message
    assert f"exit code {code})" in error.message


@posix
def test_the_first_call_starts_the_process_and_closing_leaves_none(program):
    async def steps(runtime):
        before = (runtime.runs, runtime.pid)
        found = await runtime.channels(PATIENCE)
        running = (runtime.runs, runtime.pid)
        await runtime.close(PATIENCE)
        return before, found, running, runtime.runs, runtime.ended.done()

    before, found, running, runs, ended = program.run(steps)

    assert before == (False, None)
    assert found == [MIC, DISPLAY]
    assert running == (True, program.pids[0])
    assert (runs, ended) == (False, True)
    assert [command for command, _ in program.commands] == ["init", "getChannels", "shutdown"]
    assert program.commands[0][1] == {"apiUrl": "http://127.0.0.1:9"}


@posix
def test_a_recording_is_started_with_the_token_and_the_chosen_channels_and_stopped(program):
    choices = [Choice(DISPLAY, store=True, primary=True), Choice(MIC, store=False, primary=False)]

    async def steps(runtime):
        await runtime.channels(PATIENCE)
        await runtime.start("cap-1", choices, PATIENCE)
        await runtime.stop(PATIENCE)

    program.run(steps)

    asked = dict(program.commands)
    assert (asked["startRecording"]["sessionId"], asked["startRecording"]["uploadToken"]) == ("cap-1", "st-1")
    assert asked["startRecording"]["channels"] == [
        {"channel_id": "display:1", "type": "video", "name": "Display", "store": True, "is_primary": True},
        {
            "channel_id": "mic:default",
            "type": "audio",
            "name": "Microphone",
            "store": False,
            "is_primary": False,
        },
    ]
    assert asked["stopRecording"] == {"sessionId": "cap-1"}


@posix
@pytest.mark.parametrize(
    ("result", "granted"),
    [
        ({"requested": True}, True),
        ({"status": "granted"}, True),
        ({"status": "denied"}, False),
        ({"requested": False}, False),
        ({}, False),
    ],
)
def test_a_permission_is_asked_for_under_the_runtime_s_own_name(program, result, granted):
    program.plan(requestPermission={"result": result})

    assert program.run(lambda runtime: runtime.permit("screen_capture", PATIENCE)) is granted
    assert program.commands[1] == ("requestPermission", {"permission": "screen-capture"})


@posix
def test_a_refusal_of_the_runtime_is_quoted_and_can_be_retried(program):
    program.plan(startRecording={"refuse": "The screen is locked."})

    async def steps(runtime):
        await runtime.channels(PATIENCE)
        choices = [Choice(MIC, store=True, primary=False)]
        error = await refused(runtime.start("cap-1", choices, PATIENCE))
        return error, await runtime.channels(PATIENCE)

    error, channels = program.run(steps)

    assert error.error_id == "runtime-refused"
    assert "start the recording" in error.message
    assert "The screen is locked." in error.message
    assert channels == [MIC, DISPLAY]


@posix
def test_a_call_that_is_not_answered_ends_at_its_limit_and_the_next_one_is(program):
    program.plan(requestPermission={"silent": True})

    async def steps(runtime):
        await runtime.channels(PATIENCE)
        error = await refused(runtime.permit("microphone", 0.1))
        return error, await runtime.channels(PATIENCE)

    error, channels = program.run(steps)

    assert error.error_id == "runtime-timeout"
    assert "permission microphone" in error.message
    assert "0.1 s" in error.message
    assert channels == [MIC, DISPLAY]
    assert len(program.pids) == 1


@posix
@pytest.mark.parametrize("command", ["init", "getChannels"])
def test_a_runtime_that_dies_while_it_is_asked_is_noticed_with_its_exit_code(program, command):
    program.plan(**{command: {"exit": 7}})

    async def steps(runtime):
        async with asyncio.timeout(PATIENCE):
            return await refused(runtime.channels(3600))

    assert_ended(program.run(steps), 7)


@posix
def test_a_runtime_that_is_killed_is_noticed_without_a_question(program):
    async def steps(runtime):
        await runtime.channels(PATIENCE)
        os.kill(runtime.pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            return await runtime.ended, runtime.runs

    assert program.run(steps) == (-signal.SIGKILL, False)


@posix
def test_after_its_death_no_second_process_is_started(program):
    program.plan(getChannels={"exit": 7})

    async def steps(runtime):
        calls = [runtime.channels(PATIENCE), runtime.stop(PATIENCE), runtime.permit("microphone", PATIENCE)]
        return [await refused(call) for call in calls]

    for error in program.run(steps):
        assert error.error_id == "runtime-ended"
        assert "exit code 7" in error.message
    assert len(program.pids) == 1


@posix
def test_no_second_process_is_started_while_a_child_of_the_dead_one_lives(program, impatient):
    program.plan(getChannels={"exit": 7, "leaves": 60})

    async def steps(runtime):
        try:
            error = await refused(runtime.channels(PATIENCE))
            await until(lambda: not runtime.runs)
            with contextlib.suppress(CaptureError):
                await runtime.permit("microphone", PATIENCE)
        finally:
            for pid in map(int, program.noted("children")):
                os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                await runtime.ended
        return error

    assert_ended(program.run(steps), 7)
    assert len(program.pids) == 1


@posix
def test_an_answer_that_was_given_just_before_the_end_counts(program):
    program.plan(getChannels={"answers_first": True, "result": {"channels": CHANNELS}, "exit": 0})

    async def steps(runtime):
        found = await runtime.channels(PATIENCE)
        async with asyncio.timeout(PATIENCE):
            return found, await runtime.ended

    assert program.run(steps) == ([MIC, DISPLAY], 0)


@posix
def test_after_a_line_that_is_too_long_the_next_ones_are_heard(program):
    program.plan(requestPermission={"long": 200_000, "result": {"status": "granted"}})

    async def steps(runtime):
        granted = await runtime.permit("microphone", PATIENCE)
        await until(lambda: program.told)
        return granted, await runtime.channels(PATIENCE)

    assert program.run(steps) == (True, [MIC, DISPLAY])
    assert set(map(str, program.told)) == {"('runtime:overlong_line', {})"}


@posix
def test_a_line_that_is_not_a_message_is_skipped(program):
    program.plan(getChannels={"noise": 'A banner\nvideodb_recorder|{"torn\nvideodb_recorder|[1]\n\0'})

    assert program.run(lambda runtime: runtime.channels(PATIENCE)) == [MIC, DISPLAY]
    assert program.told == []


@posix
def test_events_are_handed_on_in_their_order_with_their_payload(program):
    events = [
        {"event": "recording:started", "payload": {"sessionId": "cap-1"}},
        {"event": "recording:error", "payload": {"error": "The microphone was unplugged.", "code": 5}},
        {"event": "upload:progress"},
        {"payload": 1},
    ]
    program.plan(getChannels={"events": events})

    async def steps(runtime):
        await runtime.channels(PATIENCE)
        await until(lambda: len(program.told) == len(events))

    program.run(steps)

    assert program.told == [
        ("recording:started", {"sessionId": "cap-1"}),
        ("recording:error", {"error": "The microphone was unplugged.", "code": 5}),
        ("upload:progress", None),
        ("unknown", 1),
    ]


@posix
def test_messages_of_a_closing_runtime_are_passed_on_whole(program):
    program.plan(shutdown={"events": [{"event": "upload:progress", "payload": it} for it in range(200)]})

    program.run(lambda runtime: runtime.channels(PATIENCE))

    assert program.told == [("upload:progress", it) for it in range(200)]


@posix
def test_a_runtime_that_closed_its_output_and_lives_on_is_ended(program, impatient):
    program.plan(getChannels={"deaf": True})

    assert_ended(program.run(lambda runtime: refused(runtime.channels(PATIENCE))), -9)


@posix
def test_a_runtime_that_ignores_shutdown_and_sigterm_is_killed(program, impatient):
    program.plan(stubborn=True, shutdown={"hang": True})

    async def steps(runtime):
        await runtime.channels(PATIENCE)
        # Long enough for it to have read that it is asked to.
        await runtime.close(2)
        return runtime.runs, await runtime.ended, await refused(runtime.channels(PATIENCE))

    runs, code, error = program.run(steps)

    assert (runs, code) == (False, -signal.SIGKILL)
    assert_ended(error, -9)
    assert ("shutdown", {}) in program.commands


@posix
def test_a_runtime_that_only_forgets_to_answer_is_ended_by_sigterm(program, impatient):
    program.plan(shutdown={"hang": True})

    async def steps(runtime):
        await runtime.channels(PATIENCE)
        await runtime.close(0.1)
        return await runtime.ended

    assert program.run(steps) == -signal.SIGTERM


@posix
def test_a_runtime_that_hangs_from_the_start_is_closed_as_well(program, impatient):
    program.plan(stubborn=True, init={"hang": True})

    async def steps(runtime):
        error = await refused(runtime.channels(3))
        await until(lambda: program.pids)
        await runtime.close(0.1)
        return error

    error = program.run(steps)

    assert error.error_id == "runtime-timeout"
    assert "3 s" in error.message


@posix
def test_closing_twice_is_closing_once(program):
    async def steps(runtime):
        await runtime.channels(PATIENCE)
        await runtime.close(PATIENCE)
        await runtime.close(PATIENCE)

    program.run(steps)

    assert [command for command, _ in program.commands].count("shutdown") == 1


@posix
def test_ctrl_c_on_the_terminal_does_not_reach_the_runtime(program):
    async def steps(runtime):
        await runtime.channels(PATIENCE)
        return runtime.pid, os.getpgid(runtime.pid)

    pid, group = program.run(steps)

    assert group == pid
    assert group != os.getpgid(0)


@posix
def test_this_process_hears_its_own_signals_while_the_other_starts(program):
    program.plan(init={"silent": True})
    numbers = (signal.SIGINT, signal.SIGHUP)
    heard = []
    before = {number: signal.signal(number, lambda it, _: heard.append(it)) for number in numbers}

    async def steps(runtime):
        asked = asyncio.create_task(runtime.channels(PATIENCE))
        await until(lambda: program.commands)
        assert not asked.done()
        for number in numbers:
            signal.raise_signal(number)
        await until(lambda: len(heard) == len(numbers))
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked

    try:
        program.run(steps)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

    assert heard == list(numbers)


@posix
def test_a_program_that_cannot_be_started_is_said_and_leaves_the_loop_as_it_was(program):
    program.path.write_text("#!/nowhere/python\n")

    async def steps(runtime):
        error = await refused(runtime.channels(PATIENCE))
        return error, vars(asyncio.get_running_loop()).get("subprocess_exec")

    error, left = program.run(steps)

    assert error.error_id == "runtime-refused"
    assert "list the channels" in error.message
    assert "No such file or directory" in error.message
    assert left is None
