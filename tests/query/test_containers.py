"""Files that hold events in another form: an array with one a line is read, others are named, with advice."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pytest
import zstandard
from support.random_journals import said

from vdbevents.errors import InputError
from vdbevents.query import containers
from vdbevents.query.decompress import readable

EVENTS = [json.loads(said(text)) for text in ("one", "two", "three")]
LINES = "".join(said(text) + "\n" for text in ("one", "two", "three")).encode()


def tar(content):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo("a.jsonl")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def zipped(content):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.jsonl", content)
    return target.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        tar(LINES),
        gzip.compress(tar(LINES)),
        zipped(LINES),
        bz2.compress(LINES),
        lzma.compress(LINES),
        LINES.decode().encode("utf-16"),
        LINES.decode().encode("utf-16-le"),
        LINES.decode().encode("utf-16-be"),
        LINES.decode().encode("utf-32"),
        json.dumps(EVENTS, indent=2).encode(),
        json.dumps(EVENTS).encode(),
        json.dumps(EVENTS[0], indent=2).encode(),
        LINES.replace(b"\n", b""),
        LINES.replace(b"\n", b" "),
    ],
    ids=range(14),
)
def test_what_is_no_journal_is_named_with_advice(tmp_path, content):
    path = tmp_path / "my events.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        readable(path, lambda: tmp_path, str(path))
    assert refused.value.error_id == "journal-form"
    assert f"'{path}'" in refused.value.hint


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        LINES,
        b"\xef\xbb\xbf" + LINES,
        b"\0\0" + LINES,
        LINES.replace(b"\n", b"", 1),  # of two lines one lost its end
        b"{\n" + LINES,
        b"[1]\n" + LINES,
        b'{"torn":',
        said("x" * 100_000).encode(),
    ],
    ids=range(10),
)
def test_a_journal_with_a_damaged_line_is_a_journal(content):
    head = content[: containers.HEAD_BYTES]
    assert containers.container_of(head) is None
    assert not containers.is_line_array(head)


@pytest.mark.parametrize(
    "content",
    [
        b"[\n" + LINES.replace(b"\n", b",\n").removesuffix(b",\n") + b"\n]\n",
        b"[" + LINES.replace(b"\n", b",\r\n").removesuffix(b",\r\n") + b"]",
        b"[\n" + LINES,
        gzip.compress(b" [\n" + LINES + b"]"),
        zstandard.compress(b"\xef\xbb\xbf[\n  " + LINES.replace(b"\n", b",\n  ") + b"]"),
    ],
    ids=range(5),
)
def test_an_array_with_an_event_a_line_is_read(tmp_path, content):
    path = tmp_path / "events.json"
    path.write_bytes(content)
    journal = readable(path, lambda: tmp_path, str(path))
    assert (journal.is_copy, journal.path.read_bytes()) == (True, LINES)


def test_an_empty_array_is_an_empty_journal(tmp_path):
    path = tmp_path / "events.json"
    path.write_bytes(b"[]\n")
    assert readable(path, lambda: tmp_path, str(path)).path.read_bytes() == b""
