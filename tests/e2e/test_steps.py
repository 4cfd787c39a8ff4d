"""Capture sessions step by step, as scripts and agents take the steps: the real program and a real server."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from support.patience import PATIENCE, patient
from support.processes import KEY, ServiceInThread, assert_failed, eventually, run

CHANNELS = [
    {"channel_id": "mic:default", "channel_name": "Microphone", "type": "audio", "store": True},
    {"channel_id": "display:1", "channel_name": "Screen", "type": "video", "store": True, "is_primary": True},
]


def api(service, method, path, body=None, key=KEY):
    """What the service answers to a request that has to succeed."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(service.url + path, content, {"x-access-token": key}, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer).get("data")


def told(service, session_id, collection="default"):
    return api(service, "GET", f"/collection/{collection}/capture/session/{session_id}")


@pytest.fixture
def service(started):
    return started(ServiceInThread())


@pytest.fixture
def environ(environ, service, state):
    """That of a user whose service is the emulator, and whose recordings are in `state`."""
    return {**environ, **service.environ, "VIDEODB_EVENTS_DIR": str(state.path)}


@pytest.fixture
def call(environ, tmp_path):
    """Runs a command in an empty directory: `call("session", "list")`."""
    return lambda *arguments, **options: run(arguments, environ, cwd=tmp_path, **options)


@pytest.fixture
def ask(call):
    """Runs a command that has to succeed, and answers with the JSON that it prints."""

    def done(*arguments):
        ended = call(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return done


@pytest.fixture
def record(service, state):
    """Starts a session as the capture runtime does, says that it is the captured one, and gives its id."""

    def start(collection="default", *, captured=True, metadata=None):
        body = {"end_user_id": "ada", "metadata": metadata or {}}
        session = api(service, "POST", f"/collection/{collection}/capture/session", body)
        token = api(service, "POST", "/capture/session/token", {})["token"]
        body = {"session_id": session["session_id"], "channels": CHANNELS}
        api(service, "POST", "/capture/session/start", body, token)
        eventually(lambda: told(service, session["session_id"], collection)["status"] == "active")
        if captured:
            info = {"session": {"id": session["session_id"], "collection_id": collection}}
            state.capture_info.write_text(json.dumps(info))
        return session["session_id"]

    return start


@pytest.fixture
def streams(service, record):
    """The ids of the microphone's and the screen's stream of a captured session."""
    return tuple(stream["rtstream_id"] for stream in told(service, record())["rtstreams"])


def index(service, stream_id, kind="time", prompt="What is on screen?"):
    body = {"extraction_type": kind, "prompt": prompt, "name": f"{kind} of {stream_id}"}
    return api(service, "POST", f"/rtstream/{stream_id}/index/scene", body)["rtstream_index_id"]


def transcribe(service, stream_id):
    api(service, "POST", f"/rtstream/{stream_id}/transcription", {"action": "start"})


@pytest.fixture
def pipelines(service, streams):
    """A transcript and an index of each stream; the ids of the indexes."""
    mic, screen = streams
    transcribe(service, mic)
    return index(service, mic, "transcript", "What is said?"), index(service, screen)


def alerts_on(service, stream_id, index_id):
    return api(service, "GET", f"/rtstream/{stream_id}/index/{index_id}/alert")["alerts"]


# session create


def test_a_session_is_created_and_only_its_id_is_printed(call, service):
    ended = call("session", "create")

    assert ended.returncode == 0
    assert told(service, ended.stdout.removesuffix("\n"))["status"] == "created"
    assert "no events of this session will arrive" in ended.stderr
    assert "vdbevents listen" in ended.stderr


def test_a_created_session_is_printed_as_json(ask, service):
    found = ask(
        *("session", "create", "--ws-id", "ws-7", "--end-user-id", "ada"),
        *("--metadata", "project=atlas", "--metadata", "formula=a=b"),
    )
    session = told(service, found["session_id"])

    metadata = {"project": "atlas", "formula": "a=b"}
    assert found == {
        "session_id": session["session_id"],
        "status": "created",
        "collection_id": "default",
        "end_user_id": "ada",
        "ws_id": "ws-7",
        "metadata": metadata,
    }
    assert session["ws_connection_id"] == "ws-7"
    assert session["metadata"] == metadata


def test_a_shell_can_capture_the_id_of_a_new_session(environ, service):
    reads = "import json, sys; print(json.load(sys.stdin)['session_id'])"
    script = f"id=$('{sys.executable}' -m vdbevents session create --json | '{sys.executable}' -c \"$1\")\n"
    command = ["sh", "-c", script + 'printf "%s" "$id"', "sh", reads]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=PATIENCE)

    assert told(service, ended.stdout)["status"] == "created"


