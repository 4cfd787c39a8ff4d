"""A journal is followed across clears and replacements, and read backward."""

import json

import pytest
from hypothesis import given, strategies as st
from support.journals import follow_all, open_journal

from vdbevents.journal import reader


def test_following_yields_whole_lines_only(state):
    handle = state.journal.open("ab", buffering=0)
    steps = [lambda: handle.write(b'{"a"'), lambda: handle.write(b":1}\n{"), lambda: handle.write(b"}\n")]

    assert follow_all(state.journal, steps, from_end=False) == [b'{"a":1}\n', b"{}\n"]
    handle.close()


def test_following_from_the_end_passes_over_what_is_there(state):
    opened = open_journal(state)
    opened.append([b"old\n"])

    assert follow_all(state.journal, [lambda: opened.append([b"new\n"])], from_end=True) == [b"new\n"]


def test_following_goes_on_after_a_clear_a_replacement_and_a_late_beginning(state):
    opened = open_journal(state)
    steps = [
        lambda: opened.append([b"first\n", b"second\n"]),
        opened.clear,
        lambda: opened.append([b"cleared\n"]),
        state.journal.unlink,
        lambda: opened.append([b"new file\n"]),
    ]

    assert follow_all(state.journal, steps, from_end=False) == [
        b"first\n", b"second\n", b"cleared\n", b"new file\n"
    ]  # fmt: skip


def test_following_notices_a_clear_though_the_journal_has_grown_since(state):
    opened = open_journal(state)

    def clear_and_write():
        opened.clear()
        opened.append([b"a longer line\n", b"last\n"])

    steps = [lambda: opened.append([b"first\n"]), clear_and_write]

    assert follow_all(state.journal, steps, from_end=False) == [b"first\n", b"a longer line\n", b"last\n"]


def test_following_from_a_byte_notices_a_clear_as_well(state):
    opened = open_journal(state)
    opened.append([b"first\n"])

    def clear_and_write():
        opened.clear()
        opened.append([b"other\n", b"last\n"])

    steps = [clear_and_write]

    assert follow_all(state.journal, steps, from_end=False, start=6) == [b"other\n", b"last\n"]


LINES = [b'{"unix_ts":17724465%d,"text":"%d"}\n' % (n, n) for n in range(30, 40)]


@pytest.mark.parametrize("cut", [0, 5, 12], ids=["between lines", "within the next", "within the last known"])
@pytest.mark.parametrize(
    "meanwhile", [False, True], ids=["nothing written since", "already written to again"]
)
@pytest.mark.parametrize(
    "start", [None, len(LINES[0]) * 2], ids=["all was followed", "what was there was not"]
)
def test_lines_that_are_left_where_a_journal_was_cut_short_are_not_given_again(state, cut, meanwhile, start):
    state.journal.write_bytes(b"".join(LINES[:2]))
    whole = len(LINES[0]) * 4

    def cut_short():
        with state.journal.open("r+b") as file:
            file.truncate(whole + cut)
            if meanwhile:
                file.truncate(whole)
                file.seek(whole)
                file.write(LINES[8])

    def write():
        with state.journal.open("r+b") as file:
            file.truncate(whole + len(LINES[8]) * meanwhile)  # as the torn line is repaired
            file.seek(0, 2)
            file.write(LINES[9])

    steps = [lambda: state.journal.write_bytes(b"".join(LINES[:6])), cut_short, write]
    followed = follow_all(state.journal, steps, from_end=False, start=start)

    given = LINES[:6] if start is None else LINES[2:6]
    assert followed == given + LINES[8:9] * meanwhile + LINES[9:]


def test_what_was_there_before_is_not_given_again_where_a_journal_is_cut_to_a_part_of_it(state):
    state.journal.write_bytes(b"".join(LINES[:4]))

    def cut_short():
        with state.journal.open("r+b") as file:
            file.truncate(len(LINES[0]) * 2)

    def write():
        with state.journal.open("ab") as file:
            file.write(LINES[9])

    assert follow_all(state.journal, [cut_short, write], from_end=True) == LINES[9:]


