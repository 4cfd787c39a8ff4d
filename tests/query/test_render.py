"""What a query prints, byte for byte, in each of its forms."""

import io
import json
import re
import unicodedata
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st
from markdown_it import MarkdownIt
from support import samples
from support.databases import search
from support.effort import examples

from vdbevents.errors import InputError
from vdbevents.query import engine
from vdbevents.query.filters import Event, Filters
from vdbevents.query.output import markdown, rows, text as output_text, write as output_write
from vdbevents.query.output.text import TextShape
from vdbevents.terminal import harmless_output
from vdbevents.times import Window

BERLIN = ZoneInfo("Europe/Berlin")
RED, OFF, DIM = "\x1b[1;31m", "\x1b[0m", "\x1b[2m"

JOURNAL = r"""
{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"channel":"vdbevents","event":"listener.connected","data":{"ws_id":"ws-1"}}
{"ts":"2026-03-02T10:15:31.000Z","unix_ts":1772446531.000,"event":"capture_session.active","capture_session_id":"cap-1","status":"active","data":{}}
{"ts":"2026-03-02T10:15:32.050Z","unix_ts":1772446532.050,"channel":"transcript","rtstream_id":"rts-1","rtstream_name":"mic:default","data":{"text":"She said \"deploy, now\"","is_final":true,"start":1772446530500,"end":1772446532000,"confidence":0.5},"speaker":"Ada"}
{"ts": "2026-03-02T10:15:33.000+00:00", "unix_ts": 1772446533, "channel": "scene_index", "rtstream_name": "display:1", "data": {"text": "=1+1\n\u001b[31mred\ttab"}}
{"ts":"2026-03-02T10:15:34.000Z","unix_ts":1772446534.000,"channel":"alert","data":{"event_label":"slack_opened","timestamp":1772446533999,"text":"Slack 打开了"}}
{"ts":"2026-03-02T10:15:35.000Z","unix_ts":1772446535.000,"connection_id":"ws-1"}
""".lstrip()  # noqa: E501 - lines as they are recorded


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(JOURNAL, "utf-8")
    return path


PLAIN = output_write.Style(Filters(), BERLIN)


def written(
    journal,
    output,
    *,
    colour=False,
    width=None,
    shape=None,
    fields=None,
    without_formulas=False,
    to_terminal=False,
    **filters,
):
    """Return what is printed, how many events the caller is told were written, and how many were found."""
    chosen = Filters(**filters)
    stream = io.BytesIO()
    with search(journal, chosen) as answer:
        style = output_write.Style(
            chosen,
            BERLIN,
            colour=colour,
            shape=shape or TextShape(lambda: width),
            fields=fields,
            without_formulas=without_formulas,
            to_terminal=to_terminal,
        )
        count = output_write.write(answer, output, stream, style)
        return stream.getvalue().decode(), count, answer.count


def printed(journal, output, **options):
    text, count, found = written(journal, output, **options)
    assert count == found or output in ("srt", "vtt")
    return text


AROUND = r"""
{"unix_ts":1772446530,"channel":"transcript","rtstream_name":"mic","data":{"text":"deploy the code","is_final":true,"start":1772446528000,"end":1772446529500}}
{"unix_ts":1772446540,"channel":"visual_index","rtstream_name":"display:1","data":{"text":"a decoder","start":1772446534000,"end":1772446537000}}
{"unix_ts":1772446541,"channel":"audio_index","rtstream_name":"system_audio","data":{"text":"music","start":1772446494000,"end":1772446524000}}
{"unix_ts":1772532941,"channel":"transcript","rtstream_name":"mic","data":{"text":"code, again","is_final":true}}
""".lstrip()  # noqa: E501 - lines as they are recorded


@pytest.fixture
def meeting(tmp_path):
    path = tmp_path / "meeting.jsonl"
    path.write_text(AROUND, "utf-8")
    return path


def test_events_around_two_matches_are_separated_and_shown_by_their_own_times(meeting):
    asked = {"grep": ("code",), "channels": ("transcript",), "around_ms": 10_000}

    assert printed(meeting, "text", **asked) == (
        "2026-03-02 11:14:54  system_audio  audio_index   music\n"
        "2026-03-02 11:15:28  mic           transcript    deploy the code\n"
        "2026-03-02 11:15:34  screen        visual_index  a decoder\n"
        "--\n"
        "2026-03-03 11:15:41  mic           transcript    code, again\n"
    )
    assert printed(meeting, "md", **asked).count("\n---\n") == 1
    assert printed(meeting, "jsonl", **asked).splitlines() == [AROUND.splitlines()[at] for at in (2, 0, 1, 3)]


def test_by_event_tells_when_something_happened_and_not_when_it_was_received(meeting):
    assert printed(meeting, "text", by_event=True, limit=1, channels=("visual",)).startswith("11:15:34")
    assert printed(meeting, "text", limit=1, channels=("visual",)).startswith("11:15:40")


