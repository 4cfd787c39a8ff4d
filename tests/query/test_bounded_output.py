"""Answers within a bound, in every format: the newest that fit, whole, and how many others there are."""

import csv
import io
import json
import re
from datetime import UTC

import pytest
from hypothesis import given, settings, strategies as st
from support.databases import search
from support.effort import examples

from vdbevents.query.collapse import find
from vdbevents.query.filters import Filters
from vdbevents.query.output.budget import UNBOUNDED, Bound
from vdbevents.query.output.text import TextShape
from vdbevents.query.output.write import FOR_EYES, Style, write, write_within

FORMATS = ("text", "md", "jsonl", "json", "csv", "srt", "vtt")
START = 1772446530
COUNT = 40


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    path = tmp_path_factory.mktemp("bounded") / "journal.jsonl"
    events = (
        {
            "unix_ts": START + 86_400 * (number > 30) + number,
            "channel": "transcript" if number % 3 else "visual_index",
            "rtstream_name": "mic:1" if number % 3 else "display:1",
            "text": f"event {number} " + "wörd " * (number % 7),
            "start": (START + number) * 1000,
            "is_final": True,
        }
        for number in range(COUNT)
    )
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def last_line(left_out, shown):
    return f"[{left_out} left out, {shown} shown]\n"


class Answer:
    """What is read once and written in every format."""

    def __init__(self, journal, **filters):
        self.filters = Filters(**filters)
        self.found = search(journal, self.filters)

    def within(self, bound, output, **style):
        stream = io.BytesIO()
        style = Style(self.filters, UTC, **style)
        written = write_within(bound, self.found, output, stream, style, last_line=last_line)
        return stream.getvalue().decode(), written

    def whole(self, output, **style):
        stream = io.BytesIO()
        write(self.found, output, stream, Style(self.filters, UTC, **style))
        return stream.getvalue().decode()


@pytest.fixture(scope="module")
def answer(journal):
    asked = Answer(journal)
    with asked.found:
        yield asked


def numbers_in(text):
    return [int(number) for number in re.findall(r"event (\d+)", text)]


@pytest.mark.parametrize("output", FORMATS)
def test_an_answer_that_fits_is_the_same_as_without_a_bound(answer, output):
    whole = answer.whole(output)

    for bound in (UNBOUNDED, Bound(bytes=len(whole.encode()))):
        assert answer.within(bound, output) == (whole, (COUNT, 0, False, ""))


@pytest.mark.parametrize("output", FORMATS)
@settings(max_examples=examples(10))
@given(most=st.integers(1, 5000), unit=st.sampled_from(["bytes", "tokens"]))
def test_the_newest_whole_events_that_fit_are_written(answer, output, most, unit):
    bound = Bound(**{unit: most})
    text, written = answer.within(bound, output)

    assert bound.fits(text)
    assert numbers_in(text) == list(range(written.left_out, COUNT))
    assert written.shown == COUNT - written.left_out
    assert written.is_told == text.endswith(last_line(written.left_out, written.shown))
    if output not in FOR_EYES:
        assert not written.is_told


class TwoAtOnce:
    """A result in batches of two events."""

    def __init__(self, found):
        self.span, self.breaks, self._found = found.span, found.breaks, found

    def lines(self):
        return self._cut(self._found.lines())

    def events(self, columns):
        return self._cut(self._found.events(columns))

    def _cut(self, batches):
        return (batch[row : row + 2] for batch in batches for row in range(0, len(batch), 2))


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("output", FORMATS)
def test_of_many_events_no_more_is_formatted_than_may_fit(journal, output, newest_first):
    whole, bound, seen = Answer(journal, newest_first=newest_first), Bound(bytes=120), []
    with whole.found as found:
        expected = whole.within(bound, output)
        whole.found = TwoAtOnce(found)
        shape = TextShape(width=lambda: seen.append(1) and None)
        assert whole.within(bound, output, shape=shape) == expected

    assert len(seen) < COUNT / 2
    assert bool(seen) == (output == "text")


def test_what_is_for_programs_stays_valid(answer):
    bound = Bound(bytes=1500)
    lines = [json.loads(line) for line in answer.within(bound, "jsonl")[0].splitlines()]
    array = json.loads(answer.within(bound, "json")[0])
    rows = list(csv.DictReader(io.StringIO(answer.within(bound, "csv")[0])))
    subrip = answer.within(bound, "srt")[0]
    webvtt = answer.within(bound, "vtt")[0]

    assert lines == array
    assert len(lines) > 3
    assert rows[-1]["text"].startswith(f"event {COUNT - 1} ")
    assert rows[0]["time"].endswith("Z")
    assert subrip.startswith("1\n00:00:00,000 --> ")
    assert webvtt.startswith("WEBVTT\n\nNOTE 00:00:00.000 is 2026-03-02T10:15:")
    assert webvtt.count("NOTE") == 1


@pytest.mark.parametrize("output", FORMATS)
def test_of_a_bound_for_nothing_at_all_the_smallest_answer_is_named(answer, output):
    text, written = answer.within(Bound(bytes=1), output)
    assert (text, written.shown, written.left_out) == ("", 0, COUNT)

    enough = len(written.least.encode())
    assert answer.within(Bound(bytes=enough - 1), output)[1].least == written.least
    text, written = answer.within(Bound(bytes=enough), output)
    assert (written.least, bool(text)) == ("", True)


def test_markdown_begins_with_the_day_of_what_is_left(answer):
    text, written = answer.within(Bound(bytes=500), "md")

    assert written.is_told
    assert text.startswith("## 2026-03-03\n\n- **")


def test_a_column_is_no_wider_than_what_is_left_needs(journal):
    with (asked := Answer(journal, channels=("transcript",))).found:
        text, _ = asked.within(Bound(bytes=300), "text")

    assert re.match(r"\d\d:\d\d:\d\d  mic  transcript  event", text.split(" ", maxsplit=1)[1])


@pytest.mark.parametrize("output", ["text", "md", "jsonl", "csv"])
def test_newest_first_keeps_the_beginning(journal, output):
    with (asked := Answer(journal, newest_first=True)).found:
        text, written = asked.within(Bound(bytes=1200), output)

    assert numbers_in(text) == list(range(COUNT - 1, written.left_out - 1, -1))
    assert written.left_out > 0


def test_fields_are_for_programs_and_hold_no_last_line(answer):
    text, written = answer.within(Bound(bytes=200), "text", fields=("time", "text"))

    assert not written.is_told
    assert numbers_in(text) == list(range(written.left_out, COUNT))
    assert {line.count("\t") for line in text.splitlines()} == {1}


def test_a_break_is_written_between_events_only(journal):
    with (asked := Answer(journal, grep=("event 3 ", "event"), around_ms=500)).found:
        assert asked.whole("text").count("--\n") == 0
    with (asked := Answer(journal, any_of=("event 3 ", "event 9 "), around_ms=500)).found:
        assert asked.whole("text").count("--\n") == 1
        text, written = asked.within(Bound(bytes=100), "text")

    assert (written.shown, written.left_out) == (1, 1)
    assert "--\n" not in text


def test_a_run_is_one_event(journal):
    with (asked := Answer(journal, channels=("visual_index",))).found:
        runs = find(asked.found, newest_first=False)
        text, written = asked.within(Bound(bytes=120), "text", runs=runs)

    assert written.shown + written.left_out == asked.found.count - runs.merged
    assert text.count("\n") == written.shown + written.is_told
