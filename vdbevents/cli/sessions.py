"""`vdbevents sessions`: list the capture sessions of a journal."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import as_json, reports
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import Color, ExitCode
from vdbevents.cli.localtime import local_text
from vdbevents.cli.options import (
    AsJsonOption,
    BoundOptions,
    CacheOption,
    EnvironmentOptions,
    FormatOptions,
    FormulasOption,
    words_of,
)
from vdbevents.cli.query_options import TIMES_HELP, LakeSourceOptions, WindowOptions
from vdbevents.cli.seal_display import SealDisplay
from vdbevents.cli.searching import GapsCommand, opened_journals, remark_on_each
from vdbevents.cli.summary_options import broken, broken_at, too_small
from vdbevents.cli.tables import data_stream, nothing, remark, table, terminal_width
from vdbevents.terminal import cells, counted, cut_in_words, harmless, with_command
from vdbevents.times import format_duration

if TYPE_CHECKING:
    from vdbevents.query.cache.index import Cache
    from vdbevents.query.hostnames import HostJournal
    from vdbevents.query.output.budget import Bound
    from vdbevents.summaries.session_list import ListedSession
    from vdbevents.times import Window

HELP = f"""List the recorded sessions: when, how long, what is in them.

Reads the journal alone, without an API key; `vdbevents session` asks the service instead. The oldest comes
first, the newest last. The window chooses the sessions that touch it; each is counted whole. The length of
one that goes on is that to its last event. docs/events-format.md says what belongs to a session.

\b
Examples:
  vdbevents sessions
  vdbevents sessions --last 1w -n 5
  vdbevents sessions -n 0 --max-tokens 500
  vdbevents sessions --json | jq -r '.[-1].session'
  vdbevents sessions --dir ~/laptop --dir ~/desk -o csv > sessions.csv
  vdbevents query --session last --grep invoice       what was said and shown in the newest one

{TIMES_HELP}

\b
Exit codes: 0 sessions, 1 none, 2 wrong input.
"""

_USUAL: Final = 20
_LABEL_CELLS: Final = 10
_LONGEST_REASON: Final = 400


class SessionsOutput(StrEnum):
    """The output formats of `sessions`."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"


class SessionsOptions(FormatOptions):
    """How many sessions are listed, and how."""

    limit: Annotated[
        int, Option("-n", "--limit", min=0, metavar="N", help="The newest N only; 0 for all.")
    ] = _USUAL
    output: Annotated[
        SessionsOutput,
        Option("-o", "--output", help="text; csv, json: data, with times in UTC."),
    ] = SessionsOutput.TEXT
    as_json: AsJsonOption = False
    cache: CacheOption = True
    no_formulas: FormulasOption = False


@reports
def sessions(
    *,
    named: LakeSourceOptions,
    when: WindowOptions,
    printing: SessionsOptions,
    sized: BoundOptions,
    options: EnvironmentOptions,
) -> ExitCode:
    zone = when.zone()
    window = when.window(datetime.now(UTC), zone)
    gaps_command = GapsCommand(named, when, window, options)
    with opened_journals(named, options) as journals:
        listed, earlier = _listed(journals, window, gaps_command, printing, archived=named.archived)
        hosts = len(journals) > 1
    if not listed:
        return ExitCode.NO_MATCH
    unbounded = BoundOptions(max_bytes=None, max_tokens=None)
    words = words_of(named, when, printing.replace(limit=0), unbounded, options)
    page = _Page(printing, zone, harmless(shlex.join(["vdbevents", "sessions", *words])), hosts)
    _print(listed, earlier, page, sized.bound)
    return ExitCode.DONE


class _Page(NamedTuple):
    """How to print sessions; `command` lists all."""

    printing: SessionsOptions
    zone: tzinfo
    command: str
    with_host: bool

    def text_of(self, listed: "Sequence[ListedSession]", earlier: int = 0) -> str:
        """Return the list, for people with a last line about the earlier ones that are left out."""
        from vdbevents.query.output.rows import csv_text

        match self.printing.output:
            case SessionsOutput.JSON:
                return as_json([one.to_dict(with_host=self.with_host) for one in listed]) + "\n"
            case SessionsOutput.CSV:
                rows = _csv_rows(listed, with_host=self.with_host)
                return csv_text(rows, without_formulas=self.printing.no_formulas)
        text = shown(listed, self.zone, terminal_width(), with_host=self.with_host) + "\n"
        if not earlier:
            return text
        left_out = f"… {counted(earlier, 'earlier session')} left out"
        return f"{text}{with_command(left_out, self.command, broken)}\n"


