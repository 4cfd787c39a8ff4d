"""Descriptions of a screen that go on saying nearly the same are one line, in each form that is printed."""

import io
import json
import re
import time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st
from support.databases import search

from vdbevents.errors import InputError
from vdbevents.query.collapse import PAUSE_MS, Run, find
from vdbevents.query.filters import Event, Filters
from vdbevents.query.output import rows, write
from vdbevents.query.output.text import TextShape

BERLIN = ZoneInfo("Europe/Berlin")
DIM, OFF = "\x1b[2m", "\x1b[0m"
EDITOR = "An editor shows main.py beside a terminal; 3 tests fail"


class Told:
    """An answer that needs no journal; in two batches."""

    span = None

    def __init__(self, events, breaks=()):
        self._events = list(events)
        self.breaks = set(breaks)

    def events(self, _columns=()):
        middle = len(self._events) // 2
        yield from filter(None, (self._events[:middle], self._events[middle:]))

    def lines(self):
        return ([one.line for one in batch] for batch in self.events())


def shown(text, at_s=0, **columns):
    """Return a description of the screen, which was seen for a second, two seconds before it came."""
    told = {"text": text, "channel": "visual_index", "stream": "rts-1", "line": "{}"}
    times = {"time_ms": at_s * 1000 + 2000, "start_ms": at_s * 1000, "end_ms": at_s * 1000 + 1000}
    return Event(**dict.fromkeys(Event._fields) | told | times | columns)


def lines(events, breaks=(), *, newest_first=False):
    """Return how many events the line of each stands for; None for an event in the line of another."""
    events = list(events)
    runs = find(Told(events, breaks), newest_first=newest_first)
    found = [runs.at(row) for row in range(len(events))]
    assert runs.merged == sum(map(runs.is_merged, range(len(events))))
    return [None if runs.is_merged(row) else run.events if run else 1 for row, run in enumerate(found)]


# -- What is nearly the same -----------------------------------------------------------------------------


def are_alike(one, other):
    alike = lines([shown(one), shown(other, 1)]) == [2, None]
    assert alike == (lines([shown(other), shown(one, 1)]) == [2, None])
    return alike


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (EDITOR, EDITOR),
        (EDITOR, EDITOR.upper()),
        (EDITOR, "An editor shows main.py beside a terminal; 2 tests fail"),
        (EDITOR, "an editor shows main2.py, beside the terminal: 17 tests fail (12:31)"),
        ("Clock 12:30", "Clock 12:31"),
        ("12:30", "12:31"),
        ("Straße in Köln, 3°", "STRASSE IN KÖLN, straße 4°"),
        ("编辑器显示主文件, 三个测试失败", "编辑器显示主文件, 两个测试失败"),
        ("one two three four five", "one two three four fife"),
    ],
)
def test_a_clock_a_counter_and_a_word_in_five_do_not_end_a_run(one, other):
    assert are_alike(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (EDITOR, "A browser shows the page of a build; all tests passed"),
        ("The screen shows a terminal with a log", "The screen shows a browser with a video"),
        ("Slack: #release, a message from Ada", "Slack: #random, a message from Bob"),
        ("one two three four", "one two three for"),
        ("Terminal", "Browser"),
        ("Terminal", "12:30"),
        ("编辑器显示主文件", "浏览器播放视频"),
        (EDITOR, EDITOR + " with a dialog in front that asks whether to delete all files for ever"),
    ],
)
def test_a_different_description_begins_a_run(one, other):
    assert not are_alike(one, other)


def test_a_run_is_compared_with_its_first_event_and_does_not_drift():
    words = [f"w{chr(97 + n)}" for n in range(20)]
    drifting = [" ".join(words[n : n + 10]) for n in range(4)]

    assert lines(shown(text, n) for n, text in enumerate(drifting)) == [3, None, None, 1]


# -- What is a run ---------------------------------------------------------------------------------------


