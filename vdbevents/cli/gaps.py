"""What `vdbevents gaps` shows, and `query` remarks on: when nothing was received, and what became of it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from vdbevents.cli.command import as_json, put, reports
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.localtime import SystemZone
from vdbevents.cli.options import (
    JournalOptions,
)
from vdbevents.cli.tables import nothing, remark, table, terminal_width
from vdbevents.errors import InputError
from vdbevents.events.envelope import parse_line
from vdbevents.events.gaps import EVENT, Gap, Missing, fold
from vdbevents.terminal import cells, cut, harmless
from vdbevents.times import told_duration

HELP = """List the gaps: when nothing was received, what of it was fetched later, what is missing, and why.

Oldest first. A gap is open until what the service keeps of it was fetched. Then it is recovered, or it is
incomplete for good.

\b
Examples:
  vdbevents gaps
  vdbevents gaps --since yesterday --open
  vdbevents gaps --last 1w --json | jq -r '.[] | [.since, .seconds, .status] | @tsv'
  vdbevents gaps old/videodb_events.jsonl

\b
Exit codes: 0 some were found, 1 none, 2 wrong input.
"""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEEDLE: Final = f'"{EVENT}"'.encode()
_BLOCK: Final = 1 << 20
_LONGEST_LINE: Final = 16 << 20
_LONGEST_TEXT: Final = 400
_LONGEST_REMARK: Final = 100
_LABEL_CELLS: Final = 13
_LEAST_ROOM: Final = 20


@reports
def gaps(
    *,
    last: Annotated[
        str | None, typer.Option(metavar="TIME", help="What touches the last 90s, 10m, 2h, 3d, 1w.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="What was not over before this time.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="What began before this time.")] = None,
    only_open: Annotated[
        bool, typer.Option("--open", help="Only what is not recovered, yet or for good.")
    ] = False,
    json_array: Annotated[
        bool, typer.Option("--json", help="One JSON array of objects, with times in UTC.")
    ] = False,
    options: JournalOptions,
) -> ExitCode:
    from vdbevents.times import Window, parse_window

    window = parse_window(last=last, since=since, until=until, now=datetime.now(UTC), zone=SystemZone())
    path = options.find_journal()
    told = read_gaps(path)
    if told.unreadable:
        lines = "line that tells of a gap is" if told.unreadable == 1 else "lines that tell of gaps are"
        remark(f"{told.unreadable} {lines} unreadable and left out, in {path}")
    chosen = [gap for gap in told.gaps if gap.touches(window.since_ms, window.until_ms)]
    chosen = [gap for gap in chosen if not (only_open and gap.is_recovered)]
    if json_array:
        put(as_json([_in_full(gap) for gap in chosen]))
    elif chosen:
        put(shown(chosen, terminal_width()))
    if chosen:
        return ExitCode.DONE
    kind = "gap that is not recovered" if only_open else "gap"
    when = "" if window == Window() else " in that time"
    return nothing(f"the journal {path} tells of no {kind}{when}")


class JournalGaps(NamedTuple):
    """What a journal tells of gaps: each once, oldest first, and how many lines about them are unreadable."""

    gaps: list[Gap]
    unreadable: int


def read_gaps(journal: Path) -> JournalGaps:
    """Reads the gaps of a journal, of which it holds no more than them and a block.

    Raises:
        InputError: the journal cannot be read.
    """
    found: list[Mapping[str, Any]] = []
    unreadable = 0
    try:
        for line in _lines_about_gaps(journal):
            event = parse_line(line)
            if event is None:
                unreadable += 1
            elif event.get("event") == EVENT:
                found.append(event)
    except OSError as error:
        raise InputError(
            f"the journal {journal} cannot be read: {error.strerror}",
            "name the directory or the file of a journal; `vdbevents listen` records one",
        ) from None
    return JournalGaps(sorted(fold(found), key=lambda gap: gap.since_ms), unreadable)


def _lines_about_gaps(journal: Path) -> Iterator[bytes]:
    rest = b""
    within_long_line = False
    with journal.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            if within_long_line:
                _, newline, block = block.partition(b"\n")
                within_long_line = not newline
            content = rest + block
            end = content.rfind(b"\n") + 1
            yield from _lines_within(content, end)
            rest = content[end:]
            if len(rest) > _LONGEST_LINE:
                # No gap is told of at such length, and a file without line ends is no journal.
                rest, within_long_line = b"", True
    # The last line may lack nothing but its end.
    yield from _lines_within(rest, len(rest))


def _lines_within(content: bytes, end: int) -> Iterator[bytes]:
    place = content.find(_NEEDLE, 0, end)
    while place >= 0:
        first = content.rfind(b"\n", 0, place) + 1
        last = content.find(b"\n", place, end)
        last = end if last < 0 else last
        yield content[first:last]
        place = content.find(_NEEDLE, last, end)


def _in_full(gap: Gap) -> dict[str, Any]:
    """What its lines tell, with every member: a program need not ask which are there."""
    members: dict[str, Any] = {"streams": [], "dropped": 0, "recovered": {}, "missing": []}
    told = gap.told()
    return {**{name: told[name] for name in told if name not in members}, **members, **told}


def shown(found: Sequence[Gap], width: int | None) -> str:
    """Gaps as a person reads them, in local time: a line each, and below it what there is to say of it.

    Args:
        found: at least one.
        width: the terminal's, in cells, at which lines are broken; None leaves them whole.
    """
    heads = table([[span(gap), length(gap), gap.status] for gap in found], width).splitlines()
    return "\n".join(
        "\n".join([head, *(line for label, text in _details(gap) for line in _broken(label, text, width))])
        for head, gap in zip(heads, found, strict=True)
    )


def _details(gap: Gap) -> Iterator[tuple[str, str]]:
    if gap.reason:
        yield "reason", gap.reason
    if gap.streams:
        yield "streams", ", ".join(gap.streams)
    if gap.dropped:
        events = "event that came" if gap.dropped == 1 else "events that came"
        yield "dropped", f"{gap.dropped:,} {events}, and found no room"
    if gap.status == "open":
        yield "missing", "not known yet: it is still to be fetched"
        return
    yield "recovered", ", ".join(f"{count:,} {name}" for name, count in gap.recovered.items()) or "nothing"
    lost = [one for one in gap.missing if one.lost]
    for one in lost:
        yield "missing", _told_of(one)
    if not lost:
        yield "missing", "nothing" if gap.is_recovered else "something: it is not said what"
    for one in gap.missing:
        if not one.lost:
            yield "besides", _told_of(one)


def _told_of(missing: Missing) -> str:
    return f"{missing.what}: {missing.reason}" if missing.reason else missing.what


def _broken(label: str, text: str, width: int | None) -> Iterator[str]:
    """A detail in lines of a terminal's width, broken between words."""
    label = f"  {label}".ljust(_LABEL_CELLS)
    text = cut(harmless(text), _LONGEST_TEXT)
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


