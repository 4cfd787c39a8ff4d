"""Decide which events are not written at all: by source, window, app, word and hour.

Only content is left out: the recorder's own lines and the steps of a session are always written.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

from vdbevents.events import fields
from vdbevents.events.envelope import CAPTURE_CHANNEL, Record
from vdbevents.events.window_names import window_of
from vdbevents.privacy.folding import UNSEEN_CHARACTERS
from vdbevents.privacy.structure import STRUCTURE

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS: Final = re.compile(
    r"(?:(?P<days>[A-Za-z, -]+?) +)?(?P<from>\d\d?:\d\d) ?- ?(?P<to>\d\d?:\d\d)", re.ASCII
)
_DAY_MINUTES: Final = 24 * 60
_LONGEST_PHRASE: Final = 200
_MINUTE_MS: Final = 60_000
_LONGEST_SPAN_MINUTES: Final = 24 * 60
_AUDIO: Final = ("mic", "system_audio")
_SCREEN: Final = ("screen", "camera")
_NAME_MEMBERS: Final = STRUCTURE - {"name"}


class Hours(NamedTuple):
    """A part of a day, by the clock on the wall.

    Attributes:
        days: of the week on which it begins; Monday is 0.
        start, end: minutes since midnight; it ends on the next day if `end` is not after `start`.
    """

    days: frozenset[int]
    start: int
    end: int

    def includes(self, moment: datetime) -> bool:
        """Return whether a local time is in it."""
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        is_evening = day in self.days and minute >= self.start
        return is_evening or ((day - 1) % 7 in self.days and minute < self.end)


def parse_hours(text: str) -> Hours:
    """Return the hours that a text such as `22:00-06:00` or `Mon-Fri 12:00-13:00` means.

    Raises:
        ValueError: it means none.
    """
    match = _HOURS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"must be hours such as 22:00-06:00 or Mon-Fri 12:00-13:00, got {text!r}")
    start, end = (_minutes(match[name], text) for name in ("from", "to"))
    if start == end:
        raise ValueError(f"must end at another time than it begins, got {text!r}; 00:00-24:00 is a whole day")
    days = frozenset(_days(match["days"], text)) if match["days"] else frozenset(range(7))
    return Hours(days, start % _DAY_MINUTES, end)


def _minutes(clock: str, text: str) -> int:
    hour, minute = map(int, clock.split(":"))
    if minute > 59 or hour * 60 + minute > _DAY_MINUTES:  # noqa: PLR2004 - minutes of an hour
        raise ValueError(f"must have times from 00:00 to 24:00, got {text!r}")
    return hour * 60 + minute


def _days(names: str, text: str) -> Iterator[int]:
    for part in names.replace(" ", ",").split(","):
        if not part:
            continue
        first, _, last = part.partition("-")
        try:
            begin, end = (_DAYS.index(name[:3].lower()) for name in (first, last or first))
        except ValueError:
            raise ValueError(f"must name days as Mon, Tue, Wed, Thu, Fri, Sat, Sun, got {text!r}") from None
        yield from (day % 7 for day in range(begin, end + 1 if begin <= end else end + 8))


def check_phrase(phrase: str) -> None:
    """Check a word, or the name of a window or app.

    Raises:
        ValueError: it has no letter or digit, or is too long.
    """
    if not any(map(str.isalnum, phrase)) or len(phrase) > _LONGEST_PHRASE:
        raise ValueError(
            f"must have a letter or digit and at most {_LONGEST_PHRASE} characters, got {phrase!r}"
        )


@dataclass(frozen=True, slots=True)
class ExclusionRules:
    """What to leave out.

    Attributes:
        sources: of `mic`, `system_audio`, `camera`, `screen`.
        windows, apps: names; a description of the screen that has one is left out.
        words: an event with one of them in any text is left out.
        hours: as `parse_hours` takes them.
    """

    sources: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    hours: tuple[str, ...] = ()

    def as_json(self) -> dict[str, list[str]]:
        """Return the rules that there are, by their names."""
        names = ("sources", "windows", "apps", "words", "hours")
        return {name: list(getattr(self, name)) for name in names if getattr(self, name)}


class Exclusion:
    """Applies rules to events; learns from the steps of a session which source a stream has."""

    def __init__(self, rules: ExclusionRules | None = None, zone: tzinfo | None = None) -> None:
        """Prepare the rules.

        Args:
            rules: none if None.
            zone: of the hours; that of this machine if None.

        Raises:
            ValueError: a rule is wrong.
        """
        self.rules = rules or ExclusionRules()
        self._hours = [parse_hours(text) for text in self.rules.hours]
        self._zone = zone
        self._names = [
            (kind, pattern)
            for kind, phrases in (("window", self.rules.windows), ("app", self.rules.apps))
            if (pattern := _pattern(phrases)) is not None
        ]
        self._words = _pattern(self.rules.words)
        self._sources: dict[str, str] = {}
        self._is_in_hours = lru_cache(maxsize=4096)(self._look_at_hours)

    @property
    def is_idle(self) -> bool:
        """Whether there is no rule."""
        return not self.rules.as_json()

    def note_streams(self, streams: Iterable[tuple[str, str | None]]) -> None:
        """Note the sources of streams, by their ids."""
        self._sources.update({stream_id: source for stream_id, source in streams if stream_id and source})

    def reason(self, record: Record, at_ms: int | None) -> str | None:
        """Return why an event is left out: `source`, `window`, `app`, `word` or `hours`; None if it is not.

        Args:
            record: not yet redacted; content, as `is_content` says.
            at_ms: when it arrived; None for an event that was fetched.
        """
        if self.rules.sources and self._is_of_source(record):
            return "source"
        if self._hours and any(map(self._is_in_hours, _minutes_of(record, at_ms))):
            return "hours"
        if not self._names and self._words is None:
            return None
        text = _folded("\n".join(_texts(record.event)))
        if self._words is not None and self._words.search(text):
            return "word"
        if self._source_of(record) not in _AUDIO and record.channel not in ("transcript", "audio_index"):
            # In a text that is JSON, a name may be escaped.
            text += _folded(f"\n{window_of(record.event) or ''}") if self._names else ""
            return next((kind for kind, pattern in self._names if pattern.search(text)), None)
        return None

    def _source_of(self, record: Record) -> str | None:
        return record.source or self._sources.get(record.stream_id)

    def _is_of_source(self, record: Record) -> bool:
        source, sources = self._source_of(record), self.rules.sources
        if source is not None:
            return source in sources
        if record.channel in ("transcript", "audio_index", CAPTURE_CHANNEL):
            # Of which voice it is, it does not say.
            return any(audio in sources for audio in _AUDIO)
        return record.channel == "visual_index" and any(screen in sources for screen in _SCREEN)

    def _look_at_hours(self, minute: int) -> bool:
        moment = datetime.fromtimestamp(minute * 60, self._zone)
        return any(hours.includes(moment) for hours in self._hours)


def is_content(record: Record) -> bool:
    """Return whether an event is what was said or shown: no step of a session, no line of the recorder."""
    if record.channel == CAPTURE_CHANNEL:
        return record.event.get("event") == "transcript"
    if record.channel == fields.OWN_CHANNEL and fields.is_own(record.event):
        return False
    return record.lifecycle is None and record.channel != "capture_session"


def _minutes_of(record: Record, at_ms: int | None) -> Iterator[int]:
    """Yield the minutes since the epoch in which an event was, or arrived."""
    if at_ms is not None:
        yield at_ms // _MINUTE_MS
    start_ms, end_ms = fields.span_of(record.event)
    if start_ms is None:
        return
    last = max(start_ms, start_ms if end_ms is None else end_ms - 1) // _MINUTE_MS
    first = max(start_ms // _MINUTE_MS, last - _LONGEST_SPAN_MINUTES)
    yield from range(first, last + 1)


def _pattern(phrases: Sequence[str]) -> re.Pattern[str] | None:
    """Return an expression that finds any of some phrases as whole words; None without phrases."""
    expressions = []
    for phrase in phrases:
        words = _folded(phrase).split()
        inner = r"\s+".join(map(re.escape, words))
        expressions.append(f"{_edge(words[0][0], '<!')}{inner}{_edge(words[-1][-1], '!')}")
    return re.compile("|".join(expressions)) if expressions else None


def _edge(character: str, look: str) -> str:
    """Return the expression of a word's edge: of scripts without spaces between words there is none."""
    has_words = character.isalnum() and not ("\u0e00" <= character <= "\u109f" or character >= "\u1780")
    return rf"(?{look}\w)" if has_words else ""


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    text = UNSEEN_CHARACTERS.sub("", text)
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _texts(value: object, name: str = "") -> Iterator[str]:
    """Yield all strings of an event but ids, times and names of events."""
    if isinstance(value, str):
        if name not in _NAME_MEMBERS:
            yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, key)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, name)
