"""The rules of the configuration for what must not be written down."""

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from vdbevents.journal.state import StateDirectory
    from vdbevents.privacy.recording_rules import RecordingRules
    from vdbevents.privacy.redaction import RedactionRules


def redaction_rules(context: typer.Context) -> "RedactionRules":
    """Return what the table `[redact]`, the environment and the defaults ask to replace.

    Args:
        context: of any command.
    """
    from vdbevents.privacy.redaction import KINDS, RedactionRules

    section = _section(context, "redact")
    return RedactionRules(frozenset(kind for kind in KINDS if section[kind]), section["expressions"])


def recording_rules(context: typer.Context, state: "StateDirectory") -> "RecordingRules":
    """Return the rules of a process that records into a directory.

    Args:
        context: of the command.
        state: its capture's file says which streams have which source.
    """
    from vdbevents.journal import files
    from vdbevents.privacy.exclusion import Exclusion, ExclusionRules
    from vdbevents.privacy.recording_rules import RecordingRules
    from vdbevents.privacy.redaction import Redactor

    exclude = {name: tuple(values) for name, values in _section(context, "exclude").items()}
    exclusion = Exclusion(ExclusionRules(**exclude))
    streams = files.read_object(state.capture_info).get("streams")
    exclusion.note_streams(
        (str(stream.get("id")), stream.get("source"))
        for stream in (streams if isinstance(streams, list) else ())
        if isinstance(stream, dict)
    )
    return RecordingRules(Redactor(redaction_rules(context)), exclusion)


def _section(context: typer.Context, name: str) -> dict[str, Any]:
    section: dict[str, Any] = context.find_root().obj.section(name)
    return section
