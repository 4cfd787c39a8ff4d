"""The files that service managers read: units checked by systemd's own tool, the others by content."""

import itertools
import plistlib
import shutil
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
from support.patience import patient

from vdbevents.errors import InputError
from vdbevents.service import launchd, systemd, windows_task
from vdbevents.service.service_plan import passed_on, plan_services

ODD = '/home/ada/50% of "it", $HOME and \\t'
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def plans_of(directory="/home/ada/state", python=sys.executable, options=(), environ=None):
    log = f"{directory}/videodb_service.log"
    return plan_services(python, directory, log, options, environ or {}, with_backend=True)


# What systemd makes of such words is tested with a real one, in tests/e2e/test_service.py.
@pytest.mark.parametrize(
    "word", ["plain", "two words", ODD, "%h %%", "'", '"', "\\", "\\\\", "tab\there", ";", ""]
)
def test_a_quoted_program_can_be_read_back(word):
    (listen, _) = plans_of(python=f"/{word}")

    assert systemd.program_in(systemd.unit_of(listen)) == f"/{word}"
    assert launchd.program_in(launchd.agent_of(listen)) == f"/{word}"
    assert windows_task.program_in(windows_task.task_of(listen, "ada")) == f"/{word}"


@pytest.mark.parametrize("content", ["", "ExecStart=/bin/true", "\x00", "<Task/>"])
def test_the_file_of_another_program_has_no_program_of_ours(content):
    assert systemd.program_in(content) is None
    assert launchd.program_in(content.encode()) is None
    assert windows_task.program_in(content.encode()) is None


