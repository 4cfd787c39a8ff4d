"""What follows from the journal, on a service that is a stand-in: when it is done, and how often."""

import asyncio
import json

import pytest
from support.processes import PATIENCE, events_of

from vdbevents.backend import status_checks, supervisor as s, tasks
from vdbevents.cloud import CloudSession, Index
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError
from vdbevents.events import envelope, lifecycle
from vdbevents.journal import append, files, locks, state
from vdbevents.sessions.plan import PipelineSettings

STREAMS = (lifecycle.Stream("rts-1", "mic:default", "mic", "audio"),)


class Account:
    """The few calls that are made; `calls` counts what starts something."""

    def __init__(self):
        self.status = "active"
        self.calls = []
        self.indexes = []
        self.failures = 0
        self.asked = 0

    def get_session(self, session_id, collection_id):
        self.asked += 1
        if not self.status:
            raise ServiceRefusedError("there is no such session", status=404)
        return CloudSession(session_id, collection_id, self.status, "", "", STREAMS, "", "", "", {})

    def start_transcript(self, _, ws_id, __):
        if self.failures:
            self.failures -= 1
            raise ServiceUnreachableError("could not start it")
        self.calls.append(("transcript", ws_id))

    def list_indexes(self, _):
        return self.indexes

    def create_index(self, stream_id, channel, *, name, ws_id, **_):
        self.calls.append((channel, ws_id))
        self.indexes.append(Index("idx-1", stream_id, channel, name, "", "running", {}))
        return self.indexes[-1]


class Listener:
    def __init__(self, directory):
        self.directory = directory
        self.starts = 0

    def start(self, _):
        self.starts += 1
        self.lock = locks.ProcessLock(self.directory.listener_lock, AssertionError)
        files.replace_file(self.directory.ws_id, b"ws-1")

    def stop(self, _):
        return False


