"""What an error means: whether waiting will mend it, in words for a person, and the trying again."""

import math
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from vdbevents.cloud.backoff import Backoff
from vdbevents.cloud.connection import ADDRESS_HINT, KEY_HINT
from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError

LONGEST_RETRY_AFTER_SECONDS = 3600.0

_Answer = TypeVar("_Answer")
_LONGEST_REASON = 300
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 5.0
_TRY_AGAIN_HINT = "try again; --timeout gives it longer"


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error means for who wants to connect.

    Attributes:
        message: what failed, for a person; holds no secret.
        fatal: waiting will not mend it.
        hint: the cure, where one is known.
        retry_after: seconds that the service asked to wait, if it did.
    """

    message: str
    fatal: bool = False
    hint: str = ""
    retry_after: float | None = None


def classify(error: BaseException, now: datetime) -> Failure:
    """Says whether waiting will mend an error, in words for a person.

    Final are an answer of 4xx (but 408, 425 and 429) and a certificate that does not verify; all else passes.
    It looks at types and at the answer's status, never for words in a text.

    Args:
        error: from the SDK's HTTP call, the WebSocket's handshake, or the connection.
        now: to make seconds of a `Retry-After` that is a date.
    """
    chain = list(_causes(error))
    certificate = next((e for e in chain if isinstance(e, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return Failure(
            f"the service's certificate does not verify: {certificate.verify_message}",
            fatal=True,
            hint="check the system's clock, the certificate authorities (SSL_CERT_FILE, REQUESTS_CA_BUNDLE), "
            "and that nobody stands between",
        )
    status, headers = _answer_of(error)
    if status is not None and status >= 400:  # noqa: PLR2004 - HTTP's errors
        return _classify_status(status, _retry_after(headers, now))
    return Failure(_describe(chain))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, by chaining or as urllib3 does it: in attributes and arguments."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]


def _answer_of(error: BaseException) -> tuple[int | None, Mapping[str, str]]:
    """The HTTP status and headers: of `requests` (`status_code`), or of `websockets`' refused upgrade."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    headers = getattr(response, "headers", None)
    return (status if isinstance(status, int) else None), (headers if headers is not None else {})


def _classify_status(status: int, retry_after: float | None) -> Failure:
    if status == 401:  # noqa: PLR2004
        return Failure("the service refused the API key (401)", fatal=True, hint=KEY_HINT)
    if status == 403:  # noqa: PLR2004
        return Failure("the API key has no right to this (403)", fatal=True, hint=KEY_HINT)
    if status == 402:  # noqa: PLR2004
        hint = "see your balance at https://console.videodb.io"
        return Failure("the account has no credit left (402)", fatal=True, hint=hint)
    if status >= 500 or status in (408, 425, 429):  # noqa: PLR2004
        return Failure(f"the service answered {status}", retry_after=retry_after)
    return Failure(f"the service refused the request ({status})", fatal=True, hint=ADDRESS_HINT)


def _retry_after(headers: Any, now: datetime) -> float | None:  # noqa: ANN401 - of either library
    # Beside asyncio's, its imports are the dearest of this package.
    from email.utils import parsedate_to_datetime

    # websockets refuses to choose between two headers of a name, requests has joined them.
    values = headers.get_all("Retry-After") if hasattr(headers, "get_all") else [headers.get("Retry-After")]
    value = str(next(iter(values), None) or "")
    try:
        seconds = float(value.partition(",")[0])
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
        except (ValueError, OverflowError, TypeError, IndexError):
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else None


def _describe(chain: list[BaseException]) -> str:
    """The innermost cause that says something: `[Errno 111] Connection refused` and not its wrappings."""
    import socket

    for error in chain:
        if isinstance(error, socket.gaierror):
            return f"the service's name cannot be resolved: {error.strerror}"
    for error in chain:
        if isinstance(error, OSError) and error.strerror:
            return f"no connection: {error.strerror}"
    if any(isinstance(error, TimeoutError) or "Timeout" in type(error).__name__ for error in chain):
        return "no answer in time"
    text = str(chain[0]).strip() or type(chain[0]).__name__
    # The WebSocket's address is as good as a key to the connection.
    return re.sub(r"\bwss?://\S+", "the WebSocket's address", text.splitlines()[0][:200])


def persist(
    call: Callable[[], _Answer],
    seconds: float,
    *,
    pause: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> _Answer:
    """Makes a call again while it fails for a reason that passes, and time is left.

    Args:
        call: raises ServiceUnreachableError for such a reason; the next attempt waits for at least its
            `retry_after`.
        seconds: after these nothing is begun any more. The last error is raised as soon as the wait for the
            next attempt would not end before.
        pause: waits so many seconds; what it answers ends the waiting if it is true, as `Event.wait` does.
        clock: seconds that only go forward.
    """
    deadline, backoff = clock() + seconds, Backoff(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
    while True:
        try:
            return call()
        except ServiceUnreachableError as error:
            wait = backoff.next(error.retry_after)
            if clock() + wait >= deadline or pause(wait):
                raise


def refusal(
    what: str, error: Exception, api_key: str
) -> InputError | ServiceRefusedError | ServiceUnreachableError:
    """The error to raise for one that came out of a call of the SDK, or out of reading its answer.

    Args:
        what: what could not be done, as it goes on after "could not".
        error: what was raised; an InputError stays what it is.
        api_key: to be kept out of what is said.
    """
    if isinstance(error, InputError):
        return error
    if isinstance(error, AttributeError | KeyError | TypeError | IndexError):
        # The SDK takes for granted what an answer holds, even one that refuses.
        answered = next((cause for cause in _causes(error) if _answer_of(cause)[0] is not None), None)
        if not isinstance(answered, Exception):
            return ServiceUnreachableError(f"could not {what}: the service's answer makes no sense")
        error = answered
    failure = classify(error, datetime.now(UTC))
    status, _ = _answer_of(error)
    known = status in (None, 401, 402, 403)
    reason = failure.message if known and failure.fatal else _own_words(error, api_key) or failure.message
    if failure.fatal:
        # The service's own words name the argument that it did not like; our hint would be about the address.
        return ServiceRefusedError(
            f"could not {what}: {reason}", failure.hint if known else "", status=status
        )
    return ServiceUnreachableError(
        f"could not {what}: {failure.message if status is None or status >= 400 else reason}",  # noqa: PLR2004
        _TRY_AGAIN_HINT,
        retry_after=failure.retry_after,
    )


def _own_words(error: Exception, api_key: str) -> str:
    """What the service says of its refusal, in one line, without the key that it may repeat."""
    from videodb.exceptions import VideodbError

    if not isinstance(error, VideodbError):
        return ""
    text = " ".join(str(error).split()).removeprefix("Invalid request:").removeprefix("Error:").strip()
    # The SDK's own words for an answer without any.
    return "" if text in ("None", "Unknown error") else text.replace(api_key, "…")[:_LONGEST_REASON]
