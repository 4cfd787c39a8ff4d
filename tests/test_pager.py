"""The pager, with real programs on a pseudo-terminal."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.patience import PATIENCE

from vdbevents.cli.pager import paged, pager_command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it makes a terminal")

# Says what it does on the terminal, and takes Ctrl-C for a key, as `less` does. It reads when it is told to.
# A handler would wait for the end of a call that begins just as the signal comes: a thread waits for it.
SLOW_PAGER = """
import os, signal, sys, threading
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
def take_keys():
    while signal.sigwait([signal.SIGINT]):
        os.write(1, b"[key]")
threading.Thread(target=take_keys, daemon=True).start()
os.write(1, b"[shown]")
with open(sys.argv[1], "rb") as told:
    told.read()
count = len(sys.stdin.buffer.read())
os.write(1, b"[read %d]" % count)
with open(sys.argv[1], "rb") as told:
    told.read()
os.write(1, b"[pager ends]")
"""
IN_A_TERMINAL = """
import fcntl, os, sys, termios
from vdbevents.cli.pager import paged
fcntl.ioctl(1, termios.TIOCSCTTY, 0)
try:
    with paged(sys.stdout.buffer, os.environ, wanted=True) as stream:
        os.write(1, b"[writing]")
        stream.write(b"x" * int(sys.argv[1]))
except KeyboardInterrupt:
    os.write(1, b"[interrupted]")
    sys.exit(130)
os.write(1, b"[goes on]")
"""


class Terminal:
    """A pseudo-terminal: `output` is its inside, and `shown` what a person has seen so far."""

    def __init__(self):
        import termios

        self.outside, self.inside = os.openpty()
        # Ctrl-C has a terminal throw away what is not read yet, which may be the answer to it.
        settings = termios.tcgetattr(self.inside)
        settings[3] |= termios.NOFLSH
        termios.tcsetattr(self.inside, termios.TCSANOW, settings)
        self.output = os.fdopen(os.dup(self.inside), "wb")
        self.shown = b""

    def await_text(self, text):
        """Reads until the terminal shows it; the test's own time limit ends a wait in vain."""
        while text not in self.shown:
            self.shown += os.read(self.outside, 1 << 16)

    def seen(self):
        """All that was shown, where nobody writes any more."""
        os.write(self.inside, b"[end]")
        self.await_text(b"[end]")
        return self.shown.removesuffix(b"[end]").replace(b"\r\n", b"\n")

    def close(self):
        self.output.close()
        os.close(self.inside)
        os.close(self.outside)


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    made.close()


@pytest.fixture
def environ():
    return {"PATH": os.environ["PATH"], "TERM": "xterm"}


@pytest.fixture
def pager(tmp_path, environ):
    """Has a pager, of a path with a space, that shows nothing and writes what it is given to a file."""
    file = tmp_path / "what is paged"
    program = tmp_path / "my pager"
    program.write_text(f"#!/bin/sh\ncat > '{file}'\necho \"$@\"\n")
    program.chmod(0o755)
    environ["PAGER"] = f'"{program}"'
    return file


def show(terminal, environ, data=b"found\n", *, wanted=True):
    """What the terminal shows after `data` was written."""
    with paged(terminal.output, environ, wanted=wanted) as stream:
        stream.write(data)
    terminal.output.flush()
    return terminal.seen()


# Whether there is one


def test_on_a_terminal_it_goes_to_the_pager_alone(terminal, environ, pager):
    assert show(terminal, environ) == b"\n"
    assert pager.read_bytes() == b"found\n"


def test_a_pager_can_be_turned_off(terminal, environ, pager):
    assert show(terminal, environ, wanted=False) == b"found\n"
    assert not pager.exists()


def test_output_that_is_not_a_terminal_gets_no_pager(environ, pager, tmp_path):
    memory = io.BytesIO()
    with (tmp_path / "file").open("wb") as file:
        for output in (memory, file):
            with paged(output, environ, wanted=True) as stream:
                assert stream is output
    with paged(file, environ, wanted=True) as stream:
        assert stream is file
    assert not pager.exists()


