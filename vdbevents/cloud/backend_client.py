"""A backend that holds the API key: it makes sessions for clients that have none, by `POST …/init-session`.

It is a stranger's server, as far as this module knows: what it answers is bounded and looked at, and the
token that it wants goes to its address alone, over TLS or within this machine.
"""

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from vdbevents.cloud.account import Token
from vdbevents.cloud.connection import THREADS, is_loopback, shown_address
from vdbevents.cloud.retry import classify
from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError

_HOW_TO_AUTHORIZE: Final = (
    "the backend's machine shows it with: vdbevents backend --show-token; set it: "
    "export VDBEVENTS_BACKEND_TOKEN=…, or name a file that holds it with --backend-token-file"
)
_ADDRESS_HINT: Final = (
    "give the backend's own address, such as https://backend.example or http://127.0.0.1:5002"
)
_WHAT: Final = "get a session from the backend"

_LONGEST_ANSWER: Final = 64 << 10
_LONGEST_TOKEN: Final = 4096
_LONGEST_ID: Final = 256
_LONGEST_REASON: Final = 300
_PIECE: Final = 4096
_REDIRECTS: Final = 300
_ERRORS: Final = 400


class BackendSession(NamedTuple):
    """What a backend has made: the session's id, and the runtime's token for it."""

    session_id: str
    token: Token


@dataclass(frozen=True, slots=True)
class BackendClient:
    """A backend, each call of which is made once, with a time limit.

    Attributes:
        url: its address, which is held against the rules when this is made; `/init-session` is below it.
        token: what it wants to be shown, or empty. Kept out of `repr`.
        seconds: the time limit of each call.

    Raises:
        InputError: the address or the token cannot be used, or the token would be readable on its way.
    """

    url: str
    token: str = field(repr=False)
    seconds: float

    def __post_init__(self) -> None:
        _check_address(self.url)
        if self.token and not _is_word(self.token, _LONGEST_TOKEN):
            raise InputError("the backend's token holds characters that no token has", _HOW_TO_AUTHORIZE)

    @property
    def address(self) -> str:
        """Where it is, for a person."""
        return shown_address(self.url)

    def init_session(self) -> BackendSession:
        """Has it make a session.

        Raises:
            ServiceRefusedError: it answers, and waiting will not change that.
            ServiceUnreachableError: for every other reason.
        """
        future = THREADS.submit(self._ask)
        try:
            made: BackendSession = future.result(self.seconds)
        except (ServiceRefusedError, ServiceUnreachableError):
            raise
        except Exception as error:
            failure = classify(error, datetime.now(UTC))
            message = f"could not {_WHAT} at {self.address}: {failure.message}"
            if failure.fatal:
                raise ServiceRefusedError(message, failure.hint) from error
            hint = "see whether it runs, and whether this is its address; --timeout gives it longer"
            raise ServiceUnreachableError(message, hint) from error
        return made

    def _ask(self) -> BackendSession:
        import requests

        with requests.Session() as session:
            # A proxy would read what is not encrypted, and the address is on this machine.
            session.trust_env = urlsplit(self.url).scheme == "https"
            # As `auth`, so that no password of a .netrc takes its place.
            session.auth = self._authorize
            headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "vdbevents"}
            with session.post(
                f"{self.url.rstrip('/')}/init-session",
                headers=headers,
                timeout=self.seconds,
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = self._read(response)
                if response.status_code >= _REDIRECTS:
                    raise self._refusal(response, answer)
                return self._session_in(answer)

    def _authorize(self, request: Any) -> Any:  # noqa: ANN401 - requests'
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        return request

    def _read(self, response: Any) -> Mapping[str, Any]:  # noqa: ANN401 - requests'
        """The JSON object of an answer; empty where it is none, or too long."""
        body, deadline = b"", time.monotonic() + self.seconds
        while len(body) <= _LONGEST_ANSWER:
            piece = response.raw.read(_PIECE)
            if not piece:
                with contextlib.suppress(ValueError, RecursionError):
                    found = json.loads(body)
                    return found if isinstance(found, dict) else {}
                return {}
            body += piece
            if time.monotonic() > deadline:
                raise TimeoutError
        return {}

    def _session_in(self, answer: Mapping[str, Any]) -> BackendSession:
        session_id, token = answer.get("session_id"), answer.get("token")
        if not (_is_word(session_id, _LONGEST_ID) and _is_word(token, _LONGEST_TOKEN)):
            raise ServiceRefusedError(
                f"could not {_WHAT}: what answers at {self.address} tells of no session and token",
                _ADDRESS_HINT,
            )
        return BackendSession(str(session_id), Token(str(token), 0))

    def _refusal(
        self,
        response: Any,  # noqa: ANN401 - requests'
        answer: Mapping[str, Any],
    ) -> ServiceRefusedError | ServiceUnreachableError:
        import requests

        status = int(response.status_code)
        words = self._own_words(answer)
        reason = f": {words}" if words else ""
        if status in (401, 403):
            known = "refuses the token" if self.token else "wants a token, and none is set"
            return ServiceRefusedError(
                f"the backend {known} ({status}){reason}", _HOW_TO_AUTHORIZE, status=status
            )
        if status < _ERRORS:
            message = f"the backend sends elsewhere ({status}), where the token must not go"
            return ServiceRefusedError(message, _ADDRESS_HINT, status=status)
        failure = classify(requests.HTTPError(response=response), datetime.now(UTC))
        message = f"could not {_WHAT} at {self.address}: it answered {status}{reason}"
        if failure.fatal:
            hint = _ADDRESS_HINT if status in (404, 405, 410) else ""
            return ServiceRefusedError(message, hint, status=status)
        return ServiceUnreachableError(
            message, "try again; --timeout gives it longer", retry_after=failure.retry_after
        )

    def _own_words(self, answer: Mapping[str, Any]) -> str:
        """What it says of its refusal, in one line, without the token that it may repeat."""
        told = answer.get("error")
        text = " ".join(told.split()) if isinstance(told, str) else ""
        return (text.replace(self.token, "…") if self.token else text)[:_LONGEST_REASON]


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if (
        parts.scheme not in ("http", "https")
        or not host
        or not (url.isascii() and url.isprintable())
        # A backslash is a part of the host for one library, and its end for another.
        or not {" ", "\\"}.isdisjoint(url)
    ):
        # Not shown: it may be the token, in the wrong place.
        raise InputError("the backend's address is no http:// or https:// address", _ADDRESS_HINT)
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            "the backend's address holds more than an address", f"{_ADDRESS_HINT}; {_HOW_TO_AUTHORIZE}"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise InputError(
            f"http://{host} is another machine: what is said there without encryption can be read on the way",
            f"use https://{host}…, or a tunnel from this machine: ssh -L 5002:127.0.0.1:5002 {host}, and "
            "--backend http://127.0.0.1:5002",
        )


def _is_word(value: object, longest: int) -> bool:
    """Whether it is a text that can stand in a header, on one line, and in a message."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= longest
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )
