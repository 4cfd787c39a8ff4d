"""The `vdbevents` command, and `python -m vdbevents`."""

import gc
import os
import sys
import threading

_OBJECTS = 100_000
_INTERRUPTED = 130


def main() -> None:
    # Imports leave no garbage; collecting it at every 700 objects takes a twentieth of the start.
    gc.set_threshold(_OBJECTS)

    try:
        _run()
    except SystemExit as ended:
        _leave(ended.code)
        raise


def _run() -> None:
    try:
        from vdbevents.cli.entry import run

        run()
    except KeyboardInterrupt:
        # During imports nothing else catches it.
        sys.exit(_INTERRUPTED)


def _leave(code: object) -> None:
    """End the process without Python's clean-up, unless a thread or a debugger needs it.

    The clean-up takes a tenth of the time of a query.
    """
    if isinstance(code, int | None) and threading.active_count() == 1 and not _is_watched():
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):  # a stream is closed: Python reports it in its own way
            return
        os._exit(code or 0)


def _is_watched() -> bool:
    """Return whether a debugger, a profiler, or a coverage tool is active."""
    monitoring = getattr(sys, "monitoring", None)  # since Python 3.12
    tools = map(monitoring.get_tool, range(6)) if monitoring else ()
    return "bdb" in sys.modules or any((sys.gettrace(), sys.getprofile(), *tools))


if __name__ == "__main__":
    main()
