"""`vdbevents cache`, and what queries and a listener do with it, as a user meets it."""

import itertools
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from support import sealed_journals
from support.messages import error_id_in
from support.processes import Process, all_shown, assert_failed, eventually, run

from vdbevents.query.cache import index

MIB = 1 << 20
# At the lowest priority this takes long while other tests run.
POLITE_SECONDS = 300
NOW = int(time.time())


def line(number, text, padding=600):
    """A transcript; the n-th is n seconds after ten days ago."""
    at = NOW - 864_000 + number
    ts = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
    data = {"text": text, "is_final": True, "start": at * 1000, "padding": "x" * padding}
    event = {"ts": ts, "unix_ts": at, "channel": "transcript", "rtstream_id": "rts-1", "data": data}
    return json.dumps(event).encode() + b"\n"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A journal with one full piece and a little more."""
    path = tmp_path_factory.mktemp("recorded") / "journal.jsonl"
    write(path, 33 * MIB, 600, padding=6000)
    return path


def write(path, size, words, padding=600):
    """Writes a journal of so many bytes at least, with so many words that come again and again."""
    number = 0
    with path.open("wb") as sink:
        while sink.tell() < size:
            number += 1
            sink.write(line(number, f"the word{number % words} of {number}", padding))


@pytest.fixture
def journal(recorded, state):
    shutil.copy(recorded, state.journal)
    return state.journal


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache" / "vdbevents"


@pytest.fixture
def folder(journal, root):
    return index.folder_of(journal, root)


@pytest.fixture
def sealed(state, root):
    """A small journal that is sealed in small pieces."""
    write(state.journal, MIB // 2, 50)
    assert len(sealed_journals.sealed(state.journal, root, piece=100_000).segments) == 5
    return state.journal


def answer(journal, environ, *arguments):
    """What a query prints."""
    ended = run(["query", journal, *arguments, "-o", "jsonl"], environ)
    assert ended.returncode in (0, 1), ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


@pytest.mark.long
def test_a_cache_is_built_shown_and_cleared(journal, folder, environ):
    content = journal.read_bytes()
    before = run(["cache", "status", journal.parent], environ)
    assert (before.returncode, before.stderr) == (1, "")
    assert "sealed   nothing\ncache    none\n" in before.stdout

    built = run(["cache", "build", journal.parent, "--low-priority"], environ, timeout=POLITE_SECONDS)
    assert (built.returncode, built.stdout) == (0, "32.0 MiB of 33.0 MiB are sealed\n"), built.stderr

    shown = run(["cache", "status", journal], environ)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "(97 %) in 1 segment\n" in shown.stdout
    told = json.loads(run(["cache", "status", journal, "--json"], environ).stdout)
    assert told == {
        "journal": str(journal),
        "journal_bytes": len(content),
        "sealed_bytes": index.load(journal, folder.parent).end,
        "segments": 1,
        "folder": str(folder),
        "fits": True,
        "cache_bytes": index.size_of(folder),
        "cache_percent": told["cache_percent"],
        "root": str(folder.parent),
        "caches": 1,
        "caches_bytes": index.size_of(folder),
        "orphans": 0,
        "orphans_bytes": 0,
    }

    cleared = run(["cache", "clear", journal.parent], environ)
    assert (cleared.returncode, cleared.stdout) == (0, "")
    assert "1 cache removed" in cleared.stderr
    assert not folder.exists()
    again = run(["cache", "clear", journal.parent], environ)
    assert_failed(again, 1, "no cache of")
    assert journal.read_bytes() == content


def test_the_cache_of_a_journal_that_is_gone_is_cleared_by_its_path(sealed, root, environ):
    sealed.unlink()

    refused = run(["cache", "status", sealed], environ)
    assert_failed(refused, 2, str(sealed))
    assert error_id_in(refused.stderr) == "path-missing"
    assert run(["cache", "clear", sealed], environ).returncode == 0
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["cache", "build", "other.jsonl"], 0),
        (["query", "other.jsonl", "--count"], 1),
        (["sql", "SELECT 1", "other.jsonl"], 0),
        (["query", "gone"], 2),
        (["sql", "SELECT 1", "gone"], 2),
    ],
    ids=["build", "query", "sql", "query of what is gone", "sql of what is gone"],
)
def test_the_cache_of_a_journal_that_is_gone_is_removed_by_the_next_command(
    command, code, sealed, root, environ
):
    sealed.unlink()
    home = Path(environ["HOME"])
    other = home / "other.jsonl"
    other.write_bytes(b"")
    assert "1 cache without a journal" in run(["cache", "status", other], environ).stdout

    assert run(command, environ, cwd=home).returncode == code

    assert not list(root.rglob("*.parquet"))
    assert_failed(run(["cache", "clear", "--orphans"], environ), 1, "whose journal is gone")


def test_all_caches_are_cleared_and_nothing_else(sealed, root, environ):
    (root / ("a" * 32)).mkdir()
    (root / ("a" * 32) / "letter.txt").touch()
    (root / "other").mkdir()

    refused = run(["cache", "clear", sealed, "--all"], environ)
    assert_failed(refused, 2, "--all")
    assert error_id_in(refused.stderr) == "options-conflict"
    ended = run(["cache", "clear", "--all"], environ)

    assert_failed(ended, 2, "1 cache removed", "a" * 32)
    assert error_id_in(ended.stderr) == "cache-foreign"
    assert not index.folder_of(sealed, root).exists()
    assert (root / ("a" * 32) / "letter.txt").exists()
    assert (root / "other").exists()


@pytest.mark.parametrize("command", ["build", "status"])
def test_without_a_journal_there_is_nothing_to_seal(command, environ, tmp_path):
    refused = run(["cache", command, tmp_path], environ)
    assert_failed(refused, 2)
    assert error_id_in(refused.stderr) == "journal-missing"


def test_a_small_journal_is_not_sealed_without_an_error(state, environ, root):
    state.journal.write_bytes(line(1, "short"))

    built = run(["cache", "build", state.path], environ)

    assert (built.returncode, built.stderr) == (0, "")
    assert built.stdout.startswith("0 B of ")
    assert (
        "sealed   nothing yet (first 8.0 MiB not reached)"
        in run(["cache", "status", state.path], environ).stdout
    )


def limit_files():
    """No file may get larger than 64 KiB: the errors are those of a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
