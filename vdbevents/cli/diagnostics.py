"""Write messages to stderr, and map errors to exit codes.

A thread writes the messages: a stopped terminal, or a pipe that nobody reads, must not delay a recording.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, TextIO

from vdbevents.cli.documents import with_paths
from vdbevents.errors import (
    CaptureError,
    InputError,
    ListenerStateError,
    ServiceRefusedError,
    ServiceUnreachableError,
    StorageError,
    VdbeventsError,
)
from vdbevents.events.fields import utc_text
from vdbevents.journal.locks import is_on_terminal
from vdbevents.journal.state import StateDirectory
from vdbevents.terminal import broken_between_words, cut, harmless

if TYPE_CHECKING:
    from vdbevents.events.envelope import Record

_WAITING_LINES = 2000
_FLUSH_SECONDS = 2.0
_LONGEST_SHOWN = 2000
_LONGEST_LABEL = 30
_USUAL_COLUMNS = 80


class ExitCode(IntEnum):
    """The exit codes of all commands, as in `docs/cli.md`."""

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
    """The format of messages on stderr."""

    TEXT = "text"
    JSON = "json"


class Color(StrEnum):
    """When to use colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def wants_colour(choice: Color, stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether to colour output: by the flag, else `NO_COLOR`, else whether it goes to a terminal."""
    if choice is not Color.AUTO:
        return choice is Color.ALWAYS
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return is_terminal(stream)


def is_terminal(stream: TextIO) -> bool:
    """Return whether a stream is a terminal; a closed stream is not."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def can_redraw(stream: TextIO, directory: StateDirectory | None) -> bool:
    """Return whether a stream is a terminal on which lines can be replaced.

    Another program's lines would be overwritten, and would overwrite them: not on the terminal of the
    listener or the backend of `directory`.
    """
    if not is_terminal(stream) or os.environ.get("TERM") == "dumb":
        return False
    with contextlib.suppress(InputError, OSError, ValueError):
        return directory is None or not is_on_terminal(directory, stream.fileno())
    return True


def columns_of(stream: TextIO) -> int:
    """Return the present width of a terminal, in cells: `COLUMNS`, if it is set, else the terminal's own."""
    with contextlib.suppress(ValueError):
        if (columns := int(os.environ.get("COLUMNS", ""))) > 0:
            return columns
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    return _USUAL_COLUMNS


def exit_code_of(error: VdbeventsError) -> ExitCode:
    """Return the exit code for an error."""
    return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), ExitCode.BUG)


def error_of(code: int) -> type[VdbeventsError]:
    """Return the class of errors that end a command with an exit code."""
    return next((kind for kind, known in _EXIT_CODES.items() if known == code), VdbeventsError)