def test_matches_of_several_patterns_are_highlighted_as_whole_words_only(meeting):
    asked = {"any_of": ("code", "deploy"), "colour": True, "window": Window(until_ms=1772446560000)}

    assert f"{RED}deploy{OFF} the {RED}code{OFF}" in printed(meeting, "text", **asked)
    assert f"a de{RED}code{OFF}r" in printed(meeting, "text", **asked)
    assert "decoder" not in printed(meeting, "text", whole_words=True, **asked)


def test_jsonl_is_the_journal_itself(journal):
    assert printed(journal, "jsonl") == JOURNAL
    assert printed(journal, "jsonl", grep=("slack",)) == JOURNAL.splitlines(keepends=True)[4]


def test_json_is_an_array_of_the_journal_s_lines(journal):
    lines = JOURNAL.splitlines()
    assert printed(journal, "json") == "[\n" + ",\n".join(lines) + "\n]\n"
    assert json.loads(printed(journal, "json")) == list(map(json.loads, lines))


def test_csv_quotes_as_rfc_4180_does_and_changes_nothing(journal):
    assert printed(journal, "csv") == (
        "time,channel,event,source,stream,stream_name,session,text,is_final,started,ended,"
        "label,speaker,confidence,window\n"
        "2026-03-02T10:15:30.123Z,vdbevents,listener.connected,,,,,"
        '"{""ws_id"":""ws-1""}",,,,listener.connected,,,\n'
        "2026-03-02T10:15:31.000Z,capture_session,capture_session.active,,,,cap-1,"
        "active,,,,capture_session.active,,,\n"
        '2026-03-02T10:15:32.050Z,transcript,,mic,rts-1,mic:default,,"She said ""deploy, now""",true,'
        "2026-03-02T10:15:30.500Z,2026-03-02T10:15:32.000Z,,Ada,0.5,\n"
        '2026-03-02T10:15:33.000Z,visual_index,,screen,,display:1,,"=1+1\n\x1b[31mred\ttab",,,,,,,\n'
        "2026-03-02T10:15:34.000Z,alert,,,,,,Slack 打开了,,2026-03-02T10:15:33.999Z,,slack_opened,,,\n"
        "2026-03-02T10:15:35.000Z,,,,,,,,,,,,,,\n"
    )


def test_csv_without_formulas_marks_them_as_text(journal):
    plain, marked = (printed(journal, "csv", without_formulas=wanted) for wanted in (False, True))

    assert marked != plain
    assert marked == plain.replace('"=1+1', "\"'=1+1")


def test_csv_has_no_nul(journal):
    journal.write_text('{"unix_ts":1772446530,"text":"a\\u0000b"}\n')

    assert printed(journal, "csv", fields=("text",)) == "text\na␀b\n"


ODD_TEXTS = samples.lists(
    samples.sampled_from([*",\"\r\n\0=+-@\t'ab é\u2400\uff1d😀", "e\u0301"]), max_size=4
).map("".join)
ODD_MOMENTS = samples.integers(-62_135_596_800_000, 253_402_300_799_999)


@pytest.mark.parametrize("without_formulas", [False, True])
@pytest.mark.parametrize("fields", [rows.FIELDS, ("text", "start", "time", "label", "text")])
def test_csv_that_the_database_makes_is_that_of_each_row(journal, fields, without_formulas):
    data = samples.fixed_dictionaries(
        {"text": ODD_TEXTS},
        optional={
            "label": ODD_TEXTS,
            "speaker": ODD_TEXTS,
            "window_title": ODD_TEXTS,
            "start": ODD_MOMENTS,
            "end": ODD_MOMENTS,
            "confidence": samples.floats(-1e300, 1e300),
            "is_final": samples.booleans(),
        },
    )
    channels = samples.sampled_from(["transcript", "visual_index", "a,b", ""])
    events = samples.fixed_dictionaries(
        {"channel": channels, "data": data},
        optional={"unix_ts": ODD_MOMENTS.map(lambda moment: moment / 1000), "rtstream_id": ODD_TEXTS},
    ).many(examples(2000))
    journal.write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")
    style = PLAIN._replace(fields=fields, without_formulas=without_formulas)

    stream = io.BytesIO()
    with search(journal, Filters(interim=True)) as answer:
        output_write.write(answer, "csv", stream, style)
        each = rows.csv_text(
            (
                [str(value).lower() if isinstance(value, bool) else value for value in row]
                for batch in rows.rows_of(answer, fields, None)
                for row in batch
            ),
            without_formulas=without_formulas,
        )
    shown = stream.getvalue().decode()
    assert shown.count("\n") > len(events)
    assert shown == ",".join(fields) + "\n" + each


def test_text_is_a_line_an_event_and_obeys_nothing(journal):
    assert printed(journal, "text") == (
        '11:15:30  -       vdbevents        listener.connected: {"ws_id":"ws-1"}\n'
        "11:15:31  -       capture_session  active\n"
        '11:15:32  mic     transcript       Ada: She said "deploy, now"\n'
        "11:15:33  screen  visual_index     =1+1⏎␛[31mred tab\n"
        "11:15:34  -       alert            slack_opened: Slack 打开了\n"
        '11:15:35  -       -                {"connection_id":"ws-1"}\n'
    )


