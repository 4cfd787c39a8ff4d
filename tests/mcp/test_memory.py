"""A server that answers for days keeps its memory."""

import collections
import itertools
import sys

import anyio
import psutil
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from support.patience import patient
from support.recorded_day import write_day

END_MS = 1_772_450_000_000
USUAL = [
    ("search_events", {"words": "the"}),
    ("recording_status", {}),
    ("search_events", {"regex": "a.*b", "max_tokens": 400}),
    ("wait_for", {"seconds": 0}),
    ("search_events", {"words": 5, "no": "such"}),
    ("search_events", {"regex": "("}),
]
# They take several times as long.
RARE = [
    ("list_sessions", {}),
    ("get_transcript", {"max_tokens": 400}),
    ("get_context", {"words": "the", "moments": 1}),
    ("get_stats", {"by": "source"}),
    ("summarize_window", {"session": "last"}),
]
CALLS = [*USUAL * 5, *RARE]


def mebibytes_at(marks, journal, environ, calls=CALLS):
    """Return the memory of a server, in MiB, after each of some numbers of calls.

    It is the least of each round of calls: a search takes and returns ten or twenty.
    """
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "vdbevents", "mcp", str(journal.parent)], env=environ
    )

    async def run():
        found, coming = [], itertools.cycle(calls)
        round_of_calls = collections.deque(maxlen=len(calls))
        async with Client(parameters) as client:
            [server] = [child for child in psutil.Process().children() if "mcp" in " ".join(child.cmdline())]
            for number in range(1, max(marks) + 1):
                name, arguments = next(coming)
                # A new question each time: no answer may be kept for ever.
                bound = arguments.get("max_tokens", 400) + number % 100
                await client.call_tool(
                    name, {**arguments, "max_tokens": bound} if "search" in name else arguments
                )
                round_of_calls.append(server.memory_info().rss / (1 << 20))
                if number in marks:
                    found.append(min(round_of_calls))
        return found

    return anyio.run(run)


@pytest.fixture
def day(tmp_path):
    journal = tmp_path / "state" / "videodb_events.jsonl"
    write_day(journal, 0.1, END_MS)
    return journal, {"HOME": str(tmp_path), "TZ": "UTC", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}


@pytest.mark.long
def test_some_hundred_calls_take_no_more_memory(day):
    warm, after = mebibytes_at((len(CALLS), 4 * len(CALLS)), *day)

    assert after < warm + 30


@pytest.mark.long
def test_what_each_call_leaves_behind_is_collected_soon(day):
    # Commands collect garbage so seldom that this would take six megabytes.
    warm, after = mebibytes_at((100, 1_500), *day, calls=[("search_events", {"no": "such"})])

    assert after < warm + 2, (warm, after)


@pytest.mark.slow
@pytest.mark.timeout(patient(7200))
def test_ten_thousand_calls_take_no_more_memory(day):
    warm, _, half, _, after = found = mebibytes_at((1_000, 2_500, 5_000, 7_500, 10_000), *day)

    assert after < warm + 20, found
    assert after < half + 10, found
