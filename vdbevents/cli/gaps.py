"""`vdbevents gaps`, and the remark of `query` on gaps: times in which nothing was received."""

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import as_json, put, reports
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.localtime import local_text, local_time
from vdbevents.cli.options import ArchivedOption, JournalOptions, JsonOptions
from vdbevents.cli.query_follow import remark_on_trouble
from vdbevents.cli.query_options import TIMES_HELP, WindowOptions
from vdbevents.cli.tables import nothing, remark, table, terminal_width
from vdbevents.events.gaps import EVENT, Gap, Missing, latest_gaps, with_ongoing
from vdbevents.journal import nul_runs
from vdbevents.journal.archive import ArchivedJournal
from vdbevents.journal.files import wall_ms
from vdbevents.journal.history import open_archived, open_with_older
from vdbevents.journal.packed import PackedFile
from vdbevents.query.byte_ranges import unreadable_journal
from vdbevents.terminal import cells, counted, cut_in_words, harmless
from vdbevents.times import format_duration

HELP = f"""List the gaps: times in which nothing was received.

Lists all gaps that touch the window, oldest first: what was backfilled later, what is missing, and why. A gap
is open until it was backfilled. Then it is recovered, or it stays incomplete. A gap that goes on now has no
end yet ("ongoing").

\b
Examples:
  vdbevents gaps
  vdbevents gaps --since yesterday --open
  vdbevents gaps --last 1w --json | jq -r '.[] | [.since, .seconds, .status] | @tsv'
  vdbevents gaps old/videodb_events.jsonl

{TIMES_HELP}

\b
Exit codes: 0 gaps, 1 no gaps, 2 wrong input.
"""

_NEEDLE: Final = f'"{EVENT}"'.encode()
# To read as much takes less time than to load what reads the cache.
_LEAST_SEALED: Final = 1 << 22
_LINE_ENDS: Final = (b"\n", b"\0")
_LONGEST_LINE: Final = 16 << 20
_LONGEST_TEXT: Final = 400
_LONGEST_REMARK: Final = 100
_LABEL_CELLS: Final = 13
_LEAST_ROOM: Final = 20


@reports
def gaps(
    *,
    when: WindowOptions,
    only_open: Annotated[bool, Option("--open", help="Only open and incomplete gaps.")] = False,
    printing: JsonOptions,
    archived: ArchivedOption = False,
    options: JournalOptions,
) -> ExitCode:
    from vdbevents.health.outages import ongoing_gap
    from vdbevents.times import Window

    zone = when.zone()
    window = when.window(datetime.now(UTC), zone)
    path = options.find_journal()
    with cli_journals.opened([cli_journals.JournalSource(path)]) as [journal]:
        journal_gaps = read_gaps(journal.path, window.since_ms, cleared=archived)
    if journal.trouble:
        remark_on_trouble(journal)
    if journal_gaps.unreadable:
        lines = "line about a gap is" if journal_gaps.unreadable == 1 else "lines about gaps are"
        remark(f"{journal_gaps.unreadable} {lines} unreadable and left out, in {path}")
    all_gaps = with_ongoing(journal_gaps.gaps, ongoing_gap(path, wall_ms()))
    chosen = [gap for gap in all_gaps if gap.touches(window.since_ms, window.until_ms)]
    chosen = [gap for gap in chosen if not (only_open and gap.is_recovered)]
    if printing.as_json:
        put(as_json([_in_full(gap) for gap in chosen]))
    elif chosen:
        put(shown(chosen, terminal_width(), zone))
    if chosen:
        return ExitCode.DONE
    kind = "open or incomplete gaps" if only_open else "gaps"
    then = "" if window == Window() else " in that time"
    return nothing(f"no {kind}{then} in {path}", cli_journals.archived_hint([path], archived=archived))


class JournalGaps(NamedTuple):
    """The gaps of a journal, each once, oldest first, and the number of unreadable lines about gaps."""

    gaps: list[Gap]
    unreadable: int


