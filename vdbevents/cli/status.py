"""`vdbevents status`: show the state of a directory's listener."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from vdbevents.cli.command import as_json as json_text, put, reports
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import JsonOption, StateOptions
from vdbevents.journal.files import read_object
from vdbevents.journal.locks import capture_runs, listener_pid, listener_runs, read_pid
from vdbevents.journal.state import StateDirectory
from vdbevents.terminal import harmless

_NOT_RUNNING = "not running"
_CONNECTED = "connected"
_STALE = "stale"

HELP = """Show the state of the listener, and what it receives.

\b
Exit codes: 0 connected, 3 not running, 5 running but not connected, or stale (a screen is not described).
"""


class StatusFiles(NamedTuple):
    """The content of a state directory's files.

    Attributes:
        listener_pid: the process that holds the listener's lock; None if its file does not say.
        listener: the object in `videodb_listener.json`.
        capture: the object in `videodb_capture_info.json`; None if no capture runs.
        journal_bytes: the size of the journal; None if there is none.
    """

    running: bool
    listener_pid: int | None
    listener: dict[str, Any]
    capture_pid: int | None
    capture: dict[str, Any] | None
    journal_bytes: int | None


def read_files(directory: StateDirectory) -> StatusFiles:
    """Read the files of a state directory, which need not exist."""
    running, capturing = listener_runs(directory), capture_runs(directory)
    try:
        journal_bytes = directory.journal.stat().st_size
    except OSError:
        journal_bytes = None
    return StatusFiles(
        running=running,
        listener_pid=listener_pid(directory) if running else None,
        listener=read_object(directory.listener_status),
        capture_pid=read_pid(directory.capture_pid) if capturing else None,
        capture=read_object(directory.capture_info) if capturing else None,
        journal_bytes=journal_bytes,
    )


def gather(directory: StateDirectory, files: StatusFiles, now: float) -> dict[str, Any]:
    """Return a listener's status as `status --json` prints it; values of a wrong type are dropped.

    Args:
        directory: the state directory.
        files: the content of its files.
        now: seconds since the epoch.

    Returns:
        `state` is `connected`, `stale` (connected, but a screen is not described any more), `connecting`,
        `waiting`, `starting` or `not running`; ages are in seconds.
    """
    running, pid = files.running, files.listener_pid
    is_current = not running or files.listener.get("pid") == pid
    listener: dict[str, Any] = files.listener if is_current else {"state": "starting"}
    live = listener if running else {}
    events = _object(listener, "events")
    return {
        "directory": str(directory.path),
        "running": running,
        "state": _state(listener) if running else _NOT_RUNNING,
        "since": listener.get("since"),
        "for_seconds": _age(listener.get("since"), now),
        "pid": pid,
        "ws_id": live.get("ws_id"),
        "reconnects": _number(listener, "reconnects"),
        "last_error": listener.get("last_error"),
        "next_attempt": live.get("next_attempt"),
        "events": {
            "total": _number(events, "total"),
            "since": events.get("since"),
            "channels": {
                name: {
                    "count": _number(channel, "count"),
                    "last": channel.get("last"),
                    "age_seconds": _age(channel.get("last"), now),
                }
                for name, channel in _object(events, "channels").items()
                if isinstance(channel, dict)
            },
        },
        "gaps": _number(listener, "gaps"),
        "unrecovered": _number(listener, "unrecovered"),
        "stale": _stale_streams(live, now),
        "dropped": _number(listener, "dropped"),
        "disk_trouble": live.get("disk_trouble"),
        "capture": _capture(files),
        "journal": str(directory.journal),
        "journal_bytes": files.journal_bytes,
        "version": listener.get("version"),
    }


def _capture(files: StatusFiles) -> dict[str, Any] | None:
    if files.capture is None:
        return None
    pid = files.capture_pid
    capture = files.capture if files.capture.get("pid") == pid else {}
    return {
        "pid": pid,
        # The file is missing at the start, and for a backend's session.
        "status": capture.get("status", "running"),
        "session_id": _object(capture, "session").get("id"),
        "started": capture.get("started"),
    }


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _number(holder: dict[str, Any], name: str) -> int:
    value = holder.get(name)
    return value if isinstance(value, int) else 0


def _state(listener: dict[str, Any]) -> str:
    state = str(listener.get("state", "starting"))
    if state == _CONNECTED and listener.get("stale"):
        return _STALE
    return "connecting" if state == "opening" else state


def _stale_streams(listener: dict[str, Any], now: float) -> list[dict[str, Any]]:
    streams = listener.get("stale")
    return [
        {
            **{name: stream.get(name) for name in ("stream_id", "stream_name", "since")},
            "for_seconds": _age(stream.get("since"), now),
        }
        for stream in (streams if isinstance(streams, list) else ())
        if isinstance(stream, dict)
    ]


def _age(moment: object, now: float) -> float | None:
    try:
        return round(max(0.0, now - datetime.fromisoformat(str(moment)).timestamp()), 1)
    except ValueError:
        return None


def render(status: dict[str, Any]) -> str:
    """Format a status for a person, with local times."""
    directory = harmless(status["directory"])
    rows = [*_listener_rows(status), *_capture_rows(status)]
    lines = [
        f"{harmless(status['state']):<12} {directory}",
        *(f"  {label:<10} {text}" for label, text in rows),
    ]
    events, size = status["events"], status["journal_bytes"]
    since = f" since {_local(events['since'])}" if events["since"] else ""
    lines.append(f"  events     {events['total']:,}{since}")
    for name, channel in sorted(events["channels"].items(), key=lambda item: -item[1]["count"]):
        age = channel["age_seconds"]
        last = f"last {_duration(age)} ago" if age is not None else ""
        lines.append(f"    {harmless(name):<16} {channel['count']:>9,}  {last}")
    lines.append(f"  gaps       {_gaps(status)}")
    lines.append(f"  journal    {'none yet' if size is None else _size(size)}, {harmless(status['journal'])}")
    if not status["running"]:
        lines.append(f"  → start one with: vdbevents listen {directory}")
    return "\n".join(lines)


def _listener_rows(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if status["running"]:
        since = f"{_local(status['since'])}{_for(status['for_seconds'])}"
        yield "listener", f"PID {status['pid']}, {harmless(status['state'])} since {since}"
    if status["ws_id"]:
        yield "ws_id", harmless(str(status["ws_id"]))
    if status["running"]:
        yield "reconnects", str(status["reconnects"])
    for stream in status["stale"]:
        yield "stale", f"{harmless(str(stream['stream_name']))}, not described{_for(stream['for_seconds'])}"
    if status["state"] not in (_CONNECTED, _STALE) and status["last_error"]:
        yield "last error", harmless(str(status["last_error"]))
    if status["next_attempt"]:
        yield "next try", _local(status["next_attempt"])


def _capture_rows(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if capture := status["capture"]:
        session = f", session {harmless(str(capture['session_id']))}" if capture["session_id"] else ""
        since = f" since {_local(capture['started'])}" if capture["started"] else ""
        yield "capture", f"PID {capture['pid']}, {harmless(str(capture['status']))}{since}{session}"
    if status["disk_trouble"]:
        yield "disk", f"{harmless(str(status['disk_trouble']))}: holding events in memory"


def _gaps(status: dict[str, Any]) -> str:
    gaps, missing, dropped = status["gaps"], status["unrecovered"], status["dropped"]
    text = f"{gaps:,}" if gaps else "none"
    if gaps:
        text += f", {missing:,} not recovered" if missing else ", all recovered"
    return f"{text}; {dropped:,} events dropped" if dropped else text


def _local(moment: object) -> str:
    try:
        return datetime.fromisoformat(str(moment)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return "?"


def _for(seconds: float | None) -> str:
    return f" (for {_duration(seconds)})" if seconds is not None else ""


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - SI prefixes
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


@reports
def status(*, as_json: JsonOption = False, options: StateOptions) -> ExitCode:
    shown = gather(options.state, read_files(options.state), time.time())
    put(json_text(shown) if as_json else render(shown))
    codes = {_CONNECTED: ExitCode.DONE, _NOT_RUNNING: ExitCode.LISTENER_STATE}
    return codes.get(shown["state"], ExitCode.UNREACHABLE)
