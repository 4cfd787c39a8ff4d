"""Install services with systemd, launchd or the Task Scheduler, and ask these about them."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from vdbevents.errors import InputError, ListenerStateError
from vdbevents.journal.files import remove_file, replace_file
from vdbevents.service import launchd, systemd, windows_task
from vdbevents.service.service_plan import BACKEND, LISTEN, ServicePlan

NAMES: Final = (LISTEN, BACKEND)

# Longer than a unit's own TimeoutStartSec.
_CALL_SECONDS: Final = 330.0
_ATTEMPTS: Final = 6
_NOT_INSTALLED: Final = 127
_PAUSE_SECONDS: Final = 0.5


class Answer(NamedTuple):
    """What a program has printed, and its exit code."""

    code: int
    out: str
    err: str


Call = Callable[[Sequence[str]], Answer]


def call(command: Sequence[str]) -> Answer:
    """Run a program to its end; a missing one ends with 127."""
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=_CALL_SECONDS, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return Answer(_NOT_INSTALLED, "", f"{command[0]} is not installed")
    except subprocess.TimeoutExpired:
        return Answer(124, "", f"{command[0]} has not ended in {_CALL_SECONDS:g} s")
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


class ServiceState(NamedTuple):
    """What is known about a service.

    Attributes:
        path: the file that describes it to the manager.
        program: what it starts; None if the file is not one of ours.
        at_login: whether it starts at login.
        pid: of its process; None if it does not run, or the manager does not tell.
        detail: in the words of the manager, or its own.
        exit_code: of its last end, if it ended; minus a signal's number if that ended it.
    """

    name: str
    path: Path
    is_installed: bool
    program: str | None = None
    runs: bool = False
    at_login: bool = False
    pid: int | None = None
    detail: str = ""
    exit_code: int | None = None


class Manager(Protocol):
    """The program that starts and watches services on one kind of system."""

    keeps_log: bool

    def check(self) -> None:
        """Raise InputError if it cannot be used by this user, from here."""

    def path_of(self, name: str) -> Path:
        """Return the path of a service's file."""

    def content_of(self, plan: ServicePlan) -> bytes:
        """Return the content of a service's file."""

    def start(self, name: str, *, is_changed: bool) -> None:
        """Have a service whose file is written start at login, and now; restart it if its file is new.

        Raises:
            ListenerStateError: it does not start.
        """

    def remove(self, name: str) -> None:
        """Stop a service, and forget it; its file is removed afterwards."""

    def state(self, name: str) -> ServiceState:
        """Return what is known about a service."""

    def log_command(self, names: Sequence[str], lines: int, *, follow: bool) -> list[str]:
        """Return the command that shows the services' messages, if the manager keeps them."""


def install(manager: Manager, plan: ServicePlan) -> bool:
    """Write a service's file and start the service; return whether the file has changed.

    Raises:
        InputError: the file cannot be written.
        ListenerStateError: the service does not start.
    """
    path, content = manager.path_of(plan.name), manager.content_of(plan)
    is_changed = _content(path) != content
    if is_changed:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror or error}",
                "check the owner of its folder, or print it with --dry-run",
                error_id="service-file-unwritable",
            ) from error
    manager.start(plan.name, is_changed=is_changed)
    return is_changed


def uninstall(manager: Manager, name: str) -> bool:
    """Stop and remove a service; return whether it was installed."""
    path = manager.path_of(name)
    if not path.exists():
        return False
    manager.remove(name)
    remove_file(path)
    if isinstance(manager, SystemdManager):
        manager.reload()
    return True


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


