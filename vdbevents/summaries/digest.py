"""A window of time in blocks: what was said, shown, alerted and missed in each, as much as fits. Pure.

A block lists its entries by rank. They are admitted in rounds, one of each kind and block at a time, the
newest block first, until the answer is full: so no block is silent while another has its third sentence.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from vdbevents.events.gaps import Gap
from vdbevents.privacy.pauses import Pause
from vdbevents.query.block_counts import Fired, Outline, Recorded, Said, Shown, Total
from vdbevents.query.output.budget import Bound
from vdbevents.summaries.time_blocks import TimeBlock

MOST_OF_A_KIND: Final = 5
"""The most windows, labels of alerts and gaps that a block names."""

# About what a block takes: its times, and the line of its screen; and what stands around a sentence.
_BLOCK_CHARACTERS: Final = 90
_AROUND_SENTENCE: Final = 12
_LEAST_SENTENCES: Final = 2
_MOST_BLOCKS: Final = 13
_NOTHING: Final = Recorded()


class Missed(NamedTuple):
    """A time in which nothing was received, or recorded; an `until_ms` of None is the present."""

    kind: Literal["gap", "pause"]
    since_ms: int
    until_ms: int | None
    status: str


class Hosted(NamedTuple):
    """An entry of a block, with the machine it is from; empty if there is only one."""

    entry: Said | Shown | Fired | Missed
    host: str


Kind = Literal["missed", "fired", "said", "shown"]
KINDS: Final[tuple[Kind, ...]] = ("missed", "fired", "said", "shown")
"""The kinds of entries, in the order in which they are admitted."""


@dataclass(frozen=True)
class DigestBlock:
    """What is in a block of time.

    Attributes:
        time: from when to when.
        entries: of each kind, by rank.
        totals: how many there are of each kind, listed or not.
    """

    time: TimeBlock
    entries: Mapping[Kind, Sequence[Hosted]]
    totals: Mapping[Kind, int]


class Admitted(NamedTuple):
    """How many entries of each kind a block tells: the first ones."""

    missed: int = 0
    fired: int = 0
    said: int = 0
    shown: int = 0

    def of(self, kind: Kind) -> int:
        """Return how many of a kind."""
        return self[KINDS.index(kind)]


@dataclass(frozen=True)
class Digest:
    """A window in blocks.

    Attributes:
        window: from when to when.
        blocks: oldest first; without those in which nothing was.
        hosts: whether entries are shown with their machines.
        recorded: how much there is of each kind in the window.
    """

    window: TimeBlock
    blocks: Sequence[DigestBlock]
    hosts: bool = False
    recorded: Recorded = _NOTHING

    def total(self, kind: Kind) -> int:
        """Return how many entries of a kind there are in all blocks; a window is one in each."""
        return sum(block.totals[kind] for block in self.blocks)

    def missed(self, kind: Literal["gap", "pause"]) -> int:
        """Return how many gaps or pauses there are."""
        entries = (hosted.entry for block in self.blocks for hosted in block.entries["missed"])
        return sum(isinstance(entry, Missed) and entry.kind == kind for entry in entries)


class DigestPage(Protocol):
    """A form of the answer."""

    def render(self, digest: Digest, admitted: Sequence[Admitted]) -> str:
        """Return the answer with what is admitted to each block, and with what was left out."""

    def least(self, digest: Digest) -> str:
        """Return the answer without any block: the window, what is in it, and the command for more."""


def lengths_that_may_fit(outlines: Iterable[Outline], bound: Bound, lengths_ms: Sequence[int]) -> list[int]:
    """Return the lengths of blocks, shortest first, with which there are few and each may have two sentences.

    Args:
        outlines: of each journal.
        bound: of the answer.
        lengths_ms: the lengths to choose from, in ms, shortest first.
    """
    known = list(outlines)
    room = bound.characters
    said = sum(outline.said for outline in known)
    mean = sum(outline.said_characters for outline in known) / max(said, 1) + _AROUND_SENTENCE
    return [
        length
        for length in lengths_ms
        if (blocks := sum(outline.occupied[length] for outline in known)) <= _MOST_BLOCKS
        and (room is None or blocks * _BLOCK_CHARACTERS + min(said, _LEAST_SENTENCES * blocks) * mean <= room)
    ]


class Counted(NamedTuple):
    """What was counted in one journal."""

    host: str
    totals: Sequence[Total]
    said: Sequence[Said]
    shown: Sequence[Shown]
    fired: Sequence[Fired]
    missed: Sequence[tuple[TimeBlock, Missed]]


def put_together(
    window: TimeBlock,
    blocks: Iterable[TimeBlock],
    counted: Sequence[Counted],
    recorded: Recorded = _NOTHING,
) -> Digest:
    """Return the digest of what was counted in one or more journals.

    Args:
        window: from when to when.
        blocks: in which something was, in any journal.
        counted: of each journal.
        recorded: how much there is of each kind.
    """
    hosts = len(counted) > 1
    ranked: dict[tuple[int, Kind], list[tuple[int, int, Hosted]]] = defaultdict(list)
    totals: Counter[tuple[int, Kind]] = Counter()
    for one in counted:
        entries: list[tuple[int, Kind, int, Said | Shown | Fired | Missed]] = [
            *((time.since_ms, "missed", missed.since_ms, missed) for time, missed in one.missed),
            *((fired.block, "fired", -fired.times, fired) for fired in one.fired),
            *((shown.block, "shown", -shown.shown_ms, shown) for shown in one.shown),
            *((said.block, "said", said.rank, said) for said in one.said),
        ]
        for at_ms, kind, rank, entry in entries:
            place = ranked[at_ms, kind]
            place.append((rank, len(place), Hosted(entry, one.host if hosts else "")))
        for total in one.totals:
            totals.update({(total.block, kind): getattr(total, kind) for kind in ("said", "shown", "fired")})
    for (at_ms, kind), found in ranked.items():
        found.sort(key=lambda item: item[:2])
        if kind == "missed":
            totals[at_ms, kind] = len(found)
    made = [
        DigestBlock(
            block,
            {kind: [entry for _, _, entry in ranked[block.since_ms, kind]] for kind in KINDS},
            {kind: totals[block.since_ms, kind] for kind in KINDS},
        )
        for block in sorted(set(blocks))
    ]
    return Digest(window, [block for block in made if any(block.totals.values())], hosts, recorded)


class FittedDigest(NamedTuple):
    """An answer that fits.

    Attributes:
        text: the answer.
        is_fair: whether each block tells at least the first entry of each kind.
    """

    text: str
    is_fair: bool


def fitted(digest: Digest, bound: Bound, page: DigestPage) -> FittedDigest | None:
    """Return the answer with as many entries as fit; None if it does not fit even without any."""
    order = _order(digest)
    first_round = sum(rank == 0 for rank, *_ in order)

    def with_first(number: int) -> str:
        counts = [Counter[Kind]() for _ in digest.blocks]
        for _, kind, _, block in order[:number]:
            counts[block][KINDS[kind]] += 1
        return page.render(digest, [Admitted(*(count[kind] for kind in KINDS)) for count in counts])

    if bound.fits(text := with_first(len(order))):
        return FittedDigest(text, is_fair=True)
    best, least, most = None, 0, len(order)
    while least < most:
        middle = (least + most) // 2
        if bound.fits(text := with_first(middle)):
            best, least = text, middle + 1
        else:
            most = middle
    return None if best is None else FittedDigest(best, is_fair=least - 1 >= first_round)


def _order(digest: Digest) -> list[tuple[int, int, int, int]]:
    """Return the rank, kind, age and number of the block of each entry, in the order of admission."""
    last = len(digest.blocks) - 1
    return sorted(
        (rank, kind, last - number, number)
        for number, block in enumerate(digest.blocks)
        for kind, name in enumerate(KINDS)
        for rank in range(len(block.entries[name]))
    )


def missed_within(gaps: Iterable[Gap], pauses: Iterable[Pause], window: TimeBlock) -> list[Missed]:
    """Return the pauses, and the gaps that were not recovered, that touch a window, oldest first."""
    found = [
        Missed("gap", gap.since_ms, None if gap.ongoing else gap.until_ms, gap.status)
        for gap in gaps
        if not gap.is_recovered and gap.touches(*window)
    ]
    found += [Missed("pause", pause.since_ms, pause.end_ms, "") for pause in pauses if pause.touches(*window)]
    return sorted(found, key=lambda missed: (missed.since_ms, missed.kind))
