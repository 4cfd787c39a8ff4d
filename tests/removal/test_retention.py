"""What is too old goes; what running programs need of the recording stays for a week."""

import json

import pytest

from vdbevents.events import envelope
from vdbevents.removal.line_selection import Chooser
from vdbevents.removal.retention import Retention, RetentionRules

DAY = 86_400_000
NOW = 1_800_000_000_000


def said(days, channel="transcript", **members):
    """The line of an event that was received so many days ago."""
    message = {"channel": channel, "rtstream_id": "rts-1", "data": {"text": "hi"}, **members}
    return envelope.envelop(json.dumps(message).encode(), NOW - int(days * DAY)).line


def own(days, event="listener.connected", **data):
    return envelope.own_record(event, data, NOW - int(days * DAY)).line


def kept(rules, lines, **options):
    selection = Retention(rules, NOW, **options)
    looking, changing = Chooser(selection, str), Chooser(selection, str)
    for line in lines:
        looking.look(line)
    return [place for place, line in enumerate(lines) if changing.change(line) is not None]


def test_events_older_than_the_rule_go():
    lines = [said(91), said(90.001), said(90), said(1)]
    assert kept(RetentionRules(90 * DAY), lines) == [2, 3]


def test_a_channel_has_its_own_rule_and_may_be_kept_for_ever():
    lines = [said(40, "scene_index"), said(40), said(400), said(400, "alert", label="x")]
    rules = RetentionRules(90 * DAY, {"visual_index": 30 * DAY, "alert": None})
    assert kept(rules, lines) == [1, 3]
    assert kept(RetentionRules(None, {"visual_index": 30 * DAY}), lines) == [1, 2, 3]
    assert not rules.is_for_all


def test_lines_about_the_recording_stay_for_a_week_and_those_of_open_gaps_until_they_are_closed():
    session = {"channel": "capture_session", "event": "capture_session.active", "capture_session_id": "cap-1"}
    gap = {"since": "2026-01-01T00:00:00.000Z", "until": "2026-01-01T00:01:00.000Z", "reason": "x"}
    lines = [
        own(8),
        own(6),
        said(6, **session),
        said(8, **session),
        own(8, "listener.gap", id="gap-1", status="open", **gap),
        own(8, "listener.gap", id="gap-2", status="open", **gap),
        own(8, "listener.gap", id="gap-2", status="recovered", **gap),
        own(8, "listener.backfill", gaps=["gap-1"], sources=[]),
        own(8, "listener.backfill", gaps=["gap-3"], sources=[]),
        said(2),
    ]
    assert kept(RetentionRules(DAY), lines) == [1, 2, 4, 7]


def test_a_session_is_its_own_events_and_those_of_its_streams():
    active = {"event": "capture_session.active", "capture_session_id": "cap-1"}
    lines = [
        said(9, "capture_session", **active, data={"rtstreams": [{"rtstream_id": "rts-7", "name": "mic:1"}]}),
        said(9),
        said(9, rtstream_id="rts-7"),
        said(9, "alert", data={"session_id": "cap-1", "label": "x"}),
        said(0.5, rtstream_id="rts-7"),
        own(9, "capture.started", capture_session_id="cap-2", streams=[{"id": "rts-1"}]),
    ]
    assert kept(RetentionRules(DAY), lines, session="cap-1") == [1, 4, 5]
    assert kept(RetentionRules(DAY), lines, session="cap-2") == [0, 2, 3, 4]


def test_of_a_stream_that_several_sessions_name_each_has_its_own_time():
    def active(days, session):
        step = {"event": "capture_session.active", "capture_session_id": session}
        return said(days, "capture_session", **step, data={"rtstreams": [{"rtstream_id": "rts-1"}]})

    lines = [
        active(20, "cap-1"),
        said(19),
        active(15, "cap-2"),
        said(14),
        said(9, capture_session_id="cap-3"),
    ]
    assert kept(RetentionRules(DAY), lines, session="cap-1") == [2, 3, 4]
    assert kept(RetentionRules(DAY), lines, session="cap-2") == [0, 1, 4]


def test_what_only_happened_in_the_time_of_a_session_is_not_removed_with_it():
    step = {"event": "capture_session.active", "capture_session_id": "cap-1"}
    lines = [said(20, "capture_session", **step, data={}), said(19), said(18, "alert", rtstream_id=None)]
    assert kept(RetentionRules(DAY), lines, session="cap-1") == [1, 2]
    assert kept(RetentionRules(DAY), lines, session="cap") == [0, 1, 2]


def test_a_line_without_a_time_is_as_old_as_the_one_before_it():
    lines = [b"not json\n", said(91), b"torn {\n", b'{"channel":"x"}\n', said(1), b"torn {\n"]
    assert kept(RetentionRules(90 * DAY), lines) == [0, 4, 5]


@pytest.mark.parametrize(
    "line",
    [
        b'{"unix_ts":1.0,"ts":"2027-01-01T00:00:00Z"}\n',
        b'{"ts":"2020-01-01T00:00:00Z","channel":"transcript"}\n',
        b'{"channel":"x", "unix_ts": 1.0}\n',
    ],
)
def test_the_time_is_that_of_a_query_in_any_form(line):
    assert kept(RetentionRules(90 * DAY), [line]) == []


def test_a_torn_line_goes_once_every_line_of_its_time_does():
    torn = b'{"ts":"2027-01-15T08:00:00.000Z","unix_ts":%d.000,"channel":"tr'
    old, new = torn % (NOW // 1000 - 100 * 86_400), torn % (NOW // 1000 - 86_400)
    for rules, expected in (
        (RetentionRules(90 * DAY), [None, new, b"{"]),
        (RetentionRules(None, {"transcript": DAY}), [old, new, b"{"]),
    ):
        selection = Retention(rules, NOW)
        assert [selection.torn_without(line) for line in (old, new, b"{")] == expected
