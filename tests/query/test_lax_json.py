"""NaN, infinity and commas before a bracket: unreadable and counted in every reader, as in JSON's own."""

import json
import re

import pytest
from support.databases import search
from support.random_journals import AT, said

from vdbevents.events.envelope import parse_line
from vdbevents.query.cache import build
from vdbevents.query.filters import Filters
from vdbevents.query.sieve import Sieve
from vdbevents.query.sql.sandbox import SqlTables

HEAD = (
    '{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"channel":"transcript","data":{"text":"found"'
)
REFUSED = [
    *(f'{HEAD},"score":{number}}}}}' for number in ("NaN", "nan", "-NaN", "Infinity", "-inf", "INF")),
    f'{HEAD},"start":NaN,"end":5}}}}',
    f"{HEAD},}}}}",
    f"{HEAD}}} , }}",
    f'{HEAD},"list":[1,2 ,\t] }}}}',
    f'{HEAD},"text":"a \\" NaN", "score": NaN}}}}',
]
TAKEN = [
    said("found", AT),
    *(
        f'{HEAD},"note":{json.dumps(text)}}}}}'
        for text in ("NaN", ",}", "a ,] inf", 'quoted " NaN " here,}', "\\", '\\",}', "info: nano")
    ),
    f'{HEAD},"infinite":true,"nan":null}}}}',
]


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(f"{line}\n" for line in REFUSED + TAKEN))
    return path


def test_the_cases_are_those_of_json_itself():
    assert [parse_line(line.encode()) for line in REFUSED] == [None] * len(REFUSED)
    assert None not in [parse_line(line.encode()) for line in TAKEN]


@pytest.mark.parametrize("asked", [{}, {"grep": ("found",)}, {"interim": True, "around_ms": 5}])
def test_what_only_duckdb_takes_for_json_is_unreadable_in_a_search(journal, tmp_path, asked):
    cache = build.seal(journal, tmp_path / "cache", to_end=True)
    assert cache.end == journal.stat().st_size
    for sealed in (None, cache):
        with search(journal, Filters(**asked), sealed) as answer:
            lines = [line for batch in answer.lines() for line in batch]
            assert (sorted(lines), answer.skipped) == (sorted(TAKEN), len(REFUSED))


def test_it_is_unreadable_in_sql_and_to_a_follower(journal):
    with SqlTables(journal) as tables:
        assert list(tables.ask("SELECT count(*) FROM events").batches()) == [[(str(len(TAKEN)),)]]
        assert tables.skipped == len(REFUSED)
    with Sieve(Filters(grep=("found",)), ("text",)) as sieve:
        events, unreadable = sieve.sift(journal.read_bytes().splitlines(keepends=True))
    assert (len(events), unreadable) == (len(TAKEN), len(REFUSED))
    assert all(re.search("found", event.text) for event in events)
