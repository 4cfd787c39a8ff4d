"""Scripts, alone and played to pipelines on a clock that the test moves."""

import asyncio
import itertools
import json
import math
import time

import pytest
from hypothesis import given, strategies
from support.patience import PATIENCE, patient
from videodb.exceptions import InvalidRequestError

from vdbevents.emulator.application import EmulatorSettings, serve
from vdbevents.emulator.emulated_cloud import EmulatedCloud
from vdbevents.emulator.pipeline_kinds import create_index
from vdbevents.emulator.pipeline_scripts import NumberedScript, RecordedScript
from vdbevents.emulator.replay_file import load_recording
from vdbevents.emulator.request_checks import RestCall
from vdbevents.emulator.rtstreams import create_stream
from vdbevents.emulator.service_clock import ServiceClock

HOUR = 3600
ORIGIN = 1_772_446_530.1234
PERIODS = {"transcript": 6_000, "visual_index": 2_000, "audio_index": 30_000}
CHANNELS = [
    {"channel_id": "mic:default", "type": "audio", "store": False},
    {"channel_id": "display:1", "type": "video", "store": True},
]
TEXT = "{} {} {}: "


def utterances(channel, since=ORIGIN, count=1, kind="mic", origin=ORIGIN):
    return list(itertools.islice(NumberedScript().utterances(channel, kind, origin, since), count))


def milliseconds(seconds):
    return math.floor(seconds * 1000 + 0.5)


def test_a_transcript_grows_until_it_is_final():
    start = 1_772_446_530_123
    assert [
        (due, utterance.text, utterance.is_final, utterance.start, utterance.end)
        for due, utterance in utterances("transcript", count=5)
    ] == [
        (1_772_446_531.623, "mic transcript 1: one,", False, start, start + 1500),
        (1_772_446_533.123, "mic transcript 1: one, and", False, start, start + 3000),
        (1_772_446_534.623, "mic transcript 1: one, and so", False, start, start + 4500),
        (1_772_446_536.123, "mic transcript 1: one, and so on", True, start, start + 6000),
        (1_772_446_537.623, "mic transcript 2: two,", False, start + 6000, start + 7500),
    ]


@pytest.mark.parametrize(("channel", "kind"), [("visual_index", "screen"), ("audio_index", "system_audio")])
def test_records_of_an_index_follow_each_other_without_a_gap(channel, kind):
    period = PERIODS[channel]
    for number, (due, utterance) in enumerate(utterances(channel, count=20, kind=kind), 1):
        assert utterance.text.startswith(f"{kind} {channel} {number}: ")
        assert utterance.is_final
        assert utterance.start == 1_772_446_530_123 + (number - 1) * period
        assert (utterance.end, due) == (utterance.start + period, utterance.end / 1000)


@pytest.mark.parametrize("kind", ["mic", "system_audio"])
def test_an_audio_stream_has_no_visual_index(kind):
    assert utterances("visual_index", kind=kind) == []


@given(strategies.sampled_from(sorted(PERIODS)), strategies.floats(0, 400))
def test_a_script_entered_later_continues_where_it_is(channel, passed):
    since = ORIGIN + passed
    later = utterances(channel, since, 20, kind="screen")
    whole = utterances(channel, count=300, kind="screen")
    assert later == [utterance for utterance in whole if utterance[0] >= since][:20]


def test_a_script_entered_after_a_thousand_years_takes_no_longer():
    years = 1000 * 365 * 24 * HOUR
    started = time.monotonic()
    ((_, utterance),) = utterances("visual_index", ORIGIN + years - 1, kind="screen")
    assert utterance.text.startswith(f"screen visual_index {years // 2}: ")
    recording = RecordedScript(load_recording(None), 1.0, loop=True)
    due, _ = next(recording.utterances("transcript", "mic", ORIGIN, ORIGIN + years))
    assert 0 <= due - ORIGIN - years < recording.recording.round_seconds
    assert time.monotonic() - started < PATIENCE


