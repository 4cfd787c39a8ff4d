"""A browser gets the offsets of a zone, with the moments at which they change."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from vdbevents.web.zone_offsets import name_of, offsets_of

HOUR = 3_600_000


def ms(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def offset_at(offsets, at):
    return [offset for since, offset in offsets if since <= at][-1]


@pytest.mark.parametrize(
    "name", ["Europe/Berlin", "America/Santiago", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]
)
def test_each_hour_of_a_year_has_the_offset_of_its_zone(name):
    zone, since, until = ZoneInfo(name), ms("2026-01-01T00:00Z"), ms("2027-01-01T00:00Z")
    offsets = offsets_of(zone, since, until)

    assert offsets == sorted(offsets)
    for at in range(since, until, HOUR):
        expected = datetime.fromtimestamp(at / 1000, zone).utcoffset() / timedelta(milliseconds=1)
        assert offset_at(offsets, at) == expected


def test_a_change_is_known_to_the_millisecond():
    offsets = offsets_of(ZoneInfo("Europe/Berlin"), ms("2026-03-01T00:00Z"), ms("2026-04-01T00:00Z"))

    assert (ms("2026-03-29T01:00Z"), 2 * HOUR) in offsets


def test_a_zone_is_called_by_its_name_else_by_its_short_form():
    now = datetime(2026, 7, 1, tzinfo=UTC)

    assert name_of(ZoneInfo("Europe/Berlin"), now) == "Europe/Berlin"
    assert name_of(timezone(timedelta(hours=2), "CEST"), now) == "CEST"