class SystemdManager:
    """A user's systemd."""

    keeps_log = True

    def __init__(self, environ: Mapping[str, str], home: Path, call: Call = call) -> None:
        """Ask nothing yet; the unit files are in the user's configuration."""
        base = Path(environ.get("XDG_CONFIG_HOME") or "")
        self._folder = (base if base.is_absolute() else home / ".config") / "systemd" / "user"
        self._call = call

    def check(self) -> None:
        """Raise InputError if there is no systemd of this user, or it cannot be reached."""
        answer = self._ask("show", "--property=Version")
        if answer.code != 0:
            is_missing = answer.code == _NOT_INSTALLED
            raise InputError(
                f"the user's systemd cannot be reached: {_first_line(answer)}",
                "let this system's own supervisor run: vdbevents listen"
                if is_missing
                else "log in as this user itself, not by su or sudo; or print the unit with --dry-run",
                error_id="service-manager-unreachable",
            )

    def path_of(self, name: str) -> Path:
        """Return the path of a service's unit."""
        return self._folder / systemd.unit_name(name)

    def content_of(self, plan: ServicePlan) -> bytes:
        """Return the content of a service's unit."""
        return systemd.unit_of(plan).encode()

    def reload(self) -> None:
        """Have systemd read its units again."""
        self._ask("daemon-reload")

    def start(self, name: str, *, is_changed: bool) -> None:
        """Enable a unit and start it; return when it is ready."""
        unit = systemd.unit_name(name)
        self.reload()
        self._ask("reset-failed", unit)
        for command in ("enable", "restart" if is_changed else "start"):
            answer = self._ask(command, unit)
            if answer.code != 0:
                raise _not_started(name, self.state(name), answer)

    def remove(self, name: str) -> None:
        """Disable and stop a unit."""
        unit = systemd.unit_name(name)
        self._ask("disable", "--now", unit)
        self._ask("reset-failed", unit)

    def state(self, name: str) -> ServiceState:
        """Return the unit's state."""
        path = self.path_of(name)
        content = _content(path)
        wanted = (
            *("ActiveState", "SubState", "MainPID", "StatusText", "UnitFileState"),
            *("ExecMainCode", "ExecMainStatus"),
        )
        shown = self._ask("show", f"--property={','.join(wanted)}", systemd.unit_name(name)).out
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        pid, code = _number(values.get("MainPID")), _number(values.get("ExecMainStatus"))
        if code is not None and values.get("ExecMainCode") not in ("0", _EXITED):
            code = -code
        active = values.get("ActiveState", "")
        runs = active in ("active", "reloading")
        words = values.get("StatusText") if runs else f"{active} ({values.get('SubState', '')})"
        return ServiceState(
            name,
            path,
            content is not None,
            systemd.program_in(content.decode(errors="replace")) if content is not None else None,
            runs=runs,
            at_login=values.get("UnitFileState") in ("enabled", "enabled-runtime"),
            pid=pid or None,
            detail=(words or "") if active else "",
            exit_code=None if runs else code,
        )

    def log_command(self, names: Sequence[str], lines: int, *, follow: bool) -> list[str]:
        """Return a call of journalctl."""
        units = [f"--unit={systemd.unit_name(name)}" for name in names]
        return ["journalctl", "--user", *units, f"--lines={lines}", *(["--follow"] if follow else [])]

    def lingers(self) -> bool:
        """Return whether the user's services run without a login."""
        answer = self._call(["loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value"])
        return answer.out.strip() == "yes"

    def _ask(self, *arguments: str) -> Answer:
        return self._call(["systemctl", "--user", *arguments])


class LaunchdManager:
    """A user's launchd, for its graphical login."""

    keeps_log = False

    def __init__(self, home: Path, user_id: int, call: Call = call) -> None:
        """Ask nothing yet."""
        self._folder = home / "Library" / "LaunchAgents"
        self._domain = f"gui/{user_id}"
        self._call = call

    def check(self) -> None:
        """Raise InputError if the user has no graphical login."""
        answer = self._call(["launchctl", "print", self._domain])
        if answer.code != 0:
            raise InputError(
                f"launchd cannot be reached: {_first_line(answer)}",
                "log in to the desktop as this user, and try again; or print the agent with --dry-run",
                error_id="service-manager-unreachable",
            )

    def path_of(self, name: str) -> Path:
        """Return the path of a service's property list."""
        return self._folder / f"{launchd.label_of(name)}.plist"

    def content_of(self, plan: ServicePlan) -> bytes:
        """Return the content of a service's property list."""
        return launchd.agent_of(plan)

    def start(self, name: str, *, is_changed: bool) -> None:
        """Load an agent, which starts it."""
        if not is_changed and self.state(name).runs:
            return
        target = f"{self._domain}/{launchd.label_of(name)}"
        self._call(["launchctl", "bootout", target])
        self._call(["launchctl", "enable", target])
        # The old one may take a while to go.
        for attempt in range(_ATTEMPTS):
            answer = self._call(["launchctl", "bootstrap", self._domain, str(self.path_of(name))])
            if answer.code == 0:
                return
            time.sleep(_PAUSE_SECONDS * attempt)
        raise _not_started(name, self.state(name), answer)

    def remove(self, name: str) -> None:
        """Stop and unload an agent."""
        self._call(["launchctl", "bootout", f"{self._domain}/{launchd.label_of(name)}"])

    def state(self, name: str) -> ServiceState:
        """Return the agent's state."""
        path = self.path_of(name)
        content = _content(path)
        shown = self._call(["launchctl", "print", f"{self._domain}/{launchd.label_of(name)}"]).out
        values = dict(re.findall(r"^\t?([\w ]+) = (.*)$", shown, re.MULTILINE))
        runs = values.get("state") == "running"
        return ServiceState(
            name,
            path,
            content is not None,
            launchd.program_in(content) if content is not None else None,
            runs=runs,
            at_login=bool(values),
            pid=_number(values.get("pid")) if runs else None,
            detail=values.get("state", ""),
            exit_code=None if runs else _number(values.get("last exit code")),
        )

    def log_command(self, names: Sequence[str], lines: int, *, follow: bool) -> list[str]:
        """Return no command: messages are in the log file."""
        del names, lines, follow
        return []


