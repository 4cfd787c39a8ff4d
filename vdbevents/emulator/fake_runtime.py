"""A stand-in for the vendor's capture runtime: commands on stdin, answers and events on stdout.

It captures nothing, and works only with `vdbevents emulator`, which also sends its faults. It imports the
standard library alone, and little of that, to start fast.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

Json = dict[str, Any]
_Events = list[tuple[str, Json]]
"""(name, payload) of the events that follow a command's answer."""
_Done = tuple[Json, _Events]
"""A command's result, and its events."""

COMMANDS: Final = (
    "init",
    "ping",
    "requestPermission",
    "getChannels",
    "startRecording",
    "stopRecording",
    "pauseTracks",
    "resumeTracks",
    "shutdown",
)
PERMISSIONS: Final = ("microphone", "screen-capture", "accessibility")
LINK_PATH: Final = "/emulator/runtime"
SHORTEST_LINE: Final = 200
DIED: Final = 9

_TRACKS: Final = ("mic", "system_audio", "screen")
_CHANNELS: Final = [
    {"channel_id": "mic:default", "name": "Emulated Microphone", "type": "audio"},
    {"channel_id": "mic:headset", "name": "Emulated Headset", "type": "audio"},
    {"channel_id": "system_audio:default", "name": "Emulated System Audio", "type": "audio"},
    {"channel_id": "display:1", "name": "Emulated Display 1", "type": "video"},
    {"channel_id": "display:2", "name": "Emulated Display 2", "type": "video"},
    {"channel_id": "camera:1", "name": "Emulated Camera", "type": "video"},
]
_PREFIX: Final = "videodb_recorder|"
_API_SECONDS: Final = 10
_REPORT_SECONDS: Final = 2
_PREDECESSOR_SECONDS: Final = 1
_RETRY_SECONDS: Final = 0.05
_LAST_LINE_SECONDS: Final = 0.2
_LONG_LINE: Final = 100_000
_OK: Final = 200
_CONFLICT: Final = 409


class _Refused(Exception):  # noqa: N818 - an answer, not always an error of this program
    """A command is answered with an error."""


class _Unanswered(Exception):  # noqa: N818 - the same
    """A command is never answered."""


class _Output:
    """Writes whole lines to stdout, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Write a line; exit when stdout is closed."""
        with self._lock:
            try:
                self._stream.write(text.encode() + b"\n")
                self._stream.flush()
            except (OSError, ValueError):
                os._exit(1)

    def message(self, message: Json) -> None:
        """Write an answer or an event."""
        self.line(_PREFIX + json.dumps(message))

    def event(self, name: str, payload: Json) -> None:
        """Write an event."""
        self.message({"type": "event", "event": name, "payload": payload})

    def long_line(self, characters: int) -> None:
        """Write a transcript in a line of this many characters, without its newline."""
        event = {"type": "event", "event": "transcript", "payload": {"text": "", "isFinal": False}}
        before, after = (_PREFIX + json.dumps(event)).split('""', 1)
        self.line(f'{before}"{"x" * (characters - len(before) - len(after) - 2)}"{after}')

    def exit(self, code: int) -> NoReturn:
        """Exit at once, whatever other threads do, but not in the middle of a line."""
        self._lock.acquire(timeout=_LAST_LINE_SECONDS)
        os._exit(code)


class _Api:
    """The API at a base URL; raises ValueError for a URL that cannot be used."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(url)
        self.url = url
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")

    def open(
        self, method: str, path: str, token: str = "", body: Json | None = None, timeout: float = _API_SECONDS
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Return a response whose body is not read yet; `timeout` in seconds is for each step.

        Raises:
            OSError: There is no connection, or no answer in time.
        """
        connection = self._kind(self._host, self._port, timeout=timeout)
        headers = {"Content-Type": "application/json"} | ({"x-access-token": token} if token else {})
        content = None if body is None else json.dumps(body)
        try:
            connection.request(method, self._base + path, content, headers)
            return connection, connection.getresponse()
        except (HTTPException, ValueError) as error:
            connection.close()
            raise OSError(f"the request or its answer is not valid HTTP ({error!r})") from error
        except BaseException:
            connection.close()
            raise

    def call(self, method: str, path: str, token: str, body: Json | None = None) -> None:
        """Make a call that has to succeed; raise `_Refused` with the API's message when it does not."""
        try:
            connection, response = self.open(method, path, token, body)
            with contextlib.closing(connection):
                status, content = response.status, response.read()
        except TimeoutError:
            raise _Refused(f"The API did not answer {method} {path} in {_API_SECONDS} s.") from None
        except (OSError, HTTPException) as error:
            raise _Refused(f"The API at {self.url} cannot be reached: {error}.") from None
        if status == _OK:
            return
        try:
            message = json.loads(content)["message"]
        except (ValueError, KeyError, TypeError):
            message = f"The API answered {method} {path} with {status}."
        raise _Refused(str(message))


