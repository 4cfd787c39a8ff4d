"""`vdbevents status`: say whether a directory is recorded into, and what keeps it from being."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from vdbevents.cli.command import as_json as json_text, put, reports, require_finite
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode, can_redraw, is_terminal
from vdbevents.cli.localtime import SystemZone, local_text
from vdbevents.cli.options import JsonOptions, StateOptions, seconds
from vdbevents.cli.tables import terminal_width
from vdbevents.errors import options_conflict
from vdbevents.events.fields import unix_ms
from vdbevents.health.recording_status import CONNECTED, NOT_RUNNING, SERVING
from vdbevents.health.status_report import report_on
from vdbevents.journal.state import StateDirectory
from vdbevents.terminal import broken_between_words, byte_size, cells, counted, cut, harmless
from vdbevents.times import format_age

_SHORTEST_PAUSE: Final = 0.1
_LABEL_CELLS: Final = 10
_MOST_GAPS: Final = 5
_BEHIND_BYTES: Final = 64 << 20
_LITTLE_ROOM_BYTES: Final = 512 << 20

HELP = """Show whether a recording works, and what is wrong with it.

Shows the capture and what its streams deliver, the listener, the backend, gaps, sealing, the disk, and the
redaction rules in force. docs/reliability.md says when a silent stream counts as stale. Of a copied journal,
also a file of any name, it counts the events and the gaps.

\b
Examples:
  vdbevents status
  vdbevents status --watch
  vdbevents status --short                            for a prompt or a status bar
  vdbevents status --json | jq -r '.capture.streams[] | [.name, .state, .age_seconds] | @tsv'

