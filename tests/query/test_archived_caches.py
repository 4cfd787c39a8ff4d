"""A journal and what was rotated out of it are searched as one, and only what may match is opened."""

import contextlib
import os
import shutil
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings, strategies as st
from support.databases import search
from support.effort import examples
from support.journals import open_journal
from support.random_journals import AT, filters, journals, line, said

import vdbevents
from vdbevents.cli import gaps
from vdbevents.journal import archive, history, packed
from vdbevents.journal.state import StateDirectory
from vdbevents.query import channel_totals
from vdbevents.query.cache import archived_caches, build, index, seal_policy
from vdbevents.query.filters import Filters
from vdbevents.query.older import Older
from vdbevents.times import Window

# They seal real journals, or ask many.
pytestmark = pytest.mark.long

BOM = b"\xef\xbb\xbf"


def put(directory, lines, kind="rotated", *, is_packed=True):
    """Set lines aside as a journal of their own; return its path."""
    archive.create_archive(directory)
    content = b"".join(one + b"\n" for one in lines)
    measure = history.Measure()
    measure.add(content)
    path = archive.free_path(directory, kind, measure.from_ms or 0, measure.to_ms or 0, packed=is_packed)
    if not is_packed:
        path.write_bytes(content)
        return path
    with path.open("wb") as target:
        packer = packed.Packer(target)
        packer.write(content)
        packer.finish()
    return path


def encoded(lines):
    return [one.encode() if isinstance(one, str) else one for one in lines]


def seen(journal, asked, cache=None, cache_of=None):
    with search(journal, asked, cache, older=Older(cache_of or (lambda _: None))) as answer:
        gaps = [gap for gap in answer.gaps if gap.touches(asked.window.since_ms, asked.window.until_ms)]
        return (
            [text for batch in answer.lines() for text in batch],
            [event for batch in answer.events() for event in batch],
            (answer.count, answer.span, answer.breaks, sorted(gaps, key=lambda gap: gap.id)),
            answer.skipped,
        )


def is_pruned(asked):
    return asked.window != Window() and not asked.by_event and asked.around_ms is None


@st.composite
def split_journals(draw):
    lines = [one for one in encoded(draw(journals)) if not one.startswith(BOM)]
    cuts = sorted(draw(st.lists(st.integers(0, len(lines)), min_size=1, max_size=3)))
    return [
        # No two journals begin alike, as no two begin at the same time.
        [line(AT, channel=f"part{number}").encode(), *lines[first:last]]
        for number, (first, last) in enumerate(zip([0, *cuts], [*cuts, len(lines)], strict=True))
    ]


@settings(max_examples=examples(2))
@given(
    split_journals(),
    st.lists(filters, min_size=2, max_size=2),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.integers(0, 4),
)
def test_every_answer_is_that_of_one_whole_journal(tmp_path, parts, asked, are_packed, sealed):
    whole, directory, root = tmp_path / "whole.jsonl", StateDirectory(tmp_path / "state"), tmp_path / "cache"
    for folder in (directory.path, root):
        shutil.rmtree(folder, ignore_errors=True)
    directory.path.mkdir()
    paths = [
        # The names alone give the order here, whatever the lines' times.
        named_in_order(put(directory, part, is_packed=is_packed), number)
        for number, (part, is_packed) in enumerate(zip(parts[:-1], are_packed, strict=False))
    ]
    whole.write_bytes(b"".join(one + b"\n" for part in parts for one in part))
    directory.journal.write_bytes(b"".join(one + b"\n" for one in parts[-1]))
    for path in paths[:sealed]:
        build.seal(path, root, piece=900, part=600, to_end=True)
    cache = build.seal(directory.journal, root, piece=700) if sealed == len(parts) else None

    for one in asked:
        of_whole = seen(whole, one)
        of_parts = seen(directory.journal, one, cache, lambda path: index.load(path, root))
        assert of_parts[:3] == of_whole[:3]
        if not is_pruned(one):
            assert of_parts[3] == of_whole[3]


def named_in_order(path, number):
    """Rename so that the files are in order, and their names exclude nothing."""
    stamp = f"1970010{number + 1}T000000.000Z"
    _, _, suffix = path.name.partition(".jsonl")
    return path.rename(path.with_name(f"rotated-{stamp}-29991231T235959.999Z.jsonl{suffix}"))


# -- Caches that follow what is set aside ------------------------------------------------------------------

DAY_MS = 86_400_000


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A state directory, the folder of caches, and a journal of ours in it with lines of two days."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = StateDirectory(tmp_path / "state")
    directory.path.mkdir()
    journal = open_journal(directory)
    yield directory, tmp_path / "vdbevents", journal
    journal.close()


def spoken(count, first=0, at=AT):
    numbers = range(first, first + count)
    return [said(f"word{number}", at + 1000 * number).encode() + b"\n" for number in numbers]


