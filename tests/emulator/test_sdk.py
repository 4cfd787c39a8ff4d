"""The unmodified SDK, against the real server."""

import asyncio
import json

import pytest
import videodb
from support.patience import PATIENCE, patient
from videodb.exceptions import AuthenticationError, InvalidRequestError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

CHANNELS = [
    {"channel_id": "mic:default", "channel_name": "Microphone", "type": "audio", "store": False},
    {"channel_id": "display:1", "channel_name": "Screen", "type": "video", "store": True, "is_primary": True},
]


def receive(socket, count):
    return [json.loads(socket.recv(timeout=PATIENCE)) for _ in range(count)]


@pytest.fixture
def active(start):
    """Return a server at speed 0, a WebSocket, and an active session bound to it."""
    emulator = start(speed=0)
    socket, connection_id = emulator.greeted()
    session = emulator.sdk.create_capture_session("user-1", ws_connection_id=connection_id)
    token = emulator.sdk.generate_client_token()
    body = {"session_id": session.id, "channels": CHANNELS}
    assert emulator.http("POST", "/capture/session/start", body, key=token)[0] == 200
    events = receive(socket, 3)
    assert [event["event"] for event in events] == [
        "capture_session.created",
        "capture_session.starting",
        "capture_session.active",
    ]
    session = emulator.sdk.get_capture_session(session.id)
    return emulator, socket, connection_id, session, token, events


def test_the_sdk_connects_and_receives_the_real_session_as_it_was_recorded(start):
    emulator = start(autoplay=True, speed=0)

    async def listen():
        async with emulator.sdk.connect_websocket() as socket:
            assert socket.connection_id
            received = []
            async for event in socket.receive():
                received.append(event)
                if event.get("event") == "capture_session.exported":
                    break
            return received

    received = asyncio.run(listen())
    assert len(received) == 159
    assert not any("unix_ts" in event for event in received)
    mic, display = emulator.sdk.get_collection().list_rtstreams()
    assert (mic.name, display.name) == ("mic:default", "display:1")
    assert mic.get_transcript()["total_count"] == 19
    (seen,) = display.list_scene_indexes()
    assert len(seen.get_scenes()["scenes"]) == 11
    (session,) = emulator.sdk.list_capture_sessions()
    assert (session.status, session.exported_video_id) == ("stopped", "m-019c2f7a")


def test_events_missed_while_disconnected_are_not_pushed_but_can_be_fetched(start, journal):
    line = b'{"ts":"t","unix_ts":%.1f,"channel":"transcript","rtstream_id":"r","data":{"text":"%d"}}'
    emulator = start(autoplay=True, replay=journal(*(line % (100 + n * 0.1, n) for n in range(6))))
    first, first_id = emulator.greeted()
    first.recv(timeout=PATIENCE)
    first.close()
    second, second_id = emulator.greeted()
    assert second_id != first_id
    emulator.until(lambda state: not state["replay"]["playing"])
    with pytest.raises(TimeoutError):
        second.recv(timeout=0)
    records = emulator.sdk.get_collection().get_rtstream("r").get_transcript()["transcription_records"]
    assert [record["text"] for record in records] == ["0", "1", "2", "3", "4", "5"]


def test_collections_are_listed_created_and_not_found(emulator):
    assert emulator.sdk.get_collection().id == "default"
    created = emulator.sdk.create_collection("Name", "Its purpose")
    assert [entry.id for entry in emulator.sdk.get_collections()] == ["default", created.id]
    with pytest.raises(InvalidRequestError, match="no collection 'nowhere'"):
        emulator.sdk.get_collection("nowhere")


def test_a_wrong_and_a_missing_key_are_refused(emulator):
    with pytest.raises(AuthenticationError, match="Invalid API key"):
        videodb.connect(api_key="sk-wrong", base_url=emulator.url).get_collection()
    status, _, answer = emulator.http("GET", "/collection", key=None)
    assert (status, answer["success"], answer["error_code"]) == (401, False, "UNAUTHORIZED")
    assert emulator.http("GET", "/", key=None)[2]["data"] == {"service": "VideoDB Server"}


