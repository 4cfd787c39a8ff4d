"""`vdbevents search`: find moments of recorded videos by their meaning."""

import math
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from vdbevents.cli.cloud_client import Service, begin, find_streams
from vdbevents.cli.command import as_json, put, reports
from vdbevents.cli.declared import Argument, Option
from vdbevents.cli.diagnostics import Color, ExitCode, wants_colour
from vdbevents.cli.options import ColorOption, SessionOptions, StreamOption
from vdbevents.cli.pipelines import indexes_of
from vdbevents.cli.tables import iso, nothing, terminal_width
from vdbevents.errors import InputError
from vdbevents.events.lifecycle import Stream

if TYPE_CHECKING:
    from vdbevents.cloud import Shot
    from vdbevents.query.filters import Event


HELP = """Search speech and screen by meaning, with VideoDB.

This is VideoDB's semantic search over the indexes of a session. Prints the best -n matches, oldest first,
like vdbevents query.

\b
Examples:
  vdbevents search "when was I debugging performance"
  vdbevents search "who asked for the invoice" --stream mic -n 3
  vdbevents search "the budget" --json | jq -r '.[].text'

\b
Exit codes: 0 found, 1 nothing found.
"""


@reports
def search(
    question: Annotated[
        str, Argument(metavar="QUESTION", help="A question in your own words.", show_default=False)
    ],
    *,
    limit: Annotated[int, Option("-n", "--limit", min=1, metavar="N", help="Only the N best matches.")] = 10,
    stream: StreamOption = None,
    options: SessionOptions,
    color: ColorOption = Color.AUTO,
) -> ExitCode:
    if not question.strip():
        raise InputError(
            "QUESTION: must not be empty",
            'try vdbevents search "the invoice"',
            error_id="question-empty",
        )
    service, state = begin(options)
    streams = find_streams(service, state, options, stream)
    channels: dict[str, str] = {}
    matches: list[tuple[Stream, Shot]] = []
    for candidate in streams:
        indexes = indexes_of(service, candidate)
        channels |= {index.id: index.channel for index in indexes}
        if indexes:
            matches += [(candidate, shot) for shot in _search(service, candidate, question, limit)]
    # The best matches, in the order of their times.
    matches.sort(key=lambda pair: -math.inf if pair[1].score is None else pair[1].score, reverse=True)
    matches = sorted(matches[:limit], key=lambda pair: pair[1].start or 0.0)
    if options.as_json:
        put(as_json([_to_dict(*pair) for pair in matches]))
    elif matches:
        _print_page([_event(*pair, channels) for pair in matches], color)
    if matches:
        return ExitCode.DONE
    if channels:
        return nothing("nothing found")
    return nothing(
        "nothing to search: no stream of the session has an index",
        "start one: vdbevents pipelines start, with --visual-prompt or --audio-prompt",
    )


def _search(service: Service, stream: Stream, question: str, most: int) -> "list[Shot]":
    return service.ask(lambda: service.account.search(stream.id, question, most=most))


def _to_dict(stream: Stream, shot: "Shot") -> dict[str, Any]:
    return {
        "stream_id": stream.id,
        "stream_name": stream.name,
        "source": stream.source,
        "started": iso(shot.start),
        "ended": iso(shot.end),
        # Their names until the next release.
        "start": iso(shot.start),
        "end": iso(shot.end),
        "text": shot.text,
        "score": shot.score,
        "index_id": shot.index_id,
    }


def _event(stream: Stream, shot: "Shot", channels: Mapping[str, str]) -> "Event":
    from vdbevents.query.filters import Event

    seconds = shot.start if iso(shot.start) else None
    return Event(
        time_ms=None if seconds is None else round(seconds * 1000),
        channel=channels.get(shot.index_id),
        event=None,
        source=stream.source,
        stream=stream.id,
        stream_name=stream.name,
        session=None,
        text=shot.text,
        is_final=None,
        start_ms=None,
        end_ms=None,
        label=None,
        speaker=None,
        confidence=shot.score,
        window_name=None,
        line="",
    )


def _print_page(events: "list[Event]", color: Color) -> None:
    from vdbevents.cli.localtime import SystemZone
    from vdbevents.query.filters import Filters
    from vdbevents.query.output.text import TextLayout, TextShape

    times = [event.time_ms for event in events if event.time_ms is not None]
    page = TextLayout(
        (min(times), max(times)) if times else None,
        Filters(),
        colour=wants_colour(color, sys.stdout, os.environ),
        zone=SystemZone(),
        shape=TextShape(terminal_width),
    )
    put("".join(page.lines(events)).removesuffix("\n"))