def test_other_events_in_between_stay_and_end_no_run():
    said = shown("Hello", 1, channel="transcript")
    unlike = [said, shown(None, 2), shown(" \n", 2), shown(EDITOR, 2, stream="rts-2")]

    assert lines([shown(EDITOR), *unlike, shown(EDITOR, 3), said]) == [2, 1, 1, 1, 1, None, 1]


def test_other_channels_are_never_merged():
    for channel in ("transcript", "audio_index", "alert", "visual", None):
        assert lines([shown(EDITOR, channel=channel)] * 3) == [1, 1, 1]


def test_a_stream_is_known_by_its_id_or_else_by_its_name():
    by_id = [shown(EDITOR, n, stream_name=name) for n, name in enumerate("ab")]
    by_name = [shown(EDITOR, n, stream=None, stream_name=name) for n, name in enumerate("aba")]

    assert lines(by_id) == [2, None]
    assert lines(by_name) == [2, 1, None]
    assert lines([shown(EDITOR, stream=None)] * 2) == [2, None]
    assert lines([shown(EDITOR, stream="a"), shown(EDITOR, stream=None, stream_name="a")]) == [1, 1]


def test_a_pause_ends_a_run_and_is_measured_from_the_end_to_the_next_start():
    pause = PAUSE_MS // 1000

    assert lines([shown(EDITOR), shown(EDITOR, 1 + pause)]) == [2, None]
    assert lines([shown(EDITOR), shown(EDITOR, 2 + pause)]) == [1, 1]
    assert lines([shown(EDITOR, end_ms=3_600_000), shown(EDITOR, 3600 + pause)]) == [2, None]
    without = {"start_ms": None, "end_ms": None}
    assert lines(shown(EDITOR, at, **without) for at in (0, pause, 2 * pause + 1)) == [2, None, 1]


def test_events_backfilled_after_a_gap_are_around_their_own_time():
    assert lines(shown(EDITOR, at) for at in (0, 4000, 1, 4001)) == [1, 1, 1, 1]


def test_an_event_without_a_time_is_in_no_run():
    timeless = shown(EDITOR, time_ms=None, start_ms=None, end_ms=None)

    assert lines([timeless, timeless, shown(EDITOR), timeless, shown(EDITOR)]) == [1, 1, 2, 1, None]


def test_a_run_does_not_reach_from_one_match_s_surroundings_into_another_s():
    events = [shown(EDITOR, n) for n in range(5)]

    assert lines(events, {2}) == [2, None, 3, None, None]
    assert lines(events[::-1], {3}, newest_first=True) == [None, None, 3, None, 2]


def test_a_run_lasts_from_its_first_start_to_its_last_end():
    events = [
        shown(EDITOR, 10),
        shown(EDITOR, 11, end_ms=99_000),
        shown(EDITOR, 12),
        shown(EDITOR, 13, end_ms=0),
    ]

    assert find(Told(events), newest_first=False).at(0) == Run(10_000, 99_000, 4)
    assert find(Told(events[::-1]), newest_first=True).at(3) == Run(10_000, 99_000, 4)


def naive(events, breaks):
    """Return what `lines` does, of the oldest first, by looking back over all there was."""
    counts, firsts = [], {}
    for row, event in enumerate(events):
        seen = [
            other
            for other in range(row)
            if events[other].channel == event.channel == "visual_index"
            and events[other].stream == event.stream
        ]
        first = firsts.get(seen[-1]) if seen else None
        if (
            first is None
            or event.start_ms - events[seen[-1]].end_ms > PAUSE_MS
            or any(first < at <= row for at in breaks)
            or not nearly(events[first].text, event.text)
        ):
            firsts[row] = row
            counts.append(1)
        else:
            firsts[row] = first
            counts[first] += 1
            counts.append(None)
    return counts


def nearly(one, other):
    one, other = (set(re.findall("[a-zé]+", text.lower())) for text in (one, other))
    return not one | other or len(one & other) / len(one | other) >= 2 / 3