def test_a_client_token_is_valid_only_for_the_capture_calls(active):
    emulator, _, _, session, token, _ = active
    status, _, answer = emulator.http("GET", f"/capture/session/{session.id}", key=token)
    assert status == 200
    assert [channel["channel_id"] for channel in answer["data"]["channels"]] == ["mic:default", "display:1"]
    assert emulator.http("GET", "/collection/default", key=token)[0] == 401
    assert emulator.http("POST", "/capture/session/token", {}, key=token)[0] == 401


def test_a_session_goes_from_created_to_exported(active):
    emulator, socket, _, session, token, events = active
    assert events[2]["data"]["rtstreams"] == [
        {"rtstream_id": stream.id, "name": stream.name, "media_types": [kind]}
        for stream, kind in zip(session.rtstreams, ("audio", "video"), strict=True)
    ]
    assert session.status == "active"
    assert [channel.name for channel in session.displays] == ["Screen"]
    assert session.primary_video_channel_id == "display:1"
    assert emulator.http("POST", f"/capture/session/{session.id}/stop", key=token)[0] == 200
    stopping, stopped, exported = receive(socket, 3)
    assert (stopping["status"], stopped["status"], exported["status"]) == ("stopping", "stopped", "exported")
    assert set(exported["data"]) == {"exported_video_id", "stream_url", "player_url"}
    (session,) = emulator.sdk.list_capture_sessions(status="stopped")
    assert session.export()["video_id"] == exported["data"]["exported_video_id"]
    assert {stream.status for stream in session.rtstreams} == {"stopped"}


@pytest.mark.long
def test_an_export_is_pending_and_then_exported(active):
    emulator, socket, connection_id, session, _, _ = active
    other, other_id = emulator.greeted()
    assert (session.export_status, session.exported_video_id) == (None, None)
    emulator.control("faults", export={"mode": "late", "seconds": patient(2)})
    emulator.http("POST", f"/capture/session/{session.id}/stop")
    assert [event["status"] for event in receive(socket, 2)] == ["stopping", "stopped"]
    for listener_id in (connection_id, other_id):
        pending = session.export(ws_connection_id=listener_id)
        assert pending == {
            "session_id": session.id,
            "video_channel_id": "display:1",
            "export_status": "exporting",
        }
    assert emulator.sdk.get_capture_session(session.id).export_status == "exporting"
    (exported,) = receive(socket, 1)
    assert receive(other, 1) == [exported]
    done = session.export()
    assert done["export_status"] == "exported"
    urls = {key: done[key] for key in ("stream_url", "player_url")}
    assert exported["data"] == {"exported_video_id": done["video_id"], **urls}
    session = emulator.sdk.get_capture_session(session.id)
    assert (session.export_status, session.exported_video_id) == ("exported", done["video_id"])
    assert session.export(ws_connection_id=other_id)["video_id"] == done["video_id"]
    assert receive(other, 1) == [exported]
    # The session's own connection got the event once, though it asked as well.
    with pytest.raises(TimeoutError):
        socket.recv(timeout=0)


def test_asking_for_an_export_begins_one_if_there_is_none(start, journal):
    stored = '{"rtstream_id":"r","name":"display:1","media_types":["video"]}'
    event = '{"ts":"t","unix_ts":%d,"event":"capture_session.%s","capture_session_id":"cap-1","data":%s}'
    lines = (event % (1, "active", f'{{"rtstreams":[{stored}]}}'), event % (2, "stopped", "{}"))
    emulator = start(speed=0, replay=journal(*(line.encode() for line in lines)))
    socket, connection_id = emulator.greeted()
    emulator.control("replay", wait=True)
    receive(socket, 2)
    session = emulator.sdk.get_capture_session("cap-1")
    assert session.export(ws_connection_id=connection_id)["export_status"] == "exporting"
    assert receive(socket, 1)[0]["event"] == "capture_session.exported"
    assert session.export()["export_status"] == "exported"


def test_a_session_that_is_just_starting_is_stopped_with_the_api_key(emulator):
    emulator.control("faults", activation={"mode": "never"})
    socket, connection_id = emulator.greeted()
    session = emulator.sdk.create_capture_session("user", ws_connection_id=connection_id)
    emulator.http("POST", "/capture/session/start", {"session_id": session.id, "channels": CHANNELS})
    assert [event["status"] for event in receive(socket, 2)] == ["created", "starting"]
    assert emulator.http("POST", f"/capture/session/{session.id}/stop")[0] == 200
    assert [event["status"] for event in receive(socket, 3)] == ["stopping", "stopped", "exported"]


