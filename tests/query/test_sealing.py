"""Sealing may be interrupted, repeated, and done by several at once; a cache that does not fit is none."""

import contextlib
import dataclasses
import errno
import functools
import io
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

import duckdb
import pytest
from support.databases import search, shared_database
from support.effort import examples
from support.processes import eventually
from support.sealed_journals import sealed

from vdbevents.errors import InputError, StorageError
from vdbevents.query import duck, engine, lines as query_lines
from vdbevents.query.cache import build, index, schema
from vdbevents.query.filters import Filters
from vdbevents.query.snapshot import open_snapshot

# They seal real journals, or ask many.
pytestmark = pytest.mark.long

AT = 1772446530
PIECE = 500


def said(number, text="said"):
    data = {"text": f"{text} {number}", "is_final": True}
    head = f'{{"ts":"2026-03-02T10:15:30.000Z","unix_ts":{AT + number}.000,'
    return (
        head
        + json.dumps({"channel": "transcript", "rtstream_id": "r", "data": data}, separators=(",", ":"))[1:]
    )


def content(*numbers, text="said"):
    return "".join(said(number, text) + "\n" for number in numbers).encode()


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content(*range(12)))
    return path


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache" / "vdbevents"


def found(journal, cache=None, **asked):
    with search(journal, Filters(**asked), cache) as answer:
        return (
            [line for batch in answer.lines() for line in batch],
            [event.text for batch in answer.events({"text"}) for event in batch],
            answer.skipped,
        )


def is_right(journal, root):
    """Check that a search with the cache finds what one without it does; return the cache."""
    cache = index.load(journal, root)
    if cache.segments:  # without any, it would be the same search
        all_events, last_two = expected(journal, journal.read_bytes())
        assert found(journal, cache) == all_events
        assert found(journal, cache, limit=2, grep=("said",)) == last_two
    return cache


@functools.lru_cache(1)
def expected(journal, _content):
    """What is found without a cache, as long as the content stays the same: everything, and the last two."""
    lines, texts, skipped = found(journal)
    last = [place for place, text in enumerate(texts) if "said" in text][-2:]
    return (
        (lines, texts, skipped),
        ([lines[place] for place in last], [texts[place] for place in last], skipped),
    )


def files_of(cache):
    names = {"lock"} | ({"manifest.json"} if cache.segments else set())
    return names | {path.name for segment in cache.segments for path in cache.files(segment)}


# What is made


def test_a_copied_cache_is_what_sealing_the_journal_gives(journal, root, tmp_path):
    copied = sealed(journal, root, PIECE)
    again = build.seal(journal, tmp_path / "other", piece=PIECE)

    assert is_right(journal, root) == copied == dataclasses.replace(again, folder=copied.folder)
    assert build.seal(journal, root, piece=PIECE) == copied
    assert {path.name for path in copied.folder.iterdir()} == files_of(copied)


def test_full_pieces_of_whole_lines_are_sealed_and_the_rest_is_when_it_is_full(journal, root):
    told = []
    cache = build.seal(journal, root, told.append, piece=PIECE)

    assert told == sorted(told)
    assert sorted({*told}) == [0, *(segment.end for segment in cache.segments)]
    assert len({*told}) == 4
    assert index.unsealed(journal, cache, PIECE) == 0
    size = journal.stat().st_size
    with journal.open("ab") as file:
        file.write(content(12, 13, 14, 15) + b'{"torn')
    assert index.unsealed(journal, cache, PIECE) == PIECE
    assert is_right(journal, root) == cache

    after = build.seal(journal, root, piece=PIECE)

    assert after.segments[:3] == cache.segments
    assert cache.end < size <= after.end
    assert is_right(journal, root) == after
    assert after.size() == sum(path.stat().st_size for path in after.folder.iterdir())


def test_a_search_with_a_condition_reads_sealed_pieces_and_no_foreign_file(journal, root, tmp_path):
    cache = sealed(journal, root, PIECE)
    (tmp_path / "foreign").write_text("x")
    lines = journal.read_text().splitlines()

    with search(journal, Filters(where="length(text) > 6", grep=("said",)), cache) as answer:
        assert [line for batch in answer.lines() for line in batch] == lines[10:]
        assert answer.sealed_bytes == cache.end > 0
        with pytest.raises(duckdb.Error, match="Permission"):
            answer.connection.execute("FROM read_text(?)", [str(tmp_path / "foreign")])


