"""The watch over a query whose process cannot fork; tests/e2e/test_endings.py has the other."""

import os
import threading

import pytest
from support.patience import PATIENCE

from vdbevents.query.sql.guard import Limits, guarded, memory_of

MUCH = 1 << 40


@pytest.mark.parametrize(
    ("limits", "error_id"),
    [(Limits(1 << 20, MUCH), "sql-memory-exceeded"), (Limits(MUCH, 999), "sql-disk-exceeded")],
)
def test_a_thread_ends_the_process_beyond_its_limits_where_it_cannot_fork(tmp_path, limits, error_id):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "copy").write_bytes(bytes(1000))
    ended, errors = threading.Event(), []

    def end(error):
        errors.append(error.error_id)
        ended.set()

    def answer(hold):
        hold(limits)
        return 3 if ended.wait(PATIENCE) else 0

    assert guarded(tmp_path, answer, end, forks=False) == 3
    assert errors == [error_id]


def test_within_its_limits_a_query_is_left_alone(tmp_path):
    errors = []

    def answer(hold):
        hold(Limits(MUCH, MUCH))
        threading.Event().wait(0.2)
        return 3

    assert guarded(tmp_path, answer, errors.append, forks=False) == 3
    assert errors == []


def test_the_memory_of_a_process_is_known_with_and_without_proc(monkeypatch):
    of_proc = memory_of(os.getpid())
    monkeypatch.setattr("vdbevents.query.sql.guard._pages", lambda *_: 0)
    of_psutil = memory_of(os.getpid())

    assert 0.5 < of_proc / of_psutil < 2
    assert memory_of(1 << 30) == 0