def test_a_session_that_stored_nothing_is_not_exported(emulator):
    socket, connection_id = emulator.greeted()
    session = emulator.sdk.create_capture_session("user", ws_connection_id=connection_id)
    body = {"session_id": session.id, "channels": [CHANNELS[0]]}
    emulator.http("POST", "/capture/session/start", body)
    receive(socket, 3)
    emulator.http("POST", f"/capture/session/{session.id}/stop")
    assert [event["status"] for event in receive(socket, 2)] == ["stopping", "stopped"]
    with pytest.raises(InvalidRequestError, match="nothing to export"):
        emulator.sdk.get_capture_session(session.id).export()


def test_transcripts_have_present_times_and_final_ones_are_kept(active):
    emulator, socket, connection_id, session, _, _ = active
    mic = session.rtstreams[0]
    assert mic.start_transcript(ws_connection_id=connection_id)["status"] == "running"
    events = receive(socket, 138)
    finals = [event["data"] for event in events if event["data"]["is_final"]]
    assert {(event["channel"], event["rtstream_id"]) for event in events} == {("transcript", mic.id)}
    assert len(finals) == 19
    now_ms = emulator.state["recent_requests"][-1]["unix_ts"] * 1000
    assert all(now_ms - 200_000 < data["start"] <= data["end"] <= now_ms + 1000 for data in finals)

    everything = mic.get_transcript()
    assert (everything["total_count"], everything["next_page"]) == (19, False)
    records = everything["transcription_records"]
    assert [record["text"] for record in records] == [data["text"] for data in finals]
    assert records[0]["start"] == pytest.approx(finals[0]["start"] / 1000)
    second_page = mic.get_transcript(page=2, page_size=8)
    assert (second_page["next_page"], second_page["transcription_records"]) == (True, records[8:16])
    between = mic.get_transcript(start=records[3]["start"], end=records[5]["start"])
    assert between["transcription_records"] == records[3:6]
    assert mic.get_transcript(since=records[16]["end"])["transcription_records"] == records[17:]
    assert mic.stop_transcript()["status"] == "stopped"
    assert emulator.http("GET", f"/rtstream/{mic.id}/transcription/status/")[2]["data"]["status"] == "stopped"


def test_a_closed_id_receives_nothing_and_the_records_are_kept(active):
    emulator, socket, connection_id, session, _, _ = active
    socket.close()
    emulator.until(lambda state: state["open"] == 0)
    other, _ = emulator.greeted()
    index = session.rtstreams[1].index_visuals(prompt="What is shown", ws_connection_id=connection_id)
    emulator.until(lambda state: state["totals"]["records"] == 11)
    with pytest.raises(TimeoutError):
        other.recv(timeout=0)
    assert len(index.get_scenes()["scenes"]) == 11


def test_indexes_are_played_paged_listed_stopped_and_prompted(active):
    _, socket, connection_id, session, _, _ = active
    mic, screen = session.rtstreams
    visual = screen.index_visuals(
        prompt="What is shown",
        name="Screen",
        ws_connection_id=connection_id,
        batch_config={"type": "time", "value": 10},
    )
    assert {event["channel"] for event in receive(socket, 11)} == {"visual_index"}
    audio = mic.index_audio(prompt="What is said", ws_connection_id=connection_id)
    assert {event["channel"] for event in receive(socket, 4)} == {"audio_index"}
    assert (visual.extraction_type, visual.status, visual.name) == ("time", "running", "Screen")
    assert audio.extraction_type == "transcript"
    page = visual.get_scenes(page=2, page_size=6)
    assert (len(page["scenes"]), page["next_page"]) == (5, False)
    scenes = visual.get_scenes()["scenes"]
    assert set(scenes[0]) == {"start", "end", "description"}
    some = visual.get_scenes(start=scenes[2]["start"], end=scenes[4]["start"])["scenes"]
    assert some == scenes[2:5]
    visual.stop()
    (listed,) = screen.list_scene_indexes()
    assert (listed.rtstream_index_id, listed.status) == (visual.rtstream_index_id, "stopped")
    visual.start()
    assert screen.get_scene_index(visual.rtstream_index_id).status == "running"
    assert screen.index_scenes(prompt="p").extraction_type == "time"
    assert mic.index_spoken_words(prompt="p").extraction_type == "transcript"


