"""What was said becomes paragraphs, and no reader takes a gap for a silence."""

import json
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from vdbevents.cli.video_zero import beginning_at
from vdbevents.errors import InputError
from vdbevents.events.gaps import Gap, Missing
from vdbevents.privacy.pauses import Pause
from vdbevents.query.filters import Event
from vdbevents.query.output import write
from vdbevents.query.output.budget import Bound
from vdbevents.summaries import transcript_pages as pages
from vdbevents.summaries.transcript import Paragraph, Silence, gap_silences, parts_of, pause_silences
from vdbevents.times import Window

AT = 1772445600000  # 10:00:00 in UTC
SECOND, MINUTE = 1000, 60_000
ALWAYS = Window()


def said(text, start, end=None, *, speaker=None, source="mic", final=True, host=None):
    """What was said from so many seconds after 10:00."""
    empty = Event(*[None] * len(Event._fields))
    return empty._replace(
        text=text,
        start_ms=AT + round(start * SECOND),
        end_ms=AT + round((start + 1 if end is None else end) * SECOND),
        speaker=speaker,
        source=source,
        is_final=final,
        host=host,
    )


def shown(events, silences=(), break_ms=MINUTE):
    """The parts: of a paragraph who speaks and what, of a silence its words."""
    return [
        f"{part.who}: {part.text}" if isinstance(part, Paragraph) else part.words
        for part in parts_of(events, silences, break_ms)
    ]


def gap(since, until, status="open", **others):
    return Gap("gap-1", AT + since * SECOND, AT + until * SECOND, "closed", status, **others)


def test_utterances_of_one_speaker_are_one_paragraph_until_another_speaks():
    events = [said("One,", 0), said("two\n three.", 2), said("Yes.", 3, speaker="Ada"), said("Four.", 4)]
    assert shown(events) == ["mic: One, two three.", "Ada: Yes.", "mic: Four."]


def test_speakers_who_overlap_are_in_the_order_of_their_starts_and_make_no_silence():
    events = [said("so the plan is", 0, 200), said("yes", 5, 6, source="system_audio"), said("ok", 202)]
    assert shown(events) == ["mic: so the plan is", "system_audio: yes", "mic: ok"]


def test_a_paragraph_ends_after_a_pause_and_after_a_minute():
    events = [said(str(second), second, second + 4) for second in range(0, 80, 5)]
    paragraphs = shown([*events, said("later", 100)])
    assert paragraphs[0] == "mic: " + " ".join(map(str, range(0, 60, 5)))
    assert paragraphs[-1] == "mic: later"


def test_a_silence_is_marked_only_if_it_is_longer_than_the_break():
    events = [said("one", 0, 1), said("two", 61), said("three", 123)]
    assert shown(events) == ["mic: one", "mic: two", "[silence of 1 min 1 s]", "mic: three"]
    assert shown(events, break_ms=2 * MINUTE) == ["mic: one", "mic: two", "mic: three"]


def test_a_gap_and_a_pause_are_no_silence():
    silences = [
        *gap_silences([gap(100, 200)], ALWAYS),
        *pause_silences([Pause("p", AT + 400_000, AT + 450_000)], ALWAYS, AT + 900_000),
    ]
    assert shown([said("one", 0, 1), said("two", 460)], silences) == [
        "mic: one",
        "[silence of 1 min 39 s]",
        "[gap of 1 min 40 s: nothing was recorded]",
        "[silence of 3 min 20 s]",
        "[pause of 50 s: nothing was recorded, as asked for]",
        "mic: two",
    ]


def test_a_gap_in_the_middle_of_what_somebody_says_parts_it():
    silences = gap_silences([gap(2, 4)], ALWAYS)
    assert shown([said("one", 0, 1), said("two", 5)], silences) == [
        *("mic: one", "[gap of 2.0 s: nothing was recorded]", "mic: two")
    ]


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (gap(0, 9, "recovered"), []),
        (gap(0, 9, "incomplete", missing=(Missing("alerts", "no record"),)), []),
        (gap(0, 9, "incomplete", missing=(Missing("visual index of display:1", "refused"),)), []),
        (
            gap(0, 9, "incomplete", missing=(Missing("transcript of mic:default", "refused"),)),
            ["[gap of 9.0 s: speech may be missing]"],
        ),
        (
            gap(0, 9, "incomplete", missing=(Missing("everything", "never asked for"),)),
            ["[gap of 9.0 s: nothing was recorded]"],
        ),
        (gap(0, 9, streams=("rts-1",)), ["[gap of 9.0 s: speech may be missing]"]),
        (replace(gap(0, 9), ongoing=True), ["[gap of 9.0 s so far: nothing was recorded]"]),
        (gap(20, 29), []),
    ],
)
def test_only_a_gap_in_which_speech_may_be_missing_and_in_the_window_is_marked(known, words):
    silences = gap_silences([known], Window(AT, AT + 15_000))
    assert [one.words for one in silences] == words


def test_a_pause_that_goes_on_lasts_until_now():
    pauses = [Pause("p", AT), Pause("q", AT + 99_000)]
    [one] = pause_silences(pauses, ALWAYS, AT + 60_000, "desk")
    assert one.words == "[pause of 1 min so far on desk: nothing was recorded, as asked for]"
    assert one.data()["ongoing"]