texts = st.lists(st.sampled_from(["a", "b", "C", "dé", "7", "E,f"]), min_size=1, max_size=6).map(" ".join)
sights = st.tuples(
    texts,
    st.sampled_from([1, 2, 60, 301, 302, 303]),
    st.sampled_from(["visual_index", "visual_index", "visual_index", "transcript"]),
    st.sampled_from(["rts-1", "rts-1", "rts-2"]),
)


@given(st.lists(sights, max_size=12), st.sets(st.integers(1, 11), max_size=2))
def test_whatever_was_shown_the_runs_are_those_of_a_few_lines_and_the_same_in_both_orders(told, breaks):
    events, at = [], 0
    for text, later, channel, stream in told:
        at += later
        events.append(shown(text, at, channel=channel, stream=stream))
    breaks = {row for row in breaks if row < len(events)}

    expected = naive(events, breaks)

    assert lines(events, breaks) == expected
    turned = {len(events) - row for row in breaks}
    assert lines(events[::-1], turned, newest_first=True) == expected[::-1]


@pytest.mark.long
@pytest.mark.parametrize("newest_first", [False, True])
def test_many_long_texts_take_time_in_proportion_to_their_length(newest_first):
    def seconds(count):
        text = " ".join(f"{'word' * (n % 7)}é{chr(97 + n % 26) * (n // 26 % 30)}" for n in range(5000))
        events = Told(shown(text + " x" * n, n) for n in range(count))
        began = time.process_time()
        assert find(events, newest_first=newest_first).merged == count - 1
        return time.process_time() - began

    seconds(5)
    assert min(seconds(40) for _ in range(3)) < 8 * max(min(seconds(10) for _ in range(3)), 0.01)


# -- What is printed -------------------------------------------------------------------------------------

JOURNAL = r"""
{"unix_ts":1772446500.5,"channel":"scene_index","rtstream_name":"display:1","data":{"text":"An editor, \"main.py\": 3 tests fail","start":1772446490000,"end":1772446500000}}
{"unix_ts":1772446505,"channel":"transcript","rtstream_name":"mic:default","data":{"text":"Which ones?","start":1772446503000,"end":1772446504000}}
{"unix_ts":1772446510.5,"channel":"visual_index","rtstream_name":"display:1","data":{"text":"An editor, \"main.py\": 2 tests fail","start":1772446500000,"end":1772446510000}}
{"unix_ts":1772446765.5,"channel":"visual_index","rtstream_name":"display:1","data":{"text":"AN EDITOR: main.py, 1 tests fail","start":1772446755000,"end":1772446765000}}
{"unix_ts":1772446775.5,"channel":"visual_index","rtstream_name":"display:1","data":{"text":"A browser","start":1772446765000}}
""".lstrip()  # noqa: E501 - lines as they are recorded
FIRST, SAID, _, _, LAST = JOURNAL.splitlines()


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(JOURNAL, "utf-8")
    return path


def printed(journal, output, *, colour=False, width=None, fields=None, **filters):
    chosen = Filters(**filters)
    stream = io.BytesIO()
    with search(journal, chosen) as answer:
        runs = find(answer, newest_first=chosen.newest_first)
        shape = TextShape(lambda: width)
        style = write.Style(chosen, BERLIN, colour=colour, shape=shape, fields=fields, runs=runs)
        count = write.write(answer, output, stream, style)
        assert count == answer.count - runs.merged
    return stream.getvalue().decode()


def test_text_tells_after_the_description_for_how_long_it_was_shown_and_how_often(journal):
    assert printed(journal, "text") == (
        '11:15:00  screen  visual_index  An editor, "main.py": 3 tests fail (4 min 35 s, 3 times)\n'
        "11:15:05  mic     transcript    Which ones?\n"
        "11:19:35  screen  visual_index  A browser\n"
    )


def test_newest_first_are_the_same_lines_in_the_opposite_order(journal):
    for output in ("text", "jsonl"):
        assert (
            printed(journal, output, newest_first=True).splitlines()
            == (printed(journal, output).splitlines()[::-1])
        )