@pytest.mark.parametrize("why", ["a file", "no room"])
def test_a_query_that_cannot_write_a_cache_says_so_and_continues(journal, environ, tmp_path, why):
    options = {"preexec_fn": limit_files} if why == "no room" else {}
    if why == "a file":
        (tmp_path / "cache").touch()

    built = run(["cache", "build", journal], environ, **options)
    assert_failed(built, 74, "XDG_CACHE_HOME")
    assert error_id_in(built.stderr) == "cache-unwritable"
    asked = run(["query", journal, "--grep", "word17", "-w", "--count"], environ, **options)

    assert (asked.returncode, asked.stdout) == (0, "10\n"), asked.stderr
    assert error_id_in(asked.stderr) == "cache-unwritable"
    assert "--no-cache" in asked.stderr
    assert run(["cache", "status", journal], environ).returncode == 1
    assert run(["query", journal, "-n", "1", "--no-cache"], environ).stderr == ""


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_directory_that_may_not_be_written_keeps_nobody_from_searching(journal, environ, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o500)

    asked = run(["query", journal, "-n", "1"], environ)

    assert asked.returncode == 0
    assert error_id_in(asked.stderr) == "cache-unwritable"


QUESTIONS = [
    ["--grep", "word17", "-w"],
    ["-n", "2", "--offset", "500", "--reverse"],
    ["--any", "word42", "--any", "word43", "--around", "2s"],
    ["--since", f"@{NOW - 864_000 + 300}", "--until", f"@{NOW - 864_000 + 310}"],
    ["--grep", "appended"],
]


