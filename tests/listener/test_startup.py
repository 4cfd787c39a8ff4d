"""A run goes on with the counts of the last one, whatever became of the journal's file meanwhile."""

import json

import pytest
from support.journals import AT, open_journal

from vdbevents import cloud
from vdbevents.events import envelope, gaps
from vdbevents.journal import files, rewrite
from vdbevents.journal.state import StateDirectory
from vdbevents.listener import listener_options, protocol, startup

GAP = gaps.Gap("gap-1", AT, AT + 1000, "closed")


@pytest.fixture
def state(tmp_path):
    directory = StateDirectory(tmp_path / "state")
    directory.create()
    return directory


def said(number, channel="transcript"):
    return envelope.envelop(json.dumps({"channel": channel, "n": number}).encode(), AT + number).line


def status_after(state, **channels):
    """Write the status of a run that has counted all of the journal."""
    found = state.journal.stat()
    counts = {name: {"count": count, "last": envelope.utc_text(AT)} for name, count in channels.items()}
    status = {
        "state": "stopped",
        "events": {"since": envelope.utc_text(AT), "channels": counts},
        "gaps": 1,
        "unrecovered": 1,
        "dropped": 0,
        "open_gaps": [GAP.data()],
        "journal_bytes": found.st_size,
        "journal_head": state.journal.read_bytes()[:64].decode("latin-1"),
        "journal_inode": found.st_ino,
    }
    files.replace_file(state.listener_status, json.dumps(status).encode())


def counts_of(state):
    credentials = cloud.Credentials("sk-x", "http://127.0.0.1:1")
    options = listener_options.ListenerOptions(state, credentials, protocol.ConnectionSettings())
    return startup.prepare(options, open_journal(state)).counts


@pytest.mark.parametrize("dropped", [[0, 1, 2], [7], range(10)])
def test_a_rewritten_journal_is_counted_from_where_the_last_run_ended(state, dropped):
    opened = open_journal(state)
    opened.append([envelope.own_record(gaps.EVENT, GAP.data(), AT).line, *map(said, range(10))])
    # More than there are: some were removed before.
    status_after(state, transcript=1000)

    def change(line):
        return None if json.loads(line).get("n") in dropped else line

    for _ in range(2):
        with rewrite.rewriting(state):
            rewrite.rewrite_journal(
                state, change, lambda _: rewrite.OwnMark("journal.pruned", {}), clock_ms=lambda: AT
            )
        opened.append([said(10), said(11, "alert"), said(0)])
    counts = counts_of(state)

    assert {name: count.count for name, count in counts.channels.items()} == {
        "transcript": 1000 + (3 if 0 in dropped else 4),
        "alert": 2,
    }
    assert counts.open_gaps == {GAP.id: GAP}
    assert (counts.gaps, counts.unrecovered) == (1, 1)
