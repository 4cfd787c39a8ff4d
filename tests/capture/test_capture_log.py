"""The end of what a capture writes."""

import asyncio
import os
import threading

from vdbevents.capture import capture_log
from vdbevents.capture.capture_context import CaptureContext, CaptureOptions
from vdbevents.capture.capture_info_file import CaptureInfoFile
from vdbevents.capture.capture_log import CaptureLog
from vdbevents.journal import files
from vdbevents.journal.state import StateDirectory
from vdbevents.sessions.capture_info import CaptureInfo


class Silent:
    def say(self, text, **_):
        raise AssertionError(text)


def test_the_last_state_is_waited_for_while_the_disk_is_slow(tmp_path, monkeypatch):
    state = StateDirectory(tmp_path / "state")
    state.create()
    is_syncing, may_go_on = threading.Event(), threading.Event()
    really_sync = os.fsync

    def sync(descriptor):
        is_syncing.set()
        assert may_go_on.wait(60)
        really_sync(descriptor)

    async def end():
        context = CaptureContext(
            CaptureOptions(state, ""), CaptureInfo("", "", {}, (), session_id="cap-1"), Silent()
        )
        log = CaptureLog(context)
        monkeypatch.setattr(os, "fsync", sync)
        CaptureInfoFile(context, log).write()
        assert await asyncio.to_thread(is_syncing.wait, 60)
        closing = asyncio.ensure_future(log.close())
        # Longer than it waits for a disk that works.
        assert not (await asyncio.wait({closing}, timeout=0.2))[0]
        may_go_on.set()
        await closing

    monkeypatch.setattr(capture_log, "_LAST_WRITE_SECONDS", 0.01)
    asyncio.run(end())

    assert files.read_object(state.capture_info)["session"]["id"] == "cap-1"
    assert not list(state.path.glob(".*.tmp"))
