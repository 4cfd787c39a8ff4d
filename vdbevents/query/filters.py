"""What a query asks for, and the event that it returns. Pure."""

from dataclasses import dataclass, field
from typing import NamedTuple

from vdbevents.times import Window

# -- What a query asks -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked of a journal; every part that is given must hold.

    Attributes:
        window: the times of receipt.
        by_event: the times are those at which something was said or shown (`start`; without one, of receipt).
        grep: patterns, each of which must be found in the event's text or its label.
        any_of: patterns, one of which at least must be found there.
        none_of: patterns, none of which may be found there.
        ignore_case: None ignores case for each pattern that has no upper-case letter ("smart case").
        extended: the patterns are RE2 regular expressions instead of literal text.
        whole_words: a pattern is found only where no letter, digit or `_` is next to it.
        channels: any of these; aliases (`scene_index`, `visual`, `spoken_index`, `audio`) are understood.
        sources: any of these: `mic`, `system_audio`, `screen`, `camera`.
        streams: any of these, as a stream's id or its name.
        sessions, names, labels: any of these, as a session's id, an `event`, a `label`.
        least_confidence: only what has a confidence, of so much at least.
        where: a condition in SQL, over the columns of the view `events` (`query.views`).
        limit: the newest so many only; they are still given oldest first.
        offset: so many of the newest are left out, before `limit` counts.
        around_ms: also all that happened so many milliseconds before and after what was chosen.
        newest_first: the order of the answer.
        interim: show interim transcripts even where a final one replaced them.
    """

    window: Window = field(default_factory=Window)
    by_event: bool = False
    grep: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    ignore_case: bool | None = None
    extended: bool = False
    whole_words: bool = False
    channels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    least_confidence: float | None = None
    where: str | None = None
    limit: int | None = None
    offset: int = 0
    around_ms: int | None = None
    newest_first: bool = False
    interim: bool = False

    @property
    def looked_for(self) -> tuple[str, ...]:
        """The patterns that are found in what matches; no empty one."""
        return tuple(filter(None, (*self.grep, *self.any_of)))

    @property
    def in_order_of_events(self) -> bool:
        """Whether the answer's times are those at which something was said or shown."""
        return self.by_event or self.around_ms is not None


class Event(NamedTuple):
    """A line of a journal, its variants folded into columns (see docs/events-format.md); times in Unix ms.

    `line` is there where nothing of it was understood: where there is neither a text nor a label. `host` is
    in no line: `query.merged` tells it, where several journals are read.
    """

    time_ms: int | None
    channel: str | None
    event: str | None
    source: str | None
    stream: str | None
    stream_name: str | None
    session: str | None
    text: str | None
    is_final: bool | None
    start_ms: int | None
    end_ms: int | None
    label: str | None
    speaker: str | None
    confidence: float | None
    line: str | None
    host: str | None = None
