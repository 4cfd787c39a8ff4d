"""Gaps as a user meets them: `vdbevents gaps` lists them, and `query` says where an answer has holes."""

import json
import os
import subprocess
import sys

import pytest
from support.messages import error_id_in
from support.patience import PATIENCE, patient
from support.processes import all_shown, assert_failed, run

from vdbevents.events import envelope, gaps
from vdbevents.events.gaps import Gap, Missing

AT = 1772446530000  # 2026-03-02T10:15:30Z
ALERTS = Missing("alerts", "the service keeps no record of those that it sent")
INTERIM = Missing("interim transcripts", "the service keeps only final ones", lost=False)
OLD = {"since": "2026-03-01T22:15:30.000Z", "until": "2026-03-02T01:20:30.000Z", "reason": "gone"}


def gap(name, seconds=90, *, after=0, status="open", reason="closed with code 1006", **members):
    begin = AT + after * 1000
    return Gap(name, begin, begin + int(seconds * 1000), reason, status, **members)


def line(one):
    """The line of a gap, written a second after its end."""
    return envelope.own_record(gaps.EVENT, one.data(), one.until_ms + 1000).line


def said(text, at_ms=AT, *, fetched=False, start=AT - 500):
    data = {"text": text, "is_final": True, "start": start / 1000 if fetched else start, "end": None}
    event = {"channel": "transcript", "rtstream_id": "rts-1", "data": data}
    if fetched:
        return envelope.backfilled_record(event, at_ms).line
    return envelope.envelop(json.dumps(event).encode(), at_ms).line


RECOVERED = gap("gap-a", status="recovered", recovered={"transcript": 1203, "visual_index": 2})
INCOMPLETE = gap(
    "gap-b", 4.25, after=3600, status="incomplete", recovered={"transcript": 3}, missing=(ALERTS, INTERIM)
)
OPEN = gap("gap-c", 3600 * 30, after=7200, reason="no answer to pings")
DROPPED = gap(
    "gap-d", 60, after=400_000, dropped=5, streams=("rts-1", "rts-3"), reason="the disk took no lines"
)


@pytest.fixture
def journal(state):
    """Writes lines, and answers with the state directory."""

    def write(*lines):
        state.journal.write_bytes(b"".join(lines))
        return state.path

    return write


@pytest.fixture
def with_gaps(journal):
    """A journal with four gaps, two of which were opened and closed, and with other lines."""
    opened = [line(gap("gap-a")), line(gap("gap-b", 4.25, after=3600))]
    closed = [line(one) for one in (INCOMPLETE, RECOVERED, OPEN, DROPPED)]
    return journal(said("before", AT - 60_000), *opened, said('"listener.gap"', AT + 95_000), *closed)


def test_gaps_are_listed_oldest_first_with_what_became_of_them(environ, with_gaps):
    done = run(["gaps", with_gaps], environ)

    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == """\
2026-03-02 10:15:30 to 10:17:00             1 min 30 s  recovered
  reason     closed with code 1006
  recovered  1,203 transcript, 2 visual_index
  missing    nothing
2026-03-02 11:15:30 to 11:15:34             4.2 s       incomplete
  reason     closed with code 1006
  recovered  3 transcript
  missing    alerts: the service keeps no record of those that it sent
  also       interim transcripts: the service keeps only final ones
2026-03-02 12:15:30 to 2026-03-03 18:15:30  1 d 6 h     open
  reason     no answer to pings
  missing    not known yet: not backfilled
2026-03-07 01:22:10 to 01:23:10             1 min       open
  reason     the disk took no lines
  streams    rts-1, rts-3
  dropped    5 received events, as there was no room
  missing    not known yet: not backfilled
"""
    )


