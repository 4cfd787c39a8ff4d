"""Write a time of the recording into a file: what was said as text or subtitles, or all events as a table."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from vdbevents.query import collapse
from vdbevents.query.filters import Event, Filters
from vdbevents.query.output import write
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.transcript import Part, Silence, parts_of
from vdbevents.summaries.transcript_pages import CueEvents, markdown_pieces, text_pieces
from vdbevents.terminal import harmless_in_file
from vdbevents.web.page_requests import AskedTime
from vdbevents.web.reading_answers import BREAK_MS, speech_in

FORMATS: Final = {
    "txt": "text/plain",
    "md": "text/markdown",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "csv": "text/csv",
}
"""The formats, with their media types: what was said, and in `csv` all events."""


def write_download(journals: WarmJournals, span: AskedTime, form: str, path: Path, now_ms: int) -> None:
    """Write a time of the recording to a file, in UTF-8.

    Args:
        journals: the journals.
        span: the time.
        form: one of `FORMATS`.
        path: of the file, which is created.
        now_ms: the present, in Unix ms.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        if form == "csv":
            _write_events(journals, span, file)
        else:
            _write_speech(journals, span, form, file, now_ms)


def _write_events(journals: WarmJournals, span: AskedTime, file: IO[bytes]) -> None:
    filters = Filters(window=span.window, by_event=True, recorder=False)
    with journals.search_rows(filters) as answer:
        # A spreadsheet opens it: no text of a recording may be a formula there.
        style = write.Style(filters, journals.zone, hosts=journals.are_several, without_formulas=True)
        write.write(answer, "csv", file, style)


def _write_speech(journals: WarmJournals, span: AskedTime, form: str, file: IO[bytes], now_ms: int) -> None:
    events, silences = speech_in(journals, span.window, now_ms)
    if form in ("srt", "vtt"):
        cues = CueEvents(events, silences)
        style = write.Style(Filters(), journals.zone, runs=collapse.NO_RUNS, hosts=journals.are_several)
        write.write(cues, "srt" if form == "srt" else "vtt", file, style)
        return
    file.writelines(piece.encode() for piece in _pieces(events, silences, form, journals))


def _pieces(events: list[Event], silences: list[Silence], form: str, journals: WarmJournals) -> Iterator[str]:
    parts: Iterator[Part] = parts_of(events, silences, BREAK_MS)
    if form == "md":
        return markdown_pieces(parts, journals.zone, title="")
    return text_pieces(parts, journals.zone, title="", clean=harmless_in_file, width=None)
