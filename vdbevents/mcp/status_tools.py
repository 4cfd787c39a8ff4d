"""The tools that tell whether it records, and what there is."""

from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from vdbevents.mcp.answer_page import heading_of, text_page
from vdbevents.mcp.quoting import neutral_data
from vdbevents.mcp.time_window import clock_text, date_text, now_utc
from vdbevents.mcp.tool import (
    NUMBER_OR_NULL,
    SWITCH,
    TEXT,
    TEXT_OR_NULL,
    WHOLE,
    Reporting,
    Tool,
    ToolAnswer,
    list_of,
    noticed,
    object_of,
    output_of,
)
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.terminal import byte_size, counted
from vdbevents.times import format_age

_MOST_GAPS: Final = 3
_MOST_STREAMS: Final = 12
_MOST_CHANNELS: Final = 8

_STREAM: Final = object_of({"name": TEXT_OR_NULL, "state": TEXT, "age_seconds": NUMBER_OR_NULL})
_GAP: Final = object_of({"since": TEXT_OR_NULL, "until": TEXT_OR_NULL, "reason": TEXT_OR_NULL})
_RECORDING: Final = object_of(
    {
        "directory": TEXT,
        "state": TEXT,
        "is_recording": SWITCH,
        "since": TEXT_OR_NULL,
        "reason": TEXT_OR_NULL,
        "problems": list_of(TEXT),
        "session": TEXT_OR_NULL,
        "streams": list_of(_STREAM),
        "channels": list_of(object_of({"channel": TEXT, "events": WHOLE, "last": TEXT_OR_NULL})),
        "events": WHOLE,
        "open_gaps": list_of(_GAP),
        "unrecovered_gaps": WHOLE,
        "paused_until": TEXT_OR_NULL,
        "paused": SWITCH,
        "journal_bytes": {"type": ["integer", "null"]},
        "free_bytes": {"type": ["integer", "null"]},
    }
)
_RECORDINGS: Final = output_of({"recordings": list_of(_RECORDING)})


def recording_status(journals: WarmJournals) -> Tool:
    """Return the tool that says whether it records now."""

    def run(_values: Mapping[str, Any], _reporting: Reporting) -> ToolAnswer:
        shown = [_reduced(one) for one in journals.statuses()]
        data = neutral_data(noticed({"recordings": shown}))
        zone = journals.zone
        lines = "\n".join(line for one in shown for line in _lines(one, zone))
        return ToolAnswer(text_page(heading_of(zone, now_utc()), "", lines), data)

    return Tool(
        "recording_status",
        "Is it recording?",
        "Say whether the desktop is recorded right now, since when, which streams deliver, what is wrong, "
        "and how many events there are. Call it when the newest events matter, or when a search finds less "
        "than expected. Cheap: about 200 tokens.",
        (),
        _RECORDINGS,
        run,
    )


def _reduced(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a status a model needs."""
    capture = status["capture"] or {}
    channels = sorted(status["events"]["channels"].items(), key=lambda item: -item[1]["count"])
    gaps = [
        {
            "since": gap.get("since"),
            "until": None if gap.get("ongoing") else gap.get("until"),
            "reason": gap.get("reason"),
        }
        for gap in status["open_gaps"][-_MOST_GAPS:]
    ]
    return {
        "directory": status["directory"],
        "state": status["state"],
        "is_recording": status["state"] == "connected",
        "since": status["since"],
        "reason": status["reason"],
        "problems": [": ".join(filter(None, (one["state"], one["reason"]))) for one in status["problems"]],
        "session": capture.get("session_id"),
        "streams": [
            {name: stream[name] for name in ("name", "state", "age_seconds")}
            for stream in capture.get("streams", [])[:_MOST_STREAMS]
        ],
        "channels": [
            {"channel": name, "events": of["count"], "last": of["last"]}
            for name, of in channels[:_MOST_CHANNELS]
        ],
        "events": status["events"]["total"],
        "open_gaps": gaps,
        "unrecovered_gaps": status["unrecovered"],
        "paused": status["paused"],
        "paused_until": status["paused_until"],
        "journal_bytes": status["journal_bytes"],
        "free_bytes": status["free_bytes"],
    }


def _local(text: str, zone: tzinfo) -> str:
    """Return a time of a status, which is in UTC, as the other tools write times; any other text as it is."""
    try:
        at_ms = round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return text
    return f"{date_text(at_ms, zone)} {clock_text(at_ms, zone)}"


def _lines(one: Mapping[str, Any], zone: tzinfo) -> Iterator[str]:
    since = f" since {_local(one['since'], zone)}" if one["since"] else ""
    reason = f": {one['reason']}" if one["reason"] else ""
    yield f"{one['directory']}: {one['state']}{since}{reason}"
    for problem in one["problems"][1:]:
        yield f"  also     {problem}"
    if one["paused"]:
        until = _local(one["paused_until"], zone) if one["paused_until"] else "it is resumed"
        yield f"  paused   until {until}"
    if one["session"]:
        yield f"  session  {one['session']}"
    for stream in one["streams"]:
        age = stream["age_seconds"]
        last = "nothing yet" if age is None else f"last {format_age(age)} ago"
        yield f"  stream   {stream['name']}: {stream['state']}, {last}"
    for channel in one["channels"]:
        last = _local(channel["last"], zone) if channel["last"] else "at an unknown time"
        yield f"  events   {channel['events']:,} {channel['channel']}, last {last}"
    for gap in one["open_gaps"]:
        since = _local(gap["since"], zone) if gap["since"] else "an unknown time"
        until = _local(gap["until"], zone) if gap["until"] else "now"
        yield f"  gap      {since} to {until}, not recovered"
    if one["unrecovered_gaps"]:
        yield f"  gaps     {counted(one['unrecovered_gaps'], 'gap')} not recovered"
    size = "none yet" if one["journal_bytes"] is None else byte_size(one["journal_bytes"])
    yield f"  journal  {size}"
