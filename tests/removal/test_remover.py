"""What is removed is gone from the bytes of every file of a state directory and its caches."""

import dataclasses
import errno
import json

import pytest
from support.journals import AT, open_journal

from vdbevents.api import OpenJournal
from vdbevents.events import envelope
from vdbevents.journal import archive, rewrite
from vdbevents.journal.packed import Packer
from vdbevents.privacy.redaction import Redactor
from vdbevents.query.cache import archived_caches, build, index
from vdbevents.removal.forgetting import Forgetting, Words
from vdbevents.removal.leftovers import files_with
from vdbevents.removal.redacting import Redacting
from vdbevents.removal.remover import Remover, Task
from vdbevents.removal.retention import Retention, RetentionRules
from vdbevents.times import Window

SECRET = "xylophonic quokka"
MINUTE = 60_000
DAY = 86_400_000
# AWS's own example of a key.
KEY = "AKIAIOSFODNN7EXAMPLE"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "caches"


def said(at, text, **members):
    data = {"text": text, "start": at - 2_000, "end": at - 1_000, "is_final": True}
    message = {"channel": "transcript", "rtstream_id": "rts-1", "rtstream_name": "mic:default", "data": data}
    return envelope.envelop(json.dumps({**message, **members}).encode(), at).line


def forms_of(at, text):
    """The lines of words that are written in every form."""
    interim = {"text": text[:14], "is_final": False}
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in text)
    yield said(at, text[:14], data=interim)
    yield said(at + 1, text)
    yield b'{"ts":"%b","unix_ts":%.3f,"channel":"alert","data":{"explanation":"%b"}}\n' % (
        envelope.utc_text(at).encode(), at / 1000, escaped.encode()
    )  # fmt: skip
    yield envelope.envelop(f"<raw> {text}".encode(), at).line
    yield envelope.envelop(b"\xff" + text.encode(), at).line
    yield envelope.delivered_record(json.dumps({"event": "alert", "label": text}).encode(), at).line


def set_aside(state, kind, at, lines, *, packed=True):
    archive.create_archive(state)
    path = archive.free_path(state, kind, at, at + MINUTE, packed=packed)
    with path.open("wb") as file:
        if packed:
            packer = Packer(file)
            packer.write(b"".join(lines))
            packer.finish()
        else:
            file.writelines(lines)
    return path


def seal(journal, root):
    build.seal(journal, root, piece=1, part=1)
    assert any(path.suffix == ".words" for path in index.folder_of(journal, root).iterdir())


def recorded(state, root):
    """Write the secret in every form to every file that a recorder has; return the time it was said at."""
    at = AT
    neighbours = said(at - 30 * MINUTE, "before"), said(at + 30 * MINUTE, "after")
    lines = [neighbours[0], *forms_of(at, SECRET), neighbours[1]]
    plain = set_aside(state, "rotated", at - DAY, [said(at - DAY, "yesterday"), *lines], packed=False)
    set_aside(state, "cleared", at - 2 * DAY, lines)
    set_aside(state, "rotated", at - 3 * DAY, [said(at - 3 * DAY, "earlier")])
    opened = open_journal(state)
    opened.append(lines)
    opened.append([said(at + 60 * MINUTE, SECRET, backfilled=True, data={"text": SECRET, "start": at})])
    with state.journal.open("ab") as torn:
        torn.write(b'{"ts":"%b","unix_ts":%.3f,"channel":"transcript","data":{"text":"a xylophonic qu' % (
            envelope.utc_text(at).encode(), at / 1000
        ))  # fmt: skip
    state.torn.write_bytes(b"kept {\n" + forms_of(at, SECRET).__next__()[:-5] + b"\n")
    for journal in (state.journal, plain):
        seal(journal, root)
    return at


def bytes_of(*folders):
    """All bytes of all files, and what is packed or encoded in them."""
    content = []
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        content += [path.read_bytes(), *(rewrite.archived_lines(path) if path.suffix == ".zst" else ())]
    whole = b"\n".join(content)
    return whole + whole.decode("utf-8", "replace").encode("ascii", "replace").lower()