def test_the_end_user_defaults_to_the_user_at_this_host(ask, environ):
    environ["LOGNAME"] = "grace"

    assert ask("session", "create", "--ws-id", "ws-7")["end_user_id"].startswith("grace@")


def test_a_session_is_bound_to_the_listener_of_the_directory(call, listen, state):
    ws_id = listen().connected()
    ended = call("session", "create", state.path, "--json")

    assert json.loads(ended.stdout)["ws_id"] == ws_id
    assert ended.stderr == ""


def test_the_id_that_a_listener_left_behind_is_not_used(call, state):
    state.ws_id.write_text("ws-of-yesterday")
    ended = call("session", "create", "--json")

    assert json.loads(ended.stdout)["ws_id"] is None
    assert "no listener is connected" in ended.stderr


@pytest.mark.parametrize("metadata", ["project", "=atlas", ""])
def test_metadata_that_is_not_a_pair_is_bad_input(call, service, metadata):
    refused = call("session", "create", "--metadata", metadata)

    assert_failed(refused, 2, repr(metadata), "--metadata project=", error_id="metadata-invalid")
    assert service.state["totals"]["sessions"] == 0


def test_a_key_of_the_metadata_that_comes_twice_is_bad_input(call):
    assert_failed(
        call("session", "create", "--metadata", "a=1", "--metadata", "a=2"),
        2,
        "'a'",
        error_id="metadata-repeated",
    )


def test_a_collection_that_does_not_exist_is_refused_in_the_services_words(call):
    assert_failed(call("session", "create", "--collection", "c-no"), 4, "create a capture session", "c-no")


# session list, show, and which session is meant


def test_sessions_are_listed_by_status(ask, call, record):
    created = call("session", "create").stdout.strip()
    active = record()

    assert [one["session_id"] for one in ask("session", "list")] == [active, created]
    assert [one["session_id"] for one in ask("session", "list", "--status", "active")] == [active]
    assert call("session", "list", "--status", "created").stdout.split()[:2] == [created, "created"]


def test_a_collection_without_sessions_exits_with_1(call):
    ended = call("session", "list", "--json")

    assert ended.returncode == 1
    assert json.loads(ended.stdout) == []
    assert "vdbevents session create" in ended.stderr
    assert call("session", "list").stdout == ""


def test_the_captured_session_is_the_one_that_is_shown_unless_another_is_named(ask, call, record):
    captured, other = record(), call("session", "create").stdout.strip()
    found = ask("session", "show")

    assert found["session_id"] == captured
    assert found["status"] == "active"
    assert [(one["name"], one["source"], one["media"]) for one in found["streams"]] == [
        ("mic:default", "mic", "audio"),
        ("display:1", "screen", "video"),
    ]
    assert ask("session", "show", other)["status"] == "created"


def test_the_collection_of_the_captured_session_is_known(ask, call, record, service):
    body = {"name": "other", "description": "another one"}
    collection = api(service, "POST", "/collection", body)["id"]
    session = record(collection)
    elsewhere = record(collection, captured=False)

    assert ask("session", "show")["collection_id"] == collection
    assert ask("session", "show", session)["collection_id"] == collection
    assert ask("session", "show", elsewhere, "--collection", collection)["session_id"] == elsewhere
    assert_failed(call("session", "show", elsewhere), 4, elsewhere)


def test_a_directory_can_be_named(ask, record, state, environ, tmp_path):
    session = record()
    environ["VIDEODB_EVENTS_DIR"] = str(tmp_path / "elsewhere")

    assert ask("session", "show", "--dir", state.path)["session_id"] == session


