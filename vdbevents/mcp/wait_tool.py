"""The tool that waits until something is said or shown."""

import re
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from vdbevents.errors import InputError, VdbeventsError
from vdbevents.journal.files import unusable
from vdbevents.journal.reader import JournalPlace, Tail, end_of, follow_batches, place_named
from vdbevents.mcp.answer_page import dumped, heading_of, quoted_data, text_page, within
from vdbevents.mcp.event_filters import CHOOSING, SESSION, filters_in
from vdbevents.mcp.search_tools import EVENT, FoundEvent, event_data, event_lines, with_snippets
from vdbevents.mcp.time_window import now_utc
from vdbevents.mcp.tool import (
    BOUND,
    SWITCH,
    TEXT,
    WHOLE,
    Reporting,
    Tool,
    ToolAnswer,
    bound_of,
    list_of,
    output_of,
)
from vdbevents.mcp.tool_parameters import Parameter
from vdbevents.query.duck import is_interrupt
from vdbevents.query.filters import Event, Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.said_once import SaidOnce
from vdbevents.query.sieve import Sieve
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.terminal import counted
from vdbevents.times import Window

_POLL_SECONDS: Final = 0.05
_PROGRESS_SECONDS: Final = 1.0
_MOST_EVENTS: Final = 500
_SECONDS: Final = Parameter("seconds", "seconds", "How long at most.", 25.0, 0, 50)
_UNFINISHED: Final = Parameter("unfinished", "switch", "Also sentences that are still being said.")
_GOING_ON: Final = Parameter("cursor", "text", "`next` of the last answer; without: from now on.")
_PLACE: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+)-([0-9a-f]+)")
_OUTPUT: Final = output_of(
    {
        "came": SWITCH,
        "events": list_of(EVENT),
        "left_out": WHOLE,
        "waited_seconds": {"type": "number"},
        "next": TEXT,
        "remarks": list_of(TEXT),
    }
)


def wait_for(journals: WarmJournals) -> Tool:
    """Return the tool that waits."""

    def run(values: Mapping[str, Any], reporting: Reporting) -> ToolAnswer:
        return _Waiting(journals, values).answer(reporting)

    choosing = tuple(parameter for parameter in CHOOSING if parameter is not SESSION)
    return Tool(
        "wait_for",
        "Wait until something is said or shown",
        "Return as soon as an event matches that comes from now on, or after some seconds without one. Call "
        "it again with the cursor of its answer to miss nothing; with seconds=0 only for what is new since. "
        "Without other parameters any event matches. About 30 tokens an event.",
        (*choosing, _SECONDS, _UNFINISHED, BOUND, _GOING_ON),
        _OUTPUT,
        run,
    )


class _Waiting:
    """One call."""

    def __init__(self, journals: WarmJournals, values: Mapping[str, Any]) -> None:
        self._journals = journals
        self._values = values
        filters = filters_in("wait_for", {**values, SESSION.name: None}, Window())
        self._filters = replace(filters, by_event=False, interim=bool(values[_UNFINISHED.name]))

    def answer(self, reporting: Reporting) -> ToolAnswer:
        remarks: list[str] = []
        journals = self._journals.all()
        for journal in journals:
            if journal.is_scratch:
                raise InputError(
                    f"wait_for: {journal.label} is an archive, to which nothing is written",
                    "use search_events",
                    error_id="follow-source-invalid",
                )
        places = self._places(journals, remarks)
        began, seconds = time.monotonic(), float(self._values[_SECONDS.name])
        is_over = threading.Event()
        watches = [
            _Watch(journal, self._filters, place, is_over, several=len(journals) > 1)
            for journal, place in zip(journals, places, strict=True)
        ]
        try:
            self._wait(watches, reporting, seconds)
        finally:
            is_over.set()
            for watch in watches:
                watch.join()
        for watch in watches:
            if watch.error is not None:
                raise watch.error
        events = [event for watch in watches for event in watch.found]
        following = ".".join(watch.reached for watch in watches)
        return self._page(events, following, time.monotonic() - began, remarks)

    def _places(self, journals: Sequence[HostJournal], remarks: list[str]) -> list[JournalPlace]:
        """Return where to begin in each journal."""
        cursor = self._values[_GOING_ON.name]
        if cursor is None:
            return [_end(journal.path) for journal in journals]
        found = [_PLACE.fullmatch(part) for part in cursor.strip().split(".")]
        if None in found or len(found) != len(journals):
            raise InputError(
                f"wait_for: cursor: not one of wait_for, got {cursor[:60]!r}",
                "use `next` of its last answer, or leave it out",
                error_id="cursor-invalid",
            )
        places = []
        for journal, match in zip(journals, found, strict=True):
            offset, head_bytes, crc = (int(part, 16) for part in match.groups()) if match else (0, 0, 0)
            place = _named(journal.path, offset, head_bytes, crc)
            if place is None:
                remarks.append("The journal was replaced since: what came before now is left out.")
            places.append(place or _end(journal.path))
        return places

    def _wait(self, watches: "Sequence[_Watch]", reporting: Reporting, seconds: float) -> None:
        began = time.monotonic()
        reported = began
        for watch in watches:
            watch.start()
        while not reporting.is_cancelled:
            if any(watch.has_found or watch.error for watch in watches):
                return
            now = time.monotonic()
            # What is there already counts, however short the time.
            if now - began >= seconds and all(watch.has_read.is_set() for watch in watches):
                return
            if now - reported >= _PROGRESS_SECONDS:
                reported = now
                lines = sum(watch.lines for watch in watches)
                reporting.progress(now - began, seconds, f"waiting: {counted(lines, 'new line')} so far")
            time.sleep(_POLL_SECONDS)

    def _page(
        self, events: Sequence[Event], following: str, waited: float, remarks: Sequence[str]
    ) -> ToolAnswer:
        bound, zone = bound_of(self._values), self._journals.zone
        heading = heading_of(zone, now_utc())
        found = with_snippets(events, self._filters, bound)
        total = len(events)

        def text(shown: Sequence[FoundEvent]) -> str:
            came = counted(total, "new event") if found else "nothing new"
            # To ask for what is new takes a moment, too; it is not a wait.
            after = f" after {waited:.0f} s" if self._values[_SECONDS.name] else ""
            above = came + after
            left_out = f", {total - len(shown):,} of them left out" if len(shown) < total else ""
            lines = "\n".join([above + left_out, *remarks])
            below = f'to wait on: cursor="{following}"'
            return text_page(heading, lines, "\n".join(event_lines(shown, zone)), below)

        def data(shown: Sequence[FoundEvent]) -> dict[str, Any]:
            return quoted_data(
                {
                    "came": bool(found),
                    "events": [event_data(one) for one in shown],
                    "left_out": total - len(shown),
                    "waited_seconds": round(waited, 1),
                    "next": following,
                    "remarks": list(remarks),
                }
            )

        texts = within(bound, found, text)
        entries = within(bound, found, lambda shown: dumped(data(shown)))
        return ToolAnswer(text(found[:texts]), data(found[:entries]))


