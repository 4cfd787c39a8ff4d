"""Send HTTP requests: through the right proxy, to one service alone, and read answers within limits."""

import time
import zlib
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import urllib3

from vdbevents.cloud.proxies import proxy_for
from vdbevents.cloud.scrub import without_secret
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError
from vdbevents.terminal import byte_size

LARGEST_ANSWER: Final = 64 << 20
_PIECE: Final = 1 << 16
_GZIP: Final = 16 + zlib.MAX_WBITS
_PORTS: Final = {"http": 80, "https": 443}


class ServiceAdapter(requests.adapters.HTTPAdapter):
    """The way to a service: each request is sent once, within a time limit, and to no other address.

    The SDK's own adapter retries 502 to 504 itself: it sleeps through `Retry-After`, then raises without the
    answer. Its calls go on for 30 s, after nobody waits for them any more. And it takes the API key along
    wherever a redirect or an answer points.
    """

    def __init__(self, base_url: str, seconds: float, secret: str = "") -> None:
        """Send nothing yet.

        Args:
            base_url: of the service; only its scheme, host and port get requests.
            seconds: the time limit of a request, its answer included.
            secret: taken out of each answer, status line included; empty: nothing is.
        """
        super().__init__(max_retries=0)
        self._base_url = base_url
        self._seconds = seconds
        self._secret = secret

    def send(self, request: Any, stream: bool = False, **options: Any) -> Any:  # type: ignore[override]  # noqa: ANN401, FBT001, FBT002
        """Send a request; with `stream`, leave the answer's body to the caller.

        Raises:
            InputError: the proxy cannot be used.
            ServiceRefusedError: the address is not the service's.
            ServiceUnreachableError: the answer is too long.
            requests.RequestException: all else.
        """
        url = str(request.url)
        if not _is_same_service(self._base_url, url):
            target = without_secret(_origin(url), self._secret)
            raise ServiceRefusedError(
                f"the service points to {target}: the key is sent to {_origin(self._base_url)} only",
                "if the service has moved there, set VIDEO_DB_API to its new address",
                error_id="service-redirects",
            )
        proxy = proxy_for(url)
        deadline = time.monotonic() + self._seconds
        if not stream:
            request.headers["Accept-Encoding"] = "gzip"
        options |= {"timeout": self._seconds, "proxies": {"all": proxy.url} if proxy else {}}
        response: Any = super().send(request, stream=True, **options)
        if not stream:
            response._content = without_secret(_body(response, deadline), self._secret)  # noqa: SLF001
            response._content_consumed = True  # noqa: SLF001 - as `Response.content` does
        if self._secret:
            response.reason = without_secret(str(response.reason or ""), self._secret)
        return response


def _body(response: Any, deadline: float) -> bytes:  # noqa: ANN401 - requests'
    """Read a body; `requests` would read on for as long as bytes come."""
    pieces, size = [], 0
    try:
        # `read1`, because a body that comes byte by byte must meet the deadline, too. And decoded afterwards:
        # compressed data without a content would be read on in there.
        while piece := response.raw.read1(_PIECE, decode_content=False):
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST_ANSWER:
                raise _too_long()
            if time.monotonic() > deadline:
                raise requests.ReadTimeout("the answer did not end in time")
        response.raw.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error
    finally:
        response.raw.close()
    return _decoded(b"".join(pieces), response.headers.get("Content-Encoding", "identity").strip().lower())


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise requests.exceptions.ContentDecodingError("an encoding that was not asked for")
    try:
        content = zlib.decompressobj(_GZIP).decompress(body, LARGEST_ANSWER + 1)
    except zlib.error as error:
        raise requests.exceptions.ContentDecodingError(error) from error
    if len(content) > LARGEST_ANSWER:
        raise _too_long()
    return content


def _too_long() -> ServiceUnreachableError:
    return ServiceUnreachableError(
        f"the service's answer is longer than {byte_size(LARGEST_ANSWER)}", error_id="answer-too-long"
    )


def _is_same_service(base_url: str, url: str) -> bool:
    ours, theirs = _place(base_url), _place(url)
    # An upgrade to TLS on the same host is not another service.
    upgraded = ("https", ours[1], _PORTS["https"])
    return theirs == ours or (ours[0] == "http" and ours[2] == _PORTS["http"] and theirs == upgraded)


def _place(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "", "", None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