def test_text_on_a_terminal_is_coloured_cut_and_shows_the_match(journal):
    assert printed(journal, "text", colour=True, width=50, grep=("打",)) == (
        f"{DIM}11:15:34{OFF}  \x1b[33m-  alert{OFF}  slack_opened: Slack {RED}打{OFF}开了\n"
    )
    assert printed(journal, "text", colour=True, width=40, grep=("now",)) == (
        f'{DIM}11:15:32{OFF}  \x1b[36mmic  transcript{OFF}  …deploy, {RED}now{OFF}"\n'
    )


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        *(("jsonl", ""), ("json", "[]\n"), ("csv", ",".join(rows.FIELDS) + "\n"), ("text", "")),
        *(("md", ""), ("srt", ""), ("vtt", "WEBVTT\n")),
    ],
)
def test_nothing_found_is_an_empty_answer(journal, output, expected):
    assert written(journal, output, grep=("absent",)) == (expected, 0, 0)


@pytest.mark.parametrize(
    ("output", "expected"), [("jsonl", ""), ("json", "[]\n"), ("csv", "text,time\n"), ("text", "")]
)
def test_nothing_found_has_no_fields_either(journal, output, expected):
    assert printed(journal, output, fields=("text", "time"), grep=("absent",)) == expected


@pytest.mark.parametrize(("shift", "dated"), [(0, False), (86_400, True)])
def test_the_date_is_shown_where_the_answer_spans_more_than_one_local_day(tmp_path, shift, dated):
    journal = tmp_path / "journal.jsonl"
    # 23:30 and 00:30 in UTC: one day in Berlin.
    moments = (1772494200, 1772494200 + 3600 + shift)
    journal.write_text("".join(f'{{"unix_ts":{moment},"text":"x"}}\n' for moment in moments))
    first = printed(journal, "text").splitlines()[0]
    assert first == ("2026-03-03 00:30:00  -  -  x" if dated else "00:30:00  -  -  x")


def test_an_event_without_a_time_is_printed_too(tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"channel":"transcript","text":"timeless"}\n')
    assert printed(journal, "text") == "-         -  transcript  timeless\n"
    assert printed(journal, "csv").splitlines()[1] == ",transcript,,,,,,timeless,,,,,,,"


def test_a_closed_pipe_is_the_caller_s_to_handle(journal):
    class Closed:
        def write(self, _data):
            raise BrokenPipeError

    with engine.search(journal, Filters()) as answer, pytest.raises(BrokenPipeError):
        output_write.write(answer, "jsonl", Closed(), PLAIN)


@pytest.mark.long
def test_a_large_answer_is_written_in_parts(tmp_path):
    class Counting(io.BytesIO):
        parts = 0

        def write(self, data):
            self.parts += 1
            assert len(data) < 1_000_000
            return super().write(data)

    journal = tmp_path / "journal.jsonl"
    journal.write_text(
        "".join(f'{{"unix_ts":{n},"start":{n},"text":"{"x" * 100}"}}\n' for n in range(20_000))
    )
    with engine.search(journal, Filters()) as answer:
        for output in ("jsonl", "csv", "text", "md", "srt", "vtt"):
            stream = Counting()
            output_write.write(answer, output, stream, PLAIN)
            assert stream.parts > 5, output
            assert stream.getvalue().count(b"x" * 100) == 20_000
            if output in ("jsonl", "csv", "text"):
                assert stream.getvalue().count(b"\n") == 20_000 + (output == "csv")


# -- Chosen fields ---------------------------------------------------------------------------------------


def test_csv_has_the_chosen_columns_in_the_order_given(journal):
    assert printed(journal, "csv", fields=("text", "is_final", "time"), grep=("deploy",)) == (
        'text,is_final,time\n"She said ""deploy, now""",true,2026-03-02T10:15:32.050Z\n'
    )


def test_jsonl_and_json_hold_objects_of_the_chosen_fields_alone(journal):
    fields = ("start", "confidence", "text")
    lines = [
        r'{"start":"2026-03-02T10:15:30.500Z","confidence":0.5,"text":"She said \"deploy, now\""}',
        r'{"start":null,"confidence":null,"text":"=1+1\n\u001b[31mred\ttab"}',
        '{"start":"2026-03-02T10:15:33.999Z","confidence":null,"text":"Slack 打开了"}',
    ]
    chosen = {"fields": fields, "channels": ("transcript", "visual_index", "alert")}
    assert printed(journal, "jsonl", **chosen) == "\n".join(lines) + "\n"
    assert printed(journal, "json", **chosen) == "[\n" + ",\n".join(lines) + "\n]\n"
    assert printed(journal, "jsonl", fields=("is_final", "source"), grep=("deploy",)) == (
        '{"is_final":true,"source":"mic"}\n'
    )


def test_a_field_is_taken_by_the_name_that_it_had(journal):
    old = printed(journal, "csv", fields=("start", "end"), grep=("deploy",)).splitlines()
    new = printed(journal, "csv", fields=("started", "ended"), grep=("deploy",)).splitlines()

    assert (old[0], new[0], old[1:]) == ("start,end", "started,ended", new[1:])


