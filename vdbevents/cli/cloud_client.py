"""What the commands that ask the service share: options, a time limit, and how answers are shown."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from vdbevents.cli.command import LONGEST_CALL_SECONDS, require_finite
from vdbevents.cli.diagnostics import Diagnostics, ExitCode, exit_code_of
from vdbevents.cli.options import (
    CloudOptions,
    SessionOptions,
)
from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError
from vdbevents.events.fields import source_named
from vdbevents.events.lifecycle import Stream

if TYPE_CHECKING:
    from vdbevents.cloud import Account, CloudSession
    from vdbevents.journal.state import StateDirectory
from vdbevents.cli.tables import as_text

_Answer = TypeVar("_Answer")

_SHORTEST_CALL_SECONDS: Final = 0.1
_ENOUGH_FOR_A_CALL_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_DEFAULT_COLLECTION: Final = "default"


class Service:
    """The service, asked within a time limit, and again while it fails for a reason that passes."""

    def __init__(self, options: CloudOptions) -> None:
        """Make no request yet.

        Raises:
            InputError, ServiceRefusedError: the timeout, the address or the key is invalid.
        """
        from vdbevents import cloud

        require_finite(timeout=options.timeout)
        self.seconds = options.timeout
        self._credentials = cloud.credentials_from(options.environ)
        self._deadline = self._call_deadline = time.monotonic() + self.seconds

    @property
    def base_url(self) -> str:
        """Where the service is."""
        return self._credentials.base_url

    @property
    def left(self) -> float:
        """How many seconds are left; less than none when the limit is over."""
        return self._deadline - time.monotonic()

    @property
    def account(self) -> "Account":
        """The API's calls, the next of which leaves time to be made again, and ends with the limit."""
        from vdbevents.cloud import Account

        left = max(self._call_deadline - time.monotonic(), _SHORTEST_CALL_SECONDS)
        share = max(left / 2, min(left, _ENOUGH_FOR_A_CALL_SECONDS))
        return Account(self._credentials, min(share, LONGEST_CALL_SECONDS))

    def renew(self) -> None:
        """Begins the time limit anew."""
        self._deadline = time.monotonic() + self.seconds

    def ask(self, call: Callable[[], _Answer], *, share: int = 1) -> _Answer:
        """Makes a call, and makes it again while it fails for a reason that passes.

        Args:
            call: uses `account`, once for each call of the API.
            share: of the time that is left, it may take one part of so many.
        """
        from vdbevents.cloud import persist

        seconds = self.left / share
        self._call_deadline = time.monotonic() + seconds
        return persist(call, seconds)

    def until(self, call: Callable[[], _Answer], is_done: Callable[[_Answer], bool]) -> _Answer:
        """Asks until the answer is the wanted one, or the limit is over; answers with the last answer."""
        wait = _FIRST_PAUSE_SECONDS
        while True:
            found = self.ask(call)
            if is_done(found) or self.left <= wait:
                return found
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_PAUSE_SECONDS)


def begin(options: SessionOptions) -> tuple[Service, "StateDirectory"]:
    """Return the service and the state directory that a command's options name."""
    return Service(options), options.state_at(options.directory)


class Attempts:
    """Things asked one after the other, where one that fails does not keep the others from being asked.

    Attributes:
        code: what the command is to exit with.
        last: what it would be to exit with for the last one alone.
    """

    def __init__(self, service: Service) -> None:
        """Asks nothing yet."""
        self.code = self.last = ExitCode.DONE
        self._service = service

    def each(self, calls: Sequence[Callable[[], _Answer]]) -> list[_Answer]:
        """Answers with what those calls did that did not fail; none takes the time that others need."""
        made = (self.make(call, share=len(calls) - number) for number, call in enumerate(calls))
        return [answer for answer in made if answer is not None]

    def make(self, call: Callable[[], _Answer], *, share: int = 1) -> _Answer | None:
        """Answers with what a call does, as `Service.ask`; None if it failed, which is said.

        Raises:
            ServiceRefusedError: for a reason that has a cure: it is about the account, not about this call.
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


class Target(NamedTuple):
    """A session, by the two ids that the service wants."""

    session_id: str
    collection_id: str


def find_session(options: SessionOptions, directory: "StateDirectory") -> Target:
    """The session that is meant: the one named, else that of the capture in a state directory.

    Raises:
        InputError: there is none.
    """
    from vdbevents.journal.files import read_object

    told = read_object(directory.capture_info).get("session")
    captured = told if isinstance(told, dict) else {}
    session_id = options.session or as_text(captured.get("id"))
    if not session_id:
        raise InputError(
            f"nothing says which session is meant: none is captured in {directory.path}",
            "name one of those that vdbevents session list shows, with --session where it is no argument",
        )
    known = as_text(captured.get("collection_id")) if session_id == captured.get("id") else ""
    return Target(session_id, options.collection or known or _DEFAULT_COLLECTION)


def collection_or_default(collection: str | None) -> str:
    """The collection that is meant where no session is."""
    return collection or _DEFAULT_COLLECTION


def get_session(service: Service, target: Target) -> "CloudSession":
    """Asks for a session."""
    return service.ask(lambda: service.account.get_session(*target))


def find_streams(
    service: Service, directory: "StateDirectory", options: SessionOptions, stream: str | None = None
) -> list[Stream]:
    """The streams of the session that is meant, or of them the one named by its id, name or source.

    A stream that is none of the session's is taken for the id of another session's, if no session was named.

    Raises:
        InputError: nothing says which session is meant, or it has no such stream.
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


def stream_by_id(named: str) -> Stream | None:
    """A stream of which nothing but its id is known; None for the name of a source, which is no id."""
    return None if source_named(named) == named else Stream(named, named, None, "")


def pick_stream(
    session_id: str, streams: Sequence[Stream], named: str, otherwise: Stream | None = None
) -> Stream:
    """The stream of a session with this id, name or source; without one, another.

    Raises:
        InputError: it has no such stream, and there is no other.
    """
    for member in ("id", "name", "source"):
        for one in streams:
            if getattr(one, member) == named:
                return one
    if otherwise is not None:
        return otherwise
    there = ", ".join(one.name for one in streams)
    raise InputError(
        f"the session {session_id} has no stream {named}",
        f"it has: {there}" if there else "it has none: it is not active yet, or was never started",
    )


def bound_ws_id(given: str | None, directory: "StateDirectory") -> str | None:
    """The id of the WebSocket to send to: the one given, else that of a listener that is connected."""
    from vdbevents.journal.files import read_small_file
    from vdbevents.journal.locks import listener_runs

    if given or not listener_runs(directory):
        return given or None
    return (read_small_file(directory.ws_id) or "").strip() or None
