"""An answer counted by blocks of time: what is on the screen for how long, and which sentences tell most."""

import json

import pytest
from support.databases import search

from vdbevents.query.block_counts import (
    LONGEST_SNIPPET,
    LONGEST_TEXT,
    WEIGHED,
    Fired,
    Recorded,
    Shown,
    TabledBlocks,
    Total,
)
from vdbevents.query.filters import Filters

AT = 1_772_446_500_000
MINUTE = 60_000
HOUR = 60 * MINUTE


def event(channel, at_s, text, *, stream="rts-1", last_s=None, **data):
    start = AT + at_s * 1000
    data |= {"text": text, "start": start}
    if last_s is not None:
        data["end"] = start + last_s * 1000
    if channel == "transcript":
        data.setdefault("is_final", True)
    return json.dumps({"unix_ts": start / 1000, "channel": channel, "rtstream_id": stream, "data": data})


@pytest.fixture
def counted(tmp_path):
    """Count events in blocks of an hour from `AT` on; return the counts and the totals."""
    opened = []

    def count(*events, until_ms=AT + 1000 * HOUR, room=10_000, breaks=()):
        path = tmp_path / "journal.jsonl"
        path.write_text("".join(f"{line}\n" for line in events), "utf-8")
        answer = search(path, Filters(by_event=True))
        opened.append(answer)
        counts = TabledBlocks(answer, until_ms, breaks)
        units = counts.units(MINUTE)
        blocks = {unit: AT + (unit - AT) // HOUR * HOUR for unit in units}
        return counts, counts.divide({unit: (at, at + HOUR) for unit, at in blocks.items()}, room)

    yield count
    for answer in opened:
        answer.close()


def windows(counts):
    return [(one.block, one.name, one.shown_ms // 1000) for one in counts.shown(9)]


def test_a_window_is_on_the_screen_until_the_next_description_of_its_stream(counted):
    counts, _ = counted(
        event("visual_index", 0, "[Slack] #release", last_s=5),
        event("visual_index", 30, "[Zoom] a call", last_s=5, stream="rts-9"),
        event("visual_index", 60, "[VS Code] main.py", last_s=5),
        event("visual_index", 90, "[Slack] #general", last_s=5),
    )

    assert windows(counts) == [(AT, "Slack", 65), (AT, "VS Code", 30), (AT, "Zoom", 5)]


def test_after_a_long_silence_a_window_counts_until_its_own_end_and_none_beyond_the_time_asked_for(counted):
    events = [
        event("visual_index", 0, "[Slack] x", last_s=5),
        event("visual_index", 1000, "[VS Code] x", last_s=200),
    ]

    assert windows(counted(*events)[0]) == [(AT, "VS Code", 200), (AT, "Slack", 5)]
    until = AT + 1_100_000
    assert windows(counted(*events, until_ms=until)[0]) == [(AT, "VS Code", 100), (AT, "Slack", 5)]


def test_nothing_lasts_on_the_screen_beyond_a_gap_or_the_stop_of_a_session(counted):
    counts, _ = counted(
        event("visual_index", 0, "[Slack] x", last_s=5),
        event("visual_index", 100, "[Zoom] x", last_s=5),
        json.dumps(
            {"unix_ts": AT / 1000 + 150, "event": "capture_session.stopped", "capture_session_id": "c"}
        ),
        event("visual_index", 200, "[Figma] x", last_s=9000),
        breaks=[AT + 60_000],
    )

    assert windows(counts)[:3] == [(AT, "Figma", 600), (AT, "Slack", 60), (AT, "Zoom", 50)]


def test_what_is_said_again_and_shown_in_several_blocks_is_recorded_as_often_as_it_was(counted):
    sentences = [event("transcript", at, "Again.", last_s=1) for at in (0, 10, 4000)]
    shown = [event("visual_index", at, "[Slack] x", last_s=5) for at in (0, 3590, 3700)]
    summaries = [event("audio_index", 0, "They repeat it", last_s=9)]
    fired = [event("alert", at, "Failed", label="failed") for at in (1, 2)]
    counts, totals = counted(*sentences, *shown, *summaries, *fired)

    assert counts.outline([MINUTE]).recorded == Recorded(sentences=3, summaries=1, windows=1, alerts=2)
    assert [(one.said, one.shown, one.fired) for one in totals] == [(1, 1, 1), (1, 1, 0)]


def test_time_on_the_screen_is_divided_between_blocks(counted):
    counts, totals = counted(
        event("visual_index", 3590, "[Slack] x", last_s=5), event("visual_index", 3650, "[Zoom] x", last_s=5)
    )

    assert windows(counts) == [(AT, "Slack", 10), (AT + HOUR, "Slack", 50), (AT + HOUR, "Zoom", 5)]
    assert totals == [Total(AT, 0, 1, 0), Total(AT + HOUR, 0, 2, 0)]


def test_windows_without_a_name_are_told_together_with_what_was_shown_longest(counted):
    counts, _ = counted(
        event("visual_index", 0, "A profiler", last_s=5),
        event("visual_index", 5, "An editor " + "x" * 999, last_s=60),
    )

    [shown] = counts.shown(9)
    assert shown._replace(text="") == Shown(AT, None, 65_000, "")
    assert shown.text.startswith("An editor")
    assert len(shown.text) == LONGEST_SNIPPET


def test_a_sentence_counts_for_words_that_are_frequent_in_its_block_and_rare_elsewhere(counted):
    usual = "we talk about the weather again"
    counts, _ = counted(
        event("transcript", 0, usual),
        event("transcript", 10, "yeah, okay, hmm"),
        event("transcript", 20, "the invoice for Ada is late"),
        event("transcript", 30, "invoice numbers are wrong"),
        *(event("transcript", 4000 + n, f"{usual} {'very ' * n}") for n in range(9)),
    )
    ranked = [one.text for one in counts.said(10_000) if one.block == AT]

    assert set(ranked[:2]) == {"the invoice for Ada is late", "invoice numbers are wrong"}
    assert ranked[3] == "yeah, okay, hmm"
    assert [one.text for one in counts.said(1) if one.block == AT] == ranked[:1]


def test_the_audio_summaries_of_a_stream_stand_for_its_sentences_where_there_are_some(counted):
    counts, totals = counted(
        event("transcript", 0, "Shall we deploy?"),
        event("audio_index", 30, "They discuss a release"),
        event("transcript", 40, "Not today.", stream="rts-2"),
        event("transcript", 4000, "Tomorrow, then."),
    )

    assert sorted((one.text, one.is_summary) for one in counts.said(999)) == [
        ("Not today.", False),
        ("They discuss a release", True),
        ("Tomorrow, then.", False),
    ]
    assert totals == [Total(AT, 2, 0, 0), Total(AT + HOUR, 1, 0, 0)]


def test_what_is_said_twice_is_told_once_and_nothing_blank(counted):
    counts, totals = counted(
        *(event("transcript", at, "Thank you.") for at in (1, 2, 3)), event("transcript", 4, "  ")
    )

    assert [one.text for one in counts.said(999)] == ["Thank you."]
    assert totals == [Total(AT, 1, 0, 0)]


def test_a_long_text_is_cut_between_words_unless_they_are_long(counted):
    counts, _ = counted(
        event("transcript", 1, "It was the age of wisdom. " * 20), event("transcript", 2, "x" * 400)
    )

    spoken, endless = sorted(one.text for one in counts.said(999))
    assert spoken == "It was the age of wisdom. " * 11 + "It was the…"
    assert endless == "x" * (LONGEST_TEXT - 1) + "…"


def test_alerts_are_told_by_label(counted):
    counts, totals = counted(
        event("alert", 1, "A test failed", label="failed"),
        event("alert", 2, "Another failed", label="failed"),
        event("alert", 3, "Slack", label="opened"),
    )

    assert counts.fired(9) == [
        Fired(AT, "failed", 2, AT + 1000, "A test failed"),
        Fired(AT, "opened", 1, AT + 3000, "Slack"),
    ]
    assert len(counts.fired(1)) == 1
    assert totals == [Total(AT, 0, 0, 2)]


def test_of_very_many_sentences_only_so_many_are_weighed_unless_there_is_room(counted):
    events = [event("transcript", n, f"Sentence number {n} of them") for n in range(WEIGHED + 50)]

    counts, [total] = counted(*events, room=100)
    assert (len(counts.said(10**6)), total.said) == (WEIGHED, WEIGHED + 50)
    counts, [total] = counted(*events, room=10**6)
    assert len(counts.said(10**6)) == total.said


def test_there_is_an_outline_of_something_and_of_nothing(counted):
    counts, _ = counted(event("transcript", 0, "Yes."), event("transcript", 90, "No."))
    outline = counts.outline([MINUTE, HOUR])

    assert outline.span == (AT, AT + 90_000)
    assert (outline.occupied, outline.said, outline.said_characters) == ({MINUTE: 2, HOUR: 1}, 2, 7)
    counts, _ = counted(event("capture_session", 0, "x"))
    assert counts.outline([MINUTE]) is None
