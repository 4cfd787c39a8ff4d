"""Write moments as text, Markdown or JSON, as much as fits."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from typing import Any, Final, NamedTuple, Protocol

from vdbevents.query.filters import Event
from vdbevents.query.output.budget import Bound
from vdbevents.query.output.highlight import Highlighter
from vdbevents.query.output.markdown import in_code, marked_up
from vdbevents.query.output.rows import description, on_one_line, utc_time
from vdbevents.summaries.digest import Missed
from vdbevents.summaries.digest_output import span_text
from vdbevents.summaries.moments import Surroundings, begin_of
from vdbevents.summaries.time_blocks import local_time_of
from vdbevents.terminal import cells, counted, part_in_words, with_command

_EVERYTHING: Final = 1 << 40
_TEXT_LENGTHS: Final = (1000, 400, 200, 100)
_SHORT: Final = 200
# A sentence has its time and more before it: what cannot fit by that is not written first.
_LEAST_SENTENCE: Final = 20


class Extent(NamedTuple):
    """How much is written.

    Attributes:
        moments: how many, the newest ones.
        said: how many sentences of each, the nearest ones.
        length: the most characters of a text.
    """

    moments: int = _EVERYTHING
    said: int = _EVERYTHING
    length: int = _EVERYTHING


class MomentPage(Protocol):
    """A form of the answer."""

    def render(self, chosen: Sequence[Surroundings], extent: Extent) -> str:
        """Return the answer, with what is left out."""


def fitted_moments(chosen: Sequence[Surroundings], bound: Bound, page: MomentPage) -> str | None:
    """Return the answer that fits: texts are cut first, then sentences left out, then the oldest moments.

    Args:
        chosen: the newest first.
        bound: of the answer.
        page: its form.

    Returns: None if not even one moment fits.
    """
    room = bound.characters
    most = max((len(one.said) for one in chosen), default=0)
    if room is None or sum(len(one.said) for one in chosen) * _LEAST_SENTENCE <= room:
        # With many sentences not even short texts fit: then longer ones need no trial.
        if bound.fits(shortest := page.render(chosen, Extent(length=_TEXT_LENGTHS[-1]))):
            each = (page.render(chosen, Extent(length=length)) for length in (_EVERYTHING, *_TEXT_LENGTHS))
            return next(filter(bound.fits, each), shortest)
    else:
        most = min(most, room // _LEAST_SENTENCE)
    for length in (_SHORT, _TEXT_LENGTHS[-1]):
        if best := _with_most_said(chosen, bound, page, Extent(said=most, length=length)):
            return best
    for moments in range(len(chosen) - 1, 0, -1):
        extent = Extent(moments, 0, _TEXT_LENGTHS[-1])
        if bound.fits(text := page.render(chosen, extent)):
            return text
    return None


def _with_most_said(
    chosen: Sequence[Surroundings], bound: Bound, page: MomentPage, extent: Extent
) -> str | None:
    """Return the answer with as many sentences of each moment, up to those of `extent`, as fit."""
    best, least, most = None, 0, extent.said
    while least <= most:
        middle = (least + most) // 2
        if bound.fits(text := page.render(chosen, extent._replace(said=middle))):
            best, least = text, middle + 1
        else:
            most = middle - 1
    return best


class Cutter:
    """Cuts texts around what was searched for, and knows which hold it.

    Attributes:
        written: sentences, with texts of a length, and what stands before them: an answer is written until
            it fits.
    """

    def __init__(self, highlighter: Highlighter) -> None:
        """Take what finds the matches."""
        self._highlighter = highlighter
        self._places: dict[str, tuple[int, int] | None] = {}
        self._lines: dict[str, tuple[str, int]] = {}
        self.written: dict[tuple[Event, int, bool], tuple[str, str]] = {}

    @property
    def has_patterns(self) -> bool:
        """Whether anything was searched for."""
        return self._highlighter.is_needed

    def place(self, text: str) -> tuple[int, int] | None:
        """Return the first match in a text on one line."""
        if text not in self._places:
            [places] = self._highlighter.places([text])
            self._places[text] = places[0] if places else None
        return self._places[text]

    def is_cut(self, text: str, length: int) -> bool:
        """Return whether a text has more than so many cells."""
        return self._on_one_line(text)[1] > length

    def cut(self, text: str, length: int) -> str:
        """Return a text on one line, of at most so many cells, around its first match."""
        text, width = self._on_one_line(text)
        if width <= length:
            return text
        first, last = part_in_words(text, length, self.place(text) or (0, 0))
        return "…" * (first > 0) + text[first:last] + "…" * (last < len(text))

    def _on_one_line(self, text: str) -> tuple[str, int]:
        # An answer is written often, until it fits.
        if text not in self._lines:
            line = on_one_line(text)
            self._lines[text] = line, cells(line)
        return self._lines[text]


class MomentText(NamedTuple):
    """How to write moments for people.

    Attributes:
        zone: of the times.
        more: the command that shows more.
        older: the command that shows older moments; empty without any.
        cutter: cuts the texts.
        wrapped: breaks a line after its label, given the label.
        is_markdown: whether to write Markdown instead of text.
    """

    zone: tzinfo
    more: str
    older: str
    cutter: Cutter
    wrapped: Callable[[str, str], str] = lambda label, text: label + text
    is_markdown: bool = False

    def render(self, chosen: Sequence[Surroundings], extent: Extent) -> str:
        """Return the answer, as `MomentPage`."""
        pieces = ["\n".join(self._moment(one, extent)) for one in chosen[: extent.moments]]
        if left_out := _left_out(chosen, extent, self.cutter, description):
            pieces.append(self._with_command(f"… {left_out}", self.more))
        elif self.older:
            pieces.append(self._with_command("… older moments", self.older))
        return "\n\n".join(pieces) + "\n"

    def _with_command(self, text: str, command: str) -> str:
        if self.is_markdown:
            return f"{text}: {in_code(command)}"
        return with_command(text, command, self.wrapped)

    def _moment(self, chosen: Surroundings, extent: Extent) -> Iterator[str]:
        heading = self._heading(chosen, min(extent.length, _SHORT))
        yield heading if self.is_markdown else self.wrapped("", heading)
        said = sorted(chosen.said[: extent.said], key=begin_of)
        others = len(chosen.said) - len(said)
        rows = [("said", *self._sentence(event, extent)) for event in said]
        if others:
            more = f"({others:,} more)" if said else f"({counted(others, 'sentence')})"
            rows.append(("said", "", more))
        rows += [("screen", "", self._event(event, extent)) for event in chosen.screens]
        rows += [("alert", "", self._event(event, extent)) for event in chosen.alerts]
        rows += [(one.kind, "", self._missed(host, one)) for host, one in chosen.missed]
        before = ""
        for label, mark, text in rows:
            if self.is_markdown:
                yield f"- **{label.capitalize()}:** {mark}{text}"
            else:
                yield self.wrapped(f"  {label if label != before else '':<9}{mark}", text)
            before = label

    def _heading(self, chosen: Surroundings, length: int) -> str:
        moment = chosen.moment
        when = f"{local_time_of(moment.first_ms, self.zone):%Y-%m-%d %H:%M:%S}"
        text = ""
        if moment.match is not None:
            text = f" {self._who(moment.match)}{self._shown(description(moment.match), length)}"
        if moment.matches > 1:
            last = f"{local_time_of(moment.last_ms, self.zone):%H:%M:%S}"
            text += f" ({moment.matches:,} matches until {last})"
        return f"## {when}\n\n{text.strip()}\n" if self.is_markdown else when + text

    def _sentence(self, event: Event, extent: Extent) -> tuple[str, str]:
        written, key = self.cutter.written, (event, extent.length, self.is_markdown)
        if key not in written:
            written[key] = self._mark(event), self._event(event, extent)
        return written[key]

    def _mark(self, event: Event) -> str:
        """Return what stands before a sentence: > before one that matches."""
        if not self.cutter.has_patterns:
            return ""
        is_match = self.cutter.place(on_one_line(description(event))) is not None
        if self.is_markdown:
            return "→ " if is_match else ""
        return "> " if is_match else "  "

    def _event(self, event: Event, extent: Extent) -> str:
        clock = f"{local_time_of(begin_of(event), self.zone):%H:%M:%S}"
        return f"{clock} {self._who(event)}{self._shown(description(event), extent.length)}"

    def _who(self, event: Event) -> str:
        """Return the machine and the stream of an event; a speaker is in its description."""
        name = "" if event.speaker else event.source or event.stream_name or ""
        if event.channel == "visual_index":
            name = event.stream_name or event.source or ""
        names = [on_one_line(one) for one in (event.host or "", name) if one]
        text = " ".join(marked_up(one) for one in names) if self.is_markdown else " ".join(names)
        return f"{text}: " if text else ""

    def _shown(self, text: str, length: int) -> str:
        text = self.cutter.cut(text, length)
        return marked_up(text) if self.is_markdown else text

    def _missed(self, host: str, missed: Missed) -> str:
        status = f", {missed.status}" if missed.status else ""
        who = f"{on_one_line(host)}: " if host else ""
        return f"{who}{span_text(missed.since_ms, missed.until_ms, self.zone)}{status}"


def _left_out(
    chosen: Sequence[Surroundings], extent: Extent, cutter: Cutter, text_of: Callable[[Event], str]
) -> str:
    parts = []
    shown = chosen[: extent.moments]
    sentences = sum(len(one.said) for one in chosen)
    if (hidden := sentences - sum(len(one.said[: extent.said]) for one in shown)) > 0:
        of_all = "all" if hidden == sentences > 1 else f"{hidden:,} of"
        parts.append(f"{of_all} {counted(sentences, 'sentence')}")
    if len(shown) < len(chosen):
        parts.append(f"{len(chosen) - len(shown)} of {counted(len(chosen), 'moment')}")
    events = (one for each in shown for one in (*each.said[: extent.said], *each.screens, *each.alerts))
    if any(cutter.is_cut(text_of(one), extent.length) for one in events):
        parts.append("parts of texts")
    return f"{', '.join(parts)} left out" if parts else ""


class MomentJson(NamedTuple):
    """How to write moments as JSON: one object, with times in UTC; the commands as in `MomentText`."""

    more: str
    older: str
    cutter: Cutter

    def render(self, chosen: Sequence[Surroundings], extent: Extent) -> str:
        """Return the answer, as `MomentPage`."""
        left_out = _left_out(chosen, extent, self.cutter, lambda event: event.text or "")
        value = {
            "moments": [self._moment(one, extent) for one in chosen[: extent.moments]],
            "left_out": left_out or None,
            "more": self.more if left_out else self.older or None,
        }
        return json.dumps(value) + "\n"

    def _moment(self, chosen: Surroundings, extent: Extent) -> dict[str, Any]:
        moment = chosen.moment
        said = sorted(chosen.said[: extent.said], key=begin_of)
        return {
            "since": utc_time(moment.first_ms),
            "until": utc_time(moment.last_ms),
            "matches": moment.matches,
            "match": None if moment.match is None else self._event(moment.match, extent),
            "said": [self._event(event, extent) for event in said],
            "said_total": len(chosen.said),
            "screens": [self._event(event, extent) for event in chosen.screens],
            "alerts": [self._event(event, extent) for event in chosen.alerts],
            "gaps": [_gap(*pair) for pair in chosen.missed],
        }

    def _event(self, event: Event, extent: Extent) -> dict[str, Any]:
        text = event.text
        if text is not None and self.cutter.is_cut(text, extent.length):
            text = self.cutter.cut(text, extent.length)
        value: dict[str, Any] = {
            "time": utc_time(begin_of(event)),
            "channel": event.channel,
            "source": event.source,
            "stream": event.stream_name or event.stream,
            "speaker": event.speaker,
            "label": event.label,
            "text": text,
            "host": event.host,
        }
        if self.cutter.has_patterns:
            value["is_match"] = self.cutter.place(on_one_line(description(event))) is not None
        return {name: of for name, of in value.items() if of is not None}


def _gap(host: str, missed: Missed) -> dict[str, Any]:
    until = None if missed.until_ms is None else utc_time(missed.until_ms)
    value = {"kind": missed.kind, "since": utc_time(missed.since_ms), "until": until}
    return {**value, "status": missed.status or None, **({"host": host} if host else {})}