def _print(listed: "Sequence[ListedSession]", earlier: int, page: _Page, bound: "Bound") -> None:
    number = len(listed)
    if bound.is_given:
        number = bound.most(
            len(listed), lambda tried: page.text_of(listed[-tried:], earlier + len(listed) - tried)
        )
        if not number:
            raise too_small(bound, page.text_of(listed[-1:], earlier + len(listed) - 1))
    earlier += len(listed) - number
    output = page.printing.output
    stream = data_stream(output.value)
    stream.write(page.text_of(listed[-number:], earlier).encode("utf-8", "replace"))
    stream.flush()
    sys.stdout.flush()
    if earlier and output is not SessionsOutput.TEXT:
        remark(f"{counted(earlier, 'earlier session')} left out", f"for all: {page.command}")


def _listed(
    journals: "Sequence[HostJournal]",
    window: "Window",
    gaps_command: GapsCommand,
    printing: SessionsOptions,
    *,
    archived: bool,
) -> "tuple[list[ListedSession], int]":
    """Return the sessions, and how many earlier ones are left out."""
    from vdbevents.query import merge
    from vdbevents.query.cache import seal_policy
    from vdbevents.query.older import Older
    from vdbevents.summaries.journal_answers import sessions_in
    from vdbevents.times import Window

    def cache_of(path: Path) -> "Cache | None":
        display = SealDisplay(Color.AUTO, "use --no-cache to list without")
        # Each session is counted whole, whatever the window.
        return seal_policy.cache_for(path, Window(), datetime.now(UTC), display) if printing.cache else None

    known = sessions_in(journals, window, printing.limit or None, Older(cache_of, archived))
    if not known.chosen:
        which = " in that time" if known.has_others else ""
        names = ", ".join(journal.label for journal in journals[:3])
        hint = cli_journals.archived_hint([one.path for one in journals], archived=archived)
        nothing(f"no session{which} in {names}", hint)
        return [], 0
    with merge.count_sessions(journals, known.filters, cache_of, known.books, cleared=archived) as answer:
        listed = known.listed(journals, answer)
        remark_on_each(journals, answer, window, gaps_command)
    return listed, known.earlier


def _csv_rows(listed: "Sequence[ListedSession]", *, with_host: bool) -> Iterator[list[object]]:
    from vdbevents.summaries.session_list import COLUMNS

    columns = [*COLUMNS, *(["host"] if with_host else [])]
    yield [*columns]
    for one in listed:
        values = {**one.channels, **one.to_dict(with_host=with_host)}
        yield [values.get(name, 0 if name in COLUMNS else None) for name in columns]


def shown(
    listed: "Sequence[ListedSession]", zone: tzinfo, width: int | None, *, with_host: bool = False
) -> str:
    """Format sessions for a person: a line each, with details below it.

    Args:
        listed: at least one session.
        zone: of the times shown.
        width: the terminal's, in cells; None leaves lines whole.
        with_host: whether to show the machines' names.
    """
    # The state stands last: it is wrapped instead of cut.
    heads = table(
        [
            [
                one.facts.id,
                *([one.host] if with_host else []),
                local_text(one.facts.first_ms, zone),
                "" if one.length_ms is None else format_duration(one.length_ms),
                one.facts.status or "unknown",
            ]
            for one in listed
        ],
        None,
    ).splitlines()
    return "\n".join(
        "\n".join([_head(head, width), *_labelled(one, width)])
        for head, one in zip(heads, listed, strict=True)
    )


def _head(head: str, width: int | None) -> str:
    first, gap, rest = head.partition("  ")
    if width is None or cells(head) <= width:
        return head
    return f"{first}\n{broken_at(width, gap, rest.lstrip())}"


def _labelled(one: "ListedSession", width: int | None) -> Iterator[str]:
    for label, text in _details(one):
        # A link stays whole, to be copied.
        yield broken_at(None if label == "video" else width, f"  {label:<{_LABEL_CELLS}}", text)


def _details(one: "ListedSession") -> Iterator[tuple[str, str]]:
    if one.facts.reason:
        yield "reason", cut_in_words(harmless(one.facts.reason), _LONGEST_REASON)
    channels = sorted(one.channels.items(), key=lambda item: -item[1])
    yield "events", ", ".join(f"{count:,} {harmless(name)}" for name, count in channels) or "none"
    if one.facts.video:
        yield "video", harmless(one.facts.video)
