"""Separate transient errors from fatal ones, explain them, and retry."""

import math
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from vdbevents.cloud.backoff import Backoff
from vdbevents.cloud.key_sources import KEY_HINT
from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError, VdbeventsError

LONGEST_RETRY_AFTER_SECONDS: Final = 3600.0
_PROXY_HINT: Final = "check the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names"
RETRY_HINT: Final = "try again, or raise --timeout"

_Answer = TypeVar("_Answer")
_UNEXPECTED_SHAPE: Final = (AttributeError, KeyError, TypeError, IndexError, RecursionError)
_LONGEST_REASON: Final = 300
_FIRST_WAIT_SECONDS: Final = 0.25
_LONGEST_WAIT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why the service cannot be used.

    Attributes:
        message: for a person; holds no secret.
        fatal: a retry will not help.
        hint: how to fix it, if known.
        retry_after: seconds that the service asked to wait, if it did.
        error_id: of the error to raise.
    """

    message: str
    fatal: bool = False
    hint: str = ""
    retry_after: float | None = None
    error_id: str = "service-unreachable"


def classify(error: BaseException, now: datetime) -> Failure:
    """Explain an error, and say whether a retry can help.

    Fatal are answers of 4xx (except 408, 425 and 429) and invalid certificates. Decided by types and by the
    answer's status, never by words in a text.

    Args:
        error: from the SDK's HTTP call, the WebSocket's handshake, or the connection.
        now: the time that a `Retry-After` date is compared with.
    """
    if isinstance(error, VdbeventsError):
        is_fatal = not isinstance(error, ServiceUnreachableError)
        return Failure(error.message, is_fatal, error.hint, error_id=error.error_id)
    error, chain = _answered(error), list(_causes(error))
    if isinstance(error, _UNEXPECTED_SHAPE):
        return Failure("unexpected answer from the service", error_id="answer-unexpected")
    certificate = next((e for e in chain if isinstance(e, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return Failure(
            f"cannot verify the service's certificate: {certificate.verify_message}",
            fatal=True,
            hint="check the system clock, the trusted authorities (SSL_CERT_FILE, REQUESTS_CA_BUNDLE), "
            "and whether a proxy intercepts the connection",
            error_id="certificate-invalid",
        )
    status, headers = _answer_of(error)
    if status is not None and status >= 400:  # noqa: PLR2004 - HTTP's errors
        return _classify_status(status, _retry_after(headers, now))
    if any(kind.__name__ == "ProxyError" for cause in chain for kind in type(cause).__mro__):
        return Failure(_describe_proxy(chain), hint=_PROXY_HINT, error_id="proxy-unusable")
    return Failure(_describe(chain))


def _answered(error: BaseException) -> BaseException:
    """Return the HTTP error behind one that comes from the shape of an answer, if there is one.

    The SDK relies on that shape, even of an answer that refuses.
    """
    if not isinstance(error, _UNEXPECTED_SHAPE):
        return error
    return next((cause for cause in _causes(error) if _answer_of(cause)[0] is not None), error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, chained or, as urllib3 does it, in attributes and arguments."""
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
    """Return the HTTP status and headers of a `requests` error, or of a refused WebSocket upgrade."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    headers = getattr(response, "headers", None)
    return (status if isinstance(status, int) else None), (headers if headers is not None else {})


def _classify_status(status: int, retry_after: float | None) -> Failure:
    if status == 429:  # noqa: PLR2004
        message = "the service limits the request rate (429)"
        return Failure(message, retry_after=retry_after, error_id="rate-limited")
    if status >= 500 or status in (408, 425):  # noqa: PLR2004
        return Failure(
            f"the service answered {status}", retry_after=retry_after, error_id="service-unavailable"
        )
    match status:
        case 401:
            failure = Failure("the service refused the API key (401)", hint=KEY_HINT, error_id="key-refused")
        case 402:
            hint = "check your balance at https://console.videodb.io"
            failure = Failure("the account has no credit left (402)", hint=hint, error_id="credit-exhausted")
        case 403:
            forbidden = "the API key has no permission for this (403)"
            failure = Failure(forbidden, hint=KEY_HINT, error_id="key-forbidden")
        case _:
            failure = Failure(
                f"the service refused the request ({status})",
                hint="check VIDEO_DB_API, the base URL of the service",
                error_id="request-refused",
            )
    return replace(failure, fatal=True)


def _retry_after(headers: Any, now: datetime) -> float | None:  # noqa: ANN401 - of either library
    # Besides asyncio, its imports are the most expensive of this package.
    from email.utils import parsedate_to_datetime

    # websockets refuses to choose between two headers of one name, requests has joined them.
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


def _describe_proxy(chain: list[BaseException]) -> str:
    """Return why the proxy did not let us through: it has refused the connection, or its answer."""
    reasons = [error.strerror or str(error) for error in chain if isinstance(error, OSError)]
    reason = reasons[-1] if reasons else str(chain[-1])
    return (
        f"cannot connect through the proxy: {reason.splitlines()[0][:200] if reason else 'no reason given'}"
    )


def _describe(chain: list[BaseException]) -> str:
    """Return the innermost cause with a reason: `Connection refused`, and not what wraps it."""
    import socket

    for error in chain:
        if isinstance(error, socket.gaierror):
            return f"cannot resolve the service's host name: {error.strerror}"
    for error in chain:
        if isinstance(error, OSError) and error.strerror:
            return f"connection failed: {error.strerror}"
    if any(isinstance(error, TimeoutError) or "Timeout" in type(error).__name__ for error in chain):
        return "no answer in time"
    text = str(chain[0]).strip() or type(chain[0]).__name__
    # The WebSocket's URL is as good as a key to the connection.
    return re.sub(r"\bwss?://\S+", "the WebSocket's URL", text.splitlines()[0][:200])


def persist(
    call: Callable[[], _Answer],
    seconds: float,
    *,
    pause: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> _Answer:
    """Return a call's result; retry while it raises ServiceUnreachableError and time is left.

    Args:
        call: what to try; the next attempt waits for at least the `retry_after` of its error.
        seconds: the time limit. The last error is raised as soon as the next wait would exceed it.
        pause: waits for so many seconds; a true result ends the attempts, as that of `Event.wait`.
        clock: monotonic seconds.
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
    what: str, error: Exception, api_key: str, missing: str = ""
) -> InputError | ServiceRefusedError | ServiceUnreachableError:
    """Return the error to raise for one that came from the SDK, or from reading its answer.

    Args:
        what: the failed action, as it continues "could not".
        error: what was raised; an InputError is returned as it is.
        api_key: kept out of the message.
        missing: what a status of 404 means not to exist, such as `session cap-1`.
    """
    if isinstance(error, InputError):
        return error
    failure = classify(error, datetime.now(UTC))
    answer = _answered(error)
    status, _ = _answer_of(answer)
    if status == 404 and missing:  # noqa: PLR2004
        return ServiceRefusedError(f"{missing} not found", error_id="session-missing", status=status)
    is_explained = status is None or failure.error_id not in ("request-refused", "service-unreachable")
    reason = failure.message if is_explained else _own_words(answer, api_key) or failure.message
    message = f"could not {what}: {reason}"
    if failure.fatal:
        # The service's own words name the argument that it refuses; our hint is about the base URL.
        hint = failure.hint if is_explained else ""
        return ServiceRefusedError(message, hint, error_id=failure.error_id, status=status)
    error_id = failure.error_id if is_explained else "answer-unexpected"
    hint = failure.hint or RETRY_HINT
    return ServiceUnreachableError(message, hint, error_id=error_id, retry_after=failure.retry_after)


def _own_words(error: BaseException, api_key: str) -> str:
    """Return the service's reason in one line, without the key that it may repeat."""
    from videodb.exceptions import VideodbError

    if not isinstance(error, VideodbError):
        return ""
    text = " ".join(str(error).split()).removeprefix("Invalid request:").removeprefix("Error:").strip()
    # The SDK's own words for an answer without any.
    return "" if text in ("None", "Unknown error") else text.replace(api_key, "…")[:_LONGEST_REASON]