def test_on_a_terminal_the_text_is_cut_and_the_note_about_the_run_is_not(journal):
    shown = printed(journal, "text", width=70, colour=True, grep=("main",))

    assert shown == (
        f"{DIM}11:15:00{OFF}  \x1b[35mscreen  visual_index{OFF}  "
        f'…"\x1b[1;31mmain{OFF}.py": 3…{DIM} (4 min 35 s, 3 times){OFF}\n'
    )
    cut = "11:15:10  screen  visual_index  An editor,… (4 min 25 s, 2 times)"
    assert printed(journal, "text", width=70, limit=4).splitlines()[1] == cut


def test_a_text_of_100_000_characters_leaves_room_for_the_note(tmp_path):
    long = {"channel": "visual_index", "data": {"text": "x" * 100_000}}
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(json.dumps({"unix_ts": at} | long) + "\n" for at in (0, 1)))

    assert (
        printed(journal, "text", width=60) == "01:00:00  -  visual_index  xxxxxxxxxxxxxxx… (1.0 s, 2 times)\n"
    )
    assert printed(journal, "text").endswith("xxx (1.0 s, 2 times)\n")


def test_markdown_tells_the_same(journal):
    assert printed(journal, "md") == (
        "## 2026-03-02\n"
        "\n"
        '- **11:15:00** screen · visual\\_index: An editor, "main\\.py": 3 tests fail (4 min 35 s, 3 times)\n'
        "- **11:15:05** mic · transcript: Which ones?\n"
        "- **11:19:35** screen · visual\\_index: A browser\n"
    )


def test_jsonl_and_json_hold_the_journal_s_own_line_of_a_run_s_first_event(journal):
    assert printed(journal, "jsonl") == f"{FIRST}\n{SAID}\n{LAST}\n"
    assert printed(journal, "json") == f"[\n{FIRST},\n{SAID},\n{LAST}\n]\n"


def test_csv_has_two_more_columns_at_its_end(journal):
    assert printed(journal, "csv") == (
        "time,channel,event,source,stream,stream_name,session,text,is_final,started,ended,label,speaker,confidence,window,"
        "count,until\n"
        '2026-03-02T10:15:00.500Z,visual_index,,screen,,display:1,,"An editor, ""main.py"": 3 tests fail",,'
        "2026-03-02T10:14:50.000Z,2026-03-02T10:15:00.000Z,,,,,3,2026-03-02T10:19:25.000Z\n"
        "2026-03-02T10:15:05.000Z,transcript,,mic,,mic:default,,Which ones?,,"
        "2026-03-02T10:15:03.000Z,2026-03-02T10:15:04.000Z,,,,,1,2026-03-02T10:15:04.000Z\n"
        "2026-03-02T10:19:35.500Z,visual_index,,screen,,display:1,,A browser,,"
        "2026-03-02T10:19:25.000Z,,,,,,1,2026-03-02T10:19:25.000Z\n"
    )


def test_fields_name_the_two_columns_in_any_order(journal):
    fields = ("until", "source", "count")

    assert printed(journal, "jsonl", fields=fields) == (
        '{"until":"2026-03-02T10:19:25.000Z","source":"screen","count":3}\n'
        '{"until":"2026-03-02T10:15:04.000Z","source":"mic","count":1}\n'
        '{"until":"2026-03-02T10:19:25.000Z","source":"screen","count":1}\n'
    )
    assert printed(journal, "text", fields=("count",)) == "3\n1\n1\n"
    assert printed(journal, "csv", fields=("text", "count"), limit=1) == "text,count\nA browser,1\n"


