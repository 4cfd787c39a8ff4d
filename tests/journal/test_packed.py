"""A packed journal has the same bytes as before, at the same places; any part is read without the rest."""

import random
import shutil
import subprocess

import pytest
import zstandard
from hypothesis import given, strategies as st

from vdbevents.journal import packed

FRAME = 1 << 12


@pytest.fixture(scope="module", autouse=True)
def small_frames():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "FRAME_BYTES", FRAME)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packed")


def pack(path, content, step=1000):
    with path.open("wb") as target:
        packer = packed.Packer(target)
        for start in range(0, len(content), step):
            packer.write(content[start : start + step])
        packer.finish()
    return path


def some_bytes(size):
    return random.Random(size).randbytes(size)


@given(st.integers(0, 3 * FRAME + 1), st.integers(1, 2 * FRAME))
def test_the_content_is_that_which_was_packed(folder, size, step):
    content = some_bytes(size)

    with packed.PackedFile(pack(folder / "a.jsonl.zst", content, step)) as file:
        assert file.size == size
        assert file.readall() == content
        assert file.read() == b""


@given(st.integers(0, 3 * FRAME), st.integers(0, 2 * FRAME))
def test_a_part_is_read_from_its_place(folder, start, size):
    path = folder / "parts.jsonl.zst"
    content = some_bytes(3 * FRAME - 7)
    if not path.exists():
        pack(path, content)

    with packed.PackedFile(path) as file:
        file.seek(start)
        data = b""
        while len(data) < size and (more := file.read(size - len(data))):
            data += more

    assert data == content[start : start + size]


def test_only_the_frames_of_a_part_are_unpacked(folder, monkeypatch):
    path = pack(folder / "b.jsonl.zst", some_bytes(10 * FRAME))
    read = []
    one = packed.PackedFile._read_frame_bytes
    monkeypatch.setattr(
        packed.PackedFile,
        "_read_frame_bytes",
        lambda file, number: (read.append(number), one(file, number))[1],
    )

    with packed.PackedFile(path) as file:
        read.clear()
        file.seek(7 * FRAME + 10)
        file.read(100)
        file.seek(7 * FRAME + 500)
        file.read(100)

    assert read == [7]


def test_other_programs_unpack_it(folder):
    content = some_bytes(2 * FRAME + 5)
    path = pack(folder / "c.jsonl.zst", content)

    assert (
        zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        == content
    )
    if tool := shutil.which("zstd"):
        assert subprocess.run([tool, "-dc", path], capture_output=True, check=True).stdout == content


def test_what_has_no_table_is_not_seekable(folder):
    path = folder / "d.jsonl.zst"
    whole = pack(folder / "whole.jsonl.zst", some_bytes(100)).read_bytes()
    for content in (b"", b"x", zstandard.compress(some_bytes(100)), whole[:-1], whole[1:], whole + b"x"):
        path.write_bytes(content)
        with pytest.raises(packed.NotSeekableError):
            packed.PackedFile(path)


def test_a_damaged_frame_is_an_error(folder):
    path = pack(folder / "e.jsonl.zst", some_bytes(3 * FRAME))
    data = bytearray(path.read_bytes())
    data[FRAME + 100] ^= 1
    path.write_bytes(data)

    with packed.PackedFile(path) as file:
        assert file.read(10) == some_bytes(3 * FRAME)[:10]
        file.seek(FRAME)
        with pytest.raises(OSError, match="damaged"):
            file.read(10)


def test_the_identity_is_that_of_the_content(folder):
    identities = []
    for name, content in (("1", b"a" * 5000), ("2", b"a" * 5000), ("3", b"a" * 4999 + b"b")):
        with packed.PackedFile(pack(folder / f"{name}.jsonl.zst", content)) as file:
            identities.append(file.identity)

    assert identities[0] == identities[1] != identities[2]


def test_a_journal_is_opened_packed_or_not(folder):
    plain = folder / "f.jsonl"
    plain.write_bytes(b"{}\n")

    for path in (plain, pack(folder / "f.jsonl.zst", b"{}\n")):
        with packed.open_content(path) as file:
            assert file.read() == b"{}\n"


def test_what_another_program_packed_is_unpacked(folder):
    path = folder / "other.jsonl.zst"
    path.write_bytes(zstandard.compress(b"first\n") + zstandard.compress(b"second\n"))

    with packed.open_content(path) as file:
        assert file.read() == b"first\nsecond\n"
        assert file.identity == path.stat().st_ino

    whole = zstandard.ZstdCompressor(write_checksum=True).compress(some_bytes(1000))
    for damaged, message in ((whole[:-10], "too early"), (whole[:-10] + b"0123456789", "damaged")):
        path.write_bytes(damaged)
        with pytest.raises(OSError, match=message):
            packed.open_content(path)
