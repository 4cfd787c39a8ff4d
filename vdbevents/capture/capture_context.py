"""State that the parts of one capture share: its options, its state, and how it waits, reports and fails."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from vdbevents import cloud
from vdbevents.capture.selection import WantedChannels
from vdbevents.errors import VdbeventsError
from vdbevents.journal.state import StateDirectory
from vdbevents.privacy.recording_rules import RecordingRules
from vdbevents.sessions.capture_info import CaptureInfo
from vdbevents.sessions.waiting import Waiting

if TYPE_CHECKING:
    from vdbevents.capture.runtime import CaptureRuntime

_Answer = TypeVar("_Answer")

_CANCEL_SECONDS: Final = 2.0


class CaptureObserver(Protocol):
    """Shows the user what a capture does. No method may block or raise."""

    def say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        """Show a message."""

    def watch(self, info: CaptureInfo) -> None:
        """Show the state of the capture, which `info` holds at any time."""

    def abandon(self) -> None:
        """Restore the terminal: the process exits now."""


@dataclass(frozen=True, slots=True)
class CaptureLimits:
    """Time limits of each step, in seconds."""

    step: float = 30.0
    permission: float = 120.0
    active: float = 60.0
    export: float = 600.0


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """What to record, and where.

    Attributes:
        directory: the state directory; it exists.
        base_url: the service's, for the runtime.
        runtime: a capture runtime to use instead of VideoDB's.
        require_all: fail if a permission is denied or a device is missing.
        duration: seconds to record; None: until a signal.
        rules: what must not be written.
    """

    directory: StateDirectory
    base_url: str
    runtime: Path | None = None
    wanted: WantedChannels = field(default_factory=WantedChannels)
    require_all: bool = False
    duration: float | None = None
    limits: CaptureLimits = field(default_factory=CaptureLimits)
    rules: RecordingRules = field(default_factory=RecordingRules)


@dataclass(frozen=True, slots=True)
class CaptureOutcome:
    """How a capture ended.

    Attributes:
        summary: for stdout; None if no session was created.
        failure: the first error; an unexpected exception is a bug.
        interrupted: a second signal skipped the waiting for the end.
    """

    summary: dict[str, Any] | None
    failure: BaseException | None
    interrupted: bool


class CaptureContext:
    """The state of one capture.

    Attributes:
        phase_changed: set with each change of `info.phase`.
        runtime: the capture runtime, once it is prepared.
        write_info: writes `videodb_capture_info.json`; a no-op unless the capture owns that file.
    """

    def __init__(self, options: CaptureOptions, info: CaptureInfo, observer: CaptureObserver) -> None:
        """Needs a running event loop."""
        self.options = options
        self.directory = options.directory
        self.limits = options.limits
        self.info = info
        self.observer = observer
        self.say = observer.say
        self.waiting = Waiting()
        self.phase_changed = asyncio.Event()
        self.runtime: CaptureRuntime | None = None
        self.write_info: Callable[[], None] = lambda: None
        self.failure: VdbeventsError | None = None
        self.bug: BaseException | None = None

    def set_phase(self, phase: str) -> None:
        """Change the phase, and wake up who waits for a change."""
        self.info.phase = phase
        self.phase_changed.set()
        self.waiting.notify()

    def note_trouble(self, trouble: str, message: str, hint: str = "") -> None:
        """Show that the listener receives nothing, from now on.

        Args:
            trouble: why, for the live status.
            message: for the user.
            hint: what to do.
        """
        if not self.info.listener_trouble:
            self.info.troubled_since = time.monotonic()
        self.info.listener_trouble = trouble
        self.say(message, problem=True, hint=hint)

    def note_recovery(self, message: str) -> None:
        """Show that the listener receives again, if it did not, and how long that took."""
        if self.info.listener_trouble:
            self.info.listener_trouble = ""
            self.say(f"{message} after {time.monotonic() - self.info.troubled_since:.0f} s")

    def fail(self, error: BaseException) -> None:
        """Keep the first error, which is the capture's failure; only report later ones."""
        if not isinstance(error, VdbeventsError):
            self.bug = self.bug or error
        elif self.failure is None:
            self.failure = error
            self.info.error = error.message
        else:
            self.say(error.message, problem=True, hint=error.hint)

    async def call(self, call: Callable[[], _Answer]) -> _Answer:
        """Call the API within a step's time limit; retry transient errors."""
        retrying = partial(cloud.persist, call, self.limits.step, pause=self.waiting.cancelled.wait)
        return await self.waiting.unless_stopping(self.waiting.in_thread(retrying))

    def start_task(self, work: Coroutine[Any, Any, None], group: set[asyncio.Task[None]]) -> None:
        """Run a task of a group; its failure ends the capture."""
        task = asyncio.get_running_loop().create_task(work)
        group.add(task)
        task.add_done_callback(partial(self._end_task, group))

    def _end_task(self, group: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        group.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
            self.waiting.abort_steps()


async def cancel_tasks(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait a moment for their end."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending, timeout=_CANCEL_SECONDS)
