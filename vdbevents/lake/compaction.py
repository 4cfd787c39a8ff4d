"""Make few large files of a closed day's many small ones, ordered so that each host is in few of them."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple

from vdbevents.lake.lake_table import lake_errors
from vdbevents.lake.table_log import TableFile
from vdbevents.lake.table_rewrite import TableRewrite

TARGET_BYTES: Final = 128 << 20
"""The size of a file that is large enough."""
LEAST_KEPT: Final = timedelta(days=2)
"""What is not in the table any more is kept at least so long: a shipper has a day for its commit."""


class CompactionOutcome(NamedTuple):
    """What a compaction did.

    Attributes:
        days: how many days had small files.
        before, after: numbers of files of these days.
        busy: days that another process changed meanwhile, which are as they were.
        deleted: how many files were deleted for good, as the table has not had them for long.
    """

    days: int = 0
    before: int = 0
    after: int = 0
    busy: int = 0
    deleted: int = 0


def chunks_of(files: Sequence[TableFile], target: int = TARGET_BYTES) -> Iterator[list[TableFile]]:
    """Yield which small files of a day become one: those of neighbouring hosts, up to a size."""
    small = [file for file in files if file.size < target // 2]
    chunk: list[TableFile] = []
    for file in sorted(small, key=lambda one: (one.hosts or ("", ""), one.path)):
        if chunk and sum(one.size for one in chunk) + file.size > target:
            if len(chunk) > 1:
                yield chunk
            chunk = []
        chunk.append(file)
    if len(chunk) > 1:
        yield chunk


def compact(
    rewrite: TableRewrite,
    keep: timedelta,
    progress: Callable[[str], None] = lambda _: None,
    now: datetime | None = None,
) -> CompactionOutcome:
    """Compact the days that are over, and delete what the table has not had for a time.

    Recorders may ship meanwhile. One process at a time should do this: of two, one does its work for nothing.

    Args:
        rewrite: of the lake.
        keep: that time.
        progress: called with each day.
        now: the time; None for that of the clock.

    Raises:
        ServiceRefusedError, ServiceUnreachableError, StorageError: it is not complete.
    """
    today = (now or datetime.now(UTC)).date().isoformat()
    done = CompactionOutcome()
    files = sorted(rewrite.refresh(), key=lambda file: file.date)
    for date, of_day in groupby(files, key=lambda file: file.date):
        chunks = list(chunks_of(list(of_day))) if date < today else []
        if chunks:
            progress(date)
            done = done._replace(days=done.days + 1)
        for chunk in chunks:
            is_done = _merge(rewrite, date, chunk)
            done = done._replace(
                before=done.before + len(chunk),
                after=done.after + (1 if is_done else len(chunk)),
                busy=done.busy + (not is_done),
            )
    if done.days:
        with lake_errors(rewrite.address):
            rewrite.table.update_incremental()
            rewrite.table.create_checkpoint()
    deleted = rewrite.vacuum(int(keep.total_seconds() // 3600), orphans=True)
    return done._replace(deleted=len(deleted))


def _merge(rewrite: TableRewrite, date: str, chunk: Sequence[TableFile]) -> bool:
    """Make one file of several; return False if another process has changed one of them."""
    paths = rewrite.local(chunk)
    merged = rewrite.written(date, f"FROM {rewrite.reading(paths)} ORDER BY host, journal, position")
    rewrite.drop_local(paths)
    return rewrite.exchange(chunk, [merged] if merged else [], data_change=False)
