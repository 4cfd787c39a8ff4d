"""What the page asks for is answered from the journal: the timeline, what was said and shown, hits."""

import contextlib
import json
from datetime import UTC

import pytest

from vdbevents.errors import InputError
from vdbevents.query.cache import build, seal_policy
from vdbevents.query.filters import Filters
from vdbevents.query.merge import HostJournal
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.summaries.activity import By
from vdbevents.times import Window
from vdbevents.web import found_answers, page_downloads, reading_answers, session_videos
from vdbevents.web.exported_page import exported_page
from vdbevents.web.page_requests import AskedTime
from vdbevents.web.statistics_answers import statistics
from vdbevents.web.timeline_answers import MOST_SINGLE, timeline
from vdbevents.web.timeline_state import TimelineState

NOON = 1_772_449_200_000
MINUTE = 60_000
HOUR = 60 * MINUTE
NOW = NOON + 6 * HOUR
HOSTILE = "</script><script>alert(1)</script> <b>\u202e\u0000 & \u2028"


def event(at, channel, name, **data):
    return {
        "unix_ts": at / 1000,
        "channel": channel,
        "rtstream_name": name,
        "rtstream_id": f"rts-{name}",
        "data": data,
    }


def said(at, text, name="mic"):
    return event(at, "transcript", name, text=text, is_final=True, start=at, end=at + 2_000)


def shown(at, text, name="display:1", length=5_000):
    return event(at, "visual_index", name, text=text, start=at, end=at + length)


def step(at, name, session="cap-1"):
    return {
        "unix_ts": at / 1000,
        "event": f"capture_session.{name}",
        "capture_session_id": session,
        "data": {},
    }


def gap(since, until):
    times = {"since": _utc(since), "until": _utc(until)}
    data = {"id": "g", "status": "incomplete", "reason": "connection lost", **times}
    return {"unix_ts": until / 1000, "channel": "vdbevents", "event": "listener.gap", "data": data}


def _utc(at):
    from vdbevents.events.envelope import utc_text

    return utc_text(at)


DAY = [
    step(NOON, "active"),
    said(NOON + MINUTE, "shall we deploy the new release"),
    said(NOON + 2 * MINUTE, "yes we deploy after lunch", "system_audio"),
    shown(NOON + MINUTE, "[Slack] the channel of incidents and a long list of messages"),
    shown(NOON + MINUTE + 5_000, "[Slack] the channel of incidents and a long list of message"),
    shown(NOON + 3 * MINUTE, "[Editor] def main(): return deploy(release)"),
    event(NOON + 3 * MINUTE, "alert", "display:1", label="failed", text="a test failed"),
    step(NOON + 10 * MINUTE, "stopped"),
    gap(NOON + HOUR, NOON + 2 * HOUR),
    said(NOON + 3 * HOUR, HOSTILE),
]


@pytest.fixture
def opened(tmp_path):
    """Open journals of events; the newest content each time it is asked."""
    with contextlib.ExitStack() as stack:

        def start(*journals):
            found = []
            for number, events in enumerate(journals):
                path = tmp_path / f"host{number}" / "videodb_events.jsonl"
                path.parent.mkdir()
                write(path, events)
                found.append(HostJournal(f"host{number}", path, f"journal {number}"))
            journals = stack.enter_context(WarmJournals(lambda: contextlib.nullcontext(found), list, UTC))
            return stack.enter_context(TimelineState(journals))

        yield start


