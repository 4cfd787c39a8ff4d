"""`vdbevents prune`: remove events that are older than they are to be kept."""

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vdbevents.cli.command import reports, require_text, with_unit
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.removals import RemovalOptions, command_line, run
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from vdbevents.journal.archive import ArchivedJournal
    from vdbevents.journal.state import StateDirectory
    from vdbevents.removal.retention import RetentionRules

HELP = """Show events that are too old, and with --yes remove them.

They go from the journal, from what was rotated or cleared, and from the cache. Without --older-than,
[retention] in the configuration says what is too old; the listener prunes by it once a day. What was removed
is written down as a journal.pruned line. Lines about the recording itself are kept for a week at least.

\b
Examples:
  vdbevents prune --older-than 90d
  vdbevents prune --older-than 90d --yes
  vdbevents prune --older-than 30d --channel visual_index --yes
  vdbevents prune --older-than 1d --session cap-1 --yes
  vdbevents prune --json | jq .events

\b
Exit codes: 0 something to remove, or removed; 1 nothing to remove; 2 wrong input; 74 no room, or another
process rewrites the journals.
"""


@reports
def prune(
    context: typer.Context,
    *,
    older_than: Annotated[
        str | None, Option(metavar="TIME", help="Received longer ago than 12h, 90d, 52w.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        Option(metavar="NAME", help="Only of this channel; repeatable, or with commas."),
    ] = None,
    session: Annotated[str | None, Option(metavar="ID", help="Only of this session and its streams.")] = None,
    options: RemovalOptions,
) -> ExitCode:
    from vdbevents.events.envelope import utc_text
    from vdbevents.journal.files import replace_file, to_json, wall_ms
    from vdbevents.removal.remover import Task
    from vdbevents.removal.retention import Retention

    require_text(session)
    if older_than is not None:
        older_than, directory = with_unit(older_than, options.directory)
        options = options.replace(directory=directory)
    now_ms = wall_ms()
    rules, facts = _rules(older_than, channel, context.find_root().obj.section("retention"))
    retention = Retention(rules, now_ms, session=session)
    if session is not None:
        facts["session"] = session
    # By the configuration it is done every day: files in which nothing is left to remove are not read again.
    is_daily = older_than is None and session is None
    is_done = _already_pruned(options.state, rules, facts) if is_daily else lambda _: False
    task = Task(
        retention,
        "journal.pruned",
        facts,
        may_hold=lambda journal: journal.from_ms < retention.oldest_kept_ms and not is_done(journal),
        takes_all_of=lambda journal: retention.takes_whole_files and journal.to_ms < retention.whole_file_ms,
        torn_without=retention.torn_without,
    )
    words = ["prune", *([] if older_than is None else ["--older-than", older_than])]
    words += [word for name in channel or () for word in ("--channel", name)]
    words += [] if session is None else ["--session", session]
    none = "nothing is older than that" if older_than else "nothing is older than [retention] allows"
    code = run(task, options, verb="removed", again=command_line(options, words), none=none)
    if is_daily and options.yes:
        with contextlib.suppress(OSError):
            replace_file(options.state.pruned, to_json({"by": facts, "at": utc_text(now_ms)}))
    return code


def _already_pruned(
    state: "StateDirectory", rules: "RetentionRules", facts: Mapping[str, Any]
) -> "Callable[[ArchivedJournal], bool]":
    """Return whether an archived file was pruned by these rules when all of it was as old as they ask for."""
    from vdbevents.events.fields import unix_ms
    from vdbevents.journal.files import read_object

    last = read_object(state.pruned)
    at_ms = unix_ms(last.get("at")) if last.get("by") == facts else None
    if at_ms is None:
        return lambda _: False
    old_ms = rules.all_old_ms(at_ms)

    def is_done(journal: "ArchivedJournal") -> bool:
        try:
            # A file that was restored or rewritten since counts as new.
            changed_ms = journal.path.stat().st_ctime_ns // 1_000_000
        except OSError:
            return False
        return journal.to_ms < old_ms and changed_ms < at_ms

    return is_done


def _rules(
    older_than: str | None, channels: list[str] | None, section: Mapping[str, Any]
) -> "tuple[RetentionRules, dict[str, Any]]":
    """Return the rules of the options, else of the configuration, and what to write down of them."""
    from vdbevents.cli.config_sections import retention_age
    from vdbevents.query.filters import ALIASES
    from vdbevents.removal.retention import RetentionRules
    from vdbevents.times import parse_duration

    if older_than is not None:
        age_ms = parse_duration("--older-than", older_than)
        names = [name.strip() for given in channels or () for name in given.split(",")]
        names = [ALIASES.get(name, name) for name in names]
        rules = RetentionRules(None, dict.fromkeys(names, age_ms)) if names else RetentionRules(age_ms)
        return rules, {"older_than": older_than, **({"of": names} if names else {})}
    if channels:
        raise InputError(
            "--channel: needs --older-than", "give both, such as --older-than 30d", error_id="option-missing"
        )
    ages = {ALIASES.get(name, name): retention_age(age) for name, age in section["channels"].items()}
    rules = RetentionRules(retention_age(section["older-than"]), ages)
    if rules.shortest_ms is None:
        raise InputError(
            "--older-than: missing, and [retention] in the configuration is not set",
            "give it, such as --older-than 90d; docs/configuration.md describes [retention]",
            error_id="option-missing",
        )
    facts = {"older_than": section["older-than"], "channels_older_than": section["channels"]}
    return rules, {name: value for name, value in facts.items() if value}
