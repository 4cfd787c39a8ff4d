"""Check the capture runtime of this machine: that there is one, its permissions, its devices."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from vdbevents.errors import CaptureError
from vdbevents.health.finding import Finding, error, ok, warning
from vdbevents.sessions.plan import Channel

_KINDS = {"mic": "microphone", "system_audio": "system audio", "display": "display"}
_SYSTEMS = ("darwin", "win32")


class RuntimeAnswers(NamedTuple):
    """What the runtime says.

    Attributes:
        permissions: of each permission, whether it is granted; or the error of the question.
        channels: what can be recorded; or the error of the question.
        hints: where each permission is granted.
    """

    permissions: Mapping[str, bool | CaptureError]
    channels: Sequence[Channel] | CaptureError
    hints: Mapping[str, str]


class RuntimeChecks:
    """Checks that share one process of the runtime, which records nothing."""

    def __init__(
        self,
        find: Callable[[], Path],
        ask: Callable[[Callable[[RuntimeAnswers], object]], None],
        records: Callable[[], bool],
    ) -> None:
        """Start nothing yet.

        Args:
            find: returns the runtime's path; raises CaptureError.
            ask: starts it, asks, gives the answers to its argument, and ends it.
            records: returns whether a capture runs; it must not be disturbed by another runtime.
        """
        self._find = find
        self._ask = ask
        self._records = records
        self._path: Future[Path | None] = Future()
        self._answers: Future[RuntimeAnswers | None] = Future()

    def look_up(self) -> None:
        """Find the runtime, then ask it. The checks wait for it, each in a thread of its own."""
        try:
            self._path.set_result(self._find())
            if self._records():
                self._answers.set_result(None)
            else:
                self._ask(self._answers.set_result)
        except BaseException as failure:  # noqa: BLE001 - raised again in the checks
            if not self._path.done():
                self._path.set_exception(failure)
            if not self._answers.done():
                self._answers.set_exception(failure)

    def check_runtime(self) -> Finding:
        """Check that there is a runtime, where VideoDB has one."""
        try:
            return ok(str(self._path.result()))
        except CaptureError as failure:
            if failure.error_id == "runtime-missing" and sys.platform not in _SYSTEMS:
                return ok("none for this system: vdbevents listen records what other machines capture")
            return error(failure.message, failure.hint)

    def check_permissions(self) -> Iterator[Finding]:
        """Check the permissions of the microphone and the screen."""
        answers = self._answers_or_none()
        if answers is None:
            yield ok(self._why_not_asked())
            return
        for name, answer in answers.permissions.items():
            permission = name.replace("_", " ")
            if isinstance(answer, CaptureError):
                yield warning(
                    f"{permission}: {answer.message}", "answer the system's question, if it asks one"
                )
            elif answer:
                yield ok(f"{permission}: granted")
            else:
                yield error(f"{permission}: denied", answers.hints.get(name, ""))

    def check_devices(self) -> Iterator[Finding]:
        """Check that there is something to record."""
        answers = self._answers_or_none()
        if answers is None:
            yield ok(self._why_not_asked())
            return
        if isinstance(answers.channels, CaptureError):
            yield error(answers.channels.message, answers.channels.hint)
            return
        for kind, name in _KINDS.items():
            devices = [channel for channel in answers.channels if channel.kind == kind]
            if devices:
                yield ok(f"{name}: {', '.join(channel.id for channel in devices)}")
            else:
                yield warning(f"{name}: none", "connect one, or leave it out of the recording")

    def _why_not_asked(self) -> str:
        return f"not asked, {'without a runtime' if self._path.exception() else 'while a capture records'}"

    def _answers_or_none(self) -> RuntimeAnswers | None:
        try:
            self._path.result()
        except CaptureError:
            return None
        return self._answers.result()
