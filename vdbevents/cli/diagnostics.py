"""The one module that owns stderr and exit codes.

What a person is told goes through a thread: a terminal that is stopped, or a pipe that nobody reads, must
not hold up who records.
"""

import contextlib
import json
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, TextIO

from vdbevents.errors import (
    CaptureError,
    InputError,
    ListenerStateError,
    ServiceRefusedError,
    ServiceUnreachableError,
    StorageError,
    VdbeventsError,
)
from vdbevents.events import envelope, fields as events_fields
from vdbevents.terminal import cut, harmless

_WAITING_LINES = 2000
_FLUSH_SECONDS = 2.0
_LONGEST_SHOWN = 2000


class ExitCode(IntEnum):
    """What the commands exit with; `docs/cli.md` says it to the user."""

    DONE = 0
    NO_MATCH = 1
    BAD_INPUT = 2
    LISTENER_STATE = 3
    REFUSED = 4
    UNREACHABLE = 5
    CAPTURE = 6
    BUG = 70
    STORAGE = 74
    INTERRUPTED = 130


_EXIT_CODES: dict[type[VdbeventsError], ExitCode] = {
    InputError: ExitCode.BAD_INPUT,
    ListenerStateError: ExitCode.LISTENER_STATE,
    ServiceRefusedError: ExitCode.REFUSED,
    ServiceUnreachableError: ExitCode.UNREACHABLE,
    CaptureError: ExitCode.CAPTURE,
    StorageError: ExitCode.STORAGE,
}


class LogFormat(StrEnum):
    """How messages look on stderr."""

    TEXT = "text"
    JSON = "json"


class Color(StrEnum):
    """When to use colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def wants_colour(choice: Color, stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to colour what goes to a stream: the flag, else `NO_COLOR`, else whether it is a terminal."""
    if choice is not Color.AUTO:
        return choice is Color.ALWAYS
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return is_terminal(stream)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads it; a stream that was closed is none."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def exit_code_of(error: VdbeventsError) -> ExitCode:
    """The exit code that an error of ours means."""
    return _EXIT_CODES.get(type(error), ExitCode.BUG)


def error_of(code: int) -> type[VdbeventsError]:
    """The kind of error that ends a command with this exit code."""
    return next((kind for kind, known in _EXIT_CODES.items() if known == code), VdbeventsError)


class Diagnostics:
    """Messages to a person or a log on stderr. Nothing here blocks for long, and nothing raises."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        log_format: LogFormat = LogFormat.TEXT,
        colour: bool = False,
        quiet: bool = False,
    ) -> None:
        """Writes nothing yet.

        Args:
            stream: where to write; stderr unless given, which may be closed.
            log_format: `json` for one object a line.
            colour: whether to colour text.
            quiet: errors alone.
        """
        self._stream = stream if stream is not None else sys.stderr
        self._format = log_format
        self._colour = colour
        self._quiet = quiet
        self._width = shutil.get_terminal_size().columns if is_terminal(self._stream) else 0
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING_LINES)
        self._skipped = 0
        self._thread: threading.Thread | None = None

    @property
    def shows_events(self) -> bool:
        """Whether `show` would show anything."""
        return not self._quiet

    def say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        """What changed, or went wrong."""
        if not self._quiet or problem:
            self._put(self._message("warning" if problem else "info", text, hint))

    def show(self, made: envelope.Record, received_ms: int) -> None:
        """The text of an event; interim transcripts and events without a text are passed over."""
        if self._quiet or events_fields.is_interim(made.event):
            return
        channel = events_fields.channel_of(made.event)
        named = made.event.get("event")
        text = events_fields.text_of(made.event) or (named if isinstance(named, str) else "")
        if not text.strip():
            return
        # An event may be a megabyte: enough of it to see what it is.
        text = text[:_LONGEST_SHOWN]
        source = events_fields.source_of(made.event) or ""
        if self._format is LogFormat.JSON:
            fields = {"level": "event", "channel": channel, "source": source, "message": text}
            self._put(_json_line(received_ms, fields))
            return
        label = f"{source or channel:<15}"
        clock = time.strftime("%H:%M:%S", time.localtime(received_ms / 1000))
        shown = harmless(text)
        if self._width:
            shown = cut(shown, max(self._width - len(f"{clock} {label} "), 2))
        if self._colour:
            self._put(f"\x1b[2m{clock}\x1b[0m \x1b[36m{label}\x1b[0m {shown}\n")
        else:
            self._put(f"{clock} {label} {shown}\n")

    def error(self, error: VdbeventsError) -> None:
        """Write the error that ends the command, with its hint."""
        self._put(self._message("error", error.message, error.hint, error.error_id))

    def bug(self) -> None:
        """The exception that is being handled, with its traceback: nobody foresaw it."""
        text = "this is a bug in vdbevents; please report it with what follows"
        if self._format is LogFormat.JSON:
            fields = {"level": "error", "message": text, "traceback": traceback.format_exc()}
            self._put(_json_line(time.time_ns() // 1_000_000, fields))
            return
        self._put(self._message("error", text, ""))
        self._put(traceback.format_exc())

    def flush(self) -> None:
        """Waits a moment until what was said is written."""
        if self._thread is None:
            return
        deadline = time.monotonic() + _FLUSH_SECONDS
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_FLUSH_SECONDS)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._thread = None

    def _message(self, level: str, text: str, hint: str, error_id: str = "") -> str:
        if self._format is LogFormat.JSON:
            fields = {"level": level, "error_id": error_id, "message": text, "hint": hint}
            fields = {name: value for name, value in fields.items() if value}
            return _json_line(time.time_ns() // 1_000_000, fields)
        text, hint = harmless(text), harmless(hint)
        mark = {"error": "\x1b[31m", "warning": "\x1b[33m"}.get(level, "") if self._colour else ""
        line = f"{mark}vdbevents: {text}\x1b[0m\n" if mark else f"vdbevents: {text}\n"
        return f"{line}  → {hint}\n" if hint else line

    def _put(self, text: str) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_waiting, name="diagnostics", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(text)
        except queue.Full:
            self._skipped += 1

    def _write_waiting(self) -> None:
        while (text := self._waiting.get()) is not None:
            skipped, self._skipped = self._skipped, 0
            if skipped:
                text += self._message("warning", f"{skipped} lines were not shown: nobody reads them", "")
            # A terminal or a reader that is gone is no reason to fail.
            with contextlib.suppress(OSError, ValueError):
                self._write(text)

    def _write(self, text: str) -> None:
        # Around the stream's buffer: a thread that waits in it for a reader would hold its lock, and the
        # interpreter would wait for that at its end.
        rest = text.encode(self._stream.encoding or "utf-8", "replace")
        while rest:
            rest = rest[os.write(self._stream.fileno(), rest) :]


def _json_line(at_ms: int, fields: Mapping[str, Any]) -> str:
    # In ASCII: neither a line separator of Unicode nor a control character reaches who reads it.
    return json.dumps({"ts": envelope.utc_text(at_ms), **fields}) + "\n"