def test_following_gives_what_came_meanwhile_at_once(state):
    opened = open_journal(state)
    steps = iter([lambda: opened.append([b"1\n", b"2\n"]), lambda: opened.append([b"3\n"])])

    def wait():
        step = next(steps, None)
        if step:
            step()
        return step is not None

    batches = reader.follow_batches(state.journal, from_end=False, wait=wait)
    assert list(batches) == [[b"1\n", b"2\n"], [b"3\n"]]


def test_following_does_not_restart_when_a_torn_line_is_cut_off(state):
    opened = open_journal(state)

    def tear():
        with state.journal.open("ab") as handle:
            handle.write(b'{"torn')

    steps = [lambda: opened.append([b'{"n":1}\n']), tear, lambda: opened.append([b'{"n":2}\n'])]
    seen = [json.loads(one) for one in follow_all(state.journal, steps, from_end=False)]

    assert [e["n"] for e in seen if "n" in e] == [1, 2]


def held(state, content, *needles):
    state.journal.write_bytes(content)
    return list(reader.backward(state.journal, needles or [b""]))


def test_lines_come_from_the_last_to_the_first_without_their_newlines(state):
    assert held(state, b"one\ntwo\nthree\n") == [b"three", b"two", b"one"]


def test_only_lines_that_hold_one_of_the_texts_come(state):
    content = b"a mailbox\na house\nnothing\na field\n"

    assert held(state, content, b"field", b"mailbox") == [b"a field", b"a mailbox"]
    assert held(state, content, b"a mailbox\na") == []


@pytest.mark.parametrize(
    ("content", "lines"),
    [(b"", []), (b"\n", [b""]), (b"torn", []), (b"whole\ntorn", [b"whole"]), (b"\n\nx", [b"", b""])],
)
def test_a_part_of_a_line_is_not_a_line(state, content, lines):
    assert held(state, content) == lines


def test_a_journal_that_is_not_there_has_no_lines(state):
    assert list(reader.backward(state.journal, [b""])) == []


def test_a_journal_that_cannot_be_read_is_an_error(state):
    state.journal.mkdir()

    with pytest.raises(OSError, match="directory"):
        list(reader.backward(state.journal, [b""]))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_wherever_blocks_end_lines_and_what_is_looked_for_in_them_stay_whole(state, monkeypatch, block):
    monkeypatch.setattr(reader, "_BACKWARD_BLOCK", block)
    lines = [b"", b"x", b"a needle", b"y" * 50 + b"needle" + b"z" * 50, "é😀".encode(), b"need", b"le"]
    for torn in (b"", b"torn needle", b"t" * 200):
        content = b"".join(line + b"\n" for line in lines) + torn

        assert held(state, content) == lines[::-1]
        assert held(state, content, b"needle") == [lines[3], lines[2]]


def test_lines_longer_than_a_block_come_whole(state):
    block = reader._BACKWARD_BLOCK
    lines = [b"%d" % number * size for number, size in enumerate([1, block - 2, block, 3 * block + 1, 1])]

    assert held(state, b"".join(line + b"\n" for line in lines)) == lines[::-1]


def test_lines_written_during_a_backward_read_are_skipped(state):
    state.journal.write_bytes(b"one\ntwo\n")
    reading = reader.backward(state.journal, [b""])
    first = next(reading)
    with state.journal.open("ab") as handle:
        handle.write(b"three\n")

    assert [first, *reading] == [b"two", b"one"]


@given(content=st.binary(max_size=200).map(lambda it: it.replace(b"\x00", b"\n")), block=st.integers(1, 9))
def test_backward_comes_what_forward_comes(tmp_path_factory, content, block):
    path = tmp_path_factory.getbasetemp() / "backward.jsonl"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_BACKWARD_BLOCK", block)
        found = list(reader.backward(path, [b""]))

    assert found[::-1] == content.split(b"\n")[:-1]
