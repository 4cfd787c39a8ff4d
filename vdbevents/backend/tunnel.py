"""A public URL for a port of this machine, by Cloudflare's `cloudflared`."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import InputError
from vdbevents.sessions.interfaces import Reporter

# Cloudflare's own address is in its error messages.
_ADDRESS: Final = re.compile(rb"https://(?!api\.)[a-z0-9-]+\.trycloudflare\.com\b")
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
_STABLE_SECONDS: Final = 60.0
_FAREWELL_SECONDS: Final = 3.0
_BLOCK: Final = 1 << 14
_LONGEST_ADDRESS: Final = 200


def find_cloudflared(environ: Mapping[str, str]) -> Path:
    """Return the path of the program.

    Raises:
        InputError: it is not installed.
    """
    path = shutil.which("cloudflared", path=environ.get("PATH", os.defpath))
    if path is None:
        raise InputError(
            "--tunnel: cloudflared is not on the PATH",
            "install it: brew install cloudflared (macOS), winget install Cloudflare.cloudflared (Windows), "
            "or https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/downloads/; "
            "or give the URL of your own proxy: --public-url",
            error_id="cloudflared-missing",
        )
    return Path(path)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Keep a quick tunnel running; after each restart it has another address.

    Attributes:
        command: the path of `cloudflared`.
        target: the local URL, such as `http://127.0.0.1:5002`.
        say: shows messages.
        on_address: called with each new URL, and with "" when it is gone.
        first_pause: seconds before the first restart.
        running: the process, while it runs.
    """

    command: Path
    target: str
    say: Reporter
    on_address: Callable[[str], None]
    first_pause: float = _FIRST_PAUSE_SECONDS
    running: list[asyncio.subprocess.Process] = field(default_factory=list, init=False)

    async def run(self) -> None:
        """Run the program, again and again, until cancelled; end it then."""
        backoff = Backoff(self.first_pause, _LONGEST_PAUSE_SECONDS)
        while True:
            began = time.monotonic()
            try:
                reason = await self._run_once()
            except OSError as error:
                reason = f"could not be started: {error.strerror or error}"
            self.on_address("")
            if time.monotonic() - began > _STABLE_SECONDS:
                backoff.reset()
            pause = backoff.next()
            self.say(f"the tunnel {reason}; restarting it in {pause:g} s", problem=True)
            await asyncio.sleep(pause)

    async def _run_once(self) -> str:
        process = await asyncio.create_subprocess_exec(
            self.command,
            *("tunnel", "--url", self.target),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # It must not get the API key.
            env={name: value for name, value in os.environ.items() if name != "VIDEO_DB_API_KEY"},
            **_own_group(),
        )
        self.running.append(process)
        try:
            await self._read_address(process)
            return f"ended (exit code {await process.wait()})"
        finally:
            await asyncio.shield(_end(process))
            self.running.remove(process)

    def drop(self) -> None:
        """Ask the program to end, without waiting."""
        for process in self.running:
            _signal(process, signal.SIGTERM)

    async def _read_address(self, process: asyncio.subprocess.Process) -> None:
        """Read all output, so that the program never blocks; the first address in it is the tunnel's."""
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        tail, is_known = b"", False
        while block := await process.stderr.read(_BLOCK):
            if is_known:
                continue
            tail += block
            match = _ADDRESS.search(tail)
            if match is not None and match.end() < len(tail):
                is_known = True
                self.on_address(match[0].decode())
            tail = tail[-_LONGEST_ADDRESS:]


def _own_group() -> dict[str, Any]:
    # Ctrl-C on the terminal must not reach it: it is ended from here.
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if process.returncode is not None:
            return
        _signal(process, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await process.wait()


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, number)