@pytest.mark.parametrize(
    "command",
    [
        ("session", "show"),
        ("session", "end"),
        ("session", "export"),
        ("streams",),
        ("pipelines", "list"),
        ("pipelines", "stop"),
        ("alerts", "create", "a=b"),
        ("alerts", "list"),
        ("alerts", "enable", "alert-1"),
        ("clip", "--at", "@1"),
        ("search", "x"),
    ],
    ids=" ".join,
)
def test_without_a_session_there_is_a_hint(call, command):
    assert_failed(call(*command), 2, "vdbevents session list", "--session", error_id="session-not-given")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"session": 7}', '{"session": {"id": 7}}'])
def test_an_info_file_without_a_session_counts_as_none(call, state, content):
    state.capture_info.write_text(content)

    assert_failed(call("session", "show"), 2, error_id="session-not-given")


def test_text_of_the_service_does_not_reach_the_terminal_unescaped(call, record):
    record(metadata={"title": "\x1b[31mred\x07"})
    ended = call("session", "show")

    assert "metadata.title  ␛[31mred␇" in ended.stdout
    assert "\x1b" not in call("session", "show", "--json").stdout


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_hostile_status_file_does_not_reach_the_terminal_unescaped(call, environ, state, form):
    environ.update(PYTHONIOENCODING="ascii", COLUMNS="80")
    state.listener_status.write_text(json.dumps({"last_error": "\x9b31m ü \ud800"}))
    ended = call("status", *form)

    assert (ended.returncode, ended.stderr) == (3, "")
    assert ended.stdout.isascii()
    assert "31m" in ended.stdout


# session end


def test_a_session_is_ended_and_waited_for(ask, record, service):
    session = record()

    assert ask("session", "end")["status"] == "stopped"
    assert told(service, session)["status"] == "stopped"


def test_ending_an_ended_session_is_a_no_op(call, record, service):
    session = record()
    assert call("session", "end").returncode == 0
    assert call("session", "end", session).returncode == 0
    assert service.state["requests"][f"POST /capture/session/{session}/stop"] == 1


def test_it_need_not_be_waited_for(ask, record):
    record()

    assert ask("session", "end", "--no-wait")["status"] == "stopping"


def test_a_session_that_was_never_started_cannot_be_ended(call):
    session = call("session", "create").stdout.strip()

    assert_failed(call("session", "end", session), 4, session, "never started")


def test_a_failed_session_is_shown_with_its_reason(call, service):
    session = call("session", "create").stdout.strip()
    service.fault(activation={"mode": "failed", "error": "no credit"})
    api(service, "POST", "/capture/session/start", {"session_id": session, "channels": CHANNELS})
    eventually(lambda: told(service, session)["status"] == "failed")
    ended = call("session", "end", session, "--json")

    assert_failed(ended, 6, session, "failed")
    assert json.loads(ended.stdout)["status"] == "failed"


# session export


def test_an_export_is_waited_for_and_its_addresses_are_printed(ask, call, record, service):
    session = record()
    service.fault(export={"mode": "late", "seconds": 1})
    ask("session", "end")
    found = ask("session", "export")
    shown = dict(line.split() for line in call("session", "export", session).stdout.splitlines())

    assert found == {"session_id": session, "status": "exported", **shown}
    assert told(service, session)["exported_video_id"] == shown["video_id"]
    assert shown["stream_url"].startswith("https://")
    assert shown["player_url"].startswith("https://")


def test_an_export_that_failed_is_a_capture_that_failed(call, record, service):
    session = record()
    service.fault(export={"mode": "failed"})
    call("session", "end")

    assert_failed(call("session", "export"), 6, session, error_id="export-failed")


def test_an_export_that_never_ends_ends_with_the_time_limit(call, record, service):
    record()
    service.fault(export={"mode": "never"})
    call("session", "end")
    ended = call("session", "export", "--timeout", 5)

    assert_failed(ended, 6, "after 5 s", "--timeout", error_id="export-timeout")
    assert ended.stdout == ""