def test_json_of_fields_escapes_what_the_journal_escapes_and_reads_as_the_same(tmp_path):
    text = "\\\x9b2J\x7f\u2028é\\"
    journal = tmp_path / "journal.jsonl"
    journal.write_text(json.dumps({"unix_ts": 1, "text": text}) + "\n")
    shown = printed(journal, "jsonl", fields=("text",))
    assert shown == '{"text":"\\\\\\u009b2J\\u007f\\u2028é\\\\"}\n'
    assert json.loads(shown) == {"text": text}


def test_text_of_fields_is_for_cut_with_a_tab_between_them_and_nothing_cut(journal):
    fields = ("time", "source", "text", "is_final", "confidence")
    assert printed(journal, "text", fields=fields, width=20, colour=True, grep=("e",)) == (
        '2026-03-02T10:15:30.123Z\t\t{"ws_id":"ws-1"}\t\t\n'
        "2026-03-02T10:15:31.000Z\t\tactive\t\t\n"
        '2026-03-02T10:15:32.050Z\tmic\tShe said "deploy, now"\ttrue\t0.5\n'
        "2026-03-02T10:15:33.000Z\tscreen\t=1+1⏎␛[31mred tab\t\t\n"
        "2026-03-02T10:15:34.000Z\t\tSlack 打开了\t\t\n"
        "2026-03-02T10:15:35.000Z\t\t\t\t\n"  # found by its line, which is shown where it has no text
    )


def test_csv_of_all_fields_is_csv(journal):
    assert printed(journal, "csv", fields=rows.FIELDS) == printed(journal, "csv")


@pytest.mark.parametrize("output", ["md", "srt", "vtt"])
def test_formats_without_fields_refuse_them(journal, output):
    with pytest.raises(InputError, match=f"--fields.*-o {output}") as refused:
        printed(journal, output, fields=("text",))
    assert refused.value.error_id == "options-conflict"
    assert "-o text, csv, jsonl or json" in refused.value.hint


def test_field_names_are_split_at_commas_and_trimmed():
    assert rows.parse_fields("text") == ("text",)
    assert rows.parse_fields(" time, text ,stream_name") == ("time", "text", "stream_name")
    assert rows.parse_fields(",".join(rows.FIELDS)) == rows.FIELDS


@pytest.mark.parametrize(
    ("text", "name"), [("", ""), ("time,,text", ""), ("time,", ""), ("Time", "Time"), ("time,line", "line")]
)
def test_unknown_field_names_are_refused_with_the_known_ones(text, name):
    with pytest.raises(InputError) as refused:
        rows.parse_fields(text)
    assert refused.value.error_id == "field-unknown"
    assert repr(name) in refused.value.message
    assert ", ".join(rows.FIELDS) in refused.value.hint


def test_a_field_name_that_comes_twice_is_refused():
    with pytest.raises(InputError, match="'time'") as refused:
        rows.parse_fields("time,text, time")
    assert refused.value.error_id == "field-repeated"


# -- Markdown --------------------------------------------------------------------------------------------


def recorded(tmp_path, *events):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(json.dumps(event) + "\n" for event in events))
    return journal


def test_markdown_is_a_list_item_an_event_under_its_day(journal):
    assert printed(journal, "md") == (
        "## 2026-03-02\n"
        "\n"
        '- **11:15:30** vdbevents: listener\\.connected: {"ws\\_id":"ws-1"}\n'
        "- **11:15:31** capture\\_session: active\n"
        '- **11:15:32** mic · transcript: Ada: She said "deploy, now"\n'
        "- **11:15:33** screen · visual\\_index: =1+1 ␛\\[31mred tab\n"
        "- **11:15:34** alert: slack\\_opened: Slack 打开了\n"
        '- **11:15:35** {"connection\\_id":"ws-1"}\n'
    )


def test_markdown_has_a_heading_for_each_local_day_and_keeps_events_without_a_time(tmp_path):
    # 23:30 and 00:30 in UTC, one day in Berlin; and the day after.
    moments = (1772494200, 1772497800, 1772584200)
    journal = recorded(
        tmp_path, {"text": "# timeless"}, *({"unix_ts": moment, "text": "x"} for moment in moments)
    )
    assert printed(journal, "md") == (
        "## Without a time\n"
        "\n"
        "- **-** \\# timeless\n"
        "\n"
        "## 2026-03-03\n"
        "\n"
        "- **00:30:00** x\n"
        "- **01:30:00** x\n"
        "\n"
        "## 2026-03-04\n"
        "\n"
        "- **01:30:00** x\n"
    )


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("**bold** _it_ `code` ~~no~~ \\*", r"\*\*bold\*\* \_it\_ \`code\` \~\~no\~\~ \\\*"),
        ("![x](https://evil.com/x.png)", r"!\[x\](https\:\//evil\.com/x\.png)"),
        ("<script>alert(1)</script>&amp;", "&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;"),
        ("www.evil.com a@b.com @_ada", r"www\.evil\.com a@&#8288;b\.com @&#8288;\_ada"),
        ("x\n# heading\n\n- item\r\n> quote\u2028|a|", r"x \# heading - item &gt; quote \|a\|"),
        ("==a== %%b%% {{c}} {d} $e$ f^2", r"\==a\== \%%b\%% \{{c\}} {d} \$e\$ f\^2"),
        ("[[wiki]] [ref]: x [^1]", r"\[\[wiki\]\] \[ref\]: x \[\^1\]"),
        (
            ":tada: :+1::100: a_:a_b: 10:15:30",
            r":&#8288;tada: :&#8288;+1::&#8288;100: a\_:&#8288;a\_b: 10:15:30",
        ),
    ],
)
def test_nothing_that_a_screen_showed_is_markdown(tmp_path, hostile, shown):
    assert printed(recorded(tmp_path, {"unix_ts": 0, "text": hostile}), "md") == (
        f"## 1970-01-01\n\n- **01:00:00** {shown}\n"
    )


MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HARMLESS_TOKENS = {
    *("heading_open", "heading_close", "bullet_list_open", "bullet_list_close", "list_item_open"),
    *("list_item_close", "paragraph_open", "paragraph_close", "inline"),
}
MARKUP = " \n\\`*_<>[]()#|&~!=-+.:/@{}$^%;\"'ab1"


@given(
    st.text(st.sampled_from(MARKUP) | st.characters(exclude_categories=["Cs"]), max_size=60),
    st.integers(0, 1) | st.none(),
)
def test_markdown_reads_as_the_event_s_own_words_whatever_they_are(text, time):
    said = event(text, time_ms=time, channel=text, source=text, label=text)
    [item] = [
        item for batch in markdown.markdown_items([[rows.Item(said, False, "")]], BERLIN) for item in batch
    ]
    tokens = MARKDOWN.parse(item)
    assert {token.type for token in tokens} <= HARMLESS_TOKENS
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h2"]
    _, inline = [token for token in tokens if token.type == "inline"]
    assert {token.type for token in inline.children} <= {"strong_open", "strong_close", "text"}
    assert [token.type for token in inline.children].count("strong_open") == 1
    words = rows.on_one_line(text)
    whole = rows.on_one_line(rows.description(said))
    kind = " · ".join(words for name in (text, text) if name)
    expected = f"{'-' if time is None else '01:00:00'} {': '.join(filter(None, (kind, whole)))}".rstrip()
    assert "".join(token.content for token in inline.children).replace("\u2060", "") == expected


class Told:
    """An answer that needs no journal."""

    def __init__(self, events):
        self._events = events

    span = None
    breaks = ()

    def events(self, _columns=()):
        yield self._events


# -- Subtitles -------------------------------------------------------------------------------------------


def test_srt_counts_from_the_first_start_and_leaves_out_what_cannot_be_a_cue(journal):
    shown = (
        "1\n"
        "00:00:00,000 --> 00:00:01,500\n"
        'Ada: She said "deploy, now"\n'
        "\n"
        "2\n"
        "00:00:03,499 --> 00:00:05,499\n"
        "Slack 打开了\n"
    )
    assert written(journal, "srt") == (shown, 2, 6)


def test_vtt_also_tells_in_a_note_when_that_was(journal):
    shown = (
        "WEBVTT\n"
        "\n"
        "NOTE 00:00:00.000 is 2026-03-02T10:15:30.500Z\n"
        "\n"
        "00:00:00.000 --> 00:00:01.500\n"
        '<v Ada>She said "deploy, now"\n'
        "\n"
        "00:00:03.499 --> 00:00:05.499\n"
        "Slack 打开了\n"
    )
    assert written(journal, "vtt") == (shown, 2, 6)


def test_cues_are_in_the_order_of_their_starts_and_last_two_seconds_without_an_end(tmp_path):
    later, first = 1772806530500, 1772446530500  # 100 hours apart
    journal = recorded(
        tmp_path,
        {"unix_ts": 1, "channel": "transcript", "start": later, "end": later, "text": "at once"},
        {"unix_ts": 2, "channel": "visual_index", "start": later, "end": later - 1, "text": "backwards"},
        {"unix_ts": 3, "channel": "transcript", "start": later, "end": later + 1, "text": "short"},
        {"unix_ts": 4, "channel": "audio_index", "rtstream_name": "mic:1", "start": first, "text": "no end"},
        {"unix_ts": 5, "channel": "transcript", "start": first, "text": " \n\u200b"},
        {"unix_ts": 6, "channel": "transcript", "text": "no start"},
    )
    shown, count, found = written(journal, "srt")
    assert (count, found) == (4, 6)
    assert shown == (
        "1\n00:00:00,000 --> 00:00:02,000\nmic: no end\n\n"
        "2\n100:00:00,000 --> 100:00:02,000\nat once\n\n"
        "3\n100:00:00,000 --> 100:00:02,000\nbackwards\n\n"
        "4\n100:00:00,000 --> 100:00:00,001\nshort\n"
    )
    assert printed(journal, "vtt").splitlines()[2:7] == [
        *("NOTE 00:00:00.000 is 2026-03-02T10:15:30.500Z", ""),
        *("00:00:00.000 --> 00:00:02.000", "mic: no end", ""),
    ]


FAKE_CUE = "one\r\n\r\n2\n00:01 --> 00:02\n<b>two</b> {\\an8} &amp;\u2028\u2029three"