def test_alerts_fire_when_the_text_mentions_what_they_watch_for(start):
    emulator = start()
    # The clock stands still until the alert is there.
    emulator.control("clock", rate=1e-9, advance=86_400)
    socket, connection_id = emulator.greeted()
    stream = emulator.sdk.get_collection().connect_rtstream("rtsp://x", "screen:1", enable_transcript=False)
    index = stream.index_visuals(prompt="p")
    event_id = emulator.sdk.create_event("the latency is mentioned", "latency")
    assert emulator.sdk.list_events()[0]["label"] == "latency"
    alert_id = index.create_alert(event_id, "http://127.0.0.1:9", ws_connection_id=connection_id)
    emulator.control("clock", advance=3600)
    (alert,) = receive(socket, 1)
    assert (alert["channel"], alert["data"]["event_label"]) == ("alert", "latency")
    assert "latency" in alert["data"]["text"].lower()
    index.disable_alert(alert_id)
    assert index.list_alerts()[0]["status"] == "disabled"
    index.enable_alert(alert_id)
    path = f"/rtstream/{stream.id}/index/{index.rtstream_index_id}/alert/{alert_id}/status"
    assert emulator.http("PATCH", path, {"status": "disabled"})[0] == 200
    assert index.list_alerts()[0]["status"] == "disabled"


def test_a_stream_is_connected_listed_stopped_and_exported(emulator):
    collection = emulator.sdk.get_collection()
    stream = collection.connect_rtstream("rtsp://x/y", "Door", media_types=["video", "audio"], store=True)
    collection.connect_rtstream("rtsp://x/z", "Yard")
    assert [entry.name for entry in collection.list_rtstreams(name="door")] == ["Door"]
    assert [entry.name for entry in collection.list_rtstreams(limit=1, offset=1)] == ["Yard"]
    assert [entry.name for entry in collection.list_rtstreams(ordering="-name")] == ["Yard", "Door"]
    with pytest.raises(InvalidRequestError, match="has to be stored, and stopped"):
        stream.export()
    stream.stop()
    assert collection.get_rtstream(stream.id).status == "stopped"
    exported = stream.export(name="Recording")
    assert exported.name == "Recording"
    assert exported.video_id
    stream.start()
    assert collection.get_rtstream(stream.id).status == "connected"


def test_a_part_of_a_stream_has_urls(active):
    emulator, _, _, session, _, _ = active
    screen = session.rtstreams[1]
    player = screen.generate_stream(1_700_000_000, 1_700_000_060, {"title": "A minute", "slug": "minute"})
    assert player == screen.player_url
    assert screen.stream_url == f"https://stream.example/{screen.id}-1700000000-1700000060.m3u8"
    for query in (
        "",
        "start=1",
        "end=2",
        "start=2&end=2",
        "start=2&end=1",
        "start=x&end=2",
        "start=1&end=inf",
    ):
        status, _, answer = emulator.http("GET", f"/rtstream/{screen.id}/stream?{query}")
        assert (status, answer["error_code"]) == (400, "BAD_REQUEST")
        assert "Unix time" in answer["message"]
    assert emulator.http("GET", "/rtstream/rts-none/stream?start=1&end=2")[0] == 404


