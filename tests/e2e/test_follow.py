"""`vdbevents query --follow` while something is written, as a person or a script behind a pipe meets it."""

import itertools
import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.messages import error_id_in
from support.patience import patient
from support.processes import PATIENCE, Process, assert_failed, eventually, run

from vdbevents.events.envelope import utc_text
from vdbevents.journal.append import Journal
from vdbevents.journal.files import wall_ms
from vdbevents.journal.state import StateDirectory

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "example.jsonl"


def line(text, channel="transcript", *, at_ms=None, **data):
    at_ms = wall_ms() if at_ms is None else at_ms
    event = {"ts": utc_text(at_ms), "unix_ts": at_ms / 1000, "channel": channel}
    event |= {"rtstream_id": "rts-1", "rtstream_name": "mic:default"}
    return json.dumps({**event, "data": {"text": text, **data}}, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def journal(state):
    with_lock = Journal(state, clock_ms=wall_ms)
    yield with_lock
    with_lock.close()


@pytest.fixture
def follow(started, state, environ):
    """Starts `query --follow` on the journal, or on another; without `arguments` it shows texts only."""

    def start(*arguments, of=state.path, environ=environ):
        arguments = arguments or ("--fields", "text")
        return started(Process(["query", *([of] if of else []), "--follow", *arguments], environ))

    return start


def shows(following, expected):
    """Waits until all that was printed is this."""
    eventually(lambda: following.out == expected or len(following.out) > len(expected))
    assert following.out == expected


class Writer(threading.Thread):
    """Appends lines all the time, until it is told to finish."""

    def __init__(self, journal, made):
        super().__init__()
        self._journal = journal
        self._made = made
        self._finishing = threading.Event()
        self.written = 0
        self.start()

    def run(self):
        while not self._finishing.wait(0.0005):
            self._journal.append([self._made(number) for number in range(self.written, self.written + 3)])
            self.written += 3

    def finish(self):
        self._finishing.set()
        self.join()
        return self.written


def numbers(following):
    return [int(text) for text in following.out.split()]


def test_matches_are_shown_and_then_new_ones_by_the_same_filters(follow, journal):
    arguments = ["--grep", "code", "--not", "draft", "--channel", "transcript", "--fields", "text"]
    journal.append([line("code 1"), line("decode", "alert"), line("code, a draft"), line("Code 2")])
    following = follow(*arguments, "--last", "10m")
    shows(following, "code 1\nCode 2\n")

    journal.append([line("other"), line("code 3", "alert")])
    journal.append([line("CODE 4"), line("draft of code"), line("it's code?")])

    shows(following, "code 1\nCode 2\nCODE 4\nit's code?\n")
    assert following.err == ""


def test_the_newest_n_are_of_what_was_there(follow, journal):
    journal.append([line(f"{number}") for number in range(10)])
    following = follow("-n", "2", "--fields", "text")
    shows(following, "8\n9\n")

    journal.append([line(f"{number}") for number in range(10, 15)])

    shows(following, "8\n9\n10\n11\n12\n13\n14\n")


def test_nothing_is_lost_or_shown_twice_while_somebody_writes_all_the_time(follow, journal):
    journal.append([line(f"{number}") for number in range(-2000, 0)])
    writer = Writer(journal, lambda number: line(f"{number}"))
    try:
        whole = [follow() for _ in range(2)]
        newest = follow("-n", "5", "--fields", "text")
        for following in (*whole, newest):
            # It is past what it found, and has gone on from there.
            eventually(lambda following=following: following.out.count("\n") > 6 and writer.written > 100)
            found = numbers(following)[-1]
            eventually(lambda following=following, found=found: numbers(following)[-1] > found)
    finally:
        count = writer.finish()

    for following in (*whole, newest):
        eventually(lambda following=following: following.out.endswith(f"\n{count - 1}\n"))
    assert [numbers(following) for following in whole] == [list(range(-2000, count))] * 2
    first = numbers(newest)[0]
    assert numbers(newest) == list(range(first, count))


def test_lines_that_are_all_the_same_are_neither_lost_nor_shown_twice(follow, journal):
    same = line("again", at_ms=wall_ms())
    journal.append([same] * 2000)
    writer = Writer(journal, lambda _: same)
    try:
        following = follow()
        eventually(lambda: following.out.count("\n") > 2000)
    finally:
        count = 2000 + writer.finish()

    eventually(lambda: following.out.count("\n") >= count)
    journal.append([line("end")])
    eventually(lambda: following.out.endswith("end\n"))
    assert following.out == "again\n" * count + "end\n"


def test_it_goes_on_across_a_clear_and_a_replacement(follow, state, journal):
    journal.append([line("before")])
    following = follow()
    shows(following, "before\n")

    journal.clear()
    journal.append([line("cleared, and longer than what was there before it was")])
    shows(following, (cleared := "before\ncleared, and longer than what was there before it was\n"))
    journal.clear()
    state.journal.unlink()
    journal.append([line("replaced")])
    shows(following, cleared + "replaced\n")
    state.journal.rename(state.path / "kept.jsonl")
    journal.append([line("rotated")])

    shows(following, cleared + "replaced\nrotated\n")


@pytest.mark.parametrize("named", [None, "state", "events.jsonl"])
def test_a_journal_that_is_not_there_yet_is_waited_for(follow, tmp_path, environ, named):
    state = StateDirectory(tmp_path / "state")
    journal = tmp_path / named if named == "events.jsonl" else state.journal
    if named:
        state.create()
    environ = {**environ, "VIDEODB_EVENTS_DIR": str(state.path)}
    following = follow("--fields", "text", of=tmp_path / named if named else None, environ=environ)
    following.says(f"no journal at {journal} yet: waiting for it")

    state.create()
    journal.write_bytes(line("first"))

    shows(following, "first\n")


def test_a_missing_path_is_refused_as_a_mistake(tmp_path, environ):
    refused = run(["query", "--follow", tmp_path / "invoice"], environ)

    assert_failed(refused, 2, "to search for that text")
    assert error_id_in(refused.stderr) == "path-missing"


def test_an_invalid_pattern_is_refused_before_there_is_a_journal(state, environ):
    refused = run(["query", state.path, "-f", "-E", "-g", "(code"], environ)

    assert_failed(refused, 2, "(code")
    assert error_id_in(refused.stderr) == "pattern-invalid"


def test_a_line_that_is_being_written_is_waited_for(follow, state):
    begun, completed = line("whole")[:50], line("whole")[50:]
    state.journal.write_bytes(line("first") + begun)
    following = follow()
    shows(following, "first\n")

    with state.journal.open("ab", buffering=0) as writing:
        writing.write(completed[:5])
        writing.write(completed[5:-1])
        # It is an object, and has no end.
        writing.write(b"\n" + line("next")[:-1])
        shows(following, "first\nwhole\n")
        writing.write(b"\n")

    shows(following, "first\nwhole\nnext\n")
    assert following.err == ""


def test_a_line_that_lacks_only_its_end_is_shown_once(follow, state, journal):
    state.journal.write_bytes(line("first") + line("whole")[:-1])
    following = follow()
    shows(following, "first\n")

    # Whoever appends sees that it is whole, and ends it.
    journal.append([line("next")])

    shows(following, "first\nwhole\nnext\n")


def test_lines_that_are_not_events_are_reported_and_skipped(follow, state):
    state.journal.write_bytes(b"{torn\n" + line("first"))
    following = follow()
    shows(following, "first\n")
    following.says(f"1 line is unreadable and left out, in {state.journal}")

    with state.journal.open("ab", buffering=0) as writing:
        writing.write(b"\n" + b"no event\n\xff\n" + line("next"))

    shows(following, "first\nnext\n")
    following.says("2 lines are unreadable and left out")


def test_a_closed_pipe_ends_it_at_once_and_silently(environ):
    command = [sys.executable, "-m", "vdbevents", "query", EXAMPLE, "--follow"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as following:
        for _ in range(3):
            assert following.stdout.readline()
        # Nothing more is ever written that could not be handed over.
        following.stdout.close()
        assert following.wait(PATIENCE) == 0
        assert following.stderr.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent there")
def test_ctrl_c_ends_it(follow, journal):
    journal.append([line("first")])
    following = follow()
    shows(following, "first\n")

    following.process.send_signal(signal.SIGINT)

    assert following.ends() == 130, following.err
    assert following.err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent there")
def test_ctrl_c_ends_it_in_the_middle_of_a_flood(follow, journal):
    writer = Writer(journal, lambda number: line(f"{number}"))
    try:
        for _ in range(3):
            following = follow()
            eventually(lambda following=following: following.out.count("\n") > 100)
            following.process.send_signal(signal.SIGINT)
            assert following.ends() == 130, following.err
            assert following.err == ""
    finally:
        writer.finish()


def test_of_transcripts_that_come_the_final_ones_are_shown(follow, journal):
    journal.append([line("there", is_final=False, start=1)])
    finals, all_of_them = follow(), follow("--interim", "--fields", "text")
    shows(finals, "there\n")
    shows(all_of_them, "there\n")

    journal.append([line("shall", is_final=False, start=5)])
    journal.append([line("shall we", is_final=False, start=5), line("a screen", "visual_index")])
    journal.append([line("Shall we?", is_final=True, start=5)])

    shows(finals, "there\na screen\nShall we?\n")
    shows(all_of_them, "there\nshall\nshall we\na screen\nShall we?\n")


def test_backfilled_events_are_shown_as_they_are_written(follow, journal):
    hour_ago = wall_ms() - 3_600_000
    received, happened = follow("--last", "10m", "--fields", "text"), follow(
        "--last", "10m", "--by", "event", "--fields", "text"
    )  # fmt: skip
    journal.append([line("now")])
    shows(received, "now\n")
    shows(happened, "now\n")

    journal.append([line("fetched", start=hour_ago)[:-2] + b',"backfilled":true}\n'])
    journal.append([line("received late", at_ms=hour_ago)])
    journal.append([line("end")])

    shows(received, "now\nfetched\nend\n")
    shows(happened, "now\nend\n")


@pytest.mark.parametrize(
    ("arguments", "found", "came"),
    [
        (
            ["-o", "csv", "--fields", "time,text"],
            "time,text\n2026-03-02T10:15:13.000Z,one\n",
            '2026-03-02T10:15:14.000Z,"two, or"\n2026-03-03T09:00:00.000Z,three\n',
        ),
        (
            ["-o", "md"],
            "## 2026-03-02\n\n- **10:15:13** mic · transcript: one\n",
            """- **10:15:14** mic · transcript: two, or\n\n## 2026-03-03\n
- **09:00:00** mic · transcript: three\n""",
        ),
        (
            ["--color", "never"],
            "2026-03-02 10:15:13  mic  transcript  one\n",
            "2026-03-02 10:15:14  mic  transcript  two, or\n2026-03-03 09:00:00  mic  transcript  three\n",
        ),
        (
            ["-o", "jsonl", "--fields", "text"],
            '{"text":"one"}\n',
            '{"text":"two, or"}\n{"text":"three"}\n',
        ),
    ],
    ids=["csv", "md", "text", "jsonl"],
)
def test_heads_and_headings_are_not_said_again(follow, journal, arguments, found, came):
    at_ms = 1772446513000
    journal.append([line("one", at_ms=at_ms)])
    following = follow(*arguments)
    shows(following, found)

    journal.append([line("two, or", at_ms=at_ms + 1000)])
    eventually(lambda: "two, or" in following.out)
    journal.append([line("three", at_ms=1772528400000)])

    shows(following, found + came)


def test_lines_come_byte_for_byte(follow, state):
    lines = [line("one"), b'{ "ts" : "x", "data":{"text":"\\u00e9", "n":1.50} }\n']
    state.journal.write_bytes(lines[0])
    following = follow("-o", "jsonl")
    eventually(lambda: following.out)
    with state.journal.open("ab") as writing:
        writing.write(lines[1])

    shows(following, b"".join(lines).decode())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--until", "now"], "--until"),
        (["--on", "yesterday"], "--on"),
        (["--around", "15s"], "--around"),
        (["--offset", "3"], "--offset"),
        (["--reverse"], "--reverse"),
        (["--count"], "--count"),
        *((["-o", name], "text, jsonl, csv or md") for name in ("json", "srt", "vtt")),
    ],
)
def test_options_that_need_an_end_are_refused(environ, arguments, said):
    refused = run(["query", EXAMPLE, "--follow", *arguments], environ)

    assert_failed(refused, 2, "--follow", said)
    assert error_id_in(refused.stderr) == "options-conflict"
    assert refused.stdout == ""


def test_a_line_is_shown_soon_after_it_is_written(follow, journal):
    following = follow()
    delays = []
    for number in itertools.count():
        journal.append([line(f"{number}")])
        written_at = time.monotonic()
        eventually(lambda number=number: following.out.endswith(f"{number}\n"))
        delays.append(time.monotonic() - written_at)
        if number == 20:
            break

    # About 20 ms on a machine with nothing else to do, which nobody promises here.
    assert statistics.median(delays[1:]) < patient(2)


def test_what_is_about_the_recorder_is_left_out_and_said_where_it_alone_matches(follow, state, journal):
    journal.append([line("no permission", channel="capture_client")])
    following = follow("--grep", "permission", "--fields", "text")
    eventually(lambda: "--all" in following.err)

    journal.append([line("permission again", channel="capture_client")])
    journal.append([line("permission given", is_final=True)])
    shows(following, "permission given\n")


def test_a_misspelt_name_is_said_before_it_is_waited_for(follow, journal):
    journal.append([line("hello", is_final=True)])
    following = follow("--channel", "transcrip")

    eventually(lambda: "--channel transcript" in following.err)