def test_a_program_gets_every_member_of_every_gap_in_utc(environ, with_gaps):
    done = run(["gaps", with_gaps, "--json"], {**environ, "TZ": "Asia/Tokyo"})

    listed = json.loads(done.stdout)
    assert [one["id"] for one in listed] == ["gap-a", "gap-b", "gap-c", "gap-d"]
    assert listed[1] == {
        "id": "gap-b",
        "since": "2026-03-02T11:15:30.000Z",
        "until": "2026-03-02T11:15:34.250Z",
        "seconds": 4.25,
        "reason": "closed with code 1006",
        "status": "incomplete",
        "streams": [],
        "dropped": 0,
        "recovered": {"transcript": 3},
        "missing": [ALERTS._asdict(), INTERIM._asdict()],
        "ongoing": False,
    }
    assert all(list(one) == list(listed[1]) for one in listed)
    assert (
        "2026-03-02 20:15:30 to 20:15:34" in run(["gaps", with_gaps], {**environ, "TZ": "Asia/Tokyo"}).stdout
    )


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        (["--open"], ["gap-b", "gap-c", "gap-d"]),
        (["--since", "2026-03-02 10:16"], ["gap-a", "gap-b", "gap-c", "gap-d"]),
        (["--since", "2026-03-02 10:17"], ["gap-b", "gap-c", "gap-d"]),
        (["--until", "2026-03-02 10:15:30"], []),
        (["--until", "2026-03-02 10:15:31"], ["gap-a"]),
        (["--until", "2026-03-03 12:00", "--last", "1h"], ["gap-c"]),
        (["--since", "2026-03-02 10:16", "--until", "2026-03-02 10:16:01", "--open"], []),
        (["--last", "1m"], []),
    ],
)
def test_a_window_chooses_the_gaps_that_it_touches(environ, with_gaps, options, listed):
    done = run(["gaps", with_gaps, "--json", *options], environ)

    assert [one["id"] for one in json.loads(done.stdout)] == listed
    assert done.returncode == (0 if listed else 1)


def test_no_gap_is_said_with_1(environ, journal):
    directory = journal(said("hello"), line(RECOVERED))

    for options, message in (
        (["--open"], "no open or incomplete gaps"),
        (["--last", "1m"], "no gaps in that time"),
    ):
        done = run(["gaps", directory, *options], environ)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"vdbevents: {message} in {directory / 'videodb_events.jsonl'}\n"
    assert run(["gaps", journal()], environ).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "error_id", "said"),
    [
        (["nowhere"], "path-missing", "nowhere"),
        (["nowhere"], "path-missing", "name a state directory, or the file of a journal"),
        (["."], "journal-missing", "vdbevents listen"),
        (["--last", "10 parsecs"], "duration-invalid", "90s, 10m, 2h, 3d, 1w"),
        (["--last", "10m", "--since", "10:15"], "options-conflict", "--since"),
    ],
)
def test_an_input_that_makes_no_sense_is_said_with_2(environ, tmp_path, arguments, error_id, said):
    done = run(["gaps", *arguments], environ, cwd=tmp_path)

    assert_failed(done, 2, said)
    assert error_id_in(done.stderr) == error_id
    assert done.stdout == ""


def test_the_journal_is_found_as_a_query_finds_it(environ, with_gaps, tmp_path):
    (tmp_path / ".env").write_text(f"VIDEODB_EVENTS_DIR={with_gaps}\n")
    listed = run(["gaps", with_gaps], environ).stdout

    assert run(["gaps", with_gaps / "videodb_events.jsonl"], environ).stdout == listed
    assert run(["gaps"], environ, cwd=tmp_path).stdout == listed
    assert run(["gaps", "--cwd", tmp_path], environ).stdout == listed
    assert run(["gaps"], {**environ, "VIDEODB_EVENTS_DIR": str(with_gaps)}).stdout == listed


def test_a_gap_of_an_older_recorder_is_one_of_which_nothing_was_fetched(environ, journal):
    directory = journal(envelope.own_record(gaps.EVENT, OLD, AT).line)

    assert (
        run(["gaps", directory], environ).stdout
        == """\
2026-03-01 22:15:30 to 2026-03-02 01:20:30  3 h 5 min  incomplete
  reason     gone
  recovered  nothing
  missing    everything: it was never asked for
"""
    )


def test_torn_and_foreign_lines_hide_no_gap(environ, journal):
    directory = journal(
        b'{"event":"listener.gap","to\n',
        b'\xff\xfe "listener.gap"\n',
        b"\n[]\nno json\n",
        b'["listener.gap"]\n',
        b'{"event": "listener.gap", "data": 5}\n',
        b"x" * (17 << 20) + b'"listener.gap"\n',
        line(RECOVERED).replace(b'":', b'" : '),
        line(DROPPED).rstrip(b"\n"),
    )
    done = run(["gaps", directory, "--json"], environ)

    assert [one["id"] for one in json.loads(done.stdout)] == ["gap-a", "gap-d"]
    assert done.returncode == 0
    assert "3 lines about gaps are unreadable and left out" in done.stderr


