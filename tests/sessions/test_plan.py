"""What is chosen to be recorded and made of it: choices alone, so every case can be written down."""

import contextlib
import json
import string

import pytest
from hypothesis import given, strategies as st

from vdbevents.capture import selection
from vdbevents.capture.selection import WantedChannels, choose, parse_kinds, parse_metadata
from vdbevents.errors import InputError
from vdbevents.events import lifecycle
from vdbevents.sessions import plan
from vdbevents.sessions.plan import (
    Batch,
    Channel,
    Choice,
    Pipeline,
    PipelineSettings,
    parse_alert,
    parse_batch,
    pipelines_for,
)
from vdbevents.sessions.progress import SessionTally

MIC = Channel("mic:default", "Built-in microphone", "mic")
USB = Channel("mic:usb", "USB microphone", "mic")
SYSTEM = Channel("system_audio:default", "System audio", "system_audio")
DISPLAY = Channel("display:1", "Built-in display", "display")
SECOND = Channel("screen:2", "Second display", "display")
CAMERA = Channel("camera:0", "Camera", "camera")
EVERYTHING = [MIC, USB, SYSTEM, DISPLAY, SECOND, CAMERA]

HEARD = lifecycle.Stream("rts-mic", "mic:default", "mic", "audio")
SEEN = lifecycle.Stream("rts-display", "display:1", "screen", "video")
FILMED = lifecycle.Stream("rts-camera", "camera:0", "camera", "video")


def chosen_ids(wanted, available=EVERYTHING, denied=()):
    return [choice.channel.id for choice in choose(wanted, available, denied)[0]]


# Which channels


def test_by_default_the_first_channel_of_each_kind_is_recorded_and_stored():
    assert choose(WantedChannels(), EVERYTHING, []) == (
        [
            Choice(MIC, store=True, primary=False),
            Choice(SYSTEM, store=True, primary=False),
            Choice(DISPLAY, store=True, primary=True),
        ],
        [],
    )


def test_the_default_is_the_first_in_the_runtime_s_own_order():
    assert chosen_ids(WantedChannels(), [SECOND, USB, DISPLAY, MIC]) == ["mic:usb", "screen:2"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(WantedChannels(mic=False), ["system_audio:default", "display:1"], id="no microphone"),
        pytest.param(WantedChannels(system_audio=False), ["mic:default", "display:1"], id="no system audio"),
        pytest.param(
            WantedChannels(display="none"), ["mic:default", "system_audio:default"], id="no display"
        ),
        pytest.param(WantedChannels(mic=False, system_audio=False, display="none"), [], id="nothing"),
        pytest.param(
            WantedChannels(mic=False, system_audio=False, display="all"),
            ["display:1", "screen:2"],
            id="all displays",
        ),
        pytest.param(
            WantedChannels(mic=False, system_audio=False, display="screen:2"), ["screen:2"], id="whole id"
        ),
        pytest.param(
            WantedChannels(mic=False, system_audio=False, display="2"), ["screen:2"], id="without prefix"
        ),
        pytest.param(
            WantedChannels(mic_device="usb", system_audio=False, display="none"), ["mic:usb"], id="device"
        ),
        pytest.param(
            WantedChannels(mic_device="mic:usb", system_audio=False, display="none"),
            ["mic:usb"],
            id="device's id",
        ),
        pytest.param(
            WantedChannels(mic=False, mic_device="usb", system_audio=False, display="none"),
            [],
            id="device and no",
        ),
    ],
)
def test_only_channels_given_by_name_are_recorded(wanted, expected):
    chosen, remarks = choose(wanted, EVERYTHING, [])

    assert [choice.channel.id for choice in chosen] == expected
    assert remarks == []


def test_a_number_that_two_displays_share_selects_the_first():
    displays = [Channel("display:1", "A", "display"), Channel("screen:1", "B", "display")]

    assert chosen_ids(WantedChannels(display="1"), displays) == ["display:1"]


def test_of_all_displays_only_the_first_is_the_primary_one():
    chosen, _ = choose(WantedChannels(display="all"), EVERYTHING, [])

    assert [choice.channel.id for choice in chosen if choice.primary] == ["display:1"]


