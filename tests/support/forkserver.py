"""Start the program in a fork of a process that has already loaded it.

A Python that loads all of vdbevents takes 0.2 to 0.4 s of CPU to start; a fork of one takes a few
milliseconds. `Popen` here is `subprocess.Popen` for `python -m vdbevents …` and `python SCRIPT.py …`:
a real process with its own pid, descriptors, environment, session and signals. Any command or option
that it does not know starts a real interpreter, and so does everything if VDBEVENTS_TEST_REAL_STARTS
is set, or on a system without fork. What a fork itself starts of `vdbevents` is forked as well.

One server runs for all processes of a run of pytest. It has one thread, and loads the program when the
first command is started.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import random
import runpy
import select
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
import weakref
from pathlib import Path
from typing import ClassVar

_LENGTH = struct.Struct("=Q")
_STATUS = struct.Struct("=i")
# Shown by `ps` in place of the server's own: room for the arguments of a child.
_ROOM_FOR_ARGUMENTS = 1 << 12
_LOCALE = "C.UTF-8"
# After the path of a server's socket: a file with a line for each fork that has ended, `SECONDS TEST`.
_USED = ".used"
# A Python script, which the program starts by its path.
_RUNTIME = str(Path(sys.executable).with_name("vdbevents-capture-runtime"))
# What the commands load where they use it.
_PRELOADED = (
    *("duckdb", "filelock", "h11", "orjson", "videodb.exceptions", "zstandard", "dotenv", "encodings.idna"),
    *(
        "requests.adapters",
        "rich.live",
        "rich.progress",
        "typer._click.decorators",
        "websockets.asyncio.client",
    ),
    *("starlette.applications", "uvicorn.server", "uvicorn.lifespan.off", "getpass", "tomllib", "csv"),
)
# Set up when the interpreter starts; a fork cannot take them over.
_READ_AT_START = ("PYTHON", "LC_", "LD_", "DYLD_", "MALLOC_", "COVERAGE_", "GLIBC_")
_READ_LATER = {"PYTHON_KEYRING_BACKEND"}
_PLAIN_OPTIONS = {"executable": None, "preexec_fn": None, "close_fds": True, "pass_fds": (), "shell": False}
_PLAIN_OPTIONS |= {
    "gid": None,
    "gids": None,
    "uid": None,
    "umask": -1,
    "restore_signals": True,
}
_NAMES = (
    *("args", "executable", "preexec_fn", "close_fds", "pass_fds", "cwd", "env", "startupinfo"),
    *("creationflags", "shell", "p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"),
    *("restore_signals", "gid", "gids", "uid", "umask", "start_new_session", "process_group"),
)

# The side of the tests.


class Popen(subprocess.Popen):
    """`subprocess.Popen`, which forks what it can from the server."""

    _connection = None
    _status = None

    @staticmethod
    def _is_known(arguments):
        is_script = arguments == [_RUNTIME] or (arguments[:1] and arguments[0].endswith(".py"))
        return _is_module(arguments) or is_script

    @property
    def is_forked(self):
        return self._connection is not None

    def _execute_child(self, *values):
        given = dict(zip(_NAMES, values, strict=True))
        launch = _launch(given, self._is_known)
        if launch is None:
            super()._execute_child(*values)
            return
        streams = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        try:
            self._connection = _ask(
                server_path(),
                launch,
                [number if descriptor == -1 else descriptor for number, descriptor in enumerate(streams)],
            )
            self.pid = _STATUS.unpack(_read(self._connection, _STATUS.size))[0]
        finally:
            self._close_pipe_fds(*(given[name] for name in _NAMES[10:16]))
        self._child_created = True

    def _internal_poll(self, *values, **named):
        if self._connection is None:
            return super()._internal_poll(*values, **named)
        if self.returncode is None:
            self._take_status(0)
        return self.returncode

    def _wait(self, timeout):
        if self._connection is None:
            return super()._wait(timeout)
        if self.returncode is None and not self._take_status(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _take_status(self, timeout):
        """Wait for the end of the process; return whether it has ended."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            remaining = None if until is None else max(0.0, until - time.monotonic())
            # Another thread may have taken it meanwhile.
            waiting = min(1.0, 1.0 if remaining is None else remaining)
            # Not under the lock: who only asks does not wait for a thread that waits.
            try:
                ready, _, _ = select.select([self._connection], [], [], waiting)
            except (OSError, ValueError):
                if self.returncode is None:
                    raise
                return True  # another thread has read it, and closed the connection
            if ready:
                self._read_status()
            if self.returncode is None and remaining is not None and remaining <= waiting:
                return False
        return True

    def _read_status(self):
        with self._waitpid_lock:
            if self.returncode is None:
                self._status = _STATUS.unpack(_read(self._connection, _STATUS.size))[0]
                self._handle_exitstatus(self._status)
                self._connection.close()


