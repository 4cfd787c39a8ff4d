"""A journal and what was rotated out of it are searched as one, and only what may match is opened."""

import shutil

from hypothesis import HealthCheck, given, settings, strategies as st
from support.databases import search
from support.effort import examples
from support.random_journals import AT, filters, journals, line

from vdbevents.journal import archive, history, packed
from vdbevents.journal.state import StateDirectory
from vdbevents.query.cache import build, index
from vdbevents.query.snapshot import Older
from vdbevents.times import Window

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


@settings(max_examples=examples(4), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    split_journals(),
    st.lists(filters, min_size=3, max_size=3),
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
