"""The key, the base URL and the threads of calls."""

import asyncio
import threading
import time

import pytest
from support.patience import PATIENCE, patient
from support.processes import eventually

from vdbevents import cloud
from vdbevents.errors import InputError, ServiceRefusedError


@pytest.mark.parametrize("environ", [{}, {"VIDEO_DB_API_KEY": ""}, {"VIDEO_DB_API_KEY": "  "}])
def test_a_missing_key_says_how_to_get_and_set_one(environ):
    with pytest.raises(ServiceRefusedError) as raised:
        cloud.credentials_from(environ)
    assert raised.value.error_id == "key-missing"
    assert "console.videodb.io" in raised.value.hint


@pytest.mark.parametrize("key", ["sk-a b", "sk-é", "sk-a\nb", "sk-\x1b"])
def test_an_invalid_key_is_refused_and_not_shown(key):
    with pytest.raises(ServiceRefusedError) as raised:
        cloud.credentials_from({"VIDEO_DB_API_KEY": key})
    assert raised.value.error_id == "key-invalid"
    assert key not in raised.value.message + raised.value.hint


def test_the_base_url_has_two_names_of_which_the_first_wins():
    def url(**environ):
        return cloud.credentials_from({"VIDEO_DB_API_KEY": "sk-x", **environ}).base_url

    assert url() == "https://api.videodb.io"
    assert url(VIDEO_DB_BASE_URL="http://b/") == "http://b"
    assert url(VIDEO_DB_BASE_URL="http://b", VIDEO_DB_API="https://a") == "https://a"


def test_an_invalid_base_url_is_refused():
    with pytest.raises(InputError, match="VIDEO_DB_API") as raised:
        cloud.credentials_from({"VIDEO_DB_API_KEY": "sk-x", "VIDEO_DB_API": "api.videodb.io"})
    assert raised.value.error_id == "base-url-invalid"


def test_the_key_is_not_in_the_repr():
    assert "sk-secret" not in repr(cloud.Credentials("sk-secret"))


def test_calls_run_in_parallel_and_threads_are_reused():
    threads, meet = cloud.DaemonThreads(), threading.Barrier(3)
    together = [threads.submit(lambda: (meet.wait(PATIENCE), threading.get_ident())) for _ in range(3)]
    first = {call.result(PATIENCE)[1] for call in together}
    assert len(first) == 3
    for _ in range(100):
        # Whoever has answered may still be about to be idle.
        eventually(lambda: threads._idle._value == 3)
        assert threads.submit(threading.get_ident).result(PATIENCE) in first


def test_a_call_without_a_thread_is_not_made_later(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    threads, made = cloud.DaemonThreads(most=1), []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            threads.submit(made.append, "refused")

    threads.submit(made.append, "made").result(PATIENCE)
    assert made == ["made"]


def test_one_thread_runs_calls_in_turn():
    threads, go_on, done = cloud.DaemonThreads(most=1), threading.Event(), []
    calls = [threads.submit(go_on.wait, 20), threads.submit(lambda: 1 // 0)]
    calls += [threads.submit(lambda number=number: done.append(number)) for number in range(5)]
    assert calls[3].cancel()
    go_on.set()
    with pytest.raises(ZeroDivisionError):
        calls[1].result(20)
    calls[-1].result(20)

    assert done == [0, 2, 3, 4]
    assert len({threads.submit(threading.get_ident).result(20) for _ in range(10)}) == 1


def test_a_hanging_call_delays_nothing():
    release = threading.Event()

    async def ask():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(cloud.DaemonThreads())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await loop.run_in_executor(None, release.wait, PATIENCE)

    began = time.monotonic()
    asyncio.run(ask())
    release.set()

    assert time.monotonic() - began < patient(30)


def test_a_shown_url_has_no_password():
    assert cloud.shown_address("https://user:secret@api.example:8443/v1") == "https://api.example:8443"


def test_a_key_in_place_of_the_base_url_is_not_shown():
    with pytest.raises(InputError) as raised:
        cloud.credentials_from({"VIDEO_DB_API_KEY": "sk-x", "VIDEO_DB_API": "sk-secret"})
    assert "sk-secret" not in raised.value.message + raised.value.hint


def test_all_exported_names_are_defined_in_the_package():
    assert all(getattr(cloud, name).__module__.startswith("vdbevents.cloud.") for name in cloud.__all__)