def test_lines_that_span_the_blocks_in_which_a_file_is_read_are_found(environ, journal):
    size = len(line(RECOVERED))
    lines = [
        b"y" * ((1 << 20) - size // 2) + b"\n",
        line(RECOVERED),
        b"z" * ((1 << 20) - size) + b"\n",
        line(DROPPED),
    ]

    listed = json.loads(run(["gaps", journal(*lines), "--json"], environ).stdout)
    assert [one["id"] for one in listed] == ["gap-a", "gap-d"]


def test_gap_text_reaches_no_terminal_unescaped(environ, journal):
    bad = gap(
        "\x1b]0;x\x07",
        reason="\x1b[2J\r\n\u202e" + "x" * 5000,
        status="incomplete",
        recovered={"\x1b[31m": 1},
        missing=(Missing("\x1b[1m", "\x9b2J"),),
        streams=("\ud800",),
    )
    directory = journal(envelope.own_record(gaps.EVENT, bad.data(), AT).line)

    for arguments in (
        ["gaps", directory],
        ["gaps", directory, "--json"],
        ["query", directory, "--grep", "none"],
    ):
        done = run(arguments, environ, text=False, encoding=None)
        shown = done.stdout + done.stderr
        assert b"Traceback" not in shown
        assert all(byte >= 0x20 or byte == 0x0A for byte in shown)
        assert b"\xc2\x9b" not in shown
        assert b"\xe2\x80\xae" not in shown
    assert len(run(["gaps", directory], environ).stdout) < 1000


@pytest.mark.parametrize("columns", [20, 80])
def test_on_a_terminal_lines_are_broken_between_words(environ, journal, columns):
    missing = Missing("interim transcripts", f"{INTERIM.reason}, which follow them", lost=False)
    broken = gap("gap-e", reason="漢字" * 60, status="recovered", missing=(missing,))
    directory = journal(line(INCOMPLETE), line(broken))
    master, slave = os.openpty()
    environ["COLUMNS"] = str(columns)
    done = run(["gaps", directory], environ, stdout=slave, stderr=subprocess.PIPE, capture_output=False)
    os.close(slave)
    shown = all_shown(master).decode().replace("\r\n", "\n")
    os.close(master)

    assert done.returncode == 0
    assert "".join(shown.split()).count("漢字") == 60
    if columns == 80:
        assert max(len(text) + text.count("漢") + text.count("字") for text in shown.splitlines()) <= 80
        assert (
            "  also       interim transcripts: the service keeps only final ones, which\n"
            "             follow them\n"
        ) in shown


def test_a_closed_pipe_is_not_an_error(environ, journal):
    directory = journal(*(line(gap(f"gap-{number}")) for number in range(5000)))
    command = [sys.executable, "-m", "vdbevents", "gaps", str(directory)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""


# What a query says of them


def remark_of(done):
    return [text for text in done.stderr.splitlines() if "gap" in text]


def test_a_query_whose_window_touches_a_gap_says_what_is_missing_and_how_to_see_more(environ, with_gaps):
    window = ["--since", "2026-03-02 11:15", "--until", "2026-03-02 11:15:31"]
    done = run(["query", with_gaps, *window, "--grep", "it's"], environ)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "vdbevents: gap from 2026-03-02 11:15:30 to 11:15:34 (4.2 s) in this time; "
        f"missing: alerts\n  → see: vdbevents gaps {with_gaps} --open "
        "--since '2026-03-02 11:15' --until '2026-03-02 11:15:31'\n"
    )


def test_a_query_says_of_an_open_gap_that_something_may_be_missing(environ, with_gaps):
    done = run(["query", with_gaps, "--since", "2026-03-03", "--until", "2026-03-04"], environ)

    assert remark_of(done)[0] == (
        "vdbevents: gap from 2026-03-02 12:15:30 to 2026-03-03 18:15:30 (1 d 6 h) in this time; "
        "events may be missing until it is backfilled"
    )


@pytest.mark.parametrize("output", ["text", "jsonl", "json", "csv"])
def test_a_query_reports_the_number_of_gaps_and_the_longest(environ, with_gaps, output):
    done = run(
        ["query", "--channel", "transcript", "-o", output], {**environ, "VIDEODB_EVENTS_DIR": str(with_gaps)}
    )

    assert done.returncode == 0
    remark, hint = remark_of(done)
    assert remark == (
        "vdbevents: 3 unrecovered gaps in this time; "
        "the longest from 2026-03-02 12:15:30 to 2026-03-03 18:15:30 (1 d 6 h)"
    )
    assert hint == "  → see: vdbevents gaps --open"
    if output == "jsonl":
        assert done.stdout.encode() == said("before", AT - 60_000) + said('"listener.gap"', AT + 95_000)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--since", "2026-03-02 10:15", "--until", "2026-03-02 10:30"],
        ["--until", "2026-03-02 10:15"],
        ["--since", "2026-03-08"],
    ],
)
def test_a_query_is_silent_on_what_is_recovered_and_on_what_lies_elsewhere(environ, with_gaps, arguments):
    assert run(["query", with_gaps, *arguments], environ).stderr == ""


