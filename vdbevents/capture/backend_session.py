"""A capture of a session that is a backend's: VideoDB's client, which owns the runtime and nothing else.

It has no API key. Pipelines, listener and video are the backend's, and how the session is, is known from what
the runtime says, and from the journal's lines of it, where the backend writes the same one.
"""

from collections.abc import Sequence
from typing import Final

from vdbevents import cloud
from vdbevents.capture.recording import Observer, Options, Outcome, Recording, carry_out
from vdbevents.capture.runtime import Runtime
from vdbevents.errors import CaptureError
from vdbevents.events import lifecycle
from vdbevents.sessions.capture_info import CaptureInfo

_LAST_NEWS_SECONDS: Final = 5.0


def capture(backend: cloud.BackendClient, options: Options, observer: Observer) -> Outcome:
    """Records a backend's session until its duration is over, a signal asks to end, or it ends by itself.

    Raises:
        CaptureError: there is no runtime, or another capture has this directory. Nothing was touched.
        InputError: the directory's files cannot be written.
    """
    return carry_out(options, lambda: _ClientCapture(options, backend, observer))


class _ClientCapture(Recording):
    def __init__(self, options: Options, backend: cloud.BackendClient, observer: Observer) -> None:
        super().__init__(options, CaptureInfo("", "", {}, ()), observer)
        self._backend = backend

    async def _obtain_session(self) -> cloud.Token:
        # Its first lines may be written before its id is known here.
        journal_size = self._journal_size()
        made = await self._call(self._backend.init_session)
        self._info.session_id = made.session_id
        self._begin_to_follow(journal_size)
        self._say(f"session {made.session_id} of the backend at {self._backend.address}")
        return made.token

    async def _confirm_begin(self, runtime: Runtime) -> str:
        self._check_that_it_runs(runtime)
        return "the runtime records; what is made of it is the backend's"

    async def _end_session(self, *, asked: bool) -> None:
        life = self._life
        if life.status:
            # Somebody writes down here how it goes: then it is told to the end, if that comes soon.
            await self._waiting.until(lambda: self._waiting.hurried or life.is_ended, _LAST_NEWS_SECONDS)
        if asked or life.is_over:
            return
        message = f"the session {self._info.session_id} may still run on the server"
        hint = f"whoever has the API key ends it with: vdbevents session end {self._info.session_id}"
        if not self._waiting.hurried:
            raise CaptureError(message, hint)
        self._say(message, problem=True, hint=hint)

    def _start_pipelines(self, streams: Sequence[lifecycle.Stream]) -> None:
        """The backend does."""

    def _write_info(self) -> None:
        """The file is the backend's, if it is in this directory: its listener binds pipelines by it."""

    async def _end_pipelines(self) -> None:
        """None was started."""

    async def _end_listener(self) -> None:
        """None was started."""

    def _drop_listener(self) -> None:
        """None was started."""
