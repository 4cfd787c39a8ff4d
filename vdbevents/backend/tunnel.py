"""A public address for a port of this machine: Cloudflare's `cloudflared`, started, watched, and ended."""

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
from pathlib import Path
from typing import Any, Final

from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import InputError
from vdbevents.sessions.interfaces import Reporter

# That of Cloudflare's own service is in its error messages.
_ADDRESS: Final = re.compile(rb"https://(?!api\.)[a-z0-9-]+\.trycloudflare\.com\b")
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
_STABLE_SECONDS: Final = 60.0
_FAREWELL_SECONDS: Final = 3.0
_BLOCK: Final = 1 << 14
_LONGEST_ADDRESS: Final = 200


def find_cloudflared(environ: Mapping[str, str]) -> Path:
    """Where the program is.

    Raises:
        InputError: it is not installed.
    """
    found = shutil.which("cloudflared", path=environ.get("PATH", os.defpath))
    if found is None:
        raise InputError(
            "cloudflared is not installed, or not on the PATH",
            "install it: brew install cloudflared (macOS), winget install Cloudflare.cloudflared (Windows), "
            "or https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/downloads/; "
            "or give the address of a proxy of your own: --public-url",
        )
    return Path(found)


class Tunnel:
    """One quick tunnel at a time: when it ends, another one follows, with another address."""

    def __init__(
        self,
        command: Path,
        target: str,
        say: Reporter,
        on_address: Callable[[str], None],
        *,
        first_pause: float = _FIRST_PAUSE_SECONDS,
    ) -> None:
        """Starts nothing yet.

        Args:
            command: `cloudflared`.
            target: the address on this machine, such as `http://127.0.0.1:5002`.
            say: what happens is told to it.
            on_address: called with each new address, and with nothing when there is none any more.
            first_pause: seconds before the first attempt to start it again.
        """
        self._command = command
        self._target = target
        self._say = say
        self._on_address = on_address
        self._first_pause = first_pause

    async def run(self) -> None:
        """Goes on until it is cancelled; the program has ended then."""
        backoff = Backoff(self._first_pause, _LONGEST_PAUSE_SECONDS)
        while True:
            began = time.monotonic()
            try:
                reason = await self._run_once()
            except OSError as error:
                reason = f"could not be started: {error.strerror or error}"
            self._on_address("")
            if time.monotonic() - began > _STABLE_SECONDS:
                backoff.reset()
            pause = backoff.next()
            self._say(f"the tunnel {reason}; starting it again in {pause:g} s", problem=True)
            await asyncio.sleep(pause)

    async def _run_once(self) -> str:
        process = await asyncio.create_subprocess_exec(
            self._command,
            *("tunnel", "--url", self._target),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # The key is none of its business.
            env={name: value for name, value in os.environ.items() if name != "VIDEO_DB_API_KEY"},
            **_own_group(),
        )
        try:
            await self._read_address(process)
            return f"has ended (exit code {await process.wait()})"
        finally:
            await asyncio.shield(_end(process))

    async def _read_address(self, process: asyncio.subprocess.Process) -> None:
        """Reads all that it says, so that it never waits for us; the first address in it is the tunnel's."""
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        rest, is_found = b"", False
        while said := await process.stderr.read(_BLOCK):
            if is_found:
                continue
            rest += said
            found = _ADDRESS.search(rest)
            if found is not None and (found.end() < len(rest)):
                is_found = True
                self._on_address(found[0].decode())
            rest = rest[-_LONGEST_ADDRESS:]


def _own_group() -> dict[str, Any]:
    # What is typed on the terminal is for us, and we end it.
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                process.terminate()
            else:
                os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await process.wait()
