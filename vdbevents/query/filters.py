"""The filters of a query, and the events that it returns. Pure."""

from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final, NamedTuple

from vdbevents.errors import InputError
from vdbevents.events.fields import CHANNEL_ALIASES, SOURCE_WORDS
from vdbevents.events.session_content import SessionScope
from vdbevents.times import Window

_MOST_EVENTS: Final = 1 << 60

# The filters by name, and what one value of each is called.
_NAMED: Final = {
    "channels": "channel",
    "not_channels": "not-channel",
    "sources": "source",
    "streams": "stream",
    "sessions": "session",
    "names": "event",
    "labels": "label",
    "speakers": "speaker",
    "windows": "window",
}

ALIASES: Final = {**CHANNEL_ALIASES, "visual": "visual_index", "audio": "audio_index"}
"""A channel's other names, in filters and events."""

RECORDER_CHANNELS: Final = ("vdbevents", "capture_client")
"""The channels of what is about the recorder itself, and not about what was said or shown."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a query, combined with AND.

    Attributes:
        window: the times of receipt.
        by_event: compare the time of the event (`start`; without one, of receipt) with the window.
        grep: patterns; all must be in the event's text, its label or its speaker's name.
        any_of: patterns; at least one must be there.
        none_of: patterns; none may be there.
        ignore_case: None ignores case for each pattern without an upper-case letter ("smart case").
        extended: patterns are RE2 regular expressions instead of literal text.
        whole_words: a pattern matches only where no letter, digit or `_` is next to it.
        exact: patterns match character for character; case counts.
        channels: any of these; aliases (`scene_index`, `visual`, `spoken_index`, `audio`) are accepted.
        not_channels: none of these, nor around a match; aliases are accepted, too.
        recorder: include what is about the recorder itself. Otherwise it is left out, also around a match,
            unless one of its channels is in `channels`, or an event or a label is named.
        sources: any of these: `mic`, `system_audio`, `screen`, `camera`.
        streams: any of these ids or names.
        sessions: the content of any of these: ids of sessions, their beginnings, or `last`.
        scope: that content, once it is known.
        names, labels: any of these values of `event`, labels.
        speakers: any of these names, in any case.
        windows: any of these windows or apps, whole words in any case: `slack` is in `#general - Slack`.
        least_confidence: the confidence is at least this; an event without one does not match.
        where: a SQL condition over the columns of the view `events` (`query.sql.views`).
        zone: the zone of times in `where`; None is UTC.
        spans: only events that happened, at least in part, in one of these times, in Unix ms, ends included.
        limit: only the newest N; they are still given oldest first.
        offset: skip the newest N, before `limit` counts.
        around_ms: also all events within so many milliseconds before and after each match.
        newest_first: the order of the result.
        interim: include interim transcripts that a final one replaced.
    """

    window: Window = field(default_factory=Window)
    by_event: bool = False
    grep: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    ignore_case: bool | None = None
    extended: bool = False
    whole_words: bool = False
    exact: bool = False
    channels: tuple[str, ...] = ()
    not_channels: tuple[str, ...] = ()
    recorder: bool = True
    sources: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    scope: SessionScope | None = None
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    least_confidence: float | None = None
    where: str | None = None
    zone: tzinfo | None = None
    spans: tuple[tuple[int, int], ...] = ()
    limit: int | None = None
    offset: int = 0
    around_ms: int | None = None
    newest_first: bool = False
    interim: bool = False

    def __post_init__(self) -> None:
        """Check names, condition and numbers of events; a number that no journal has stands for all.

        Raises:
            InputError: a number is negative, or a text is not UTF-8, as no journal has it.
        """
        for name, singular in _NAMED.items():
            for value in getattr(self, name):
                _require_utf8(singular, value)
        if self.where is not None:
            _require_utf8("where", self.where)
        for name in ("limit", "offset"):
            number = getattr(self, name)
            if number is not None and number < 0:
                raise InputError(
                    f"{name}: not a number of events, got {number}",
                    "use a number from 0 on" if name == "offset" else "use a number from 1 on",
                    error_id="limit-invalid",
                )
            if number is not None and number > _MOST_EVENTS:
                object.__setattr__(self, name, _MOST_EVENTS)

    @property
    def looked_for(self) -> tuple[str, ...]:
        """The patterns that occur in a match, without empty ones."""
        return tuple(filter(None, (*self.grep, *self.any_of)))

    @property
    def hidden_channels(self) -> tuple[str, ...]:
        """The channels of the recorder that are left out though nobody has said so."""
        if self.recorder or self.names or self.labels:
            return ()
        return tuple(channel for channel in RECORDER_CHANNELS if channel not in self.channels)

    @property
    def is_everything_but_the_recorder(self) -> bool:
        """Whether only what is about the recorder itself is left out of the window."""
        texts = (*self.grep, *self.any_of, *self.none_of)
        names = (*self.sources, *self.streams, *self.sessions, *self.speakers, *self.windows)
        others = (self.channels, self.not_channels, self.names, self.labels, self.spans, self.where)
        numbers = (self.limit, self.offset, self.least_confidence is not None)
        return not (self.recorder or texts or names or any(others) or any(numbers))

    @property
    def in_order_of_events(self) -> bool:
        """Whether the result is ordered by the events' own times, not those of receipt."""
        return self.by_event or self.around_ms is not None


class Event(NamedTuple):
    """A journal line, its variants folded into columns (see docs/events-format.md); times in Unix ms.

    `line` is set only if the event has neither a text nor a label. `host` is not part of a line:
    `query.merge` sets it where several journals are read.
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
    window_name: str | None
    line: str | None
    host: str | None = None


def _require_utf8(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{what}: not UTF-8: {text!r}", "give it in UTF-8", error_id="filter-not-utf8"
        ) from None


def known_sources(option: str, sources: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sources that were given.

    Raises:
        InputError: one of them is not a source.
    """
    for source in sources:
        if source not in SOURCE_WORDS:
            raise InputError(
                f"{option}: not a source, got {source!r}",
                "use mic, system_audio, screen or camera",
                error_id="source-invalid",
            )
    return sources


def phrases_in(text: str) -> tuple[str, ...]:
    """Return the words of a text, and each phrase between two quotation marks as one."""
    phrases: list[str] = []
    for place, part in enumerate(text.replace("\u201c", '"').replace("\u201d", '"').split('"')):
        phrases += filter(None, [part.strip()]) if place % 2 else part.split()
    return tuple(phrases)
