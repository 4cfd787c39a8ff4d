"""Gaps: they are read as they were written, and invalid lines are ignored."""

import json

import pytest
from hypothesis import given, strategies as st

from vdbevents.events import envelope, gaps
from vdbevents.events.gaps import Gap, Missing

SINCE = 1772446530000  # 2026-03-02T10:15:30Z
UNTIL = SINCE + 92_500

OPEN = Gap("gap-1", SINCE, UNTIL, "closed with code 1006")
RECOVERED = Gap("gap-1", SINCE, UNTIL, "closed with code 1006", "recovered", recovered={"transcript": 3})
INCOMPLETE = Gap(
    id="gap-1",
    since_ms=SINCE,
    until_ms=UNTIL,
    reason="closed with code 1006",
    status="incomplete",
    streams=("rts-1",),
    dropped=5,
    recovered={"visual_index": 2, "transcript": 3},
    missing=(Missing("alerts", "they are not kept"), Missing("interim transcripts", "", lost=False)),
)


def line_of(gap):
    """The members of a gap's line, as a reader of the journal gets them."""
    return envelope.parse_line(envelope.own_record(gaps.EVENT, gap.data(), UNTIL).line)


def event(data, channel="vdbevents", name="listener.gap"):
    return {"channel": channel, "event": name, "data": data}


def told(**members):
    return event({"id": "g", "since": "2026-03-02T10:15:30Z", "until": "2026-03-02T10:16:30Z", **members})


@pytest.mark.parametrize("gap", [OPEN, RECOVERED, INCOMPLETE])
def test_a_gap_is_read_as_it_was_written(gap):
    assert gaps.gap_from(line_of(gap)) == gap


def test_an_open_gap_has_no_recovered_or_missing_events():
    assert OPEN.data() == {
        "id": "gap-1",
        "since": "2026-03-02T10:15:30.000Z",
        "until": "2026-03-02T10:17:02.500Z",
        "seconds": 92.5,
        "reason": "closed with code 1006",
        "status": "open",
    }


def test_a_gap_that_is_over_says_what_was_fetched_and_what_is_missing():
    assert list(INCOMPLETE.data().items())[5:] == [
        ("status", "incomplete"),
        ("streams", ["rts-1"]),
        ("dropped", 5),
        ("recovered", {"transcript": 3, "visual_index": 2}),
        (
            "missing",
            [
                {"what": "alerts", "reason": "they are not kept", "lost": True},
                {"what": "interim transcripts", "reason": "", "lost": False},
            ],
        ),
    ]
    assert json.dumps(INCOMPLETE.data())


@pytest.mark.parametrize(
    "other",
    [
        {},
        event({}),
        event(None),
        event("since"),
        event([1]),
        told(since=None),
        told(until="soon"),
        told(since=-4e10),
        told(until=True),
        event(OPEN.data(), channel="transcript"),
        event(OPEN.data(), name="listener.connected"),
        {**event(OPEN.data()), "channel": ["vdbevents"]},
    ],
)
def test_a_malformed_line_reports_no_gap(other):
    assert gaps.gap_from(other) is None


def test_a_line_without_a_status_is_from_a_recorder_that_did_not_backfill():
    old = event({"since": "2026-03-02T10:15:30.000Z", "until": "2026-03-02T10:17:02.500Z", "reason": "gone"})

    assert gaps.gap_from(old) == Gap(
        "2026-03-02T10:15:30.000Z",
        SINCE,
        UNTIL,
        "gone",
        "incomplete",
        missing=(Missing("everything", "it was never asked for"),),
    )


def test_an_unknown_status_counts_as_incomplete():
    gap = gaps.gap_from(told(status="abandoned", missing=[{"what": "alerts"}]))

    assert (gap.status, gap.missing) == ("incomplete", (Missing("alerts", ""),))


def test_members_of_unexpected_types_are_ignored():
    gap = gaps.gap_from(
        told(
            id=7,
            reason=None,
            status="recovered",
            streams="rts-1",
            dropped=-3,
            recovered=[1],
            missing={"a": 1},
        )
    )

    assert gap == Gap("7", SINCE, SINCE + 60_000, "", "recovered")
    assert gaps.gap_from(told(missing=[1, {"lost": 0}], status="incomplete")).missing == (
        Missing("something", ""),
    )
    assert gaps.gap_from(told(recovered={"transcript": True, "alert": 2}, status="recovered")).recovered == {
        "transcript": 0,
        "alert": 2,
    }


def test_the_last_line_about_a_gap_counts_and_the_first_says_where_it_is_listed():
    other = Gap("gap-2", SINCE - 5, SINCE - 4, "")
    lines = [OPEN, other, RECOVERED, INCOMPLETE]

    assert gaps.latest_gaps(map(line_of, lines)) == [INCOMPLETE, other]
    assert gaps.latest_gaps([event(None), line_of(OPEN), {"channel": "transcript"}]) == [OPEN]
    assert gaps.latest_gaps([]) == []


@pytest.mark.parametrize(
    ("since", "until", "touched"),
    [
        (None, None, True),
        (SINCE, None, True),
        (UNTIL - 1, None, True),
        (UNTIL, None, False),
        (None, SINCE, False),
        (None, SINCE + 1, True),
        (SINCE - 10, SINCE, False),
        (SINCE + 5, SINCE + 6, True),
        (SINCE - 10, UNTIL + 10, True),
    ],
)
def test_a_window_touches_the_gaps_that_it_overlaps(since, until, touched):
    assert OPEN.touches(since, until) is touched


@pytest.mark.parametrize("until", [SINCE, SINCE - 60_000])
def test_a_gap_of_no_length_is_still_a_moment(until):
    moment = Gap("gap-1", SINCE, until, "a clock was set back")

    assert moment.touches(SINCE, SINCE + 1)
    assert moment.touches(None, None)
    assert not moment.touches(SINCE + 1, None)
    assert not moment.touches(None, SINCE)
    assert moment.data()["seconds"] == 0


def test_only_a_recovered_gap_is_recovered():
    assert [gap.is_recovered for gap in (OPEN, RECOVERED, INCOMPLETE)] == [False, True, False]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("id", "since", "until", "reason", "status", "streams", "dropped", "recovered", "missing")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, json_values | st.sampled_from(["open", 5]))))
def test_any_gap_that_is_read_can_be_written_again(data):
    gap = gaps.gap_from(event(data))

    assert gap is None or gaps.gap_from(event(gap.data())) == gap


def test_a_gap_in_a_webhook_is_ignored():
    told = {"id": "gap-1", "since": "2026-03-02T10:15:30Z", "until": "2026-03-02T10:15:31Z", "status": "open"}
    line = {"channel": "vdbevents", "event": "listener.gap", "data": told}

    assert gaps.gap_from(line) is not None
    assert gaps.gap_from({**line, "via": "webhook"}) is None