def test_a_session_that_still_records_cannot_be_exported(call, record):
    record()

    assert_failed(call("session", "export"), 4, "export the session", "active")


# token


def test_the_token_alone_is_printed_and_is_good_for_the_runtime(call, service):
    session = call("session", "create").stdout.strip()
    token = call("token").stdout.removesuffix("\n")
    body = {"session_id": session, "channels": CHANNELS}

    assert api(service, "POST", "/capture/session/start", body, token)["status"] == "starting"


def test_a_token_is_good_for_as_long_as_is_asked(ask):
    before = datetime.now(UTC)
    found = ask("token", "--ttl", "90s")
    after = datetime.now(UTC)

    assert set(found) == {"token", "expires"}
    made = datetime.fromisoformat(found["expires"]) - timedelta(seconds=90)
    assert before - timedelta(seconds=1) <= made <= after + timedelta(seconds=1)


@pytest.mark.parametrize("ttl", ["soon", "24", "0s", "59s", "1000w"])
def test_an_invalid_token_lifetime_is_bad_input(call, ttl):
    error_id = {"59s": "token-ttl-short", "1000w": "token-ttl-long"}.get(ttl, "duration-invalid")
    assert_failed(call("token", "--token-ttl", ttl), 2, "--token-ttl", ttl, error_id=error_id)


# streams


def test_the_streams_of_a_session_are_listed(ask, call, streams):
    mic, screen = streams

    assert ask("streams") == [
        {"id": mic, "name": "mic:default", "source": "mic", "media": "audio"},
        {"id": screen, "name": "display:1", "source": "screen", "media": "video"},
    ]
    assert [line.split() for line in call("streams").stdout.splitlines()] == [
        [mic, "mic:default", "mic", "audio"],
        [screen, "display:1", "screen", "video"],
    ]


def test_a_session_without_streams_has_none_yet(call):
    session = call("session", "create").stdout.strip()
    ended = call("streams", session, "--json")

    assert ended.returncode == 1
    assert json.loads(ended.stdout) == []
    assert "has not started: no streams yet" in ended.stderr


# pipelines


def statuses(service):
    return {one["id"]: one["status"] for one in service.state["pipelines"]}


def test_the_pipelines_of_a_session_are_started_with_their_settings(ask, service, streams, listen):
    mic, screen = streams
    ws_id = listen().connected()
    rows = ask("pipelines", "start", "--audio-every", "50words", "--visual-prompt", "Which program?")

    assert [(row["stream_id"], row["kind"], row["status"]) for row in rows] == [
        (mic, "transcript", "running"),
        (mic, "audio_index", "running"),
        (screen, "visual_index", "running"),
    ]
    assert {it["ws_connection_id"] for it in service.state["pipelines"]} == {ws_id}
    made = api(service, "GET", f"/rtstream/{screen}/index/scene")["scene_indexes"]
    assert [(it["rtstream_index_id"], it["prompt"]) for it in made] == [(rows[2]["id"], "Which program?")]
    heard = api(service, "GET", f"/rtstream/{mic}/index/scene")["scene_indexes"]
    assert heard[0]["extraction_config"] == {"segmenter": "word", "segmentation_value": 50}


def test_only_wanted_pipelines_start_with_a_warning_without_a_listener(call, service, streams):
    ended = call("pipelines", "start", "--stream", "mic", "--no-index-audio")

    assert ended.returncode == 0
    assert [it["channel"] for it in service.state["pipelines"]] == ["transcript"]
    assert "no listener is connected" in ended.stderr


def test_without_a_matching_stream_nothing_is_started(call, service, streams):
    ended = call("pipelines", "start", "--stream", "screen", "--no-index-visuals")

    assert ended.returncode == 1
    assert service.state["pipelines"] == []


def test_a_pipeline_whose_answer_got_lost_is_not_started_twice(call, service, streams):
    service.fault(late={"seconds": 3600, "path": "/rtstream/*/index/scene", "method": "POST", "times": 1})
    ended = call("pipelines", "start", "--stream", "screen", "--timeout", 5)
    assert ended.returncode == 0, ended.stderr
    assert len(service.state["pipelines"]) == 1
    service.fault(http={"status": 500, "path": "/rtstream/*/index/scene", "method": "POST", "times": 1})
    again = call("pipelines", "start", "--stream", "screen")

    assert again.returncode == 0
    assert len(service.state["pipelines"]) == 2