@pytest.mark.parametrize("question", QUESTIONS, ids=["words", "newest", "around", "window", "appended"])
def test_an_answer_is_the_same_with_the_cache_and_without(sealed, environ, question):
    with sealed.open("ab") as sink:
        sink.write(line(60_000, "appended"))

    told = answer(sealed, environ, *question)

    assert told == answer(sealed, environ, *question, "--no-cache")
    assert told


def test_an_answer_is_the_same_while_the_journal_is_sealed_and_after_the_cache_was_cleared(
    journal, folder, environ, started
):
    question = QUESTIONS[0]
    expected = answer(journal, environ, *question, "--no-cache")
    sealer = started(Process(["cache", "build", journal], environ))
    eventually((folder / "lock").exists)

    assert answer(journal, environ, *question) == expected
    assert sealer.ends() == 0
    assert run(["cache", "clear", journal], environ).returncode == 0
    assert answer(journal, environ, *question) == expected


@pytest.mark.parametrize("damage", ["removed", "emptied", "no cache at all"])
def test_a_cache_that_was_damaged_is_as_good_as_none(sealed, root, environ, damage):
    expected = answer(sealed, environ, "--no-cache")
    folder = index.folder_of(sealed, root)
    events = sorted(folder.glob("*.parquet"))[2]
    if damage == "removed":
        events.unlink()
    elif damage == "emptied":
        events.write_bytes(b"")
    else:
        (folder / "manifest.json").write_text("{}")

    assert answer(sealed, environ) == expected


def test_that_a_journal_was_emptied_is_noticed(sealed, environ):
    with sealed.open("r+b") as emptied:
        emptied.truncate()
        emptied.write(line(1, "all is new"))

    shown = run(["cache", "status", sealed], environ)

    assert shown.returncode == 1
    assert "the cache does not fit the journal" in shown.stdout
    assert "all is new" in answer(sealed, environ)


def test_that_a_journal_was_rewritten_is_noticed(sealed, environ):
    content = sealed.read_bytes().replace(b"the word17 of", b"the word18 of")
    (sealed.parent / "rewritten").write_bytes(content)
    (sealed.parent / "rewritten").replace(sealed)

    assert answer(sealed, environ, "--grep", "word17", "-w") == ""
    assert run(["cache", "status", sealed], environ).returncode == 1


@pytest.mark.parametrize(
    "arguments", [["--last", "25h"], ["--no-cache"], ["--since", "@0", "--until", "@90000"]]
)
def test_a_short_window_or_a_wish_for_no_cache_writes_none(journal, root, environ, arguments):
    run(["query", journal, "--count", *arguments], environ)

    assert not root.exists()


def test_more_than_a_day_is_a_long_window(journal, folder, environ):
    run(["query", journal, "--count", "--last", "26h"], environ)

    assert (folder / "manifest.json").exists()


@pytest.fixture
def held(folder):
    """Has the cache be written by another, until it is released."""
    folder.mkdir(parents=True)
    lock = FileLock(folder / "lock")
    lock.acquire()
    yield lock
    lock.release()