def run(command, *, input=None, capture_output=False, timeout=None, check=False, **options):  # noqa: A002
    """Do what `subprocess.run` does, with a fork where that can be."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options["stdout"] = options["stderr"] = subprocess.PIPE
    with Popen(command, **options) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
        code = process.poll()
    ended = subprocess.CompletedProcess(process.args, code, out, err)
    if check:
        ended.check_returncode()
    return ended


class _NestedPopen(Popen):
    """What a fork has as `subprocess.Popen`: it forks the program, and the runtime that an emulator lends."""

    _by_pid: ClassVar = weakref.WeakValueDictionary()
    _really_waitpid = os.waitpid

    @staticmethod
    def _is_known(arguments):
        return _is_module(arguments) or arguments == [_RUNTIME]

    def _execute_child(self, *values):
        super()._execute_child(*values)
        if self.is_forked:
            self._by_pid[self.pid] = self

    @classmethod
    def waitpid(cls, pid, options):
        """Do what `os.waitpid` does: asyncio waits by number, and a fork is the server's child."""
        process = cls._by_pid.get(pid)
        if process is None:
            return cls._really_waitpid(pid, options)
        if process._take_status(0 if options & os.WNOHANG else None):
            del cls._by_pid[pid]
            return pid, process._status
        return 0, 0


def _is_module(arguments):
    return arguments[:2] == ["-m", "vdbevents"] or arguments[:3] == ["-P", "-m", "vdbevents"]


def _launch(given, is_known):
    """Return what the server needs to start a command, or None if it has to be started for real."""
    if not hasattr(os, "fork") or os.environ.get("VDBEVENTS_TEST_REAL_STARTS"):
        return None
    if any(given[name] != value for name, value in _PLAIN_OPTIONS.items()) or isinstance(given["args"], str):
        return None
    interpreter, *arguments = map(os.fsdecode, given["args"])
    if interpreter == _RUNTIME:
        interpreter, arguments = sys.executable, [_RUNTIME, *arguments]
    if interpreter != sys.executable or not is_known(arguments):
        return None
    environ = {os.fsdecode(name): os.fsdecode(value) for name, value in (given["env"] or os.environ).items()}
    read_at_start = {name for name in environ if name.startswith(_READ_AT_START)} - _READ_LATER
    if environ.get("LANG") != _LOCALE or read_at_start:
        return None
    # A fork can begin a session, but cannot join one that another fork has begun.
    if _session and os.getsid(0) != _session[0] and not given["start_new_session"]:
        return None
    cwd = str(Path(os.fsdecode(given["cwd"] or ".")).absolute())
    return {
        "arguments": arguments,
        "environ": environ,
        "cwd": cwd,
        "new_session": bool(given["start_new_session"]),
        "test": _test[0] if _test else os.environ.get("PYTEST_CURRENT_TEST", "no test"),
        "group": os.getpgrp() if given["process_group"] < 0 else given["process_group"],
        "ignored": [number for number in _signals() if signal.getsignal(number) == signal.SIG_IGN],
    }


