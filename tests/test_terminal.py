"""What a terminal may see of text that came from a screen or a server."""

import json
import re

import pytest
from hypothesis import given, strategies as st

from vdbevents import terminal


def test_nothing_that_steers_a_terminal_is_left():
    hostile = "\x1b]0;owned\x07\x9b31m\x7f\r\n\u202egnp.exe\u2066\u2028"

    assert terminal.harmless(hostile) == "␛]0;owned␇�31m␡⏎�gnp.exe�⏎"


@given(st.text())
def test_an_output_keeps_its_lines_and_columns_and_steers_nothing(text):
    shown = terminal.harmless_output(f"{text}\n\ta")

    assert shown.endswith("\n\ta")
    assert shown.count("\n") == text.count("\n") + 1
    assert terminal.harmless_output(shown) == shown
    assert terminal.harmless(shown.replace("\n", "").replace("\t", "")) == re.sub("[\n\t]", "", shown)


@given(st.text(st.characters(codec="utf-8")))
def test_json_on_a_terminal_means_the_same(text):
    shown = terminal.harmless_output(json.dumps({"text": text}, ensure_ascii=False), is_json=True)

    assert json.loads(shown) == {"text": text}
    assert terminal.harmless(shown) == shown


@given(st.text())
def test_any_text_becomes_one_line_without_control_characters(text):
    shown = terminal.harmless(text)

    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in shown)
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "room", "shown"),
    [
        ("short", 10, "short"),
        ("exactly", 7, "exactly"),
        ("too long by far", 7, "too lo…"),
        ("00网网网网", 6, "00网…"),
        ("网网网", 6, "网网网"),
        ("😀😀😀", 5, "😀😀…"),
        ("", 5, ""),
    ],
)
def test_text_is_cut_to_the_cells_that_it_takes_and_not_to_its_characters(text, room, shown):
    assert terminal.cut(text, room) == shown


@given(st.text(), st.integers(2, 40))
def test_text_that_is_cut_never_takes_more_room_than_there_is(text, room):
    assert terminal.cells(terminal.cut(terminal.harmless(text), room)) <= room


def test_a_command_is_never_broken_and_stands_alone_where_it_does_not_fit_beside_its_text():
    def in_lines(label, text, room=20):
        return label + "\n".join(text[first:last] for first, last in terminal.wrapped(text, room))

    command = "vdbevents query --last 1h"

    assert terminal.with_command("more", "stats", in_lines) == "more: stats"
    assert terminal.with_command("more", command, in_lines) == f"more:\n{command}"
    shown = terminal.with_command("7 earlier sessions left out", command, in_lines)
    assert shown == f"7 earlier sessions\nleft out:\n{command}"
    assert terminal.with_command("more", command, lambda label, text: label + text) == f"more: {command}"


def lines_of(text, room):
    return [text[first:last] for first, last in terminal.wrapped(text, room)]


def test_a_number_stays_on_the_line_of_what_it_counts():
    counts = "599 descriptions, 366 sentences, 77 summaries"

    assert lines_of(counts, 35) == ["599 descriptions, 366 sentences,", "77 summaries"]
    assert lines_of("it took (1,200 times)", 15) == ["it took", "(1,200 times)"]
    assert lines_of("1 2 3 4", 3) == ["1", "2", "3 4"]
    assert lines_of("page 10", 7) == ["page 10"]


@given(
    st.lists(st.sampled_from(["7", "1,000", "word", "a", "デプロイ", "x" * 30]), max_size=12),
    st.integers(2, 30),
)
def test_a_text_in_lines_has_all_its_words_within_the_room(words, room):
    lines = lines_of(" ".join(words), room)

    assert "".join(lines).replace(" ", "") == "".join(words)
    assert all(terminal.cells(line) <= room for line in lines)


def test_a_part_of_a_text_has_whole_words_unless_they_are_long():
    text = "Customers in Frankfurt could not sign in since Friday, and we deploy the fix now"

    def shown(room, looked_for):
        place = text.find(looked_for)
        first, last = terminal.part_in_words(text, room, (place, place + len(looked_for)))
        return text[first:last]

    assert shown(24, "Customers") == "Customers in Frankfurt"
    assert shown(24, "deploy") == "we deploy the fix now"
    assert shown(30, "Friday") == "since Friday, and we deploy"
    assert terminal.part_in_words("x" * 99, 30, (0, 1)) == terminal.part("x" * 99, 30, (0, 1))
    text = f"{'x' * 99} see the needle here {'y' * 99}"
    assert shown(44, "needle") == f"x see the needle here {'y' * 20}"
    assert shown(40, "needle") == f"see the needle here {'y' * 17}"
    text = f"a {'x' * 19} needle {'y' * 19} {'z' * 99}"
    assert shown(24, "needle") == "needle"
    assert terminal.cut_in_words("a clock says 14:00", 12) == "a clock…"
    assert terminal.cut_in_words("a clock", 7) == "a clock"


def test_a_message_is_broken_between_words_and_a_command_in_it_is_whole():
    def broken(text):
        return terminal.broken_between_words(text, 30, "  ").split("\n")

    assert broken("no channel 'x'; there are mic, system_audio") == [
        "no channel 'x'; there are mic,",
        "  system_audio",
    ]
    command = "vdbevents query --last 1h --channel transcript"
    assert broken(f"for more, see: {command}") == ["for more, see:", f"  {command}"]
    assert broken("see: vdbevents status") == ["see: vdbevents status"]
    assert broken("cannot read /a/long/path/to/a/journal.jsonl: no such file") == [
        "cannot read",
        "  /a/long/path/to/a/journal.jsonl:",
        "  no such file",
    ]
