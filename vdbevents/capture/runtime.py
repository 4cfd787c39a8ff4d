"""VideoDB's capture runtime: a process behind the SDK's `CaptureClient`, with time limits and a watch.

The SDK waits for ever when the runtime dies or does not answer, silently starts a second one when the first
is gone, and stops reading after a line of more than 64 KiB. docs/capture.md says how that is handled.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from vdbevents.errors import CaptureError
from vdbevents.sessions.plan import Channel, Choice

_EXIT_SECONDS = 2.0
_WATCH_SECONDS = 0.05
_LONGEST_REASON = 300
_NEW_PROCESS_GROUP = 0x200  # Windows' CREATE_NEW_PROCESS_GROUP

_PERMISSIONS = {
    "microphone": "System Settings > Privacy & Security > Microphone (macOS), "
    "Settings > Privacy & security > Microphone (Windows)",
    "screen_capture": "System Settings > Privacy & Security > Screen & System Audio Recording (macOS)",
}


def where_to_grant(permission: str) -> str:
    """Return a hint: where in the system's settings a permission is granted."""
    return f"grant it to this terminal in {_PERMISSIONS[permission]}, then start again"


class CaptureRuntime:
    """One runtime process, from the first call, which starts it, to `close`.

    Each call raises CaptureError if the runtime refuses, has ended, or does not answer in time.

    Attributes:
        ended: done when the process has ended, with its exit code.
    """

    def __init__(self, client: Any, on_event: Callable[[str, Any], None]) -> None:  # noqa: ANN401 - the SDK's
        """Start nothing yet.

        Args:
            client: a `CaptureClient`, from `cloud.capture_client`.
            on_event: called with the name and payload of each event of the runtime.
        """
        self._client = client
        self._on_event = on_event
        self._token = str(getattr(client, "client_token", "") or "")
        self._channels: dict[str, Any] = {}
        self._events: asyncio.Task[None] | None = None
        self._watches: list[asyncio.Task[Any]] = []
        self._transport: asyncio.SubprocessTransport | None = None
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._read_output = getattr(client, "_read_stdout_loop", None)
        self._read_errors = getattr(client, "_read_stderr_loop", None)
        if self._read_output is not None and self._read_errors is not None:
            # The SDK runs these two as tasks as soon as it has started the process.
            client._read_stdout_loop = self._watch_output  # noqa: SLF001 - there is no public way
            client._read_stderr_loop = self._watch_errors  # noqa: SLF001

    @property
    def pid(self) -> int | None:
        """The process id; None before the start."""
        process = self._process
        return None if process is None else process.pid

    @property
    def runs(self) -> bool:
        """Whether the process is running."""
        process = self._process
        return process is not None and process.returncode is None and not self.ended.done()

    @property
    def _process(self) -> Any:  # noqa: ANN401 - asyncio's Process, or None
        return getattr(self._client, "_proc", None)

    async def permit(self, permission: str, seconds: float) -> bool:
        """Request a permission, `microphone` or `screen_capture`; return whether it is granted."""
        call = self._client.request_permission
        return (
            await self._ask(f"ask for the permission {permission}", lambda: call(permission), seconds) is True
        )

    async def channels(self, seconds: float) -> list[Channel]:
        """Return what can be recorded here, each kind's default first."""
        listed = await self._ask("list the channels", self._client.list_channels, seconds)
        groups = (
            ("mic", listed.mics),
            ("system_audio", listed.system_audio),
            ("display", listed.displays),
            ("camera", listed.cameras),
        )
        self._channels = {channel.id: channel for _, group in groups for channel in group}
        return [Channel(channel.id, channel.name, kind) for kind, group in groups for channel in group]

    def use_token(self, token: str) -> None:
        """Set the client token that `start` hands over."""
        self._token = self._client.client_token = token

    async def start(self, session_id: str, choices: Sequence[Choice], seconds: float) -> None:
        """Start to record channels that `channels` has listed."""
        chosen = []
        for choice in choices:
            channel = self._channels[choice.channel.id]
            channel.store, channel.is_primary = choice.store, choice.primary
            chosen.append(channel)
        # The name in VideoDB's documentation, and the one in the SDK.
        start = getattr(self._client, "start_session", None) or self._client.start_capture_session
        await self._ask("start the recording", lambda: start(session_id, chosen), seconds)

    async def stop(self, seconds: float) -> None:
        """Stop the recording."""
        stop = getattr(self._client, "stop_session", None) or self._client.stop_capture
        await self._ask("stop the recording", stop, seconds)

    async def close(self, seconds: float) -> None:
        """End the process: ask it to, then terminate it, then kill it."""
        if self.runs:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._client.shutdown(), seconds)
        for end in ("terminate", "kill"):
            process = self._process
            if process is None or process.returncode is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                getattr(process, end)()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _EXIT_SECONDS)
        if self._watches:
            await asyncio.wait(self._watches, timeout=_EXIT_SECONDS)
        if self._events is not None:
            self._events.cancel()
            await asyncio.wait({self._events})
        if self._transport is not None:
            # A child of the dead runtime may keep the other ends of its pipes open.
            self._transport.close()

    async def _ask(self, what: str, call: Callable[[], Awaitable[Any]], seconds: float) -> Any:  # noqa: ANN401
        process = self._process
        if self.ended.done() or (process is not None and process.returncode is not None):
            # The SDK would start another process, which does not know the recording.
            raise self._death(what)
        with self._own_group():
            answer = asyncio.ensure_future(call())
            try:
                pending = {answer, self.ended}
                await asyncio.wait(pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    # The answer may have been read just now, before the process ended.
                    await asyncio.sleep(0)
                if answer.done():
                    return answer.result()
            except Exception as error:
                raise CaptureError(
                    f"could not {what}: {self._reason(error)}", error_id="runtime-refused"
                ) from error
            finally:
                answer.cancel()
                await asyncio.wait({answer}, timeout=_EXIT_SECONDS)
                if answer.done() and not answer.cancelled():
                    answer.exception()
        if self.ended.done():
            raise self._death(what)
        raise CaptureError(
            f"could not {what}: the capture runtime has not answered in {seconds:g} s",
            "try again; if that fails, end other recorders on this machine",
            error_id="runtime-timeout",
        )

    def _death(self, what: str) -> CaptureError:
        code = self.ended.result() if self.ended.done() else self._process.returncode
        return CaptureError(
            f"could not {what}: the capture runtime has ended (exit code {code})",
            "start the recording again",
            error_id="runtime-ended",
        )

    @contextlib.contextmanager
    def _own_group(self) -> Iterator[None]:
        """Start processes in a group of their own, within the context.

        Ctrl-C on a terminal reaches its whole foreground group; the runtime must outlive it until it is
        asked to end.
        """
        loop: Any = asyncio.get_running_loop()
        start = loop.subprocess_exec
        apart = {"process_group": 0} if sys.platform != "win32" else {"creationflags": _NEW_PROCESS_GROUP}

        async def start_apart(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - asyncio's
            return await start(*arguments, **{**options, **apart})

        loop.subprocess_exec = start_apart
        try:
            yield
        finally:
            vars(loop).pop("subprocess_exec", None)

    async def _watch_output(self) -> None:
        process = self._process
        self._transport = getattr(process, "_transport", None)
        self._note_watch()
        self._events = self._events or asyncio.create_task(self._forward_events())
        reading = asyncio.ensure_future(self._until_closed(self._read_output))
        # A child of the process may keep its output open, and `wait` would wait for that.
        while not reading.done() and process.returncode is None:
            await asyncio.wait({reading}, timeout=_WATCH_SECONDS)
        if process.returncode is None:
            await self._await_exit(process)
        # Read its last output.
        await asyncio.wait({reading}, timeout=_WATCH_SECONDS)
        reading.cancel()
        if not self.ended.done():
            self.ended.set_result(process.returncode)

    @staticmethod
    async def _await_exit(process: Any) -> None:  # noqa: ANN401 - asyncio's Process
        """Wait for the exit of a process that has closed its output, and cannot be asked to; then kill it."""
        for _ in range(round(_EXIT_SECONDS / _WATCH_SECONDS)):
            await asyncio.sleep(_WATCH_SECONDS)
            if process.returncode is not None:
                return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        while process.returncode is None:  # noqa: ASYNC110 - asyncio notifies only `wait`
            await asyncio.sleep(_WATCH_SECONDS)

    def _note_watch(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._watches.append(task)

    async def _watch_errors(self) -> None:
        self._note_watch()
        await self._until_closed(self._read_errors)

    async def _until_closed(self, read: Any) -> None:  # noqa: ANN401 - a method of the SDK
        while True:
            try:
                await read()
            except ValueError:
                # A line of more than 64 KiB: asyncio has dropped its beginning.
                if read is self._read_output:
                    self._on_event("runtime:overlong_line", {})
            except AttributeError:
                return  # the SDK's `shutdown` has removed the process
            else:
                return

    async def _forward_events(self) -> None:
        async for event in self._client.events():
            if isinstance(event, Mapping):
                self._on_event(
                    str(event.get("event") or "unknown"), self._without_token(event.get("payload"))
                )

    def _without_token(self, payload: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Remove the client token from a payload, which is journaled."""
        text = json.dumps(payload)
        return json.loads(text.replace(self._token, "…")) if self._token and self._token in text else payload

    def _reason(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return f"the capture runtime cannot be started or reached: {error.strerror or error}"
        if not isinstance(error, RuntimeError):
            # The SDK does not check answers; a refusal of the runtime is a RuntimeError.
            return "the capture runtime's answer is malformed"
        text = str(error).strip() or "no reason given"
        text = text.replace(self._token, "…") if self._token else text
        return f"the capture runtime says: {text.splitlines()[0][:_LONGEST_REASON]}"
