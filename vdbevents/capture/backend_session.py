"""A capture of a backend's session: no API key, only the runtime.

The backend runs pipelines, listener and video. The session's status comes from the runtime, and from the
journal if the backend writes the same one. `videodb_capture_info.json` is the backend's.
"""

from typing import Final

from vdbevents import cloud
from vdbevents.capture.capture_context import CaptureContext, CaptureObserver, CaptureOptions
from vdbevents.capture.recording import SessionRecording
from vdbevents.capture.runtime import CaptureRuntime
from vdbevents.errors import CaptureError
from vdbevents.sessions.capture_info import CaptureInfo

_LAST_EVENT_SECONDS: Final = 5.0


class BackendRecording(SessionRecording):
    """Records a session that a backend creates."""

    def __init__(
        self, backend: cloud.BackendClient, options: CaptureOptions, observer: CaptureObserver
    ) -> None:
        """Begin as `SessionRecording`; ask the backend for nothing yet."""
        super().__init__(CaptureContext(options, CaptureInfo("", "", {}, ()), observer))
        self._backend = backend

    async def _obtain_session(self) -> cloud.Token:
        # The session's first events may be journaled before its id is known here.
        journal_end = self._events.journal_end()
        session = await self._context.call(self._backend.init_session)
        self._info.session_id = session.session_id
        self._events.follow(journal_end)
        self._say(f"session {session.session_id} of the backend at {self._backend.address}")
        return session.token

    async def _confirm_begin(self, runtime: CaptureRuntime) -> str:
        self._check_running(runtime)
        return "the runtime records; the backend handles transcripts and descriptions"

    async def _end_session(self, *, asked: bool) -> None:
        life = self._life
        if life.status:
            # The journal has events of this session: wait for the last one.
            await self._waiting.until(lambda: self._waiting.hurried or life.is_ended, _LAST_EVENT_SECONDS)
        if asked or life.is_over:
            return
        message = f"session {self._info.session_id} may still run on the server"
        hint = f"end it with the API key: vdbevents session end --session {self._info.session_id}"
        if not self._waiting.hurried:
            raise CaptureError(message, hint, error_id="session-may-run")
        self._say(message, problem=True, hint=hint)
