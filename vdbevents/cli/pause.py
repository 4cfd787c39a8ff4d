"""`vdbevents pause` and `resume`: stop writing down what is said and shown for a while."""

import secrets
from pathlib import Path
from typing import Annotated

from vdbevents.cli.command import put, reports, require_finite, with_unit
from vdbevents.cli.declared import Argument, Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import StateOptions, seconds

HELP = """Pause the recording, for a time or until resume.

Nothing that is said or shown meanwhile is written down, nor fetched later. Returns once the running listener
follows; without one, the next listener does. The journal gets a line for the beginning and the end.

\b
Examples:
  vdbevents pause                                     until: vdbevents resume
  vdbevents pause 30m                                 resumes by itself; to prolong it, pause again

\b
Exit codes: 0 paused, 2 wrong input, 3 the listener has not confirmed it.
"""

TimeoutOption = Annotated[
    float, Option(parser=seconds(0.1), metavar="SECONDS", help="How long to wait for the listener.")
]


@reports
def pause(
    duration: Annotated[
        str | None,
        Argument(
            metavar="TIME", help="For how long: 90s, 30m, 2 hours. Default: until resume.", show_default=False
        ),
    ] = None,
    *,
    timeout: TimeoutOption = 10.0,
    options: StateOptions,
) -> ExitCode:
    from vdbevents.journal import files
    from vdbevents.listener.pause_request import ask_for, await_listener
    from vdbevents.times import format_duration, parse_duration

    require_finite(timeout=timeout)
    if duration is not None and options.directory is None and _is_directory(duration):
        options, duration = options.replace(directory=Path(duration)), None
    if duration is not None:
        duration, directory = with_unit(duration, options.directory)
        options = options.replace(directory=directory)
    length_ms = None if duration is None else parse_duration("TIME", duration)
    now_ms = files.wall_ms()
    until_ms = None if length_ms is None else now_ms + length_ms
    options.state.create()
    new_id = f"pause-{secrets.token_hex(6)}"
    ask_for(options.state, lambda known: known.begin(new_id, now_ms, until_ms))
    is_followed = await_listener(options.state, timeout)
    end = "" if length_ms is None else f" for {format_duration(length_ms)}"
    who = "" if is_followed else "; no listener is running: the next one follows it"
    put(f"paused{end}{who}; resume with: vdbevents resume")
    return ExitCode.DONE


def _is_directory(text: str) -> bool:
    return "/" in text or "\\" in text or Path(text).is_dir()
