"""Join what was said into paragraphs, with marks where nobody spoke and where nothing was recorded. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

from vdbevents.events.envelope import utc_text
from vdbevents.events.gaps import Gap
from vdbevents.privacy.pauses import Pause
from vdbevents.query.filters import Event
from vdbevents.times import Window, format_duration

COLUMNS: Final = (
    *("time_ms", "channel", "source", "stream_name", "session", "text", "is_final", "start_ms", "end_ms"),
    *("speaker", "host"),
)
"""The columns of `Event` that are needed."""

_PAUSE_MS: Final = 10_000
_LONGEST_MS: Final = 60_000


class Paragraph(NamedTuple):
    """What one speaker said without a long pause.

    Attributes:
        start_ms: when it begins, in Unix ms; None if that is not known.
        end_ms: when it ends.
        speaker: a name, if the service gave one.
        source: such as `mic`, else the stream's name.
        host: the machine, if there are several.
        text: whole utterances, with a blank between two.
        is_unfinished: whether the last one is an interim transcript that nothing has replaced.
    """

    start_ms: int | None
    end_ms: int | None
    speaker: str | None
    source: str | None
    host: str | None
    text: str
    is_unfinished: bool = False

    @property
    def who(self) -> str:
        """The speaker, else the source; with the machine before it, if there are several."""
        return " ".join(filter(None, (self.host, self.speaker or self.source)))

    def data(self) -> dict[str, Any]:
        """Return the paragraph for JSON."""
        names = {"speaker": self.speaker, "source": self.source}
        host = {} if self.host is None else {"host": self.host}
        unfinished = {"unfinished": True} if self.is_unfinished else {}
        times = {"started": _utc(self.start_ms), "ended": _utc(self.end_ms)}
        return {"kind": "speech", **times, **host, **names, "text": self.text, **unfinished}


class Silence(NamedTuple):
    """A time without speech, between two utterances or where nothing was recorded.

    Attributes:
        kind: `silence`: nobody spoke; `gap`: events were not received; `pause`: somebody asked not to record.
        start_ms, end_ms: in Unix ms; the end is None while a pause has none.
        host: the machine on which nothing was recorded, if there are several.
        is_partial: whether a part of the speech in a gap is there.
        is_ongoing: whether it goes on: `end_ms` is the present then.
    """

    kind: Literal["silence", "gap", "pause"]
    start_ms: int
    end_ms: int | None
    host: str | None = None
    is_partial: bool = False
    is_ongoing: bool = False

    @property
    def words(self) -> str:
        """What is shown of it: `[gap of 3 min: nothing was recorded]`."""
        length = "" if self.end_ms is None else f" of {format_duration(max(0, self.end_ms - self.start_ms))}"
        so_far = " so far" if self.is_ongoing else ""
        where = f" on {self.host}" if self.host else ""
        if self.kind == "silence":
            return f"[silence{length}]"
        if self.kind == "pause":
            return f"[pause{length}{so_far}{where}: nothing was recorded, as asked for]"
        lack = "speech may be missing" if self.is_partial else "nothing was recorded"
        return f"[gap{length}{so_far}{where}: {lack}]"

    def data(self) -> dict[str, Any]:
        """Return the silence for JSON."""
        host = {} if self.host is None else {"host": self.host}
        partial = {"partial": True} if self.is_partial else {}
        ongoing = {"ongoing": True} if self.is_ongoing or self.end_ms is None else {}
        times = {"started": _utc(self.start_ms), "ended": _utc(self.end_ms)}
        return {"kind": self.kind, **times, **host, **partial, **ongoing}


Part = Paragraph | Silence


def gap_silences(gaps: Iterable[Gap], window: Window, host: str | None = None) -> list[Silence]:
    """Return the gaps in which speech may be missing, and that touch the window, by their starts."""
    silences = [
        Silence("gap", gap.since_ms, gap.until_ms, host, _is_partial(gap), gap.ongoing)
        for gap in gaps
        if _lacks_speech(gap) and gap.touches(window.since_ms, window.until_ms)
    ]
    return sorted(silences, key=lambda silence: silence.start_ms)


def pause_silences(
    pauses: Iterable[Pause], window: Window, now_ms: int, host: str | None = None
) -> list[Silence]:
    """Return the pauses that touch the window, by their starts; one that goes on lasts until `now_ms`."""
    silences = []
    for pause in pauses:
        if pause.touches(window.since_ms, window.until_ms) and pause.since_ms <= now_ms:
            goes_on = pause.end_ms is None or pause.end_ms > now_ms
            end_ms = now_ms if pause.end_ms is None else min(pause.end_ms, now_ms)
            silences.append(Silence("pause", pause.since_ms, end_ms, host, is_ongoing=goes_on))
    return sorted(silences, key=lambda silence: silence.start_ms)


def _lacks_speech(gap: Gap) -> bool:
    lost = [item.what for item in gap.missing if item.lost]
    if gap.is_recovered:
        return False
    return not lost or any(what != "alerts" and " index " not in f" {what} " for what in lost)


def _is_partial(gap: Gap) -> bool:
    """Return whether a part of what was said in the gap was fetched, or other streams went on."""
    is_all = gap.status == "open" or any(item.what == "everything" for item in gap.missing)
    return bool(gap.streams) or not is_all


def parts_of(events: Iterable[Event], silences: Iterable[Silence], break_ms: int) -> Iterator[Part]:
    """Yield paragraphs and silences in the order of their starts.

    A paragraph ends where another speaks, after a pause of ten seconds, and at the end of the utterance with
    which it has lasted a minute.

    Args:
        events: final transcripts, and interim ones that nothing replaced, in the order of their starts.
        silences: where nothing was recorded.
        break_ms: a silence that is longer is marked.
    """
    waiting = sorted(silences, key=lambda silence: silence.start_ms)
    spoken: list[Event] = []
    until_ms: int | None = None
    for event in events:
        text = " ".join((event.text or "").split())
        if not text:
            continue
        start_ms = start_of(event)
        due = [one for one in waiting if start_ms is not None and one.start_ms <= start_ms]
        waiting = waiting[len(due) :]
        if start_ms is not None and until_ms is not None and start_ms - until_ms > break_ms:
            due += _between(until_ms, start_ms, due, break_ms)
        if spoken and (due or not _goes_on(spoken, event)):
            yield _paragraph(spoken)
            spoken = []
        yield from sorted(due, key=lambda silence: silence.start_ms)
        spoken.append(event._replace(text=text))
        ends = [moment for moment in (until_ms, end_of(event)) if moment is not None]
        until_ms = max(ends, default=None)
    if spoken:
        yield _paragraph(spoken)
    yield from waiting


def _between(since_ms: int, until_ms: int, known: Sequence[Silence], break_ms: int) -> list[Silence]:
    """Return the silences in a time that are neither short nor known to be a gap or a pause."""
    silences = []
    for one in sorted(known, key=lambda silence: silence.start_ms):
        if one.start_ms - since_ms > break_ms:
            silences.append(Silence("silence", since_ms, one.start_ms))
        since_ms = max(since_ms, until_ms if one.end_ms is None else one.end_ms)
    if until_ms - since_ms > break_ms:
        silences.append(Silence("silence", since_ms, until_ms))
    return silences


def _goes_on(spoken: Sequence[Event], event: Event) -> bool:
    """Return whether an utterance continues a paragraph."""
    first, last = spoken[0], spoken[-1]
    if last.is_final is False or _speaker(last) != _speaker(event):
        return False
    began_ms, ended_ms, start_ms = start_of(first), end_of(last), start_of(event)
    if began_ms is None or ended_ms is None or start_ms is None:
        return began_ms is start_ms
    return start_ms - ended_ms <= _PAUSE_MS and start_ms - began_ms < _LONGEST_MS


def _speaker(event: Event) -> tuple[str | None, str | None, str | None]:
    return event.host, event.speaker, event.source or event.stream_name


def _paragraph(spoken: Sequence[Event]) -> Paragraph:
    first, last = spoken[0], spoken[-1]
    host, speaker, source = _speaker(first)
    ends = [moment for event in spoken if (moment := end_of(event)) is not None]
    text = " ".join(event.text or "" for event in spoken)
    return Paragraph(
        start_of(first), max(ends, default=None), speaker, source, host, text, last.is_final is False
    )


def start_of(event: Event) -> int | None:
    """Return when something was said, else when it was received, in Unix ms."""
    return event.time_ms if event.start_ms is None else event.start_ms


def end_of(event: Event) -> int | None:
    """Return when it ended, never before its start, in Unix ms."""
    start_ms = start_of(event)
    if start_ms is None or event.end_ms is None:
        return start_ms
    return max(start_ms, event.end_ms)


def _utc(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else utc_text(milliseconds)