def test_a_single_display_is_primary_wherever_it_is_listed():
    chosen, _ = choose(WantedChannels(mic=False, system_audio=False, display="2"), EVERYTHING, [])

    assert chosen == [Choice(SECOND, store=True, primary=True)]


@pytest.mark.parametrize("stored", [[], ["mic"], ["display"], ["mic", "system_audio"]])
def test_only_the_stored_kinds_are_marked(stored):
    chosen, _ = choose(WantedChannels(stored=frozenset(stored)), EVERYTHING, [])

    assert [choice.channel.kind for choice in chosen if choice.store] == stored


@pytest.mark.parametrize(
    ("wanted", "available", "denied", "remarks"),
    [
        pytest.param(
            WantedChannels(),
            EVERYTHING,
            ["mic", "display"],
            [
                "microphone: permission denied, not recorded",
                "display: permission denied, not recorded",
            ],
            id="denied",
        ),
        pytest.param(
            WantedChannels(),
            [MIC, CAMERA],
            [],
            ["no system audio to record", "no display to record"],
            id="not there",
        ),
        pytest.param(
            WantedChannels(mic_device="bluetooth"), EVERYTHING, ["mic"],
            ["microphone: permission denied, not recorded"], id="denied and not there",
        ),
        pytest.param(WantedChannels(mic=False), EVERYTHING, ["mic"], [], id="denied and not asked for"),
    ],
)  # fmt: skip
def test_skipped_channels_are_reported_by_name(wanted, available, denied, remarks):
    assert choose(wanted, available, denied)[1] == remarks


@pytest.mark.parametrize(
    ("wanted", "available", "option", "hint"),
    [
        (WantedChannels(mic_device="bluetooth"), EVERYTHING, "--mic-device", "mic:default, mic:usb"),
        (WantedChannels(display="9"), EVERYTHING, "--display", "display:1, screen:2"),
        (WantedChannels(display="1"), [MIC], "--display", "vdbevents channels"),
        (WantedChannels(display="all"), [MIC], "--display", "vdbevents channels"),
    ],
)
def test_a_named_device_that_is_not_there_is_refused_with_those_that_are(wanted, available, option, hint):
    with pytest.raises(InputError) as refused:
        choose(wanted, available, [])

    assert refused.value.error_id == "device-unknown"
    assert refused.value.message.startswith(f"{option}: ")
    assert hint in refused.value.hint


names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=2)
kinds = st.sampled_from([*selection.KINDS, "camera"])
channels = st.builds(lambda kind, name: Channel(f"{kind}:{name}", name.upper(), kind), kinds, names)
selectors = st.none() | st.sampled_from(["all", "none", "", ":"]) | names | channels.map(lambda it: it.id)
wishes = st.builds(
    WantedChannels,
    mic=st.booleans(),
    system_audio=st.booleans(),
    mic_device=selectors,
    display=selectors,
    stored=st.frozensets(st.sampled_from(selection.KINDS)),
)


@given(wishes, st.lists(channels, unique_by=lambda it: it.id, max_size=8), st.frozensets(kinds))
def test_any_selection_takes_available_and_permitted_channels_once(wanted, available, denied):
    switches = {"mic": wanted.mic, "system_audio": wanted.system_audio, "display": wanted.display != "none"}
    asked = {kind for kind, is_asked in switches.items() if is_asked}
    try:
        chosen, remarks = choose(wanted, available, denied)
    except InputError:
        assert any(selection.named(wanted, kind) for kind in asked - denied)
        return

    ids = [choice.channel.id for choice in chosen]
    assert len(ids) == len(set(ids))
    assert all(choice.channel in available for choice in chosen)
    assert not {choice.channel.kind for choice in chosen} & denied
    assert all(choice.channel.kind != "camera" for choice in chosen)
    assert [choice.channel.kind for choice in chosen if choice.primary] in ([], ["display"])
    assert all(choice.store == (choice.channel.kind in wanted.stored) for choice in chosen)
    assert len(remarks) == len(asked - {choice.channel.kind for choice in chosen})


