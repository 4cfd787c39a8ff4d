"""`vdbevents demo`: a real recording made and queried, with every command shown that does it."""

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

from vdbevents.errors import VdbeventsError
from vdbevents.journal import StateDirectory, follow
from vdbevents.record import parse_line

_SPEED = 15
_LONGEST_SECONDS = 60.0

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
        _say(f"  export VIDEO_DB_API_KEY=sk-…\n  {_command('listen', '--clear')} &")


def _show(directory: Path) -> None:
    with contextlib.ExitStack() as running:
        _say("A server that imitates VideoDB plays a real session of 134 seconds, 15 times as fast:")
        environ = running.enter_context(_emulator())
        _say("\nThe listener records it. This is what it tells a person, on stderr:")
        running.enter_context(_listener(directory, environ))
        _await_end(directory)
        for question, arguments in _QUERIES:
            _say(f"\n{question}")
            _run("query", str(directory), *arguments)
        _say("\nIs everything well?")
        _run("status", str(directory))
        _run("stop", str(directory))


@contextlib.contextmanager
def _emulator() -> Iterator[dict[str, str]]:
    arguments = ("emulator", "--speed", str(_SPEED))
    _say(f"$ {_command(*arguments)} &")
    with _started(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        settings = dict(process.stdout.readline().strip().partition("=")[::2] for _ in range(2))
        if "VIDEO_DB_API" not in settings:
            raise VdbeventsError("the emulator did not start", "run it alone to see why: vdbevents emulator")
        _say("$ export " + " ".join(f"{name}={value}" for name, value in settings.items()))
        yield {**os.environ, **settings}


@contextlib.contextmanager
def _listener(directory: Path, environ: dict[str, str]) -> Iterator[None]:
    arguments = ("listen", "--clear", str(directory))
    _say(f"$ {_command(*arguments)} &")
    with _started(arguments, env=environ):
        yield


@contextlib.contextmanager
def _started(
    arguments: tuple[str, ...], *, stdout: int | None = None, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-P", "-m", "vdbevents", *arguments]
    with subprocess.Popen(command, stdout=stdout, env=env, text=True, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.terminate()


def _await_end(directory: Path) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS

    def wait() -> bool:
        time.sleep(0.05)
        return time.monotonic() < deadline

    for line in follow(StateDirectory(directory).journal, from_end=False, wait=wait):
        if (parse_line(line) or {}).get("event") == "capture_session.exported":
            # What the listener tells of it may still be on its way to the screen.
            time.sleep(0.2)
            return
    raise VdbeventsError(
        f"the recording was not complete after {_LONGEST_SECONDS:g} s",
        "try it again; please report it if it fails",
    )


def _run(*arguments: str) -> None:
    _say(f"$ {_command(*arguments)}")
    subprocess.run([sys.executable, "-P", "-m", "vdbevents", *arguments], check=False)


def _command(*arguments: str) -> str:
    """The command as one would type it: the way this one was started."""
    own = sys.argv[0] if Path(sys.argv[0]).stem == "vdbevents" else "vdbevents"
    relative = os.path.relpath(own) if os.sep in own else own
    return shlex.join([min(relative, own, key=len), *arguments])


def _say(text: str) -> None:
    print(text, flush=True)
