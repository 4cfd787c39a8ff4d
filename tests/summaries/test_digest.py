"""A digest: what is admitted to its blocks, and that it never exceeds its bound."""

import json
from dataclasses import replace
from datetime import UTC

import pytest
from hypothesis import given, strategies as st

from vdbevents.events.gaps import Gap
from vdbevents.privacy.pauses import Pause
from vdbevents.query.block_counts import Fired, Outline, Recorded, Said, Shown, Total
from vdbevents.query.output.budget import Bound
from vdbevents.summaries.digest import (
    KINDS,
    Admitted,
    Counted,
    Missed,
    fitted,
    lengths_that_may_fit,
    missed_within,
    put_together,
)
from vdbevents.summaries.digest_output import DigestJson, DigestText
from vdbevents.summaries.time_blocks import TimeBlock
from vdbevents.terminal import wrapped

MINUTE = 60_000
START = 1_772_446_500_000
MORE = "vdbevents digest --last 1h --max-tokens 8000"
TEXT = DigestText(UTC, MORE)
PAGES = [TEXT, DigestText(UTC, MORE, is_markdown=True), DigestJson(MORE)]
WINDOW = TimeBlock(START, START + 60 * MINUTE)


def block(number):
    return TimeBlock(START + number * 15 * MINUTE, START + (number + 1) * 15 * MINUTE)


def said(number, rank, text="Shall we deploy the code today?", nth=None, who="mic"):
    at = block(number).since_ms
    return Said(at, rank, rank if nth is None else nth, at + rank * 1000, who, text, is_summary=False)


def digest_of(sentences, *, shown=(), fired=(), missed=(), host=""):
    """A digest of so many sentences in each block."""
    totals = [
        Total(
            block(number).since_ms,
            count,
            sum(one.block == block(number).since_ms for one in shown),
            sum(one.block == block(number).since_ms for one in fired),
        )
        for number, count in enumerate(sentences)
    ]
    told = [said(number, rank) for number, count in enumerate(sentences) for rank in range(1, count + 1)]
    blocks = [block(number) for number in range(len(sentences))]
    counted = Counted(host, totals, told, shown, fired, [(blocks[0], one) for one in missed])
    return put_together(WINDOW, blocks, [counted])


COUNTS = st.lists(st.integers(0, 9), min_size=1, max_size=4)
NAMES = st.sampled_from(["VS Code", "Slack | #général", None, "日本語\u202e", "a" * 200])


@st.composite
def digests(draw):
    counts = draw(COUNTS)
    numbers = st.integers(0, len(counts) - 1).map(lambda number: block(number).since_ms)
    shown = draw(st.lists(st.builds(Shown, numbers, NAMES, st.integers(0, 900_000), st.just("a b"))))
    fired = draw(
        st.lists(st.builds(Fired, numbers, st.just("failed"), st.integers(1, 9), st.just(START), NAMES))
    )
    missed = draw(st.lists(st.builds(Missed, st.just("gap"), st.just(START), st.none(), st.just("open"))))
    return digest_of(counts, shown=shown, fired=fired, missed=missed)


@given(digests(), st.sampled_from(PAGES), st.sampled_from(["bytes", "tokens"]), st.integers(1, 900))
def test_an_answer_is_within_any_bound_and_says_its_window_and_what_is_left_out(digest, page, unit, most):
    bound = Bound(**{unit: most})
    everything = page.render(
        digest, [Admitted(*(one.totals[kind] for kind in KINDS)) for one in digest.blocks]
    )
    told = fitted(digest, bound, page)
    text = told.text if told else page.least(digest)

    assert bound.fits(text) or not told
    assert ("2026-03-02 10:15:00" in text) or ("2026-03-02T10:15:00.000Z" in text)
    # Nothing is left out without being counted, and the command that shows it.
    assert (MORE in text) == (text != everything)
    if isinstance(page, DigestJson):
        value = json.loads(text)
        listed = sum(
            len(one[kind]) for one in value["blocks"] for kind in ("said", "screen", "alerts", "gaps")
        )
        in_all = sum(map(digest.total, ("said", "shown", "fired", "missed")))
        assert listed + sum(value["left_out"].values()) == in_all


@given(digests(), st.sampled_from(PAGES), st.integers(1, 3000), st.integers(0, 500))
def test_more_room_never_shows_less(digest, page, most, more):
    less = fitted(digest, Bound(bytes=most), page)
    larger = fitted(digest, Bound(bytes=most + more), page)

    assert less is None or (larger is not None and len(larger.text) >= len(less.text) - len(MORE) - 80)


