"""`vdbevents query` over several journals, archives and pipes, as a shell starts it."""

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from support.messages import error_id_in
from support.processes import PATIENCE, assert_failed, eventually, run

import vdbevents
from vdbevents.errors import InputError

DOCS = Path(__file__).parent.parent.parent / "docs"
EXAMPLE = (DOCS / "example.jsonl").read_bytes()
SCREEN = (DOCS / "example-screen.jsonl").read_bytes()
MERGED = ["laptop", "laptop", "laptop", "desk"]

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="as POSIX has it")


@pytest.fixture
def places(tmp_path, environ):
    """Two state directories and a folder of archives; where temporary files are is a folder of its own."""
    for name, content in {"laptop": EXAMPLE, "desk": SCREEN}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "videodb_events.jsonl").write_bytes(content)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "b.jsonl.gz").write_bytes(gzip.compress(SCREEN))
    (tmp_path / "logs" / "a.jsonl.zst").write_bytes(zstandard.compress(EXAMPLE))
    (tmp_path / "scratch").mkdir()
    environ["TMPDIR"] = environ["TEMP"] = environ["TMP"] = str(tmp_path / "scratch")
    return tmp_path


def asked(places, environ, *arguments, **options):
    """Ask within `places`; nothing of what was unpacked is left."""
    ended = run(["query", *arguments], environ, cwd=places, **options)
    assert list((places / "scratch").iterdir()) == []
    return ended


def hosts(ended):
    assert (ended.returncode, ended.stderr) == (0, "")
    return [line.split("\t")[0] for line in ended.stdout.splitlines()]


SPOKEN = ("--channel", "transcript", "--fields", "host,text")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dir", "laptop", "--dir", "desk"], MERGED),
        (["--dir", "desk", "--dir", "laptop"], MERGED),
        (["--dir", "one=laptop", "--file", "two=desk/videodb_events.jsonl"], ["one"] * 3 + ["two"]),
        (["--file", "*/videodb_events.jsonl"], MERGED),
        (["--file", "logs/*.zst", "--file", "logs/*.gz"], ["a"] * 3 + ["b"]),
        (["--file", "logs/*"], ["a"] * 3 + ["b"]),
        (["--file", "old=logs/*"], ["old"] * 4),
        (["--file", "logs/a.jsonl.zst", "--dir", "desk"], ["a"] * 3 + ["desk"]),
        (["--dir", "laptop", "--file", "laptop/videodb_events.jsonl", "--dir", "./laptop"], ["laptop"] * 3),
        (["--dir", "two=laptop", "--dir", "one=laptop"], ["two"] * 3),
        (["--file", "desk=~/logs/b.jsonl.gz"], ["desk"]),
    ],
)
def test_journals_are_named_in_many_ways_and_read_once(places, environ, arguments, expected):
    assert hosts(asked(places, environ, *arguments, *SPOKEN)) == expected


def test_a_path_with_an_equals_sign_is_a_path_if_it_is_there(places, environ):
    shutil.copytree(places / "laptop", places / "old=laptop")
    shutil.copy(places / "logs" / "b.jsonl.gz", places / "x=b.jsonl.gz")

    assert hosts(asked(places, environ, "--dir", "old=laptop", *SPOKEN)) == ["old=laptop"] * 3
    assert hosts(asked(places, environ, "--file", "x=*", *SPOKEN)) == ["x=b"]
    assert hosts(asked(places, environ, "--dir", "mine=old=laptop", *SPOKEN)) == ["mine"] * 3


@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("arguments", [["-"], ["--file", "-"], ["--file", "-", "--file", "-"]])
def test_a_pipe_is_read_whatever_packs_it(places, environ, packed, arguments):
    ended = asked(
        places, environ, *arguments, "--count", input=packed(EXAMPLE), stdin=None, text=None, encoding=None
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"10\n", b"")


def test_stdin_goes_with_other_journals(places, environ):
    packed = gzip.compress(SCREEN)
    arguments = [*("--dir", "laptop", "--file", "tablet=-"), *SPOKEN]

    ended = asked(places, environ, *arguments, input=packed, stdin=None, text=None, encoding=None)

    assert [line.split(b"\t")[0] for line in ended.stdout.splitlines()] == [b"laptop"] * 3 + [b"tablet"]


@needs_posix
def test_a_named_pipe_is_read_as_one(places, environ):
    os.mkfifo(places / "pipe")
    with subprocess.Popen(["sh", "-c", "cat logs/b.jsonl.gz > pipe"], cwd=places) as writer:
        ended = asked(places, environ, "pipe", "--count")
        assert writer.wait() == 0

    assert (ended.stdout, ended.stderr) == ("8\n", "")