def test_a_cue_s_text_cannot_end_it_begin_another_or_be_styled(tmp_path):
    said = {"unix_ts": 0, "start": 0, "speaker": "A > B\n&", "text": FAKE_CUE}
    journal = recorded(tmp_path, said)
    assert printed(journal, "srt") == (
        "1\n00:00:00,000 --> 00:00:02,000\n"
        "A ＞ B &: one 2 00:01 --＞ 00:02 ＜b＞two＜/b＞ ｛\u2060\\an8｝ &amp; three\n"  # noqa: RUF001
    )
    assert printed(journal, "vtt") == (
        "WEBVTT\n\nNOTE 00:00:00.000 is 1970-01-01T00:00:00.000Z\n\n"
        "00:00:00.000 --> 00:00:02.000\n"
        "<v A &gt; B &amp;>one 2 00:01 --&gt; 00:02 &lt;b&gt;two&lt;/b&gt; {\u2060\\an8} &amp;amp; three\n"
    )


@pytest.mark.parametrize("output", ["srt", "vtt"])
def test_a_backslash_in_a_cue_is_parted_from_what_players_read_as_a_line_s_end(tmp_path, output):
    journal = recorded(
        tmp_path, {"unix_ts": 0, "start": 0, "speaker": "A\\N", "text": "C:\\new\\Nfile\\x \\h"}
    )
    shown = printed(journal, output).splitlines()[-1]
    assert shown.endswith("C:\\\u2060new\\\u2060Nfile\\x \\\u2060h")
    assert "A\\\u2060N" in shown


@given(st.text(st.sampled_from("\n\r\u2028\x1e \t<>{}&-a1") | st.characters(exclude_categories=["Cs"])))
def test_whatever_is_said_a_cue_is_one_line_of_times_and_one_of_text(text):
    said = [event(text, start_ms=0, speaker=text), event(text, start_ms=1, source=text)]
    for output, before in (("srt", "[12]\n"), ("vtt", "")):
        stream = io.BytesIO()
        count = output_write.write(Told(said), output, stream, PLAIN)
        cues = stream.getvalue().decode().split("\n\n")[2 * (output == "vtt") :]
        assert count == (2 if rows.on_one_line(text) else 0)
        assert len(cues) == count or not count
        for cue in cues if count else ():
            lines = cue.removesuffix("\n").splitlines()
            assert re.fullmatch(before + r"00:00:00[.,]00[01] --> 00:00:02[.,]00[01]", "\n".join(lines[:-1]))
            assert lines[-1].strip()
            assert "-->" not in lines[-1]
            assert not re.search(r"<(?!v [^<>]+>)", lines[-1])


# -- What a terminal gets --------------------------------------------------------------------------------


def event(text, **columns):
    return Event(**dict.fromkeys(Event._fields) | {"text": text, "time_ms": 0, "line": "{}"} | columns)