@pytest.mark.parametrize(
    "setting", [{"PAGER": ""}, {"PAGER": " "}, {"PAGER": "cat"}, {"VDBEVENTS_PAGER": ""}]
)
def test_an_empty_name_and_cat_mean_none(terminal, environ, pager, setting):
    with paged(terminal.output, environ | setting, wanted=True) as stream:
        assert stream is terminal.output
    assert not pager.exists()


@pytest.mark.parametrize("term", ["dumb", "", None])
def test_a_terminal_that_can_do_nothing_gets_none(terminal, environ, pager, term):
    del environ["TERM"]
    if term is not None:
        environ["TERM"] = term

    assert show(terminal, environ) == b"found\n"
    assert not pager.exists()


@pytest.mark.parametrize("name", ["no-such-pager", "no-such-pager -S", "/", '"not closed', '""'])
def test_a_pager_that_cannot_be_started_loses_nothing(terminal, environ, name):
    before = set(Path("/dev/fd").iterdir())

    assert show(terminal, environ | {"PAGER": name}) == b"found\n"
    # What another test has left open may have been closed meanwhile.
    assert set(Path("/dev/fd").iterdir()) <= before


# Which one


def test_our_own_variable_goes_before_the_common_one_and_less_comes_last(environ, tmp_path):
    less = tmp_path / "less"
    less.write_text("")
    less.chmod(0o755)
    environ["PATH"] = str(tmp_path)

    assert pager_command(environ) == "less"
    assert pager_command(environ | {"PAGER": "most"}) == "most"
    assert pager_command(environ | {"PAGER": "most", "VDBEVENTS_PAGER": "more"}) == "more"
    less.unlink()
    assert pager_command(environ) is None


def test_it_can_have_options(terminal, environ, pager):
    environ["PAGER"] += " -S 'two words'"

    assert show(terminal, environ) == b"-S two words\n"
    assert pager.read_bytes() == b"found\n"


def test_a_pager_command_with_shell_syntax_runs_in_a_shell(terminal, environ):
    environ |= {"PAGER": 'tr a-z A-Z | sed "s/^/$MARK /"', "MARK": ">"}

    assert show(terminal, environ) == b"> FOUND\n"


def test_less_and_lv_get_options_to_print_what_fits_and_to_show_colours(terminal, environ):
    environ["PAGER"] = 'cat; echo "$LESS" "$LV"'

    assert show(terminal, environ, b"") == b"FRX -c\n"


def test_the_users_own_options_of_less_and_lv_stay(terminal, environ):
    environ |= {"PAGER": 'cat; echo "$LESS" "$LV"', "LESS": "S", "LV": ""}

    assert show(terminal, environ, b"") == b"S \n"


@pytest.mark.skipif(shutil.which("less") is None, reason="there is no less")
def test_a_short_answer_is_just_printed_by_less_with_its_colours(terminal, environ):
    shown = show(terminal, environ, b"\x1b[31mfound\x1b[0m\n")

    assert b"\x1b[31mfound\x1b[0m" in shown
    assert b"END" not in shown


# What it is given


def test_a_mebibyte_arrives_whole(terminal, environ, pager):
    data = os.urandom(1 << 20)

    show(terminal, environ, data)

    assert pager.read_bytes() == data


def test_earlier_lines_are_shown_first(terminal, environ):
    terminal.output.write(b"first\n")

    assert show(terminal, environ | {"PAGER": "sed p"}, b"then\n") == b"first\nthen\nthen\n"


# How it ends


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_pager_that_quits_at_once_ends_the_writing_without_an_error(terminal, environ, size):
    show(terminal, environ | {"PAGER": "true"}, b"x" * size)


def test_the_body_goes_no_further_once_the_pager_was_quit(terminal, environ):
    written = 0
    with paged(terminal.output, environ | {"PAGER": "head -c1"}, wanted=True) as stream:
        while written < 1 << 24:
            written += stream.write(b"x" * 4096)

    assert written < 1 << 24


def fail_while_paged(terminal, environ, failing):
    with paged(terminal.output, environ, wanted=True) as stream:
        stream.write(b"found\n")
        failing()