def test_a_channel_that_the_runtime_lists_twice_is_recorded_once():
    assert chosen_ids(WantedChannels(display="all"), [DISPLAY, DISPLAY]) == ["display:1"]


# Which pipelines


def test_audio_gets_a_transcript_and_an_index_and_video_an_index():
    pipelines = pipelines_for([HEARD, SEEN, FILMED], PipelineSettings())

    assert [(pipeline.kind, pipeline.stream.id) for pipeline in pipelines] == [
        ("transcript", "rts-mic"),
        ("audio_index", "rts-mic"),
        ("visual_index", "rts-display"),
        ("visual_index", "rts-camera"),
    ]
    assert {(pipeline.id, pipeline.ws_id, pipeline.status, pipeline.error) for pipeline in pipelines} == {
        ("", "", "starting", "")
    }


@pytest.mark.parametrize(
    ("settings", "kinds_started"),
    [
        (PipelineSettings(transcript=False), ["audio_index", "visual_index"]),
        (PipelineSettings(audio=False), ["transcript", "visual_index"]),
        (PipelineSettings(visual=False), ["transcript", "audio_index"]),
        (PipelineSettings(transcript=False, audio=False, visual=False), []),
    ],
)
def test_each_pipeline_can_be_switched_off_by_itself(settings, kinds_started):
    assert [pipeline.kind for pipeline in pipelines_for([HEARD, SEEN], settings)] == kinds_started


def test_settings_have_the_service_s_form():
    settings = PipelineSettings(
        engine="deepgram",
        audio_prompt="What is decided?",
        audio_batch=Batch("sentence", 5),
        visual_prompt="Which program?",
        visual_batch=Batch("time", 3, 2),
        model="large",
    )

    assert [pipeline.settings for pipeline in pipelines_for([HEARD, SEEN], settings)] == [
        {"engine": "deepgram"},
        {"prompt": "What is decided?", "batch": {"type": "sentence", "value": 5}, "model": "large"},
        {
            "prompt": "Which program?",
            "batch": {"type": "time", "value": 3, "frame_count": 2},
            "model": "large",
        },
    ]


def test_without_settings_the_documented_batches_are_used():
    settings = PipelineSettings(audio_prompt="What is said?", visual_prompt="What is shown?")

    assert [pipeline.settings for pipeline in pipelines_for([HEARD, SEEN], settings)] == [
        {"engine": None},
        {
            "prompt": "What is said?",
            "batch": {"type": "time", "value": 30},
            "model": None,
        },
        {
            "prompt": "What is shown?",
            "batch": {"type": "time", "value": 2, "frame_count": 5},
            "model": None,
        },
    ]


def test_without_streams_there_are_no_pipelines():
    assert pipelines_for([], PipelineSettings()) == []


def test_a_pipeline_that_is_starting_has_null_for_unknown_values():
    assert Pipeline("transcript", HEARD, {"engine": None}).to_dict() == {
        "kind": "transcript",
        "id": None,
        "stream_id": "rts-mic",
        "ws_id": None,
        "status": "starting",
        "error": None,
        "settings": {"engine": None},
        "alerts": [],
        "former": [],
        "bindings": 0,
    }


def test_a_pipeline_is_described_completely():
    alerts = {"deploy": "alert-1", "outage": "alert-2"}
    pipeline = Pipeline(
        "audio_index",
        HEARD,
        {"prompt": "?"},
        id="idx-1",
        ws_id="ws-1",
        status="failed",
        error="no",
        alerts=alerts,
        former=("idx-0",),
        bindings=2,
    )

    assert pipeline.title == "audio index of mic:default"
    assert pipeline.to_dict() == {
        "kind": "audio_index",
        "id": "idx-1",
        "stream_id": "rts-mic",
        "ws_id": "ws-1",
        "status": "failed",
        "error": "no",
        "settings": {"prompt": "?"},
        "alerts": [
            {"label": "deploy", "alert_id": "alert-1"},
            {"label": "outage", "alert_id": "alert-2"},
        ],
        "former": ["idx-0"],
        "bindings": 2,
    }