class _Link:
    """The link to the emulator: a response that stays open, with a line for each order.

    `obey` is called with each order, in a thread; `faults` holds the options of the fault `runtime`.
    """

    def __init__(self, api: _Api, obey: Callable[[Json], None]) -> None:
        self._api = api
        self._obey = obey
        self.faults: Json = {}

    def open(self) -> None:
        """Attach to the emulator; wait a moment for another runtime that is just ending."""
        deadline = time.monotonic() + _PREDECESSOR_SECONDS
        while (response := self._attach()) is None:
            if time.monotonic() > deadline:
                raise _Refused("Another instance of the capture runtime is running.")
            time.sleep(_RETRY_SECONDS)
        threading.Thread(target=self._follow, args=[*response], daemon=True).start()

    def report(self, report: Json) -> None:
        """Send the emulator a report; no-op when it has ended."""
        body = {"pid": os.getpid(), **report}
        with contextlib.suppress(OSError, HTTPException):
            connection, response = self._api.open("PUT", LINK_PATH, body=body, timeout=_REPORT_SECONDS)
            with contextlib.closing(connection):
                response.read()

    def _attach(self) -> tuple[HTTPConnection, HTTPResponse] | None:
        """Return the open response after its first line, None while another runtime is attached."""
        no_emulator = _Refused(
            f"This capture runtime captures nothing and works with `vdbevents emulator` only, which does not "
            f"answer at {self._api.url}."
        )
        try:
            connection, response = self._api.open("GET", f"{LINK_PATH}?pid={os.getpid()}")
        except OSError:
            raise no_emulator from None
        if response.status == _OK and self._take_line(response):
            # The emulator may send nothing for hours.
            if connection.sock is not None:
                connection.sock.settimeout(None)
            return connection, response
        connection.close()
        if response.status == _CONFLICT:
            return None
        raise no_emulator

    def _follow(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        with contextlib.closing(connection):
            while self._take_line(response):
                pass

    def _take_line(self, response: HTTPResponse) -> bool:
        """Read a line and carry it out; return False at the end."""
        try:
            line = json.loads(response.readline())
            number = line.pop("line")
        except (OSError, HTTPException, ValueError, KeyError, AttributeError, TypeError):
            return False
        if "faults" in line:
            self.faults = line["faults"]
        else:
            self._obey(line)
        self.report({"seen": number})
        return True


class _Runtime:
    """The state of the runtime, and its commands."""

    def __init__(self, output: _Output) -> None:
        self._output = output
        self._api: _Api | None = None
        self._link: _Link | None = None
        self._is_ready = False
        self._hangs = False
        self.is_shut_down = False
        """Whether a `shutdown` was granted; its answer may have been read."""
        self._token = ""
        self._session_id: str | None = None
        self._stored: list[str] = []
        self._commands: dict[str, Callable[[Json], _Done]] = {
            "init": lambda _: ({"status": "ready"}, []),
            "ping": lambda _: ({"status": "ok"}, []),
            "requestPermission": self._request_permission,
            "getChannels": lambda _: ({"channels": self._channels()}, []),
            "startRecording": self._start_recording,
            "stopRecording": self._stop_recording,
            "pauseTracks": self._change_tracks,
            "resumeTracks": self._change_tracks,
            "shutdown": lambda _: ({"status": "ended"}, self._wind_up()),
        }

    @property
    def faults(self) -> Json:
        """Return the options of the fault `runtime`."""
        return {} if self._link is None else self._link.faults

    def take(self, line: bytes) -> None:
        """Carry out a line of stdin, and answer it."""
        text = line.decode("utf-8", "replace").strip()
        try:
            message = json.loads(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else None
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            if text:
                _log(f"not a command: {text[:200]!r}")
            return
        command, params = message.get("command"), message.get("params")
        answer = {"type": "response", "commandId": message.get("commandId")}
        events: _Events = []
        try:
            result, events = self._carry_out(command, params if isinstance(params, dict) else {})
            answer |= {"status": "success", "result": result}
        except _Refused as refused:
            answer |= {"status": "error", "result": str(refused)}
        except _Unanswered:
            return
        self.is_shut_down = command == "shutdown" and answer["status"] == "success"
        self._answer(str(command), answer)
        for name, payload in events:
            self._output.event(name, payload)
        if self.is_shut_down:
            self._output.event("shutdown", {"code": 0})
            self._output.exit(0)

    def obey(self, order: Json) -> None:
        """Carry out an order of `POST /emulator/runtime`."""
        if order.get("do") == "die":
            self._output.exit(order["code"])
        elif order.get("do") == "hang":
            self._hangs = True
        elif "long_line" in order:
            self._output.long_line(int(order["long_line"]))
        elif "event" in order:
            self._output.event(order["event"], order["payload"])

    def _carry_out(self, command: object, params: Json) -> _Done:
        if self._hangs:
            raise _Unanswered
        _require(command, COMMANDS, "command")
        if command == "init":
            self._attach(params)
        faults = self.faults
        if faults.get("die_at") == command:
            self._output.exit(DIED)
        if faults.get("hang_at") in {command, "*"}:
            raise _Unanswered
        if command in faults.get("refuse", {}):
            raise _Refused(faults["refuse"][command])
        if command == "init":
            self._is_ready = True
        elif command not in {"ping", "shutdown"} and not self._is_ready:
            raise _Refused(f"{command} needs an init first.")
        return self._commands[str(command)](params)

    def _answer(self, command: str, answer: Json) -> None:
        if self.faults.get("noise"):
            self._output.line("This line is not part of the protocol.")
            self._output.line(_PREFIX + '{"type": "response", "commandId":')
            _log("a warning without a meaning")
        if self.faults.get("long_line_at") == command:
            self._output.long_line(_LONG_LINE)
        self._output.message(answer)

    def _attach(self, params: Json) -> None:
        if self._link is not None:
            return
        url = params.get("apiUrl")
        try:
            api = _Api(url if isinstance(url, str) else "")
        except ValueError:
            raise _Refused(f"apiUrl: must be the API's address, got {url!r}") from None
        link = _Link(api, self.obey)
        link.open()
        self._api, self._link = api, link

    def _request_permission(self, params: Json) -> _Done:
        permission = _hyphenated(params.get("permission"))
        _require(permission, PERMISSIONS, "permission")
        denied = map(_hyphenated, self.faults.get("deny", []))
        return {"status": "denied" if permission in denied else "granted"}, []

    def _channels(self) -> list[Json]:
        return list(self.faults.get("channels", _CHANNELS))

    def _start_recording(self, params: Json) -> _Done:
        if self._session_id is not None:
            raise _Refused(f"The session {self._session_id} is being recorded already.")
        session_id, token = params.get("sessionId"), params.get("uploadToken")
        for name, value in (("sessionId", session_id), ("uploadToken", token)):
            if not isinstance(value, str) or not value:
                raise _Refused(f"{name} is missing.")
        session_id, token = str(session_id), str(token)
        channels = self._selected_channels(params.get("channels"), params.get("primary_video_channel_id"))
        self._call("POST", "/capture/session/start", token, {"session_id": session_id, "channels": channels})
        path = f"/capture/session/{quote(session_id, safe='')}"
        try:
            self._call("GET", path, token)
        except _Refused:
            # Without addresses nothing can be published: stop the session again.
            with contextlib.suppress(_Refused):
                self._call("POST", path + "/stop", token)
            raise
        self._token = token
        self._stored = [channel["channel_id"] for channel in channels if channel["store"]]
        self._record(session_id)
        events: _Events = [("recording:started", {"sessionId": session_id})]
        return {"status": "recording", "sessionId": session_id}, events

    def _selected_channels(self, channels: object, primary_id: object) -> list[Json]:
        """Return the channels as the API takes them.

        The Python SDK marks the primary one in the list, the Node SDK names it beside the list.
        """
        if not isinstance(channels, list) or not channels:
            raise _Refused("There are no channels: at least one is needed.")
        known = {channel.get("channel_id", channel.get("id")): channel for channel in self._channels()}
        selected = []
        for channel in channels:
            channel_id = channel.get("channel_id") if isinstance(channel, dict) else None
            if not isinstance(channel_id, str) or channel_id not in known:
                raise _Refused(f"There is no channel {channel_id or channel!r}.")
            fields = known[channel_id] | channel
            selected.append(
                {
                    "channel_id": channel_id,
                    "channel_name": fields.get("name", ""),
                    "type": fields.get("type"),
                    "store": fields.get("store") is True,
                    "is_primary": fields.get("is_primary") is True or channel_id == primary_id,
                }
            )
        return selected

    def _stop_recording(self, params: Json) -> _Done:
        session_id, recorded = params.get("sessionId"), self._recorded_session()
        if session_id != recorded:
            raise _Refused(f"The session {recorded} is being recorded, not {session_id!r}.")
        return {"status": "stopped", "sessionId": session_id}, self._end_session(recorded)

    def _end_session(self, session_id: str) -> _Events:
        self._call("POST", f"/capture/session/{quote(session_id, safe='')}/stop", self._token)
        events: _Events = [("recording:stopped", {"sessionId": session_id})]
        for channel_id in self._stored:
            events.append(("upload:progress", {"channelId": channel_id, "progress": 100}))
            events.append(("upload:complete", {"channelId": channel_id}))
        self._record(None)
        return events

    def _wind_up(self) -> _Events:
        """Stop what is being recorded; an error becomes an event."""
        if self._session_id is None:
            return []
        try:
            return self._end_session(self._session_id)
        except _Refused as refused:
            return [("recording:error", {"error": str(refused)})]

    def _change_tracks(self, params: Json) -> _Done:
        self._recorded_session()
        tracks = params.get("tracks")
        if not isinstance(tracks, list) or not tracks:
            raise _Refused("There are no tracks: at least one is needed.")
        for track in tracks:
            _require(track, _TRACKS, "track")
        return {"tracks": tracks}, []

    def _recorded_session(self) -> str:
        if self._session_id is None:
            raise _Refused("Nothing is being recorded.")
        return self._session_id

    def _record(self, session_id: str | None) -> None:
        self._session_id = session_id
        if self._link is not None:
            self._link.report({"recording": session_id})

    def _call(self, method: str, path: str, token: str, body: Json | None = None) -> None:
        if self._api is None:
            raise _Refused("There was no init.")
        self._api.call(method, path, token, body)


def _require(value: object, known: tuple[str, ...], subject: str) -> None:
    if value not in known:
        raise _Refused(f"There is no {subject} {value!r}; there are {', '.join(known)}.")


def _hyphenated(permission: object) -> object:
    """Return a permission as the runtime names it; the SDK writes an underscore."""
    return permission.replace("_", "-") if isinstance(permission, str) else permission


def _log(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"vdbevents-capture-runtime: {text}", file=sys.stderr, flush=True)  # noqa: T201 - its only log


def _read(lines: SimpleQueue[bytes], output: _Output) -> None:
    """Queue the lines of stdin, and exit at its end, even while a call hangs."""
    with contextlib.suppress(OSError, ValueError):
        while line := sys.stdin.buffer.readline():
            lines.put(line)
    output.exit(1)


def _watch(output: _Output) -> None:
    """Exit when stdout is closed, even while nothing is written, on systems that can tell."""
    import select

    if hasattr(select, "poll"):
        poll = select.poll()
        # Without events to wait for, it reports only errors and hang-ups.
        poll.register(sys.stdout.fileno(), 0)
        poll.poll()
        output.exit(1)


def main() -> NoReturn:
    """Run until `shutdown`, the end of stdin or stdout, or a signal."""
    # Either may be closed at the start, though the types say otherwise.
    if not (sys.stdin and sys.stdout):
        os._exit(1)
    output = _Output(sys.stdout.buffer)
    runtime = _Runtime(output)

    def end(number: int, _: FrameType | None) -> None:
        if runtime.is_shut_down:
            # The SDK sends SIGTERM as soon as it has the answer: this is still an orderly end.
            os._exit(0)
        if not runtime.faults.get("ignore_sigterm"):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    lines: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=[lines, output], daemon=True).start()
    threading.Thread(target=_watch, args=[output], daemon=True).start()
    while True:
        runtime.take(lines.get())


if __name__ == "__main__":
    main()
