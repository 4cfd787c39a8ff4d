"""Lines of other programs: their times are known, and what is shown of them is searched."""

import json

import pytest
from support.databases import search

from vdbevents.query.cache import build
from vdbevents.query.filters import Filters
from vdbevents.query.sieve import Sieve
from vdbevents.times import Window

AT = 1772446530123
LINES = [
    '{"level":30,"time":1772446530123,"msg":"code up"}',
    '{"ts":"2026-03-02T10:15:31.123Z","unix_ts":1772446531123,"msg":"code 2026"}',
    '{"msg":"code of no time"}',
    '{"msg":"nothing","level":5}',
    '{"ts":"2026-03-02T10:15:32.123Z","unix_ts":1772446532.123,"data":{"text":"code said"}}',
]
WINDOW = Window(AT, AT + 3000)


@pytest.fixture(params=["unsealed", "sealed"])
def searched(request, tmp_path):
    """Searches the lines, of which all are sealed or none."""
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(f"{line}\n" for line in LINES))
    cache = None
    if request.param == "sealed":
        cache = build.seal(journal, tmp_path / "cache", to_end=True)
        assert cache.end == journal.stat().st_size

    def found(**asked):
        with search(journal, Filters(**asked), cache) as answer:
            lines = [LINES.index(line) for batch in answer.lines() for line in batch]
            return lines, answer.untimed

    return found


@pytest.mark.parametrize(
    ("asked", "found", "untimed"),
    [
        ({}, [2, 3, 0, 1, 4], 0),
        ({"window": WINDOW}, [0, 1, 4], 2),
        ({"window": WINDOW, "grep": ("code",)}, [0, 1, 4], 1),
        ({"window": Window(AT + 500, None), "grep": ("code",), "interim": True}, [1, 4], 1),
        ({"window": WINDOW, "by_event": True}, [0, 1, 4], 2),
        ({"window": WINDOW, "where": "text IS NOT NULL"}, [4], 0),
        ({"grep": ("code",)}, [2, 0, 1, 4], 0),
        ({"grep": ("level",), "none_of": ("30",)}, [3], 0),
        # The time of receipt is not shown as a part of the line.
        ({"grep": ("2026",)}, [1], 0),
        ({"grep": ("msg.*up",), "extended": True}, [0], 0),
    ],
)
def test_what_is_shown_of_a_line_is_searched_and_events_without_a_time_are_counted(
    searched, asked, found, untimed
):
    assert searched(**asked) == (found, untimed)


def test_a_follower_searches_what_is_shown_of_a_line():
    with Sieve(Filters(grep=("2026",)), ()) as sieve:
        events, unreadable = sieve.sift([line.encode() + b"\n" for line in LINES])
    assert ([json.loads(event.line)["msg"] for event in events], unreadable) == (["code 2026"], 0)
