"""Choose the proxy of a connection, by one rule for HTTP calls and for WebSockets.

The libraries would each read other variables, and send what is meant for this machine to a proxy
(`findings/proxy-of-http-and-websocket.sh`).
"""

import importlib.util
import ipaddress
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from vdbevents.errors import InputError

_SCHEMES: Final = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_HTTP_OF: Final = {"ws": "http", "wss": "https"}
_SOCKS_PORT: Final = 1080
_SOCKS_MODULES: Final = ("socks", "python_socks")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        url: with a scheme that both libraries know; kept out of `repr`, since it may hold a password.
        setting: what names it, such as `HTTPS_PROXY`.
    """

    url: str = field(repr=False)
    setting: str

    @property
    def address(self) -> str:
        """Its URL without user name and password, to show to a user."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for an `http`, `https`, `ws` or `wss` URL; None for a direct connection.

    `HTTP_PROXY` is for `http` and `ws`, `HTTPS_PROXY` for `https` and `wss`, `ALL_PROXY` for what has none,
    and then the system's SOCKS proxy. `NO_PROXY` makes exceptions, and this machine is always one.

    Raises:
        InputError: the proxy cannot be used.
    """
    # On Linux only the environment names proxies; on the others the look-up asks the system, too.
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies

    chosen = choose(url, getproxies())
    if chosen is None:
        return None
    from requests.utils import should_bypass_proxies

    if should_bypass_proxies(url, no_proxy=None):
        return None
    kind, address = chosen
    proxy = Proxy(normalised(address, setting := _setting(kind)), setting)
    _require_packages(proxy)
    return proxy


def choose(url: str, proxies: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the kind and the address of the proxy for a URL, from `urllib.request.getproxies`."""
    parts = urlsplit(url)
    if is_here(parts.hostname or ""):
        return None
    kinds = (_HTTP_OF.get(parts.scheme, parts.scheme), "all", "socks")
    return next(((kind, proxies[kind]) for kind in kinds if proxies.get(kind)), None)


def is_here(host: str) -> bool:
    """Return whether a host name or address leads to this machine itself."""
    if host == "localhost" or host.rstrip(".").endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    inner = getattr(address, "ipv4_mapped", None) or address
    return inner.is_loopback or inner.is_unspecified


def normalised(address: str, setting: str) -> str:
    """Return a proxy's address as both libraries understand it; they differ in what may be left out.

    Raises:
        InputError: it is not an address of a proxy.
    """
    text = address.strip()
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    # GNOME writes `socks://` for SOCKS 5. And macOS gives its SOCKS proxy as `http://`, in "socks".
    is_socks = parts.scheme == "socks" or (setting == "SOCKS_PROXY" and parts.scheme == "http")
    scheme = "socks5h" if is_socks else parts.scheme
    if not host or scheme not in _SCHEMES or parts.path not in ("", "/") or parts.query or parts.fragment:
        # Not shown: it may hold a password.
        raise InputError(
            f"{setting}: not the address of a proxy",
            "write it like http://proxy.example:3128 or socks5h://proxy.example:1080, or unset it",
            error_id="proxy-invalid",
        )
    if port is None and scheme.startswith("socks"):
        port = _SOCKS_PORT
    user, at, _ = parts.netloc.rpartition("@")
    if at and ":" not in user:
        user += ":"
    shown_host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{user}{at}{shown_host}{'' if port is None else f':{port}'}"


def _setting(kind: str) -> str:
    name = f"{kind}_proxy"
    return next((it for it in (name, name.upper()) if os.environ.get(it)), name.upper())


def _require_packages(proxy: Proxy) -> None:
    missing = [name for name in _SOCKS_MODULES if importlib.util.find_spec(name) is None]
    if proxy.url.startswith("socks") and missing:
        raise InputError(
            f"{proxy.setting}: a SOCKS proxy needs packages that are not installed, got {proxy.address}",
            "install them: pip install 'vdbevents[socks]', or use an http:// proxy",
            error_id="socks-packages-missing",
        )
