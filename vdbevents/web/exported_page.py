"""Write a time of the recording as one page that a browser shows without a server."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from vdbevents.query import collapse
from vdbevents.query.cache.lane_minutes import MINUTE_MS
from vdbevents.query.collapse import span as span_of
from vdbevents.query.filters import Filters
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.activity import By
from vdbevents.times import Window
from vdbevents.web import page_files
from vdbevents.web.page_requests import MOST_PARTS, AskedTime
from vdbevents.web.reading_answers import all_said
from vdbevents.web.statistics_answers import statistics
from vdbevents.web.timeline_answers import single_event, timeline
from vdbevents.web.timeline_state import TimelineState
from vdbevents.web.zone_offsets import name_of, offsets_of

_SCRIPT: Final = '<script type="module" src="/page/timeline_page.js"></script>'
_STYLE: Final = '<link rel="stylesheet" href="/page/timeline.css">'
_ICON: Final = '<link rel="icon" href="/page/icon.svg">'
_HEAD: Final = "<head>"
_DATA: Final = '<script type="application/json" id="recording">'
_CHANNELS: Final = ("audio_index", "visual_index", "alert")
_COLUMNS: Final = (
    *("time_ms", "channel", "event", "source", "stream", "stream_name", "text", "start_ms", "end_ms"),
    *("label", "speaker", "window_name", "line", "host"),
)
_HOUR_MS: Final = 3_600_000
_MOST_HOURS: Final = 24 * 14
_NOT_IN_SCRIPT: Final = re.compile("[<>&\u2028\u2029]")


def exported_page(state: TimelineState, window: Window, now_ms: int) -> bytes | None:
    """Return the page, in UTF-8; None if nothing was recorded in the time.

    Screens that are nearly the same stand in it once. It asks no server for anything, and runs no script but
    its own.

    Args:
        state: of the journals.
        window: the time, with a beginning.
        now_ms: the present, in Unix ms, where the time has no end.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    since_ms = window.since_ms or 0
    span = AskedTime(since_ms, max(since_ms + 1, now_ms if window.until_ms is None else window.until_ms))
    data = _recorded(state, span, now_ms)
    if not data["said"] and not data["others"]:
        return None
    shown = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # Text of the recording is never markup: no character of it ends the element.
    shown = _NOT_IN_SCRIPT.sub(lambda match: f"\\u{ord(match[0]):04x}", shown)
    script, style = page_files.one_script(), page_files.content("timeline.css").decode()
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    icon = base64.b64encode(page_files.content("icon.svg")).decode()
    page = page_files.content("timeline.html").decode()
    for found, instead in (
        (_HEAD, f'{_HEAD}\n<meta http-equiv="content-security-policy" content="{policy}">'),
        (_STYLE, f"<style>{style}</style>"),
        (_ICON, f'<link rel="icon" href="data:image/svg+xml;base64,{icon}">'),
        (_SCRIPT, f'{_DATA}{shown}</script>\n<script type="module">{script}</script>'),
    ):
        page = page.replace(found, instead, 1)
    return page.encode("utf-8", "backslashreplace")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _recorded(state: TimelineState, span: AskedTime, now_ms: int) -> dict[str, Any]:
    parts = max(1, min(MOST_PARTS, span.length_ms // MINUTE_MS))
    journals, zone = state.journals, state.journals.zone
    look = timeline(state, span, parts, now_ms)
    return {
        "span": [span.since_ms, span.until_ms],
        "zone": name_of(zone, datetime.fromtimestamp(now_ms / 1000, UTC)),
        "offsets": offsets_of(zone, span.since_ms, span.until_ms),
        "now": now_ms,
        "hosts": [journal.host for journal in journals.all()] if journals.are_several else [],
        "can_play": False,
        "formats": [],
        "parts": parts,
        **{name: look[name] for name in ("lanes", "sessions", "gaps", "pauses")},
        "figures": _figures(journals, span, now_ms),
        "said": all_said(journals, span.window, now_ms),
        "others": _others(journals, span),
    }


def _figures(journals: WarmJournals, span: AskedTime, now_ms: int) -> dict[str, Any]:
    """Return how much was said and shown, by hours or days, and by windows."""
    by, step_ms = (By.HOUR, _HOUR_MS) if span.length_ms <= _MOST_HOURS * _HOUR_MS else (By.DAY, 24 * _HOUR_MS)
    return {
        "times": {**statistics(journals, span, by, now_ms), "step": step_ms},
        "windows": statistics(journals, span, By.WINDOW, now_ms),
    }


def _others(journals: WarmJournals, span: AskedTime) -> list[dict[str, Any]]:
    """Return what was shown, in runs, and alerts and summaries."""
    columns = journals.columns_of(_COLUMNS)
    filters = Filters(window=span.window, by_event=True, channels=_CHANNELS)
    found = []
    with journals.search_rows(filters) as answer:
        runs = collapse.find(answer, newest_first=False)
        for batch in runs.lines(answer.events(columns)):
            for row, event in batch:
                times = span_of(event)
                if times is None:
                    continue
                run = runs.at(row)
                since_ms, until_ms = (run.since_ms, run.until_ms) if run else times
                found.append(
                    {
                        **single_event(event),
                        "at": since_ms,
                        "end": until_ms,
                        "count": run.events if run else 1,
                        "text": event.text or event.label or "",
                        "window": event.window_name or "",
                    }
                )
    return sorted(found, key=lambda one: one["at"])