@pytest.mark.parametrize("passed", [0, 20.5, 65.3, 65.74, 131.5, 400])
def test_a_recording_entered_later_continues_where_it_is(passed):
    recording = RecordedScript(load_recording(None), 2.0, loop=True)
    later = list(itertools.islice(recording.utterances("audio_index", "mic", ORIGIN, ORIGIN + passed), 5))
    whole = itertools.islice(recording.utterances("audio_index", "mic", ORIGIN, ORIGIN), 50)
    assert later == [utterance for utterance in whole if utterance[0] >= ORIGIN + passed][:5]


# Over HTTP and WebSockets.


@pytest.fixture
def emulator(start):
    """Start a server whose clock moves only when it is advanced."""
    emulator = start(numbered=True)
    # So slow that it stands still for the length of a test, and far enough ahead not to be overtaken.
    emulator.control("clock", rate=1e-9, advance=24 * HOUR)
    return emulator


def begin_session(emulator):
    """Return a WebSocket, its id, and an active session."""
    socket, connection_id = emulator.greeted()
    session = emulator.sdk.create_capture_session("user", ws_connection_id=connection_id)
    emulator.http("POST", "/capture/session/start", {"session_id": session.id, "channels": CHANNELS})
    while receive(socket)[0]["event"] != "capture_session.active":
        pass
    return socket, connection_id, emulator.sdk.get_capture_session(session.id)


def receive(socket, count=1):
    return [json.loads(socket.recv(timeout=PATIENCE)) for _ in range(count)]


def records(emulator, query=""):
    return emulator.http("GET", f"/emulator/records{query}", key=None)[2]["records"]


def wait_for_records(emulator, count):
    """Wait until there are so many records, and return them."""
    emulator.until(lambda state: state["totals"]["records"] >= count)
    return records(emulator)


def number(text):
    return int(text.split(":")[0].split()[-1])


