"""A flipped bit in the cache, or an edit in a sealed journal, is noticed."""

import os
import random

import pytest
from support.databases import search
from support.random_journals import AT, said

from vdbevents.query.cache import build, checks, index, seal_policy
from vdbevents.query.filters import Filters


@pytest.fixture
def sealed(tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(said(f"word{n} other{n % 7}", AT + n) + "\n" for n in range(300)))
    cache = build.seal(journal, tmp_path / "cache", piece=9000, part=3000)
    assert len(cache.segments) > 3
    return journal, cache


def test_any_flipped_bit_in_a_file_of_the_cache_is_noticed(sealed):
    journal, cache = sealed
    segment = cache.segments[1]
    checked = (cache.holds, cache.has_words, cache.has_minutes)
    for path, is_whole in zip(cache.files(segment), checked, strict=True):
        content = path.read_bytes()
        assert is_whole(segment)
        for place in random.Random(1).sample(range(len(content) * 8), 100):
            damaged = bytearray(content)
            damaged[place // 8] ^= 1 << place % 8
            path.write_bytes(damaged)
            checks._whole.clear()
            assert not is_whole(segment)
        path.write_bytes(content)
    assert list(seal_policy.faults(journal, cache.folder.parent)) == []


@pytest.mark.long
def test_an_answer_is_that_of_the_journal_if_a_bit_of_the_cache_was_flipped(sealed):
    journal, cache = sealed
    path = cache.events(cache.segments[1])
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with search(journal, Filters(), cache) as answer:
        assert (answer.count, answer.sealed_bytes) == (300, 0)
    # The next sealing replaces what is damaged, and what comes after it.
    assert all(map(cache.holds, build.seal(journal, cache.folder.parent, piece=9000, part=3000).segments))


def test_a_file_of_the_cache_is_read_for_that_once(sealed, monkeypatch):
    journal, cache = sealed
    with search(journal, Filters(), cache) as answer:
        assert answer.sealed_bytes
    monkeypatch.setattr(checks, "crc_of", None)
    with search(journal, Filters(grep=("word7",)), cache) as answer:
        assert answer.sealed_bytes


def test_edits_of_the_same_length_in_a_sealed_piece_are_noticed_where_all_is_checked(sealed):
    journal, cache = sealed
    root = cache.folder.parent
    content = journal.read_bytes()
    descriptor = os.open(journal, os.O_WRONLY)
    for segment in cache.segments[:2]:
        place = content.index(b"word", (segment.start + segment.end) // 2)
        os.pwrite(descriptor, b"WORD", place)
        os.pwrite(descriptor, b"WORD", content.index(b"word", place + 4))
    os.close(descriptor)
    assert index.load(journal, root).segments
    assert len(list(seal_policy.faults(journal, root))) == 2
