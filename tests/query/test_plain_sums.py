"""What Python sums up of events in memory is what DuckDB sums up of them."""

import random
from pathlib import Path

import pytest
from support import samples as st
from support.databases import search
from support.effort import examples
from support.random_journals import AT, line

from vdbevents.query import engine
from vdbevents.query.block_counts import TabledBlocks
from vdbevents.query.filters import Filters
from vdbevents.query.older import Older
from vdbevents.query.plain_blocks import PlainBlocks
from vdbevents.query.plain_tally import PlainTally
from vdbevents.query.tail_search import search_tail
from vdbevents.query.tally import TabledTally
from vdbevents.summaries.time_blocks import LENGTHS_MS
from vdbevents.times import Window

pytestmark = pytest.mark.long

SESSION = Path(engine.__file__).parents[1] / "emulator" / "data" / "real-session.jsonl"
HOUR = 3_600_000

WHEN = st.integers(-40, 40).map(lambda step: AT + step * 30_000)
LASTED = st.sampled_from([None, None, -1000, 0, 2000, 30_000, 400_000, 5_000_000])
TEXTS = st.sampled_from(
    [
        *("the latency alert fired", "The latency alert FIRED", "latency of the pool latency", "yes", ""),
        *("it's \u201cfine\u201d", " \u3000", "a\u00a0b\u2028c\x0bd\te", "alpha-beta_gamma 2main3"),
        "\u0130stanbul \u0391\u039b\u03a3 \u03b1\u03bb\u03c3",
        "na\u00efve re\u0301sume\u0301 \u00aa\u00ba",
        *("\u4f1a\u8b70 \u3067\u3059", "\u0645\u0631\u062d\u0628\u0627\u060c", "good \U0001f600\ufe0fnews"),
        "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e\u0964",
        "\u00bd\u00b2\u216b words\u00d7two",
        *(
            "x" * 99 + "\u00e9\u00e9",
            "word " * 80,
            "\u00e9" * 301,
            "word " * 58 + "cut\n" * 9,
            "a" * 280 + " b" * 20,
        ),
    ]
)
CHANNELS = st.sampled_from(
    ["transcript"] * 4 + ["visual_index"] * 4 + ["audio_index", "alert", "alert"]
    + ["capture_session", "backend.started", "other", None]
)  # fmt: skip
STREAMS = st.sampled_from(
    [("rts-1", "mic:default"), ("rts-1", None), ("rts-2", "display:1"), (None, None), ("", "screen"),
     (None, "mic:other"), ("rts-1", "display:9")]
)  # fmt: skip
MEMBERS = {
    "text": TEXTS | TEXTS | st.none(),
    "speaker": st.sampled_from([None, None, "Ada", ""]),
    "window": st.sampled_from([None, "Slack", "x - Code", ""]),
    "label": st.sampled_from([None, "fired", ""]),
    "start": WHEN | WHEN | st.none(),
}


def any_line(chance):
    """Return a line of a journal with what sums depend on."""
    at_ms, lasted = WHEN.draw(chance), LASTED.draw(chance)
    members = {name: of.draw(chance) for name, of in MEMBERS.items()}
    if lasted is not None:
        members["end"] = (members["start"] or at_ms) + lasted
    (stream, name), channel = STREAMS.draw(chance), CHANNELS.draw(chance)
    event = {"event": "capture_session.active"} if channel == "capture_session" else {}
    return line(at_ms, channel=channel, rtstream_id=stream, rtstream_name=name, data=members, **event)


def assert_alike(events, answer, window, breaks=()):
    """Compare both; return how many sentences and events there are."""
    until_ms = window.until_ms or AT + 1000 * HOUR
    both = PlainBlocks(events, until_ms, breaks), TabledBlocks(answer, until_ms, breaks)
    outlines = [one.outline(LENGTHS_MS) for one in both]
    assert outlines[0] == outlines[1]
    for unit, length, room in ((60_000, 300_000, 40), (900_000, 24 * HOUR, 4000)):
        units = [one.units(unit) for one in both]
        assert units[0] == units[1]
        blocks = {at: (at // length * length, (at // length + 1) * length) for at in units[0]}
        told = [(one.divide(blocks, room), one.said(room), one.shown(2), one.fired(2)) for one in both]
        assert told[0] == told[1]
    tallies = PlainTally(events, window, breaks), TabledTally(answer, window, breaks)
    assert tallies[0].span == tallies[1].span
    for key in ("channel", "source", "window", "quarter"):
        slices = [sorted(one.by(key), key=lambda part: str(part.key)) for one in tallies]
        assert slices[0] == slices[1]
    return (outlines[0].said if outlines[0] else 0), len(events)


@pytest.mark.parametrize("asked", [{}, {"by_event": True, "channels": ("transcript", "audio_index")}])
def test_a_recording_is_summed_up_in_memory_as_duckdb_does(asked):
    filters = Filters(window=Window(1795230300000), **asked)
    with search(SESSION, filters) as full:
        tail = search_tail(SESSION, filters, None, Older())
        said, count = assert_alike(tail.held, full, filters.window, [1795230400000])

    assert 10 < said <= count == full.count


def test_whatever_is_held_in_memory_is_summed_up_as_duckdb_does(tmp_path):
    journal = tmp_path / "journal.jsonl"
    lines = st.Samples(any_line)
    counts = [0, 0]
    for number in (1, 2, 5, 20, 80, 400) * max(2, examples(2)):
        journal.write_text("".join(f"{one}\n" for one in lines.many(number)), "utf-8")
        chance = random.Random(random.getrandbits(64))
        bounds = WHEN | st.none()
        window = Window(bounds.draw(chance), bounds.draw(chance))
        breaks = [WHEN.draw(chance) for _ in range(chance.randrange(3))]
        filters = Filters(window=window, by_event=True)
        with search(journal, filters) as full:
            if full.count:
                held = search_tail(journal, filters, None, Older()).held
                counts = map(sum, zip(counts, assert_alike(held, full, window, breaks), strict=True))

    said, count = counts
    assert 20 < said < count
