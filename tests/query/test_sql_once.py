"""The views show what `vdbevents query` shows, nothing twice, and the recipes hold where speakers overlap."""

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from support.databases import search
from support.effort import examples
from support.random_journals import AT, journals, line, said

import vdbevents
from vdbevents.events.gaps import Gap
from vdbevents.query.cache import build
from vdbevents.query.filters import Filters
from vdbevents.query.sql.sandbox import SqlTables

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"


def rows(tables, sql):
    return [row for batch in tables.ask(sql).batches() for row in batch]


def recorded(folder, *lines):
    path = folder / "journal.jsonl"
    path.write_text("".join(f"{one}\n" for one in lines))
    return path


def test_an_utterance_that_was_fetched_as_well_and_a_sentence_without_an_end_are_shown_once(tmp_path):
    journal = recorded(
        tmp_path,
        said("hello", AT, start=AT, end=AT + 4000),
        said("hello", AT + 9000, start=AT / 1000, end=AT / 1000 + 4, backfilled=True),
        said("hello", AT + 9500, start=AT, end=AT + 4000, stream="rts-2"),
        said("cut", AT + 20_000, final=False, start=AT + 19_000, end=AT + 20_000),
        said("cut off", AT + 20_500, final=False, start=AT + 19_000, end=AT + 21_000),
        line(AT, channel="scene_index", rtstream_id="rts-3", data={"text": "Slack", "start": AT}),
        line(AT + 1, channel="scene_index", rtstream_id="rts-3", data={"text": "Slack", "start": AT},
             backfilled=True),
    )  # fmt: skip
    for cache in (None, build.seal(journal, tmp_path / "cache", piece=400)):
        with SqlTables(journal, cache) as tables:
            spoken = rows(tables, "SELECT text, is_final, stream FROM transcripts ORDER BY time")
            assert spoken == [
                ("hello", "true", "rts-1"),
                ("hello", "true", "rts-2"),
                ("cut off", "false", "rts-1"),
            ]
            assert rows(tables, "SELECT count(*) FROM visuals") == [("1",)]
            assert rows(tables, "SELECT count(*) FROM events") == [("7",)]


@pytest.mark.long
@settings(max_examples=examples(10))
@given(journals)
def test_the_views_agree_with_a_query_whatever_was_recorded(tmp_path, lines):
    journal = tmp_path / "journal.jsonl"
    encoded = [one.encode() if isinstance(one, str) else one for one in lines]
    journal.write_bytes(b"".join(one + b"\n" for one in encoded))
    expected = {"transcript": [], "visual_index": []}
    with search(journal, Filters(channels=tuple(expected))) as answer:
        for event in itertools.chain.from_iterable(answer.events()):
            expected[event.channel].append(str((event.text, event.is_final, event.stream)))
    known = {"true": True, "false": False, None: None}
    with SqlTables(journal) as tables:
        for view, channel in (("transcripts", "transcript"), ("visuals", "visual_index")):
            shown = rows(tables, f"SELECT text, is_final, stream FROM {view}")
            assert sorted(str((text, known[final], stream)) for text, final, stream in shown) == sorted(
                expected[channel]
            )


def recipe(words):
    """The query of the page's example that has these words."""
    [command] = [
        found for found in re.findall(r"^\$ (.*)$", PAGE.read_text(), re.MULTILINE) if words in found
    ]
    return shlex.split(command)[2]


def test_the_recipes_are_right_for_streams_that_overlap_and_for_double_spaces(tmp_path):
    journal = recorded(
        tmp_path,
        said("yes", AT + 7000, start=AT + 5000, end=AT + 6000, stream="rts-2", rtstream_name="system_audio"),
        said("so  the  plan is", AT + 61_000, start=AT, end=AT + 60_000, rtstream_name="mic"),
        said("ok", AT + 65_000, start=AT + 62_000, end=AT + 64_000, rtstream_name="mic"),
    )
    with SqlTables(journal) as tables:
        assert rows(tables, recipe("AS who")) == [("mic", "5"), ("system_audio", "1")]
        assert rows(tables, recipe("AS spoken")) == [("2026-03-02T10:16:30.123Z", "2.0")]


def test_a_gap_that_goes_on_is_in_the_view_without_an_end(tmp_path):
    gap = {"id": "g", "since": "2026-03-02T10:00:00.000Z", "until": "2026-03-02T10:01:00.000Z"}
    known = json.dumps({"channel": "vdbevents", "event": "listener.gap", "data": {**gap, "status": "open"}})
    ongoing = Gap("ongoing", AT, AT + 1500, "no listener is running", ongoing=True)
    with SqlTables(recorded(tmp_path, known), ongoing=ongoing) as tables:
        assert rows(tables, "SELECT id, until IS NULL, seconds FROM gaps ORDER BY since") == [
            ("g", "false", "60.0"),
            ("ongoing", "true", "1.5"),
        ]


def test_python_knows_the_gap_that_goes_on_as_well(tmp_path):
    (tmp_path / "videodb_events.jsonl").write_text(said("hello", AT) + "\n")
    status = {"pid": 0, "state": "connected", "written": "2026-03-02T10:20:00.000Z"}
    (tmp_path / "videodb_listener.json").write_text(json.dumps(status))

    journal = vdbevents.open(tmp_path)
    with journal.query() as found:
        assert [(gap.ongoing, gap.since_ms) for gap in found.gaps] == [(True, 1772446800000)]
    assert journal.sql("SELECT since, until FROM gaps") == [
        {"since": "2026-03-02T10:20:00.000Z", "until": None}
    ]
