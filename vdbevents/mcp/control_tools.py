"""The tools that pause and resume the recording, where its owner allows that."""

import secrets
from collections.abc import Mapping
from typing import Any, Final

from vdbevents.journal import files
from vdbevents.journal.state import StateDirectory
from vdbevents.listener.pause_request import ask_for, await_listener
from vdbevents.listener.pause_watch import PauseWatch
from vdbevents.mcp.answer_page import answer_of
from vdbevents.mcp.tool import SWITCH, TEXT_OR_NULL, Reporting, Tool, ToolAnswer, output_of
from vdbevents.mcp.tool_parameters import Parameter
from vdbevents.query.output.rows import utc_time
from vdbevents.times import format_duration, parse_duration

_LISTENER_SECONDS: Final = 10.0
_PAUSED: Final = output_of({"paused": SWITCH, "until": TEXT_OR_NULL, "is_followed": SWITCH})


def pause(state: StateDirectory) -> Tool:
    """Return the tool that pauses the recording."""

    def run(values: Mapping[str, Any], _reporting: Reporting) -> ToolAnswer:
        length_ms = parse_duration("for", values["for"])
        now_ms = files.wall_ms()
        until_ms = now_ms + length_ms
        ask_for(state, lambda known: known.begin(f"pause-{secrets.token_hex(6)}", now_ms, until_ms))
        is_followed = await_listener(state, _LISTENER_SECONDS)
        who = "" if is_followed else " No listener is running: the next one follows it."
        text = f"Paused for {format_duration(length_ms)}. The tool resume ends it.{who}"
        return answer_of(text, {"paused": True, "until": utc_time(until_ms), "is_followed": is_followed})

    return Tool(
        "pause",
        "Pause the recording",
        "Stop writing down what is said and shown, for a time; it cannot be fetched later. Only when the "
        "user asks for it. Nothing that was recorded is changed.",
        (Parameter("for", "text", "For how long: 10m, 2h.", "30m"),),
        _PAUSED,
        run,
        is_read_only=False,
    )


def resume(state: StateDirectory) -> Tool:
    """Return the tool that ends a pause."""

    def run(_values: Mapping[str, Any], _reporting: Reporting) -> ToolAnswer:
        now_ms = files.wall_ms()
        on = PauseWatch(state).current().at(now_ms)
        if on is None:
            return answer_of("It is not paused.", {"paused": False, "until": None, "is_followed": True})
        ask_for(state, lambda known: known.end(now_ms))
        is_followed = await_listener(state, _LISTENER_SECONDS)
        who = "" if is_followed else " No listener is running."
        text = f"Resumed after {format_duration(max(0, now_ms - on.since_ms))}.{who}"
        return answer_of(text, {"paused": False, "until": None, "is_followed": is_followed})

    return Tool(
        "resume",
        "Resume the recording",
        "End a pause: the recording goes on. Only when the user asks for it, as somebody wanted the pause.",
        (),
        _PAUSED,
        run,
        is_read_only=False,
    )
