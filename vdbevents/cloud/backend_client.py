"""Get sessions from a backend that holds the API key, by `POST …/init-session`.

The backend is an unknown server: its answers are limited and checked, and the token that it asks for goes to
its address alone, over TLS or within this machine.
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
from vdbevents.cloud.retry import RETRY_HINT, classify
from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError

_AUTHORIZE_HINT: Final = (
    "show the token on the backend's machine with: vdbevents backend --show-token; then "
    "export VDBEVENTS_BACKEND_TOKEN=…, or name a file that holds it with --backend-token-file"
)
_ADDRESS_HINT: Final = "give the backend's URL, such as https://backend.example or http://127.0.0.1:5002"

_LONGEST_ANSWER: Final = 64 << 10
_LONGEST_TOKEN: Final = 4096
_LONGEST_ID: Final = 256
_LONGEST_REASON: Final = 300
_PIECE: Final = 4096
_REDIRECTS: Final = 300
_ERRORS: Final = 400


class BackendSession(NamedTuple):
    """A session that a backend created, and the client token to record it with."""

    session_id: str
    token: Token


@dataclass(frozen=True, slots=True)
class BackendClient:
    """A client of a backend; each call is made once, with a time limit.

    Attributes:
        url: the backend's URL, without `/init-session`.
        token: the backend's bearer token, or empty; kept out of `repr`.
        seconds: the time limit of each call.

    Raises:
        InputError: the URL or the token is malformed, or the token would be readable on the network.
    """

    url: str
    token: str = field(repr=False)
    seconds: float

    def __post_init__(self) -> None:
        _check_url(self.url)
        if self.token and not _is_word(self.token, _LONGEST_TOKEN):
            raise InputError(
                "the backend's token has spaces, control or non-ASCII characters, or is too long",
                _AUTHORIZE_HINT,
                error_id="backend-token-invalid",
            )

    @property
    def address(self) -> str:
        """Return the URL to show to a user."""
        return shown_address(self.url)

    def init_session(self) -> BackendSession:
        """Create a session.

        Raises:
            ServiceRefusedError: the answer is final.
            ServiceUnreachableError: any other failure.
        """
        future = THREADS.submit(self._ask)
        try:
            session: BackendSession = future.result(self.seconds)
        except (ServiceRefusedError, ServiceUnreachableError):
            raise
        except Exception as error:
            failure = classify(error, datetime.now(UTC))
            message = f"{self._failed}: {failure.message}"
            if failure.fatal:
                raise ServiceRefusedError(message, failure.hint, error_id=failure.error_id) from error
            hint = "check that the backend runs and that this is its URL, or raise --timeout"
            raise ServiceUnreachableError(message, hint, error_id="backend-unreachable") from error
        return session

    @property
    def _failed(self) -> str:
        return f"could not get a session from the backend at {self.address}"

    def _ask(self) -> BackendSession:
        import requests

        from vdbevents.cloud.transport import ServiceAdapter

        with requests.Session() as session:
            adapter = ServiceAdapter(self.url, self.seconds)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            # As `auth`, so that no password of a .netrc replaces it.
            session.auth = self._authorize
            headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "vdbevents"}
            with session.post(
                f"{self.url.rstrip('/')}/init-session",
                headers=headers,
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
        """Return the JSON object in an answer; empty if there is none, or the answer is too long."""
        body, deadline = b"", time.monotonic() + self.seconds
        while len(body) <= _LONGEST_ANSWER:
            # At once, also when it comes byte by byte.
            piece = response.raw.read1(_PIECE, decode_content=False)
            if not piece:
                with contextlib.suppress(ValueError, RecursionError):
                    content = json.loads(body)
                    return content if isinstance(content, dict) else {}
                return {}
            body += piece
            if time.monotonic() > deadline:
                raise TimeoutError
        return {}

    def _session_in(self, answer: Mapping[str, Any]) -> BackendSession:
        session_id, token = answer.get("session_id"), answer.get("token")
        if not (_is_word(session_id, _LONGEST_ID) and _is_word(token, _LONGEST_TOKEN)):
            raise ServiceRefusedError(
                f"{self._failed}: its answer has no session_id and token",
                _ADDRESS_HINT,
                error_id="backend-answer-unexpected",
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
            problem = "refuses the token" if self.token else "requires a token, and none is set"
            return ServiceRefusedError(
                f"the backend {problem} ({status}){reason}",
                _AUTHORIZE_HINT,
                error_id="backend-token-refused" if self.token else "backend-token-missing",
                status=status,
            )
        if status < _ERRORS:
            return ServiceRefusedError(
                f"the backend redirects ({status}): the token is not sent to another address",
                _ADDRESS_HINT,
                error_id="backend-redirects",
                status=status,
            )
        failure = classify(requests.HTTPError(response=response), datetime.now(UTC))
        message = f"{self._failed}: it answered {status}{reason}"
        if failure.fatal:
            hint = _ADDRESS_HINT if status in (404, 405, 410) else ""
            return ServiceRefusedError(message, hint, error_id="backend-refused", status=status)
        return ServiceUnreachableError(
            message, RETRY_HINT, error_id="backend-unavailable", retry_after=failure.retry_after
        )

    def _own_words(self, answer: Mapping[str, Any]) -> str:
        """Return the backend's reason in one line, without the token that it may repeat."""
        error = answer.get("error")
        text = " ".join(error.split()) if isinstance(error, str) else ""
        return (text.replace(self.token, "…") if self.token else text)[:_LONGEST_REASON]


def _check_url(url: str) -> None:
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
        raise InputError(
            "--backend: not an http:// or https:// URL", _ADDRESS_HINT, error_id="backend-url-invalid"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            "--backend: the URL must not have a user name, query or fragment",
            f"{_ADDRESS_HINT}; {_AUTHORIZE_HINT}",
            error_id="backend-url-with-secret",
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise InputError(
            f"--backend: http:// to another machine is readable on the network, got http://{host}",
            f"use https://{host}…, or a tunnel from this machine: ssh -L 5002:127.0.0.1:5002 {host}, and "
            "--backend http://127.0.0.1:5002",
            error_id="backend-url-unencrypted",
        )


def _is_word(value: object, longest: int) -> bool:
    """Return whether a value is a text that fits into a header, on one line, and into a message."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= longest
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )
