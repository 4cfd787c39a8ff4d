"""The one root of everything that `vdbevents` raises on purpose.

An error carries what failed and the cure. What exit code a kind of error means is the command line's
business (`cli/diagnostics.py`).
"""


class VdbeventsError(Exception):
    """Something that can happen did happen.

    Attributes:
        message: what failed and on what; one sentence, no secret in it.
        hint: the command or setting that mends it; empty where there is none.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(VdbeventsError):
    """What the user gave cannot be used: an argument, a file, a setting."""


class ListenerStateError(VdbeventsError):
    """The listener runs and should not, or does not and should."""


class StorageError(VdbeventsError):
    """The disk or the memory does not take what has to go there."""


class ServiceRefusedError(VdbeventsError):
    """VideoDB answered, and the answer is a no that waiting will not change: key, rights, certificate.

    Attributes:
        status: HTTP's, where there was an answer.
    """

    def __init__(self, message: str, hint: str = "", *, status: int | None = None) -> None:
        super().__init__(message, hint)
        self.status = status


class ServiceUnreachableError(VdbeventsError):
    """VideoDB could not be reached, and the retries that were allowed are used up.

    Attributes:
        retry_after: seconds that the service asked to wait before it is asked again, if it did.
    """

    def __init__(self, message: str, hint: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class CaptureError(VdbeventsError):
    """The recording itself failed: its runtime, a permission, a device, or the session on the server."""