def test_members_and_frames_one_after_another_are_all_read(places, environ):
    halves = EXAMPLE[:700], EXAMPLE[700:]
    without_data = b"\x50\x2a\x4d\x18\x04\x00\x00\x00pzst"
    (places / "two.gz").write_bytes(b"".join(map(gzip.compress, halves)))
    (places / "two.zst").write_bytes(without_data + b"".join(map(zstandard.compress, halves)))

    for name in ("two.gz", "two.zst"):
        ended = asked(places, environ, name, "-o", "jsonl", "--interim", "--all")
        assert sorted(ended.stdout.encode().splitlines()) == sorted(EXAMPLE.splitlines())


def test_the_content_tells_what_a_file_is_and_not_its_name(places, environ):
    (places / "really-gzip.jsonl").write_bytes(gzip.compress(EXAMPLE))
    (places / "really-zstd.gz").write_bytes(zstandard.compress(EXAMPLE))
    (places / "really-plain.zst").write_bytes(EXAMPLE)

    for file in places.glob("really-*"):
        assert asked(places, environ, file, "--count").stdout == "10\n"


LONG = b"".join(
    b'{"unix_ts":%d,"channel":"alert","data":{"text":"%s"}}\n'
    % (1_772_446_530 + n, os.urandom(40).hex().encode())
    for n in range(20_000)
)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_of_a_truncated_archive_what_is_there_is_searched_and_it_is_said(places, environ, pack):
    packed = pack(LONG)
    (places / "short.gz").write_bytes(packed[: len(packed) // 2])

    ended = asked(places, environ, "--file", "short.gz", "--dir", "desk", "--count")

    assert ended.returncode == 0
    assert 6_000 < int(ended.stdout) < 14_000
    assert "short.gz ends too early: searched what could be unpacked" in ended.stderr
    assert "desk" not in ended.stderr


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_of_a_damaged_archive_what_is_before_the_damage_is_searched(places, environ, pack):
    packed = bytearray(pack(LONG))
    middle = len(packed) // 2
    packed[middle : middle + 4000] = b"\xff" * 4000
    (places / "damaged.gz").write_bytes(packed)

    ended = asked(places, environ, "damaged.gz", "--count")

    assert ended.returncode == 0
    assert 6_000 < int(ended.stdout) < 14_000
    assert "damaged.gz is damaged (" in ended.stderr


@pytest.mark.parametrize("head", [b"", b"\x1f"])
def test_an_empty_archive_is_not_reported_as_a_wrong_name(places, environ, head):
    (places / "empty.gz").write_bytes(head)

    ended = asked(places, environ, "empty.gz")

    assert_failed(ended, 1, "empty.gz", "searched what could be unpacked")


def test_problems_are_reported_for_their_journal(places, environ):
    gap = (
        b'{"unix_ts":1772446600,"channel":"vdbevents","event":"listener.gap",'
        b'"data":{"since":1772446500.0,"until":1772446599.0}}'
    )
    (places / "laptop" / "videodb_events.jsonl").write_bytes(EXAMPLE + b"{torn\n" + gap + b"\n")
    (places / "empty.jsonl").touch()

    ended = asked(places, environ, "--dir", "laptop", "--dir", "desk", "--file", "empty.jsonl", "--count")

    journal = places / "laptop" / "videodb_events.jsonl"
    assert f"1 line is unreadable and left out, in {journal}" in ended.stderr
    assert "the journal empty.jsonl is empty" in ended.stderr
    assert f"{journal}: gap from " in ended.stderr
    assert f"see: vdbevents gaps {journal} --open" in ended.stderr
    assert "desk" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "error_id", "said"),
    [
        (["--file", "nothing/*.gz"], "file-missing", "nothing/*.gz"),
        (["--file", "nothing.gz"], "file-missing", "nothing.gz"),
        (["--file", "x=nothing.gz"], "file-missing", "nothing.gz"),
        (["--dir", "nowhere"], "path-missing", "nowhere"),
        (["--dir", "logs"], "journal-missing", "logs"),
        (["--file", "laptop"], "file-invalid", "--dir laptop"),
        (["--dir", "logs/b.jsonl.gz"], "directory-invalid", "--file logs"),
        (["--file", "none.gz"], "archive-invalid", "none.gz"),
        (["laptop", "--dir", "desk"], "options-conflict", "--dir laptop"),
        (["-", "--file", "logs/b.jsonl.gz"], "options-conflict", "--file -"),
        (["laptop", "--fields", "host"], "field-unknown", "--dir or --file"),
        (["--follow", "--dir", "laptop", "--dir", "desk"], "follow-several-journals", "several"),
        (["--follow", "--file", "logs/*"], "follow-several-journals", "several"),
        (["--follow", "-"], "follow-source-invalid", "stdin"),
        (["--follow", "--file", "logs/b.jsonl.gz"], "follow-source-invalid", "b.jsonl.gz"),
        (["--follow", "logs/b.jsonl.gz"], "follow-source-invalid", "b.jsonl.gz"),
    ],
)
def test_an_unreadable_journal_is_refused_with_a_hint(places, environ, arguments, error_id, said):
    (places / "none.gz").write_bytes(b"PK\x03\x04")

    refused = asked(places, environ, *arguments)

    assert_failed(refused, 2, said)
    assert error_id_in(refused.stderr) == error_id
    assert refused.stdout == ""


