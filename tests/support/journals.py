"""Journals in a state directory, for tests of what is written to disk."""

import json

from vdbevents.events import duplicate_check
from vdbevents.journal import reader
from vdbevents.journal.append import Journal

LINE = b'{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"channel":"transcript"}\n'
AT = 1772446530123


def open_journal(state, **options):
    return Journal(state, clock_ms=lambda: AT, **options)


def lines_of(state):
    return [json.loads(line) for line in state.journal.read_bytes().splitlines()]


def append_once(state, *records):
    journal = open_journal(state)
    checks = {record.line: duplicate_check.check_delivered(record) for record in records}
    skipped = journal.append([record.line for record in records], checks)
    journal.close()
    return skipped


def follow_all(path, steps, **options):
    """The lines that come while `steps` are done, one whenever there is nothing more to read."""
    remaining = iter(steps)

    def wait():
        step = next(remaining, None)
        if step is None:
            return False
        step()
        return True

    return list(reader.follow(path, wait=wait, **options))