def test_long_sealing_is_reported_once_in_a_pipe(journal, environ, started, held):
    asked = started(Process(["query", journal, "--count"], environ))
    asked.says("indexing")
    held.release()

    assert asked.ends() == 0
    assert asked.err == (
        f"vdbevents: indexing 32.0 MiB of {journal} (first time only)\n  → use --no-cache to search without\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="it makes a terminal")
def test_long_sealing_is_a_temporary_bar_on_a_terminal(journal, environ, started, held):
    outside, inside = os.openpty()
    environ = {**environ, "TERM": "xterm", "COLUMNS": "80"}
    build = started(Process(["cache", "build", journal], environ, stderr=inside))
    os.close(inside)
    told = b""
    while b"indexing the journal" not in told:
        told += os.read(outside, 1 << 16)
    held.release()
    told += all_shown(outside)
    os.close(outside)

    assert build.ends() == 0
    assert b"MiB" in told
    assert told.endswith(b"\x1b[2K")
    assert build.out == "32.0 MiB of 33.0 MiB are sealed\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sealer_that_waits_ends_when_it_is_asked_to(journal, environ, started, number):
    build = started(Process(["cache", "build", journal], environ))
    build.says("indexing")

    build.process.send_signal(number)

    assert build.ends() == 130
    assert "Traceback" not in build.err


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_repeated_ctrl_c_leaves_nothing_unfinished(tmp_path, root, environ, started):
    journal = tmp_path / "journal.jsonl"
    write(journal, 100 * MIB, 600, padding=6000)
    build = started(Process(["cache", "build", journal], environ))
    eventually(lambda: list(root.glob("*/scratch-*/0.jsonl")))
    # What was laid out is removed when it is read: that is worked on then.
    eventually(lambda: not list(root.glob("*/scratch-*/0.jsonl")))

    for number in itertools.cycle([signal.SIGINT, signal.SIGTERM]):
        if build.process.poll() is not None:
            break
        build.process.send_signal(number)
        time.sleep(0.01)

    assert build.ends() == 130
    assert [line for line in build.err.splitlines() if "indexing" not in line] == []
    assert not list(root.glob("*/scratch-*"))


def sealers(journal):
    """The processes that seal a journal."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--low-priority" in words and os.fsencode(journal) in words:
            found.append(int(process.name))
    return found


def test_a_listener_seals_the_journal_by_itself(journal, folder, listen, environ, service):
    listener = listen()
    listener.connected()

    eventually((folder / "manifest.json").exists, POLITE_SECONDS)
    service.send(json={"channel": "transcript", "data": {"text": "recorded after"}})
    listener.receives(lambda event: "recorded after" in str(event))

    assert listener.stop() == 0
    assert "cache" not in listener.err
    assert "recorded after" in answer(journal, environ, "--grep", "recorded after")


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.usefixtures("held")
def test_the_sealer_is_out_of_reach_of_the_terminal_and_ends_with_the_listener(journal, listen):
    listener = listen()
    [sealer] = eventually(lambda: sealers(journal))
    assert os.getsid(sealer) == sealer

    listener.connected()
    assert sealers(journal) == [sealer]
    assert listener.stop(signal.SIGINT) == 130
    assert sealers(journal) == []


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_a_listener_that_is_killed_leaves_a_sealer_that_ends_by_itself(journal, folder, listen, held):
    listener = listen()
    eventually(lambda: sealers(journal))

    listener.kill()
    assert sealers(journal)
    held.release()

    eventually((folder / "manifest.json").exists, POLITE_SECONDS)
    eventually(lambda: not sealers(journal), POLITE_SECONDS)


def test_a_listener_seals_nothing_if_it_is_not_to(journal, root, listen):
    listener = listen("--no-seal")
    listener.connected()
    time.sleep(1)

    assert listener.stop() == 0
    assert not root.exists()


def test_a_cache_that_cannot_be_written_does_not_disturb_a_listener(
    journal, listen, environ, tmp_path, service
):
    (tmp_path / "cache").touch()
    listener = listen()
    listener.connected()
    service.send(json={"channel": "transcript", "data": {"text": "all the same"}})

    listener.receives(lambda event: "all the same" in str(event))
    assert listener.stop() == 0
    assert "Traceback" not in listener.err


def test_verify_tells_a_damaged_cache_from_a_whole_one(sealed, root, environ):
    assert run(["cache", "verify", sealed], environ).returncode == 0
    cache = index.load(sealed, root)
    with cache.events(cache.segments[2]).open("r+b") as file:
        file.seek(2000)
        file.write(b"damage")
    damaged = run(["cache", "verify", sealed], environ)
    assert (damaged.returncode, error_id_in(damaged.stderr)) == (74, "cache-damaged")
    assert run(["cache", "clear", sealed], environ).returncode == 0
    assert run(["cache", "verify", sealed], environ).returncode == 1
