"""A search ends on the server when the page asks for another one, or is closed: its request is given up."""

import contextlib
import threading
from datetime import UTC

import anyio
import anyio.to_thread
import pytest
from support.patience import patient

from vdbevents.query.duck import SharedDatabase, execute
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.web import found_answers, view_server
from vdbevents.web.timeline_state import TimelineState
from vdbevents.web.view_server import ViewServer

ENDLESS = "SELECT sum(sqrt(one.range + other.range)) FROM range(10000000) one, range(10000000) other"


@pytest.mark.parametrize(
    ("module", "name", "address"),
    [
        (found_answers, "hits", "/data/hits?q=deploy"),
        (view_server, "write_download", "/data/download?format=md&since=0&until=1"),
    ],
    ids=["search", "download"],
)
def test_what_nobody_waits_for_is_not_done(monkeypatch, module, name, address):
    begun, ended = threading.Event(), threading.Event()

    def search(*_):
        try:
            with SharedDatabase() as database, contextlib.closing(database.connection(0)) as connection:
                begun.set()
                execute(connection, ENDLESS).fetchall()
        finally:
            ended.set()

    monkeypatch.setattr(module, name, search)
    path, _, query = address.partition("?")
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
    received = iter(["http.request"])
    sent = []

    async def receive():
        if kind := next(received, None):
            return {"type": kind, "body": b"", "more_body": False}
        await anyio.to_thread.run_sync(begun.wait)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    async def ask():
        with anyio.fail_after(patient(20)):
            await application(scope, receive, send)

    with (
        WarmJournals(lambda: contextlib.nullcontext([]), list, UTC) as journals,
        TimelineState(journals) as state,
    ):
        application = ViewServer(state, None).application()
        anyio.run(ask)

    assert ended.wait(patient(5))
    assert sent[0]["status"] == 204
