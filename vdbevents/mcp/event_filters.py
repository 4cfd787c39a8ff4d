"""The parameters that choose events, and the filters that they mean. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from vdbevents.errors import InputError
from vdbevents.mcp.tool_parameters import Parameter
from vdbevents.query.filters import Filters, phrases_in
from vdbevents.times import Window

CHANNELS: Final = ("transcript", "visual_index", "audio_index", "alert", "capture_session")
SOURCES: Final = ("mic", "system_audio", "screen", "camera")

SESSION: Final = Parameter("session", "text", "A session's id, or last.")
SOURCE: Final = Parameter("source", "texts", "Of these sources.", choices=SOURCES)
SPEAKER: Final = Parameter("speaker", "text", "Said by this person.")

CHOOSING: Final = (
    Parameter(
        "words",
        "text",
        'Words, also parts, that must all occur, in any order and case; "one phrase".',
    ),
    Parameter("regex", "text", "Instead: an RE2 expression, in any case."),
    Parameter("any_of", "texts", "One of these texts must occur."),
    Parameter(
        "channel",
        "texts",
        "transcript: speech; visual_index: screens; audio_index: summaries.",
        choices=CHANNELS,
    ),
    SOURCE,
    SPEAKER,
    Parameter("app", "text", "Screens with this window or app: slack."),
    Parameter("label", "text", "Alerts with this label."),
    SESSION,
)
"""The parameters that choose events, but for the time."""


def filters_in(tool: str, values: Mapping[str, Any], window: Window) -> Filters:
    """Return the filters that a call asks for; times are the events' own.

    Raises:
        InputError: words and an expression are both given, or a text cannot be searched for.
    """
    words, regex = values["words"], values["regex"]
    if regex is not None and (words or values["any_of"]):
        raise InputError(
            f"{tool}: regex: not with words or any_of",
            r"put them into the expression: \bship\b.*\binvoice\b",
            error_id="argument-conflict",
        )
    return Filters(
        window=window,
        by_event=True,
        grep=(regex,) if regex else phrases_in(words or ""),
        any_of=tuple(values["any_of"] or ()),
        ignore_case=True,
        extended=regex is not None,
        channels=tuple(values["channel"] or ()),
        recorder=False,
        sources=tuple(values["source"] or ()),
        sessions=() if values["session"] is None else (values["session"],),
        labels=() if values["label"] is None else (values["label"],),
        speakers=() if values["speaker"] is None else (values["speaker"],),
        windows=() if values["app"] is None else (values["app"],),
    )


def chooses(values: Mapping[str, Any]) -> bool:
    """Return whether a call asks for certain events."""
    return any(values[parameter.name] is not None for parameter in CHOOSING)
