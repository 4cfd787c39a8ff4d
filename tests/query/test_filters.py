"""What filters take: numbers of events that no journal has, and names that do not exist."""

import pytest

import vdbevents
from vdbevents.errors import InputError
from vdbevents.query.filters import Filters


def test_a_number_of_events_that_no_journal_has_stands_for_all(tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"data":{"text":"x"}}\n')
    with vdbevents.open(journal).query(limit=10**20) as found:
        assert len(found) == 1
    with vdbevents.open(journal).query(limit=10**20, offset=10**20) as found:
        assert len(found) == 0


@pytest.mark.parametrize(
    ("arguments", "error_id"),
    [
        ({"limit": -1}, "limit-invalid"),
        ({"offset": -1}, "limit-invalid"),
        ({"source": "bogus"}, "source-invalid"),
        ({"source": ["mic", "Screen"]}, "source-invalid"),
        ({"by": "sent"}, "time-basis-invalid"),
        *(
            ({name: "\udcff"}, "filter-not-utf8")
            for name in ("session", "speaker", "window", "channel", "where")
        ),
        *(({name: ["mic", "\udcff"]}, "filter-not-utf8") for name in ("label", "stream", "event")),
    ],
)
def test_in_python_what_does_not_exist_is_refused(tmp_path, arguments, error_id):
    (tmp_path / "journal.jsonl").write_bytes(b"")
    with pytest.raises(InputError) as refused:
        vdbevents.open(tmp_path / "journal.jsonl").query(**arguments)
    assert refused.value.error_id == error_id
    assert Filters(limit=0).limit == 0
