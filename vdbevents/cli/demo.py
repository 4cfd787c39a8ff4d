"""`vdbevents demo`: make and query a real recording, showing each command."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

from vdbevents.cli.command import interrupts_held, reports
from vdbevents.cli.declared import Option
from vdbevents.errors import VdbeventsError
from vdbevents.journal.state import StateDirectory

_SPEED = 15
_DURATION = "10s"
_CONNECTED_SECONDS = 20.0
_PRINTING_SECONDS = 0.2

_QUERIES = (
    ("What was said in the last minute?", ("--last", "1m", "--channel", "transcript", "-n", "5")),
    ("Where was a pull request mentioned or shown?", ("--grep", "pull request", "-n", "3")),
    ("The end of the session, as it was written, for a program:",
     ("--channel", "capture_session", "-n", "1", "-o", "jsonl")),
)  # fmt: skip


def _show(directory: Path) -> None:
    with contextlib.ExitStack() as running:
        _say(f"The emulator imitates VideoDB, and plays a real session {_SPEED} times as fast:")
        environ = running.enter_context(_emulator(directory))
        _say("\nThe listener records every event, and shows them on stderr:")
        listen = ("listen", "--clear", str(directory))
        _say(f"$ {_command(*listen)} &")
        running.enter_context(_started(listen, env=environ))
        _await_connection(directory)
        _say("\nThe capture runs from the session's start to its video:")
        _capture(directory, environ)
        for question, arguments in _QUERIES:
            _say(f"\n{question}")
            _run(environ, "query", str(directory), *arguments)
        _say("\nIs everything all right?")
        _run(environ, "status", str(directory))
        _run(environ, "stop", str(directory))


@contextlib.contextmanager
def _emulator(directory: Path) -> Iterator[dict[str, str]]:
    """Run the emulator; yield the environment of its clients."""
    arguments = ("emulator", "--speed", str(_SPEED), "--no-autoplay")
    # Without the user's own defaults of options.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VDBEVENTS_")}
    # And all of it is on this machine.
    environ = {**inherited, "XDG_CONFIG_HOME": str(directory), "NO_PROXY": "*", "no_proxy": "*"}
    _say(f"$ {_command(*arguments)} &")
    with _started(arguments, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        settings = dict(process.stdout.readline().strip().partition("=")[::2] for _ in range(3))
        if "VDBEVENTS_CAPTURE_RUNTIME" not in settings:
            raise VdbeventsError(
                "the emulator did not start",
                "run it alone to see why: vdbevents emulator",
                error_id="emulator-not-started",
            )
        for name, value in settings.items():
            _say(f"$ export {name}={value}")
        yield {**environ, **settings}


@contextlib.contextmanager
def _started(
    arguments: tuple[str, ...], *, stdout: int | BinaryIO | None = None, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run a `vdbevents` command in another process; terminate it at the end."""
    command = [sys.executable, "-P", "-m", "vdbevents", *arguments]
    with contextlib.ExitStack() as stack:
        # Ctrl-C between the start and the callback would leave the process running.
        with interrupts_held():
            process = subprocess.Popen(command, stdout=stdout, env=env, text=True, encoding="utf-8")
            stack.callback(_end, process)
        yield process


def _end(process: "subprocess.Popen[str]") -> None:
    with process:
        process.terminate()
        # After a Ctrl-C `with` alone waits for a quarter of a second.
        process.wait()


def _await_connection(directory: Path) -> None:
    """Wait until the listener is connected and has said so, so that its lines follow its command."""
    deadline = time.monotonic() + _CONNECTED_SECONDS
    while not StateDirectory(directory).ws_id.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(_PRINTING_SECONDS)


def _capture(directory: Path, environ: dict[str, str]) -> None:
    arguments = ("capture", str(directory), "--duration", _DURATION)
    summary = directory / "summary.json"
    _say(f"$ {_command(*arguments)} > {summary}")
    with summary.open("wb") as stdout, _started(arguments, stdout=stdout, env=environ) as process:
        code = process.wait()
    if code:
        raise VdbeventsError(
            f"the capture failed with exit code {code}",
            "try again; please report it if it fails again",
            error_id="demo-capture-failed",
        )


def _run(environ: dict[str, str], *arguments: str) -> None:
    _say(f"$ {_command(*arguments)}")
    subprocess.run([sys.executable, "-P", "-m", "vdbevents", *arguments], env=environ, check=False)


def _command(*arguments: str) -> str:
    """Format a command the way that this program was started."""
    own = sys.argv[0] if Path(sys.argv[0]).stem == "vdbevents" else "vdbevents"
    relative = os.path.relpath(own) if os.sep in own else own
    return shlex.join([min(relative, own, key=len), *arguments])


def _say(text: str) -> None:
    print(text, flush=True)


@reports
def demo(
    *,
    keep: Annotated[bool, Option("--keep", help="Keep the recording.")] = False,
) -> None:
    """Make and query a real recording, without a key or a network."""
    directory = Path(tempfile.mkdtemp(prefix="vdbevents-demo-"))
    try:
        _show(directory)
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    if keep:
        _say(f"\nThe recording is in {directory}. Query it again:")
        _say(f"  {_command('query', str(directory), '--grep', 'latency')}")
    else:
        _say("\nThe recording was deleted; demo --keep keeps it. With a key, record from VideoDB:")
        _say(f"  export VIDEO_DB_API_KEY=sk-…\n  {_command('listen', '--clear')} &\n  {_command('capture')}")
