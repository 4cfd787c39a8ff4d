"""The outage that goes on now, from the content of a directory's files."""

import pytest

from vdbevents.events.gaps import Gap, with_ongoing
from vdbevents.health.outages import gap_of

NOW = 1_772_446_530_000  # 2026-03-02T10:15:30Z
BLIND = {"blind_since": "2026-03-02T10:06:30Z", "blind_reason": "closed with code 1006"}
STATUS = {"pid": 7, "state": "waiting", "written": "2026-03-02T10:15:29Z"}
STOPPED = {"pid": 7, "state": "stopped", "written": "2026-03-02T10:10:30Z"}
PIPELINE = {"kind": "transcript", "stream_id": "rts-1", "ws_id": "ws-1", "status": "running"}
INFO = {
    "session": {"id": "cap-1", "status": "active"},
    "streams": [{"id": "rts-1", "name": "mic:default", "source": "mic", "media": "audio"}],
    "pipelines": [PIPELINE],
    "ended": None,
}
STOPPED_SESSION = {**INFO["session"], "status": "stopped"}


@pytest.mark.parametrize(
    ("status", "runs", "minutes", "reason"),
    [
        ({**STATUS, **BLIND}, True, 9, "closed with code 1006"),
        ({**STATUS, **BLIND}, False, 9, "the listener with PID 7 ended unexpectedly"),
        ({**STOPPED, **BLIND}, False, 9, "closed with code 1006"),
        ({**STATUS, "state": "connected", "written": "2026-03-02T10:12:30Z"}, False, 3,
         "the listener with PID 7 ended unexpectedly"),
        (STOPPED, False, 5, "no listener is running"),
    ],
)  # fmt: skip
def test_an_outage_goes_on_from_its_beginning(status, runs, minutes, reason):
    gap = gap_of(status, INFO, runs=runs, now_ms=NOW)

    assert (NOW - gap.since_ms, gap.reason, gap.status, gap.ongoing) == (
        minutes * 60_000,
        reason,
        "open",
        True,
    )
    assert gap.data()["until"] is None


@pytest.mark.parametrize(
    ("status", "info", "runs"),
    [
        ({**STATUS, "state": "connected"}, INFO, True),
        (STOPPED, {}, False),
        (STOPPED, {**INFO, "pipelines": []}, False),
        (STOPPED, {**INFO, "session": STOPPED_SESSION}, False),
        (STOPPED, {**INFO, "session": STOPPED_SESSION, "ended": "2026-03-02T10:00:00Z"}, False),
        ({}, {}, False),
        ({"state": 5, "written": [], "blind_since": {}}, {"session": 5, "ended": "x"}, False),
    ],
)
def test_no_outage_goes_on(status, info, runs):
    assert gap_of(status, info, runs=runs, now_ms=NOW) is None


def test_a_gap_that_has_got_its_line_is_not_listed_twice():
    ongoing = gap_of({**STATUS, **BLIND}, INFO, runs=True, now_ms=NOW)
    marked = Gap("gap-1", ongoing.since_ms, NOW, "closed with code 1006")
    other = Gap("gap-0", 5, 6, "")

    assert with_ongoing([other], ongoing) == [other, ongoing]
    assert with_ongoing([other, marked], ongoing) == [other, marked]
    assert with_ongoing([other], None) == [other]