def test_subtitles_have_one_cue_from_a_run_s_first_start_to_its_last_end(journal):
    assert printed(journal, "srt") == (
        '1\n00:00:00,000 --> 00:04:35,000\nscreen: An editor, "main.py": 3 tests fail\n\n'
        "2\n00:00:13,000 --> 00:00:14,000\nmic: Which ones?\n\n"
        "3\n00:04:35,000 --> 00:04:37,000\nscreen: A browser\n"
    )
    assert printed(journal, "vtt") == (
        "WEBVTT\n\nNOTE 00:00:00.000 is 2026-03-02T10:14:50.000Z\n\n"
        '00:00:00.000 --> 00:04:35.000\nscreen: An editor, "main.py": 3 tests fail\n\n'
        "00:00:13.000 --> 00:00:14.000\nmic: Which ones?\n\n"
        "00:04:35.000 --> 00:04:37.000\nscreen: A browser\n"
    )


def test_events_are_counted_before_they_are_merged(journal):
    assert printed(journal, "text", limit=3, offset=1, channels=("visual",)) == (
        '11:15:00  screen  visual_index  An editor, "main.py": 3 tests fail (4 min 35 s, 3 times)\n'
    )


@pytest.mark.parametrize("newest_first", [False, True])
def test_events_around_two_matches_are_separated_even_where_a_run_begins(tmp_path, newest_first):
    def event(at, channel, text):
        return json.dumps({"unix_ts": at, "channel": channel, "data": {"text": text}}) + "\n"

    journal = tmp_path / "journal.jsonl"
    screen = [event(at, "visual_index", EDITOR) for at in range(0, 100, 10)]
    journal.write_text("".join([event(20, "alert", "now"), *screen, event(70, "alert", "now")]))

    shown = printed(journal, "text", grep=("now",), around_ms=10_000, newest_first=newest_first)
    told = f"-  visual_index  {EDITOR} (20 s, 3 times)"
    groups = [
        [f"01:00:10  {told}", "01:00:20  -  alert         now"],
        [f"01:01:00  {told}", "01:01:10  -  alert         now"],
    ]
    if newest_first:
        groups = [group[::-1] for group in groups[::-1]]
    # The columns are as wide as what was shown so far asks.
    assert [part.split() for part in shown.splitlines()] == [
        part.split() for part in [*groups[0], "--", *groups[1]]
    ]


def test_nothing_found_is_an_empty_answer(journal):
    outputs = {"text": "", "md": "", "jsonl": "", "json": "[]\n", "srt": "", "vtt": "WEBVTT\n"}
    for output, expected in outputs.items():
        assert printed(journal, output, grep=("absent",)) == expected


@pytest.mark.parametrize("output", ["text", "md", "srt", "vtt"])
def test_screen_text_in_a_run_is_escaped_and_ends_no_line(tmp_path, output):
    hostile = "a\x1b]0;title\x07\x9b2J\u202e\nb (9 h, 9 times)\u2028<b>`*[x](y)"
    event = {"channel": "visual_index", "data": {"text": hostile, "start": 1, "end": 62}}
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(json.dumps({"unix_ts": at} | event) + "\n" for at in range(1234)))

    text = printed(journal, output)

    assert not set(text) & set("\x1b\x07\x9b\u202e\u2028")
    assert text.count("title") == 1
    if output in ("text", "md"):
        assert text.endswith(" (1 min 1 s, 1,234 times)\n")
        assert len(text.splitlines()) == (1 if output == "text" else 3)


def test_the_two_columns_are_named_only_where_there_are_runs():
    assert rows.parse_fields("until, count,text", unique=True) == ("until", "count", "text")
    with pytest.raises(InputError, match="'count'") as refused:
        rows.parse_fields("time,count")
    assert refused.value.error_id == "field-unknown"
    assert "--unique" in refused.value.hint
    with pytest.raises(InputError, match="'until'") as refused:
        rows.parse_fields("until,until", unique=True)
    assert refused.value.error_id == "field-repeated"
    with pytest.raises(InputError, match="'line'") as refused:
        rows.parse_fields("line", unique=True)
    assert refused.value.error_id == "field-unknown"
    assert "window, count, until" in refused.value.hint
