"""A process that is forked is like one that was started."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from support import forkserver
from support.patience import patient

pytestmark = [pytest.mark.long, pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")]

FACTS = """
import gc, json, locale, os, signal, sys, tempfile, threading, time

def handler(number):
    found = signal.getsignal(number)
    return getattr(found, "__name__", str(found))

streams = (sys.stdin, sys.stdout, sys.stderr)
print(json.dumps({
    "argv": sys.argv,
    "original": sys.orig_argv,
    "path": sys.path[0],
    "main": [sys.modules["__main__"].__name__, __file__, __name__],
    "environ": dict(os.environ),
    "cwd": os.getcwd(),
    "signals": {int(it): handler(it) for it in signal.valid_signals()},
    "blocked": list(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
    "open": [it for it in range(1000) if os.path.exists(f"/dev/fd/{it}")],
    "leads": [os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid()],
    "umask": os.umask(0),
    "streams": [[it.encoding, it.errors, it.line_buffering, it.write_through, it.mode, it.name,
                 it.fileno(), it.isatty(), type(it.buffer).__name__, it.buffer.raw.mode] for it in streams],
    "same": [sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
    "read": sys.stdin.read(),
    "threads": threading.active_count(),
    "locale": locale.setlocale(locale.LC_ALL),
    "zone": time.tzname,
    "temporary": tempfile.gettempdir(),
    "collects": [gc.isenabled(), gc.get_threshold()],
    "recursion": sys.getrecursionlimit(),
}))
sys.stderr.write("said\\n")
sys.exit(7)
"""


@pytest.fixture
def environ(tmp_path):
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8", "TZ": "Asia/Tokyo"}


@pytest.fixture
def script(tmp_path):
    """Writes a program, and returns the command that runs it."""

    def write(text, *arguments):
        path = tmp_path / "program.py"
        path.write_text(text)
        return [sys.executable, str(path), *arguments]

    return write


def ends(start, command, **options):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with start(command, text=True, **pipes, **options) as process:
        out, err = process.communicate("x\ny", timeout=patient(60))
    return process.returncode, json.loads(out), err


@pytest.mark.parametrize(
    "options", [{}, {"start_new_session": True}, {"process_group": 0}, {"cwd": "/"}], ids=str
)
def test_it_finds_what_an_interpreter_finds_that_was_started(script, environ, options):
    command = script(FACTS, "a", "b c", "")

    forked = ends(forkserver.Popen, command, env=environ, **options)

    assert forked == ends(subprocess.Popen, command, env=environ, **options)
    assert forked[0] == 7


def test_it_has_the_pid_and_the_arguments_that_ps_shows(script, environ):
    command = script("import os; print(os.getpid(), flush=True); input()", "an argument")

    with forkserver.Popen(command, env=environ, stdin=-1, stdout=-1, text=True) as process:
        assert int(process.stdout.readline()) == process.pid
        shown = subprocess.check_output(["ps", "-ww", "-o", "args=", "-p", str(process.pid)], text=True)
        if sys.platform == "linux":
            assert shown.split() == " ".join(command).split()
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_it_ends_by_a_signal_as_any_process_does(script, environ, number):
    command = script("import time; print(1, flush=True)\ntime.sleep(60)")

    codes = []
    for start in (forkserver.Popen, subprocess.Popen):
        with start(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.readline()
            process.send_signal(number)
            codes.append(process.wait(patient(60)))
            assert (b"KeyboardInterrupt" in process.stderr.read()) is (number == signal.SIGINT)

    assert codes == [-number, -number]


def test_it_ignores_the_signals_that_its_parent_ignores(script, environ):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        forked = ends(forkserver.Popen, script(FACTS), env=environ)
        assert forked == ends(subprocess.Popen, script(FACTS), env=environ)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ends(forkserver.Popen, script(FACTS), env=environ) != forked


def test_an_exception_ends_it_as_any_program(script, environ):
    ended = forkserver.run(script("1 / 0"), env=environ, capture_output=True, text=True)

    assert ended.returncode == 1
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    "ending",
    [
        *("sys.exit()", "sys.exit(3)", "sys.exit(True)", "sys.exit(259)", "sys.exit(-1)"),
        *("sys.exit('a reason')", "sys.exit((1, 2))", "raise KeyboardInterrupt", "os._exit(4)"),
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()",
        "atexit.register(lambda: print(open(3, 'w').close()))",
        "atexit.register(lambda: 1 / 0); sys.exit(5)",
        "atexit.register(lambda: os._exit(6))",
        "sys.stdout.close()",
        "sys.stdout = sys.stderr = None",
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)",
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 1); sys.exit(7)",
        "os.close(1)",
    ],
)
def test_it_ends_as_an_interpreter_does(script, environ, ending):
    first = "import atexit, os, sys, threading, time; atexit.register(print, 'last'); print('first');"
    command = script(f"{first}{ending}")

    ended = [
        start(command, env=environ, capture_output=True, text=True, timeout=patient(60))
        for start in (forkserver.run, subprocess.run)
    ]

    forked, real = ((it.returncode, it.stdout, it.stderr.splitlines()[-1:]) for it in ended)
    assert forked == real


def test_several_threads_start_and_await_processes_at_once(script, environ):
    command = script("import sys; print(sys.argv[1]); sys.exit(int(sys.argv[1]))")
    ended = {}

    def start(number):
        ended[number] = forkserver.run([*command, str(number)], env=environ, capture_output=True)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {number: (it.returncode, int(it.stdout)) for number, it in ended.items()} == {
        number: (number, number) for number in range(20)
    }


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"PYTHONWARNINGS": "error"}, {}),
        ({"LC_ALL": "C"}, {}),
        ({"LANG": "de_DE.UTF-8"}, {}),
        ({}, {"preexec_fn": os.getpid}),
        ({}, {"umask": 0o077}),
    ],
)
def test_a_process_with_settings_of_its_own_is_started_not_forked(script, environ, change, options):
    command = script("import sys; print('duckdb' in sys.modules, 'vdbevents' in sys.modules)")

    ended = forkserver.run(command, env={**environ, **change}, capture_output=True, **options)

    assert ended.stdout == b"False False\n"


NESTED = """
import json, os, subprocess, sys

program = "import os, sys; print(os.getppid(), 'duckdb' in sys.modules)"
vdbevents = [sys.executable, "-P", "-m", "vdbevents"]
shown = subprocess.run([*vdbevents, "--version"], stdout=subprocess.PIPE, text=True)
failed = subprocess.run([*vdbevents, "no-such-command"], stderr=subprocess.PIPE, text=True)
print(json.dumps({
    "parent": os.getppid(),
    "shown": [shown.returncode, shown.stdout],
    "failed": [failed.returncode, failed.stderr],
    "other": subprocess.check_output([sys.executable, "-c", program], text=True).split(),
    "pid": os.getpid(),
}))
"""


def test_what_a_fork_starts_of_the_program_is_forked_and_ends_as_if_it_was_started(
    script, environ, monkeypatch
):
    forked = json.loads(
        forkserver.run(script(NESTED), env=environ, stdout=subprocess.PIPE, check=True).stdout
    )
    monkeypatch.setenv("VDBEVENTS_TEST_REAL_STARTS", "1")
    real = json.loads(forkserver.run(script(NESTED), env=environ, stdout=subprocess.PIPE, check=True).stdout)

    assert forked["failed"] == real["failed"]
    assert forked["shown"] == real["shown"]
    assert forked["shown"][0] == 0
    # What is not vdbevents is started for real.
    assert forked["other"] == [str(forked["pid"]), "False"]


def test_a_nested_fork_is_a_child_of_the_server_and_outlives_what_started_it(script, environ, tmp_path):
    program = """
        import os, subprocess, sys
        nested = subprocess.Popen([sys.executable, "-m", "vdbevents", "emulator", "--port", "0"],
                                  stdout=subprocess.PIPE, start_new_session=True)
        assert b"=" in nested.stdout.readline()
        print(os.getppid(), nested.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    ended = forkserver.run(script(textwrap.dedent(program)), env=environ, stdout=subprocess.PIPE)

    server, nested = map(int, ended.stdout.split())
    try:
        assert ended.returncode == -signal.SIGKILL
        if sys.platform == "linux":
            status = Path(f"/proc/{nested}/stat").read_text().rpartition(")")[2].split()
            assert int(status[1]) == server
        assert os.getsid(nested) == nested
    finally:
        os.kill(nested, signal.SIGTERM)


def test_what_a_fork_and_its_own_forks_use_is_known_by_the_test(script, environ):
    busy = "import subprocess, sys, time\nwhile time.process_time() < 0.2: pass\n"
    nested = 'subprocess.run([sys.executable, "-m", "vdbevents", "--version"], check=True)'
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0]

    forkserver.run(script(busy + nested), env=environ, capture_output=True, check=True)

    # The server tells of an end what it has noted before.
    used = [seconds for name, seconds in forkserver.cpu_used() if name == test]
    assert len(used) == 2
    assert max(used) >= 0.2


WAITED_FOR = """
import asyncio, json, os, subprocess, sys
from pathlib import Path

runtime = Path(sys.executable).with_name("vdbevents-capture-runtime")
pipe = subprocess.PIPE

async def end_of(process_group, **options):
    process = await asyncio.create_subprocess_exec(
        runtime, stdin=pipe, stdout=pipe, process_group=process_group, **options)
    status = Path(f"/proc/{process.pid}/stat")
    parent = status.read_text().rpartition(")")[2].split()[1] if status.exists() else os.getpid()
    group = os.getpgid(process.pid)
    if process_group == 0:
        process.kill()
    out, _ = await process.communicate(b"")
    return [process.returncode, out.decode(), int(parent) == os.getpid(),
            [group == process.pid, group == os.getpgrp()]]

async def main():
    return [await end_of(0), await end_of(-1), await end_of(-1, cwd="/")]

print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.parametrize("options", [{}, {"process_group": 0}, {"start_new_session": True}], ids=str)
def test_asyncio_awaits_a_runtime_that_is_a_fork(script, environ, monkeypatch, options):
    def ended():
        return json.loads(
            forkserver.run(
                script(WAITED_FOR), env=environ, stdout=subprocess.PIPE, check=True, **options
            ).stdout
        )

    forked = ended()
    monkeypatch.setenv("VDBEVENTS_TEST_REAL_STARTS", "1")
    real = ended()

    assert [[*each[:2], each[3]] for each in forked] == [[*each[:2], each[3]] for each in real]
    assert forked[0][0] == -signal.SIGKILL
    if sys.platform == "linux":
        # Only what begins a session or a group outside the server's session is started for real.
        in_session = options == {"start_new_session": True}
        assert [each[2] for each in forked] == [in_session] * 3
        assert all(each[2] for each in real)