def _signals():
    """Return the numbers of the signals whose handling a new interpreter takes over from its parent."""
    own = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGKILL, signal.SIGSTOP}
    return map(int, signal.valid_signals() - own)


def _ask(path, launch, streams):
    """Have a process started; return the connection that tells its pid, and later its wait status."""
    content = json.dumps(launch).encode()
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
        socket.send_fds(connection, [_LENGTH.pack(len(content))], streams)
        connection.sendall(content)
    except BaseException:
        connection.close()
        raise
    return connection


class _Server:
    """A server, and what its parent has of it."""

    def __init__(self):
        # The path of a socket has to be short.
        self._directory = tempfile.mkdtemp(prefix="vdbevents-fork-")
        self.path = str(Path(self._directory) / "server")
        ours, theirs = socket.socketpair()
        program = str(Path(__file__).absolute())
        kept = ("PATH", "HOME", "SYSTEMROOT")
        with theirs, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path)
            listening.listen(128)
            descriptors = (theirs.fileno(), listening.fileno())
            self._process = subprocess.Popen(
                [sys.executable, program, *map(str, descriptors), self.path, "x" * _ROOM_FOR_ARGUMENTS],
                env={**{name: os.environ[name] for name in kept if name in os.environ}, "LANG": _LOCALE},
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
            )
        self._alive = ours
        atexit.register(self.stop)

    def stop(self):
        self._alive.close()
        self._process.wait(60)
        shutil.rmtree(self._directory, ignore_errors=True)


_starting = threading.Lock()
_paths = []
# In a fork: the server's session.
_session = []
# In a fork: the test that it was started for.
_test = []


def cpu_used():
    """Return pairs: the id of a test, and the seconds of CPU that one fork for it used, which has ended."""
    used = Path(_paths[0] + _USED) if _paths else None
    if used is None or not used.exists():
        return []
    lines = (line.partition(" ") for line in used.read_text().splitlines())
    return [(test.rpartition(" (")[0], float(seconds)) for seconds, _, test in lines]


def server_path():
    """Return the path of the server's socket; start a server if there is none."""
    with _starting:
        if not _paths:
            _paths.append(_Server().path)
        return _paths[0]


def use_server(path):
    """Fork from a server that another process has started."""
    _paths[:] = [path]


def _read(connection, size):
    content = b""
    while len(content) < size:
        more = connection.recv(size - len(content))
        if not more:
            raise RuntimeError("the process that forks the program has ended")
        content += more
    return content


# The side of the server.


