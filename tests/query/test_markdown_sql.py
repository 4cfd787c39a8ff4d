"""A Markdown list is the same, whether SQL makes its lines or Python does."""

import io
import itertools
from datetime import UTC, timedelta, timezone
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st
from support.databases import search
from support.effort import examples
from support.random_journals import line, said

from vdbevents.query.cache import build
from vdbevents.query.filters import Filters
from vdbevents.query.output import markdown_sql
from vdbevents.query.output.markdown_sql import MARKDOWN_COLUMNS, markdown_row
from vdbevents.query.output.write import Style, write

# Berlin's and Lord Howe's clocks are set forward, and midnights there and in UTC.
CHANGES = (1774746000_000, 1775314800_000, 1774738800_000, 1774828800_000)
TIMES = st.sampled_from(
    [at + seconds * 1000 + 7 for at in CHANGES for seconds in (-3600, -1, 0, 1, 1800, 86_400)]
)
PLAIN = ("Plain words, (as most) say; no", "they're 'so' - all!", "end.", "a. b", "1 + 1")
ODD = (
    *("a  b", " a", "a ", "v1.5", "main.py", "", " ", "x\ny", "*star*", "_", "a/b", "https://x.example"),
    *(":tada:", "é", "\u2028", "\u202e", "a\u00a0b", "|", "=x", "&lt;", "#1", "\0", "-", "1) a", "> a", None),
)
TEXTS = st.sampled_from(PLAIN) | st.sampled_from(ODD)
NAMES = st.sampled_from([None, None, "", "Ada", "fired", "a_b"])


def told(at, channel, stream, text, *, about, start):
    label, speaker, event = about
    data = {"text": text, "label": label, "speaker": speaker, "start": start}
    data = {name: value for name, value in data.items() if value is not None}
    one = line(at or 0, channel=channel, rtstream_name=stream, event=event, data=data)
    return one if at else "{" + one[one.index('"channel"') :]


LINES = st.lists(
    st.builds(
        told,
        TIMES | TIMES | TIMES | st.none(),
        st.sampled_from(
            ["transcript", "visual_index", "audio", "alert", "capture_session", "a_b", "vdbevents"]
        ),
        st.sampled_from(["mic:default", "display:1", "system_audio:x", "other", None]),
        TEXTS,
        about=st.just((None, None, None)) | st.just((None, None, None)) | st.tuples(NAMES, NAMES, NAMES),
        start=st.none() | TIMES,
    ),
    min_size=8,
    max_size=40,
)
NAMED = ("Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns")
ZONES = [UTC, *map(ZoneInfo, NAMED), timezone(timedelta(hours=-3, seconds=7))]


def written(answer, filters, zone):
    sink = io.BytesIO()
    count = write(answer, "md", sink, Style(filters, zone))
    return sink.getvalue().decode(), count


@pytest.mark.long
def test_what_sql_makes_is_what_python_makes(tmp_path):
    made = []

    @settings(max_examples=examples(25))
    @given(LINES, st.sampled_from(ZONES), st.booleans(), st.booleans())
    def both_are_the_same(lines, zone, by_event, newest_first):
        path = tmp_path / "journal.jsonl"
        content = "".join(f"{one}\n" for one in lines)
        path.write_text(content, "utf-8")
        half = len(content.encode()) // 2
        cache = build.seal(path, tmp_path / "cache", piece=half, part=half)
        filters = Filters(by_event=by_event, newest_first=newest_first)
        with search(path, filters, cache) as answer:
            found = written(answer, filters, zone)
            with mock.patch.object(markdown_sql, "markdown_row", return_value=None):
                assert found == written(answer, filters, zone)
            if answer.span and (row := markdown_row(zone, answer.span, by_event=by_event)):
                texts = answer.texts(row, {*MARKDOWN_COLUMNS, "start_ms"})
                made.extend(not text.startswith("[") for batch in texts for text in batch)

    both_are_the_same()
    assert len(made) / 10 < sum(made) < len(made)


@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_each_text_and_each_change_of_a_clock_is_shown_as_python_shows_it(tmp_path, zone):
    path = tmp_path / "journal.jsonl"
    near = [at + more for at in CHANGES for more in (-1000, -1, 0, 1, 1000)]
    lines = [said(text, at) for text, at in itertools.product((*PLAIN, *ODD), near[:1])]
    lines += [said("plain", at) for at in sorted(near)]
    path.write_text("".join(f"{one}\n" for one in lines), "utf-8")
    filters = Filters()
    with search(path, filters) as answer:
        found = written(answer, filters, zone)
        with mock.patch.object(markdown_sql, "markdown_row", return_value=None):
            assert found == written(answer, filters, zone)


@pytest.mark.parametrize("span", [(-1, 5), (0, 253_402_214_400_000), (0, 400_000_000_000)])
def test_times_of_other_years_or_far_apart_are_written_by_python(span):
    assert markdown_row(UTC, (0, 5), by_event=False) is not None
    assert markdown_row(UTC, span, by_event=False) is None
