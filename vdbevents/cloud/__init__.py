"""VideoDB's API for capture: the only package that imports `videodb`.

The SDK blocks for up to 30 s in each call, retries by itself, and turns most errors into one
(`InvalidRequestError`). Here each call is made once, in a thread with a time limit, and `classify` decides
whether a retry can fix an error.
"""

from vdbevents.cloud.account import Account, CloudSession, Export, Index, Page, Shot, Token, export_from
from vdbevents.cloud.backend_client import BackendClient, BackendSession
from vdbevents.cloud.capture_client import capture_client, find_runtime
from vdbevents.cloud.connection import (
    Credentials,
    DaemonThreads,
    base_url_from,
    credentials_from,
    is_loopback,
    load_sdk,
    shown_address,
    websocket_url,
)
from vdbevents.cloud.key_sources import find_key
from vdbevents.cloud.proxies import Proxy, proxy_for
from vdbevents.cloud.retry import Failure, classify, persist
from vdbevents.cloud.scrub import without_secret

__all__ = [
    "Account",
    "BackendClient",
    "BackendSession",
    "CloudSession",
    "Credentials",
    "DaemonThreads",
    "Export",
    "Failure",
    "Index",
    "Page",
    "Proxy",
    "Shot",
    "Token",
    "base_url_from",
    "capture_client",
    "classify",
    "credentials_from",
    "export_from",
    "find_key",
    "find_runtime",
    "is_loopback",
    "load_sdk",
    "persist",
    "proxy_for",
    "shown_address",
    "websocket_url",
    "without_secret",
]
