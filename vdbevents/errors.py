"""The root of all errors that `vdbevents` raises on purpose. Pure.

An error says what failed and how to fix it. The command line maps each class to an exit code
(`cli/diagnostics.py`).
"""


class VdbeventsError(Exception):
    """An expected failure.

    Attributes:
        message: what failed, on what; one sentence, without secrets.
        hint: the command or setting that fixes it; empty if there is none.
        error_id: a stable name such as `duration-invalid`, for programs and tests; wordings may change.
    """

    def __init__(self, message: str, hint: str = "", *, error_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.error_id = error_id


class InputError(VdbeventsError):
    """Invalid input from the user: an argument, a file, a setting."""


def options_conflict(option: str, other: str, hint: str = "leave out one of them") -> InputError:
    """Return the error of two options, or an option and an argument, that exclude each other."""
    return InputError(f"{option}: not allowed with {other}", hint, error_id="options-conflict")


class ListenerStateError(VdbeventsError):
    """The listener is running and must not be, or is not running and must be."""


class StorageError(VdbeventsError):
    """No room, or no permission, on the disk or in memory."""


class ServiceRefusedError(VdbeventsError):
    """VideoDB refused, and a retry would not help: key, rights, certificate.

    Attributes:
        status: the HTTP status, if there was an answer.
    """

    def __init__(
        self, message: str, hint: str = "", *, error_id: str = "", status: int | None = None
    ) -> None:
        super().__init__(message, hint, error_id=error_id)
        self.status = status


class ServiceUnreachableError(VdbeventsError):
    """VideoDB could not be reached, and no retries are left.

    Attributes:
        retry_after: seconds to wait before the next request, if the service named them.
    """

    def __init__(
        self, message: str, hint: str = "", *, error_id: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint, error_id=error_id)
        self.retry_after = retry_after


class CaptureError(VdbeventsError):
    """The recording failed: its runtime, a permission, a device, or the session on the server."""
