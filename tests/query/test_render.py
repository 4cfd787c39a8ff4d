"""What a query prints, byte for byte, in each of its forms."""

import io
import json
import unicodedata
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from vdbevents.query import engine, render
from vdbevents.query.plan import Event, Filters

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


def printed(journal, output, *, colour=False, width=None, **filters):
    chosen = Filters(**filters)
    stream = io.BytesIO()
    with engine.search(journal, chosen) as answer:
        count = render.write(
            answer, output, stream, filters=chosen, colour=colour, width=width, zone=BERLIN
        )  # fmt: skip
        assert count == answer.count
    return stream.getvalue().decode()


def test_jsonl_is_the_journal_itself(journal):
    assert printed(journal, "jsonl") == JOURNAL
    assert printed(journal, "jsonl", grep=("slack",)) == JOURNAL.splitlines(keepends=True)[4]


def test_json_is_an_array_of_the_journal_s_lines(journal):
    lines = JOURNAL.splitlines()
    assert printed(journal, "json") == "[\n" + ",\n".join(lines) + "\n]\n"
    assert json.loads(printed(journal, "json")) == list(map(json.loads, lines))


def test_csv_quotes_as_rfc_4180_does_and_changes_nothing(journal):
    assert printed(journal, "csv") == (
        "time,channel,event,source,stream,stream_name,session,text,is_final,start,end,label,speaker,confidence\n"
        "2026-03-02T10:15:30.123Z,vdbevents,listener.connected,,,,,"
        '"{""ws_id"":""ws-1""}",,,,listener.connected,,\n'
        "2026-03-02T10:15:31.000Z,capture_session,capture_session.active,,,,cap-1,"
        "active,,,,capture_session.active,,\n"
        '2026-03-02T10:15:32.050Z,transcript,,mic,rts-1,mic:default,,"She said ""deploy, now""",true,'
        "2026-03-02T10:15:30.500Z,2026-03-02T10:15:32.000Z,,Ada,0.5\n"
        '2026-03-02T10:15:33.000Z,visual_index,,screen,,display:1,,"=1+1\n\x1b[31mred\ttab",,,,,,\n'
        "2026-03-02T10:15:34.000Z,alert,,,,,,Slack 打开了,,2026-03-02T10:15:33.999Z,,slack_opened,,\n"
        "2026-03-02T10:15:35.000Z,,,,,,,,,,,,,\n"
    )


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
    [("jsonl", ""), ("json", "[]\n"), ("csv", render._CSV_HEADER + "\n"), ("text", "")],
)
def test_nothing_found_is_an_empty_answer(journal, output, expected):
    assert printed(journal, output, grep=("absent",)) == expected


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
    assert printed(journal, "csv").splitlines()[1] == ",transcript,,,,,,timeless,,,,,,"


def test_a_closed_pipe_is_the_caller_s_to_handle(journal):
    class Closed:
        def write(self, _data):
            raise BrokenPipeError

    with engine.search(journal, Filters()) as answer, pytest.raises(BrokenPipeError):
        render.write(answer, "jsonl", Closed(), filters=Filters(), colour=False, width=None, zone=BERLIN)


@pytest.mark.parametrize("output", ["jsonl", "csv", "text"])
def test_a_large_answer_is_written_in_parts(tmp_path, output):
    class Counting(io.BytesIO):
        parts = 0

        def write(self, data):
            self.parts += 1
            assert len(data) < 1_000_000
            return super().write(data)

    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(f'{{"unix_ts":{n},"text":"{"x" * 100}"}}\n' for n in range(20_000)))
    stream = Counting()
    with engine.search(journal, Filters()) as answer:
        render.write(answer, output, stream, filters=Filters(), colour=False, width=None, zone=BERLIN)
    assert stream.parts > 5
    assert stream.getvalue().count(b"\n") == 20_000 + (output == "csv")


# -- What a terminal gets --------------------------------------------------------------------------------


def event(text, **columns):
    return Event(**dict.fromkeys(Event._fields) | {"text": text, "time_ms": 0, "line": "{}"} | columns)


def line(text, *, colour=False, width=None, zone=BERLIN, columns=None, **filters):
    page = render.Page((0, 0), Filters(**filters), colour=colour, width=width, zone=zone)
    events = [event(text, **columns or {})]
    page.widen(events)
    return page.line(events[0])


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
def test_what_a_terminal_would_obey_is_shown_instead(hostile, shown):
    assert render.harmless(hostile) == shown
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
    if pattern in render.harmless(text):
        assert pattern.strip() in shown


def test_a_narrow_terminal_gets_something_all_the_same():
    assert line("some words", width=5) == "01:00:00  -  -  …\n"


def test_what_fits_is_not_cut():
    assert line("1234", width=20) == "01:00:00  -  -  1234\n"
    assert line("12345", width=20) == "01:00:00  -  -  123…\n"
    assert line("打开", width=20) == "01:00:00  -  -  打开\n"
    assert line("打开了", width=20) == "01:00:00  -  -  打…\n"


def test_a_match_far_into_a_text_is_shown_with_what_is_around_it():
    text = "x" * 100_000 + " needle " + "y" * 100_000
    assert line(text, width=46, grep=("needle",)) == "01:00:00  -  -  …xxxxxx needle yyyyyyyyyyyyyy…\n"
    assert line("x" * 100 + "needle", width=30, grep=("needle",)) == "01:00:00  -  -  …xxxxxxxneedle\n"


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
        ((r"\pL+y", "or"), {"extended": True}, f"Deploy {RED}or{OFF} deploy"),  # Python does not know \pL
        (("(?P<a>D)", "(?P<a>d)"), {"extended": True}, "Deploy or deploy"),
        (("",), {}, "Deploy or deploy"),
    ],
)
def test_matches_are_highlighted_with_the_case_that_found_them(patterns, options, shown):
    coloured = line("Deploy or deploy", colour=True, grep=patterns, **options)
    assert coloured == f"{DIM}01:00:00{OFF}  -  -  {shown}\n"


def test_an_interim_transcript_is_dim_and_its_match_is_not():
    coloured = line(
        "so far", colour=True, grep=("far",), columns={"is_final": False, "channel": "transcript"}
    )
    assert coloured == (f"{DIM}01:00:00{OFF}  \x1b[36m-  transcript{OFF}  {DIM}so {RED}far{OFF}{DIM}{OFF}\n")