def test_a_pipeline_is_started_with_its_alerts(ask, service, streams):
    _, screen = streams
    (row,) = ask("pipelines", "start", "--stream", "screen", "--alert", "bill=an invoice is shown")

    assert [alert["label"] for alert in alerts_on(service, screen, row["id"])] == ["bill"]


def test_a_pipeline_that_the_service_refuses_does_not_keep_the_others_from_it(call, service, streams):
    body = json.dumps({"success": False, "message": "There is no engine 'x'."})
    service.fault(http={"status": 400, "path": "/rtstream/*/transcription", "method": "POST", "body": body})
    ended = call("pipelines", "start", "--engine", "x")

    assert_failed(ended, 4, "There is no engine 'x'.")
    assert [it["channel"] for it in service.state["pipelines"]] == ["audio_index", "visual_index"]


def test_the_pipelines_of_a_session_are_listed(ask, call, streams, pipelines):
    (mic, screen), (spoken, shown) = streams, pipelines
    on_mic = {"stream_id": mic, "stream_name": "mic:default", "source": "mic"}
    on_screen = {"stream_id": screen, "stream_name": "display:1", "source": "screen"}

    assert ask("pipelines", "list") == [
        {**on_mic, "kind": "transcript", "id": None, "status": "running", "prompt": None},
        {**on_mic, "kind": "audio_index", "id": spoken, "status": "running", "prompt": "What is said?"},
        {
            **on_screen,
            "kind": "visual_index",
            "id": shown,
            "status": "running",
            "prompt": "What is on screen?",
        },
    ]
    lines = call("pipelines", "list").stdout.splitlines()
    assert lines[0].split() == ["mic:default", "transcript", "-", "running", "-"]
    assert lines[2].split() == ["display:1", "visual_index", shown, "running", "What", "is", "on", "screen?"]


def test_a_transcript_that_was_never_started_is_listed_as_such(ask, streams):
    (found,) = ask("pipelines", "list")

    assert (found["kind"], found["status"]) == ("transcript", "not_configured")


def test_all_of_a_session_is_stopped_and_said(ask, call, service, pipelines):
    found = ask("pipelines", "stop")

    assert [(one["kind"], one["status"]) for one in found] == [
        ("transcript", "stopped"),
        ("audio_index", "stopped"),
        ("visual_index", "stopped"),
    ]
    assert set(statuses(service).values()) == {"stopped"}
    again = call("pipelines", "stop")
    assert (again.returncode, again.stdout) == (1, "")
    assert "no pipeline is running" in again.stderr


@pytest.mark.parametrize("named", ["id", "display:1", "screen"])
def test_the_pipelines_of_one_stream_are_stopped(ask, service, streams, pipelines, named):
    stream = streams[1] if named == "id" else named
    stopped = [one["id"] for one in ask("pipelines", "stop", "--stream", stream)]

    assert stopped == [pipelines[1]]
    assert sorted(statuses(service).values()) == ["running", "running", "stopped"]


def test_one_index_is_stopped(call, service, pipelines):
    ended = call("pipelines", "stop", "--index", pipelines[0])

    assert ended.stdout.split()[:4] == ["mic:default", "audio_index", pipelines[0], "stopped"]
    assert [one for one, status in statuses(service).items() if status == "stopped"] == [pipelines[0]]


def test_a_stream_can_be_named_by_its_id_without_a_session(ask, service, state, streams, pipelines):
    state.capture_info.unlink()

    path = f"/rtstream/{streams[1]}/transcription/status"
    service.fault(http={"status": 400, "path": path})
    assert [one["id"] for one in ask("pipelines", "stop", "--stream", streams[1])] == [pipelines[1]]


