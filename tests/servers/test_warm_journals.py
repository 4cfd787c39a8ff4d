"""Journals that a server keeps open: a database for many searches, and another one before it grows."""

import contextlib
import json
from datetime import UTC

import pytest

from vdbevents.query.filters import Filters
from vdbevents.query.merge import HostJournal
from vdbevents.servers import warm_journals
from vdbevents.servers.warm_journals import WarmJournals

# Regular expressions are left to the database.
FILTERS = Filters(grep=("s.id",), extended=True)


@pytest.fixture
def journals(tmp_path, monkeypatch):
    monkeypatch.setattr(warm_journals, "_MOST_SEARCHES", 3)
    path = tmp_path / "videodb_events.jsonl"
    path.write_text(json.dumps({"unix_ts": 1.0, "channel": "transcript", "data": {"text": "said"}}) + "\n")
    found = [HostJournal("", path, "journal")]
    with WarmJournals(lambda: contextlib.nullcontext(found), list, UTC) as warm:
        yield warm


def matches(journals):
    with journals.search_rows(FILTERS) as answer:
        return sum(len(batch) for batch in answer.lines())


def test_a_database_answers_some_searches_and_then_another_one_does(journals):
    used = []
    for _ in range(7):
        assert matches(journals) == 1
        used.append(journals._database)

    assert [len(set(map(id, used[:count]))) for count in (3, 4, 6, 7)] == [1, 2, 2, 3]
    # The last one is closed by the next search.
    assert len(journals._retired) == 1
    assert not used[0].scratch.exists()


def test_a_search_that_is_still_read_keeps_its_database(journals):
    with journals.search_rows(FILTERS) as kept:
        for _ in range(8):
            assert matches(journals) == 1

        assert sum(len(batch) for batch in kept.lines()) == 1


def test_the_end_closes_all_of_them(journals):
    with journals.search_rows(FILTERS):
        for _ in range(4):
            matches(journals)
        databases = [*journals._retired, journals._database]

        journals.close()
        journals.close()

    assert len(databases) > 1
    assert not any(one.scratch.exists() for one in databases)