def span(gap: Gap) -> str:
    """From when to when it is, in local time: `2026-03-02 10:15:30 to 10:17:02`."""
    begin, end = _local(gap.since_ms), _local(gap.until_ms)
    day = "" if begin.date() == end.date() else f"{end:%Y-%m-%d} "
    return f"{begin:%Y-%m-%d %H:%M:%S} to {day}{end:%H:%M:%S}"


def length(gap: Gap) -> str:
    """How long it is: `0.4 s`, `1 min 32 s`, `2 h 5 min`, `3 d`."""
    return told_duration(max(0, gap.until_ms - gap.since_ms))


def _local(milliseconds: int) -> datetime:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(SystemZone())


def summary(found: Sequence[Gap]) -> str:
    """One line on gaps that are not recovered, of which there is at least one."""
    longest = max(found, key=lambda gap: gap.until_ms - gap.since_ms)
    when = f"{span(longest)} ({length(longest)})"
    if len(found) > 1:
        return f"in this time there are {len(found):,} gaps that are not recovered; the longest from {when}"
    return f"in this time there is a gap from {when}; {_what_is_missing(longest)}"


def _what_is_missing(gap: Gap) -> str:
    if gap.status == "open":
        return "what came then may be missing, and is still to be fetched"
    lost = [one.what for one in gap.missing if one.lost] or [one.what for one in gap.missing]
    return f"missing: {cut(harmless(', '.join(lost)), _LONGEST_REMARK) if lost else 'it is not said what'}"


def command_line(journal: Path | None, **options: object) -> str:
    """The command that lists them: with a journal and with options, by their names, as they were given."""
    words = ["vdbevents", "gaps", *([] if journal is None else [str(journal)]), "--open"]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def add_to(app: typer.Typer) -> None:
    """Adds what is here."""
    app.command(help=HELP)(gaps)
