"""What `vdbevents status` shows: the listener's own words, held against the lock and the clock."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vdbevents.cli.command import put, reports
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import (
    StateOptions,
)

if TYPE_CHECKING:
    from vdbevents.journal.state import StateDirectory
from datetime import datetime

from vdbevents.cli.command import as_json as json_text
from vdbevents.journal.files import read_object
from vdbevents.journal.locks import capture_runs, listener_pid, listener_runs, read_pid
from vdbevents.journal.state import StateDirectory
from vdbevents.terminal import harmless

_NOT_RUNNING = "not running"
_CONNECTED = "connected"
_STALE = "stale"


def gather(directory: StateDirectory, now: float) -> dict[str, Any]:
    """The state of a directory's listener, as `status --json` prints it.

    Args:
        directory: which one; it need not exist.
        now: seconds since the epoch.

    Returns:
        `state` is `connected`, `stale` (connected, and a screen is not described any more), `connecting`,
        `waiting`, `starting` or `not running`; ages are in seconds.
    """
    running = listener_runs(directory)
    pid = listener_pid(directory) if running else None
    told = read_object(directory.listener_status)
    if running and told.get("pid") != pid:
        told = {"state": "starting"}
    events = _object(told, "events")
    return {
        "directory": str(directory.path),
        "running": running,
        "state": _state(told) if running else _NOT_RUNNING,
        "since": told.get("since"),
        "for_seconds": _age(told.get("since"), now),
        "pid": pid,
        "ws_id": told.get("ws_id") if running else None,
        "reconnects": _number(told, "reconnects"),
        "last_error": told.get("last_error"),
        "next_attempt": told.get("next_attempt") if running else None,
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
        "gaps": _number(told, "gaps"),
        "unrecovered": _number(told, "unrecovered"),
        "stale": _stale(told, now) if running else [],
        "dropped": _number(told, "dropped"),
        "disk_trouble": told.get("disk_trouble") if running else None,
        "capture": _capture(directory),
        "journal": str(directory.journal),
        "journal_bytes": _journal_bytes(directory),
        "version": told.get("version"),
    }


def _capture(directory: StateDirectory) -> dict[str, Any] | None:
    """What the capture that runs says of itself; None where none runs."""
    if not capture_runs(directory):
        return None
    told = read_object(directory.capture_info)
    pid = read_pid(directory.capture_pid)
    if told.get("pid") != pid:
        told = {}
    return {
        "pid": pid,
        # It has just begun, or the session is a backend's, of which it writes nothing.
        "status": told.get("status", "running"),
        "session_id": _object(told, "session").get("id"),
        "started": told.get("started"),
    }


def _journal_bytes(directory: StateDirectory) -> int | None:
    try:
        return directory.journal.stat().st_size
    except OSError:
        return None


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    # Whoever wrote the file, a crash or another version, a status is shown all the same.
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _number(holder: dict[str, Any], name: str) -> int:
    value = holder.get(name)
    return value if isinstance(value, int) else 0


def _state(told: dict[str, Any]) -> str:
    state = str(told.get("state", "starting"))
    if state == _CONNECTED and told.get("stale"):
        return _STALE
    return "connecting" if state == "opening" else state


def _stale(told: dict[str, Any], now: float) -> list[dict[str, Any]]:
    found = told.get("stale")
    return [
        {
            "stream_id": one.get("stream_id"),
            "stream_name": one.get("stream_name"),
            "since": one.get("since"),
            "for_seconds": _age(one.get("since"), now),
        }
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, dict)
    ]


def _age(moment: object, now: float) -> float | None:
    try:
        return round(max(0.0, now - datetime.fromisoformat(str(moment)).timestamp()), 1)
    except ValueError:
        return None


def render(found: dict[str, Any], *, as_json: bool) -> str:
    """The same for a program, or for a person (local time)."""
    if as_json:
        return json_text(found)
    directory = harmless(found["directory"])
    lines = [f"{harmless(found['state']):<12} {directory}"]
    if found["running"]:
        since = f"{harmless(found['state'])} since {_local(found['since'])}{_for(found['for_seconds'])}"
        lines.append(f"  listener   PID {found['pid']}, {since}")
    if found["ws_id"]:
        lines.append(f"  ws_id      {harmless(str(found['ws_id']))}")
    if found["running"]:
        lines.append(f"  reconnects {found['reconnects']}")
    lines += [
        f"  stale      {harmless(str(it['stream_name']))}, not described{_for(it['for_seconds'])}"
        for it in found["stale"]
    ]
    if found["state"] not in (_CONNECTED, _STALE) and found["last_error"]:
        lines.append(f"  last error {harmless(str(found['last_error']))}")
    if found["next_attempt"]:
        lines.append(f"  next try   {_local(found['next_attempt'])}")
    if found["capture"]:
        lines.append(_render_capture(found["capture"]))
    if found["disk_trouble"]:
        lines.append(f"  disk       {harmless(str(found['disk_trouble']))}: holding events in memory")
    lines += _render_events(found)
    size = found["journal_bytes"]
    lines.append(f"  journal    {'none yet' if size is None else _size(size)}, {harmless(found['journal'])}")
    if not found["running"]:
        lines.append(f"  → start one with: vdbevents listen {directory}")
    return "\n".join(lines)


def _render_capture(capture: dict[str, Any]) -> str:
    session = f", session {harmless(str(capture['session_id']))}" if capture["session_id"] else ""
    since = f" since {_local(capture['started'])}" if capture["started"] else ""
    return f"  capture    PID {capture['pid']}, {harmless(str(capture['status']))}{since}{session}"


def _render_events(found: dict[str, Any]) -> list[str]:
    events = found["events"]
    since = f" since {_local(events['since'])}" if events["since"] else ""
    lines = [f"  events     {events['total']:,}{since}"]
    for name, channel in sorted(events["channels"].items(), key=lambda item: -item[1]["count"]):
        age = channel["age_seconds"]
        last = f"last {_duration(age)} ago" if age is not None else ""
        lines.append(f"    {harmless(name):<16} {channel['count']:>9,}  {last}")
    gaps = f"{found['gaps']:,}" if found["gaps"] else "none"
    if found["gaps"]:
        gaps += f", {found['unrecovered']:,} not recovered" if found["unrecovered"] else ", all recovered"
    if found["dropped"]:
        gaps += f"; {found['dropped']:,} events dropped"
    lines.append(f"  gaps       {gaps}")
    return lines


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


HELP = """Show whether the listener runs, is connected, and what it receives.

\b
Exit codes: 0 connected, 3 not running, 5 running but not connected, or stale (a screen is not described).
"""


@reports
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    options: StateOptions,
) -> ExitCode:
    import time

    from vdbevents.cli.status import gather, render

    found = gather(options.state, time.time())
    put(render(found, as_json=as_json))
    return {"connected": ExitCode.DONE, "not running": ExitCode.LISTENER_STATE}.get(
        found["state"], ExitCode.UNREACHABLE
    )


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(help=HELP)(status)
