"""`vdbevents.open(lake=…)`: what recorders shipped answers in Python as their journals do."""

import operator
import os
import subprocess
import sys

import pytest
from support import random_journals as random
from support.lakes import DAY, two_recorders

import vdbevents
from vdbevents.errors import InputError

# They ship.
pytestmark = pytest.mark.long

ON_SECOND_DAY = {"since": "2026-03-03", "until": "2026-03-04"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Two recorders that shipped two days each; nobody changes them."""
    folder = tmp_path_factory.mktemp("fleet")
    return two_recorders(folder, folder / "lake")


def of_journals(fleet, **asked):
    """Return what the journals of the recorders answer, each event with its host, in the order of time."""
    newest_first = asked.get("newest_first", False)
    limit, offset = asked.pop("limit", None), asked.pop("offset", 0)
    events = []
    for recorder in sorted(fleet, key=lambda one: one.host, reverse=newest_first):
        with vdbevents.open(recorder.state.path).query(**asked) as found:
            events += [{"host": recorder.host, **event} for event in found]
    events.sort(key=operator.itemgetter("time"), reverse=newest_first)
    events = events[offset:] if newest_first else events[: len(events) - offset]
    if limit is None:
        return events
    return events[:limit] if newest_first else events[-limit:]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"grep": "invoice", **ON_SECOND_DAY},
        {"channel": "transcript", "interim": True},
        {"limit": 5},
        {"limit": 3, "offset": 4, "newest_first": True},
        {"newest_first": True},
        {"where": "speaker = 'Ada'", "any_of": ["release", "nobody"]},
        {"session": ["cap-0-1", "cap-1-1"]},
        {"recorder": True, "not_channel": "transcript"},
    ],
    ids=str,
)
def test_a_lake_answers_as_the_journals_of_its_recorders(fleet, asked):
    expected = of_journals(fleet, **asked)

    with vdbevents.open(lake=fleet[0].lake).query(**asked) as found:
        assert list(found) == expected
        assert len(found) == len(expected)
        assert sum(1 for _ in found.lines()) == len(expected)
        assert found.arrow().to_pylist() == expected
        assert found.df()["host"].tolist() == [event["host"] for event in expected]
        counted = "SELECT host, text FROM found WHERE text IS NOT NULL ORDER BY ALL"
        texts = [(event["host"], event["text"]) for event in expected if event["text"] is not None]
        assert [tuple(row.values()) for row in found.sql(counted)] == sorted(texts)
    assert expected


def test_what_is_not_found_is_an_empty_table_with_all_columns(fleet):
    lake = vdbevents.open(lake=fleet[0].lake)

    with lake.query(grep="nobody said this") as found, lake.query() as everything:
        assert found.arrow().schema == everything.arrow().schema
        assert (len(found), list(found)) == (0, [])


def test_events_around_a_match_are_those_of_its_host(fleet):
    with vdbevents.open(lake=fleet[0].lake).query(grep="release", around="1s", **ON_SECOND_DAY) as found:
        assert [event["host"] for event in found if event["text"] == "a release"] == ["desk", "laptop"]
        assert found.arrow().to_pylist() == list(found)


def test_a_host_is_chosen_and_says_what_it_lacks(fleet):
    lake = vdbevents.open(lake=fleet[0].lake, host="laptop")

    with lake.query() as found:
        assert {event["host"] for event in found} == {"laptop"}
        assert [gap.id for gap in found.gaps] == ["gap-1-0", "gap-1-1"]
        assert found.skipped == 2


def test_sql_has_the_views_with_the_host(fleet):
    lake = vdbevents.open(lake=fleet[0].lake)

    assert lake.sql("SELECT host, count(*) AS n FROM transcripts GROUP BY host ORDER BY host") == [
        {"host": "desk", "n": 6},
        {"host": "laptop", "n": 6},
    ]
    with pytest.raises(InputError) as raised:
        lake.sql("FROM read_text('/etc/hostname')")
    assert raised.value.error_id == "sql-not-allowed"


def test_the_next_query_sees_what_was_shipped_since(tmp_path):
    [desk, _] = two_recorders(tmp_path, tmp_path / "lake")
    lake = vdbevents.open(lake=tmp_path / "lake", host=["desk"])
    desk.at_ms = random.AT + 3 * DAY
    desk.says("something new")
    desk.ships()

    with lake.query(grep="something new") as found:
        assert [event["text"] for event in found] == ["something new"]


@pytest.mark.parametrize(
    ("arguments", "error_id"),
    [
        ({"lake": "no-such-folder"}, "lake-not-found"),
        ({"lake": "ftp://somewhere"}, "lake-address-invalid"),
        ({"lake": "a", "path": "b"}, "options-conflict"),
        ({"lake": "a", "archived": True}, "options-conflict"),
        ({"host": "laptop"}, "option-missing"),
    ],
    ids=str,
)
def test_what_is_no_lake_is_refused_when_it_is_opened(arguments, error_id, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError) as raised:
        vdbevents.open(**arguments)

    assert raised.value.error_id == error_id


def test_a_host_that_is_not_there_is_refused_when_it_is_asked(fleet):
    with pytest.raises(InputError) as raised:
        vdbevents.open(lake=fleet[0].lake, host="laptp").query()

    assert raised.value.error_id == "lake-host-unknown"


def test_a_journal_is_read_without_the_libraries_of_a_lake(fleet, tmp_path):
    program = (
        "import sys, vdbevents\n"
        "list(vdbevents.open(sys.argv[1]).query())\n"
        "print([name for name in sys.modules if name.startswith(('deltalake', 'obstore', 'vdbevents.lake'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(fleet[0].state.path)],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"