def texts(journal, *, cleared=False, **asked):
    older_ones = Older(seal_policy.present_cache, cleared)
    with search(journal, Filters(**asked), seal_policy.present_cache(journal), older=older_ones) as answer:
        return [event.text for batch in answer.events({"text"}) for event in batch]


def words(count, first=0):
    return [f"word{number}" for number in range(first, first + count)]


def sealed_files(root):
    return {path.stat().st_ino for path in root.rglob("*.parquet")}


def test_what_is_sealed_of_a_cleared_journal_is_kept(kept):
    directory, root, journal = kept
    journal.append(spoken(20))
    build.seal(directory.journal, root, piece=600)
    before = sealed_files(root)

    seal_policy.follow_moves(journal.clear().moved)

    [one] = archive.archived(directory)
    assert len(index.load(one.path, root).segments) == len(before) > 1
    assert sealed_files(root) == before
    assert not index.folder_of(directory.journal, root).exists()
    assert texts(directory.journal) == []
    assert texts(directory.journal, cleared=True) == words(20)


def test_what_is_sealed_of_a_rotated_journal_is_kept_and_the_rest_is_sealed_and_packed(kept):
    directory, root, journal = kept
    journal.append(spoken(20))
    build.seal(directory.journal, root, piece=600)
    before = sealed_files(root)
    journal.rotate(None)
    journal.append(spoken(3, 20))
    assert texts(directory.journal) == words(23)

    seal_policy.tidy(directory.journal, root)

    [one] = archive.archived(directory)
    assert one.is_packed
    assert not index.rest_of(one.path, index.load(one.path, root))
    assert before < sealed_files(root)
    assert [path.suffix for path in directory.archive.iterdir()] == [".zst"]
    assert texts(directory.journal) == words(23)


def test_of_a_journal_that_was_rotated_in_part_only_what_moved_is_kept(kept):
    directory, root, journal = kept
    journal.append([*spoken(10), *spoken(10, 10, AT + DAY_MS)])
    build.seal(directory.journal, root, piece=600)
    journal.rotate(AT + DAY_MS)

    seal_policy.tidy(directory.journal, root)
    build.seal(directory.journal, root, piece=600)

    [one] = archive.archived(directory)
    assert not index.rest_of(one.path, index.load(one.path, root))
    assert index.load(directory.journal, root).segments
    assert texts(directory.journal) == words(20)


def test_a_sealing_of_the_new_journal_does_not_remove_what_is_sealed_of_the_old_one(kept):
    directory, root, journal = kept
    journal.append(spoken(20))
    build.seal(directory.journal, root, piece=600)
    before = sealed_files(root)
    journal.rotate(None)

    seal_policy.seal(directory.journal, root, Silent())

    assert sealed_files(root) == before


class Silent:
    @contextlib.contextmanager
    def sealing(self, *_):
        yield lambda _: None

    def failed(self, error):
        raise error


def test_no_query_unpacks_what_is_sealed_and_lines_cost_only_their_frames(kept, monkeypatch):
    directory, root, journal = kept
    monkeypatch.setattr(packed, "FRAME_BYTES", 1000)
    for day in range(3):
        journal.append(spoken(20, 20 * day))
        journal.rotate(None)
    seal_policy.tidy(directory.journal, root)
    unpacked = []
    frame = packed.PackedFile._frame
    monkeypatch.setattr(
        packed.PackedFile, "_frame", lambda file, number: unpacked.append(number) or frame(file, number)
    )

    assert texts(directory.journal) == words(60)
    assert texts(directory.journal, grep=("word33",)) == ["word33"]
    assert unpacked == []
    with search(
        directory.journal, Filters(grep=("word33",)), older=Older(seal_policy.present_cache)
    ) as answer:
        assert [text + "\n" for batch in answer.lines() for text in batch] == [spoken(1, 33)[0].decode()]
    assert 1 <= len(set(unpacked)) <= 2


def test_a_cache_that_is_gone_is_made_again_from_the_packed_file(kept):
    directory, root, journal = kept
    journal.append(spoken(20))
    journal.rotate(None)
    seal_policy.tidy(directory.journal, root)
    shutil.rmtree(root)
    [one] = archive.archived(directory)
    assert texts(directory.journal) == words(20)

    made = seal_policy.cache_for(one.path, Window(), datetime.now(UTC), Silent())

    assert made.end == len(b"".join(spoken(20)))
    assert texts(directory.journal) == words(20)


def test_deleting_leaves_nothing_in_the_cache(kept):
    directory, root, journal = kept
    journal.append(spoken(20))
    journal.rotate(None)
    seal_policy.tidy(directory.journal, root)
    journal.append(spoken(20, 20))
    build.seal(directory.journal, root, piece=600)
    assert sealed_files(root)

    seal_policy.follow_moves(journal.delete().moved)

    assert not [path for path in root.rglob("*") if path.is_file()]


