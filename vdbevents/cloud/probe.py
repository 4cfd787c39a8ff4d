"""Ask the API whether it answers, and accepts a key, without creating anything."""

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from vdbevents.cloud.retry import Failure, classify
from vdbevents.errors import VdbeventsError

# It lists capture sessions: the least that a recording needs a right for.
_LIST_SESSIONS = "/collection/default/capture/session"


class Probe(NamedTuple):
    """The API's answer to one request.

    Attributes:
        failure: why there is no good answer; None if there is one.
        status: the HTTP status; None without an answer.
        seconds: how long it took.
        clock_seconds: how far this machine's clock is ahead of the API's, to about a second; None if unknown.
    """

    failure: Failure | None
    status: int | None
    seconds: float
    clock_seconds: float | None


def probe(base_url: str, api_key: str, seconds: float) -> Probe:
    """Send one request, within a time limit; without a key, one that needs none."""
    import requests

    from vdbevents.cloud.transport import ServiceAdapter

    began, clock = time.time(), time.monotonic()
    with requests.Session() as session:
        adapter = ServiceAdapter(base_url, seconds, api_key)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        url = base_url + (_LIST_SESSIONS if api_key else "/")
        try:
            answer = session.get(url, headers={"x-access-token": api_key} if api_key else {}, timeout=seconds)
        except VdbeventsError as error:
            failure = Failure(error.message, hint=error.hint, error_id=error.error_id)
            return Probe(failure, None, time.monotonic() - clock, None)
        except Exception as error:  # noqa: BLE001 - `classify` takes any
            return Probe(classify(error, datetime.now(UTC)), None, time.monotonic() - clock, None)
    took = time.monotonic() - clock
    refusal = None
    if answer.status_code >= 400:  # noqa: PLR2004 - HTTP's errors
        refusal = classify(requests.HTTPError(response=answer), datetime.now(UTC))
    return Probe(refusal, answer.status_code, took, _ahead(answer.headers.get("Date"), began + took / 2))


def _ahead(date: str | None, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # The header has whole seconds, cut.
    return now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - 0.5
