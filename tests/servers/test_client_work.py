"""What is worked on for a client ends when the client leaves, and is answered otherwise."""

import contextlib
import threading

import anyio
import anyio.to_thread
import pytest
from support.patience import patient

from vdbevents.errors import InputError
from vdbevents.query.duck import (
    CancellableWork,
    SharedDatabase,
    WorkCancelledError,
    execute,
    fetched_batches,
)
from vdbevents.servers.client_work import work_for_client

ENDLESS = "SELECT sum(sqrt(one.range + other.range)) FROM range(10000000) one, range(10000000) other"


class Client:
    """Waits for an answer, until it leaves."""

    def __init__(self):
        self.leaves = threading.Event()

    async def receive(self):
        await anyio.to_thread.run_sync(self.leaves.wait, abandon_on_cancel=True)
        return {"type": "http.disconnect"}


@pytest.fixture
def client():
    one = Client()
    yield one
    one.leaves.set()


def answered(client, function, limiter=None):
    async def run():
        with anyio.fail_after(patient(20)):
            return await work_for_client(client.receive, function, limiter)

    return anyio.run(run)


def test_a_client_that_waits_is_answered(client):
    assert answered(client, lambda: "answer") == "answer"


def test_an_error_is_raised_as_it_is(client):
    def fail():
        raise InputError("wrong", "mend it")

    with pytest.raises(InputError, match="wrong"):
        answered(client, fail)


def searches(connection, client):
    client.leaves.set()
    execute(connection, ENDLESS).fetchall()


def reads_rows(connection, client):
    for batch in fetched_batches(connection, "SELECT range FROM range(1000000000)"):
        client.leaves.set()
        assert batch


def searches_again_and_again(connection, client):
    client.leaves.set()
    while True:
        execute(connection, "SELECT 1").fetchall()


def opens_others(connection, client):
    client.leaves.set()
    while True:
        with SharedDatabase() as database:
            database.connection(0).close()


@pytest.mark.parametrize("work", [searches, reads_rows, searches_again_and_again, opens_others])
def test_what_runs_in_the_database_ends_when_the_client_leaves(client, work):
    ended = threading.Event()

    def search():
        try:
            with (
                SharedDatabase(threads=1) as database,
                contextlib.closing(database.connection(0)) as connection,
            ):
                work(connection, client)
        finally:
            ended.set()

    assert answered(client, search) is None
    assert ended.wait(patient(5))


def test_others_are_not_interrupted(client):
    with SharedDatabase() as database, contextlib.closing(database.connection(0)) as other:

        def leave():
            client.leaves.set()
            with contextlib.closing(database.connection(0)) as connection:
                execute(connection, ENDLESS).fetchall()

        assert answered(client, leave) is None
        assert execute(other, "SELECT sum(range) FROM range(1000)").fetchall() == [(499_500,)]


def test_what_has_not_begun_does_not_begin():
    work, begun = CancellableWork(), []
    work.cancel()

    with pytest.raises(WorkCancelledError):
        work.run(lambda: begun.append(1))
    assert begun == []