def read_gaps(journal: Path, since_ms: int | None = None, *, cleared: bool = False) -> JournalGaps:
    """Read the gaps of a journal, and of what was rotated out of it, block by block.

    Args:
        journal: its file.
        since_ms: gaps that ended before this time, in Unix ms, may be left out.
        cleared: whether to read also what was cleared.

    Raises:
        InputError: the journal cannot be read.
    """
    events: list[Mapping[str, Any]] = []
    unreadable = 0
    try:
        for line in _all_lines_about_gaps(journal, since_ms, cleared=cleared):
            from vdbevents.events.envelope import parse_line

            event = parse_line(line)
            if event is None:
                unreadable += 1
            elif event.get("event") == EVENT:
                events.append(event)
    except OSError as error:
        raise unreadable_journal(journal, error) from None
    return JournalGaps(sorted(latest_gaps(events), key=lambda gap: gap.since_ms), unreadable)


def _all_lines_about_gaps(journal: Path, since_ms: int | None, *, cleared: bool) -> Iterator[bytes]:
    file, older = open_with_older(journal, cleared=cleared)
    with file:
        for one in older:
            # A line about a gap is written after the gap.
            if since_ms is None or one.to_ms >= since_ms:
                yield from _older_lines_about_gaps(one)
        yield from _own_lines_about_gaps(journal, file)


def _own_lines_about_gaps(journal: Path, file: FileIO) -> Iterator[bytes]:
    """Yield those of the journal itself; where its cache knows them, the sealed lines are not read."""
    if file.seek(0, os.SEEK_END) < _LEAST_SEALED:
        yield from _lines_about_gaps(file)
        return
    from vdbevents.query.cache.seal_policy import present_cache

    cache = present_cache(journal)
    end = 0
    # It may be another file than the one that is open.
    if cache is not None and cache.fits(file):
        end = cache.end
        for segment in cache.segments:
            if segment.unreadable or segment.doubtful:
                yield from _lines_about_gaps(file, segment.start, segment.end)
            else:
                yield from (line.encode() for line in segment.gaps)
    yield from _lines_about_gaps(file, end)


def _older_lines_about_gaps(one: ArchivedJournal) -> Iterator[bytes]:
    from vdbevents.query.cache.index import rest_of
    from vdbevents.query.cache.seal_policy import present_cache

    cache = present_cache(one.path)
    if cache is not None and not rest_of(one.path, cache):
        yield from (line.encode() for line in cache.gap_lines)
        return
    # It may have been pruned since it was listed.
    with contextlib.suppress(FileNotFoundError), open_archived(one) as file:
        yield from _lines_about_gaps(file)