class WindowsManager:
    """Windows' Task Scheduler."""

    keeps_log = False

    def __init__(self, environ: Mapping[str, str], home: Path, call: Call = call) -> None:
        """Ask nothing yet; the tasks' files are kept with the user's data."""
        base = environ.get("LOCALAPPDATA")
        self._folder = (Path(base) if base else home / "AppData" / "Local") / "vdbevents"
        names = environ.get("USERDOMAIN"), environ.get("USERNAME") or home.name
        self._user = "\\".join(filter(None, names))
        self._call = call

    def check(self) -> None:
        """Raise InputError if there is no Task Scheduler."""
        answer = self._call(["schtasks", "/Query", "/FO", "CSV", "/NH"])
        if answer.code != 0:
            raise InputError(
                f"the Task Scheduler cannot be reached: {_first_line(answer)}",
                "start its service, and try again; or print the task with --dry-run",
                error_id="service-manager-unreachable",
            )

    def path_of(self, name: str) -> Path:
        """Return the path of a copy of a service's task."""
        return self._folder / f"{name}-task.xml"

    def content_of(self, plan: ServicePlan) -> bytes:
        """Return the content of a service's task."""
        return windows_task.task_of(plan, self._user)

    def start(self, name: str, *, is_changed: bool) -> None:
        """Register a task and run it."""
        if not is_changed and self.state(name).runs:
            return
        task = windows_task.task_name(name)
        self._call(["schtasks", "/End", "/TN", task])
        for command in (
            ["/Create", "/TN", task, "/XML", str(self.path_of(name)), "/F"],
            ["/Run", "/TN", task],
        ):
            answer = self._call(["schtasks", *command])
            if answer.code != 0:
                raise _not_started(name, self.state(name), answer)

    def remove(self, name: str) -> None:
        """End and delete a task."""
        task = windows_task.task_name(name)
        self._call(["schtasks", "/End", "/TN", task])
        self._call(["schtasks", "/Delete", "/TN", task, "/F"])

    def state(self, name: str) -> ServiceState:
        """Return the task's state; what `schtasks` prints is in the user's language."""
        path = self.path_of(name)
        content = _content(path)
        query = rf"[int](Get-ScheduledTask -TaskPath '\vdbevents\' -TaskName '{name}').State"
        number = _number(self._call(["powershell", "-NoProfile", "-Command", query]).out.strip())
        return ServiceState(
            name,
            path,
            content is not None,
            windows_task.program_in(content) if content is not None else None,
            runs=number == _TASK_RUNNING,
            at_login=number in _TASK_STATES and number != _TASK_DISABLED,
            detail=_TASK_STATES.get(number or 0, ""),
        )

    def log_command(self, names: Sequence[str], lines: int, *, follow: bool) -> list[str]:
        """Return no command: messages are in the log file."""
        del names, lines, follow
        return []


# `man waitid`: CLD_EXITED; others are signals.
_EXITED: Final = "1"
_TASK_DISABLED: Final = 1
_TASK_RUNNING: Final = 4
_TASK_STATES: Final = {_TASK_DISABLED: "disabled", 2: "queued", 3: "ready", _TASK_RUNNING: "running"}


def _number(text: str | None) -> int | None:
    with contextlib.suppress(ValueError, TypeError):
        return int(text or "")
    return None


def _first_line(answer: Answer) -> str:
    return next(iter((answer.err or answer.out).strip().splitlines()), f"exit code {answer.code}")


def how_ended(exit_code: int) -> str:
    """Return an exit code in words; minus a signal's number means that signal."""
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"


def _not_started(name: str, state: ServiceState, answer: Answer) -> ListenerStateError:
    reason = f"it ended by {how_ended(state.exit_code)}" if state.exit_code else _first_line(answer)
    return ListenerStateError(
        f"the service {name} does not start: {reason}",
        "see: vdbevents service logs",
        error_id="service-not-started",
    )
