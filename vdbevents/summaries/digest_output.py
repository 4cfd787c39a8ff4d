"""Write a digest as text, Markdown or JSON. Pure."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from typing import Any, Final, NamedTuple

from vdbevents.query.block_counts import Fired, Said, Shown
from vdbevents.query.output.markdown import in_code, marked_up
from vdbevents.query.output.rows import on_one_line, utc_time
from vdbevents.summaries.digest import KINDS, Admitted, Digest, DigestBlock, Hosted, Kind, Missed
from vdbevents.summaries.time_blocks import clock_of, local_time_of
from vdbevents.terminal import counted, cut_in_words, with_command
from vdbevents.times import format_duration

_SNIPPET: Final = 80
_NOUNS: Final[dict[Kind, tuple[str, str]]] = {
    "said": ("sentence", "sentences"),
    "shown": ("window", "windows"),
    "fired": ("label of alerts", "labels of alerts"),
    "missed": ("gap or pause", "gaps or pauses"),
}
_TOLD_FIRST: Final[tuple[Kind, ...]] = ("said", "shown", "fired", "missed")
_LABELS: Final[dict[Kind, str]] = {"said": "said", "shown": "screen", "fired": "alerts", "missed": "gaps"}
_MEMBERS: Final[dict[Kind, str]] = {"said": "said", "shown": "screen", "fired": "alerts", "missed": "gaps"}


class DigestText(NamedTuple):
    """How to write a digest.

    Attributes:
        zone: of the times.
        more: the command that shows more.
        wrapped: breaks a line after its label, given the label.
        is_markdown: whether to write Markdown instead of text.
    """

    zone: tzinfo
    more: str
    wrapped: Callable[[str, str], str] = lambda label, text: label + text
    is_markdown: bool = False

    def render(self, digest: Digest, admitted: Sequence[Admitted]) -> str:
        """Return the text of a digest, as `DigestPage`."""
        shown = marked_up if self.is_markdown else on_one_line
        lines = [self._heading(digest)]
        dated = len({local_time_of(moment, self.zone).date() for moment in _ends(digest.window)}) > 1
        for block, counts in zip(digest.blocks, admitted, strict=True):
            clock = clock_of(block.time, self.zone, dated=dated)
            lines.append(f"\n## {clock}\n" if self.is_markdown else f"\n{clock}")
            lines += self._block(block, counts, shown)
        if left_out := _left_out(digest, admitted):
            lines.append(self._last_line(f"{left_out} left out of the blocks"))
        return "\n".join(lines) + "\n"

    def least(self, digest: Digest) -> str:
        """Return the digest without any block, as `DigestPage`."""
        return f"{self._heading(digest)}\n{self._last_line('all of it left out')}\n"

    def _last_line(self, left_out: str) -> str:
        if self.is_markdown:
            return f"\n{left_out}: {in_code(self.more)}"
        return "\n" + with_command(f"… {left_out}", self.more, self.wrapped)

    def _heading(self, digest: Digest) -> str:
        window = span_text(*digest.window, self.zone)
        length = format_duration(digest.window.until_ms - digest.window.since_ms)
        if self.is_markdown:
            return f"# {window}\n\n{length}: {_summary(digest)}"
        return self.wrapped("", f"{window} ({length}): {_summary(digest)}")

    def _block(self, block: DigestBlock, admitted: Admitted, shown: Callable[[str], str]) -> Iterator[str]:
        for kind in _TOLD_FIRST:
            entries = block.entries[kind][: admitted.of(kind)]
            others = block.totals[kind] - len(entries)
            if not entries and not others:
                continue
            text = self._told(kind, entries, shown) if entries else ""
            if others:
                more = f"{others:,} more" if entries else _counted(others, kind, [block])
                text = f"{text} ({more})" if entries else f"({more})"
            label = f"- **{_LABELS[kind].capitalize()}:** " if self.is_markdown else f"  {_LABELS[kind]:<9}"
            yield self.wrapped(label, text)

    def _told(self, kind: Kind, entries: Sequence[Hosted], shown: Callable[[str], str]) -> str:
        if kind == "said":
            return _joined(entries, shown)
        return (
            "; ".join(self._one(hosted, shown) for hosted in entries)
            if kind != "shown"
            else ", ".join(self._one(hosted, shown) for hosted in entries)
        )

    def _one(self, hosted: Hosted, shown: Callable[[str], str]) -> str:
        host = f"{shown(hosted.host)}: " if hosted.host else ""
        match hosted.entry:
            case Shown(_, name, shown_ms, text):
                what = shown(name) if name else f'"{shown(cut_in_words(on_one_line(text), _SNIPPET))}"'
                return f"{host}{what} {format_duration(shown_ms)}"
            case Fired(_, label, times, _, text):
                head = ": ".join(shown(part) for part in (label, text) if part)
                return f"{host}{head}" + (f" ({times:,} times)" if times > 1 else "")
            case Missed(kind, since_ms, until_ms, status):
                when = span_text(since_ms, until_ms, self.zone)
                status = f", {status}" if status else ""
                return f"{host}{kind} {when}{_length(since_ms, until_ms)}{status}"
            case _:
                return ""


def span_text(since_ms: int, until_ms: int | None, zone: tzinfo) -> str:
    """Return a span in local time: `2026-03-02 10:15:30 to 10:17:02`, or `… to now`."""
    begin = local_time_of(since_ms, zone)
    if until_ms is None:
        return f"{begin:%Y-%m-%d %H:%M:%S} to now"
    end = local_time_of(until_ms, zone)
    day = "" if begin.date() == end.date() else f"{end:%Y-%m-%d} "
    return f"{begin:%Y-%m-%d %H:%M:%S} to {day}{end:%H:%M:%S}"


def _length(since_ms: int, until_ms: int | None) -> str:
    return "" if until_ms is None else f" ({format_duration(max(0, until_ms - since_ms))})"


def _ends(window: tuple[int, int]) -> tuple[int, int]:
    return window[0], max(window[0], window[1] - 1)


def _summary(digest: Digest) -> str:
    """Return how much was recorded in the whole window, as other commands count it."""
    parts = [counted(count, noun, plural) for count, noun, plural in _counts(digest) if count]
    return ", ".join(parts) or "nothing"


def _counts(digest: Digest) -> list[tuple[int, str, str]]:
    recorded = digest.recorded
    return [
        (recorded.sentences, "sentence", "sentences"),
        (recorded.summaries, "summary", "summaries"),
        (recorded.windows, "window", "windows"),
        (recorded.alerts, "alert", "alerts"),
        (digest.missed("gap"), "gap", "gaps"),
        (digest.missed("pause"), "pause", "pauses"),
    ]


def _counted(number: int, kind: Kind, blocks: Sequence[DigestBlock]) -> str:
    """Return a number of entries of blocks, and what they are: summaries may stand for sentences."""
    said = [hosted.entry for block in blocks for hosted in block.entries["said"]] if kind == "said" else []
    if said and all(isinstance(one, Said) and one.is_summary for one in said):
        return counted(number, "summary", "summaries")
    return counted(number, *_NOUNS[kind])


def _left_out(digest: Digest, admitted: Sequence[Admitted]) -> str:
    parts = []
    for kind in _TOLD_FIRST:
        total = digest.total(kind)
        shown = sum(counts.of(kind) for counts in admitted)
        if shown < total:
            parts.append(f"{total - shown:,} of {_counted(total, kind, digest.blocks)}")
    return ", ".join(parts)


def _joined(entries: Sequence[Hosted], shown: Callable[[str], str]) -> str:
    """Return sentences in the order of time, with who says them where that changes, and … for others."""
    text, speaker = "", None
    before: dict[str, int] = {}
    for said, host in _in_time(entries):
        skipped = host in before and said.nth != before[host] + 1
        before[host] = said.nth
        who = " ".join(shown(name) for name in (host, said.who) if name)
        text += " …" if skipped else ""
        text += f" {who}:" if who and who != speaker else ""
        text += f" {shown(said.text)}"
        speaker = who
    return text.strip()


def _in_time(entries: Iterable[Hosted]) -> list[tuple[Said, str]]:
    said = [(hosted.entry, hosted.host) for hosted in entries if isinstance(hosted.entry, Said)]
    return sorted(said, key=lambda pair: (pair[0].at_ms, pair[1], pair[0].nth))


# -- JSON --------------------------------------------------------------------------------------------------


class DigestJson(NamedTuple):
    """How to write a digest as JSON: one object, with times in UTC; `more` as in `DigestText`."""

    more: str

    def render(self, digest: Digest, admitted: Sequence[Admitted]) -> str:
        """Return the JSON of a digest, as `DigestPage`."""
        blocks = [_block(*pair) for pair in zip(digest.blocks, admitted, strict=True)]
        return self._object(digest, admitted, blocks)

    def least(self, digest: Digest) -> str:
        """Return the digest without any block, as `DigestPage`."""
        return self._object(digest, [], [])

    def _object(self, digest: Digest, admitted: Sequence[Admitted], blocks: list[dict[str, Any]]) -> str:
        left_out = {
            _MEMBERS[kind]: digest.total(kind) - sum(counts.of(kind) for counts in admitted)
            for kind in _TOLD_FIRST
        }
        value = {
            "since": utc_time(digest.window.since_ms),
            "until": utc_time(digest.window.until_ms),
            "counts": {plural: count for count, _, plural in _counts(digest)},
            "blocks": blocks,
            "left_out": left_out,
            "more": self.more if any(left_out.values()) else None,
        }
        return json.dumps(value) + "\n"


def _block(block: DigestBlock, admitted: Admitted) -> dict[str, Any]:
    entries = {kind: block.entries[kind][: admitted.of(kind)] for kind in KINDS}
    return {
        "since": utc_time(block.time.since_ms),
        "until": utc_time(block.time.until_ms),
        "said": [_sentence(*pair) for pair in _in_time(entries["said"])],
        **{_MEMBERS[kind]: [_entry(*hosted) for hosted in entries[kind]] for kind in _TOLD_FIRST[1:]},
        "totals": {_MEMBERS[kind]: block.totals[kind] for kind in _TOLD_FIRST},
    }


def _sentence(said: Said, host: str) -> dict[str, Any]:
    return {
        "time": utc_time(said.at_ms),
        "who": said.who,
        "text": said.text,
        "is_summary": said.is_summary,
        **_of_host(host),
    }


def _entry(entry: object, host: str) -> dict[str, Any]:
    value: dict[str, Any] = {}
    match entry:
        case Shown(_, name, shown_ms, text):
            value = {"window": name, "seconds": round(shown_ms / 1000, 3)}
            value |= {} if name else {"text": cut_in_words(on_one_line(text), _SNIPPET)}
        case Fired(_, label, times, first_ms, text):
            value = {"label": label or None, "times": times, "first": utc_time(first_ms), "text": text}
        case Missed(kind, since_ms, until_ms, status):
            until = None if until_ms is None else utc_time(until_ms)
            value = {"kind": kind, "since": utc_time(since_ms), "until": until, "status": status or None}
    return {**value, **_of_host(host)}


def _of_host(host: str) -> dict[str, str]:
    return {"host": host} if host else {}