def test_a_pipeline_that_does_not_stop_is_said_and_the_others_are_stopped(call, service, streams, pipelines):
    service.fault(http={"status": 500, "path": f"/rtstream/{streams[0]}/transcription", "method": "POST"})
    ended = call("pipelines", "stop", "--timeout", 3, "--json")

    assert_failed(ended, 5, f"stop the transcript of {streams[0]}", "500")
    assert [one["id"] for one in json.loads(ended.stdout)] == list(pipelines)
    assert sorted(statuses(service).values()) == ["running", "stopped", "stopped"]


def test_streams_and_indexes_that_there_are_not_are_named(call, record, streams, pipelines):
    session = record(captured=False)

    assert_failed(
        call("pipelines", "stop", "--stream", "camera"), 2, "camera", "mic:default", error_id="stream-missing"
    )
    assert_failed(
        call("pipelines", "stop", session, "--stream", streams[0]),
        2,
        streams[0],
        "display:1",
        error_id="stream-missing",
    )
    assert_failed(call("pipelines", "stop", "--stream", "rts-no"), 4, "rts-no")
    assert_failed(
        call("pipelines", "stop", "--index", "index-no"),
        2,
        "index-no",
        "vdbevents pipelines list",
        error_id="index-missing",
    )
    assert_failed(call("pipelines", "list", "cap-no"), 4, "cap-no")


# alerts


def test_an_alert_is_attached_to_every_index_once(ask, service, streams, pipelines):
    created = ask("alerts", "create", "invoice=an invoice = a bill", "--ws-id", "ws-7")
    again = ask("alerts", "create", "invoice=an invoice = a bill", "--ws-id", "ws-7")

    assert [(one["stream_id"], one["index_id"]) for one in created] == list(
        zip(streams, pipelines, strict=True)
    )
    assert {one["label"] for one in created} == {"invoice"}
    assert {one["prompt"] for one in created} == {"an invoice = a bill"}
    assert [one["created"] for one in created + again] == [True, True, False, False]
    assert [one["alert_id"] for one in again] == [one["alert_id"] for one in created]
    assert len(api(service, "GET", "/rtstream/event")["events"]) == 1
    assert [len(alerts_on(service, *each)) for each in zip(streams, pipelines, strict=True)] == [1, 1]


def test_an_event_with_another_prompt_is_another_event(ask, service, pipelines):
    first = ask("alerts", "create", "invoice=an invoice", "--index", pipelines[0])
    second = ask("alerts", "create", "invoice=a bill", "--index", pipelines[0])

    assert first[0]["event_id"] != second[0]["event_id"]
    assert first[0]["alert_id"] != second[0]["alert_id"]


def test_an_alert_is_attached_to_the_index_that_is_named(ask, service, streams, pipelines):
    (created,) = ask("alerts", "create", "invoice=an invoice", "--index", pipelines[1])

    assert created["index_id"] == pipelines[1]
    assert alerts_on(service, streams[0], pipelines[0]) == []


def test_creating_an_alert_without_a_listener_warns(call, listen, pipelines):
    assert "no events of the alert will arrive" in call("alerts", "create", "a=b").stderr
    assert call("alerts", "create", "a=b").stderr == "", "it was created before, bound to what it was"
    listen().connected()
    assert call("alerts", "create", "c=d").stderr == ""


def test_a_session_without_an_index_cannot_be_watched(call, service, streams):
    ended = call("alerts", "create", "invoice=an invoice")

    assert_failed(ended, 1, "no index", "vdbevents pipelines start")
    assert api(service, "GET", "/rtstream/event")["events"] == []


@pytest.mark.parametrize("wanted", ["invoice", "=an invoice", "invoice=", " = ", f"{'l' * 101}=x"])
def test_an_alert_without_a_label_or_a_prompt_is_bad_input(call, pipelines, wanted):
    hint = "vdbevents alerts create 'invoice="
    assert_failed(call("alerts", "create", wanted), 2, hint, error_id="alert-invalid")


