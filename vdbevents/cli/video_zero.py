"""Find where a session's video begins, so that subtitles can count from there."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vdbevents.cli.query_options import ZeroPoint
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from vdbevents.query.cache.index import Cache
    from vdbevents.query.hostnames import HostJournal


def beginning_at(beginnings: Sequence[int], first_ms: int) -> int:
    """Return the beginning of the session in which something happened: the last one until then.

    If all began later, as where a clock is wrong, it is the first one.

    Args:
        beginnings: when sessions became active, in Unix ms.
        first_ms: when it happened.

    Raises:
        InputError: no session became active.
    """
    if not beginnings:
        raise InputError(
            "--zero session: no session began in this journal",
            "leave it out: then times count from the first subtitle",
            error_id="zero-session-missing",
        )
    return max((moment for moment in beginnings if moment <= first_ms), default=min(beginnings))


def zero_of(
    zero: ZeroPoint, span: tuple[int, int] | None, journals: "Sequence[HostJournal]", *, cleared: bool
) -> int | None:
    """Return where the times of subtitles count from, in Unix ms; None for the first one's start.

    Args:
        zero: what was asked for.
        span: the first and the last start of a subtitle; None without one.
        journals: those that were searched.
        cleared: whether to search also what was cleared.

    Raises:
        InputError: no session began, or a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    if zero is ZeroPoint.FIRST or span is None:
        return None
    return beginning_at(beginnings_in(journals, cleared=cleared), span[0])


def beginnings_in(journals: "Sequence[HostJournal]", *, cleared: bool) -> list[int]:
    """Return when the sessions of journals became active, in Unix ms: the receipt of that step.

    Args:
        journals: to search, whatever the window of the answer.
        cleared: whether to search also what was cleared.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    from vdbevents.query import merge
    from vdbevents.query.cache.seal_policy import present_cache
    from vdbevents.query.filters import Filters

    def cache_of(path: Path) -> "Cache | None":
        return present_cache(path)

    asked = Filters(channels=("capture_session",), any_of=("active",))
    with merge.search(journals, asked, cache_of, cleared=cleared) as answer:
        return [
            event.time_ms
            for batch in answer.events(("time_ms", "text"))
            for event in batch
            if event.text == "active" and event.time_ms is not None
        ]
