"""One rule decides which proxy an HTTP call and a WebSocket take."""

import os
import sys

import pytest

from vdbevents import cloud
from vdbevents.cloud import proxies
from vdbevents.errors import InputError

PROXY = "http://proxy.test:3128"
ADDRESSES = ("http://service.test/", "ws://service.test/", "https://service.test/", "wss://service.test/")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "used_for"),
    [
        ("HTTP_PROXY", ADDRESSES[:2]),
        ("http_proxy", ADDRESSES[:2]),
        ("HTTPS_PROXY", ADDRESSES[2:]),
        ("ALL_PROXY", ADDRESSES),
        ("WS_PROXY", ()),
        ("WSS_PROXY", ()),
    ],
)
def test_a_call_and_a_websocket_of_one_kind_take_the_same_proxy(monkeypatch, name, used_for):
    monkeypatch.setenv(name, PROXY)

    assert tuple(url for url in ADDRESSES if cloud.proxy_for(url)) == used_for
    assert {cloud.proxy_for(url) for url in used_for} <= {cloud.Proxy(PROXY, name)}


def test_the_own_variable_of_a_scheme_wins_and_no_proxy_makes_exceptions(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://other.test:1")
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "inner.test,10.0.0.0/8")

    assert cloud.proxy_for("wss://service.test/").url == PROXY
    assert cloud.proxy_for("ws://service.test/").url == "http://other.test:1"
    for host in ("inner.test", "api.inner.test", "10.1.2.3"):
        assert cloud.proxy_for(f"wss://{host}/") is None
        assert cloud.proxy_for(f"https://{host}/") is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8800",
        "127.9.9.9",
        "localhost:80",
        "app.localhost",
        "[::1]:8800",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ],
)
def test_loopback_never_goes_to_a_proxy(monkeypatch, host):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "socks5://proxy.test:9")

    assert [cloud.proxy_for(f"{scheme}://{host}/") for scheme in ("http", "https", "ws", "wss")] == [None] * 4


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("proxy.test:3128", "http://proxy.test:3128"),
        (" HTTP://proxy.test:3128/ ", "http://proxy.test:3128"),
        ("http://ada@proxy.test", "http://ada:@proxy.test"),
        ("http://ada:se%40cret@proxy.test:1", "http://ada:se%40cret@proxy.test:1"),
        ("socks5://proxy.test", "socks5://proxy.test:1080"),
        ("socks://proxy.test:9", "socks5h://proxy.test:9"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
    ],
)
def test_a_proxy_is_written_as_both_libraries_read_it(written, used):
    assert proxies.normalised(written, "ALL_PROXY") == used


@pytest.mark.parametrize(
    "written", ["ftp://secret@proxy.test", "http://", "http://proxy.test:x", "http://p.test/pac"]
)
def test_an_unusable_proxy_is_refused_and_not_shown(monkeypatch, written):
    monkeypatch.setenv("all_proxy", written)

    with pytest.raises(InputError, match="all_proxy: ") as raised:
        cloud.proxy_for("https://service.test/")
    assert raised.value.error_id == "proxy-invalid"
    assert written not in str(raised.value)


def test_a_proxy_is_shown_without_its_password():
    proxy = cloud.Proxy("http://ada:secret@proxy.test:1", "ALL_PROXY")

    assert proxy.address == "http://proxy.test:1"
    assert "secret" not in repr(proxy)


@pytest.mark.parametrize("missing", ["socks", "python_socks"])
def test_socks_without_its_packages_names_the_extra_that_brings_them(monkeypatch, missing):
    for name in ("socks", "python_socks"):
        monkeypatch.setitem(sys.modules, name, None if name == missing else sys)
    monkeypatch.setenv("ALL_PROXY", "socks5://ada:secret@proxy.test:9")
    environ = {"VIDEO_DB_API_KEY": "sk-test-key", "VIDEO_DB_API": "https://service.test"}

    with pytest.raises(InputError, match=r"ALL_PROXY: .*, got socks5://proxy\.test:9") as raised:
        cloud.credentials_from(environ)
    assert raised.value.error_id == "socks-packages-missing"
    assert "vdbevents[socks]" in raised.value.hint
    assert cloud.credentials_from({**environ, "VIDEO_DB_API": "http://127.0.0.1:9"})
