"""Complete values of options with what was recorded: channels, sources, sessions, displays and others.

The end of the journal and two small files beside it are read, in a thread that is given up after a quarter
of a second: whatever is wrong there, a shell gets no error and does not wait. A shell evaluates what it gets,
and a recording may hold any text: only plain names are offered.
"""

import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperOption

from vdbevents.cli.surroundings import words_before

_PATIENCE_SECONDS: Final = 0.25
_TAIL_BYTES: Final = 256 << 10
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,99}")
_CHANNELS: Final = ("transcript", "visual_index", "audio_index", "alert", "capture_session", "vdbevents")
_SOURCES: Final = ("mic", "system_audio", "screen", "camera")

_Completer = Callable[[typer.Context, list[str], str], list[str]]
_Event = Mapping[str, Any]


def _completer(of_event: Callable[[_Event], Iterable[str]], *known: str) -> _Completer:
    def complete(ctx: typer.Context, _: list[str], incomplete: str) -> list[str]:
        # Such as transcript,al: the names before the last comma stay.
        before, comma, last = incomplete.rpartition(",")
        names = dict.fromkeys(known) | dict.fromkeys(_found(ctx, of_event))
        return [f"{before}{comma}{name}" for name in names if name.startswith(last)]

    return complete


def _found(ctx: typer.Context, of_event: Callable[[_Event], Iterable[str]]) -> list[str]:
    """Return plain names in what was recorded, the latest first, as many as can be read in time."""
    names: dict[str, None] = {}
    deadline = time.monotonic() + _PATIENCE_SECONDS

    def collect() -> None:
        try:
            for event in _recorded(_journal(ctx.params)):
                for name in of_event(event):
                    if _PLAIN.fullmatch(name):
                        names.setdefault(name)
                if time.monotonic() > deadline:
                    return
        except Exception:  # noqa: BLE001 - a shell that completes a word shows no errors
            return

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(_PATIENCE_SECONDS)
    return list(names)


def _journal(given: Mapping[str, Any]) -> Path:
    """Return the journal that the options so far name, else the environment."""
    from vdbevents.cli.options import EnvironmentOptions

    options = EnvironmentOptions(env_file=given.get("env_file"), cwd=given.get("cwd"))
    several = [*(given.get("directories") or ()), *(given.get("files") or ())]
    named = [text.rpartition("=")[2] for text in several]
    singles = [given.get(name) for name in ("journal", "directory", "named_directory", "named_file")]
    # While the value of an option is missing, click finds no arguments.
    words = [word for word in words_before(os.environ)[1:] if word[:1] != "-" and "/" in word]
    path = next((Path(str(text)) for text in (*named, *singles, *words) if text), None)
    if path is not None and path.is_file():
        return path
    return options.state_at(path).journal


def _recorded(journal: Path) -> Iterator[_Event]:
    """Yield the events at the end of a journal, the last first, and then what the files beside it say."""
    from vdbevents.events.envelope import parse_line
    from vdbevents.journal.files import read_object
    from vdbevents.journal.state import StateDirectory

    if journal.exists() and stat.S_ISREG(journal.stat().st_mode):
        with journal.open("rb") as file:
            end = file.seek(0, 2)
            start = file.seek(max(0, end - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).split(b"\n")
        for line in reversed(lines[1:] if start else lines):
            event = parse_line(line)
            if event is not None:
                yield event
    state = StateDirectory(journal.parent)
    info = read_object(state.capture_info)
    session = info.get("session")
    yield {"capture_session_id": session.get("id") if isinstance(session, Mapping) else None}
    for channel in info.get("channels") or ():
        yield {"channel_id": channel.get("id")}
    for stream in info.get("streams") or ():
        yield {"rtstream_id": stream.get("id"), "rtstream_name": stream.get("name")}
    counted = read_object(state.listener_status).get("channels")
    for name in counted if isinstance(counted, Mapping) else ():
        yield {"channel": name}


def _channels_in(event: _Event) -> Iterator[str]:
    from vdbevents.events.fields import channel_of

    name = channel_of(event)
    if name != "unknown":
        yield name


def _streams_in(event: _Event) -> Iterator[str]:
    from vdbevents.events.fields import STREAM, STREAM_NAME

    yield STREAM_NAME.text_in(event)
    yield STREAM.text_in(event)


def _displays_in(event: _Event) -> Iterator[str]:
    from vdbevents.events.fields import source_named

    yield from (name for name in _streams_in(event) if ":" in name and source_named(name) == "screen")


def _sources_in(event: _Event) -> Iterator[str]:
    from vdbevents.events.fields import source_of

    yield source_of(event) or ""


def _sessions_in(event: _Event) -> Iterator[str]:
    from vdbevents.events.fields import SESSION

    yield SESSION.text_in(event)


def _events_in(event: _Event) -> Iterator[str]:
    name = event.get("event")
    yield name if isinstance(name, str) else ""


def _labels_in(event: _Event) -> Iterator[str]:
    from vdbevents.events.fields import LABEL

    yield LABEL.text_in(event)


def _fields(_ctx: typer.Context, _args: list[str], incomplete: str) -> list[str]:
    from vdbevents.query.output.rows import FIELDS, HOST_FIELD, RUN_FIELDS

    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    names = (name for name in (*FIELDS, *RUN_FIELDS, HOST_FIELD) if name not in given)
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


_COMPLETERS: Final[Mapping[str, _Completer]] = {
    "--channel": _completer(_channels_in, *_CHANNELS),
    "--not-channel": _completer(_channels_in, *_CHANNELS),
    "--display": _completer(_displays_in, "all", "none"),
    "--event": _completer(_events_in),
    "--fields": _fields,
    "--label": _completer(_labels_in),
    "--session": _completer(_sessions_in),
    "--source": _completer(_sources_in, *_SOURCES),
    "--stream": _completer(_streams_in, *_SOURCES),
}


def complete_values(commands: Iterable[TyperCommand]) -> None:
    """Let the options of commands complete their values: those of one name in all commands alike."""
    for command in commands:
        for option in command.params:
            completer = next((_COMPLETERS[name] for name in option.opts if name in _COMPLETERS), None)
            if completer is not None:
                helper = TyperOption(param_decls=list(option.opts), autocompletion=completer)
                option.shell_complete = helper.shell_complete  # type: ignore[method-assign]