def test_a_progress_callback_may_end_the_sealing_and_sealed_segments_stay(journal, root):
    class EnoughError(Exception):
        pass

    def look(sealed):
        if sealed:
            raise EnoughError

    with pytest.raises(EnoughError):
        build.seal(journal, root, look, piece=PIECE)

    cache = index.load(journal, root)
    assert len(cache.segments) == 1
    assert not list(cache.folder.glob("scratch-*"))
    assert is_right(journal, root) == cache


def test_only_the_owner_can_read_the_cache_and_nothing_else_is_left(journal, root, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    cache = build.seal(journal, root, piece=PIECE)

    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in cache.folder.iterdir()} == files_of(cache)
    assert {path.stat().st_mode & 0o777 for path in cache.folder.iterdir()} == {0o600}
    assert list((tmp_path / "tmp").iterdir()) == []


def test_parts_of_the_next_piece_are_sealed_and_go_when_it_is_full(journal, root):
    journal.write_bytes(content(*range(20)))
    size = journal.stat().st_size
    parted = build.seal(journal, root, piece=size, part=size // 4)
    assert [segment.is_part for segment in parted.segments] == [False]

    with journal.open("ab") as writing:
        writing.write(content(*range(12)))
    parted = build.seal(journal, root, piece=size, part=size // 4)
    assert [segment.is_part for segment in parted.segments] == [False, True, True]
    assert index.load(journal, root) == parted

    with journal.open("ab") as writing:
        writing.write(content(*range(12)))
    whole = build.seal(journal, root, piece=size, part=size // 4)
    assert [segment.is_part for segment in whole.segments] == [False, False]
    assert index.load(journal, root) == whole

    # What is in the full piece as well is removed when nobody can be reading it any more.
    assert whole.events(parted.segments[1]).exists()
    build.seal(journal, root, piece=size, part=size // 4)
    assert not whole.events(parted.segments[1]).exists()


def test_full_pieces_and_parts_of_the_next_are_sealed_in_one_go(journal, root):
    size = journal.stat().st_size
    journal.write_bytes(content(*range(30)))
    cache = build.seal(journal, root, piece=size, part=size // 4)

    assert [segment.is_part for segment in cache.segments] == [False, False, True, True, True]
    assert is_right(journal, root) == cache


@pytest.mark.parametrize("seed", range(examples(2)))
def test_however_a_journal_grows_nothing_is_between_its_segments(journal, root, seed):
    chance = random.Random(seed)
    for _ in range(6):
        with journal.open("ab") as writing:
            for number in range(chance.randrange(8)):
                # Longer ones than a part, so that parts reach beyond where a full piece ends.
                writing.write(content(number, text="x" * chance.choice([3, 3, 900])))
        cache = build.seal(journal, root, piece=3 * PIECE, part=PIECE)
        assert [it.start for it in cache.segments] == [0, *(it.end for it in cache.segments)][:-1]
        assert sorted(it.is_part for it in cache.segments) == [it.is_part for it in cache.segments]
        assert index.unsealed(journal, cache, PIECE) < PIECE
        assert is_right(journal, root) == cache
    assert any(not it.is_part for it in cache.segments)


def test_a_file_that_gives_less_than_was_asked_for_is_sealed_all_the_same(journal, root, monkeypatch):
    class Grudging(io.FileIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:100])

    monkeypatch.setattr(build, "FileIO", Grudging)
    cache = build.seal(journal, root, piece=PIECE)

    assert len(cache.segments) == 3
    assert is_right(journal, root) == cache


def test_no_part_reaches_into_a_line_that_was_written_meanwhile(journal, root):
    with journal.open("ab") as file:
        file.write(b'{"raw": "' + b"x" * PIECE)

    told = []

    def end_the_line(sealed):
        told.append(sealed)
        # The first time nothing was looked at yet.
        if len(told) == 2:
            with journal.open("ab") as file:
                file.write(b'"}\n')

    size = journal.stat().st_size
    cache = build.seal(journal, root, end_the_line, piece=100 * PIECE, part=PIECE)

    assert 0 < cache.end < size < journal.stat().st_size
    assert is_right(journal, root) == cache


def test_a_line_that_is_longer_than_a_piece_is_never_cut(journal, root):
    journal.write_bytes(content(1) + content(2, text="x" * 5000) + content(*range(3, 9)))
    cache = build.seal(journal, root, piece=PIECE)

    assert any(segment.end - segment.start > 5000 for segment in cache.segments)
    is_right(journal, root)


def test_a_journal_without_a_full_piece_has_nothing_sealed(journal, root):
    for data in (b"", b"\n", content(1), b"x" * 2 * PIECE):
        journal.write_bytes(data)
        cache = build.seal(journal, root, piece=PIECE)
        assert (cache.segments, files_of(cache)) == ((), {"lock"})


@pytest.mark.parametrize("length", [20, None])
def test_lines_are_where_they_are_said_to_be_however_many_there_are(journal, root, length):
    lines = [f'{{"unix_ts":{number}}}' for number in range(130_000)]
    if length is not None:
        lines = [line.ljust(length) for line in lines]
    data = "".join(f"{line}\n" for line in lines).encode()
    journal.write_bytes(data)
    cache = build.seal(journal, root, piece=len(data))

    with duck.connect(str(root), 500) as connection:
        rows = connection.execute(
            "SELECT position, length, time_ms FROM read_parquet(?)", [str(cache.events(cache.segments[0]))]
        ).fetchall()
    assert sorted(rows) == [
        (start, len(line), number * 1000)
        for number, (line, start) in enumerate(zip(lines, starts_of(lines), strict=True))
    ]


def starts_of(lines):
    start = 0
    for line in lines:
        yield start
        start += len(line) + 1


def test_lines_in_another_order_than_the_file_s_are_not_sealed(journal, root, monkeypatch):
    lines_of = schema.lines_of

    def swapped(path, start, longest):
        sql, values = lines_of(path, start, longest)
        return query_lines.Statement(sql.replace("left(line, 100)", "left(reverse(line), 100)"), values)

    monkeypatch.setattr(schema, "lines_of", swapped)
    with pytest.raises(StorageError, match="positions") as raised:
        build.seal(journal, root, piece=PIECE)
    assert raised.value.error_id == "cache-unwritable"
    monkeypatch.undo()
    assert is_right(journal, root).segments == ()


# A cache that does not fit is none


def rewritten(journal):
    path = journal.with_name("new")
    path.write_bytes(journal.read_bytes())
    path.replace(journal)


def behind_another_link(journal):
    for name, data in (("one", journal.read_bytes()), ("two", content(*range(50, 65)))):
        journal.with_name(name).write_bytes(data)
    journal.unlink()
    journal.symlink_to("two")


@pytest.mark.parametrize(
    "change",
    [
        lambda journal: journal.write_bytes(b""),
        lambda journal: journal.write_bytes(content(*range(20, 23))),
        lambda journal: journal.write_bytes(content(*range(20, 35))),
        lambda journal: journal.write_bytes(journal.read_bytes()[:700]),
        lambda journal: journal.write_bytes(journal.read_bytes()[:1000] + content(*range(50, 60))),
        lambda journal: journal.write_bytes(journal.read_bytes()[1:]),
        rewritten,
        behind_another_link,
    ],
    ids=["cleared", "shorter", "longer", "truncated", "restored", "shifted", "new file", "link"],
)
def test_a_replaced_journal_is_read_itself_and_then_sealed_again(journal, root, change):
    before = sealed(journal, root, PIECE)
    change(journal)

    assert is_right(journal, root).segments == ()
    with engine.search(journal, Filters(), before) as answer:  # changed after the cache was looked up
        assert [line for batch in answer.lines() for line in batch] == found(journal)[0]
    cache = build.seal(journal, root, piece=PIECE)
    assert is_right(journal, root).segments == cache.segments
    assert {path.name for path in cache.folder.iterdir()} == files_of(cache)


def test_a_removed_journal_has_no_cache(journal, root):
    cache = sealed(journal, root, PIECE)
    journal.unlink()

    assert index.load(journal, root).segments == ()
    assert index.unsealed(journal, cache) == 0
    with pytest.raises(InputError):
        build.seal(journal, root, piece=PIECE)
    journal.symlink_to(journal)
    assert index.load(journal, root).segments == ()


HUGE = 10**30
NONSENSE = [
    None,
    True,
    -1,
    1.5,
    "1",
    "../../etc/passwd",
    [],
    {},
    [[]],
    [None, None],
    [1, HUGE],
    1 << 63,
    HUGE,
    1e300,
]


def test_an_invalid_manifest_is_ignored(journal, root):
    cache = sealed(journal, root, PIECE)
    manifest = json.loads(cache.manifest.read_bytes())
    texts = [b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff", b"{}", b'{"version":1}', b"[" * 5000]
    texts += [
        json.dumps({**manifest, "version": version}).encode()
        for version in (0, index.VERSION - 1, index.VERSION + 1, str(index.VERSION), None)
    ]
    texts += [json.dumps({**manifest, "segments": one}).encode() for one in NONSENSE]
    texts += [
        cache.manifest.read_bytes().replace(b'"start":0', b'"start":1', 1),
        cache.manifest.read_bytes()[:-9],
    ]
    for text in texts:
        cache.manifest.write_bytes(text)
        assert index.load(journal, root).segments == (), text[:80]
    is_right(journal, root)
    assert build.seal(journal, root, piece=PIECE).segments == cache.segments


def test_a_manifest_that_was_made_up_reads_nothing_but_the_cache_s_own_files(journal, root):
    cache = sealed(journal, root, PIECE)
    manifest = json.loads(cache.manifest.read_bytes())
    first = dict(manifest["segments"][0])
    loads = []
    for member, value in itertools.product([*index.Segment.__slots__, "other"], NONSENSE):
        manifest["segments"][0] = {**first, member: value}
        with contextlib.suppress(TypeError):
            manifest["digest"] = index._digest(manifest)
        cache.manifest.write_text(json.dumps(manifest))
        loaded = index.load(journal, root)
        for segment in loaded.segments:
            assert loaded.events(segment).parent == loaded.words(segment).parent == cache.folder
            assert type(segment.start) is type(segment.end) is int
        if loaded not in loads:
            loads.append(loaded)
            with search(journal, Filters(), loaded) as answer:
                assert list(answer.lines()) is not None
    assert len(loads) > 10


def of_another_schema(path):
    with duck.connect(str(path.parent), 100) as connection:
        connection.execute("COPY (SELECT 1 AS position, 'x' AS length) TO ? (FORMAT parquet)", [str(path)])


def damaged_inside(path):
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third:-third] = random.Random(1).randbytes(len(data) - 2 * third)
    path.write_bytes(data)


def held(cache):
    """Return the content of all files of a cache."""
    everything = "SELECT COLUMNS(*)::VARCHAR FROM read_parquet(?)"
    with contextlib.closing(shared_database().connection(0)) as connection:
        tables = [
            connection.execute(everything, [str(cache.events(segment))]).fetchall()
            for segment in cache.segments
        ]
    beside = [path.read_bytes() for segment in cache.segments for path in cache.files(segment)[1:]]
    return tables, beside, json.loads(cache.manifest.read_bytes())["segments"]


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"garbage" * 1000),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "link": lambda path: (path.unlink(), path.symlink_to("/dev/null")),
    "schema": of_another_schema,
    "inside": damaged_inside,
}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["events", "words", "minutes", "manifest"])
def test_a_cache_that_lost_something_loses_nothing(journal, root, kind):
    cache = sealed(journal, root, PIECE)
    assert len(cache.segments) > 2  # what is damaged lies between two that are whole
    path = cache.manifest if kind == "manifest" else getattr(cache, kind)(cache.segments[1])
    whole = held(is_right(journal, root))
    for name, damage in DAMAGES.items():
        damage(path)

        is_right(journal, root)
        again = build.seal(journal, root, piece=PIECE)
        assert again.segments == cache.segments, name
        if damage is damaged_inside:  # it may be noticed only by who reads it
            is_right(journal, root)
        else:  # what is sealed again is what was found to be right
            assert held(index.load(journal, root)) == whole, name


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_cache_without_read_permission_is_ignored(journal, root):
    cache = sealed(journal, root, PIECE)
    cache.folder.chmod(0)
    try:
        assert is_right(journal, root).segments == ()
        with pytest.raises(StorageError):
            build.seal(journal, root, piece=PIECE)
    finally:
        cache.folder.chmod(0o700)


def test_a_cache_that_cannot_be_created_is_an_error_with_a_hint(journal, tmp_path):
    (tmp_path / "file").write_text("x")

    assert index.load(journal, tmp_path / "file").segments == ()
    with pytest.raises(StorageError) as raised:
        build.seal(journal, tmp_path / "file", piece=PIECE)
    assert raised.value.error_id == "cache-unwritable"
    assert "XDG_CACHE_HOME" in raised.value.hint


# Interrupted, and at once

SEAL = """
import sys
from pathlib import Path
from vdbevents.query.cache import build
print("begun", flush=True)
build.seal(Path(sys.argv[1]), Path(sys.argv[2]), piece=int(sys.argv[3]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_sealing_that_is_killed_at_any_moment_is_completed_by_the_next(journal, root):
    journal.write_bytes(content(*range(48)))
    chance = random.Random(time.time_ns())
    for _ in range(int(os.environ.get("KILLS", "3"))):
        with subprocess.Popen(
            [sys.executable, "-c", SEAL, journal, root, str(PIECE)], stdout=subprocess.PIPE
        ) as child:
            child.stdout.readline()
            time.sleep(chance.uniform(0, 1.2))
            child.send_signal(signal.SIGKILL)
        is_right(journal, root)

    cache = build.seal(journal, root, piece=PIECE)
    assert len(cache.segments) > 10
    assert {path.name for path in cache.folder.iterdir()} == files_of(cache)
    is_right(journal, root)


def test_of_two_that_seal_at_once_one_waits_for_the_other(journal, root):
    caches = []
    threads = [
        threading.Thread(target=lambda: caches.append(build.seal(journal, root, piece=PIECE)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert caches[0] == caches[1] == caches[2] == is_right(journal, root)


def test_sealing_ends_though_the_journal_grows_faster(journal, root):
    sizes = []

    def write_more(_):
        if len(sizes) < 60:
            with journal.open("ab") as file:
                file.write(content(*range(12)))
            sizes.append(journal.stat().st_size)

    cache = build.seal(journal, root, write_more, piece=PIECE)

    # It begins after the first of them.
    assert sizes[0] - PIECE < cache.end <= sizes[0] < sizes[-1]
    assert is_right(journal, root) == cache


def test_a_journal_is_sealed_and_asked_while_it_is_written(journal, root):
    done = threading.Event()

    def write():
        with journal.open("ab", buffering=0) as file:
            for number in range(100, 10**6):
                if done.is_set():
                    return
                file.write(content(number))
                time.sleep(0.25)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        before = 0
        for _ in range(3):
            size = journal.stat().st_size
            eventually(lambda size=size: journal.stat().st_size > size)
            cache = build.seal(journal, root, piece=PIECE)
            lines, texts, skipped = found(journal, index.load(journal, root))
            assert journal.read_text().startswith("".join(f"{line}\n" for line in lines))
            assert (len(texts), skipped) == (len(lines), 0)
            assert cache.end <= sum(len(line) + 1 for line in lines)
            assert len(lines) > before
            before = len(lines)
    finally:
        done.set()
        writer.join()
    is_right(journal, root)


@pytest.mark.parametrize("most", [300, 900, 2000])
def test_segments_sealed_before_the_disk_was_full_stay(journal, root, most):
    before = sealed(journal, root, PIECE)
    with journal.open("ab") as file:
        file.write(content(*range(20, 40)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        with pytest.raises(StorageError) as raised:
            build.seal(journal, root, piece=PIECE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert raised.value.error_id == "cache-unwritable"
    assert "XDG_CACHE_HOME" in raised.value.hint
    assert is_right(journal, root).segments[:3] == before.segments
    assert not list(before.folder.glob("scratch-*"))
    cache = build.seal(journal, root, piece=PIECE)
    assert {path.name for path in cache.folder.iterdir()} == files_of(cache)
    is_right(journal, root)


def test_pieces_that_are_worked_on_when_the_disk_is_full_are_kept(journal, root, monkeypatch):
    laid_out = []

    def full(data, start):
        laid_out.append(start)
        if len(laid_out) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return data

    monkeypatch.setattr(build, "legible", full)
    with pytest.raises(StorageError, match="No space left"):
        build.seal(journal, root, piece=PIECE)

    assert [segment.start for segment in is_right(journal, root).segments] == laid_out[:2]


def test_a_tail_that_finds_no_room_is_read_from_the_journal(journal, root):
    cache = sealed(journal, root, PIECE)
    expected = found(journal)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        assert found(journal, cache) == expected
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_journal_that_is_cleared_while_it_is_sealed_gets_no_cache(journal, root, monkeypatch):
    known = build.described

    def cleared(*args):
        journal.write_bytes(content(*range(50, 70)))
        return known(*args)

    monkeypatch.setattr(build, "described", cleared)
    build.seal(journal, root, piece=PIECE)
    monkeypatch.undo()

    assert is_right(journal, root).segments == ()


# While a query runs


@pytest.mark.parametrize(
    "data",
    [b"", content(*range(20, 40)), b"\n" * 4000, content(*range(20, 60), text="longer said")],
    ids=["cleared", "other", "blank", "longer"],
)
def test_a_journal_that_is_cleared_while_it_is_read_is_an_error_and_no_nonsense(journal, root, data):
    cache = sealed(journal, root, PIECE)
    expected = found(journal)[1]
    with engine.search(journal, Filters(), cache) as answer:
        journal.write_bytes(data)
        with pytest.raises(StorageError) as raised:
            list(answer.lines())
        assert raised.value.error_id == "journal-changed"
        assert raised.value.hint
        assert [event.text for batch in answer.events({"text"}) for event in batch] == expected


def test_only_whole_lines_are_ever_given(journal, root, tmp_path):
    cache = sealed(journal, root, PIECE)
    length = len(said(0))
    source = open_snapshot(journal, cache, tmp_path)
    with contextlib.closing(source):
        assert list(source.lines([(0, length), (length + 1, length)])) == [said(0), said(1)]
        for place in (
            (1, length),
            (0, length - 1),
            (0, length + 1),
            (length, length),
            (length + 1, 10**9),
            (0, 5),
        ):
            with pytest.raises(StorageError) as raised:
                list(source.lines([place]))
            assert raised.value.error_id == "journal-changed"


def test_a_cache_that_is_removed_while_a_query_runs_is_an_error_with_a_hint_or_none(journal, root):
    expected = found(journal)[:2]
    cache = sealed(journal, root, PIECE)
    with engine.search(journal, Filters(), cache) as answer:
        build.clear(cache.folder)
        assert [line for batch in answer.lines() for line in batch] == expected[0]
        with pytest.raises(StorageError) as raised:
            list(answer.events())
        assert raised.value.error_id == "cache-unreadable"
        assert "run the query again" in raised.value.hint

    assert found(journal, cache)[:2] == expected
    assert not cache.folder.exists()


def test_there_may_be_nothing_to_remove(root):
    build.clear(root / "none")

    assert not root.exists()


def test_a_cache_is_removed_while_queries_run(journal, root):
    expected = found(journal)[:2]
    done = threading.Event()

    def churn():
        while not done.is_set():
            build.clear(build.seal(journal, root, piece=PIECE).folder)

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for _ in range(8):
            with contextlib.suppress(StorageError):
                assert found(journal, index.load(journal, root))[:2] == expected
    finally:
        done.set()
        churning.join()
