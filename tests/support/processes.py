"""The program's processes as a user starts them: emulator, listener, capture, backend."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from support import forkserver
from support.messages import error_id_in
from support.patience import PATIENCE, patient
from vdbevents.emulator.application import EmulatorSettings, installed_path, running
from vdbevents.journal.locks import listener_pid, listener_runs

KEY = "sk-emulator"
ROOT = Path(__file__).parents[2]


def eventually(condition, seconds=PATIENCE):
    """Wait until a condition holds; return its value."""
    began = time.monotonic()
    while True:
        asked = time.monotonic()
        if value := condition():
            return value
        now = time.monotonic()
        assert now < began + seconds, "it did not happen in time"
        # What takes long to happen is asked for less often, and so is what takes long to find out: it holds
        # up what it waits for.
        time.sleep(min(max(0.01, 2 * (now - asked), min((now - began) / 20, 0.05)), 0.25))


def run(arguments, environ, **options):
    """Run `vdbevents` to its end; return its `returncode`, `stdout` and `stderr`."""
    command = [sys.executable, "-m", "vdbevents", *map(str, arguments)]
    settings = {"capture_output": True, "stdin": subprocess.DEVNULL, "text": True, "encoding": "utf-8"}
    settings |= {"timeout": patient(120.0), **options}
    return forkserver.run(command, env=environ, check=False, **settings)


def assert_failed(ended, code, *said, error_id=None):
    """Assert that a `vdbevents` ended with a code and an error, without a traceback and without the key."""
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert KEY not in ended.stdout + ended.stderr
    for text in said:
        assert text in ended.stderr
    if error_id is not None:
        assert error_id_in(ended.stderr) == error_id


# The whole lines of each journal when it was last read, and the events in them.
_parsed = {}
_REMEMBERED_JOURNALS = 8


def events_of(state):
    """Return the events in the whole lines of a journal; only lines that were appended are parsed."""
    try:
        content = state.journal.read_bytes()
    except FileNotFoundError:
        return []
    content = content[: content.rfind(b"\n") + 1]
    known, events = _parsed.get(state.journal, (b"", ()))
    if not content.startswith(known):
        known, events = b"", ()
    events = [*events, *(json.loads(line) for line in content[len(known) :].split(b"\n")[:-1])]
    if len(_parsed) > _REMEMBERED_JOURNALS:
        _parsed.clear()
    _parsed[state.journal] = content, events
    return list(events)


def all_shown(outside):
    """Read a pseudo-terminal to its end: the kernel delivers it in pieces."""
    shown = b""
    with contextlib.suppress(OSError):
        while more := os.read(outside, 1 << 16):
            shown += more
    return shown


def is_gone(pid):
    """Return whether no process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def end_listener(state):
    """Kill the listener of a directory, if one runs; it may be starting or ending."""

    def has_ended():
        if listener_runs(state):
            with contextlib.suppress(ProcessLookupError, TypeError):
                os.kill(listener_pid(state), signal.SIGKILL)
        return not listener_runs(state)

    eventually(has_ended)