def test_hours_pass_in_seconds_and_every_number_is_pushed_and_kept(emulator):
    socket, connection_id, session = begin_session(emulator)
    mic, screen = session.rtstreams
    mic.start_transcript(ws_connection_id=connection_id)
    listened = mic.index_audio(prompt="p", ws_connection_id=connection_id)
    seen = screen.index_visuals(prompt="p", ws_connection_id=connection_id)
    emulator.control("clock", advance=2 * HOUR + 1)

    pushed = {"transcript": [], "audio_index": [], "visual_index": []}
    for event in receive(socket, 4 * 1200 + 240 + 3600):
        if event["data"].get("is_final", True):
            pushed[event["channel"]].append((event["data"], event["rtstream_id"]))
    for channel, kind in (("transcript", "mic"), ("audio_index", "mic"), ("visual_index", "screen")):
        numbers = range(1, 2 * HOUR * 1000 // PERIODS[channel] + 1)
        assert [number(data["text"]) for data, _ in pushed[channel]] == list(numbers)
        assert all(
            data["text"].startswith(TEXT.format(kind, channel, n))
            for n, (data, _) in zip(numbers, pushed[channel], strict=True)
        )

    listed = records(emulator)
    assert [utterance["start"] for utterance in listed] == sorted(utterance["start"] for utterance in listed)
    for channel, events in pushed.items():
        assert [
            (
                milliseconds(utterance["start"]),
                milliseconds(utterance["end"]),
                utterance["text"],
                utterance["rtstream_id"],
            )
            for utterance in listed
            if utterance["channel"] == channel
        ] == [(data["start"], data["end"], data["text"], stream_id) for data, stream_id in events]
    assert len(listed) == sum(map(len, pushed.values()))

    page = mic.get_transcript(page=12, page_size=100)
    assert (page["total_count"], page["next_page"]) == (1200, False)
    assert [number(utterance["text"]) for utterance in page["transcription_records"]] == list(
        range(1101, 1201)
    )
    for index, most in ((listened, 240), (seen, 3600)):
        scenes = index.get_scenes(page=2, page_size=150)["scenes"]
        assert [number(utterance["description"]) for utterance in scenes] == list(
            range(151, min(300, most) + 1)
        )
    first, last = page["transcription_records"][10], page["transcription_records"][12]
    some = mic.get_transcript(start=first["start"], end=last["start"])
    assert some["transcription_records"] == page["transcription_records"][10:13]


def test_8_hours_are_made_at_once_and_other_tasks_run_in_between():
    async def catch_up():
        clock = ServiceClock(time.time)
        recording = load_recording(None)
        cloud = EmulatedCloud(recording, clock, numbered=True, speed=1.0, loop=False, autoplay=False)
        stream = create_stream(cloud.store, RestCall({}, {}, {"url": "rtsp://x", "name": "screen:1"}))
        answer = create_index(cloud.store, RestCall({"id": stream["id"]}, {}, {}))
        index = cloud.store.pipelines[answer["rtstream_index_id"]]
        cloud.flush()
        clock.advance(8 * HOUR)
        before, steps = 0, set()
        while before < 8 * HOUR // 2:
            await asyncio.sleep(0)
            steps.add(len(index.records) - before)
            before = len(index.records)
        await cloud.end()
        return max(steps)

    assert asyncio.run(catch_up()) < 300


def test_two_pipelines_of_a_channel_get_the_same_and_records_count_once(emulator):
    socket, connection_id, session = begin_session(emulator)
    screen = session.rtstreams[1]
    screen.index_visuals(prompt="p", ws_connection_id=connection_id)
    other, other_id = emulator.greeted()
    screen.index_visuals(prompt="q", ws_connection_id=other_id)
    third, third_id = emulator.greeted()
    analyzers = [{"type": "vlm", "name": "scene", "config": {"prompt": "p"}}]
    screen.understand({"type": "time"}, analyzers, ws_connection_id=third_id)
    emulator.control("clock", advance=61)
    events = [receive(it, 30) for it in (socket, other, third)]
    assert events[0] == events[1]
    assert [event["data"] for event in events[2]] == [event["data"] for event in events[0]]
    listed = wait_for_records(emulator, 90)
    assert len(listed) == 60
    assert [utterance["channel"] for utterance in listed[:2]] == ["scene_index", "visual_index"]
    assert listed[0]["text"] == listed[1]["text"] == "screen visual_index 1: one, and so on"


def test_numbers_in_a_pause_are_not_made_and_the_count_goes_on(emulator):
    _, connection_id, session = begin_session(emulator)
    mic = session.rtstreams[0]
    mic.start_transcript(ws_connection_id=connection_id)
    emulator.control("clock", advance=61)
    wait_for_records(emulator, 10)
    mic.stop_transcript()
    emulator.control("clock", advance=8 * HOUR)
    mic.start_transcript(ws_connection_id=connection_id)
    emulator.control("clock", advance=60)
    missed = 8 * HOUR // 6
    listed = [number(utterance["text"]) for utterance in wait_for_records(emulator, 20)]
    assert listed == [*range(1, 11), *range(11 + missed, 21 + missed)]
    starts = [milliseconds(utterance["start"]) for utterance in records(emulator)]
    assert {start - starts[0] for start in starts} == {6000 * (n - 1) for n in listed}


def test_the_service_uses_its_clock_everywhere(start):
    emulator = start(numbered=True, clock_rate=600)
    assert emulator.state["clock"]["rate"] == 600
    socket, connection_id, session = begin_session(emulator)
    session.rtstreams[0].start_transcript(ws_connection_id=connection_id)
    started = time.monotonic()
    finals = [event for event in receive(socket, 8) if event["data"]["is_final"]]
    assert [number(event["data"]["text"]) for event in finals] == [1, 2]
    assert time.monotonic() - started < patient(11), "at the rate of real time it takes 12 s"
    session.rtstreams[0].stop_transcript()

    changed = emulator.control("clock", rate=1, advance=1e9)
    assert (changed["success"], changed["rate"]) == (True, 1)
    assert changed["unix_ts"] > time.time() + 1e9
    assert emulator.state["clock"]["unix_ts"] - changed["unix_ts"] < 60
    created = emulator.sdk.create_capture_session("user")
    listed = emulator.http("GET", "/collection/default/capture/session")[2]["data"]["sessions"]
    assert listed[0]["created_at"][:4] > "2055"
    token = emulator.http("POST", "/capture/session/token", {"expires_in": 60})[2]["data"]
    assert token["expires_at"] > changed["unix_ts"]
    path = f"/capture/session/{created.id}"
    assert emulator.http("GET", path, key=token["token"])[0] == 200
    emulator.control("clock", advance=60)
    assert emulator.http("GET", path, key=token["token"])[0] == 401
    # What requests are counted by is real time.
    assert emulator.state["recent_requests"][-1]["unix_ts"] < time.time() + 1


def test_a_recording_is_played_to_pipelines_by_the_service_clock_too(start):
    emulator = start()
    socket, connection_id, session = begin_session(emulator)
    session.rtstreams[0].start_transcript(ws_connection_id=connection_id)
    emulator.control("clock", advance=HOUR)
    assert {event["channel"] for event in receive(socket, 138)} == {"transcript"}


def test_the_records_of_one_session_can_be_selected(emulator):
    sessions = []
    for _ in range(2):
        _, _, session = begin_session(emulator)
        session.rtstreams[0].start_transcript()
        sessions.append(session)
    emulator.control("clock", advance=61)
    listed = wait_for_records(emulator, 20)
    for session in sessions:
        own = [utterance for utterance in listed if utterance["rtstream_id"] == session.rtstreams[0].id]
        assert len(own) == 10
        assert records(emulator, f"?session_id={session.id}") == own
    assert emulator.http("GET", "/emulator/records?session_id=cap-none", key=None)[0] == 404
    assert emulator.http("GET", "/emulator/records?session=x", key=None)[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"speed": 2},
        {"rate": 0},
        {"rate": "2"},
        {"rate": True},
        {"rate": math.inf},
        {"advance": -1},
        {"advance": math.nan},
        {"rate": 2, "advance": math.inf},
    ],
)
def test_an_invalid_change_of_the_clock_is_refused_and_changes_nothing(emulator, body):
    before = emulator.state["clock"]
    status, _, answer = emulator.http("POST", "/emulator/clock", body, key=None)
    assert (status, answer["error_code"]) == (400, "BAD_REQUEST")
    after = emulator.state["clock"]
    assert after["rate"] == before["rate"]
    assert after["unix_ts"] - before["unix_ts"] < 1