def line(text, *, colour=False, width=None, shape=None, columns=None, **filters):
    shape = shape or TextShape(lambda: width)
    page = output_text.TextLayout((0, 0), Filters(**filters), colour=colour, zone=BERLIN, shape=shape)
    [shown] = page.lines([event(text, **columns or {})])
    return shown


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x1b[2J\x9b2J", "␛[2J�2J"),
        ("a\r\nb\nc\rd", "a⏎b⏎c␍d"),
        ("a\u2028b\u2029c\u0085d", "a⏎b⏎c⏎d"),
        ("\x00\x7f\x08", "␀␡␈"),
        ("\u202eevil\u2066\u200f\u061c", "�evil���"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("tag\U000e0041", "tag�"),
        ("👩\u200d💻 stays", "👩\u200d💻 stays"),
    ],
)
def test_control_characters_are_shown_instead_of_obeyed(hostile, shown):
    assert output_write.harmless(hostile) == shown
    assert line(hostile) == f"01:00:00  -  -  {shown}\n"
    everywhere = line(None, columns={"label": hostile, "channel": hostile, "source": hostile})
    assert everywhere == f"01:00:00  {shown}  {shown}  {shown}\n"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_reaches_the_terminal_with_a_control_character_or_a_line_s_end(text):
    shown = line(text, columns={"label": text, "channel": text, "speaker": text})
    assert not [one for one in shown[:-1] if unicodedata.category(one) == "Cc" or one in "\u2028\u2029\u202e"]
    assert shown.splitlines() == [shown[:-1]]


def cells(text):
    wide = sum(unicodedata.east_asian_width(one) in "WF" for one in text)
    return len(text) + wide - sum(unicodedata.category(one) in ("Mn", "Me", "Cf") for one in text)


@given(
    st.text(st.sampled_from("ab 打开了😀e\u0301\u202e\n"), max_size=200),
    st.integers(20, 80),
    st.sampled_from(["", "a", "b ", "打", "absent"]),
)
def test_a_line_never_exceeds_the_terminal_and_holds_the_match(text, width, pattern):
    shown = line(text, width=width, grep=(pattern,))
    assert cells(shown[:-1]) <= width
    # A letter with an accent is another one.
    if re.search(f"{pattern}(?!\u0301)", output_write.harmless(text)):
        assert pattern.strip() in shown


def test_a_narrow_terminal_gets_something_all_the_same():
    assert line("some words", width=5) == "01:00:00  -  -  …\n"


def test_text_that_fits_is_not_cut():
    assert line("1234", width=20) == "01:00:00  -  -  1234\n"
    assert line("12345", width=20) == "01:00:00  -  -  123…\n"
    assert line("打开", width=20) == "01:00:00  -  -  打开\n"
    assert line("打开了", width=20) == "01:00:00  -  -  打…\n"


def test_a_match_far_into_a_text_is_shown_with_what_is_around_it():
    text = "x" * 100_000 + " needle " + "y" * 100_000
    assert line(text, width=46, grep=("needle",)) == "01:00:00  -  -  …xxxxxx needle yyyyyyyyyyyyyy…\n"
    assert line("x" * 100 + "needle", width=30, grep=("needle",)) == "01:00:00  -  -  …xxxxxxxneedle\n"


def test_a_text_is_cut_between_words():
    text = "Customers in Frankfurt could not sign in since Friday, and we deploy the fix now"
    assert line(text, width=46) == "01:00:00  -  -  Customers in Frankfurt could…\n"
    assert line(text, width=40, grep=("deploy",)) == "01:00:00  -  -  …we deploy the fix now\n"


@pytest.mark.parametrize(
    ("patterns", "options", "shown"),
    [
        (("deploy",), {}, f"{RED}Deploy{OFF} or {RED}deploy{OFF}"),
        (("Deploy",), {}, f"{RED}Deploy{OFF} or deploy"),
        (("DEPLOY",), {"ignore_case": True}, f"{RED}Deploy{OFF} or {RED}deploy{OFF}"),
        (("de", "or"), {}, f"{RED}De{OFF}ploy {RED}or{OFF} {RED}de{OFF}ploy"),
        (("d.p",), {}, "Deploy or deploy"),
        (("d.p",), {"extended": True}, f"{RED}Dep{OFF}loy or {RED}dep{OFF}loy"),
        (("x*",), {"extended": True}, "Deploy or deploy"),
        ((r"\pL+y", "or"), {"extended": True}, f"{RED}Deploy{OFF} {RED}or{OFF} {RED}deploy{OFF}"),
        (("(?P<a>D)", "(?P<a>d)"), {"extended": True}, f"{RED}D{OFF}eploy or {RED}d{OFF}eploy"),
        (("(d|D)(e)", "ep"), {"extended": True}, f"{RED}Dep{OFF}loy or {RED}dep{OFF}loy"),
        ((r"(o|y)", "o"), {"extended": True, "whole_words": True}, "Deploy or deploy"),
        ((r"(\w)r|x",), {"extended": True, "whole_words": True}, f"Deploy {RED}or{OFF} deploy"),
        (("",), {}, "Deploy or deploy"),
    ],
)
def test_matches_are_highlighted_with_the_case_that_found_them(patterns, options, shown):
    coloured = line("Deploy or deploy", colour=True, grep=patterns, **options)
    assert coloured == f"{DIM}01:00:00{OFF}  -  -  {shown}\n"


def test_repetition_within_repetition_is_highlighted_by_the_engine_of_the_search():
    # Its time grows with the text, whatever the expression; this one is harmless in any engine.
    text = "word " * 20_000 + "end"
    shown = line(text, colour=True, width=60, extended=True, grep=(r"(\w+ )+\w*$",))

    assert RED in shown
    assert cells(re.sub("\x1b\\[[0-9;]*m", "", shown[:-1])) <= 60


def test_of_a_long_text_a_pipe_gets_a_snippet_around_the_match():
    text = "x" * 500 + " needle " + "y" * 500
    for options in ({}, {"extended": True}):
        shown = line(text, shape=TextShape(snippet=200), grep=("needle",), **options)
        words = shown.removeprefix("01:00:00  -  -  ").removesuffix("\n")
        assert len(words) == 200
        assert words.startswith("…xx")
        assert " needle " in words
        assert words.endswith("yy…")
    assert line("x" * 200, shape=TextShape(snippet=200)) == f"01:00:00  -  -  {'x' * 200}\n"
    assert line(text) == f"01:00:00  -  -  {text}\n"


FULL = TextShape(lambda: 40, wraps=True)


def test_a_whole_text_is_wrapped_under_its_column_on_a_terminal():
    assert line("one two three four five six seven", shape=FULL) == (
        "01:00:00  -  -  one two three four five\n                six seven\n"
    )
    assert line("x" * 50, shape=FULL) == (
        f"01:00:00  -  -  {'x' * 24}\n                {'x' * 24}\n                xx\n"
    )
    coloured = line("one two three four five six seven", shape=FULL, colour=True, grep=("five six",))
    assert coloured.endswith(f"three four {RED}five{OFF}\n                {RED}six{OFF} seven\n")


@given(st.text(st.sampled_from("ab  打开了😀"), max_size=200), st.integers(20, 80))
def test_a_wrapped_text_loses_nothing_but_spaces_and_exceeds_no_line(text, width):
    lines = line(text, shape=TextShape(lambda: width, wraps=True))[:-1].split("\n")

    if width >= 32:
        assert max(map(cells, lines)) <= width
        assert all(below.startswith(" " * 16) for below in lines[1:])
    words = "".join([lines[0].removeprefix("01:00:00  -  -"), *lines[1:]])
    assert words.replace(" ", "") == text.replace(" ", "")


def test_a_chosen_width_counts_on_a_terminal_too_and_a_narrow_terminal_wraps_by_itself():
    assert line("x" * 50, shape=TextShape(lambda: 80, 10, wraps=True)) == "01:00:00  -  -  xxxxxxxxx…\n"
    assert line("x" * 50, shape=TextShape(lambda: 20, wraps=True)) == f"01:00:00  -  -  {'x' * 50}\n"


def test_the_width_is_read_anew_when_the_terminal_changes():
    widths = iter([30, 26])
    shape = TextShape(lambda: next(widths))
    page = output_text.TextLayout((0, 0), Filters(), colour=False, zone=BERLIN, shape=shape)

    assert [page.lines([event("x" * 50)]) for _ in range(2)] == [
        [f"01:00:00  -  -  {'x' * 13}…\n"],
        [f"01:00:00  -  -  {'x' * 9}…\n"],
    ]


def test_markdown_is_whole_unless_a_width_is_chosen(tmp_path):
    journal = recorded(tmp_path, {"unix_ts": 0, "text": "a_" * 200 + "needle"})
    assert printed(journal, "md").endswith("a\\_needle\n")
    assert printed(journal, "md", shape=TextShape(snippet=12), grep=("needle",)).endswith(
        "** …\\_a\\_a\\_needle\n"
    )


def test_an_interim_transcript_is_dim_and_its_match_is_not():
    coloured = line(
        "so far", colour=True, grep=("far",), columns={"is_final": False, "channel": "transcript"}
    )
    assert coloured == (f"{DIM}01:00:00{OFF}  \x1b[36m-  transcript{OFF}  {DIM}so {RED}far{OFF}{DIM}{OFF}\n")


OBEYED = {
    *map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x061C, 0x200E, 0x200F)),
    *map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))),
}