class Run:
    """One backend's sessions, from its start to its kill."""

    def __init__(self, directory, account, listener):
        self.directory = directory
        self.said = []
        options = s.SupervisorOptions(
            directory,
            account,
            "ada",
            listener,
            pipelines=PipelineSettings(audio_prompt="What?"),
            step_seconds=5,
        )
        opened = append.Journal(directory, clock_ms=files.wall_ms)
        self.sessions = s.Supervisor(
            options, lambda text, **_: self.said.append(text), lambda made: opened.append([made.line])
        )

    async def __aenter__(self):
        await self.sessions.restore({"pid": 1})
        self.task = asyncio.create_task(self.sessions.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.wait({self.task})

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - it is looked at
                await asyncio.sleep(0.01)

    def own(self, name):
        return [e["data"] for e in events_of(self.directory) if e.get("event") == name]

    @property
    def info(self):
        return files.read_object(self.directory.capture_info)


@pytest.fixture
def directory(tmp_path):
    directory = state.StateDirectory(tmp_path / "state")
    directory.create()
    return directory


@pytest.fixture
def account():
    return Account()


@pytest.fixture
def listener(directory):
    return Listener(directory)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(tasks, "_FIRST_PAUSE_SECONDS", 0.01)


def write(directory, *events):
    append.Journal(directory, clock_ms=files.wall_ms).append([record(event).line for event in events])


def record(event):
    """The line of the recorder's own, of a webhook, or of the WebSocket."""
    now_ms = files.wall_ms()
    if event.get("channel") == "vdbevents" and "via" not in event:
        return envelope.own_record(event["event"], event["data"], now_ms)
    body = json.dumps({name: value for name, value in event.items() if name != "via"}).encode()
    return (envelope.delivered_record if "via" in event else envelope.envelop)(body, now_ms)


def ours(session_id="cap-1"):
    told = {"capture_session_id": session_id, "collection_id": "default"}
    return {"channel": "vdbevents", "event": "backend.session", "data": told}


def step(status, session_id="cap-1", **more):
    return {"event": f"capture_session.{status}", "capture_session_id": session_id, **more}


def test_an_active_session_gets_its_pipelines_after_a_kill(directory, account, listener):
    write(directory, ours(), step("active", via="webhook"))

    async def main():
        async with Run(directory, account, listener) as run:
            await run.until(lambda: run.own("backend.started"))
            assert run.info["session"]["id"] == "cap-1"
            assert [it["status"] for it in run.info["pipelines"]] == ["running", "running"]

    asyncio.run(main())
    assert sorted(account.calls) == [("audio_index", "ws-1"), ("transcript", "ws-1")]
    assert listener.starts == 1


def test_running_pipelines_are_not_started_again_by_restarts(directory, account, listener):
    write(directory, ours(), step("active"))

    async def main():
        for _ in range(3):
            async with Run(directory, account, listener) as run:
                await run.until(lambda: run.own("backend.started"))
                write(directory, step("active"))
                await asyncio.sleep(0.3)

    asyncio.run(main())
    assert len(account.calls) == 2


def test_an_index_whose_start_got_no_answer_is_found_by_its_name(directory, account, listener):
    write(directory, ours(), step("active"))
    name = "vdbevents audio_index cap-1"
    account.indexes.append(Index("idx-9", "rts-1", "audio_index", name, "", "running", {}))

    async def main():
        async with Run(directory, account, listener) as run:
            await run.until(lambda: run.own("backend.started"))
            assert {it["id"] for it in run.info["pipelines"]} == {None, "idx-9"}

    asyncio.run(main())
    assert account.calls == [("transcript", "ws-1")]


@pytest.mark.parametrize(
    "events",
    [
        [ours(), step("stopped"), step("active")],
        [ours(), step("active"), step("failed", data={"error": "no"})],
        [step("active")],
        [{**ours(), "via": "webhook"}, step("active")],
        [ours("cap-2"), step("active")],
        [ours(), step("stopping"), step("active")],
    ],
)
def test_sessions_that_are_over_or_not_ours_get_no_pipelines(directory, account, listener, events):
    write(directory, *events)

    async def main():
        async with Run(directory, account, listener) as run:
            # One that is ours is, so that it is known that all before it was seen.
            write(directory, ours("cap-9"), step("active", "cap-9"))
            await run.until(lambda: run.own("backend.started"))
            assert [it["capture_session_id"] for it in run.own("backend.started")] == ["cap-9"]

    asyncio.run(main())
    assert len(account.calls) == 2


def test_a_session_that_ended_during_a_crash_gets_no_pipelines(directory, account, listener):
    write(directory, ours(), step("active"))
    account.status = "stopped"

    async def main():
        async with Run(directory, account, listener) as run:
            await run.until(lambda: run.own("backend.ended"))

    asyncio.run(main())
    assert account.calls == []


def test_a_transient_failure_is_retried_and_reported_once(directory, account, listener):
    account.failures = 3

    async def main():
        async with Run(directory, account, listener) as run:
            write(directory, ours(), step("active"))
            await run.until(lambda: run.own("backend.started"))
            assert len([text for text in run.said if "retrying" in text]) == 1

    asyncio.run(main())
    assert len(account.calls) == 2


def test_the_end_of_a_session_ends_the_retries(directory, account, listener):
    account.failures = 10**9

    async def main():
        async with Run(directory, account, listener) as run:
            write(directory, ours(), step("active"))
            await run.until(lambda: any("retrying" in text for text in run.said))
            write(directory, step("stopped"))
            await run.until(lambda: run.own("backend.ended"))
            assert run.info["status"] == "ended"
            assert {it["status"] for it in run.info["pipelines"]} <= {"stopped", "failed"}
            left = account.failures
            await asyncio.sleep(0.3)
            assert account.failures == left

    asyncio.run(main())


def test_an_end_reported_while_no_backend_ran_is_recorded(directory, account, listener):
    async def main():
        async with Run(directory, account, listener) as run:
            write(directory, ours(), step("active"))
            await run.until(lambda: run.own("backend.started"))
        write(directory, step("stopped"))
        async with Run(directory, account, listener) as run:
            await run.until(lambda: run.own("backend.ended"))
            assert run.info["status"] == "ended"
            assert {it["status"] for it in run.info["pipelines"]} == {"stopped"}
            assert run.info["streams"]

    asyncio.run(main())


def test_an_end_that_the_webhook_reports_before_the_api_is_recorded(
    directory, account, listener, monkeypatch
):
    monkeypatch.setattr(status_checks, "_POLL_SECONDS", 0.05)
    account.status = "stopping"

    async def main():
        async with Run(directory, account, listener) as run:
            write(directory, ours(), step("stopped", via="webhook"))
            await run.until(lambda: any(it.is_stopping for it in run.sessions._sessions))
            assert run.own("backend.ended") == []
            # What the WebSocket brings is no second line: nothing more is told.
            account.status = "stopped"
            await run.until(lambda: run.own("backend.ended"))

    asyncio.run(main())


def test_an_end_is_recorded_once_over_several_restarts(directory, account, listener):
    write(directory, ours(), step("stopped"))

    async def main():
        for _ in range(4):
            async with Run(directory, account, listener) as run:
                await run.until(lambda: run.own("backend.ended"))
                await asyncio.sleep(0.2)
        assert len(run.own("backend.ended")) == 1

    asyncio.run(main())


VIDEO = {
    "exported_video_id": "m-1",
    "stream_url": "https://s.example/1",
    "player_url": "https://p.example/1",
}
EXPORT = {
    "status": "exported",
    "video_id": "m-1",
    "stream_url": "https://s.example/1",
    "player_url": "https://p.example/1",
}


def test_a_video_that_the_webhook_reports_before_the_api_is_shown(directory, account, listener, monkeypatch):
    monkeypatch.setattr(status_checks, "_POLL_SECONDS", 0.05)
    account.status = "stopping"

    async def main():
        async with Run(directory, account, listener) as run:
            write(directory, ours(), step("stopped", via="webhook"))
            write(directory, step("exported", via="webhook", data=VIDEO))
            await run.until(lambda: account.asked > 5)
            assert not [text for text in run.said if "is exported" in text]
            account.status = "stopped"
            await run.until(lambda: [text for text in run.said if "is exported: video m-1" in text])
            assert len(run.own("backend.ended")) == 1

    asyncio.run(main())


def test_a_session_whose_end_and_video_are_reported_together_is_stopped_and_exported(
    directory, account, listener
):
    async def main():
        async with Run(directory, account, listener) as run:
            write(directory, ours(), step("stopped"), step("exported", data=VIDEO))
            await run.until(lambda: len([text for text in run.said if " cap-1 is " in text]) > 1)
            told = {text.partition(": ")[0] for text in run.said if " cap-1 is " in text}
            assert told == {"session cap-1 is stopped", "session cap-1 is exported"}

    asyncio.run(main())


def test_a_stopping_session_that_the_api_does_not_find_has_ended(directory, account, listener, monkeypatch):
    monkeypatch.setattr(status_checks, "_POLL_SECONDS", 0.05)
    account.status = "stopping"

    async def main():
        async with Run(directory, account, listener) as run:
            write(directory, ours(), step("stopped", via="webhook"))
            await run.until(lambda: any(it.is_stopping for it in run.sessions._sessions))
            account.status = ""
            await run.until(lambda: run.own("backend.ended"))
            asked = account.asked
            await asyncio.sleep(0.3)
            assert account.asked <= asked + 1

    asyncio.run(main())


def test_an_end_that_cannot_be_recorded_is_reported_once(directory, account, listener, monkeypatch):
    def refuse(*_):
        raise OSError(None, "No space left on device")

    monkeypatch.setattr(status_checks, "_POLL_SECONDS", 0.02)
    change = locks.change_object
    account.status = "stopping"

    async def main():
        async with Run(directory, account, listener) as run:
            monkeypatch.setattr(locks, "change_object", refuse)
            write(directory, ours(), step("stopping"))
            await run.until(lambda: account.asked > 10)
            assert len([text for text in run.said if "end not recorded: " in text]) == 1
            account.status = "stopped"
            await run.until(lambda: not any(it.is_stopping for it in run.sessions._sessions))
            monkeypatch.setattr(locks, "change_object", change)
            await run.until(lambda: run.own("backend.ended"))
            assert len([text for text in run.said if "end not recorded: " in text]) == 1

    asyncio.run(main())


@pytest.mark.parametrize("is_told_while_nobody_runs", [False, True])
def test_a_video_after_the_end_is_shown_once_and_recorded(
    directory, account, listener, is_told_while_nobody_runs
):
    async def main():
        said = []

        def is_told(run):
            # It is said after it is in the file.
            return any("is exported" in text for text in [*said, *run.said])

        async with Run(directory, account, listener) as run:
            write(directory, ours(), step("active"))
            await run.until(lambda: run.own("backend.started"))
            write(directory, step("stopped"))
            await run.until(lambda: run.own("backend.ended"))
            ended = run.info
            if not is_told_while_nobody_runs:
                write(directory, step("exported", data=VIDEO))
                await run.until(lambda: is_told(run))
                assert run.info["export"] == EXPORT
            said += run.said
        if is_told_while_nobody_runs:
            write(directory, step("exported", data=VIDEO))
        for _ in range(2):
            async with Run(directory, account, listener) as run:
                await run.until(lambda run=run: is_told(run))
                assert run.info["export"] == EXPORT
                await asyncio.sleep(0.2)
                said += run.said
        assert [text.partition(": video ")[2] for text in said if "is exported" in text] == [
            "m-1, https://s.example/1, https://p.example/1"
        ]
        assert run.info["session"]["status"] == "exported"
        unchanged = ("status", "ended", "pipelines", "streams")
        assert {name: run.info[name] for name in unchanged} == {name: ended[name] for name in unchanged}

    asyncio.run(main())


def test_the_state_of_a_capture_on_this_machine_is_kept(directory, account, listener):
    content = {"session": {"id": "cap-1"}, "channels": [{"id": "mic:default"}], "pid": 5, "pipelines": []}
    files.replace_file(directory.capture_info, json.dumps(content).encode())

    async def main():
        async with Run(directory, account, listener) as run:
            write(directory, ours(), step("active"))
            await run.until(lambda: run.own("backend.started"))
            assert (run.info["pid"], run.info["channels"]) == (5, [{"id": "mic:default"}])
            assert len(run.info["pipelines"]) == 2

    asyncio.run(main())


def test_an_unended_session_of_an_earlier_capture_is_kept(directory, account, listener):
    content = {"session": {"id": "cap-0", "collection_id": "c", "status": "active"}}
    files.replace_file(directory.capture_info, json.dumps(content).encode())

    async def main():
        async with Run(directory, account, listener) as run:
            write(directory, ours(), step("active"))
            await run.until(lambda: run.own("backend.started"))
            assert run.info["unended"] == [{"id": "cap-0", "collection_id": "c"}]

    asyncio.run(main())