def remover(state, task, root):
    return Remover(state, task, root, clock_ms=lambda: AT, day_of=lambda at: str(at // DAY))


def forget(window, words=None):
    selection = Forgetting(window, words)
    return Task(selection, "journal.forgotten", {}, torn_without=selection.torn_without,
                forgotten=lambda: selection.spans)  # fmt: skip


def assert_gone(state, root):
    content = bytes_of(state.path, root)
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in SECRET).encode()
    for part in (b"xylophonic", b"quokka", escaped[:40], b"eHlsb3Bob25pYy"):
        assert part not in content, part
    assert b"before" in content
    assert b"after" in content


@pytest.mark.parametrize("by", ["time", "words"])
def test_what_is_forgotten_is_in_no_byte_of_the_state_and_the_caches(state, root, by):
    at = recorded(state, root)
    assert b"xylophonic quokka" in bytes_of(state.path)
    assert b"quokka" in bytes_of(root)
    window = Window(at - MINUTE, at + MINUTE) if by == "time" else Window()
    task = forget(window, Words(SECRET) if by == "words" else None)

    plan = remover(state, task, root).plan()
    done = remover(state, task, root).carry_out()

    # The torn end of the journal becomes a torn line only when the journal is rewritten.
    assert [file.name for file in done.files] == [file.name for file in plan.files]
    assert done.total.events == plan.total.events
    assert_gone(state, root)
    events = [json.loads(line) for line in state.journal.read_bytes().splitlines()]
    marks = [event["data"] for event in events if event.get("event") == "journal.forgotten"]
    assert [mark["file"].split("-")[0] for mark in marks] == [
        "archive/cleared", "archive/rotated", "videodb_events.jsonl"
    ]  # fmt: skip
    assert remover(state, task, root).plan().files == []
    assert files_with(state, Words(SECRET)) == []


def test_nothing_is_changed_by_showing_it(state, root):
    recorded(state, root)
    before = bytes_of(state.path, root)

    plan = remover(state, forget(Window(), Words(SECRET)), root).plan()

    assert plan.total.events > 10
    assert bytes_of(state.path, root) == before


def test_what_is_too_old_goes_with_whole_files(state, root):
    old, older = AT - 100 * DAY, AT - 200 * DAY
    whole = set_aside(state, "rotated", older, [said(older, "older"), said(older + MINUTE, "older")])
    part = set_aside(state, "cleared", old, [said(old, "old"), said(AT - DAY, "new")])
    kept = set_aside(state, "rotated", AT - DAY, [said(AT - DAY, "new")])
    untouched = kept.stat()
    open_journal(state).append([said(old, "old"), said(AT, "new")])
    retention = Retention(RetentionRules(90 * DAY), AT)
    task = Task(retention, "journal.pruned", {"older_than": "90d"},
                may_hold=lambda journal: journal.from_ms < retention.oldest_kept_ms)  # fmt: skip

    done = remover(state, task, root).carry_out()

    assert not whole.exists()
    assert [json.loads(line)["data"]["text"] for line in rewrite.archived_lines(part)] == ["new"]
    assert kept.stat() == untouched
    assert [(file.tally.events, file.is_whole) for file in done.files] == [(2, True), (1, False), (1, False)]
    events = [json.loads(line) for line in state.journal.read_bytes().splitlines()]
    assert [event["data"]["text"] for event in events if event["channel"] == "transcript"] == ["new"]
    marks = [event["data"] for event in events if event.get("event") == "journal.pruned"]
    assert [(mark["events"], mark["older_than"]) for mark in marks] == [(2, "90d"), (1, "90d"), (1, "90d")]
    assert marks[0]["since"] == envelope.utc_text(older)


def test_what_the_rules_find_is_replaced_and_counted_and_never_shown(state, root):
    lines = [said(AT, f"my key is {KEY}"), said(AT + 1, "nothing")]
    path = set_aside(state, "rotated", AT - DAY, lines)
    open_journal(state).append(lines)
    state.torn.write_bytes(lines[0][:-10] + b"\n")
    seal(state.journal, root)
    redacting = Redacting(Redactor())
    task = Task(redacting, "journal.redacted", {}, torn_without=redacting.torn_without)

    done = remover(state, task, root).carry_out()

    assert KEY.encode() not in bytes_of(state.path, root)
    assert b"[redacted:api-key]" in state.torn.read_bytes()
    assert done.total.kinds == {"api-key": 2}
    assert [event["data"].get("text") for event in map(json.loads, rewrite.archived_lines(path))] == [
        "my key is [redacted:api-key]", "nothing"
    ]  # fmt: skip
    assert remover(state, task, root).plan().files == []


def test_a_full_disk_keeps_everything_but_what_makes_room(state, root, monkeypatch):
    old = AT - 100 * DAY
    whole = set_aside(state, "rotated", old, [said(old, "old")])
    open_journal(state).append([said(AT, "new")])
    retention = Retention(RetentionRules(90 * DAY), AT)
    task = Task(retention, "journal.pruned", {})
    really_write_down = Remover._write_down

    def write_down(self, data):
        if whole.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        really_write_down(self, data)

    monkeypatch.setattr(Remover, "_write_down", write_down)
    remover(state, task, root).carry_out()

    assert not whole.exists()
    assert b"journal.pruned" in state.journal.read_bytes()


def test_a_journal_that_is_rotated_meanwhile_is_searched_where_it_is_then(state, root, monkeypatch):
    open_journal(state).append([said(AT, SECRET), said(AT + 1, "before")])
    really_rewrite = rewrite.rewrite_journal

    def rotate_first(directory, *arguments, **options):
        monkeypatch.setattr(rewrite, "rewrite_journal", really_rewrite)
        archive.create_archive(directory)
        directory.journal.rename(archive.free_path(directory, "rotated", AT, AT + 1, packed=False))
        open_journal(directory).append([said(AT + 2, "after")])
        return really_rewrite(directory, *arguments, **options)

    monkeypatch.setattr(rewrite, "rewrite_journal", rotate_first)
    remover(state, forget(Window(), Words(SECRET)), root).carry_out()

    assert_gone(state, root)


def test_a_crash_between_packing_and_removing_leaves_no_words_in_the_plain_file(state, root):
    lines = [said(AT, SECRET), said(AT, "before after")]
    set_aside(state, "rotated", AT, lines)
    (state.archive / "x").write_bytes(b"".join(lines))
    [journal] = archive.archived(state)
    (state.archive / "x").rename(journal.path.with_suffix(""))

    remover(state, forget(Window(), Words(SECRET)), root).carry_out()

    assert_gone(state, root)
    assert len(archive.archived(state)) == 1


def test_a_damaged_archive_is_reported_and_left_unless_all_of_it_goes(state, root):
    path = set_aside(state, "rotated", AT, [said(AT, SECRET)])
    content = path.read_bytes()[:80]
    path.write_bytes(content)
    open_journal(state).append([said(AT, SECRET)])

    done = remover(state, forget(Window(), Words(SECRET)), root).carry_out()
    assert [error.error_id for error in done.damaged] == ["archive-damaged"]
    assert [file.name for file in done.files] == ["videodb_events.jsonl"]
    assert path.read_bytes() == content

    retention = Retention(RetentionRules(DAY), AT + 10 * DAY)
    task = Task(retention, "journal.pruned", {}, takes_all_of=lambda _: True)
    done = remover(state, task, root).carry_out()
    assert done.damaged == []
    assert not path.exists()


def test_words_in_names_and_files_of_others_are_reported(state):
    open_journal(state).append([said(AT, "hello", rtstream_name="mic:quokka")])
    (state.path / "notes.txt").write_text("a quokka")
    assert files_with(state, Words("quokka")) == ["notes.txt", "videodb_events.jsonl"]


@pytest.mark.long
def test_what_was_rotated_cleared_sealed_and_packed_is_forgotten_and_the_rest_still_answers(state, root):
    opened = open_journal(state)
    opened.append([said(AT - 2 * DAY, "first"), said(AT - 2 * DAY, SECRET)])
    seal(state.journal, root)
    opened.clear()
    opened.append([said(AT - DAY, SECRET), said(AT - DAY, "second")])
    opened.rotate(None)
    archived_caches.tidy(state, root)
    # The cache of what was just rotated still has the journal's name.
    opened.append([said(AT, "before after"), said(AT, SECRET)])
    seal(state.journal, root)
    opened.rotate(None)
    assert [(one.kind, one.is_packed) for one in archive.archived(state)] == [
        ("cleared", True), ("rotated", True), ("rotated", False)
    ]  # fmt: skip
    assert b"quokka" in bytes_of(root)

    task = dataclasses.replace(forget(Window(), Words(SECRET)), is_thorough=True)
    remover(state, task, root).carry_out()

    assert_gone(state, root)
    archived_caches.tidy(state, root)
    with OpenJournal(state.journal, root, archived=True).query(channel="transcript") as found:
        texts = [event["text"] for event in found]
    assert texts == ["first", "second", "before after"]
    assert all(one.is_packed for one in archive.archived(state))