def write(path, events):
    path.write_text("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in events))


def look(state, since=NOON, until=NOON + 4 * HOUR, parts=100):
    return timeline(state, AskedTime(since, until), parts, NOW)


def counts_of(answer):
    return {
        (lane["kind"], lane["name"]): sum(count for _, count in lane["counts"]) for lane in answer["lanes"]
    }


@pytest.mark.parametrize("parts", [10, 1000], ids=["by minutes", "by seconds"])
def test_a_look_has_lanes_by_source_and_alerts_of_their_own(opened, parts):
    answer = look(opened(DAY), until=NOON + HOUR, parts=parts)

    assert counts_of(answer) == {
        ("mic", "mic"): 1,
        ("system_audio", "system_audio"): 1,
        ("screen", "display:1"): 3,
        ("alert", ""): 1,
    }
    assert answer["events"][0]["text"].startswith("shall we deploy")


@pytest.mark.parametrize("parts", [10, 1000])
def test_a_part_has_what_happened_in_it(opened, parts):
    answer = look(opened(DAY), until=NOON + 10 * MINUTE, parts=parts)

    [lane] = [lane for lane in answer["lanes"] if lane["kind"] == "system_audio"]
    assert lane["counts"] == [(2 * parts // 10, 1)]


def test_many_events_are_counted_and_few_are_shown_one_by_one(opened):
    state = opened([said(NOON + 1_000 * number, f"word {number}") for number in range(MOST_SINGLE + 1)])

    assert look(state)["events"] is None
    assert len(look(state, until=NOON + 1_000 * MOST_SINGLE)["events"]) == MOST_SINGLE


def test_sessions_gaps_and_pauses_are_bands_of_the_times_they_touch(opened):
    state = opened(DAY)

    answer = look(state)
    assert [(one["id"], one["since"], one["until"]) for one in answer["sessions"]] == [
        ("cap-1", NOON, NOON + 10 * MINUTE)
    ]
    assert answer["gaps"] == [["host0", NOON + HOUR, NOON + 2 * HOUR]]
    later = look(state, since=NOON + 2 * HOUR)
    assert (later["sessions"], later["gaps"]) == ([], [])


def test_a_session_whose_end_was_not_received_lasts_until_the_next_one(opened):
    state = opened([step(NOON, "active", "cap-1"), step(NOON + HOUR, "active", "cap-2")])

    sessions = look(state)["sessions"]

    assert [(one["id"], one["until"]) for one in sessions] == [("cap-1", NOON + HOUR), ("cap-2", NOW)]


def test_lanes_of_several_machines_are_told_apart(opened):
    answer = look(opened(DAY[1:2], DAY[1:3]))

    assert sorted((lane["host"], lane["kind"]) for lane in answer["lanes"]) == [
        ("host0", "mic"),
        ("host1", "mic"),
        ("host1", "system_audio"),
    ]


def test_what_is_written_while_the_page_is_open_is_seen(opened, tmp_path):
    state = opened(DAY[:2])
    assert counts_of(look(state, parts=10)) == {("mic", "mic"): 1}
    state._read_at = -1e9  # as if some time had passed

    write(tmp_path / "host0" / "videodb_events.jsonl", DAY)

    assert counts_of(look(state, parts=10))["screen", "display:1"] == 3


def test_an_empty_journal_is_a_look_at_nothing(opened):
    answer = look(opened([]))

    assert (answer["lanes"], answer["events"], answer["span"]) == ([], [], None)


RECORDED = AskedTime(NOON - HOUR, NOON + 5 * HOUR)


def test_what_was_said_comes_in_both_directions_and_says_where_it_ends(opened):
    journals = opened(DAY).journals

    later = reading_answers.said(journals, RECORDED, NOON + MINUTE, NOW, earlier=False)
    earlier = reading_answers.said(journals, RECORDED, NOON + MINUTE + 1, NOW, earlier=True)

    assert [part["text"] for part in later["parts"] if part["kind"] == "speech"] == [
        "shall we deploy the new release",
        "yes we deploy after lunch",
    ]
    assert [part["text"] for part in earlier["parts"]] == ["shall we deploy the new release"]
    assert later["since"] == NOON + MINUTE
    rest = reading_answers.said(journals, RECORDED, later["until"], NOW, earlier=False)
    assert [part["kind"] for part in rest["parts"]] == ["gap", "speech"]


@pytest.mark.long
def test_steps_through_the_whole_recording_show_each_sentence_once(opened):
    events = [said(NOON + 7_000 * number, f"word{number}", f"mic {number % 2}") for number in range(1500)]
    for place in range(100, 1500, 100):
        begun = NOON + 7_000 * place
        events.insert(place, gap(begun + 3_000, begun + 5_000))
    journals = opened(events).journals
    recorded = AskedTime(NOON - HOUR, NOON + 7_000 * 1500 + HOUR)

    for earlier in (False, True):
        edge = recorded.until_ms if earlier else recorded.since_ms
        texts, is_end = [], False
        while not is_end:
            answer = reading_answers.said(journals, recorded, edge, NOW, earlier=earlier)
            words = [word for part in answer["parts"] for word in part["text"].split() if "word" in word]
            texts = words + texts if earlier else texts + words
            assert len(words) <= reading_answers.MOST_SAID + 1
            window = Window(answer["since"], answer["until"])
            assert answer["parts"] == reading_answers.all_said(journals, window, NOW)
            edge, is_end = answer["since"] if earlier else answer["until"], answer["is_end"]
        assert texts == [f"word{number}" for number in range(1500)]


def test_a_moment_has_what_was_on_each_screen_with_what_is_nearly_the_same_as_one(opened):
    state = opened(DAY)
    answer = reading_answers.moment(state, NOON + 90_000)

    [screen] = answer["screens"]
    assert (screen["window"], screen["count"], screen["since"]) == ("Slack", 2, NOON + MINUTE)
    assert (screen["previous"], screen["next"]) == (None, NOON + 3 * MINUTE)
    later = reading_answers.moment(state, NOON + 3 * MINUTE)
    assert [one["label"] for one in later["near"]] == ["failed"]


def test_what_was_said_and_shown_at_a_moment_is_a_search_each(opened, monkeypatch):
    talk = [said(NOON + 2_000 * number, f"word{number}") for number in range(600)]
    state = opened(
        [*talk, shown(NOON, "one"), shown(NOON + MINUTE, "two two"), shown(NOON + 2 * MINUTE, "3 c")]
    )
    searched = []
    search = state.journals.search_rows
    monkeypatch.setattr(state.journals, "search_rows", lambda filters: searched.append(1) or search(filters))

    said_ = reading_answers.said(state.journals, RECORDED, NOON, NOW, earlier=False)
    shown_ = reading_answers.moment(state, NOON + 90_000)

    assert len(searched) == 2
    assert said_["until"] == NOON + 2_000 * (reading_answers.MOST_SAID - 1) + 1
    [screen] = shown_["screens"]
    assert (screen["previous"], screen["next"]) == (NOON, NOON + 2 * MINUTE)


def test_a_screen_that_was_described_long_ago_is_not_on_it_any_more(opened):
    answer = reading_answers.moment(opened(DAY), NOON + 20 * MINUTE)

    assert answer["screens"] == []
    assert answer["beside"] == {"previous": NOON + 3 * MINUTE, "next": None}


@pytest.mark.long
@pytest.mark.parametrize("seals", [False, True], ids=["unsealed", "sealed"])
def test_what_was_on_a_screen_before_and_after_is_found_however_long_ago(
    opened, tmp_path, monkeypatch, seals
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    times = [NOON - 300 * HOUR, NOON - 20 * HOUR, NOON, NOON + HOUR, NOON + 90 * HOUR]
    events = [shown(at, f"[App {number}] text of {number}") for number, at in enumerate(times)]
    # Another screen, and what was said, do not count; a description without a text is none.
    others = [
        shown(NOON - HOUR, "another", "display:2"),
        said(NOON + 2 * HOUR, "hello"),
        shown(NOON + 5 * HOUR, " "),
    ]
    padding = [said(NOON + 91 * HOUR + number, f"later {number}") for number in range(300)]
    state = opened([*events[:2], others[0], *events[2:4], *others[1:], events[4], *padding])
    if seals:
        assert (
            len(build.seal(state.journals.paths()[0], seal_policy.default_root(), piece=1_000).segments) > 5
        )

    def beside(at):
        answer = reading_answers.moment(state, at)
        [found] = [one for one in answer["screens"] if one["name"] == "display:1"] or [answer["beside"]]
        return found["previous"], found["next"]

    assert [beside(at + 1_000) for at in times] == [
        (None, times[1]),
        (times[0], times[2]),
        (times[1], times[3]),
        (times[2], times[4]),
        (times[3], None),
    ]
    assert beside(NOON - 10 * HOUR) == (times[1], NOON - HOUR)
    assert beside(NOON + 30 * HOUR) == (times[3], times[4])


def test_hits_come_newest_first_with_the_places_that_match(opened):
    answer = found_answers.hits(
        opened(DAY).journals, Filters(grep=("deploy",), by_event=True, ignore_case=True), 0
    )

    assert [hit["at"] for hit in answer["hits"]] == [NOON + 3 * MINUTE, NOON + 2 * MINUTE, NOON + MINUTE]
    assert answer["next"] is None
    for hit in answer["hits"]:
        assert [hit["text"][first:last] for first, last in hit["marks"]] == ["deploy"]


def test_screens_that_are_nearly_the_same_are_one_hit_that_does_not_hide_what_was_said(opened):
    journals = opened(DAY).journals

    answer = found_answers.hits(
        journals, Filters(any_of=("slack", "deploy"), ignore_case=True, by_event=True), 0
    )

    found = [(hit["channel"], hit["count"], hit["end"] - hit["at"]) for hit in answer["hits"]]
    assert sorted(found) == [
        ("transcript", 1, 0),
        ("transcript", 1, 0),
        ("visual_index", 1, 0),
        ("visual_index", 2, 10_000),
    ]


def test_a_snippet_of_a_long_text_is_around_its_match(opened):
    text = "before " * 2_000 + "needle" + " after" * 2_000
    [hit] = found_answers.hits(
        opened([said(NOON, text)]).journals, Filters(grep=("needle",), by_event=True), 0
    )["hits"]

    assert len(hit["text"]) < 200
    assert [hit["text"][first:last] for first, last in hit["marks"]] == ["needle"]


def test_more_hits_follow_where_the_first_ones_end(opened):
    count = found_answers.MOST_HITS + 5
    journals = opened([said(NOON + 1_000 * number, f"word {number}") for number in range(count)]).journals
    filters = Filters(grep=("word",), by_event=True)

    first = found_answers.hits(journals, filters, 0)
    rest = found_answers.hits(journals, filters, first["next"])

    assert (first["next"], rest["next"]) == (found_answers.MOST_HITS, None)
    ats = [hit["at"] for hit in (*first["hits"], *rest["hits"])]
    assert ats == [NOON + 1_000 * number for number in reversed(range(count))]


def test_marks_are_where_the_hits_are(opened):
    answer = found_answers.marks(
        opened(DAY).journals,
        Filters(grep=("deploy",), by_event=True, window=Window(NOON, NOON + 10 * MINUTE)),
        AskedTime(NOON, NOON + 10 * MINUTE),
        10,
    )

    assert answer["counts"] == [(1, 1), (2, 1), (3, 1)]


def test_a_wrong_expression_is_an_error_that_says_so(opened):
    with pytest.raises(InputError) as refused:
        found_answers.hits(opened(DAY).journals, Filters(grep=("(",), extended=True, by_event=True), 0)

    assert refused.value.error_id == "pattern-invalid"


def test_statistics_are_those_of_the_command(opened):
    answer = statistics(opened(DAY).journals, AskedTime(NOON, NOON + 4 * HOUR), By.WINDOW, NOW)

    assert [row["key"] for row in answer["rows"]] == ["Slack", "Editor"]
    assert answer["total"]["alerts"] == 1


@pytest.mark.parametrize("form", page_downloads.FORMATS)
def test_each_download_has_what_was_said(opened, tmp_path, form):
    path = tmp_path / "download"
    page_downloads.write_download(opened(DAY).journals, AskedTime(NOON, NOON + HOUR), form, path, NOW)

    text = path.read_text()
    assert "shall we deploy the new release" in text
    assert ("[Slack]" in text) == (form == "csv")


def test_a_table_has_no_formula_of_a_recording(opened, tmp_path):
    path = tmp_path / "download"
    page_downloads.write_download(
        opened([said(NOON, '=HYPERLINK("x")')]).journals, AskedTime(NOON, NOON + HOUR), "csv", path, NOW
    )

    assert ',"=' not in path.read_text()
    assert ",=" not in path.read_text()


def test_an_exported_page_holds_the_recording_as_data_and_asks_nobody(opened):
    page = exported_page(opened(DAY), Window(NOON, NOON + 4 * HOUR), NOW).decode()

    data = page.split('id="recording">')[1].split("</script>")[0]
    recorded = json.loads(data)
    assert recorded["said"][-1]["text"] == " ".join(HOSTILE.split())
    assert [one["count"] for one in recorded["others"] if one["channel"] == "visual_index"] == [2, 1]
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    for address in ("http://", "https://", 'src="', "@import", "/page/"):
        assert address not in page.replace("http://www.w3.org/2000/svg", "").replace("https?:", "")


def test_a_time_without_events_exports_nothing(opened):
    assert exported_page(opened(DAY), Window(NOON - HOUR, NOON - MINUTE), NOW) is None


def exported_step(at, session="cap-1", **links):
    return {**step(at, "exported", session), "data": {"video_id": "v-1", **links}}


def test_the_video_of_a_session_is_at_its_moment(opened):
    address = "https://player.example.com/watch?v=1"
    state = opened([*DAY[:8], exported_step(NOON + 11 * MINUTE, player_url=address), *DAY[8:]])

    [video] = reading_answers.moment(state, NOON + 3 * MINUTE)["videos"]

    assert video == {"session": "cap-1", "offset": 3 * MINUTE, "address": address, "file": False}
    assert reading_answers.moment(state, NOON + HOUR)["videos"] == []


@pytest.mark.parametrize("name", ["cap-1.mp4", "cap-1.webm"])
def test_a_file_beside_the_journal_with_the_sessions_id_is_its_video(opened, tmp_path, name):
    state = opened([step(NOON - 5_000, "created"), *DAY])
    assert reading_answers.moment(state, NOON + MINUTE)["videos"] == []
    (tmp_path / "host0" / name).write_bytes(b"video")

    [video] = reading_answers.moment(state, NOON + MINUTE)["videos"]

    # It begins where the session became active.
    assert video == {"session": "cap-1", "offset": MINUTE, "address": "", "file": True}
    assert session_videos.video_file(state, "cap-1").path == tmp_path / "host0" / name


@pytest.mark.parametrize("session", ["", "cap-2", "../host0/cap-1", "cap-1.mp4", "secret", "/etc/passwd"])
def test_no_other_file_is_a_video(opened, tmp_path, session):
    state = opened([*DAY, step(NOON + 4 * HOUR, "active", "../secret")])
    (tmp_path / "host0" / "cap-1.mp4").write_bytes(b"video")
    (tmp_path / "host0" / "secret.mp4").write_bytes(b"of no session")
    (tmp_path / "secret.mp4").write_bytes(b"elsewhere")
    (tmp_path / "host0" / "cap-2.mp4").mkdir()

    assert session_videos.video_file(state, session) is None
    assert session_videos.video_file(state, "../secret") is None
