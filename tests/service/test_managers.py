"""What service managers are asked to do, and what is understood of their answers."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from vdbevents.errors import InputError, ListenerStateError
from vdbevents.service import managers
from vdbevents.service.managers import Answer, LaunchdManager, SystemdManager, WindowsManager
from vdbevents.service.service_plan import plan_services

PRINTED_BY_LAUNCHCTL = """gui/501/vdbevents.listen = {
\tactive count = 1
\tpath = /Users/ada/Library/LaunchAgents/vdbevents.listen.plist
\tstate = running

\tprogram = /opt/python
\tpid = 4711
\tlast exit code = (never exited)
\tproperties = keepalive | runatload
}
"""


class Asked:
    """Answers each call by the first of its answers whose words are all in the command, else with success."""

    def __init__(self, **answers):
        self.commands = []
        self.answers = answers

    def __call__(self, command):
        self.commands.append(" ".join(command))
        for words, answer in self.answers.items():
            if set(words.split("_")) <= set(command):
                return answer if isinstance(answer, Answer) else Answer(0, answer, "")
        return Answer(0, "", "")

    def told(self, word):
        return [command for command in self.commands if word in command]


@pytest.fixture
def plan(tmp_path):
    (listen,) = plan_services("/opt/python", str(tmp_path), str(tmp_path / "log"), [], {}, with_backend=False)
    return listen


def test_a_unit_is_enabled_and_started_and_restarted_only_if_it_changes(tmp_path, plan):
    asked = Asked()
    manager = SystemdManager({}, tmp_path, asked)

    assert managers.install(manager, plan)
    unit = tmp_path / ".config/systemd/user/vdbevents-listen.service"
    assert unit.stat().st_mode & 0o777 == 0o600
    assert asked.told("enable") == ["systemctl --user enable vdbevents-listen.service"]
    assert asked.told(" restart ")
    asked.commands.clear()
    assert not managers.install(manager, plan)
    assert asked.told(" start ")
    assert not asked.told(" restart ")

    assert managers.uninstall(manager, "listen")
    assert asked.told("disable --now vdbevents-listen.service")
    assert asked.commands[-1] == "systemctl --user daemon-reload"
    assert not unit.exists()
    assert not managers.uninstall(manager, "listen")


def test_units_are_where_this_user_configures_systemd(tmp_path):
    manager = SystemdManager({"XDG_CONFIG_HOME": "/etc/ada"}, tmp_path)

    assert manager.path_of("backend") == Path("/etc/ada/systemd/user/vdbevents-backend.service")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (
            "ActiveState=active\nSubState=running\nMainPID=7\nStatusText=connected",
            (True, 7, "connected", None),
        ),
        (
            "ActiveState=failed\nSubState=failed\nMainPID=0\nExecMainStatus=4\nExecMainCode=1",
            (False, None, "failed (failed)", 4),
        ),
        (
            "ActiveState=activating\nSubState=auto-restart\nMainPID=0\nExecMainStatus=6\nExecMainCode=3",
            (False, None, "activating (auto-restart)", -6),
        ),
        ("", (False, None, "", None)),
    ],
)
def test_the_state_of_a_unit(shown, expected, tmp_path, plan):
    manager = SystemdManager({}, tmp_path, Asked(show_systemctl=shown))
    managers.install(manager, plan)
    state = manager.state("listen")

    assert (state.runs, state.pid, state.detail, state.exit_code) == expected
    assert state.program == "/opt/python"


def test_a_unit_that_does_not_start_is_an_error_with_its_exit_code(tmp_path, plan):
    failed = "ActiveState=failed\nSubState=failed\nMainPID=0\nExecMainStatus=4\nExecMainCode=1"
    manager = SystemdManager({}, tmp_path, Asked(restart=Answer(1, "", "Job failed"), show=failed))
    with pytest.raises(ListenerStateError, match="exit code 4") as raised:
        managers.install(manager, plan)
    assert raised.value.error_id == "service-not-started"


def test_lingering_is_asked_of_logind(tmp_path):
    assert SystemdManager({}, tmp_path, Asked(loginctl="yes\n")).lingers()
    assert not SystemdManager({}, tmp_path, Asked(loginctl=Answer(127, "", "no such file"))).lingers()


def test_an_agent_is_loaded_anew_if_it_changes(tmp_path, plan):
    asked = Asked(print=PRINTED_BY_LAUNCHCTL)
    manager = LaunchdManager(tmp_path, 501, asked)

    managers.install(manager, plan)
    plist = tmp_path / "Library/LaunchAgents/vdbevents.listen.plist"
    assert asked.commands[:3] == [
        "launchctl bootout gui/501/vdbevents.listen",
        "launchctl enable gui/501/vdbevents.listen",
        f"launchctl bootstrap gui/501 {plist}",
    ]
    asked.commands.clear()
    managers.install(manager, plan)
    assert not asked.told("bootstrap")
    state = manager.state("listen")
    assert (state.runs, state.pid, state.exit_code) == (True, 4711, None)
    assert (state.program, state.at_login) == ("/opt/python", True)

    managers.uninstall(manager, "listen")
    assert asked.commands[-1] == "launchctl bootout gui/501/vdbevents.listen"
    assert not plist.exists()


def test_an_agent_that_is_still_leaving_is_loaded_a_little_later(tmp_path, plan, monkeypatch):
    monkeypatch.setattr(managers, "time", SimpleNamespace(sleep=lambda _: None))
    answers = iter([Answer(5, "", "Bootstrap failed: 5: Input/output error"), Answer(0, "", "")])

    def call(command):
        return next(answers) if "bootstrap" in command else Answer(0, "", "")

    managers.install(LaunchdManager(tmp_path, 501, call), plan)

    with pytest.raises(ListenerStateError, match="no such domain"):
        LaunchdManager(tmp_path, 501, lambda _: Answer(1, "", "no such domain")).start(
            "listen", is_changed=True
        )


def test_a_task_is_registered_and_run(tmp_path, plan):
    asked = Asked(powershell="4\r\n")
    environ = {"LOCALAPPDATA": str(tmp_path / "Local"), "USERDOMAIN": "DESK", "USERNAME": "ada"}
    manager = WindowsManager(environ, tmp_path, asked)

    managers.install(manager, plan)
    file = tmp_path / "Local/vdbevents/listen-task.xml"
    assert "DESK\\ada" in file.read_text("utf-16")
    assert asked.commands[-2:] == [
        rf"schtasks /Create /TN \vdbevents\listen /XML {file} /F",
        r"schtasks /Run /TN \vdbevents\listen",
    ]
    state = manager.state("listen")
    assert (state.runs, state.at_login, state.detail) == (True, True, "running")
    managers.uninstall(manager, "listen")
    assert asked.commands[-1] == r"schtasks /Delete /TN \vdbevents\listen /F"


@pytest.mark.parametrize("make", [SystemdManager, WindowsManager])
def test_a_manager_that_cannot_be_reached_says_so(make, tmp_path):
    manager = make({}, tmp_path, lambda _: Answer(1, "", "Failed to connect to bus"))
    with pytest.raises(InputError, match="Failed to connect") as raised:
        manager.check()
    assert raised.value.error_id == "service-manager-unreachable"
    with pytest.raises(InputError, match="reached"):
        LaunchdManager(tmp_path, 501, lambda _: Answer(113, "", "")).check()


def test_a_program_that_is_not_installed_ends_with_127():
    assert managers.call(["/nowhere/systemctl"]).code == 127
