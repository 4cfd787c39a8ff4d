"""`vdbevents demo`: a real recording made and queried, with every command shown that does it."""

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vdbevents.cli.command import reports

if TYPE_CHECKING:
    from vdbevents.journal.state import StateDirectory
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import BinaryIO

from vdbevents.cli.command import interrupts_held
from vdbevents.errors import VdbeventsError
from vdbevents.journal.state import StateDirectory

_SPEED = 15
_DURATION = "10s"
_CONNECTED_SECONDS = 20.0

_QUERIES = (
    ("What was said in the last minute?", ("--last", "1m", "--channel", "transcript", "-n", "5")),
    ("Where was a pull request mentioned, or shown?", ("--grep", "pull request", "-n", "3")),
    ("The same for a program: the session's end, as it was written down.",
     ("--channel", "capture_session", "-n", "1", "-o", "jsonl")),
)  # fmt: skip


def run_demo(*, keep: bool) -> None:
    """Runs it. Everything it starts has ended when it returns, and the directory is gone unless `keep`.

    Raises:
        VdbeventsError: the recording was not complete in time.
    """
    directory = Path(tempfile.mkdtemp(prefix="vdbevents-demo-"))
    try:
        _show(directory)
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    _say("")
    if keep:
        _say(f"The recording is in {directory}. Ask it something else:")
        _say(f"  {_command('query', str(directory), '--grep', 'latency')}")
    else:
        _say(
            "The recording is gone again; `demo --keep` leaves it. With a key, the same records from VideoDB:"
        )
        _say(f"  export VIDEO_DB_API_KEY=sk-…\n  {_command('listen', '--clear')} &\n  {_command('capture')}")


def _show(directory: Path) -> None:
    with contextlib.ExitStack() as running:
        _say(f"A server imitates VideoDB, and plays a real session {_SPEED} times as fast to who records:")
        environ = running.enter_context(_emulator(directory))
        _say("\nThe listener writes down what comes. This is what it tells a person, on stderr:")
        running.enter_context(_listener(directory, environ))
        _say("\nThe recording itself, from its session to its video:")
        _record(directory, environ)
        for question, arguments in _QUERIES:
            _say(f"\n{question}")
            _run(environ, "query", str(directory), *arguments)
        _say("\nIs everything well?")
        _run(environ, "status", str(directory))
        _run(environ, "stop", str(directory))


@contextlib.contextmanager
def _emulator(directory: Path) -> Iterator[dict[str, str]]:
    arguments = ("emulator", "--speed", str(_SPEED), "--no-autoplay")
    # The user's own defaults are for recordings that last.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VDBEVENTS_")}
    environ = {**inherited, "XDG_CONFIG_HOME": str(directory)}
    _say(f"$ {_command(*arguments)} &")
    with _started(arguments, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        settings = dict(process.stdout.readline().strip().partition("=")[::2] for _ in range(3))
        if "VDBEVENTS_CAPTURE_RUNTIME" not in settings:
            raise VdbeventsError("the emulator did not start", "run it alone to see why: vdbevents emulator")
        for name, value in settings.items():
            _say(f"$ export {name}={value}")
        yield {**environ, **settings}


@contextlib.contextmanager
def _listener(directory: Path, environ: dict[str, str]) -> Iterator[None]:
    arguments = ("listen", "--clear", str(directory))
    _say(f"$ {_command(*arguments)} &")
    with _started(arguments, env=environ):
        yield


@contextlib.contextmanager
def _started(
    arguments: tuple[str, ...], *, stdout: int | BinaryIO | None = None, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-P", "-m", "vdbevents", *arguments]
    with contextlib.ExitStack() as started:
        # In the midst of this, Ctrl-C would leave a process that nobody knows.
        with interrupts_held():
            process = subprocess.Popen(command, stdout=stdout, env=env, text=True, encoding="utf-8")
            started.callback(_end, process)
        yield process


def _end(process: "subprocess.Popen[str]") -> None:
    with process:
        process.terminate()
        # `with` alone gives it a quarter of a second after a Ctrl-C.
        process.wait()


def _record(directory: Path, environ: dict[str, str]) -> None:
    deadline = time.monotonic() + _CONNECTED_SECONDS
    while not StateDirectory(directory).ws_id.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    arguments = ("capture", str(directory), "--duration", _DURATION)
    summary = directory / "summary.json"
    _say(f"$ {_command(*arguments)} > {summary}")
    with summary.open("wb") as stdout, _started(arguments, stdout=stdout, env=environ) as process:
        code = process.wait()
    if code:
        raise VdbeventsError(
            f"the recording failed with exit code {code}", "try it again; please report it if it fails"
        )


def _run(environ: dict[str, str], *arguments: str) -> None:
    _say(f"$ {_command(*arguments)}")
    subprocess.run([sys.executable, "-P", "-m", "vdbevents", *arguments], env=environ, check=False)


def _command(*arguments: str) -> str:
    """The command as one would type it: the way this one was started."""
    own = sys.argv[0] if Path(sys.argv[0]).stem == "vdbevents" else "vdbevents"
    relative = os.path.relpath(own) if os.sep in own else own
    return shlex.join([min(relative, own, key=len), *arguments])


def _say(text: str) -> None:
    print(text, flush=True)


@reports
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the recording where it is.")] = False,
) -> None:
    """Show a real recording being made and queried, on this machine alone: no key, no network."""
    from vdbevents.cli.demo import run_demo

    run_demo(keep=keep)


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(demo)
