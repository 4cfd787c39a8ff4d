"""A table of what was counted fits its reader: a terminal of any width, a program, a spreadsheet."""

import json
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from vdbevents.summaries import activity_pages as pages
from vdbevents.summaries.activity import Activity, By, Figures, Row
from vdbevents.terminal import cells

AT = 1772445600000  # 2026-03-02 10:00 UTC
HOUR = 3_600_000
FULL = Figures(12_345, 90_000, 678, 3_500_000, 2, 1, 480_000, 300_000)


def counted(by, rows, left_out=0, total=FULL):
    return Activity(by, (AT, AT + HOUR), total, total, rows, left_out)


def shown(activity, width=None, zone=UTC):
    return pages.text_of(activity, zone, width, "vdbevents stats -n 0").splitlines()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
@pytest.mark.parametrize("by", list(By))
def test_no_line_is_wider_than_the_terminal(by, width):
    is_time = by in (By.HOUR, By.DAY)
    keys = (
        [AT, AT + HOUR, None]
        if is_time
        else ["Slack", "an endless title of a window " * 9, None, "消息" * 40]
    )
    activity = counted(by, [Row(key, "laptop", FULL) for key in keys])

    assert max(map(cells, shown(activity, width))) <= width


def test_columns_that_have_nothing_are_left_out_and_bars_are_on_a_terminal_only():
    figures = Figures(events=5, screen_ms=120_000)
    activity = counted(By.APP, [Row("Slack", "", figures), Row(None, "", figures._replace(screen_ms=1))],
                       total=figures)  # fmt: skip

    assert shown(activity) == [
        "2026-03-02 10:00 to 11:00",
        "app        events  screen",
        "Slack           5      2m",
        "not named       5      1s",
        "total           5      2m",
    ]
    assert [line.rstrip("▏▎▍▌▋▊▉█").rstrip() for line in shown(activity, 80)[2:]] == shown(activity)[2:]
    assert shown(activity, 80)[1] == "app        events  screen  screen as bars"
    assert shown(activity, 80)[2].count("█") > 20
    assert shown(activity, 80)[3].count("▏") == 1


def test_an_hour_that_comes_twice_has_its_offset():
    first = 1792886400000  # 2026-10-25 02:00 in Berlin, for the first time
    rows = [Row(first + place * HOUR, "", FULL) for place in range(3)]

    names = [line.split("  ")[0] for line in shown(counted(By.HOUR, rows), zone=ZoneInfo("Europe/Berlin"))]

    assert names[2:5] == ["02:00 +0200", "02:00 +0100", "03:00"]


def test_a_name_from_a_screen_cannot_steer_a_terminal():
    activity = counted(By.WINDOW, [Row("\x1b[31mred\nnext\x07", "", FULL)])

    assert not any(character in "\x1b\x07" for line in shown(activity) for character in line)
    assert len(shown(activity)) == 3


def test_what_is_left_out_is_said_with_a_command():
    line = shown(counted(By.APP, [Row("Slack", "", FULL)], left_out=1234))[-1]

    assert line == "… 1,234 smaller rows left out: vdbevents stats -n 0"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        *((0, ""), (1, "1s"), (1999, "1s"), (59_999, "59s"), (60_000, "1m"), (89_000, "1m"), (90_000, "2m")),
        *((3_569_999, "59m"), (3_570_000, "1h00m"), (3_900_000, "1h05m"), (3_600_000_000, "1,000h00m")),
    ],
)
def test_a_length_takes_few_characters(milliseconds, text):
    assert pages.length_text(milliseconds) == text


def test_json_has_seconds_and_times_in_utc():
    activity = counted(By.HOUR, [Row(AT, "a", FULL), Row(None, "b", Figures())], left_out=3)

    told = json.loads(pages.json_of(activity, hosts=True))

    assert told["first"] == "2026-03-02T10:00:00.000Z"
    assert told["rows"][0] == {
        "started": "2026-03-02T10:00:00.000Z",
        "host": "a",
        "events": 12_345,
        "speech_seconds": 90.0,
        "words": 678,
        "screen_seconds": 3500.0,
        "alerts": 2,
        "gaps": 1,
        "gap_seconds": 480.0,
        "paused_seconds": 300.0,
    }
    assert told["rows"][1]["started"] is None
    assert told["total"].keys() == told["rows"][0].keys() - {"started", "host"}
    assert told["left_out"] == 3


@pytest.mark.parametrize("by", list(By))
def test_csv_has_a_value_for_each_name(by):
    names, rows = pages.csv_table(counted(by, [Row(AT if by is By.HOUR else None, "", FULL)]), hosts=False)

    assert len(names) == len(rows[0])
    assert names[0] == ("started" if by in (By.HOUR, By.DAY) else by.value)
    assert ("speech_seconds" in names) is (by not in (By.APP, By.WINDOW))