def _serve(alive, listening):
    """Fork a process for each request; return in the child, with what it is to run."""
    running = {}
    is_loaded = False
    used = os.open(server_path() + _USED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    woken, wakes = socket.socketpair()
    for end in (woken, wakes):
        end.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        for readable in (alive, listening, woken):
            selector.register(readable, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
                _report_ended(running, used)
            if alive in ready:
                os._exit(0)
            if listening in ready:
                if not is_loaded:
                    _preload()
                    is_loaded = True
                connection, _ = listening.accept()
                with contextlib.suppress(OSError, RuntimeError):  # a client may be killed at any moment
                    if launched := _fork(connection, running):
                        return launched


def _fork(connection, running):
    """Fork what a client asks for; return in the child alone what it is to run, and its descriptors."""
    content, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, 3)
    content += _read(connection, _LENGTH.size - len(content))
    launch = json.loads(_read(connection, *_LENGTH.unpack(content)))
    pid = os.fork()
    if not pid:
        signal.set_wakeup_fd(-1)
        return launch, descriptors
    if not launch["new_session"]:
        # As the child does: who is told its pid finds it in its group.
        with contextlib.suppress(OSError):
            os.setpgid(pid, launch["group"])
    running[pid] = connection, launch["test"]
    for descriptor in descriptors:
        os.close(descriptor)
    connection.sendall(_STATUS.pack(pid))
    return None


def _report_ended(running, used):
    while running:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if not pid:
            return
        connection, test = running.pop(pid)
        os.write(used, f"{usage.ru_utime + usage.ru_stime:.3f} {test}\n".encode())
        with connection, contextlib.suppress(OSError):
            connection.sendall(_STATUS.pack(status))


def _become(launch, streams):
    """Give this process what a process of its own would have started with."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    _session[:], _test[:] = [os.getsid(0)], [launch["test"]]
    if launch["new_session"]:
        os.setsid()
    elif launch["group"] != os.getpgrp():
        with contextlib.suppress(OSError):  # whose group it is has ended
            os.setpgid(0, launch["group"])
    for number in _signals():
        if number in launch["ignored"]:
            signal.signal(number, signal.SIG_IGN)
        elif number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        elif signal.getsignal(number) != signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(launch["environ"])
    os.chdir(launch["cwd"])
    time.tzset()
    random.seed()
    tempfile.tempdir = None
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _stream(number, f"<{name}>", getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    subprocess.Popen, os.waitpid = _NestedPopen, _NestedPopen.waitpid
    sys.orig_argv = [sys.executable, *launch["arguments"]]
    _show_arguments(sys.orig_argv)


def _stream(number, name, like):
    raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
    raw.name = name
    buffered = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    by_line = number == 2 or raw.isatty()
    newline = None if number == 0 else "\n"
    stream = io.TextIOWrapper(buffered, like.encoding, like.errors, newline, line_buffering=by_line)
    stream.mode = like.mode
    return stream


def _show_arguments(arguments):
    """Overwrite the arguments that `ps` shows (Linux)."""
    stat = Path("/proc/self/stat")
    if stat.exists():
        begin, end = map(int, stat.read_text().rpartition(")")[2].split()[45:47])
        shown = b"".join(os.fsencode(argument) + b"\0" for argument in arguments)[: end - begin]
        ctypes.memmove(begin, shown.ljust(end - begin, b"\0"), end - begin)


def _run(arguments):
    """Do what `python ARGUMENTS` does, once it is up."""
    if arguments[0].startswith("-"):
        if arguments[0] == "-P":
            del sys.path[0], arguments[0]
        else:
            sys.path[0] = str(Path.cwd())
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    sys.path[0] = str(Path(arguments[0]).absolute().parent)
    sys.argv = arguments
    main = types.ModuleType("__main__")
    main.__file__ = arguments[0]
    sys.modules["__main__"] = main
    code = compile(Path(arguments[0]).read_bytes(), arguments[0], "exec")
    exec(code, main.__dict__)


def _end(code):
    """End as the interpreter does, but leave the memory to the system.

    To take apart all the modules that a fork shares with the server copies their memory first: 45 ms of the
    51 ms of CPU that a fork of a short program would take.
    """
    with contextlib.suppress(Exception):
        _flush(sys.stdout, sys.stderr)
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        _flush(sys.stdout, sys.stderr)
    except Exception:  # noqa: BLE001 - the interpreter meets it again, and says what it says
        sys.exit(code)
    with contextlib.suppress(Exception):
        _flush(sys.__stdout__, sys.__stderr__)
    os._exit(code & 0xFF)


def _flush(*streams):
    for stream in streams:
        if stream is not None and not stream.closed:
            stream.flush()


def _preload():
    package = importlib.import_module("vdbevents")
    for module in pkgutil.walk_packages(package.__path__, "vdbevents."):
        # What serves models loads a large package, which the extra brings; hardly a test needs it.
        if not module.name.endswith("__main__") and not module.name.startswith("vdbevents.mcp."):
            importlib.import_module(module.name)
    for name in _PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_server(sys.argv[3])
    # No name here: a socket that closed later would close a descriptor of the program.
    launch, streams = _serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:3]))
    _become(launch, streams)
    code = 0
    try:
        _run(launch["arguments"])
    except SystemExit as exit_:
        if not isinstance(exit_.code, int | None):
            raise
        code = exit_.code or 0
    # What else is raised is left to the interpreter.
    _end(code)


if __name__ == "__main__":
    main()
