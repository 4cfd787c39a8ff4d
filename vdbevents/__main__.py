"""`python -m vdbevents` and the `vdbevents` command."""

import gc
import os
import sys
import threading

_OBJECTS = 100_000
_INTERRUPTED = 130


def main() -> None:
    # What is imported is no garbage: to look for some at every 700 objects takes a twentieth of the start.
    gc.set_threshold(_OBJECTS)

    try:
        _run()
    except SystemExit as ended:
        _leave(ended.code)
        raise


def _run() -> None:
    try:
        from vdbevents.cli.app import run

        run()
    except KeyboardInterrupt:
        # In the midst of what is imported nobody else has noticed it.
        sys.exit(_INTERRUPTED)


def _leave(code: object) -> None:
    """Ends the process at once, unless somebody has a use for its end.

    To take apart all that was imported takes a tenth of what a query does.
    """
    if isinstance(code, int | None) and threading.active_count() == 1 and not _is_watched():
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):  # it is closed: as Python says it
            return
        os._exit(code or 0)


def _is_watched() -> bool:
    """Whether a debugger, a profiler, or what measures coverage is there."""
    monitoring = getattr(sys, "monitoring", None)  # since Python 3.12
    tools = map(monitoring.get_tool, range(6)) if monitoring else ()
    return "bdb" in sys.modules or any((sys.gettrace(), sys.getprofile(), *tools))


if __name__ == "__main__":
    main()
