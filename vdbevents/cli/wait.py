"""`vdbevents wait`: wait until something is said or shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import reports
from vdbevents.cli.declared import CommandParameter, Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.no_match import remark_on_names
from vdbevents.cli.options import EnvironmentOptions
from vdbevents.cli.query_follow import following, journal_to_follow, print_followed
from vdbevents.cli.query_options import (
    TIMES_HELP,
    FilterOptions,
    ResultOptions,
    SourceOptions,
    WindowOptions,
)
from vdbevents.cli.searching import SearchingAgain, text_hint
from vdbevents.cli.tables import remark
from vdbevents.errors import options_conflict

if TYPE_CHECKING:
    from vdbevents.journal.reader import Tail
    from vdbevents.query.cache.index import Cache

HELP = f"""Wait until something is said or shown, and print it.

The filters are those of query. Only what is received from now on counts, unless --since or --last names an
earlier time. A sentence counts as soon as an unfinished version of it matches, and is printed once; with
--final only finished ones count. A journal that does not exist yet is waited for.

\b
Examples:
  vdbevents wait --grep "ship it" --timeout 5m
  vdbevents wait --channel alert --label test_failed && notify-send "a test failed"
  vdbevents wait --source mic --any yes --any no --timeout 30s --fields text
  vdbevents wait --event capture_session.exported --since -1h -o jsonl
  vdbevents wait --grep invoice -m 3 --json

{TIMES_HELP}

\b
Exit codes: 0 it came, 1 it did not within --timeout, 2 wrong input, 130 Ctrl-C.
"""

_STREAMED: Final = ("text", "jsonl", "json", "csv", "md")


class WaitSourceOptions(SourceOptions):
    """The journal to read."""

    @classmethod
    def parameters(cls) -> Iterator[CommandParameter]:
        """Yield the options but for what was cleared."""
        return (option for option in super().parameters() if option.name != "archived")


class WaitWindowOptions(WindowOptions):
    """From when on events count."""

    since: Annotated[
        str | None, Option(metavar="TIME", help="Also what was received at this time or later.")
    ] = None
    last: Annotated[
        str | None, Option(metavar="TIME", help="Also what was received in the last 90s, 10m, ….")
    ] = None

    @classmethod
    def parameters(cls) -> Iterator[CommandParameter]:
        """Yield the options but for those of an end."""
        return (option for option in super().parameters() if option.name not in ("until", "on"))


class WaitFilterOptions(FilterOptions):
    """The filters."""

    @classmethod
    def parameters(cls) -> Iterator[CommandParameter]:
        """Yield the options but for those that choose among all matches."""
        without = {"around", "limit", "offset", "reverse", "interim"}
        return (option for option in super().parameters() if option.name not in without)


class WaitResultOptions(ResultOptions):
    """How long to wait, for how much, and how it is printed."""

    max_count: Annotated[int, Option("--max-count", "-m", min=1, metavar="N", help="Wait for N matches.")] = 1
    timeout: Annotated[
        str | None, Option(metavar="TIME", help="Wait at most 30s, 5m, …", show_default="for ever")
    ] = None
    final: Annotated[bool, Option("--final", help="Only finished sentences.")] = False

    @classmethod
    def parameters(cls) -> Iterator[CommandParameter]:
        """Yield the options but for those of an answer as a whole."""
        without = {"unique", "follow", "count", "pager", "zero"}
        return (option for option in super().parameters() if option.name not in without)


@reports
def wait(
    *,
    named: WaitSourceOptions,
    filtering: WaitFilterOptions,
    when: WaitWindowOptions,
    printing: WaitResultOptions,
    options: EnvironmentOptions,
) -> ExitCode:
    from dataclasses import replace
    from datetime import UTC, datetime

    path = journal_to_follow(cli_journals.to_follow(named), options, hint=text_hint(named))
    # What comes while the search is being loaded counts; of a journal that is not there yet, all.
    after = _end_of(path) if when.since is None and when.last is None else None
    from vdbevents.query import duck
    from vdbevents.query.cache.seal_policy import present_cache
    from vdbevents.query.hostnames import HostJournal
    from vdbevents.query.output.rows import parse_fields

    if printing.output.value not in _STREAMED:
        hint = f"use -o {', '.join(_STREAMED[:-1])} or {_STREAMED[-1]}"
        raise options_conflict("wait", f"-o {printing.output.value}", hint)
    ending = printing.ending()
    zone = when.zone()
    filters = filtering.parse(when.window(datetime.now(UTC), zone), zone)
    filters = replace(filters, interim=not printing.final)
    fields = None if printing.fields is None else parse_fields(printing.fields)

    def cache_of(path: Path) -> "Cache | None":
        return present_cache(path) if printing.cache else None

    if path.exists():
        here = [HostJournal("", path, str(path))]
        remark_on_names(SearchingAgain(here, cleared=False, cache=printing.cache), filters)
    with duck.interruptible(), following(path, filters, cache_of, ending, after=after, once=True) as followed:
        print_followed(followed, filters, printing, fields, zone)
    if followed.shown == printing.max_count:
        return ExitCode.DONE
    if printing.timeout is not None:
        came = f"only {followed.shown:,} of {printing.max_count:,}" if followed.shown else "nothing"
        unit = " s" if printing.timeout.strip()[-1:].isdigit() else ""
        remark(f"{came} within {printing.timeout}{unit}")
    return ExitCode.NO_MATCH


def _end_of(path: Path) -> "Tail | None":
    """Return the end of a journal; None if there is none yet."""
    from vdbevents.journal.files import unusable
    from vdbevents.journal.reader import Tail

    try:
        return Tail(path, None)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, error) from error