def test_caches_without_a_journal_are_found_and_removed(kept):
    directory, root, journal = kept
    journal.append(spoken(20))
    build.seal(directory.journal, root, piece=600)
    assert list(index.orphans(root)) == []
    journal.close()
    directory.journal.unlink()

    assert list(index.orphans(root)) == [index.folder_of(directory.journal, root)]
    assert archived_caches.remove_orphans(root) > 0
    assert sealed_files(root) == set()


# -- What is opened ----------------------------------------------------------------------------------------


def opened_by(step):
    """The files below a temporary folder that a step opens."""
    opened = []

    def note(event, arguments):
        if event == "open" and not done and isinstance(arguments[0], str | os.PathLike):
            opened.append(os.fspath(arguments[0]))

    done = []
    sys.addaudithook(note)
    step()
    done.append(True)
    return [path for path in opened if "archive" in path or "vdbevents/" in path]


def test_a_short_window_costs_the_same_with_a_year_of_archived_days(kept):
    directory, _, journal = kept
    journal.append(spoken(5, 0, AT + DAY_MS))
    window = Window(AT + DAY_MS, None)
    without = opened_by(lambda: texts(directory.journal, window=window))
    content = put(directory, spoken(1, 0, AT - 400 * DAY_MS)).read_bytes()
    for day in range(1, 366):
        at = AT - day * DAY_MS
        path = archive.free_path(directory, "rotated", at, at + DAY_MS - 1, packed=True)
        path.write_bytes(content)

    found = []
    with_year = opened_by(lambda: found.append(texts(directory.journal, window=window)))

    assert found == [words(5)]
    # The newest of the others, for a pause that goes on: its manifest, the file, and its lines without one.
    assert len(with_year) - len(without) <= 4


def test_a_file_that_is_packed_after_it_was_listed_is_read_all_the_same(kept, monkeypatch):
    directory, root, journal = kept
    journal.append(spoken(5))
    journal.rotate(None)
    listed = history.older_journals

    def packed_later(path, **options):
        found = listed(path, **options)
        seal_policy.tidy(path, root)
        monkeypatch.setattr(history, "older_journals", listed)
        return found

    monkeypatch.setattr(history, "older_journals", packed_later)

    assert texts(directory.journal) == words(5)


# -- Other readers -----------------------------------------------------------------------------------------


def gap_line(at, status):
    data = {"id": "gap-1", "since": AT, "until": AT + 9, "status": status}
    return line(at, channel="vdbevents", event="listener.gap", data=data).encode() + b"\n"


def said_in(opened):
    with opened.query(channel="transcript") as found:
        return [event["text"] for event in found]


def test_sql_gaps_and_python_read_across_the_seam(kept):
    directory, root, journal = kept
    journal.append([*spoken(3), gap_line(AT + 10, "open")])
    journal.rotate(None)
    journal.append([gap_line(AT + 9000, "recovered"), *spoken(2, 3)])
    for tidied in (False, True):
        if tidied:
            seal_policy.tidy(directory.journal, root)
        opened = vdbevents.open(directory.path)
        assert opened.sql("SELECT count(*) AS n FROM transcripts") == [{"n": 5}]
        assert [row["status"] for row in opened.sql("FROM gaps")] == ["recovered"]
        assert said_in(opened) == words(5)
        assert [gap.status for gap in gaps.read_gaps(directory.journal).gaps] == ["recovered"]


def test_all_events_are_counted_by_the_caches_of_what_was_rotated_out(kept, monkeypatch):
    directory, root, journal = kept
    journal.append(spoken(3))
    journal.rotate(None)
    journal.append(spoken(2, 3))
    older = Older(seal_policy.present_cache)
    expected = channel_totals.channel_totals(directory.journal, None, older)
    seal_policy.tidy(directory.journal, root)
    monkeypatch.delattr(channel_totals, "_searched")
    assert channel_totals.channel_totals(directory.journal, None, older) == expected
    assert expected.channels[0][:2] == ("transcript", 5)


def test_what_was_cleared_is_read_only_if_it_is_asked_for(kept):
    directory, _, journal = kept
    journal.append([*spoken(3), gap_line(AT + 10, "open")])
    journal.clear()
    journal.append(spoken(1, 3))

    assert said_in(vdbevents.open(directory.path)) == words(1, 3)
    archived = vdbevents.open(directory.path, archived=True)
    assert said_in(archived) == words(4)
    assert archived.sql("SELECT count(*) AS n FROM transcripts") == [{"n": 4}]
    assert gaps.read_gaps(directory.journal).gaps == []
    assert len(gaps.read_gaps(directory.journal, cleared=True).gaps) == 1