texts = st.text(max_size=5)
any_pipeline = st.builds(
    Pipeline,
    kind=st.sampled_from(["transcript", "audio_index", "visual_index"]),
    stream=st.just(HEARD),
    settings=st.dictionaries(texts, st.none() | texts | st.integers(), max_size=2),
    id=texts,
    ws_id=texts,
    status=st.sampled_from(["starting", "running", "failed", "stopped"]),
    error=texts,
    alerts=st.dictionaries(texts, texts, max_size=2),
    former=st.lists(texts, max_size=2).map(tuple),
    bindings=st.integers(0, 9),
)


@given(any_pipeline)
def test_a_pipeline_is_read_back_as_it_was_written(pipeline):
    entry = json.loads(json.dumps(pipeline.to_dict()))

    assert plan.pipeline_from(entry, {HEARD.id: HEARD}) == pipeline


def test_a_pipeline_of_an_older_capture_has_no_bindings():
    entry = Pipeline("transcript", HEARD, {}, ws_id="ws-1", status="running").to_dict()
    del entry["former"], entry["bindings"]

    pipeline = plan.pipeline_from(entry, {HEARD.id: HEARD})

    assert (pipeline.former, pipeline.bindings, pipeline.ws_id) == ((), 0, "ws-1")


@pytest.mark.parametrize(
    "changes", [{"kind": "dream"}, {"kind": None}, {"stream_id": "rts-other"}, {"stream_id": None}]
)
def test_a_pipeline_of_an_unknown_kind_or_stream_is_skipped(changes):
    entry = {**Pipeline("transcript", HEARD, {}).to_dict(), **changes}

    assert plan.pipeline_from(entry, {HEARD.id: HEARD}) is None


@pytest.mark.parametrize("wrong", [None, 5, True, "x", [], {}, [5], ["x"], [{}], [{"label": 5}]])
def test_a_pipeline_with_malformed_members_is_read(wrong):
    names = ["id", "ws_id", "status", "error", "settings", "alerts", "former", "bindings"]
    entry = {"kind": "transcript", "stream_id": HEARD.id, **dict.fromkeys(names, wrong)}

    pipeline = plan.pipeline_from(entry, {HEARD.id: HEARD})

    assert plan.pipeline_from(pipeline.to_dict(), {HEARD.id: HEARD}) == pipeline


@pytest.mark.parametrize(
    ("before", "after"),
    [("starting", "stopped"), ("running", "stopped"), ("failed", "failed"), ("stopped", "stopped")],
)
def test_a_pipeline_stops_with_its_session_unless_it_has_failed(before, after):
    pipeline = Pipeline("transcript", HEARD, {}, ws_id="ws-1", status=before)

    assert plan.mark_stopped(pipeline) == Pipeline("transcript", HEARD, {}, ws_id="ws-1", status=after)


# What is typed


@pytest.mark.parametrize(
    ("text", "batch"),
    [
        ("30s", Batch("time", 30)),
        ("1 second", Batch("time", 1)),
        ("30seconds", Batch("time", 30)),
        (" 30 S ", Batch("time", 30)),
        ("1word", Batch("word", 1)),
        ("50words", Batch("word", 50)),
        ("1sentence", Batch("sentence", 1)),
        ("5 Sentences", Batch("sentence", 5)),
        ("999999s", Batch("time", 999_999)),
    ],
)
def test_an_audio_batch_is_in_seconds_words_or_sentences(text, batch):
    assert parse_batch("--audio-batch", text) == batch


@pytest.mark.parametrize(("text", "seconds"), [("2s", 2), ("1second", 1), (" 10 seconds", 10)])
def test_a_visual_batch_is_in_seconds_and_has_frames(text, seconds):
    assert parse_batch("--visual-batch", text, frames=5) == Batch("time", seconds, 5)


NO_SPANS = ["", "30", "s", "0s", "-1s", "1.5s", "30 minutes", "1000000s", "30s 5", "words", "1e3s", "30\0s"]