class Process:
    """A running `vdbevents`, and its output so far."""

    program = ("-m", "vdbevents")

    def __init__(self, arguments, environ, **options):
        command = [sys.executable, *self.program, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        self.process = forkserver.Popen(command, env=environ, **{**pipes, **options})
        self.pid = self.process.pid
        self._out = self._collect(self.process.stdout)
        self._err = self._collect(self.process.stderr)

    @staticmethod
    def _collect(stream):
        lines = queue.Queue()
        if stream is None:
            return lines, None, []

        def read():
            with stream:
                for line in stream:
                    lines.put(line.decode())

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return lines, thread, []

    @staticmethod
    def _so_far(collected):
        lines, _, seen = collected
        while True:
            try:
                seen.append(lines.get_nowait())
            except queue.Empty:
                return "".join(seen)

    @property
    def out(self):
        return self._so_far(self._out)

    @property
    def err(self):
        return self._so_far(self._err)

    def says(self, text):
        """Wait until a text appears on stderr."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: text in self.err)
        assert text in self.err

    def ends(self, seconds=PATIENCE):
        """Wait for the end of the process and of its output; return the exit code."""
        code = self.process.wait(seconds)
        for _, thread, _ in (self._out, self._err):
            if thread is not None:
                thread.join(seconds)
        return code

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.ends()


class Reached:
    """A client of an emulator. `url` is its address; `environ` points the program at it."""

    def request(self, path, method="POST", **body):
        content = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self.url + "/emulator/" + path, content, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def fault(self, **faults):
        self.request("faults", **faults)

    def send(self, **message):
        self.request("send", **message)

    @property
    def state(self):
        return self.request("state", "GET")


class Service(Process, Reached):
    """`vdbevents emulator`."""

    def __init__(self, arguments=(), environ=None):
        super().__init__(["emulator", "--no-autoplay", *arguments], environ or dict(os.environ))
        eventually(lambda: self.out.count("\n") == 3 or self.process.poll() is not None)
        self.environ = dict(line.split("=", 1) for line in self.out.splitlines())
        self.url = self.environ["VIDEO_DB_API"]


class ServiceInThread(Reached):
    """The emulator in a thread of the test: faster to start than a process."""

    def __init__(self, **settings):
        self._running = running(EmulatorSettings(autoplay=False, **settings))
        self.url = self._running.__enter__()
        runtime = str(installed_path())
        key = settings.get("api_key", KEY)
        self.environ = {
            "VIDEO_DB_API": self.url,
            "VIDEO_DB_API_KEY": key,
            "VDBEVENTS_CAPTURE_RUNTIME": runtime,
        }

    def kill(self):
        self._running.__exit__(None, None, None)


class Listener(Process):
    """`vdbevents listen` on a directory."""

    def __init__(self, state, environ, arguments=(), *, named=True, **options):
        """Start it; without `named`, the environment decides which directory it uses."""
        self.state = state
        super().__init__(self._command(state.path if named else None, arguments), environ, **options)

    @staticmethod
    def _command(directory, arguments):
        return ["listen", *([directory] if directory else []), *arguments]

    def events(self):
        """The whole lines of the journal, parsed."""
        return events_of(self.state)

    def own(self, name):
        """Return the data of the recorder's own events of one name."""
        return [e["data"] for e in self.events() if e.get("channel") == "vdbevents" and e["event"] == name]

    def connected(self, times=1):
        """Wait for a number of connections; return the id of the latest."""
        eventually(lambda: len(self.own("listener.connected")) >= times or self.process.poll() is not None)
        assert self.process.poll() is None, self.err
        ws_id = self.own("listener.connected")[-1]["ws_id"]
        eventually(lambda: self.state.ws_id.exists() and self.state.ws_id.read_text() == ws_id)
        return ws_id

    def receives(self, condition):
        """Wait for an event that fulfils a condition; return it."""
        return eventually(lambda: next((e for e in self.events() if condition(e)), None))

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.ends()


class Script(Listener):
    """`scripts/ws_listener.py`, called as the documents of VideoDB's skill do."""

    program = (str(ROOT / "scripts" / "ws_listener.py"),)

    @staticmethod
    def _command(directory, arguments):
        return [*arguments, *([directory] if directory else [])]


class Capture(Process):
    """`vdbevents capture` on a directory."""

    def __init__(self, state, environ, arguments=(), **options):
        self.state = state
        super().__init__(["capture", *arguments, state.path], environ, **options)

    @property
    def info(self):
        """Return the content of `videodb_capture_info.json`; {} if it does not exist."""
        with contextlib.suppress(FileNotFoundError):
            return json.loads(self.state.capture_info.read_text())
        return {}

    @property
    def summary(self):
        """Return the JSON object on stdout."""
        return json.loads(self.out)

    def events(self):
        """The whole lines of the journal, parsed."""
        return events_of(self.state)

    def reaches(self, condition):
        """Wait until the info file fulfils a condition; return its content."""

        def found():
            info = self.info
            if info.get("pid") == self.pid and condition(info):
                return info
            assert self.process.poll() is None, self.err
            return None

        return eventually(found)

    def records(self):
        """Wait until the session is active and every pipeline is started."""
        return self.reaches(
            lambda info: (
                info["status"] == "recording"
                and info["pipelines"]
                and all(pipeline["status"] != "starting" for pipeline in info["pipelines"])
            )
        )

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.ends()


class Backend(Process):
    """`vdbevents backend` on a directory."""

    def __init__(self, state, environ, arguments=(), *, port=0):
        self.state, self.environ = state, environ
        super().__init__(["backend", state.path, "--port", port, *arguments], environ)
        eventually(lambda: "BACKEND_URL=" in self.out or self.process.poll() is not None)
        self.url = self.out.partition("BACKEND_URL=")[2].strip()

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    @property
    def token(self):
        return json.loads(self.state.backend_credentials.read_text())["token"]

    @property
    def secret(self):
        return json.loads(self.state.backend_credentials.read_text())["webhook_secret"]

    def post(self, path, body=b"", token=None):
        """Send a POST request; return the status and the parsed answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(self.url + path, content, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def init_session(self):
        status, told = self.post("/init-session", token=self.token)
        assert status == 200, told
        return told

    def webhook(self, session_id, status, **data):
        body = {"event": f"capture_session.{status}", "capture_session_id": session_id, "data": data}
        return self.post(f"/webhook/{self.secret}", body)

    def events(self):
        return events_of(self.state)

    def own(self, name):
        return [e["data"] for e in self.events() if e.get("channel") == "vdbevents" and e["event"] == name]

    def told(self, session_id, status):
        """Return the events of one state of a session."""
        name = f"capture_session.{status}"
        return [
            e for e in self.events() if e.get("capture_session_id") == session_id and e.get("event") == name
        ]

    @property
    def info(self):
        return json.loads(self.state.capture_info.read_text()) if self.state.capture_info.exists() else {}

    def runs_pipelines(self, session_id):
        def found():
            info = self.info
            pipelines = info.get("pipelines") or []
            is_ours = info.get("session", {}).get("id") == session_id
            return is_ours and pipelines and all(it["status"] == "running" for it in pipelines) and info

        return eventually(found)