def test_each_block_has_its_first_sentence_before_any_has_its_second():
    digest = digest_of([5, 1, 5])

    for most in range(150, 900, 10):
        told = fitted(digest, Bound(bytes=most), TEXT)
        counts = [one.count("Shall we") for one in told.text.split("\n\n")[1:4]] if told else []
        if counts and max(counts) > 1:
            assert min(counts) == 1
            assert told.is_fair


def test_sentences_are_joined_in_the_order_of_time_and_what_is_left_out_between_them_is_marked():
    told = [
        said(0, 1, "Third.", 3, "Ada"),
        said(0, 2, "First.", 1),
        said(0, 3, "Fourth.", 4, "Ada"),
        said(0, 4, "Second.", 2),
    ]
    told = [one._replace(at_ms=START + one.nth * 1000) for one in told]
    counted = Counted("", [Total(START, 4, 0, 0)], told, [], [], [])
    digest = put_together(WINDOW, [block(0)], [counted])

    assert "mic: First. Second. Ada: Third. Fourth.\n" in TEXT.render(digest, [Admitted(said=4)])
    assert "mic: First. … Ada: Third. (2 more)\n" in TEXT.render(digest, [Admitted(said=2)])


def test_the_heading_counts_what_was_recorded_and_a_pause_is_no_gap():
    lost = [Missed("gap", START, START + 9, "open"), Missed("pause", START + 20, START + 30, "")]
    digest = digest_of([2, 1], missed=lost)
    digest = replace(digest, recorded=Recorded(sentences=342, summaries=1, windows=7))
    heading, _, rest = TEXT.render(digest, [Admitted(9, 9, 9, 9)] * 2).partition("\n")

    assert heading.endswith(": 342 sentences, 1 summary, 7 windows, 1 gap, 1 pause")
    assert "left out" not in rest


def test_what_two_machines_recorded_is_told_with_their_names():
    each = [
        Counted(host, [Total(START, 1, 1, 0)], [said(0, 1)], [Shown(START, "Slack", at, "")], [], [])
        for host, at in (("laptop", 1000), ("desk", 90_000))
    ]
    digest = put_together(WINDOW, [block(0)], each)
    text = TEXT.render(digest, [Admitted(9, 9, 9, 9)])

    assert "desk: Slack 1 min 30 s, laptop: Slack 1.0 s" in text
    assert "desk mic: Shall we" in text
    assert "laptop mic: Shall we" in text


@pytest.mark.parametrize("page", PAGES)
def test_text_from_a_screen_steers_no_terminal_and_marks_nothing_up(page):
    digest = digest_of([0], shown=[Shown(START, "\x1b[31m# x\n## y *z*", 1000, "")])
    text = page.render(digest, [Admitted(9, 9, 9, 9)])

    assert "\x1b" not in text
    assert "\n## y" not in text
    assert not isinstance(page, DigestText) or not page.is_markdown or "\\*z\\*" in text


def test_blocks_are_the_shortest_that_are_few_and_leave_room_for_two_sentences_each():
    outline = Outline((0, 1), {1: 60, 5: 12, 60: 1}, 200, 200 * 50)

    assert lengths_that_may_fit([outline], Bound(tokens=2000), (1, 5, 60)) == [5, 60]
    assert lengths_that_may_fit([outline], Bound(tokens=200), (1, 5, 60)) == [60]
    assert lengths_that_may_fit([outline], Bound(tokens=20), (1, 5, 60)) == []
    assert lengths_that_may_fit([outline], Bound(), (1, 5, 60)) == [5, 60]


def test_gaps_that_were_not_recovered_and_pauses_are_told_where_they_touch_the_window():
    gaps = [
        Gap("1", START - 9, START - 5, "", "open"),
        Gap("2", START - 9, START + 5, "", "incomplete"),
        Gap("3", START, START + 5, "", "recovered"),
        Gap("4", START + 7, START + 8, "", "open", ongoing=True),
    ]

    assert missed_within(gaps, [Pause("p", START + 1)], WINDOW) == [
        Missed("gap", START - 9, START + 5, "incomplete"),
        Missed("pause", START + 1, None, ""),
        Missed("gap", START + 7, None, "open"),
    ]


def test_at_any_width_a_digest_is_broken_between_words_but_for_the_command():
    def in_lines(label, text):
        lines = [text[first:last] for first, last in wrapped(text, 40 - len(label))]
        return label + f"\n{' ' * len(label)}".join(lines)

    page = TEXT._replace(wrapped=in_lines)
    text = fitted(digest_of([9, 9, 9]), Bound(bytes=700), page).text
    *lines, command = text.splitlines()

    assert command == MORE
    assert max(map(len, lines)) <= 40
    assert lines[0].startswith("2026-03-02 10:15:00 to 11:15:00")