def test_the_command_that_a_query_names_lists_what_the_query_meant(environ, with_gaps):
    asked = ["--since", "2026-03-02 11:15", "--until", "2026-03-03"]
    hint = remark_of(run(["query", with_gaps, *asked], environ))[1]
    command = hint.partition("vdbevents ")[2].replace("gaps", "gaps --json", 1)
    function = f'vdbevents() {{ "{sys.executable}" -m vdbevents "$@"; }}\n'
    done = subprocess.run(
        ["sh", "-c", f"{function}vdbevents {command}"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert [one["id"] for one in json.loads(done.stdout)] == ["gap-b", "gap-c"]


def test_a_fetched_event_is_found_and_a_received_one_is_shown_once(environ, journal):
    live = said("hello there")
    again = said("hello there", AT + 95_000, fetched=True)
    missed = said("hello again", AT + 95_000, fetched=True, start=AT + 60_000)
    directory = journal(live, line(gap("gap-a")), again, missed, line(RECOVERED))
    done = run(["query", directory, "--grep", "hello", "-o", "jsonl"], environ)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.encode() == live + missed


def test_a_large_journal_is_read_in_a_moment(environ, journal):
    directory = journal(said("x" * 300) * 300_000, line(RECOVERED))

    began = processor_seconds()
    assert len(json.loads(run(["gaps", directory, "--json"], environ).stdout)) == 1
    # A tenth of it on a machine at rest: what parses the lines takes ten times as long.
    assert processor_seconds() - began < patient(10)


def processor_seconds():
    """What all processes that have ended took of the processor, however long they waited for it."""
    used = os.times()
    return used.children_user + used.children_system


def test_an_outage_that_goes_on_is_a_gap_without_an_end(environ, with_gaps, state):
    status = {"pid": 7, "state": "waiting", "written": "2026-03-09T12:05:00Z"}
    blind = {"blind_since": "2026-03-09T12:00:00Z", "blind_reason": "no answer to pings (1011)"}
    state.listener_status.write_text(json.dumps({**status, **blind}))

    listed = json.loads(run(["gaps", with_gaps, "--json", "--since", "2026-03-08"], environ).stdout)
    assert [(one["since"], one["until"], one["status"], one["ongoing"]) for one in listed] == [
        ("2026-03-09T12:00:00.000Z", None, "open", True)
    ]
    # The listener that wrote the status is not there any more, which is told first.
    assert "ended unexpectedly" in listed[0]["reason"]
    shown = run(["gaps", with_gaps], environ).stdout
    assert "2026-03-09 12:00:00 to now" in shown
    assert "open, ongoing" in shown
    asked = run(["query", state.path, "--last", "5m"], environ)
    assert "gap from 2026-03-09 12:00:00 to now" in asked.stderr
    assert "gaps" in asked.stderr.partition("see: ")[2]
    before = run(["query", state.path, "--until", "2026-03-01"], environ)
    assert "gap" not in before.stderr