def test_alerts_are_listed_disabled_and_enabled(ask, call, service, streams, pipelines):
    created = ask("alerts", "create", "invoice=an invoice") + ask("alerts", "create", "bill=a bill")
    listed = [{key: value for key, value in one.items() if key != "created"} for one in created]

    def by_id(rows):
        return sorted(rows, key=lambda row: row["alert_id"])

    assert by_id(ask("alerts", "list")) == by_id(listed)
    assert ask("alerts", "disable", listed[0]["alert_id"]) == [{**listed[0], "status": "disabled"}]
    assert len(ask("alerts", "disable", "--label", "bill")) == 2
    first, *others = by_id(ask("alerts", "list"))
    assert [one["status"] for one in (first, *others)].count("disabled") == 3
    assert "disabled" in call("alerts", "list").stdout
    assert "vdbevents alerts enable --label bill" in call("alerts", "create", "bill=a bill").stderr
    assert [one["status"] for one in ask("alerts", "enable", "--label", "bill")] == ["enabled", "enabled"]
    on_mic = alerts_on(service, streams[0], pipelines[0])
    assert sorted(one["status"] for one in on_mic) == ["disabled", "enabled"]


def test_which_alert_is_meant_has_to_be_said_once_and_has_to_exist(call, pipelines):
    assert_failed(call("alerts", "list"), 1, "no alerts", "vdbevents alerts create")
    assert_failed(call("alerts", "enable"), 2, "--label", error_id="alert-not-given")
    assert_failed(call("alerts", "enable", "alert-1", "--label", "x"), 2, error_id="alert-not-given")
    assert_failed(
        call("alerts", "disable", "alert-no"),
        2,
        "alert-no",
        "vdbevents alerts list",
        error_id="alert-missing",
    )
    assert_failed(
        call("alerts", "disable", "--label", "no"),
        2,
        "label no",
        "vdbevents alerts list",
        error_id="alert-missing",
    )
    assert_failed(
        call("alerts", "create", "a=b", "--index", "index-no"), 2, "index-no", error_id="index-missing"
    )


# What goes wrong with the service

REPEATABLE = [
    ("session", "create"),
    ("session", "list"),
    ("session", "show"),
    ("token",),
    ("streams",),
    ("pipelines", "list"),
    ("alerts", "create", "invoice=an invoice"),
    ("alerts", "list"),
    ("alerts", "disable", "--label", "known"),
]
ENDING = [("session", "end"), ("session", "end", "--no-wait"), ("pipelines", "stop")]


@pytest.fixture
def watched(ask, pipelines):
    """A session with pipelines and alerts."""
    ask("alerts", "create", "known=what is known")


@pytest.mark.parametrize("command", REPEATABLE, ids=" ".join)
def test_any_one_call_that_fails_for_a_passing_reason_is_made_again(call, service, watched, command):
    number = 0
    while True:
        service.fault(http={"status": 500, "times": 1, "skip": number})
        ended = call(*command)
        assert ended.returncode == 0, ended.stderr
        if "http" in service.state["faults"]:
            break
        number += 1
    assert number > 0


@pytest.mark.parametrize("command", ENDING, ids=" ".join)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_same_holds_for_what_can_be_done_once(call, service, watched, command, number):
    service.fault(http={"status": 503, "times": 1, "skip": number})

    assert call(*command).returncode == 0
    assert "http" not in service.state["faults"]


@pytest.mark.parametrize("command", [*REPEATABLE, *ENDING, ("session", "export")], ids=" ".join)
@pytest.mark.parametrize(
    "fault",
    # A busy machine needs some time for an answer, too.
    [("http", {"status": 500}, 3, "answered 500"), ("hang", {}, 1, "no answer in time")],
    ids=["500", "hang"],
)
def test_a_service_that_does_not_answer_ends_it_in_time(call, service, record, command, fault):
    name, options, seconds, said = fault
    record()
    service.fault(**{name: options})
    before = len(service.state["recent_requests"])
    ended = call(*command, "--timeout", seconds)
    over = time.time()

    assert_failed(ended, 5, "could not", said)
    assert ended.stdout == ""
    # How long a program takes to start says nothing of its limit.
    began = service.state["recent_requests"][before]["unix_ts"]
    assert over - began < patient(10), "not the 30 s that it has by default"