def test_an_unfinished_sentence_is_marked_and_ends_its_paragraph():
    events = [said("One.", 0), said("and tw", 2, final=False), said("three", 4)]
    assert shown(events) == ["mic: One. and tw", "mic: three"]
    text = "".join(pages.text_pieces(parts_of(events, (), MINUTE), ZoneInfo("UTC"), **LOOK))
    assert "and tw … [unfinished]\n" in text


def test_an_event_without_a_text_or_a_start_makes_no_trouble():
    nothing = said(" ", 5)
    timeless = said("when?", 0)._replace(start_ms=None, end_ms=None)
    assert shown([timeless, nothing, said("one", 200)]) == ["mic: when?", "mic: one"]


LOOK = {"title": "session cap-1", "clean": str, "width": None}


def test_the_text_names_each_local_day_and_wraps_under_the_words():
    events = [said("one two three four five", 0), said("later", 15 * 3600, host="desk")]
    parts = list(parts_of(events, (), 24 * 3600 * SECOND))
    look = {**LOOK, "width": 30}
    assert "".join(pages.text_pieces(parts, ZoneInfo("Europe/Berlin"), **look)) == (
        "2026-03-02, session cap-1\n"
        "11:00:00  mic: one two three\n"
        "          four five\n"
        "2026-03-03\n"
        "02:00:00  desk mic: later\n"
    )


def test_nothing_that_was_said_is_markdown():
    parts = parts_of([said("# *x* <b>", 0, speaker="_A_")], (), MINUTE)
    text = "".join(pages.markdown_pieces(parts, ZoneInfo("UTC"), title=""))
    assert text == "## 2026-03-02\n\n**10:00:00 \\_A\\_:** \\# \\*x\\* &lt;b&gt;\n\n"


def test_json_holds_whatever_fits_and_is_valid_even_if_nothing_does():
    parts = list(parts_of([said("one\u2028", 0), said("two", 90, speaker="Ada")], (), MINUTE))
    layout = pages.Layout(pages.json_pieces, pages.json_tail, pages.json_head("cap-1"))
    whole = json.loads(pages.fitting(Bound(), parts, layout).text)
    assert whole["left_out"] == 0
    assert [part["kind"] for part in whole["parts"]] == ["speech", "silence", "speech"]
    assert whole["parts"][2] == {
        "kind": "speech",
        "started": "2026-03-02T10:01:30.000Z",
        "ended": "2026-03-02T10:01:31.000Z",
        "speaker": "Ada",
        "source": "mic",
        "text": "two",
    }
    some = pages.fitting(Bound(bytes=220), parts, layout).text
    assert len(some.encode()) <= 220
    assert (len(json.loads(some)["parts"]), json.loads(some)["left_out"]) == (1, 2)
    assert json.loads(pages.fitting(Bound(bytes=10), parts, layout).text) == {
        "session": "cap-1",
        "parts": [],
        "left_out": 3,
    }


def test_where_the_end_has_no_room_the_parts_are_shown_without_it():
    parts = list(parts_of([said("one", 0), said("two", 15)], (), MINUTE))
    layout = pages.Layout(
        lambda shown: pages.text_pieces(shown, ZoneInfo("UTC"), title="", clean=str, width=None),
        lambda left_out: "x" * 50 + "\n" if left_out else "",
    )
    whole, left_out, _ = pages.fitting(Bound(bytes=60), parts, layout)
    assert (whole.count("mic:"), left_out) == (2, 0)
    assert pages.fitting(Bound(bytes=40), parts, layout) == ("2026-03-02\n10:00:15  mic: two\n", 1, False)


class Sink:
    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data


def test_subtitles_tell_where_nothing_was_recorded_and_count_from_the_session():
    events = [said("early", -3, -1), said("one", 0, 3), said("two", 60)]
    cues = pages.CueEvents(events, gap_silences([gap(10, 50)], ALWAYS))
    sink = Sink()
    write.write(cues, "srt", sink, write.Style(None, ZoneInfo("UTC"), zero_ms=AT + SECOND))
    assert sink.data.decode() == (
        "1\n00:00:00,000 --> 00:00:02,000\nmic: one\n\n"
        "2\n00:00:09,000 --> 00:00:49,000\n[gap of 40 s: nothing was recorded]\n\n"
        "3\n00:00:59,000 --> 00:01:00,000\nmic: two\n"
    )


def test_subtitles_count_from_the_session_that_was_active_last():
    assert beginning_at([10, 50, 90], 60) == 50
    assert beginning_at([10, 50], 5) == 10
    with pytest.raises(InputError) as refused:
        beginning_at([], 5)
    assert refused.value.error_id == "zero-session-missing"


def test_a_silence_of_any_kind_has_its_times_in_json():
    assert Silence("gap", AT, AT + 1000, is_partial=True).data() == {
        "kind": "gap",
        "started": "2026-03-02T10:00:00.000Z",
        "ended": "2026-03-02T10:00:01.000Z",
        "partial": True,
    }
