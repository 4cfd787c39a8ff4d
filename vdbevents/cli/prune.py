"""`vdbevents prune`: remove events that are older than they are to be kept."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vdbevents.cli.command import reports, require_text
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.removals import RemovalOptions, command_line, run
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from vdbevents.removal.retention import RetentionRules

HELP = """Show which events are older than a time, and remove them with --yes.

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
Exit codes: 0 something would go, or is removed; 1 there is nothing; 2 wrong input; 74 no room, or another
process rewrites the journals.
"""


@reports
def prune(
    context: typer.Context,
    *,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Received longer ago than 12h, 90d, 52w.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only of this channel; repeatable, or with commas."),
    ] = None,
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Only of this session and its streams.")
    ] = None,
    options: RemovalOptions,
) -> ExitCode:
    from vdbevents.journal.files import wall_ms
    from vdbevents.removal.remover import Task
    from vdbevents.removal.retention import Retention

    require_text(session)
    rules, facts = _rules(older_than, channel, context.obj.section("retention"))
    retention = Retention(rules, wall_ms(), session=session)
    if session is not None:
        facts["session"] = session
    task = Task(
        retention,
        "journal.pruned",
        facts,
        may_hold=lambda journal: journal.from_ms < retention.oldest_kept_ms,
        torn_without=retention.torn_without,
    )
    words = ["prune", *([] if older_than is None else ["--older-than", older_than])]
    words += [word for name in channel or () for word in ("--channel", name)]
    words += [] if session is None else ["--session", session]
    none = "nothing is older than that" if older_than else "nothing is older than [retention] allows"
    return run(task, options, verb="removed", again=command_line(options, words), none=none)


def _rules(
    older_than: str | None, channels: list[str] | None, section: Mapping[str, Any]
) -> "tuple[RetentionRules, dict[str, Any]]":
    """Return the rules of the options, else of the configuration, and what to write down of them."""
    from vdbevents.cli.config_sections import retention_age
    from vdbevents.query.columns import ALIASES
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
            "give it, such as --older-than 90d; docs/configuration.md tells about [retention]",
            error_id="option-missing",
        )
    facts = {"older_than": section["older-than"], "channels_older_than": section["channels"]}
    return rules, {name: value for name, value in facts.items() if value}