def raising(error):
    def fail():
        raise error

    return fail


def test_another_pipe_that_broke_is_not_taken_for_the_pagers(terminal, environ, pager):
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        fail_while_paged(terminal, environ, lambda: os.write(writing, b"x"))
    os.close(writing)

    assert pager.read_bytes() == b"found\n"


def test_a_pager_that_fails_is_not_our_failure(terminal, environ):
    assert show(terminal, environ | {"PAGER": "cat; exit 3"}) == b"found\n"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_goes_on_up_once_the_pager_has_shown_what_there_was(terminal, environ, pager, error):
    with pytest.raises(error):
        fail_while_paged(terminal, environ, raising(error))

    assert pager.read_bytes() == b"found\n"
    assert terminal.seen() == b"\n"


def test_an_error_goes_on_up_where_the_pager_was_quit_before(terminal, environ):
    with pytest.raises(RuntimeError):
        fail_while_paged(terminal, environ | {"PAGER": "true"}, raising(RuntimeError))


def test_a_second_ctrl_c_does_not_disturb_what_the_first_has_begun(terminal, environ, pager):
    tidied = []

    def press_twice():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            tidied.append(True)

    with pytest.raises(KeyboardInterrupt):
        fail_while_paged(terminal, environ, press_twice)

    assert tidied
    assert pager.read_bytes() == b"found\n"


def test_interrupts_are_as_before_afterwards(terminal, environ, pager):
    before = signal.getsignal(signal.SIGINT)
    show(terminal, environ)

    assert signal.getsignal(signal.SIGINT) is before


def test_it_serves_other_threads_too(terminal, environ, pager):
    thread = threading.Thread(target=show, args=(terminal, environ))
    thread.start()
    thread.join()

    assert pager.read_bytes() == b"found\n"


# Waiting, and Ctrl-C


class Session:
    """A program whose terminal it is, with `SLOW_PAGER`."""

    def __init__(self, terminal, environ, tmp_path, size):
        self.terminal = terminal
        self._fifo = tmp_path / "fifo"
        os.mkfifo(self._fifo)
        script = tmp_path / "pager.py"
        script.write_text(SLOW_PAGER)
        pager = f'"{sys.executable}" "{script}" "{self._fifo}"'
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, str(size)],
            env={**environ, "PAGER": pager, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=terminal.inside,
            stdout=terminal.inside,
            start_new_session=True,
        )

    def press_ctrl_c(self):
        self.terminal.shown = self.terminal.shown.replace(b"[key]", b"")
        os.write(self.terminal.outside, b"\x03")
        self.terminal.await_text(b"[key]")

    def let_the_pager_go_on(self):
        with self._fifo.open("wb"):
            pass


def test_the_pager_has_ended_when_the_context_is_left(terminal, environ, tmp_path):
    session = Session(terminal, environ, tmp_path, size=1)
    session.let_the_pager_go_on()
    terminal.await_text(b"[read 1]")
    session.let_the_pager_go_on()

    assert session.process.wait(PATIENCE) == 0
    assert terminal.seen().endswith(b"[pager ends][goes on]")


def test_ctrl_c_while_the_pager_shows_it_is_the_pagers_alone(terminal, environ, tmp_path):
    session = Session(terminal, environ, tmp_path, size=1)
    session.let_the_pager_go_on()
    terminal.await_text(b"[read 1]")
    session.press_ctrl_c()
    session.press_ctrl_c()
    session.let_the_pager_go_on()

    assert session.process.wait(PATIENCE) == 0
    assert terminal.seen().endswith(b"[pager ends][goes on]")


def test_ctrl_c_while_we_write_ends_us_after_the_pager(terminal, environ, tmp_path):
    session = Session(terminal, environ, tmp_path, size=1 << 24)
    terminal.await_text(b"[shown]")
    terminal.await_text(b"[writing]")
    session.press_ctrl_c()
    session.press_ctrl_c()
    session.let_the_pager_go_on()
    terminal.await_text(b"[read ")
    session.let_the_pager_go_on()

    assert session.process.wait(PATIENCE) == 130
    assert terminal.seen().endswith(b"[pager ends][interrupted]")
