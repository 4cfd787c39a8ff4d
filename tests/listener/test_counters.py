"""What arrives together is counted as if each event had arrived by itself."""

from dataclasses import asdict

from hypothesis import given, strategies as st

from vdbevents.events.envelope import Record
from vdbevents.listener.counters import ListenerCounts
from vdbevents.listener.protocol import Moment

IDS = st.sampled_from(["rts-1", "rts-2", "", "x" * 300, 7, None, ["rts-1"]])
CHANNELS = st.sampled_from(
    [
        *(
            "transcript",
            "visual_index",
            "audio_index",
            "scene_index",
            "alert",
            "capture_session",
            "vdbevents",
            "",
        )
    ]
)


@st.composite
def events(draw):
    event = {"channel": draw(CHANNELS)}
    for name in draw(st.sets(st.sampled_from(["rtstream_id", "rtstreamId", "session_id", "backfilled"]))):
        event[name] = draw(IDS)
    if event["channel"] == "capture_session":
        event["event"] = f"capture_session.{draw(st.sampled_from(['active', 'stopped', 'failed']))}"
    return event


def record(event):
    return Record(b"", event)


def counted(batches, note):
    counts = ListenerCounts()
    noted = [
        note(counts, [record(event) for event in batch], Moment(float(second), second * 1000))
        for second, batch in enumerate(batches)
    ]
    told = asdict(counts)
    return noted, told, [list(told[name]) for name in ("channels", "last_seen", "last_live_ms")]


def one_by_one(counts, records, now):
    return [counts.note(each, now) for each in records]


@given(st.lists(st.lists(events(), max_size=12), max_size=4))
def test_a_batch_is_counted_as_its_events_are_one_by_one(batches):
    assert counted(batches, ListenerCounts.note_all)[:2] == counted(batches, one_by_one)[:2]


def test_the_limits_hold_within_a_batch_too():
    streams = [[{"channel": "transcript", "rtstream_id": f"rts-{n}"} for n in range(500)]] * 2
    channels = [
        [{"channel": f"kind-{n % 150}"} for n in range(300)],
        [{"channel": "kind-149"}, {"channel": "kind-1"}],
    ]

    for batches in (streams, channels):
        assert counted(batches, ListenerCounts.note_all) == counted(batches, one_by_one)