def test_a_restart_mends_no_wrong_usage_and_no_refused_key():
    listen, backend = map(systemd.unit_of, plans_of())

    for unit in (listen, backend):
        lines = unit.splitlines()
        assert "RestartPreventExitStatus=2 4" in lines
        assert {"Type=notify", "Restart=on-failure", "WantedBy=default.target", "LimitCORE=0"} <= set(lines)
        assert any(line.startswith("WatchdogSec=") for line in lines)
    assert "After=vdbevents-listen.service" in backend.splitlines()
    # No text of a recording is logged.
    assert '"--quiet"' in listen


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", ["plain", "my 50%;", "$HOME", "it's", 'a "b" \\c'])
def test_systemd_finds_no_mistake_in_the_units(name, tmp_path):
    odd = tmp_path / name
    odd.mkdir()
    (odd / "python").symlink_to(sys.executable)
    environ = {"VIDEO_DB_API": "http://127.0.0.1:8800/100%", "NO_PROXY": "a, b"}
    plans = plans_of(str(odd), str(odd / "python"), [f"--key-file={odd}/key"], environ)
    for plan in plans:
        (tmp_path / systemd.unit_name(plan.name)).write_text(systemd.unit_of(plan))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--user", *map(str, tmp_path.glob("*.service"))],
        check=False,
        env={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    said = [line for line in checked.stderr.splitlines() if "vdbevents" in line or str(tmp_path) in line]

    assert (checked.returncode, said) == (0, []), checked.stderr


def test_an_agent_has_the_documented_keys_and_no_others():
    listen, backend = plans_of("/Users/ada/50% x", "/opt/my python", ["--key-file=/k"], {"A": "b&<c"})
    agent = plistlib.loads(launchd.agent_of(listen))

    # `man launchd.plist`, with the types that it gives.
    types = {
        "Label": str,
        "ProgramArguments": list,
        "EnvironmentVariables": dict,
        "RunAtLoad": bool,
        "KeepAlive": dict,
        "ThrottleInterval": int,
        "ExitTimeOut": int,
        "Umask": int,
        "StandardErrorPath": str,
    }
    assert {name: type(value) for name, value in agent.items()} == types
    assert (agent["Label"], agent["Umask"], agent["KeepAlive"]) == (
        "vdbevents.listen",
        0o077,
        {"SuccessfulExit": False},
    )
    assert agent["EnvironmentVariables"] == {"A": "b&<c"}
    log = "--log=/Users/ada/50% x/videodb_service.log"
    assert agent["ProgramArguments"] == [
        *("/opt/my python", "-P", "-m", "vdbevents", "service", "run", log, "--"),
        *("listen", "/Users/ada/50% x", "--quiet", "--unattended", "--key-file=/k"),
    ]
    assert plistlib.loads(launchd.agent_of(backend))["ProgramArguments"][8] == "backend"


def names_of(element):
    return [inner.tag.removeprefix(TASK) for inner in element]


def test_a_task_has_the_elements_of_the_schema_in_their_order():
    listen, _ = plans_of("C:\\Users\\ada\\my state\\", "C:\\My Python\\python.exe", environ={"A": "b c"})
    content = windows_task.task_of(listen, "DESK\\ada")
    # `schtasks` refuses another encoding, and UTF-16 without its mark.
    assert content[:2] in (b"\xff\xfe", b"\xfe\xff")
    assert content.decode("utf-16").startswith('<?xml version="1.0" encoding="UTF-16"?>')
    root = ET.fromstring(content)

    assert (root.tag, root.get("version")) == (f"{TASK}Task", "1.2")
    assert names_of(root) == ["RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"]
    assert names_of(root.find(f"{TASK}Triggers/{TASK}LogonTrigger")) == ["Enabled", "UserId"]
    principal = root.find(f"{TASK}Principals/{TASK}Principal")
    assert names_of(principal) == ["UserId", "LogonType", "RunLevel"]
    assert principal.get("id") == root.find(f"{TASK}Actions").get("Context") == "Author"
    assert names_of(root.find(f"{TASK}Settings")) == [
        *("MultipleInstancesPolicy", "DisallowStartIfOnBatteries", "StopIfGoingOnBatteries"),
        *("AllowHardTerminate", "StartWhenAvailable", "RunOnlyIfNetworkAvailable", "IdleSettings"),
        *("AllowStartOnDemand", "Enabled", "Hidden", "RunOnlyIfIdle", "WakeToRun", "ExecutionTimeLimit"),
        *("Priority", "RestartOnFailure"),
    ]
    action = root.find(f"{TASK}Actions/{TASK}Exec")
    assert names_of(action) == ["Command", "Arguments"]
    assert action.findtext(f"{TASK}Command") == "C:\\My Python\\pythonw.exe"
    arguments = action.findtext(f"{TASK}Arguments")
    assert '"--set=A=b c" -- listen "C:\\Users\\ada\\my state\\\\" --quiet' in arguments
    assert windows_task.task_name("listen") == root.findtext(f"{TASK}RegistrationInfo/{TASK}URI")


def test_an_update_changes_every_file_so_that_the_service_is_restarted(monkeypatch):
    listen, _ = plans_of()

    def written():
        return systemd.unit_of(listen), launchd.agent_of(listen), windows_task.task_of(listen, "ada")

    before = written()
    for module in (systemd, launchd, windows_task):
        monkeypatch.setattr(module, "__version__", "99.0")
    assert not set(before) & set(written())


def test_arguments_are_quoted_for_windows_as_python_does():
    for length in range(5):
        for letters in itertools.product('a \\"\t', repeat=length):
            word = "".join(letters)
            assert windows_task.quoted(word) == subprocess.list2cmdline([word])


def test_what_a_service_needs_is_passed_on_and_no_secret():
    environ = {
        "VIDEO_DB_API_KEY": "sk-x",
        "VIDEO_DB_API": "https://api.example",
        "HTTPS_PROXY": "http://ada:secret@proxy:3128",
        "no_proxy": "localhost",
        "XDG_CACHE_HOME": "",
        "PATH": "/opt/homebrew/bin",
        "VDBEVENTS_LISTEN_HOLD": "256",
        "VDBEVENTS_QUERY_LIMIT": "5",
        "VDBEVENTS_BACKEND_TOKEN": "t",
        "LANG": "C",
    }

    passed, left_out = passed_on(environ, with_backend=False)
    assert passed == {"VIDEO_DB_API": "https://api.example", "no_proxy": "localhost"}
    assert left_out == ["HTTPS_PROXY", "VDBEVENTS_LISTEN_HOLD"]
    assert passed_on(environ, with_backend=True)[0]["PATH"] == "/opt/homebrew/bin"


@pytest.mark.parametrize("path", ["/a\nb", "/a\rb", "/\udcff"])
def test_a_path_that_would_end_a_line_is_refused(path):
    with pytest.raises(InputError) as raised:
        plans_of(path)
    assert raised.value.error_id == "service-text-invalid"
