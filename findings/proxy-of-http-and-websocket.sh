#!/usr/bin/env bash
# A client that makes an HTTP call and then opens a WebSocket to the same host, as VideoDB's SDK does, can take a proxy
# for one and not for the other. With one variable set, requests 2.34.2 and websockets 17.4 (PyPI) use it for:
#   ALL_PROXY: the HTTP call alone, never the WebSocket;    HTTPS_PROXY: ws:// too, and not http://;
#   HTTP_PROXY: ws://, but not wss://;                      SOCKS_PROXY, WS_PROXY, WSS_PROXY: the WebSocket alone.
# And loopback goes through a proxy in both, unless NO_PROXY names it.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check requests==2.34.2 websockets==17.4
seen=$("$dir/venv/bin/python" - <<'PYTHON'
import os

from requests.utils import get_environ_proxies, select_proxy
from websockets.proxy import get_proxy
from websockets.uri import parse_uri


def uses(scheme, host):
    address = f"{scheme}://{host}/"
    if scheme.startswith("ws"):
        return get_proxy(parse_uri(address)) is not None
    return select_proxy(address, get_environ_proxies(address)) is not None


def show(name, host="service.test"):
    for other in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[other]
    os.environ[name] = "http://proxy.test:3128"
    print(name, host, *(scheme for scheme in ("http", "ws", "https", "wss") if uses(scheme, host)))


for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SOCKS_PROXY", "WS_PROXY", "WSS_PROXY"):
    show(name)
show("HTTP_PROXY", "127.0.0.1:8800")
show("HTTPS_PROXY", "localhost:8800")
PYTHON
)
echo "$seen"
[ "$seen" = "HTTP_PROXY service.test http ws
HTTPS_PROXY service.test ws https wss
ALL_PROXY service.test http https
SOCKS_PROXY service.test ws wss
WS_PROXY service.test ws
WSS_PROXY service.test wss
HTTP_PROXY 127.0.0.1:8800 http ws
HTTPS_PROXY localhost:8800 ws https wss" ]