def _lines_about_gaps(file: FileIO | PackedFile, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    rest = b""
    within_long_line = False
    for block in nul_runs.blocks(file, start, end):
        content = rest + block
        if within_long_line:
            _, newline, content = block.partition(b"\n")
            within_long_line = not newline
        whole = content.rfind(b"\n") + 1
        yield from _lines_within(content, whole)
        rest = content[whole:]
        if len(rest) > _LONGEST_LINE:
            # No line about a gap is that long: skip the rest of it, so that memory stays bounded.
            rest, within_long_line = b"", True
    # The last line may be whole but for its line end.
    yield from _lines_within(rest, len(rest))


def _lines_within(content: bytes, end: int) -> Iterator[bytes]:
    place = content.find(_NEEDLE, 0, end)
    while place >= 0:
        first = max(content.rfind(line_end, 0, place) for line_end in _LINE_ENDS) + 1
        ends = [content.find(line_end, place, end) for line_end in _LINE_ENDS]
        last = min((found for found in ends if found >= 0), default=end)
        yield content[first:last]
        place = content.find(_NEEDLE, last, end)


def _in_full(gap: Gap) -> dict[str, Any]:
    """Return all members, so that a program need not check which are there."""
    members: dict[str, Any] = {
        "streams": [],
        "dropped": 0,
        "recovered": {},
        "missing": [],
        "ongoing": gap.ongoing,
    }
    details = gap.data()
    return {**{name: details[name] for name in details if name not in members}, **members, **details}


def shown(listed: Sequence[Gap], width: int | None, zone: tzinfo | None = None) -> str:
    """Format gaps for a person: a line each, with details below it.

    Args:
        listed: at least one gap.
        width: the terminal's width in cells, at which lines are broken; None leaves them whole.
        zone: of the times; None for local time.
    """
    heads = table([[span(gap, zone), length(gap), _state(gap)] for gap in listed], width).splitlines()
    return "\n".join(
        "\n".join([head, *(line for label, text in _details(gap) for line in _broken(label, text, width))])
        for head, gap in zip(heads, listed, strict=True)
    )


def _state(gap: Gap) -> str:
    return f"{gap.status}, ongoing" if gap.ongoing else gap.status


def _details(gap: Gap) -> Iterator[tuple[str, str]]:
    if gap.reason:
        yield "reason", gap.reason
    if gap.streams:
        yield "streams", ", ".join(gap.streams)
    if gap.dropped:
        yield "dropped", f"{counted(gap.dropped, 'received event')}, as there was no room"
    if gap.status == "open":
        yield "missing", f"not known yet: {'nothing is received' if gap.ongoing else 'not backfilled'}"
        return
    yield "recovered", ", ".join(f"{count:,} {name}" for name, count in gap.recovered.items()) or "nothing"
    lost = [item for item in gap.missing if item.lost]
    for item in lost:
        yield "missing", _with_reason(item)
    if not lost:
        yield "missing", "nothing" if gap.is_recovered else "unknown"
    for item in gap.missing:
        if not item.lost:
            yield "also", _with_reason(item)


def _with_reason(missing: Missing) -> str:
    return f"{missing.what}: {missing.reason}" if missing.reason else missing.what


def _broken(label: str, text: str, width: int | None) -> Iterator[str]:
    """Break a detail into lines of the terminal's width, between words."""
    label = f"  {label}".ljust(_LABEL_CELLS)
    text = cut_in_words(harmless(text), _LONGEST_TEXT)
    if width is None:
        yield label + text
        return
    room = max(width - _LABEL_CELLS, _LEAST_ROOM)
    line = ""
    for part in (part for word in text.split(" ") for part in _parts(word, room)):
        if line and cells(line) + 1 + cells(part) > room:
            yield label + line
            label, line = " " * _LABEL_CELLS, ""
        line = f"{line} {part}" if line else part
    yield label + line


def _parts(word: str, room: int) -> Iterator[str]:
    part = ""
    for character in word:
        if cells(part + character) > room:
            yield part
            part = ""
        part += character
    yield part


def span(gap: Gap, zone: tzinfo | None = None) -> str:
    """Format a gap's beginning and end, in local time if no zone is given.

    Such as `2026-03-02 10:15:30 to 10:17:02`, or `… to now`.
    """
    if gap.ongoing:
        return f"{local_text(gap.since_ms, zone)} to now"
    begin, end = local_time(gap.since_ms, zone), local_time(gap.until_ms, zone)
    day = "" if begin.date() == end.date() else f"{end:%Y-%m-%d} "
    return f"{begin:%Y-%m-%d %H:%M:%S} to {day}{end:%H:%M:%S}"


def length(gap: Gap) -> str:
    """Format a gap's length: `0.4 s`, `1 min 32 s`, `2 h 5 min`, `3 d`."""
    return format_duration(max(0, gap.until_ms - gap.since_ms))


def summary(unrecovered: Sequence[Gap]) -> str:
    """Describe one or more unrecovered gaps in a line."""
    longest = max(unrecovered, key=lambda gap: gap.until_ms - gap.since_ms)
    when = f"{span(longest)} ({length(longest)})"
    if len(unrecovered) > 1:
        return f"{len(unrecovered):,} unrecovered gaps in this time; the longest from {when}"
    return f"gap from {when} in this time; {_what_is_missing(longest)}"


def _what_is_missing(gap: Gap) -> str:
    if gap.ongoing:
        return f"nothing is received: {cut_in_words(harmless(gap.reason), _LONGEST_REMARK)}"
    if gap.status == "open":
        return "events may be missing until it is backfilled"
    lost = [item.what for item in gap.missing if item.lost] or [item.what for item in gap.missing]
    return f"missing: {cut_in_words(harmless(', '.join(lost)), _LONGEST_REMARK) if lost else 'unknown'}"


def command_line(journal: Path | None, **options: object) -> str:
    """Return the command that lists these gaps: with a journal, and options by their names."""
    words = ["vdbevents", "gaps", *([] if journal is None else [str(journal)]), "--open"]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)