\b
Exit codes: 0 all that should run runs and delivers, 3 no listener runs, 5 it runs but something does not
deliver: no connection, a stale stream, a full disk, a pause, a capture or a backend that was killed.
--watch ends with 130, by Ctrl-C.
"""


@reports
def status(
    *,
    short: Annotated[bool, Option("--short", help="One line.")] = False,
    watch: Annotated[bool, Option("--watch", help="Refresh until Ctrl-C.")] = False,
    every: Annotated[
        float,
        Option(parser=seconds(_SHORTEST_PAUSE), metavar="SECONDS", help="Refresh interval of --watch."),
    ] = 2.0,
    printing: JsonOptions,
    options: StateOptions,
) -> ExitCode:
    require_finite(every=every)
    as_json = printing.as_json
    if short and as_json:
        raise options_conflict("--short", "--json")
    if watch:
        _watch(options.state, every, short=short, as_json=as_json)
    shown = gathered(options.state, short=short)
    put(json_text(shown) if as_json else _text(shown, short=short))
    return exit_code(shown["state"])


def gathered(directory: StateDirectory, *, short: bool = False) -> dict[str, Any]:
    """Return the status of a directory as `status --json` prints it; `short` leaves out the history.

    Raises:
        InputError: a lock cannot be opened.
    """
    return report_on(directory, SystemZone(), short=short)


def exit_code(state: str) -> ExitCode:
    """Return the exit code for a state."""
    codes = {CONNECTED: ExitCode.DONE, SERVING: ExitCode.DONE, NOT_RUNNING: ExitCode.LISTENER_STATE}
    return codes.get(state, ExitCode.UNREACHABLE)


def _text(shown: Mapping[str, Any], *, short: bool) -> str:
    return headline(shown) if short else render(shown, terminal_width())


# Again and again.


def _watch(directory: StateDirectory, seconds: float, *, short: bool, as_json: bool) -> None:
    """Show the status until Ctrl-C: in place on a terminal, one after the other elsewhere."""
    screen = _Screen()
    in_place = not as_json and is_terminal(sys.stdout)
    try:
        while True:
            shown = gathered(directory, short=short)
            if in_place and can_redraw(sys.stdout, directory):
                screen.show(_text(shown, short=short).splitlines())
            elif as_json:
                put(json_text(shown, indent=None))
            else:
                put(_text(shown, short=short) + ("" if short else "\n"))
                screen = _Screen()
            time.sleep(seconds)
    except KeyboardInterrupt:
        if in_place:
            # Below the ^C that the terminal shows.
            put("")
        raise


class _Screen:
    """Lines at the end of a terminal that replace those shown before."""

    def __init__(self) -> None:
        self._shown: list[str] = []

    def show(self, lines: list[str]) -> None:
        """Show lines in place of the last ones, as many as there is room for."""
        import shutil  # slow to load, and only for this

        width, height = shutil.get_terminal_size()
        # The terminal may have become narrower, and have wrapped what it shows.
        rows = sum(max(1, math.ceil(cells(line) / width)) for line in self._shown)
        up = f"\x1b[{min(rows, height - 1)}A" if rows else ""
        self._shown = [cut(line, width) for line in lines[: max(1, height - 1)]]
        # One write: other programs' lines come before or after it.
        put(up + "".join(f"\x1b[2K{line}\n" for line in self._shown) + "\x1b[J", end="")


# For a person.


def headline(shown: Mapping[str, Any]) -> str:
    """Say in one line whether it records."""
    state, seconds = shown["state"], shown["for_seconds"]
    if state == CONNECTED:
        return _recording(shown)
    if state == SERVING:
        return "backend serving, capture none"
    if state == "paused" and shown["paused"]:
        until = shown["paused_until"]
        return f"paused until {_clock(until)}" if until else f"paused{_for(seconds)}"
    if state in ("capture ended", "backend ended"):
        return harmless(shown["reason"])
    span = "" if state in ("stale", "starting") else _for(seconds)
    reason = f": {harmless(shown['reason'])}" if shown["reason"] else ""
    if state == "stale" and seconds is not None:
        reason += _for(seconds)
    return f"{harmless(state)}{span}{reason}"


def _recording(shown: Mapping[str, Any]) -> str:
    capture = shown["capture"]
    if capture is None:
        return "connected, capture none"
    if capture["status"] != "recording":
        return f"connected, capture {harmless(str(capture['status']))}"
    by_state: dict[str, list[str]] = {}
    for stream in capture["streams"]:
        by_state.setdefault(stream["state"], []).append(harmless(str(stream["name"])))
    streams = [
        (f"{state}: " if state != "delivers" else "") + ", ".join(names)
        for state, names in sorted(by_state.items())
    ]
    return f"recording{_for(capture['for_seconds'])}" + (f": {'; '.join(streams)}" if streams else "")


def render(shown: Mapping[str, Any], width: int | None = None) -> str:
    """Format a status for a person, with local times.

    Args:
        shown: as `gathered` returns it.
        width: of the terminal, in cells, for which lines are broken; None leaves them whole.
    """
    label_cells = len(f"  {'':<{_LABEL_CELLS}} ")
    lines = [
        (headline(shown), 2),
        *(
            (f"  {label:<{_LABEL_CELLS}} {text}", label_cells) if label else (f"    {text}", 6)
            for label, text in _rows(shown)
        ),
        *((hint, 4) for hint in _hints(shown)),
    ]
    if width is None:
        return "\n".join(line for line, _ in lines)
    return "\n".join(broken_between_words(line, width, " " * indent) for line, indent in lines)


def _rows(shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "directory", harmless(shown["directory"])
    for problem in shown["problems"][1:] if shown["problems"] else ():
        reason = f": {harmless(problem['reason'])}" if problem["reason"] else ""
        yield "also", f"{harmless(problem['state'])}{reason}{_for(problem['for_seconds'])}"
    yield from _capture_rows(shown)
    yield from _listener_rows(shown)
    if backend := shown["backend"]:
        url = f", {harmless(str(backend['url']))}" if backend["url"] else ""
        yield "backend", f"PID {backend['pid'] or '?'}{url}{_for(backend['for_seconds'])}"
    else:
        yield "backend", "none"
    yield from _event_rows(shown)
    yield from _disk_rows(shown)


def _capture_rows(shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    capture = shown["capture"]
    if capture is None:
        yield "capture", f"none{_last_capture(shown['last_capture'])}"
        return
    who = "recorded elsewhere, for the backend here" if capture["pid"] is None else f"PID {capture['pid']}"
    since = f" since {_local(capture['started'])}" if capture["started"] else ""
    state = harmless(str(capture["status"]))
    yield "capture", f"{state}{since}{_for(capture['for_seconds'])}, {who}"
    if capture["session_id"]:
        yield "session", harmless(str(capture["session_id"]))
    names = [harmless(str(stream["name"])) for stream in capture["streams"]]
    room = max(map(cells, names), default=0)
    for name, stream in zip(names, capture["streams"], strict=True):
        yield "", f"{name}{' ' * (room - cells(name))}  {stream['state']:<8}  {_delivered(stream)}"


def _delivered(stream: Mapping[str, Any]) -> str:
    parts = []
    if stream["state"] == "excluded":
        return "not written"
    if stream["age_seconds"] is None and not any(one["problem"] for one in stream["pipelines"]):
        return "nothing yet" if stream["state"] != "none" else "neither transcribed nor described"
    for pipeline in stream["pipelines"]:
        age = pipeline["age_seconds"]
        last = "nothing yet" if age is None else f"{format_age(age)} ago"
        problem = f" ({harmless(pipeline['problem'])})" if pipeline["problem"] else ""
        parts.append(f"{pipeline['kind'].replace('_', ' ')} {last}{problem}")
    return ", ".join(parts) if parts else f"last {format_age(stream['age_seconds'])} ago"


def _last_capture(last: Mapping[str, Any] | None) -> str:
    if last is None:
        return ""
    when = f" at {_local(last['ended'])}" if last["ended"] else ""
    error = f": {harmless(str(last['error']))}" if last["error"] else ""
    return f"; the last one {harmless(str(last['status']))}{when}{error}"


def _listener_rows(shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not shown["running"]:
        since = f", since {_local(shown['since'])}" if shown["since"] else ""
        yield "listener", f"not running{since}"
        if shown["paused"]:
            until = f"until {_clock(shown['paused_until'])}" if shown["paused_until"] else "without an end"
            yield "pause", f"{until}: the next listener follows it"
        if shown["last_error"]:
            yield "last error", harmless(str(shown["last_error"]))
        return
    state, seconds = shown["listener_state"] or "starting", shown["disconnected_seconds"]
    words = f"PID {shown['pid'] or '?'}, {harmless(str(state))}"
    if seconds is not None:
        words += f", no connection since {_local(shown['disconnected_since'])}{_for(seconds)}"
    elif shown["ws_id"]:
        words += f"{_for(shown['listener_seconds'])} as {harmless(str(shown['ws_id']))}"
    yield "listener", words
    failed = shown["failed_attempts"]
    attempts = f", {counted(failed, 'failed attempt')} since" if failed else ""
    yield "reconnects", f"{shown['reconnects']}, connections lost {shown['lost_connections']}{attempts}"
    if seconds is not None and shown["last_error"]:
        yield "last error", harmless(str(shown["last_error"]))
    if shown["next_attempt"]:
        yield "next try", _local(shown["next_attempt"])


def _event_rows(shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    events = shown["events"]
    since = f" since {_local(events['since'])}" if events["since"] else ""
    yield "events", f"{events['total']:,}{since}"
    for name, channel in sorted(events["channels"].items(), key=lambda item: -item[1]["count"]):
        age = channel["age_seconds"]
        last = f"last {format_age(age)} ago" if age is not None else ""
        yield "", f"{harmless(name):<16} {channel['count']:>9,}  {last}".rstrip()
    yield "gaps", _gaps(shown)
    open_gaps = shown["open_gaps"]
    for gap in open_gaps[-_MOST_GAPS:]:
        until = "now" if gap["ongoing"] else _local(gap["until"])
        reason = f": {harmless(str(gap['reason']))}" if gap["reason"] else ""
        yield "", f"open from {_local(gap['since'])} to {until}{reason}"


def _gaps(shown: Mapping[str, Any]) -> str:
    gaps, missing, dropped = shown["gaps"], shown["unrecovered"], shown["dropped"]
    text = f"{gaps:,}" if gaps else "none"
    if gaps:
        text += f", {missing:,} not recovered" if missing else ", all recovered"
    if any(gap["ongoing"] for gap in shown["open_gaps"]):
        text = f"{text}; one now" if gaps else "one now"
    return f"{text}; {dropped:,} events dropped" if dropped else text


def _disk_rows(shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    size, free = shown["journal_bytes"], shown["free_bytes"]
    yield "journal", f"{'none yet' if size is None else byte_size(size)}, {harmless(shown['journal'])}"
    if (archive := shown["archive"]) and archive["journals"]:
        yield "archive", f"{counted(archive['journals'], 'journal')} set aside, {byte_size(archive['bytes'])}"
    if sealing := shown["sealing"]:
        rest = sealing["unsealed_bytes"]
        behind = ": behind" if rest > _BEHIND_BYTES else ""
        off = "off (--no-seal), " if sealing["on"] is False else ""
        yield (
            "sealing",
            f"{off}{byte_size(sealing['sealed_bytes'])} sealed, {byte_size(rest)} not yet{behind}",
        )
    if free is not None:
        little = ": almost full" if free < _LITTLE_ROOM_BYTES else ""
        yield "disk", f"{byte_size(free)} left{little}"
    if shown["disk_trouble"]:
        since = f" since {_local(shown['unwritten_since'])}" if shown["unwritten_since"] else ""
        yield "", f"{harmless(str(shown['disk_trouble']))}: holding events in memory{since}"
    if shown["redact"] is not None:
        yield "redaction", _rules(shown["redact"])
    if shown["exclude"] is not None:
        count = shown["excluded"]
        left_out = f"; {count:,} events left out" if isinstance(count, int) and count else ""
        yield "exclusion", f"{_rules(shown['exclude'])}{left_out}"


def _rules(value: object) -> str:
    if isinstance(value, Mapping):
        value = [f"{name} {_rules(item)}" for name, item in value.items() if item]
    if isinstance(value, list):
        return ", ".join(harmless(str(item)) for item in value) or "none"
    return harmless(str(value))


def _hints(shown: Mapping[str, Any]) -> Iterator[str]:
    directory = harmless(shown["directory"])
    is_foreign = StateDirectory(Path(shown["directory"])).is_foreign
    if (
        shown["state"] == NOT_RUNNING
        and not is_foreign
        and (not shown["capture"] or shown["capture"]["recorded_by"])
    ):
        yield f"  → start one with: vdbevents listen {directory}"
    if any(problem["state"] == "capture ended" for problem in shown["problems"]):
        session = harmless(str(shown["last_capture"]["session_id"]))
        command = f"vdbevents session end --session {session} --dir {directory}"
        yield f"  → if its session still runs, end it with: {command}"
    if shown["paused"]:
        yield f"  → resume with: vdbevents resume {directory}"


def _local(moment: object) -> str:
    return local_text(unix_ms(moment))


def _clock(moment: object) -> str:
    """Format a time of today as `10:30`, another one with its day."""
    try:
        local = datetime.fromisoformat(str(moment)).astimezone()
    except ValueError:
        return harmless(str(moment))
    is_today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M")


def _for(seconds: float | None) -> str:
    return f" for {format_age(seconds)}" if seconds is not None else ""