DIRECTIONS = set(map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202D), *range(0x2066, 0x206A))))

SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize("output", ["text", "fields", "md", "srt", "vtt"])
def test_a_file_keeps_marks_of_direction_and_flags_and_a_terminal_gets_none(tmp_path, output):
    text = f"\u05e9\u05dc\u05d5\u05dd.\u200f C\u200e {SCOTLAND}!"
    hidden = "\U000e0041\U000e0042 \U0001f3f4\U000e0041\U000e007f \u202e"
    journal = recorded(tmp_path, {"unix_ts": 0, "start": 0, "text": f"{text} {hidden}"})
    fields = ("text",) if output == "fields" else None
    output = "text" if fields else output

    in_file = printed(journal, output, fields=fields).rstrip()
    assert in_file.endswith(f"{text} \ufffd\ufffd \U0001f3f4\ufffd\ufffd \ufffd")

    on_terminal = printed(journal, output, fields=fields, to_terminal=True)
    if output != "text":
        on_terminal = harmless_output(on_terminal)
    assert not (set(on_terminal) & (DIRECTIONS | set(SCOTLAND[1:])))


@pytest.mark.parametrize("output", ["text", "fields", "md", "srt", "vtt"])
def test_no_format_for_eyes_holds_what_a_terminal_would_obey(tmp_path, output):
    hostile = "a" + "b".join(sorted(OBEYED)) + "\x1b]0;title\x07\x1b[2J\u202egnp.exe\u2066\u2069"
    stream = {"channel": hostile, "rtstream_name": hostile, "speaker": hostile, "label": hostile}
    journal = recorded(tmp_path, {"unix_ts": 0, "start": 0, "text": hostile} | stream)
    fields = rows.FIELDS if output == "fields" else None
    output = "text" if fields else output
    shown = printed(journal, output, fields=fields, to_terminal=True)
    in_file = printed(journal, output, fields=fields)
    if output != "text":
        shown = harmless_output(shown)
    assert "title" in shown
    assert "gnp" in shown
    layout = {"\n", "\t"} if fields else {"\n"}
    assert set(shown) & OBEYED <= layout
    assert set(in_file) & OBEYED <= layout | DIRECTIONS
    if fields:
        assert shown.count("\t") == len(fields) - 1
        assert shown.count("\n") == 1


@pytest.mark.parametrize("output", ["text", "fields", "md", "srt", "vtt"])
def test_a_line_of_100_000_characters_is_one_line_and_whole_where_no_width_is_given(tmp_path, output):
    text = "x" * 99_999 + "\u202e"
    journal = recorded(tmp_path, {"unix_ts": 0, "start": 0, "text": text})
    fields = ("time", "text") if output == "fields" else None
    shown = printed(journal, "text" if fields else output, fields=fields)
    assert shown.splitlines()[-1].endswith("x" * 99_999 + "�")
    if output == "text":
        assert len(printed(journal, "text", width=80)) == 81
