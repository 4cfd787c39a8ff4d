"""What the quick tests leave out, by the ends of lines, is outside the window."""

import json
import re

import duckdb
import pytest

from vdbevents.query import line_tests
from vdbevents.times import Window

AT = 1772446530123
USUAL = {"rtstream_id": "rts-1", "rtstream_name": "mic:default"}


def line(data, channel="transcript", **members):
    event = {"ts": "2026-03-02T10:15:30.123Z", "unix_ts": AT / 1000, "channel": channel}
    return json.dumps({**event, **members, "data": data}, separators=(",", ":"), ensure_ascii=False)


def said(start, end=None, text="so", **others):
    return line({"text": text, **others, "start": start, "end": start + 900 if end is None else end})


INSIDE = [
    said(AT),
    said(AT + 999),
    # The end of the line is not what it seems.
    line({"start": AT}, payload={"start": AT - 9000, "end": AT}).replace('"payload"', '"x"'),
    line({"start": AT, "note": "x"})[:-1] + f',"other":{{"start":{AT - 9000},"end":{AT - 8000}}}}}',
    line({"start": AT, "sub": {"start": AT - 9000, "end": AT - 8000}}),
    line({"text": '","start":1,"end":2}}', "start": AT, "end": AT + 1}),
    line({"text": "x", "start": "2026-03-02T10:15:30.123Z", "startMs": AT - 9000, "end": AT}),
    line({"text": "a", "start": AT})[:-2] + f',"start":{AT - 9000},"end":{AT - 8000}}}}}',
    line({"text": "a", "s\\u0074art": 5, "start": AT, "end": AT}),
    line({"name": "x", "start": AT - 9000, "end": AT - 8000}, "vdbevents", event="listener.gap"),
]
OUTSIDE = [
    said(AT - 5000),
    said(AT + 5000),
    said(AT - 5000, text="it's } {", is_final=True),
    said(AT - 5000, text='say \\"so\\"'),
    said(AT - 5000, text="東京 é"),
    line({"text": "x", "start": AT - 5000, "end": AT - 1000}, "visual_index", **USUAL),
]


@pytest.mark.parametrize(
    ("expression", "left_out"),
    [
        (line_tests.happened_outside(Window(AT, AT + 1000)), OUTSIDE),
        (line_tests.happened_outside(Window(AT, None)), [OUTSIDE[0], *OUTSIDE[2:]]),
        (line_tests.happened_outside(Window(None, AT + 1000)), [OUTSIDE[1]]),
        (line_tests.happened_beside(AT, AT + 1000), OUTSIDE),
        # What was not over before is still there.
        (line_tests.happened_beside(AT - 4500, AT + 1000), [OUTSIDE[1]]),
    ],
)
def test_only_what_happened_outside_is_left_out(expression, left_out):
    lines = [*INSIDE, *OUTSIDE]
    sql = f"SELECT line FROM (SELECT unnest(?) AS line) WHERE {line_tests.condition(expression)}"
    found = [text for (text,) in duckdb.execute(sql, [lines]).fetchall()]

    assert found == left_out
    assert [text for text in lines if re.match(expression, text)] == left_out
    is_left_out = line_tests.line_test(expression)
    assert [text for text in lines if is_left_out(text.encode())] == left_out


def test_a_window_of_unusual_times_leaves_nothing_out():
    assert line_tests.happened_outside(Window(5, None)) == ""
    assert line_tests.happened_beside(5, 10) == ""
    assert line_tests.happened_outside(Window()) == ""