@pytest.mark.parametrize("text", NO_SPANS)
def test_an_invalid_audio_batch_is_refused_with_the_option_and_examples(text):
    with pytest.raises(InputError) as raised:
        parse_batch("--audio-batch", text)
    assert raised.value.error_id == "batch-invalid"
    assert raised.value.message == f"--audio-batch: not a length, got {text!r}"
    assert "30s, 50words, 5sentences" in raised.value.hint


@pytest.mark.parametrize("text", [*NO_SPANS, "50words", "1word", "5sentences", "1sentence"])
def test_a_visual_batch_takes_only_seconds(text):
    with pytest.raises(InputError) as raised:
        parse_batch("--visual-batch", text, frames=5)
    assert raised.value.error_id == "batch-invalid"
    assert raised.value.message == f"--visual-batch: not a length, got {text!r}"
    assert "for example 2s" in raised.value.hint


spans = st.from_regex(r"\s*\d{0,8}\s*(s|seconds?|words?|sentences?|m)?\s*")


@given(st.text() | spans, st.none() | st.integers(1, 30))
def test_any_text_is_a_batch_or_an_input_error(text, frames):
    with contextlib.suppress(InputError):
        batch = parse_batch("--batch", text, frames=frames)

        assert batch.value >= 1
        assert batch.frames == frames
        assert frames is None or batch.kind == "time"


@pytest.mark.parametrize(
    ("text", "alert"),
    [
        ("deploy=a deployment is mentioned", ("deploy", "a deployment is mentioned")),
        (" deploy = a = b ", ("deploy", "a = b")),
        (f"{'l' * 100}=x", ("l" * 100, "x")),
    ],
)
def test_an_alert_is_a_label_and_a_prompt(text, alert):
    assert parse_alert(text) == alert


@pytest.mark.parametrize("text", ["", "=", "deploy", "deploy=", "=x", " = ", "deploy= ", f"{'l' * 101}=x"])
def test_an_incomplete_alert_is_refused_with_an_example(text):
    with pytest.raises(InputError) as raised:
        parse_alert(text)
    assert raised.value.error_id == "alert-invalid"
    assert "--alert 'deploy=a deployment is mentioned'" in raised.value.hint


def test_a_very_long_alert_is_not_repeated_in_full():
    with pytest.raises(InputError) as raised:
        parse_alert("x" * 100_000)
    assert len(raised.value.message) < 200


@pytest.mark.parametrize(
    ("texts", "metadata"),
    [
        ([], {}),
        (["project=apollo", "team=red"], {"project": "apollo", "team": "red"}),
        ([" project = apollo 11 "], {"project": "apollo 11"}),
        (["formula=a=b"], {"formula": "a=b"}),
        (["empty="], {"empty": ""}),
    ],
)
def test_metadata_is_keys_and_values(texts, metadata):
    assert parse_metadata(texts) == metadata


@pytest.mark.parametrize(
    ("texts", "error_id", "value"),
    [
        (["apollo"], "metadata-invalid", "'apollo'"),
        (["=apollo"], "metadata-invalid", "'=apollo'"),
        (["a=1", "b"], "metadata-invalid", "'b'"),
        (["a=1", " a =2"], "metadata-repeated", "'a'"),
    ],
)
def test_metadata_without_a_key_or_with_a_repeated_key_is_refused(texts, error_id, value):
    with pytest.raises(InputError, match=f"^--metadata: .*{value}") as raised:
        parse_metadata(texts)
    assert raised.value.error_id == error_id
    assert raised.value.hint


@pytest.mark.parametrize(
    ("store", "no_store", "expected"),
    [
        ([], [], {"mic", "system_audio", "display"}),
        (["mic"], [], {"mic"}),
        (["all"], [], {"mic", "system_audio", "display"}),
        ([], ["display"], {"mic", "system_audio"}),
        (["mic", "display"], ["display"], {"mic"}),
        ([], ["all"], set()),
        (["mic"], ["mic"], set()),
        ([" System-Audio ", "DISPLAY"], [], {"system_audio", "display"}),
        (["system_audio"], [], {"system_audio"}),
    ],
)
def test_stored_kinds_are_those_named_or_all_but_those_excluded(store, no_store, expected):
    assert parse_kinds(store, no_store) == expected


