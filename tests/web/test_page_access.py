"""The page is for those who know its token, on this machine, and for no other page in their browser."""

import pytest

from vdbevents.web.page_access import PageAccess, Request

ADDRESS = "127.0.0.1:5004"
TOKEN = "k3y-that-nobody-guesses"
COOKIE = f"vdbevents-view-5004={TOKEN}"


@pytest.fixture
def access():
    return PageAccess(ADDRESS, TOKEN)


def request(path="/data/timeline", query="", method="GET", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, path, query, {"host": ADDRESS, "cookie": COOKIE, **named})


def status(access, asked):
    refusal = access.refusal(asked)
    return refusal and refusal.status


def test_the_address_that_is_printed_opens_the_page_and_leaves_a_cookie_for_this_port_alone(access):
    path, _, query = access.address.removeprefix(f"http://{ADDRESS}").partition("?")
    first = Request("GET", path, query, {"host": ADDRESS})

    assert access.opens(first)
    assert status(access, first) is None
    assert access.cookie == f"{COOKIE}; HttpOnly; SameSite=Strict; Path=/"
    assert status(access, request()) is None


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"cookie": ""}, ""),
        ({"cookie": COOKIE + "x"}, ""),
        ({"cookie": COOKIE.replace("5004", "5005")}, ""),
        ({"cookie": "a=b; c"}, ""),
        ({"cookie": ""}, "token="),
        ({"cookie": ""}, f"token={TOKEN}x"),
        ({"cookie": ""}, f"token={TOKEN}&token={TOKEN}"),
        ({"cookie": f"vdbevents-view-5004={TOKEN.upper()}"}, ""),
        ({"cookie": "vdbevents-view-5004=ü"}, ""),
    ],
)
def test_a_request_without_the_token_is_refused(access, headers, query):
    assert status(access, request("/", query, **headers)) == 401


def test_the_token_opens_the_page_itself_and_nothing_else(access):
    assert status(access, request("/data/timeline", f"token={TOKEN}", cookie="")) == 401


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1:5005"}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "https://127.0.0.1:5004"}, 403),
        ({"origin": "http://127.0.0.1:5005"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"host": "localhost:5004"}, None),
        ({"host": "LOCALHOST:5004"}, None),
        ({"origin": "http://127.0.0.1:5004", "sec_fetch_site": "same-origin"}, None),
        ({"sec_fetch_site": "none"}, None),
    ],
)
def test_other_hosts_and_other_origins_are_refused_whatever_cookie_they_bring(access, headers, expected):
    assert status(access, request(**headers)) == expected


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", ""])
def test_nothing_but_reading_is_allowed(access, method):
    assert status(access, request(method=method)) == 405


def test_a_head_is_as_good_as_a_get(access):
    assert status(access, request(method="HEAD")) is None