def test_the_records_of_a_stream_are_searched_by_words(start, journal):
    texts = ["A terminal shows the build", "The editor shows the BUILD failing", "A cat", "build"]
    seen = b'{"ts":"t","unix_ts":%d,"channel":"%s","rtstream_id":"r","rtstream_name":"display:1","data":%s}'
    lines = [
        seen
        % (n, b"visual_index", json.dumps({"text": text, "start": n * 1000, "end": n * 1000 + 1000}).encode())
        for n, text in enumerate(texts, 100)
    ]
    lines.append(seen % (105, b"transcript", b'{"text":"the build is failing"}'))
    emulator = start(speed=0, replay=journal(*lines))
    emulator.greeted()
    emulator.control("replay", wait=True)
    stream = emulator.sdk.get_collection().get_rtstream("r")
    (index,) = stream.list_scene_indexes()

    def search(query, **options):
        return [(shot.text, shot.search_score) for shot in stream.search(query, **options).shots]

    assert search("Is the build failing?") == [(texts[1], 1), (texts[0], 0.6667), (texts[3], 0.3333)]
    assert search("build failing", result_threshold=1) == [(texts[1], 1)]
    assert search("build failing", score_threshold=0.6) == [(texts[1], 1)]
    assert search("cat", index_id=index.rtstream_index_id) == [("A cat", 1)]
    assert search("a is") == []
    shot = stream.search("cat").shots[0]
    assert (shot.scene_index_id, shot.scene_index_name, shot.metadata) == (
        index.rtstream_index_id,
        index.name,
        {},
    )
    assert (shot.start, shot.end) == (102, 103)
    assert shot.generate_stream() == "https://stream.example/r-102-103.m3u8"
    path = "/rtstream/r/search"
    for body in (
        {},
        {"query": ""},
        {"query": "x", "result_threshold": 0},
        {"query": "x", "score_threshold": "y"},
    ):
        assert emulator.http("POST", path, body)[0] == 400
    assert emulator.http("POST", path, {"query": "x", "scene_index_id": "none"})[0] == 404


def test_an_understanding_keeps_records(active):
    emulator, _, _, session, _, _ = active
    screen = session.rtstreams[1]
    analyzers = [{"type": "vlm", "name": "scene", "config": {"prompt": "p"}}]
    created = screen.understand({"type": "time", "window": "10s"}, analyzers)
    emulator.until(lambda state: state["totals"]["records"] == 11)
    assert len(created.get_records(0, 2e9)["records"]) == 11
    assert created.get_records(0, 2e9, output="other")["records"] == []
    created.stop()
    assert screen.list_understanding()[0].status == created.refresh().status == "stopped"
    with pytest.raises(InvalidRequestError, match="exactly one analyzer"):
        screen.understand({}, [])


def test_starting_a_running_pipeline_does_not_rebind_it(active):
    emulator, _, connection_id, session, _, _ = active
    mic = session.rtstreams[0]
    mic.start_transcript(ws_connection_id=connection_id)
    other, other_id = emulator.greeted()
    mic.start_transcript(ws_connection_id=other_id)
    emulator.until(lambda state: state["totals"]["records"] == 19)
    with pytest.raises(TimeoutError):
        other.recv(timeout=0)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/collection/default/capture/session", {}, 400),
        ("POST", "/collection/default/capture/session", b"{", 400),
        ("POST", "/collection/default/capture/session", [1], 400),
        ("POST", "/collection/default/capture/session", {"end_user_id": 5}, 400),
        ("GET", "/collection/default/capture/session/cap-none", None, 404),
        ("POST", "/capture/session/start", {"session_id": "cap-none", "channels": [1]}, 404),
        ("POST", "/capture/session/cap-none/stop", None, 404),
        ("POST", "/capture/session/token", {"expires_in": -1}, 400),
        ("GET", "/rtstream/rts-none/", None, 404),
        ("POST", "/rtstream/", {}, 400),
        ("POST", "/rtstream", {"url": "u", "media_types": ["smell"]}, 400),
        ("GET", "/rtstream?limit=many", None, 400),
        ("POST", "/rtstream/event", {"label": "x"}, 400),
        ("GET", "/nowhere", None, 404),
        ("DELETE", "/collection/default", None, 405),
    ],
)
def test_invalid_requests_are_refused_with_a_message(emulator, method, path, body, status):
    code, _, answer = emulator.http(method, path, body)
    assert (code, answer["success"]) == (status, False)
    assert answer["message"]
    assert answer["error_code"]


def test_a_ticket_opens_one_websocket(emulator):
    url = emulator.websocket_url()
    with connect(url) as socket:
        assert set(json.loads(socket.recv(timeout=PATIENCE))) == {"connection_id"}
    for bad in (url, url.split("?", maxsplit=1)[0]):
        with pytest.raises(InvalidStatus) as refused, connect(bad):
            pass
        assert refused.value.response.status_code == 403


def test_a_client_can_close_its_websocket(emulator):
    socket, connection_id = emulator.greeted()
    socket.send("anything")
    socket.close(4000)
    state = emulator.until(lambda state: state["open"] == 0)
    (connection,) = state["connections"]
    assert (connection["connection_id"], connection["frames_received"]) == (connection_id, 1)
    with pytest.raises(ConnectionClosed):
        socket.recv()