@pytest.mark.parametrize(
    ("store", "no_store", "option", "value"),
    [
        (["screen"], [], "--store", "'screen'"),
        ([], [""], "--no-store", "''"),
        (["camera"], ["mic"], "--store", "'camera'"),
    ],
)
def test_an_unknown_kind_is_refused_with_its_option(store, no_store, option, value):
    with pytest.raises(InputError, match=f"^{option}: .*{value}$") as raised:
        parse_kinds(store, no_store)
    assert raised.value.error_id == "channel-kind-invalid"
    assert all(kind in raised.value.hint for kind in ("mic", "system-audio", "display", "all"))


# What came of it


def event_of(channel, stream_id, text=None, key="rtstream_id"):
    return {"channel": channel, key: stream_id, "data": {"text": text}}


@pytest.fixture
def tally():
    one = SessionTally()
    one.expect([HEARD, SEEN])
    return one


def test_events_of_the_session_s_streams_are_counted_by_channel(tally):
    for event in (
        event_of("transcript", "rts-mic", "Hello"),
        event_of("transcript", "rts-mic", "Hello there", key="rtstreamId"),
        event_of("scene_index", "rts-display", "An editor"),
        event_of("audio_index", "rts-mic", "A greeting"),
        event_of("alert", "rts-mic", "A deployment"),
    ):
        tally.take(event, "cap-1")

    assert tally.counts == {"transcript": 2, "visual_index": 1, "audio_index": 1, "alert": 1}
    assert tally.heard == "Hello there"
    assert tally.seen == "An editor"


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(event_of("transcript", "rts-other", "Elsewhere"), id="another stream"),
        pytest.param({"channel": "transcript", "data": {"text": "Nowhere"}}, id="no stream"),
        pytest.param({"channel": "vdbevents", "event": "listener.connected", "data": {}}, id="the recorder"),
        pytest.param(
            {"event": "capture_session.active", "capture_session_id": "cap-2"}, id="another session"
        ),
        pytest.param({"event": "capture_session.active", "data": {}}, id="no session"),
        pytest.param({"raw": "rts-mic"}, id="raw"),
    ],
)
def test_events_of_another_session_are_not_counted(tally, event):
    tally.take(event, "cap-1")

    assert (tally.counts, tally.heard, tally.seen) == ({}, "", "")


@pytest.mark.parametrize(
    "event",
    [
        {"event": "capture_session.stopped", "capture_session_id": "cap-1"},
        {"type": "capture_session.stopped", "data": {"session_id": "cap-1"}},
        {"channel": "capture_session", "status": "stopped", "session_id": "cap-1"},
    ],
)
def test_the_session_s_own_events_are_counted(tally, event):
    tally.take(event, "cap-1")

    assert tally.counts == {"capture_session": 1}


def test_before_the_streams_are_known_only_the_session_s_own_events_are_counted():
    tally = SessionTally()
    tally.take(event_of("transcript", "rts-mic", "early"), "cap-1")
    tally.take({"event": "capture_session.starting", "capture_session_id": "cap-1"}, "cap-1")

    assert tally.counts == {"capture_session": 1}


def test_an_event_without_text_is_counted_and_keeps_the_last_texts(tally):
    for event in (
        event_of("transcript", "rts-mic", "Hello"),
        event_of("visual_index", "rts-display", "An editor"),
        event_of("transcript", "rts-mic", " "),
        event_of("visual_index", "rts-display"),
    ):
        tally.take(event, "cap-1")

    assert tally.counts == {"transcript": 2, "visual_index": 2}
    assert (tally.heard, tally.seen) == ("Hello", "An editor")


@pytest.mark.parametrize("stream_id", [["rts-mic"], {"id": "rts-mic"}])
def test_a_stream_id_that_is_not_a_text_matches_no_stream(tally, stream_id):
    tally.take(event_of("transcript", stream_id, "?"), "cap-1")

    assert tally.counts == {}


def test_without_a_session_an_event_without_a_session_is_not_counted():
    tally = SessionTally()
    tally.take({"event": "capture_session.active", "data": {}}, "")

    assert tally.counts == {}
