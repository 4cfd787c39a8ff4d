"""Clips of what was recorded, and a search by its meaning: the real program and a real server."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from datetime import datetime, timedelta

import pytest
from support.patience import PATIENCE, patient
from support.processes import KEY, ServiceInThread, assert_failed, run

from vdbevents.events.envelope import own_record, utc_text

SESSION = "cap-5f1d9c20"
MIC, SCREEN = "rts-1", "rts-3"
AT_MS = 1_795_230_340_000  # 2026-11-21 03:05:40 UTC


@pytest.fixture
def service(started):
    return started(ServiceInThread(speed=0.0))


@pytest.fixture
def environ(environ, service, state):
    """That of a user whose service is the emulator, and whose recordings are in `state`."""
    return {**environ, **service.environ, "VIDEODB_EVENTS_DIR": str(state.path)}


@pytest.fixture
def call(environ, tmp_path):
    """Runs a command in an empty directory, with these lines on stdin: `call("clip", lines=[…])`."""

    def done(*arguments, lines=None, **options):
        if lines is not None:
            text = "".join(line if type(line) is str else json.dumps(line) + "\n" for line in lines)
            options = {"input": text, "stdin": None, **options}
        return run(arguments, environ, cwd=tmp_path, **options)

    return done


@pytest.fixture
def recorded(service, listen, state):
    """The bundled session, recorded into `state`, and known to the service with its streams and indexes."""
    listener = listen()
    listener.connected()
    service.request("replay", wait=True)
    listener.receives(lambda event: event.get("event") == "capture_session.exported")
    state.capture_info.write_text(json.dumps({"session": {"id": SESSION, "collection_id": "default"}}))


@pytest.fixture
def clips(call, recorded):
    """Makes clips of lines on stdin, which has to succeed, and answers with what is printed of each."""

    def made(*arguments, lines):
        ended = call("clip", "--json", *arguments, lines=lines)
        assert ended.returncode == 0, ended.stderr
        return [json.loads(line) for line in ended.stdout.splitlines()]

    return made


def event(start, end=None, stream=MIC, text="hello"):
    times = {"start": start} if end is None else {"start": start, "end": end}
    return {"channel": "transcript", "rtstream_id": stream, "data": {"text": text, **times}}


def span(clip):
    return clip["start"], clip["end"]


# clip --at


def test_a_moment_of_the_sessions_video_is_made_a_clip(call, recorded):
    ended = call("clip", "--at", "2026-11-21T03:05:40Z", "--for", "1m", "--json")

    start = AT_MS // 1000
    name = f"{SCREEN}-{start}-{start + 60}"
    assert json.loads(ended.stdout) == {
        "stream_id": SCREEN,
        "start": start,
        "end": start + 60,
        "text": "",
        "stream_url": f"https://stream.example/{name}.m3u8",
        "player_url": f"https://player.example/watch?v={name}",
    }


def test_a_person_gets_local_time_and_both_addresses(call, recorded, environ):
    environ["TZ"] = "Asia/Tokyo"
    ended = call("clip", "--at", "2026-11-21 12:05:40")

    start = AT_MS // 1000
    assert ended.stdout.split() == [
        *("2026-11-21", "12:05:40", "display:1"),
        f"https://stream.example/{SCREEN}-{start}-{start + 30}.m3u8",
        f"https://player.example/watch?v={SCREEN}-{start}-{start + 30}",
    ]


@pytest.mark.parametrize("stream", [MIC, "mic:default", "mic"])
def test_another_stream_can_be_named(call, recorded, stream):
    ended = call("clip", "--at", "@1795230340", "--stream", stream, "--pad", "5s", "--json")

    clip = json.loads(ended.stdout)
    assert (clip["stream_id"], *span(clip)) == (MIC, AT_MS // 1000 - 5, AT_MS // 1000 + 35)


def test_an_invalid_time_is_bad_input(call, recorded):
    assert_failed(call("clip", "--at", "soon"), 2, "--at", "'soon'", "10:15", error_id="time-invalid")
    assert_failed(
        call("clip", "--at", "@1", "--for", "long"), 2, "--duration", "'long'", error_id="duration-invalid"
    )
    assert_failed(
        call("clip", "--at", "@1", "--pad", "wide"), 2, "--pad", "'wide'", error_id="duration-invalid"
    )
    assert_failed(call("clip", "--at", "2999-01-01"), 2, "2999-01-01", error_id="moment-in-future")
    assert_failed(call("clip", "--for", "10s"), 2, "--at", error_id="moment-not-given")
    assert_failed(
        call("clip", "--at", "@1", "--video", "--stream", "mic"),
        2,
        "--stream",
        "--video",
        error_id="options-conflict",
    )
    assert_failed(
        call("clip", "--at", "@1", "--stream", "camera"), 2, "camera", "display:1", error_id="stream-missing"
    )


def test_a_stream_that_there_is_not_is_refused_in_the_services_words(call, recorded):
    assert_failed(call("clip", "--at", "@1", "--stream", "rts-no"), 4, "make a clip of rts-no")


@pytest.mark.skipif(sys.platform == "win32", reason="it makes a terminal")
def test_without_a_moment_the_hint_says_how_to_give_one(environ):
    import pty

    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "vdbevents", "clip"]
    ended = subprocess.run(
        command, env=environ, stdin=other, capture_output=True, text=True, check=False, timeout=patient(60)
    )
    os.close(terminal)
    os.close(other)

    hint = "vdbevents query --grep invoice -o jsonl | vdbevents clip"
    assert_failed(ended, 2, "--at", hint, error_id="moment-not-given")


# clip --at, of a session before the last


def own(name, at, session, streams=(), status="active"):
    """A line that a capture writes of itself."""
    listed = [
        {"id": stream, "name": called, "source": source, "media": "video" if source == "screen" else "audio"}
        for stream, called, source in streams
    ]
    data = {"status": status, "streams": listed, "error": None, "capture_session_id": session}
    return own_record(name, data, round(at * 1000)).line


DAY = AT_MS / 1000 - 86_400
EARLIER = (("rts-7", "mic:headset", "mic"), ("rts-8", "display:2", "screen"))
LAST = ((MIC, "mic:default", "mic"), (SCREEN, "display:1", "screen"))


@pytest.fixture
def two_sessions(recorded, state):
    """One was recorded the day before from 0 s to 600 s, and the last from 0 s to 60 s, as its file says."""
    lines = [
        own("capture.ended", DAY - 9000, "cap-never-active", status="failed"),
        own("capture.started", DAY, "cap-earlier", EARLIER),
        own("capture.ended", DAY + 600, "cap-earlier", EARLIER, "exported"),
        own("capture.started", AT_MS / 1000, SESSION, LAST),
        own("capture.ended", AT_MS / 1000 + 90, SESSION, LAST, "exported"),
    ]
    with state.journal.open("ab") as journal:
        journal.writelines(lines)
    info = json.loads(state.capture_info.read_text())
    times = {"started": utc_text(AT_MS), "ended": utc_text(AT_MS + 60_000)}
    state.capture_info.write_text(json.dumps({**info, **times}))


@pytest.fixture
def chosen(call):
    """The stream that a clip is asked of, which the service may not know."""

    def asked(*arguments, at):
        ended = call("clip", "--json", "--at", f"@{at:.0f}", *arguments)
        if ended.returncode == 0:
            return json.loads(ended.stdout)["stream_id"]
        assert ended.returncode == 4, ended.stderr
        return ended.stderr.partition("make a clip of ")[2].partition(":")[0]

    return asked


@pytest.mark.parametrize(
    ("named", "stream"),
    [
        ((), "rts-8"),
        (("--video",), "rts-8"),
        (("--stream", "mic"), "rts-7"),
        (("--stream", "mic:headset"), "rts-7"),
        (("--stream", "rts-7"), "rts-7"),
    ],
)
def test_a_moment_is_seen_in_the_session_that_was_recorded_then(two_sessions, chosen, service, named, stream):
    before = len(service.state["recent_requests"])

    assert chosen(*named, at=DAY + 300) == stream
    asked = [one["request"] for one in service.state["recent_requests"][before:]]
    assert [one for one in asked if "capture/session" in one] == [], "the journal knows"


def test_the_last_session_is_the_one_of_its_own_time(two_sessions, chosen):
    assert chosen(at=AT_MS / 1000) == SCREEN
    assert chosen("--stream", "mic", at=AT_MS / 1000 + 59) == MIC


def test_a_clip_that_begins_before_a_recording_is_seen_in_it(two_sessions, chosen):
    assert chosen(at=DAY - 10) == "rts-8"


def test_a_session_that_is_named_is_asked_whatever_the_time_is(two_sessions, chosen):
    assert chosen("--session", SESSION, at=DAY + 300) == SCREEN


def test_what_the_session_then_does_not_have_is_bad_input(two_sessions, call):
    ended = call("clip", "--at", f"@{DAY:.0f}", "--stream", "camera")

    assert_failed(ended, 2, "cap-earlier", "camera", "mic:headset, display:2", error_id="stream-missing")


def test_a_time_when_nothing_was_recorded_is_bad_input_and_names_the_recording_before(
    two_sessions, call, environ, service
):
    environ["TZ"] = "UTC"
    before = service.state["requests"]
    between = call("clip", "--at", "2026-11-20 04:00")
    too_early = call("clip", "--at", "2026-11-19 03:00", "--stream", "mic:default")
    too_late = call("clip", "--at", f"@{AT_MS // 1000 + 70}")

    earlier = "cap-earlier, from 2026-11-20 03:05:40 until 2026-11-20 03:15:40"
    assert_failed(
        between, 2, "2026-11-20 04:00:00", f"before it is {earlier}", error_id="moment-not-recorded"
    )
    assert_failed(too_early, 2, f"the earliest session is {earlier}", error_id="moment-not-recorded")
    assert_failed(too_late, 2, SESSION, "until 2026-11-21 03:06:40")
    assert service.state["requests"] == before


def test_a_stream_of_no_session_that_is_known_is_asked_by_its_id(two_sessions, chosen):
    assert chosen("--stream", "rts-elsewhere", at=DAY + 3600) == "rts-elsewhere"


def test_a_capture_that_was_killed_is_over_when_the_next_one_begins(two_sessions, chosen, state):
    kept = [line for line in state.journal.read_bytes().splitlines(keepends=True)
            if not (b"capture.ended" in line and b"cap-earlier" in line)]  # fmt: skip
    state.journal.write_bytes(b"".join(kept))

    assert chosen(at=DAY + 3600) == "rts-8"
    assert chosen(at=AT_MS / 1000 + 1) == SCREEN


def test_streams_that_the_journal_does_not_tell_are_asked_for(two_sessions, chosen, state):
    kept = [line for line in state.journal.read_bytes().splitlines(keepends=True) if b'"capture.' not in line]
    state.journal.write_bytes(b"".join(kept))

    assert chosen(at=AT_MS / 1000) == SCREEN


@pytest.mark.usefixtures("two_sessions")
def test_the_screen_at_a_line_is_from_the_session_of_that_line(call):
    of_its_stream = event((DAY + 3600) * 1000, stream="rts-7")
    of_its_time = event(AT_MS + 1000, stream="rts-elsewhere")
    of_nothing = event((DAY + 3600) * 1000, stream="rts-elsewhere")
    ended = call("clip", "--video", "--json", lines=[of_its_stream, of_its_time, of_nothing])

    assert_failed(
        ended,
        4,
        "make a clip of rts-8",
        "no clip for 1 of the lines, which are from a time when nothing was recorded",
    )
    assert [json.loads(line)["stream_id"] for line in ended.stdout.splitlines()] == [SCREEN]


# query | clip


def test_matches_of_a_query_become_clips(call, clips):
    found = call("query", "--channel", "transcript", "--grep", "amiable", "-o", "jsonl").stdout
    events = [json.loads(line) for line in found.splitlines()]
    made = clips(lines=[found])

    assert len(events) == 2
    assert [(clip["stream_id"], clip["text"]) for clip in made] == [
        (one["rtstream_id"], one["data"]["text"]) for one in events
    ]
    for clip, one in zip(made, events, strict=True):
        assert clip["start"] <= one["data"]["start"] / 1000 - 2 < clip["start"] + 1
        assert clip["end"] - 1 < one["data"]["end"] / 1000 + 2 <= clip["end"]
        assert clip["player_url"].endswith(f"{MIC}-{clip['start']}-{clip['end']}")


def test_the_journal_itself_can_be_piped_in_and_what_makes_no_clip_is_counted(call, recorded, state):
    with state.journal.open("rb") as journal:
        ended = call("clip", "--video", "--json", stdin=journal)
    made = [json.loads(line) for line in ended.stdout.splitlines()]

    assert ended.returncode == 0
    assert len({span(clip) for clip in made}) == len(made) > 5
    assert {clip["stream_id"] for clip in made} == {SCREEN}
    assert "have no stream or no time" in ended.stderr


def test_a_clip_is_padded_in_whole_seconds_and_is_never_empty(clips):
    at = AT_MS // 1000

    assert [span(clip) for clip in clips(lines=[event(AT_MS + 200, AT_MS + 1200)])] == [(at - 2, at + 4)]
    assert [span(clip) for clip in clips("--pad", "0s", lines=[event(AT_MS, AT_MS)])] == [(at, at + 1)]
    backwards = event(AT_MS, AT_MS - 9000)
    assert [span(clip) for clip in clips("--pad", "10s", lines=[backwards])] == [(at - 10, at + 10)]


def test_times_are_found_in_every_documented_shape(clips):
    at = AT_MS // 1000
    iso = "2026-11-21T03:05:40Z"
    lines = [
        {"rtstreamId": "rts-1", "startMs": AT_MS, "endMs": AT_MS + 1000, "text": "camel"},
        {"rtstream_id": MIC, "start_time": at + 10, "end_time": at + 11.5, "explanation": "seconds"},
        {"data": {"rtstream_id": SCREEN, "start": iso, "end": "2026-11-21T12:05:41+09:00", "text": "ISO"}},
        {"channel": "alert", "rtstream_id": SCREEN, "data": {"timestamp": AT_MS + 20_000, "text": "alert"}},
    ]

    assert [(clip["stream_id"], *span(clip), clip["text"]) for clip in clips("--pad", "0", lines=lines)] == [
        (MIC, at, at + 1, "camel"),
        (MIC, at + 10, at + 12, "seconds"),
        (SCREEN, at, at + 1, "ISO"),
        (SCREEN, at + 20, at + 21, "alert"),
    ]


def test_equal_clips_are_made_once(clips, service):
    made = clips(lines=[event(AT_MS, AT_MS + 10), event(AT_MS + 5, AT_MS + 15, text="again")])

    assert [clip["text"] for clip in made] == ["hello"]


def test_of_lines_without_a_stream_or_a_time_nothing_is_made(call, recorded):
    useless = [
        "no JSON\n",
        "\n",
        "[1]\n",
        {"data": {"start": AT_MS}},
        {"rtstream_id": MIC},
        {"rtstream_id": MIC, "data": None, "start": True},
        {"rtstream_id": MIC, "start": "soon"},
        {"rtstream_id": None, "start": AT_MS},
    ]
    ended = call("clip", lines=useless)

    assert_failed(ended, 1, "no clip for 7 of the lines, which have no stream or no time", "vdbevents query")
    assert ended.stdout == ""
    ended = call("clip", lines=[*useless[:1], event(AT_MS)])
    assert_failed(ended, 0, "no clip for 1 of the lines")
    assert ended.stdout.count("\n") == 1


def test_a_stream_id_that_is_a_number_is_taken_as_text(call, recorded):
    ended = call("clip", lines=[{"rtstream_id": 7, "start": AT_MS}])

    assert_failed(ended, 4, "make a clip of 7")


@pytest.mark.parametrize("arguments", [(), ("--video",), ("--json",)])
def test_nothing_on_stdin_is_nothing_found(call, arguments):
    assert_failed(call("clip", *arguments, lines=[]), 1, "no events on stdin")


def test_a_clip_is_printed_as_soon_as_it_is_made(recorded, started, environ):
    command = [sys.executable, "-m", "vdbevents", "clip", "--json"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environ, **pipes) as process:
        process.stdin.write(json.dumps(event(AT_MS)).encode() + b"\n")
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(PATIENCE) == 0

    assert first["stream_id"] == MIC


def test_the_text_is_harmless_and_cut_and_the_addresses_are_whole(call, recorded):
    ended = call("clip", lines=[event(AT_MS, text="\x1b[31mred " + "字" * 100)])

    assert "\x1b" not in ended.stdout
    assert "␛[31mred 字" in ended.stdout
    assert "…" in ended.stdout
    assert ended.stdout.rstrip().endswith(f"{AT_MS // 1000 + 2}")


def test_a_session_without_video_says_so(call, recorded, service, state):
    content = json.dumps({"end_user_id": "ada"}).encode()
    path = service.url + "/collection/default/capture/session"
    request = urllib.request.Request(path, content, {"x-access-token": KEY})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        session = json.load(answer)["data"]["session_id"]

    assert_failed(
        call("clip", "--at", "@1", "--session", session),
        2,
        "vdbevents session list",
        error_id="session-without-streams",
    )


def test_a_clip_that_is_refused_is_said_and_the_others_are_made(call, recorded):
    ended = call("clip", "--json", lines=[event(AT_MS, stream="rts-no"), event(AT_MS)])

    assert_failed(ended, 4, "make a clip of rts-no")
    assert [json.loads(line)["stream_id"] for line in ended.stdout.splitlines()] == [MIC]


def test_a_clip_that_fails_for_a_passing_reason_is_tried_again_then_said(call, recorded, service):
    service.fault(http={"status": 500, "path": f"/rtstream/{MIC}/stream", "times": 1})
    assert call("clip", lines=[event(AT_MS)]).returncode == 0

    service.fault(http={"status": 500, "path": f"/rtstream/{MIC}/stream"})
    ended = call("clip", "--timeout", 5, "--json", lines=[event(AT_MS), event(AT_MS, stream=SCREEN)])
    assert_failed(ended, 5, f"make a clip of {MIC}", "500")
    assert [json.loads(line)["stream_id"] for line in ended.stdout.splitlines()] == [SCREEN]


@pytest.mark.parametrize("fault", [("http", {"status": 503}), ("hang", {})], ids=["503", "hang"])
def test_a_service_that_does_not_answer_is_not_asked_for_every_clip(call, recorded, service, fault):
    name, options = fault
    service.fault(**{name: options})
    before = len(service.state["recent_requests"])
    ended = call("clip", "--timeout", 1, lines=[event(AT_MS + 10_000 * n) for n in range(50)])
    over = time.time()

    assert_failed(ended, 5, f"make a clip of {MIC}", "skipping the rest")
    assert ended.stderr.count("could not") == 2
    # How long a program takes to start says nothing of its limit.
    assert over - service.state["recent_requests"][before]["unix_ts"] < 20


def test_a_wrong_key_is_said_once(call, recorded, environ):
    environ["VIDEO_DB_API_KEY"] = "sk-wrong-and-secret"
    ended = call("clip", lines=[event(AT_MS + 10_000 * n) for n in range(5)])

    assert_failed(ended, 4, "refused the API key (401)")
    assert ended.stderr.count("401") == 1
    assert "secret" not in ended.stderr


# search


def test_speech_and_screen_text_are_found_by_their_words(call, recorded):
    ended = call("search", "who looks at the checkout latency alert", "--json")
    found = json.loads(ended.stdout)

    assert ended.returncode == 0
    assert found
    for one in found:
        assert set(one) == {
            *("stream_id", "stream_name", "source", "started", "ended", "start", "end"),
            *("text", "score", "index_id"),
        }
        assert one["start"].endswith("Z")
        assert datetime.fromisoformat(one["start"]) <= datetime.fromisoformat(one["end"])
        assert 0 < one["score"] <= 1
    assert {one["stream_id"]: one["source"] for one in found}[SCREEN] == "screen"
    assert [one["start"] for one in found] == sorted(one["start"] for one in found)


def test_the_best_of_all_streams_are_kept(call, recorded):
    question = ("search", "latency alert incident pull request", "--json")
    everything = json.loads(call(*question, "-n", "500").stdout)
    best = json.loads(call(*question, "-n", "2").stdout)

    assert len(everything) > 2
    assert len({one["score"] for one in everything}) > 1
    scores = sorted((one["score"] for one in everything), reverse=True)
    assert sorted((one["score"] for one in best), reverse=True) == scores[:2]


def test_a_person_sees_it_as_a_query_shows_it(call, recorded, environ):
    environ["TZ"] = "Asia/Tokyo"
    ended = call("search", "latency", "-n", "3")
    found = json.loads(call("search", "latency", "-n", "3", "--json").stdout)

    lines = ended.stdout.splitlines()
    assert len(lines) == len(found) == 3
    for line, one in zip(lines, found, strict=True):
        when, source, channel, text = line.split(maxsplit=3)
        moment = datetime.fromisoformat(one["start"]) + timedelta(hours=9)
        assert when == f"{moment:%H:%M:%S}"
        assert (source, channel) == ("screen", "visual_index")
        assert text.startswith(one["text"][:20].split("\n")[0])
    assert "\x1b" in call("search", "latency", "--color", "always").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="it makes a terminal")
def test_a_terminal_gets_lines_of_its_width(recorded, environ):
    import pty

    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "vdbevents", "search", "latency", "-n", "1"]
    environ = {**environ, "COLUMNS": "60", "NO_COLOR": "1"}
    ended = subprocess.run(
        command, env=environ, stdout=other, stderr=subprocess.PIPE, check=False, timeout=patient(60)
    )
    os.close(other)
    shown = os.read(terminal, 10_000).decode()
    os.close(terminal)

    assert ended.returncode == 0
    assert len(shown.rstrip("\r\n")) <= 60
    assert "…" in shown


def test_one_stream_can_be_searched(call, recorded):
    found = json.loads(call("search", "latency", "--stream", "screen", "--json").stdout)

    assert {one["stream_id"] for one in found} == {SCREEN}
    assert call("search", "latency", "--stream", SCREEN, "--session", SESSION).returncode == 0
    assert_failed(call("search", "latency", "--stream", "camera"), 2, "camera", error_id="stream-missing")


def test_nothing_found_exits_with_1(call, recorded):
    ended = call("search", "xylophone", "--json")

    assert_failed(ended, 1, "nothing found")
    assert json.loads(ended.stdout) == []
    assert call("search", "xylophone").stdout == ""


def test_without_an_index_nothing_can_be_searched(call, service):
    content = json.dumps({"end_user_id": "ada"}).encode()
    path = service.url + "/collection/default/capture/session"
    request = urllib.request.Request(path, content, {"x-access-token": KEY})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        session = json.load(answer)["data"]["session_id"]

    assert_failed(
        call("search", "x", "--session", session),
        1,
        "no stream of the session has an index",
        "vdbevents pipelines start",
    )


@pytest.mark.parametrize("arguments", [("",), (" ",), ("x", "-n", "0"), ("x", "--timeout", "nan"), ()])
def test_bad_input_is_said(call, arguments):
    assert call("search", *arguments).returncode == 2


SEARCH = ("search", "latency")
CLIP = ("clip", "--at", "@1795230340")


@pytest.mark.parametrize("command", [SEARCH, CLIP], ids=lambda command: command[0])
def test_any_one_call_that_fails_for_a_passing_reason_is_made_again(call, recorded, service, command):
    number = 0
    while True:
        service.fault(http={"status": 500, "times": 1, "skip": number})
        ended = call(*command)
        assert ended.returncode == 0, ended.stderr
        if "http" in service.state["faults"]:
            break
        number += 1
    assert number > 1


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("command", "number"),
    [(SEARCH, 0), (SEARCH, 1), (SEARCH, 2), (CLIP, 0), (CLIP, 1)],
    ids=lambda value: value[0] if type(value) is tuple else "",
)
@pytest.mark.parametrize(
    "fault",
    [("http", {"status": 500}, 5), ("hang", {}, 5), ("http", {"status": 401}, 4)],
    ids=["500", "hang", "401"],
)
def test_a_service_that_fails_at_any_call_ends_it_in_time(call, service, command, number, fault):
    name, options, code = fault
    service.fault(**{name: {**options, "skip": number}})
    before = len(service.state["recent_requests"])
    ended = call(*command, "--timeout", patient(1) if code == 5 else 30)
    over = time.time()

    assert_failed(ended, code, "could not")
    assert ended.stdout == ""
    began = service.state["recent_requests"][before]["unix_ts"]
    assert over - began < patient(10), "not the 30 s that it has by default"


def test_a_session_that_there_is_not_is_refused_in_the_services_words(call):
    assert_failed(call("search", "x", "--session", "cap-no"), 4, "cap-no")
    assert_failed(call("clip", "--at", "@1", "--session", "cap-no"), 4, "cap-no")


def test_recorded_moments_are_found_while_nothing_is_captured(call, recorded, state):
    state.capture_info.unlink()

    assert call("search", "latency", "--stream", SCREEN).returncode == 0
    assert call("clip", "--at", "@1795230340", "--stream", SCREEN).returncode == 0