def test_numbered_events_are_not_replayed_and_a_flood_is_possible(start):
    emulator = start(numbered=True, autoplay=True)
    status, _, answer = emulator.http("POST", "/emulator/replay", {}, key=None)
    assert (status, "no recording to be replayed" in answer["message"]) == (400, True)
    socket, _ = emulator.greeted()
    emulator.control("clock", advance=HOUR)
    now_ms = emulator.state["clock"]["unix_ts"] * 1000
    emulator.control("flood", count=3)
    # The first thing to come: nothing was played to the first WebSocket.
    events = receive(socket, 3)
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert all(event["data"]["start"] > now_ms - 10_000 for event in events)
    emulator.control("send", size=300)
    assert receive(socket)[0]["data"]["start"] > now_ms - 10_000
    assert emulator.state["replay"] is None


def test_numbered_events_and_a_recording_cannot_be_combined(tmp_path):
    with pytest.raises(ValueError, match="numbered, replay"):
        serve(EmulatorSettings(numbered=True, replay=tmp_path / "x.jsonl"), pytest.fail)


def test_a_search_finds_a_number(emulator):
    _, _, session = begin_session(emulator)
    screen = session.rtstreams[1]
    screen.index_visuals(prompt="p")
    emulator.control("clock", advance=61)
    wait_for_records(emulator, 30)
    (shot,) = screen.search("two seven", result_threshold=1).shots
    assert number(shot.text) == 27
    with pytest.raises(InvalidRequestError, match="no audio"):
        screen.start_transcript()


def test_made_up_secrets_stand_in_the_texts_where_asked_for():
    script = NumberedScript(secrets=True)
    found = list(itertools.islice(script.utterances("transcript", "mic", 0.0, 0.0), 16))

    assert [found[n][1].text for n in (0, 3)] == [
        "mic transcript 1: 4929 0000 0000 0018 is it, one,",
        "mic transcript 1: 4929 0000 0000 0018 is it, one, and so on",
    ]
    assert [found[n][1].text.split(" ")[3][:4] for n in (7, 11, 15)] == ["ghp_", "sk-4", "4929"]
