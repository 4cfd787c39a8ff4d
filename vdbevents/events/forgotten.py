"""The times that were forgotten: what was said or shown in them is never fetched again. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

from vdbevents.events import envelope, fields

MOST_SPANS: Final = 10_000
"""The spans that are kept, newest first: only the records of the last sessions can be fetched again."""


class ForgottenSpan(NamedTuple):
    """A half-open time in Unix ms, of one stream and channel; of all where these are empty."""

    since_ms: int
    until_ms: int
    channel: str = ""
    stream: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return it as the state file has it."""
        of = {"channel": self.channel, "stream": self.stream}
        times = {"since": envelope.utc_text(self.since_ms), "until": envelope.utc_text(self.until_ms)}
        return {**times, **{name: value for name, value in of.items() if value}}


class Forgotten:
    """All spans that were forgotten.

    Attributes:
        spans: each once, in the order of their ends.
    """

    def __init__(self, spans: Iterable[ForgottenSpan] = ()) -> None:
        """Take spans; of too many the newest."""
        every = sorted(set(spans), key=lambda span: (span.until_ms, span))
        self.spans = tuple(every[-MOST_SPANS:])
        self._joined: dict[tuple[str, str], _JoinedSpans] = {}
        for span in sorted(self.spans):
            self._joined.setdefault((span.channel, span.stream), _JoinedSpans()).append(span)

    @classmethod
    def from_object(cls, stored: Mapping[str, Any]) -> Self:
        """Read the content of the state file; what is unreadable in it is left out."""
        entries = stored.get("forgotten")
        return cls(
            ForgottenSpan(since_ms, until_ms, str(entry.get("channel", "")), str(entry.get("stream", "")))
            for entry in (entries if isinstance(entries, list) else ())
            if isinstance(entry, Mapping)
            and (since_ms := fields.unix_ms(entry.get("since"))) is not None
            and (until_ms := fields.unix_ms(entry.get("until"))) is not None
        )

    def to_object(self) -> dict[str, Any]:
        """Return the content of the state file."""
        return {"forgotten": [span.to_dict() for span in self.spans]}

    def covers(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event was said or shown, in whole or in part, in one of the spans."""
        if not self.spans:
            return False
        start_ms, end_ms = fields.span_of(event)
        if start_ms is None:
            return False
        end_ms = start_ms if end_ms is None else end_ms
        keys = ("", ""), (fields.channel_of(event), fields.stream_id_of(event))
        return any(key in self._joined and self._joined[key].meet(start_ms, end_ms) for key in keys)


class _JoinedSpans:
    """Half-open spans, joined where they meet."""

    def __init__(self) -> None:
        self._starts: set[int] = set()
        self._begins: list[int] = []
        self._ends: list[int] = []

    def append(self, span: ForgottenSpan) -> None:
        """Add a span that begins at the beginning of the last one, or later."""
        self._starts.add(span.since_ms)
        if self._ends and span.since_ms <= self._ends[-1]:
            self._ends[-1] = max(self._ends[-1], span.until_ms)
        else:
            self._begins.append(span.since_ms)
            self._ends.append(span.until_ms)

    def meet(self, start_ms: int, end_ms: int) -> bool:
        """Return whether a time shares more than an end with a span; a moment counts as its beginning."""
        place = bisect_left(self._begins, max(end_ms, start_ms + 1)) - 1
        return start_ms in self._starts or (place >= 0 and self._ends[place] > start_ms)
