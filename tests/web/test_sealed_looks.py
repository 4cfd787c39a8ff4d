"""A look at many events counts them by parts of any length, sealed or not, each once."""

import contextlib
import json
from collections import Counter
from datetime import UTC

import pytest

from vdbevents.query.cache import build, seal_policy
from vdbevents.query.hostnames import HostJournal
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.web import timeline_state
from vdbevents.web.page_requests import AskedTime
from vdbevents.web.timeline_answers import MOST_SINGLE, timeline
from vdbevents.web.timeline_state import TimelineState

pytestmark = pytest.mark.long

NOON = 1_772_449_200_000
EVENTS, APART_MS = 1_000, 700
PIECE = 10_000


def line(number):
    at = NOON + APART_MS * number
    data = {"text": f"said {number}", "is_final": True, "start": at, "end": at + 800}
    event = {
        "unix_ts": at / 1000,
        "channel": "transcript",
        "rtstream_name": f"mic {number % 2}",
        "data": data,
    }
    return json.dumps(event, separators=(",", ":")) + "\n"


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "state" / "videodb_events.jsonl"
    path.parent.mkdir()
    return path


@pytest.fixture
def opened(journal):
    """Open the journal."""
    with contextlib.ExitStack() as stack:

        def start():
            found = [HostJournal("", journal, "journal")]
            journals = stack.enter_context(WarmJournals(lambda: contextlib.nullcontext(found), list, UTC))
            return stack.enter_context(TimelineState(journals))

        yield start


def write(journal, count):
    with journal.open("a") as sink:
        sink.writelines(map(line, range(journal.stat().st_size and 600, count)))


def seal(journal):
    build.seal(journal, seal_policy.default_root(), piece=PIECE)


def expected(first, last, since, part_ms):
    counts = Counter(
        (f"mic {n % 2}", int((NOON + APART_MS * n - since) // part_ms)) for n in range(first, last)
    )
    return dict(sorted(counts.items()))


def counted(state, since, until, parts):
    lanes = timeline(state, AskedTime(since, until), parts, NOON + 10**8)["lanes"]
    return {(lane["name"], part): count for lane in lanes for part, count in lane["counts"]}


LOOKS = {
    "all of it": (NOON, NOON + EVENTS * APART_MS, 350),
    "sealed events alone": (NOON + 7_000, NOON + 7_000 + 450 * APART_MS, 500),
    "the end": (NOON + 450 * APART_MS, NOON + EVENTS * APART_MS, 77),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_sealed_and_new_events_count_in_parts_shorter_than_a_minute(journal, opened, look):
    since, until, parts = look
    journal.touch()
    write(journal, 600)
    seal(journal)
    write(journal, EVENTS)

    found = counted(opened(), since, until, parts)

    first, last = -(-(since - NOON) // APART_MS), -(-(until - NOON) // APART_MS)
    assert last - first > MOST_SINGLE
    assert found == expected(first, last, since, (until - since) / parts)


def test_a_look_at_sealed_events_reads_only_the_pieces_that_have_them(journal, opened):
    journal.touch()
    write(journal, 600)
    seal(journal)
    write(journal, EVENTS)
    state = opened()
    state.known()
    for piece in sorted(journal.parent.parent.glob("cache/vdbevents/*/*.parquet"))[-2:]:
        piece.unlink()

    found = counted(state, NOON, NOON + 420 * APART_MS, 300)

    assert sum(found.values()) == 420


def test_what_is_sealed_between_two_looks_counts_once(journal, opened, monkeypatch):
    journal.touch()
    write(journal, 600)
    write(journal, EVENTS)
    state = opened()
    state.known()
    # The journal is as it was: only its cache has grown.
    seal(journal)
    monkeypatch.setattr(timeline_state, "_FRESH_SECONDS", 1000)

    found = counted(state, NOON, NOON + EVENTS * APART_MS, 350)

    assert found == expected(0, EVENTS, NOON, EVENTS * APART_MS / 350)


def test_the_parts_of_few_events_are_those_in_which_they_begin(journal, opened):
    journal.touch()
    write(journal, 600)
    since, until = NOON + 100 * APART_MS, NOON + 200 * APART_MS

    answer = timeline(opened(), AskedTime(since, until), 50, NOON + 10**8)

    found = {(lane["name"], part): count for lane in answer["lanes"] for part, count in lane["counts"]}
    assert len(answer["events"]) == 100
    assert found == expected(100, 200, since, (until - since) / 50)
