"""The lines that a capture itself writes to the journal."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from vdbevents.capture.capture_context import CaptureContext
from vdbevents.events import envelope, fields, lifecycle
from vdbevents.journal import append, files, writer
from vdbevents.listener.pause_watch import PauseWatch

_LAST_WRITE_SECONDS: Final = 2.0
# How much longer, while the disk is slow but refuses nothing: the last state of a recording is worth it.
_SLOW_WRITE_SECONDS: Final = 10.0
_HOLD_BYTES: Final = 8 << 20


class CaptureLog:
    """Writes lines in a thread of its own, so that a slow disk does not stop the recording."""

    def __init__(self, context: CaptureContext) -> None:
        """Open the journal."""
        self._context = context
        self._rules = context.options.rules
        self._rules.pauses = PauseWatch(context.directory).current
        self._writer = writer.JournalWriter(
            append.Journal(context.directory, clock_ms=files.wall_ms),
            hold_bytes=_HOLD_BYTES,
            sync_seconds=1.0,
            clock_ms=files.wall_ms,
        )

    def run(self, job: Callable[[], None]) -> None:
        """Run a job in the writer's thread."""
        self._writer.run(job)

    def write_status(self, event: str) -> None:
        """Write an event with the session's status."""
        info = self._context.info
        status = {"status": info.life.status or None, "streams": info.streams, "error": info.error or None}
        self._write(event, status, fields.OWN_CHANNEL)

    def write_runtime_event(self, event: str, payload: Any) -> None:  # noqa: ANN401 - any JSON value
        """Write an event of the runtime; also show its errors to the user."""
        self._write(event, payload, envelope.CAPTURE_CHANNEL)
        if event in ("recording:error", "error"):
            reason = lifecycle.error_in(payload) or "no reason given"
            self._context.say(f"the capture runtime reports an error: {reason}", problem=True)

    def _write(self, event: str, data: Any, channel: str) -> None:  # noqa: ANN401
        session_id = self._context.info.session_id
        # A permission is asked for before there is a session.
        session = {"capture_session_id": session_id} if session_id else {}
        content = {**data, **session} if isinstance(data, Mapping) else {"payload": data, **session}
        try:
            record = envelope.own_record(event, content, files.wall_ms(), channel)
        except TypeError:  # text that cannot be encoded
            content = {"payload": ascii(data), **session}
            record = envelope.own_record(ascii(event), content, files.wall_ms(), channel)
        now_ms = files.wall_ms()
        for line in (self._rules.received(record, now_ms), self._rules.excluded_line(now_ms)):
            if line is not None:
                self._writer.put(line.line, line.channel)

    async def close(self) -> None:
        """Write what is left, within a time limit; report what could not be written."""
        context = self._context
        last = self._rules.excluded_line(files.wall_ms(), is_last=True)
        if last is not None:
            self._writer.put(last.line, last.channel)
        slow_seconds = 0.0 if context.waiting.hurried else _SLOW_WRITE_SECONDS
        unwritten = await context.waiting.in_thread(
            partial(self._writer.close, _LAST_WRITE_SECONDS, slow_seconds)
        )
        if unwritten:
            reason = self._writer.trouble or "the disk does not answer"
            context.say(f"could not write {unwritten} lines of the runtime: {reason}", problem=True)
