"""`vdbevents query` as a terminal and a pipe meet it, beyond what docs/query.md shows."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from support import forkserver
from support.messages import error_id_in
from support.processes import PATIENCE, all_shown, assert_failed, run

DOCS = Path(__file__).parent.parent.parent / "docs"
EXAMPLE = DOCS / "example.jsonl"
SCREEN = DOCS / "example-screen.jsonl"


@pytest.mark.parametrize(
    ("arguments", "error_id", "said"),
    [
        (["--count", "--around", "15s"], "options-conflict", "--around"),
        (["-E", "-F"], "options-conflict", "--fixed-strings"),
        (["--on", "friday", "--last", "2h"], "options-conflict", "--last"),
        (["--on", "10:15"], "day-invalid", "2026-03-02, "),
        (["--since", "03/04/2026"], "time-invalid", "2026-04-03 or 2026-03-04"),
        (["--tz", "Mars/Olympus"], "zone-unknown", "Europe/Berlin"),
        (["--source", "mic,speaker"], "source-invalid", "mic, system_audio, screen or camera"),
        (["--around", "soon"], "duration-invalid", "90s"),
        (["--fields", "time,line"], "field-unknown", "time, channel"),
        (["--fields", "time", "-o", "md"], "options-conflict", "-o md"),
        (["--fields", "time,count"], "field-unknown", "--unique"),
        (["--min-confidence", "nan"], "number-not-finite", "--min-confidence"),
        (["-E", "--not", "(code"], "pattern-invalid", "(code"),
        (["-E", "--any", "(code"], "pattern-invalid", "(code"),
        (["--where", "lenght(text) > 3"], "condition-failed", 'Did you mean "length"?'),
        (["--where", "words > 3"], "condition-failed", "time, started, ended"),
        (["--where", "true) --"], "condition-failed", "syntax error"),
        (["--where", "true; DROP TABLE events"], "condition-failed", "syntax error"),
        (["--where", "text = ?"], "condition-invalid", "text = ?"),
        (["--where", "text::INTEGER > 3"], "condition-failed", "try_cast gives NULL"),
        (
            ["--where", "(SELECT count(*) FROM read_text('/etc/passwd')) > 0"],
            "condition-invalid",
            "without a SELECT",
        ),
        (
            ["--where", "EXISTS (FROM json_execute_serialized_sql('x'))"],
            "condition-invalid",
            "without a SELECT",
        ),
        (["--where", "true) FROM query('SELECT 1') WHERE (true"], "condition-failed", "syntax error"),
        (["-o", "parquet", "--unique"], "options-conflict", "-o parquet"),
        (["-o", "parquet", "--follow"], "options-conflict", "-o parquet"),
        (["-o", "parquet", "--max-tokens", "9"], "options-conflict", "--max-tokens"),
        (["--follow", "--max-bytes", "9"], "options-conflict", "--max-bytes"),
        (["--full", "--width", "9"], "options-conflict", "--width"),
    ],
)
def test_wrong_options_are_refused_with_what_is_allowed(environ, arguments, error_id, said):
    refused = run(["query", EXAMPLE, *arguments], environ)

    assert_failed(refused, 2, said)
    assert error_id_in(refused.stderr) == error_id
    assert refused.stdout == ""


def test_the_command_that_a_bounded_answer_ends_with_shows_the_rest_page_by_page(environ, tmp_path):
    journal = tmp_path / "it's a `journal`.jsonl"
    journal.write_text(EXAMPLE.read_text("utf-8"), "utf-8")
    query = ["query", str(journal), "--since", "2026-03-02", "--tz", "UTC", "--not", "-x", "-n", "9"]
    whole = run(query, environ).stdout.splitlines()
    shown, command = [], [*query, "--max-bytes", "600"]
    for _ in range(9):
        page = run(command, environ)
        assert len(page.stdout.encode()) <= 600
        *lines, last = page.stdout.splitlines()
        shown[:0] = lines
        if not last.startswith("… "):
            shown[len(lines) : len(lines)] = [last]
            break
        name, *command = shlex.split(last.split(": ", 1)[1])
        assert name == "vdbevents"

    assert sorted(line.split() for line in shown) == sorted(line.split() for line in whole)
    assert len(shown) == 9


@pytest.mark.parametrize(
    ("options", "most"),
    [(["-o", "md", "--around", "1s"], 240), (["-o", "vtt"], 240), (["-o", "csv", "--unique"], 300)],
)
def test_where_pages_cannot_be_counted_the_command_shows_everything(environ, options, most):
    options = ["query", EXAMPLE, "--channel", "transcript", *options]
    page = run([*options, "--max-bytes", str(most)], environ)
    last = (page.stdout + page.stderr).replace("`", "").splitlines()[-1]

    assert len(page.stdout.encode()) <= most
    assert run(shlex.split(last.split("vdbevents ")[1]), environ).stdout == run(options, environ).stdout


def test_parquet_holds_the_columns_as_sql_names_them(environ, tmp_path):
    done = run(["query", EXAMPLE, "--grep", "deploy", "-o", "parquet"], environ, text=False, encoding=None)
    (tmp_path / "found.parquet").write_bytes(done.stdout)

    rows = duckdb.sql(f"FROM '{tmp_path}/found.parquet'")
    assert done.returncode == 0
    assert rows.columns[:3] == ["time", "channel", "event"]
    assert rows.select("epoch_ms(time), source, text, epoch_ms(started)").fetchall() == [
        (1772446513000, "mic", "Shall we deploy the code today?", 1772446510000)
    ]


def test_of_an_event_of_the_future_it_is_said_unless_the_window_ends_before_it(environ, tmp_path):
    journal = tmp_path / "journal.jsonl"
    ahead, now = time.time() + 86400, time.time() - 60
    journal.write_text(
        f'{{"unix_ts":{ahead},"channel":"alert","data":{{"text":"written while the clock was ahead"}}}}\n'
        f'{{"unix_ts":{now},"channel":"alert","data":{{"text":"the newest"}}}}\n',
        "utf-8",
    )

    asked = run(["query", journal, "-n", "1", "--fields", "text"], environ)
    assert (asked.returncode, asked.stdout) == (0, "written while the clock was ahead\n")
    assert "--until now" in asked.stderr
    bounded = run(["query", journal, "-n", "1", "--fields", "text", "--until", "now"], environ)
    assert (bounded.returncode, bounded.stdout, bounded.stderr) == (0, "the newest\n", "")


def test_a_closed_stdin_is_an_empty_journal(environ):
    command = f'exec "{sys.executable}" -m vdbevents query - <&-'
    ended = subprocess.run(
        ["/bin/sh", "-c", command], env=environ, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "stdin is empty" in ended.stderr


def test_parquet_holds_what_a_condition_matches(environ, tmp_path):
    options = ["--where", "source = 'mic'", "--fields", "source", "-o", "parquet"]
    done = run(["query", EXAMPLE, *options], environ, text=False, encoding=None)
    (tmp_path / "found.parquet").write_bytes(done.stdout)

    rows = duckdb.sql(f"FROM '{tmp_path}/found.parquet'")
    assert (done.returncode, rows.distinct().fetchall()) == (0, [("mic",)])


def test_parquet_of_nothing_is_a_file_without_rows(environ, tmp_path):
    options = ["--grep", "zanzibar", "-o", "parquet", "--fields", "text,start"]
    done = run(["query", EXAMPLE, *options], environ, text=False, encoding=None)
    (tmp_path / "found.parquet").write_bytes(done.stdout)

    rows = duckdb.sql(f"FROM '{tmp_path}/found.parquet'")
    assert (done.returncode, rows.columns, rows.fetchall()) == (1, ["text", "started"], [])


def test_a_count_of_zero_is_printed_and_exits_as_without_a_match(environ):
    ended = run(["query", EXAMPLE, "--grep", "zebra", "--count"], environ)

    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "0\n", "")


def test_subtitles_say_how_much_is_not_in_them(environ):
    ended = run(["query", EXAMPLE, "-o", "srt"], environ)

    assert ended.returncode == 0
    assert "2 events are not in the srt" in ended.stderr


def test_a_hundred_hours_of_subrip_come_with_a_warning_and_of_webvtt_without(environ, tmp_path):
    journal = tmp_path / "week.jsonl"
    times = {"start": 1772446530, "late": 1772446530 + 360_000}
    journal.write_text(
        "".join(
            f'{{"unix_ts":{at},"channel":"transcript","data":{{"text":"{text}","is_final":true,"start":{at}000}}}}\n'
            for text, at in times.items()
        )
    )
    subrip = run(["query", journal, "-o", "srt"], environ)
    webvtt = run(["query", journal, "-o", "vtt"], environ)
    shorter = run(["query", journal, "-o", "srt", "--grep", "late"], environ)

    assert "100:00:00,000" in subrip.stdout
    assert "use -o vtt" in subrip.stderr
    assert ("100:00:00.000" in webvtt.stdout, webvtt.stderr, shorter.stderr) == (True, "", "")


def test_descriptions_in_the_line_of_another_are_not_said_to_be_left_out(environ):
    subtitles = run(["query", SCREEN, "--unique", "-o", "srt"], environ)
    counted = run(["query", SCREEN, "--unique", "--count"], environ)
    with_more = run(["query", EXAMPLE, "--unique", "-o", "srt"], environ)

    assert (subtitles.returncode, subtitles.stderr, subtitles.stdout.count(" --> ")) == (0, "", 4)
    assert (counted.returncode, counted.stderr, counted.stdout) == (0, "", "4\n")
    assert "2 lines are not in the srt" in with_more.stderr


def test_the_journal_that_unique_prints_can_be_asked_again(environ, tmp_path):
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text(run(["query", SCREEN, "--unique", "-o", "jsonl"], environ).stdout, "utf-8")

    again = run(["query", fewer, "-o", "jsonl"], environ)

    assert again.stdout == fewer.read_text("utf-8")
    assert set(again.stdout.splitlines()) < set(SCREEN.read_text("utf-8").splitlines())


def test_the_pager_variable_is_not_a_mistake_in_the_configuration(environ):
    assert run(["config", "query"], {**environ, "VDBEVENTS_PAGER": "less"}).returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="it makes a terminal")
def test_no_output_steers_a_terminal(environ, tmp_path):
    steering = "\\u001b[31m\x9b\u202e"
    journal = tmp_path / "journal.jsonl"
    journal.write_text(
        f'{{"unix_ts":1772446530,"channel":"alert","text":"{steering}"}}\n'
        f'{{"unix_ts":1772446531,"event":"capture_session.failed","session_id":"cap-1",'
        f'"data":{{"error":"{steering}"}}}}\n'
        f'{{"unix_ts":1772446532,"channel":"visual_index","data":{{"window":"a{steering}","text":"x"}}}}\n'
        f'{{"unix_ts":1772446533,"channel":"transcript","data":{{"text":"{steering}","start":1772446532}}}}\n'
    )
    for arguments in (
        *(["query", "-o", output] for output in ("csv", "jsonl")),
        *(["sessions", "-o", output] for output in ("text", "csv", "json")),
        *(["stats", "--by", "window", "-o", output] for output in ("text", "csv", "json")),
        *(["transcript", "--since", "2026-01-01", "-o", output] for output in ("txt", "md", "srt", "json")),
        *(["digest", "-o", output] for output in ("text", "md", "json")),
    ):
        outside, inside = os.openpty()
        command = [sys.executable, "-m", "vdbevents", *arguments, str(journal)]
        with forkserver.Popen(command, env=environ, stdout=inside) as process:
            assert process.wait(PATIENCE) == 0
        os.close(inside)
        shown = all_shown(outside).decode()
        os.close(outside)
        assert "[31m" in shown, arguments
        assert not {"\x1b", "\x9b", "\u202e"} & set(shown), arguments


@pytest.mark.skipif(sys.platform == "win32", reason="it makes a terminal")
@pytest.mark.parametrize("wanted", [True, False])
def test_on_a_terminal_text_goes_through_the_pager_unless_it_is_not_wanted(environ, tmp_path, wanted):
    outside, inside = os.openpty()
    read = tmp_path / "read"
    environ = {**environ, "TERM": "xterm", "TZ": "UTC", "VDBEVENTS_PAGER": f"cat > '{read}'", "NO_COLOR": "1"}
    arguments = ["query", str(EXAMPLE), "--grep", "deploy", *([] if wanted else ["--no-pager"])]
    with subprocess.Popen(
        [sys.executable, "-m", "vdbevents", *arguments], env=environ, stdout=inside
    ) as process:
        os.close(inside)
        assert process.wait(PATIENCE) == 0
    line = b"10:15:13  mic  transcript  Shall we deploy the code today?"
    if wanted:
        assert read.read_bytes() == line + b"\n"
    else:
        assert all_shown(outside).strip() == line
        assert not read.exists()
    os.close(outside)


RECORDER = """
{"unix_ts":1772446500,"channel":"vdbevents","event":"listener.connected","data":{"ws_id":"ws-1"}}
{"unix_ts":1772446510,"channel":"capture_client","event":"recording:error","data":{"text":"no permission"}}
{"unix_ts":1772446520,"channel":"transcript","rtstream_name":"mic:1","data":{"text":"hello","is_final":true}}
""".lstrip()


def test_what_is_about_the_recorder_is_left_out_of_every_format_and_of_the_count(environ, tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text(RECORDER)

    for output in ("text", "jsonl", "json", "csv", "md"):
        shown = run(["query", journal, "-o", output], environ).stdout
        everything = run(["query", journal, "-o", output, "--all"], environ).stdout
        assert ("hello" in shown, "ws-1" in shown, "permission" in shown) == (True, False, False)
        assert "ws-1" in everything
        assert "permission" in everything
    assert run(["query", journal, "--count"], environ).stdout == "1\n"
    assert (
        run(["query", journal, "--count", "--all", "--not-channel", "vdbevents,x"], environ).stdout == "2\n"
    )


def test_a_match_in_the_recorder_s_lines_alone_is_said(environ, tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text(RECORDER)

    hidden = run(["query", journal, "--grep", "permission", "-o", "csv"], environ)
    assert hidden.returncode == 1
    assert "1 line about the recorder" in hidden.stderr
    assert "--all" in hidden.stderr
    assert run(["query", journal, "--grep", "permission", "--all"], environ).returncode == 0
    assert run(["query", journal, "--grep", "nowhere"], environ).stderr == ""


def test_a_copy_of_the_journal_without_its_gaps_comes_with_a_warning(environ, tmp_path):
    journal = tmp_path / "journal.jsonl"
    gap = {"id": "gap-1", "since": 1772446400.0, "until": 1772446405.0, "recovered": True}
    line = {"unix_ts": 1772446405, "channel": "vdbevents", "event": "listener.gap", "data": gap}
    journal.write_text(json.dumps(line) + "\n" + RECORDER)

    assert "--all" in run(["query", journal, "-o", "jsonl"], environ).stderr
    for options in (["--all", "-o", "jsonl"], ["--grep", "hello", "-o", "jsonl"], ["-o", "csv"]):
        assert "--all" not in run(["query", journal, *options], environ).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--channel", "transcrip"], "--channel transcript"),
        (["--channel", "visul"], "--channel visual"),
        (["--label", "Test_Faild"], "--label test_failed"),
        (["--event", "listener.conected", "--all"], "--event listener.connected"),
        (["--session", "cap1"], "--session cap-1"),
        (["--stream", "display"], "--stream display:1"),
        (["--stream", "rts-99"], "rts-1, rts-2, rts-3"),
        (["--speaker", "adda"], "--speaker Ada"),
    ],
)
def test_a_name_that_nothing_has_is_said_with_those_there_are_and_the_closest(environ, arguments, said):
    ended = run(["query", EXAMPLE, "--on", "2026-03-02", *arguments], environ)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert said in ended.stderr
    assert "11 events" in ended.stderr


def test_a_name_that_is_merely_absent_is_no_mistake_and_a_stranger_s_name_steers_nothing(environ, tmp_path):
    for named in (["--channel", "spoken_index,audio"], ["--session", "cap"], ["--session", "last"]):
        assert run(["query", EXAMPLE, *named, "--grep", "x"], environ).stderr == ""
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"unix_ts":1772446500,"channel":"evil\\u001b[2J","text":"x"}\n')
    ended = run(["query", journal, "--channel", "evil"], environ)
    assert "\x1b" not in ended.stderr
    assert "evil␛[2J" in ended.stderr


def test_on_a_terminal_nothing_found_is_said_with_what_there_is(environ):
    outside, inside = os.openpty()
    with os.fdopen(inside, "w") as terminal:
        streams = {"capture_output": False, "stdout": subprocess.PIPE, "stderr": terminal}
        ended = run(["query", EXAMPLE, "--grep", "zebra"], environ, **streams)
        shown = os.read(outside, 4096).decode()
    os.close(outside)

    assert ended.returncode == 1
    assert "10 events" in shown
    assert "transcript" in shown
