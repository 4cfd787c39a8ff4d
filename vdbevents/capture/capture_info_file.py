"""`videodb_capture_info.json`: the state of a capture, for other programs."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from vdbevents import __version__
from vdbevents.capture.capture_context import CaptureContext
from vdbevents.capture.capture_log import CaptureLog
from vdbevents.journal import files, locks
from vdbevents.sessions.capture_info import merge_bindings


class CaptureInfoFile:
    """Writes the file in the journal's thread: a slow disk must not delay the handling of signals."""

    def __init__(self, context: CaptureContext, log: CaptureLog) -> None:
        """Write nothing yet."""
        self._context = context
        self._log = log
        self._last_problem = ""

    def write(self) -> None:
        """Write the state of the capture."""
        info, runtime = self._context.info, self._context.runtime
        if runtime is not None and runtime.runs:
            info.runtime_pid = runtime.pid
        content = info.to_dict(pid=os.getpid(), version=__version__, now_ms=files.wall_ms())
        self._log.run(partial(self._replace, content))

    def _replace(self, content: Mapping[str, Any]) -> None:
        directory = self._context.directory
        try:
            # The listener writes it, too, when it rebinds the pipelines.
            merge = partial(merge_bindings, content)
            locks.change_object(directory.capture_info, directory.capture_info_lock, merge)
        except OSError as error:
            problem = f"cannot write {directory.capture_info.name}: {error.strerror or error}"
            if problem != self._last_problem:
                hint = "free some disk space; the next change is written again"
                self._context.say(problem, problem=True, hint=hint)
            self._last_problem = problem
        else:
            self._last_problem = ""
