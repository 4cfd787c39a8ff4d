"""Calls of VideoDB from a command: one timeout for all, retries, and the session that is meant."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from vdbevents.cli.command import LONGEST_CALL_SECONDS, require_finite
from vdbevents.cli.diagnostics import Diagnostics, ExitCode, exit_code_of
from vdbevents.cli.options import CloudOptions, SessionOptions
from vdbevents.cli.tables import as_text
from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError
from vdbevents.events.fields import source_named
from vdbevents.events.lifecycle import Stream

if TYPE_CHECKING:
    from vdbevents.cloud import Account, CloudSession
    from vdbevents.journal.state import StateDirectory

_Answer = TypeVar("_Answer")

_SHORTEST_CALL_SECONDS: Final = 0.1
_USEFUL_CALL_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
DEFAULT_COLLECTION: Final = "default"


class Service:
    """VideoDB's API within one timeout; transient errors are retried."""

    def __init__(self, options: CloudOptions) -> None:
        """Make no request yet.

        Raises:
            InputError, ServiceRefusedError: the timeout, the address or the key is invalid.
        """
        require_finite(timeout=options.timeout)
        self.seconds = options.timeout
        self._credentials = options.credentials
        self._deadline = self._call_deadline = time.monotonic() + self.seconds

    @property
    def base_url(self) -> str:
        """The address of the API."""
        return self._credentials.base_url

    @property
    def left(self) -> float:
        """The seconds left; negative after the timeout."""
        return self._deadline - time.monotonic()

    @property
    def account(self) -> "Account":
        """The API; the next call ends within the timeout, and leaves time for a retry."""
        from vdbevents.cloud import Account

        left = max(self._call_deadline - time.monotonic(), _SHORTEST_CALL_SECONDS)
        share = max(left / 2, min(left, _USEFUL_CALL_SECONDS))
        return Account(self._credentials, min(share, LONGEST_CALL_SECONDS))

    def renew(self) -> None:
        """Restart the timeout."""
        self._deadline = time.monotonic() + self.seconds

    def ask(self, call: Callable[[], _Answer], *, share: int = 1) -> _Answer:
        """Return what a call returns; retry transient errors.

        Args:
            call: reads `account` for each request.
            share: the call may take 1/share of the time left.
        """
        from vdbevents.cloud import persist

        seconds = self.left / share
        self._call_deadline = time.monotonic() + seconds
        return persist(call, seconds)

    def until(self, call: Callable[[], _Answer], is_done: Callable[[_Answer], bool]) -> _Answer:
        """Repeat a call until its answer is the wanted one, or the timeout; return the last answer."""
        from vdbevents.cloud.backoff import Backoff

        backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        while True:
            answer = self.ask(call)
            if is_done(answer) or self.left <= (wait := backoff.next()):
                return answer
            time.sleep(wait)


def begin(options: SessionOptions) -> tuple[Service, "StateDirectory"]:
    """Return the service and the state directory that a command's options name."""
    return Service(options), options.state_at(options.directory)


class Attempts:
    """Calls one after the other; a failed call is reported, and the others are still made.

    Attributes:
        code: the exit code of all calls so far.
        last: the exit code of the last call.
    """

    def __init__(self, service: Service) -> None:
        """Make no call yet."""
        self.code = self.last = ExitCode.DONE
        self._service = service

    def each(self, calls: Sequence[Callable[[], _Answer]]) -> list[_Answer]:
        """Return the answers of the calls that succeed; the time left is shared among the calls."""
        answers = (self.make(call, share=len(calls) - number) for number, call in enumerate(calls))
        return [answer for answer in answers if answer is not None]

    def make(self, call: Callable[[], _Answer], *, share: int = 1) -> _Answer | None:
        """Return the answer of a call, as `Service.ask`; report a failure, and return None.

        Raises:
            ServiceRefusedError: the refusal has a hint, so it concerns the account, not this call.
        """
        self.last = ExitCode.DONE
        try:
            return self._service.ask(call, share=share)
        except (ServiceRefusedError, ServiceUnreachableError) as error:
            if isinstance(error, ServiceRefusedError) and error.hint:
                raise
            diagnostics = Diagnostics()
            diagnostics.error(error)
            diagnostics.flush()
            self.last = exit_code_of(error)
            self.code = max(self.code, self.last)
        return None


class SessionIds(NamedTuple):
    """The two ids that the API needs for a session."""

    session_id: str
    collection_id: str


def find_session(options: SessionOptions, directory: "StateDirectory") -> SessionIds:
    """Return the session of the options, else the one captured in a state directory.

    Raises:
        InputError: neither exists.
    """
    from vdbevents.journal.files import read_object

    session = read_object(directory.capture_info).get("session")
    captured = session if isinstance(session, dict) else {}
    session_id = options.session or as_text(captured.get("id"))
    if not session_id:
        raise InputError(
            f"no session given, and none was captured in {directory.path}",
            "name one with --session: vdbevents session list shows them",
            error_id="session-not-given",
        )
    known = as_text(captured.get("collection_id")) if session_id == captured.get("id") else ""
    return SessionIds(session_id, options.collection or known or DEFAULT_COLLECTION)


def get_session(service: Service, target: SessionIds) -> "CloudSession":
    """Return a session."""
    return service.ask(lambda: service.account.get_session(*target))


def find_streams(
    service: Service, directory: "StateDirectory", options: SessionOptions, stream: str | None = None
) -> list[Stream]:
    """Return the streams of a command's session, or of them the one with an id, name or source.

    If no session was given, a stream that the session does not have is taken for the id of another one.

    Raises:
        InputError: there is no session, or it has no such stream.
    """
    by_id = None if options.session is not None or stream is None else stream_by_id(stream)
    try:
        target = find_session(options, directory)
    except InputError:
        if by_id is not None:
            return [by_id]
        raise
    streams = list(get_session(service, target).streams)
    return streams if stream is None else [pick_stream(target.session_id, streams, stream, by_id)]


def stream_by_id(stream_id: str) -> Stream | None:
    """Return a stream of which only the id is known; None for the name of a source."""
    return None if source_named(stream_id) == stream_id else Stream(stream_id, stream_id, None, "")


def pick_stream(
    session_id: str, streams: Sequence[Stream], wanted: str, otherwise: Stream | None = None
) -> Stream:
    """Return the stream of a session with this id, name or source; without one, another stream.

    Raises:
        InputError: the session has no such stream, and no other is given.
    """
    for member in ("id", "name", "source"):
        for stream in streams:
            if getattr(stream, member) == wanted:
                return stream
    if otherwise is not None:
        return otherwise
    names = ", ".join(stream.name for stream in streams)
    raise InputError(
        f"session {session_id} has no stream {wanted}",
        f"use one of: {names}" if names else "wait until it has started: it has no streams yet",
        error_id="stream-missing",
    )


def bound_ws_id(given: str | None, directory: "StateDirectory") -> str | None:
    """Return the WebSocket id to send to: the one given, else the connected listener's, else None."""
    from vdbevents.journal.files import read_small_file
    from vdbevents.journal.locks import listener_runs

    if given or not listener_runs(directory):
        return given or None
    return (read_small_file(directory.ws_id) or "").strip() or None