class Diagnostics:
    """Writes messages to stderr, as text or JSON; no method blocks for long or raises."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        log_format: LogFormat = LogFormat.TEXT,
        colour: bool = False,
        quiet: bool = False,
    ) -> None:
        """Create it; this writes nothing yet.

        Args:
            stream: where to write, stderr by default; it may be closed.
            log_format: `json` for one object a line.
            colour: whether to colour text.
            quiet: whether to write problems only.
        """
        self._stream = stream if stream is not None else sys.stderr
        self._format = log_format
        self._colour = colour
        self._quiet = quiet
        self._is_terminal = is_terminal(self._stream)
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING_LINES)
        self._skipped = 0
        self._thread: threading.Thread | None = None

    @property
    def shows_events(self) -> bool:
        """Whether `show` writes anything."""
        return not self._quiet

    def say(self, text: str, *, problem: bool = False, hint: str = "", always: bool = False) -> None:
        """Write a message, as a warning if it is a problem; `--quiet` leaves out all others but `always`."""
        if not self._quiet or problem or always:
            self._put(self._message("warning" if problem else "info", text, hint))

    def show(self, record: "Record", received_ms: int) -> None:
        """Write the text of an event; skip interim transcripts and events without text."""
        if self._quiet or record.is_interim:
            return
        name = record.event.get("event")
        text = record.text or (name if isinstance(name, str) else "")
        if not text.strip():
            return
        # An event may be a megabyte.
        text = text[:_LONGEST_SHOWN]
        source = record.source or ""
        if self._format is LogFormat.JSON:
            fields = {"level": "event", "channel": record.channel, "source": source, "message": text}
            self._put(_json_line(received_ms, fields))
            return
        label = f"{_label(source or record.channel):<15}"
        clock = time.strftime("%H:%M:%S", time.localtime(received_ms / 1000))
        text = harmless(text)
        if self._is_terminal:
            # It may have changed since the last line.
            width = columns_of(self._stream)
            text = cut(text, max(width - len(f"{clock} {label} "), 2))
        if self._colour:
            clock, label = f"\x1b[2m{clock}\x1b[0m", f"\x1b[36m{label}\x1b[0m"
        self._put(f"{clock} {label} {text}\n")

    def error(self, error: VdbeventsError) -> None:
        """Write the error that ends the command, with its hint."""
        self._put(self._message("error", error.message, error.hint, error.error_id))

    def bug(self) -> None:
        """Write the exception that is being handled, with its traceback, as a bug."""
        text = "this is a bug in vdbevents; please report it with this traceback"
        if self._format is LogFormat.JSON:
            fields = {"level": "error", "message": text, "traceback": _traceback()}
            self._put(_json_line(time.time_ns() // 1_000_000, fields))
            return
        self._put(self._message("error", text, ""))
        self._put("".join(f"{harmless(line)}\n" for line in _traceback().split("\n")[:-1]))

    def flush(self) -> None:
        """Wait up to two seconds until all messages are written."""
        if self._thread is None:
            return
        deadline = time.monotonic() + _FLUSH_SECONDS
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_FLUSH_SECONDS)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._thread = None

    def _message(self, level: str, text: str, hint: str, error_id: str = "") -> str:
        if self._format is LogFormat.JSON:
            fields = {"level": level, "error_id": error_id, "message": text, "hint": with_paths(hint)}
            fields = {name: value for name, value in fields.items() if value}
            return _json_line(time.time_ns() // 1_000_000, fields)
        text, hint = harmless(text), harmless(with_paths(hint))
        text, hint = self._broken("vdbevents: ", text), self._broken("  → ", hint, "    ")
        mark = {"error": "\x1b[31m", "warning": "\x1b[33m"}.get(level, "") if self._colour else ""
        line = f"{mark}vdbevents: {text}\x1b[0m\n" if mark else f"vdbevents: {text}\n"
        return f"{line}  → {hint}\n" if hint else line

    def _broken(self, label: str, text: str, indent: str = "  ") -> str:
        """Return what stands after a label, on a terminal in lines that end between words."""
        if not self._is_terminal:
            return text
        return broken_between_words(f"{label}{text}", columns_of(self._stream), indent)[len(label) :]

    def _put(self, text: str) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_waiting, name="diagnostics", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads: better late than never
                self._thread = None
                with contextlib.suppress(OSError, ValueError):
                    self._write(text)
                return
        try:
            self._waiting.put_nowait(text)
        except queue.Full:
            self._skipped += 1

    def _write_waiting(self) -> None:
        while (text := self._waiting.get()) is not None:
            skipped, self._skipped = self._skipped, 0
            if skipped:
                text += self._message("warning", f"{skipped} lines were not shown: nothing read them", "")
            # A closed terminal or pipe must not end the command.
            with contextlib.suppress(OSError, ValueError):
                self._write(text)

    def _write(self, text: str) -> None:
        # Not through the stream's buffer: a thread that waits for a reader would hold the buffer's lock, and
        # the interpreter would wait for that lock when it ends.
        rest = text.encode(self._stream.encoding or "utf-8", "replace")
        while rest:
            rest = rest[os.write(self._stream.fileno(), rest) :]


def _traceback() -> str:
    """Return the traceback of the exception that is being handled; its texts may hold what was sent here."""
    import traceback

    from vdbevents.cloud import without_secret

    return without_secret(traceback.format_exc(), os.environ.get("VIDEO_DB_API_KEY", ""))


def _label(name: str) -> str:
    """Return a source or a channel, which may be any text that was sent, as it begins a line."""
    return cut(harmless(name[:_LONGEST_LABEL]), _LONGEST_LABEL)


def _json_line(at_ms: int, fields: Mapping[str, Any]) -> str:
    # In ASCII: no line separator of Unicode and no control character reaches the reader.
    return json.dumps({"ts": utc_text(at_ms), **fields}) + "\n"
