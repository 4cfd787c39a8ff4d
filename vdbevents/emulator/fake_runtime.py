"""A stand-in for the vendor's capture runtime: commands on stdin, answers and events on stdout.

It captures nothing, and works with `vdbevents emulator` alone, which tells it what is to go wrong. It uses
the standard library only, and little of that: whoever starts it waits for it.
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
Done = tuple[Json, list[tuple[str, Json]]]
"""The result of a command, and the events (name, payload) that follow its answer."""

COMMANDS: Final = (
    "init",
    "requestPermission",
    "getChannels",
    "startRecording",
    "stopRecording",
    "pauseTracks",
    "resumeTracks",
    "shutdown",
)
PERMISSIONS: Final = ("microphone", "screen-capture")
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
_ASK_AGAIN_SECONDS: Final = 0.05
_LAST_LINE_SECONDS: Final = 0.2
_LONG_LINE: Final = 100_000
_OK: Final = 200
_CONFLICT: Final = 409


class _Refused(Exception):  # noqa: N818 - it is an answer, and not always an error of this program
    """A command that is answered with an error."""


class _Unanswered(Exception):  # noqa: N818 - the same
    """A command that is never answered."""


class _Output:
    """What is said on stdout, in whole lines, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Writes one line; nobody reads any more when that fails, and then this process ends."""
        with self._lock:
            try:
                self._stream.write(text.encode() + b"\n")
                self._stream.flush()
            except (OSError, ValueError):
                os._exit(1)

    def message(self, message: Json) -> None:
        """An answer or an event."""
        self.line(_PREFIX + json.dumps(message))

    def event(self, name: str, payload: Json) -> None:
        """An event."""
        self.message({"type": "event", "event": name, "payload": payload})

    def long_line(self, characters: int) -> None:
        """A transcript whose line has this many characters, its end not counted."""
        event = {"type": "event", "event": "transcript", "payload": {"text": "", "isFinal": False}}
        before, after = (_PREFIX + json.dumps(event)).split('""', 1)
        self.line(f'{before}"{"x" * (characters - len(before) - len(after) - 2)}"{after}')

    def end(self, code: int) -> NoReturn:
        """Ends the process at once, whatever its threads do, and leaves no half of a line."""
        self._lock.acquire(timeout=_LAST_LINE_SECONDS)
        os._exit(code)


class _Api:
    """The API behind a base URL; `ValueError` for what is no URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(url)
        self.url = url
        self._is_secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._base = parts.path.rstrip("/")

    def open(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        body: Json | None = None,
        limit: float = _API_SECONDS,
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """A response whose body is still to be read; `limit` seconds for each step.

        Raises:
            OSError: There is no connection, or no answer in time.
        """
        kind = HTTPSConnection if self._is_secure else HTTPConnection
        connection = kind(self._host, self._port, timeout=limit)
        headers = {"Content-Type": "application/json"} | ({"x-access-token": token} if token else {})
        content = None if body is None else json.dumps(body)
        try:
            connection.request(method, self._base + path, content, headers)
            return connection, connection.getresponse()
        except (HTTPException, ValueError) as error:
            connection.close()
            raise OSError(f"nothing that could be asked or understood ({error!r})") from error
        except BaseException:
            connection.close()
            raise

    def call(self, method: str, path: str, token: str, body: Json | None = None) -> None:
        """One call that has to succeed; `_Refused` says in the API's words why it did not."""
        try:
            connection, response = self.open(method, path, token=token, body=body)
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
    """The emulator's hand on this process: a response that stays open, a line for each thing it is told.

    `obey` is called with each order, in a thread; `faults` has what the fault `runtime` asks for.
    """

    def __init__(self, api: _Api, obey: Callable[[Json], None]) -> None:
        self._api = api
        self._obey = obey
        self.faults: Json = {}

    def open(self) -> None:
        """Attaches to the emulator; one that is just ending is waited for."""
        moment = time.monotonic() + _PREDECESSOR_SECONDS
        while (response := self._ask()) is None:
            if time.monotonic() > moment:
                raise _Refused("Another instance of the capture runtime is running.")
            time.sleep(_ASK_AGAIN_SECONDS)
        # The emulator may have nothing to say for hours.
        threading.Thread(target=self._follow, args=[response], daemon=True).start()

    def report(self, what: Json) -> None:
        """Tells the emulator something; it may be gone, and then that is no matter."""
        body = {"pid": os.getpid(), **what}
        with contextlib.suppress(OSError, HTTPException):
            connection, response = self._api.open("PUT", LINK_PATH, body=body, limit=_REPORT_SECONDS)
            with contextlib.closing(connection):
                response.read()

    def _ask(self) -> tuple[HTTPConnection, HTTPResponse] | None:
        """The open response, its first line taken; None while another process has it."""
        foreign = _Refused(
            f"This capture runtime captures nothing and works with `vdbevents emulator` only, which does not "
            f"answer at {self._api.url}."
        )
        try:
            connection, response = self._api.open("GET", f"{LINK_PATH}?pid={os.getpid()}")
        except OSError:
            raise foreign from None
        if response.status == _OK and self._take(response):
            if connection.sock is not None:
                connection.sock.settimeout(None)
            return connection, response
        connection.close()
        if response.status == _CONFLICT:
            return None
        raise foreign

    def _follow(self, opened: tuple[HTTPConnection, HTTPResponse]) -> None:
        connection, response = opened
        with contextlib.closing(connection):
            while self._take(response):
                pass

    def _take(self, response: HTTPResponse) -> bool:
        """Reads a line and does what it says; False when there are no more."""
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
    """What it has been told, and what it does about it."""

    def __init__(self, output: _Output) -> None:
        self._output = output
        self._api: _Api | None = None
        self._link: _Link | None = None
        self._is_ready = False
        self._hangs = False
        self.is_shut_down = False
        """Whether a `shutdown` was granted, whose answer may already be read."""
        self._token = ""
        self._session_id: str | None = None
        self._stored: list[str] = []
        self._known: dict[str, Callable[[Json], Done]] = {
            "init": lambda _: ({"status": "ready"}, []),
            "requestPermission": self._request_permission,
            "getChannels": lambda _: ({"channels": self._channels()}, []),
            "startRecording": self._start_recording,
            "stopRecording": self._stop_recording,
            "pauseTracks": self._change_tracks,
            "resumeTracks": self._change_tracks,
            "shutdown": lambda _: ({"status": "ended"}, []),
        }

    @property
    def faults(self) -> Json:
        """The options of the fault `runtime`."""
        return {} if self._link is None else self._link.faults

    def take(self, line: bytes) -> None:
        """One line of stdin: does what it asks for, and answers."""
        text = line.decode("utf-8", "replace").strip()
        try:
            message = json.loads(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else None
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            if text:
                _complain(f"not understood: {text[:200]!r}")
            return
        command, params = message.get("command"), message.get("params")
        answer = {"type": "response", "commandId": message.get("commandId")}
        try:
            result, events = self._carry_out(command, params if isinstance(params, dict) else {})
            answer |= {"status": "success", "result": result}
        except _Refused as refused:
            events = []
            answer |= {"status": "error", "result": str(refused)}
        except _Unanswered:
            return
        self.is_shut_down = command == "shutdown" and answer["status"] == "success"
        self._answer(str(command), answer)
        for name, payload in events:
            self._output.event(name, payload)
        if self.is_shut_down:
            self._output.event("shutdown", {"code": 0})
            self._output.end(0)

    def obey(self, order: Json) -> None:
        """What `POST /emulator/runtime` asks for."""
        if order.get("do") == "die":
            self._output.end(order["code"])
        elif order.get("do") == "hang":
            self._hangs = True
        elif "long_line" in order:
            self._output.long_line(order["long_line"])
        elif "event" in order:
            self._output.event(order["event"], order["payload"])

    def _carry_out(self, command: object, params: Json) -> Done:
        if self._hangs:
            raise _Unanswered
        if command not in self._known:
            raise _Refused(f"There is no command {command!r}; there are {', '.join(COMMANDS)}.")
        if command == "init":
            self._attach(params)
        faults = self.faults
        if faults.get("die_at") == command:
            self._output.end(DIED)
        if faults.get("hang_at") in {command, "*"}:
            raise _Unanswered
        if command in faults.get("refuse", {}):
            raise _Refused(faults["refuse"][command])
        if command == "init":
            self._is_ready = True
        elif command == "shutdown":
            return {"status": "ended"}, self._wind_up()
        elif not self._is_ready:
            raise _Refused(f"{command} needs an init first.")
        return self._known[str(command)](params)

    def _answer(self, command: str, answer: Json) -> None:
        if self.faults.get("noise"):
            self._output.line("This line is none of the protocol's.")
            self._output.line(_PREFIX + '{"type": "response", "commandId":')
            _complain("a warning that means nothing")
        if self.faults.get("long_line_at") == command:
            self._output.long_line(_LONG_LINE)
        self._output.message(answer)

    # Commands.

    def _attach(self, params: Json) -> None:
        if self._link is not None:
            return
        url = params.get("apiUrl")
        try:
            api = _Api(url if isinstance(url, str) else "")
        except ValueError:
            raise _Refused(f"apiUrl has to be the API's address, not {url!r}.") from None
        link = _Link(api, self.obey)
        link.open()
        self._api, self._link = api, link

    def _request_permission(self, params: Json) -> Done:
        wanted = _permission(params.get("permission"))
        if wanted not in PERMISSIONS:
            raise _Refused(f"There is no permission {wanted!r}; there are {', '.join(PERMISSIONS)}.")
        denied = map(_permission, self.faults.get("deny", []))
        return {"status": "denied" if wanted in denied else "granted"}, []

    def _channels(self) -> list[Json]:
        return list(self.faults.get("channels", _CHANNELS))

    def _start_recording(self, params: Json) -> Done:
        if self._session_id is not None:
            raise _Refused(f"The session {self._session_id} is being recorded already.")
        session_id, token = params.get("sessionId"), params.get("uploadToken")
        if not isinstance(session_id, str) or not session_id:
            raise _Refused("sessionId is missing.")
        if not isinstance(token, str) or not token:
            raise _Refused("uploadToken is missing.")
        channels = self._wanted(params.get("channels"))
        self._call("POST", "/capture/session/start", token, {"session_id": session_id, "channels": channels})
        path = f"/capture/session/{quote(session_id, safe='')}"
        try:
            self._call("GET", path, token)
        except _Refused:
            # Without addresses nothing can be published: what was begun is ended.
            with contextlib.suppress(_Refused):
                self._call("POST", path + "/stop", token)
            raise
        self._token = token
        self._stored = [channel["channel_id"] for channel in channels if channel["store"]]
        self._record(session_id)
        return {"status": "recording", "sessionId": session_id}, [
            ("recording:started", {"sessionId": session_id})
        ]

    def _wanted(self, channels: object) -> list[Json]:
        if not isinstance(channels, list) or not channels:
            raise _Refused("There are no channels: at least one is needed.")
        known = {channel.get("channel_id", channel.get("id")): channel for channel in self._channels()}
        wanted = []
        for channel in channels:
            channel_id = channel.get("channel_id") if isinstance(channel, dict) else None
            if not isinstance(channel_id, str) or channel_id not in known:
                raise _Refused(f"There is no channel {channel_id or channel!r}.")
            both = known[channel_id] | channel
            wanted.append(
                {
                    "channel_id": channel_id,
                    "channel_name": both.get("name", ""),
                    "type": both.get("type"),
                    "store": both.get("store") is True,
                    "is_primary": both.get("is_primary") is True,
                }
            )
        return wanted

    def _stop_recording(self, params: Json) -> Done:
        session_id = params.get("sessionId")
        if self._session_id is None:
            raise _Refused("Nothing is being recorded.")
        if session_id != self._session_id:
            raise _Refused(
                f"It is the session {self._session_id} that is being recorded, not {session_id!r}."
            )
        return {"status": "stopped", "sessionId": session_id}, self._end_session(self._session_id)

    def _end_session(self, session_id: str) -> list[tuple[str, Json]]:
        self._call("POST", f"/capture/session/{quote(session_id, safe='')}/stop", self._token)
        events: list[tuple[str, Json]] = [("recording:stopped", {"sessionId": session_id})]
        for channel_id in self._stored:
            events.append(("upload:progress", {"channelId": channel_id, "progress": 100}))
            events.append(("upload:complete", {"channelId": channel_id}))
        self._record(None)
        return events

    def _wind_up(self) -> list[tuple[str, Json]]:
        """Ends what is being recorded, as well as that can be done."""
        if self._session_id is None:
            return []
        try:
            return self._end_session(self._session_id)
        except _Refused as refused:
            return [("recording:error", {"error": str(refused)})]

    def _change_tracks(self, params: Json) -> Done:
        if self._session_id is None:
            raise _Refused("Nothing is being recorded.")
        tracks = params.get("tracks")
        if not isinstance(tracks, list) or not tracks:
            raise _Refused("There are no tracks: at least one is needed.")
        for track in tracks:
            if track not in _TRACKS:
                raise _Refused(f"There is no track {track!r}; there are {', '.join(_TRACKS)}.")
        return {"tracks": tracks}, []

    def _record(self, session_id: str | None) -> None:
        self._session_id = session_id
        if self._link is not None:
            self._link.report({"recording": session_id})

    def _call(self, method: str, path: str, token: str, body: Json | None = None) -> None:
        if self._api is None:
            raise _Refused("There was no init.")
        self._api.call(method, path, token, body)


def _permission(name: object) -> object:
    """As the runtime knows it; the SDK's own name for it is accepted."""
    return name.replace("_", "-") if isinstance(name, str) else name


def _complain(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"vdbevents-capture-runtime: {text}", file=sys.stderr, flush=True)  # noqa: T201 - its one log


def _read(lines: SimpleQueue[bytes], output: _Output) -> None:
    """Passes on what is said on stdin; whoever closes it is gone, and a call that hangs must not matter."""
    with contextlib.suppress(OSError, ValueError):
        while line := sys.stdin.buffer.readline():
            lines.put(line)
    output.end(1)


def _watch(output: _Output) -> None:
    """Ends with stdout, when nothing is said for a while as well, where the system can tell."""
    import select

    if hasattr(select, "poll"):
        poll = select.poll()
        # Asked for nothing, it reports an error or a hang-up alone.
        poll.register(sys.stdout.fileno(), 0)
        poll.poll()
        output.end(1)


def main() -> NoReturn:
    """Runs until `shutdown`, the end of stdin or stdout, or a signal."""
    # Either may have been closed before the start; the types say otherwise.
    if not (sys.stdin and sys.stdout):
        os._exit(1)
    output = _Output(sys.stdout.buffer)
    runtime = _Runtime(output)

    def ended(number: int, _: FrameType | None) -> None:
        if runtime.is_shut_down:
            # The SDK sends SIGTERM as soon as it has the answer: it is an orderly end all the same.
            os._exit(0)
        if not runtime.faults.get("ignore_sigterm"):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, ended)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    lines: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=[lines, output], daemon=True).start()
    threading.Thread(target=_watch, args=[output], daemon=True).start()
    while True:
        runtime.take(lines.get())


if __name__ == "__main__":
    main()
