"""Times of a `--where` condition are in the user's zone, whatever it is."""

import contextlib
import json
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from support.databases import search, shared_database

from vdbevents.errors import InputError
from vdbevents.query.condition_zone import use_zone
from vdbevents.query.filters import Filters
from vdbevents.query.sieve import Sieve

# 09:30 and 10:30 in UTC.
LINES = [json.dumps({"unix_ts": 1772443800 + 3600 * n, "channel": "alert", "text": str(n)}) for n in range(2)]


@pytest.mark.parametrize(
    ("zone", "condition", "chosen"),
    [
        (None, "hour(time) = 10", ["1"]),
        (UTC, "hour(time) = 10", ["1"]),
        (ZoneInfo("Europe/Berlin"), "hour(time) = 10", ["0"]),
        (ZoneInfo("Europe/Berlin"), "time BETWEEN '2026-03-02 10:00' AND '2026-03-02 11:00'", ["0"]),
        (ZoneInfo("Europe/Berlin"), "time > '2026-03-02T10:00Z'", ["1"]),
        (timezone(timedelta(hours=5, minutes=30)), "time::VARCHAR LIKE '%15:00%'", ["0"]),
        (timezone(-timedelta(hours=9, minutes=30)), "hour(time) = 1", ["1"]),
        (UTC, "time::DATE = '2026-03-02'", ["0", "1"]),
    ],
)
def test_times_of_a_condition_are_in_the_zone(tmp_path, zone, condition, chosen):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(LINES) + "\n")
    asked = Filters(where=condition, zone=zone)
    with search(path, asked) as answer:
        assert [event.text for batch in answer.events() for event in batch] == chosen
        assert answer.relation().fetchall()[0][0].utcoffset() == timedelta()
    with Sieve(asked, ("text",)) as sieve:
        assert [event.text for event in sieve.sift([line.encode() for line in LINES])[0]] == chosen


class Unheard(tzinfo):
    """A zone that no database has."""

    def utcoffset(self, moment):
        return timedelta(hours=moment.month % 3)

    def dst(self, _moment):
        return None

    def fromutc(self, moment):
        return moment + timedelta(hours=moment.month % 3)


def test_a_zone_that_the_database_does_not_know_is_refused_where_it_matters():
    with contextlib.closing(shared_database().connection(0)) as database:
        use_zone(database, "source = 'mic'", Unheard())
        with pytest.raises(InputError) as caught:
            use_zone(database, "hour(time) = 10", Unheard())
    assert caught.value.error_id == "zone-unknown"