@pytest.mark.parametrize("command", [("session", "list"), ("session", "show"), ("token",)], ids=" ".join)
def test_a_call_that_is_never_answered_is_made_again_in_the_time_that_is_left(call, service, record, command):
    record()
    service.fault(hang={"times": 1})
    ended = call(*command, "--timeout", 10)

    assert ended.returncode == 0, ended.stderr
    assert "hang" not in service.state["faults"]


def test_a_service_that_is_not_there_is_unreachable(call, environ):
    environ["VIDEO_DB_API"] = "http://127.0.0.1:9"

    assert_failed(call("session", "list", "--timeout", 1), 5, "list the capture sessions", "refused")


@pytest.mark.parametrize("command", [*REPEATABLE, *ENDING, ("session", "export")], ids=" ".join)
def test_a_wrong_key_is_refused_at_once_and_never_shown(call, service, record, environ, command):
    record()
    environ["VIDEO_DB_API_KEY"] = "sk-wrong-and-secret"
    before = len(service.state["recent_requests"])
    ended = call(*command)

    assert_failed(ended, 4, "refused the API key (401)", "https://console.videodb.io")
    assert "secret" not in ended.stdout + ended.stderr
    made = [one["request"] for one in service.state["recent_requests"][before:]]
    assert len([one for one in made if "/emulator" not in one]) == 1


def test_the_key_may_stand_in_a_file(call, environ, tmp_path):
    del environ["VIDEO_DB_API_KEY"]
    assert_failed(call("token"), 4, "VIDEO_DB_API_KEY is not set")
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / ".env").write_text(f"VIDEO_DB_API_KEY={KEY}\n")

    assert call("token", "--cwd", tmp_path / "settings").returncode == 0
    assert call("token", "--env-file", tmp_path / "settings" / ".env").returncode == 0
    assert_failed(
        call("token", "--env-file", tmp_path / "nothing"), 2, "nothing", error_id="env-file-missing"
    )


@pytest.mark.parametrize("timeout", ["nan", "inf", "0", "soon"])
def test_an_invalid_timeout_is_bad_input(call, timeout):
    assert_failed(call("token", "--timeout", timeout), 2, "--timeout")


@pytest.mark.parametrize("timeout", ["nan", "inf"])
def test_to_wait_for_a_listener_without_an_end_is_bad_input(call, timeout):
    assert_failed(call("stop", "--timeout", timeout), 2, "--timeout", timeout, error_id="number-not-finite")


def test_ids_with_anything_in_them_stay_one_part_of_a_path(call, record):
    record()

    for wanted in ("a/../b", "a?b#c", "ü \x1b[31m"):
        ended = call("session", "show", "--session", wanted)
        assert_failed(ended, 4)
        assert "\x1b" not in ended.stderr


def test_a_reader_that_closes_the_pipe_is_not_an_error(environ, call):
    call("session", "create")
    read, write = os.pipe()
    os.close(read)
    ended = run(["session", "list"], environ, stdout=write, capture_output=False, stderr=subprocess.PIPE)
    os.close(write)

    assert ended.returncode == 0
    assert ended.stderr == ""


# channels


def test_the_channels_of_this_machine_are_listed(ask, call, service):
    kinds = [(channel["kind"], channel["id"]) for channel in ask("channels")]

    assert kinds == [
        ("mic", "mic:default"),
        ("mic", "mic:headset"),
        ("system_audio", "system_audio:default"),
        ("display", "display:1"),
        ("display", "display:2"),
        ("camera", "camera:1"),
    ]
    assert "display:1             Emulated Display 1" in call("channels").stdout
    assert service.state["runtime"] is None


@pytest.mark.parametrize(("fault", "said"), [("die_at", "exit code 9"), ("hang_at", "not answered in 5 s")])
def test_a_runtime_that_fails_leaves_nothing_behind(call, service, fault, said):
    service.fault(runtime={fault: "getChannels"})

    limit = ("--timeout", 5) if fault == "hang_at" else ()
    assert_failed(call("channels", *limit), 6, "could not list the channels", said)
    assert service.state["runtime"] is None


def test_a_machine_without_channels_exits_with_1(call, service):
    service.fault(runtime={"channels": []})

    assert call("channels").returncode == 1