@needs_posix
def test_unpacked_files_are_private_and_gone_after_ctrl_c(places, environ):
    command = [sys.executable, "-m", "vdbevents", "query", "-", "--count"]
    with subprocess.Popen(
        command,
        cwd=places,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as waiting:
        [copied] = eventually(lambda: list((places / "scratch").rglob("*.jsonl")))
        assert (copied.stat().st_mode & 0o777, copied.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        # A signal that comes just before it waits for stdin is seen only when another interrupts that.
        while waiting.poll() is None:
            waiting.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                waiting.wait(10)
        assert waiting.returncode == 130

    assert list((places / "scratch").iterdir()) == []


def test_an_invalid_pattern_leaves_nothing_behind(places, environ):
    refused = asked(places, environ, "--file", "logs/*", "-E", "--grep", "(code")

    assert_failed(refused, 2, "(code")
    assert error_id_in(refused.stderr) == "pattern-invalid"


@needs_posix
@pytest.mark.parametrize(
    "arguments",
    [["--dir", "laptop"], ["--file", "lapt*/*.jsonl"], ["--file", "x=laptop/videodb_events.jsonl"]],
)
def test_one_journal_that_is_named_by_an_option_can_be_followed(places, environ, arguments):
    command = [sys.executable, "-m", "vdbevents", "query", "-f", *arguments, "-n", "1", "-o", "jsonl"]
    with subprocess.Popen(
        command, cwd=places, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as following:
        assert following.stdout.readline() == EXAMPLE.splitlines(keepends=True)[-1]
        following.send_signal(signal.SIGINT)
        assert following.wait(PATIENCE) == 130


TAR_SIGN = b"a.jsonl".ljust(257, b"\0") + b"ustar\0"


def test_every_reader_takes_archives_and_our_own_array_and_refuses_the_rest(tmp_path, environ):
    data = b'{"id":"gap-1","since":1772446530123,"until":1772446530124,"status":"open"}'
    gap = b'{"unix_ts":1772446530,"channel":"vdbevents","event":"listener.gap","data":%b}\n' % data
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(EXAMPLE + gap))
    (tmp_path / "bad.jsonl").write_bytes(TAR_SIGN)
    array = run(["query", "a.jsonl.gz", "-o", "json", "--interim", "--all"], environ, cwd=tmp_path).stdout
    (tmp_path / "array.json").write_text(array)
    lines = len(EXAMPLE.splitlines()) + 1
    count = "SELECT count(*) AS events FROM events"
    for name in ("a.jsonl.gz", "array.json"):
        assert len(json.loads(run(["gaps", name, "--json"], environ, cwd=tmp_path).stdout)) == 1
        assert run(["sql", count, name, "-o", "csv"], environ, cwd=tmp_path).stdout == f"events\n{lines}\n"
        journal = vdbevents.open(tmp_path / name)
        with journal.query(interim=True, recorder=True) as found:
            assert (len(found), found.trouble) == (lines, "")
        assert journal.sql(count) == [{"events": lines}]
        followed = run(["query", name, "--follow"], environ, cwd=tmp_path)
        assert error_id_in(followed.stderr) == "follow-source-invalid"
    for command in (["query"], ["gaps"], ["sql", count], ["query", "--follow"]):
        refused = run([*command, "bad.jsonl"], environ, cwd=tmp_path)
        assert (refused.returncode, error_id_in(refused.stderr)) == (2, "journal-form")
    with pytest.raises(InputError):
        vdbevents.open(tmp_path / "bad.jsonl").query()
