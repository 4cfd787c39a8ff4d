"""The summary of a capture for a person: a few lines, with local times."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vdbevents.cli.localtime import local_text
from vdbevents.cli.tables import as_text, table
from vdbevents.events.fields import unix_ms
from vdbevents.times import format_duration


def summary_text(summary: Mapping[str, Any]) -> str:
    """Format a capture's summary.

    Args:
        summary: as `vdbevents capture --json` prints it.
    """
    return table(list(_rows(summary)), None)


def _rows(summary: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    status = as_text(summary["status"])
    yield "session", f"{summary['session_id']}{f', {status}' if status else ''}"
    yield "recorded", _recorded(summary)
    if names := ", ".join(as_text(stream.get("name")) for stream in summary["streams"]):
        yield "streams", names
    for pipeline in summary["pipelines"]:
        if pipeline["error"]:
            yield "failed", f"{pipeline['kind']} of {pipeline['stream_id']}: {pipeline['error']}"
    counts = sorted(summary["events"].items(), key=lambda item: -item[1])
    yield "events", ", ".join(f"{count:,} {channel}" for channel, count in counts) or "none"
    if summary["video_id"]:
        yield "video", as_text(summary["player_url"]) or as_text(summary["stream_url"]) or summary["video_id"]
    else:
        yield "video", "none"
    yield "journal", as_text(summary["journal"])
    if summary["error"]:
        yield "error", as_text(summary["error"])


def _recorded(summary: Mapping[str, Any]) -> str:
    began, ended = unix_ms(summary["started"]), unix_ms(summary["ended"])
    if began is None:
        return "nothing"
    since = local_text(began)
    if ended is None:
        return f"since {since}"
    until, length = local_text(ended), format_duration(max(0, round(ended - began)))
    return f"{length}, {since} to {until[11:] if until[:10] == since[:10] else until}"
