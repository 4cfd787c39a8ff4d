"""`vdbevents resume`: end a pause."""

from vdbevents.cli.command import put, reports
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import StateOptions
from vdbevents.cli.pause import TimeoutOption

HELP = """End a pause: the recording goes on.

Events of the pause are not fetched later. Returns once the running listener follows.

\b
Exit codes: 0 resumed or not paused, 3 the listener has not confirmed it.
"""


@reports
def resume(*, timeout: TimeoutOption = 10.0, options: StateOptions) -> ExitCode:
    from vdbevents.cli.command import require_finite
    from vdbevents.journal import files
    from vdbevents.listener.pause_request import ask_for, await_listener
    from vdbevents.listener.pause_watch import PauseWatch
    from vdbevents.times import format_duration

    require_finite(timeout=timeout)
    now_ms = files.wall_ms()
    on = PauseWatch(options.state).current().at(now_ms)
    if on is None:
        put("not paused")
        return ExitCode.DONE
    ask_for(options.state, lambda known: known.end(now_ms))
    is_followed = await_listener(options.state, timeout)
    who = "" if is_followed else "; no listener is running"
    put(f"resumed after {format_duration(max(0, now_ms - on.since_ms))}{who}")
    return ExitCode.DONE
