"""Answer how much was said and shown: by hours or days, and by windows or apps."""

from typing import Any, Final

from vdbevents.query.filters import Filters
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.activity import By
from vdbevents.summaries.journal_answers import StatsQuestion, counted_activity
from vdbevents.web.page_requests import AskedTime

MOST_NAMES: Final = 30
"""So many windows or apps are an answer: those that were on a screen for longest."""

_MOST_ROWS: Final = 800


def statistics(journals: WarmJournals, span: AskedTime, by: By, now_ms: int) -> dict[str, Any]:
    """Return the figures of a time, in ms where they are lengths.

    Args:
        journals: the journals.
        span: the time.
        by: what to count by.
        now_ms: the present, in Unix ms.

    Returns: `rows`, each with `key`, the beginning of an hour or a day in Unix ms, or a name; `left_out`, the
        number of others; `total`.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    most = _MOST_ROWS if by.key == "quarter" else MOST_NAMES
    asked = StatsQuestion(by, most, of_sessions=False, window=span.window, zone=journals.zone, now_ms=now_ms)
    with journals.search(Filters(window=span.window, by_event=True)) as answer:
        activity = counted_activity(asked, journals.all(), answer, journals.gaps_of)
    return {
        "by": by.value,
        "rows": [{"key": row.key, "host": row.host, **row.figures._asdict()} for row in activity.rows],
        "left_out": activity.left_out,
        "total": activity.total._asdict(),
    }