def _end(path: Path) -> JournalPlace:
    try:
        return end_of(path, whole_lines=True)
    except OSError as error:
        raise unusable(path, error) from error


def _named(path: Path, offset: int, head_bytes: int, crc: int) -> JournalPlace | None:
    try:
        return place_named(path, offset, head_bytes, crc)
    except OSError as error:
        raise unusable(path, error) from error


class _Watch(threading.Thread):
    """Follows one journal until something matches, or it is over.

    Attributes:
        found: the matches.
        has_found: whether there are some, and all that was written by then was read.
        has_read: set once what was there already was read.
        lines: how many lines were read.
        reached: the place after them, as a text.
        error: what ended it.
    """

    def __init__(
        self,
        journal: HostJournal,
        filters: Filters,
        place: JournalPlace,
        is_over: threading.Event,
        *,
        several: bool,
    ) -> None:
        super().__init__(daemon=True)
        self.found: list[Event] = []
        self.has_found = False
        self.has_read = threading.Event()
        self.lines = 0
        self.error: VdbeventsError | None = None
        self._host = journal.host if several else None
        self._path = journal.path
        self._filters = filters
        self._place = place
        self._is_over = is_over
        self._tail: Tail | None = None

    @property
    def reached(self) -> str:
        offset, head = self._place
        return f"{offset:x}-{len(head):x}-{zlib.crc32(head):x}"

    def run(self) -> None:
        try:
            self._follow()
        except VdbeventsError as error:
            self.error = error
        except OSError as error:
            self.error = unusable(self._path, error)
        except Exception as error:
            # A server that ends interrupts all that DuckDB does.
            if not is_interrupt(error):
                raise
        finally:
            self.has_read.set()

    def _follow(self) -> None:
        once = SaidOnce()
        coming = follow_batches(
            self._path, from_end=False, wait=self._wait, start=self._place, on_tail=self._note
        )
        with Sieve(self._filters, Event._fields) as sieve:
            for lines in coming:
                matching, _ = sieve.sift(lines)
                self.lines += len(lines)
                new = [event._replace(host=self._host) for event in matching if once.is_new(event)]
                self.found += new
                if self._tail is not None:
                    self._place = JournalPlace(self._tail.offset, self._tail.head)
                    # More than fit into any answer: the rest is for the next call.
                    if len(self.found) >= _MOST_EVENTS or self._is_over.is_set():
                        self.has_found = bool(self.found)
                        return

    def _note(self, tail: Tail) -> None:
        self._tail = tail

    def _wait(self) -> bool:
        """Pause until there may be more; return False at the end."""
        self.has_read.set()
        self.has_found = bool(self.found)
        if self.has_found:
            return False
        return not self._is_over.wait(_POLL_SECONDS)
