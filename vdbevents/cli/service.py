"""`vdbevents service`: run the recorder at login, by the system's own service manager."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vdbevents.cli.command import as_json as json_text, put, reports
from vdbevents.cli.declared import Argument, Option
from vdbevents.cli.diagnostics import Diagnostics, ExitCode
from vdbevents.cli.options import KEY_FILE_NAME, JsonOptions, RecorderOptions, StateOptions
from vdbevents.cli.surroundings import locate
from vdbevents.errors import InputError, ListenerStateError, ServiceRefusedError
from vdbevents.terminal import harmless

if TYPE_CHECKING:
    from vdbevents.service.managers import Manager, ServiceState
    from vdbevents.service.service_plan import ServicePlan

service_app = typer.Typer(help="Run the recorder at login, and again when it fails.", no_args_is_help=True)

_INDENT: Final = " " * 9
_POLL_SECONDS: Final = 0.5
_CHECK_SECONDS: Final = 60.0


class ManagerKind(StrEnum):
    """The service managers that a service can be written for."""

    SYSTEMD = "systemd"
    LAUNCHD = "launchd"
    WINDOWS = "windows"


_HERE: Final = {"darwin": ManagerKind.LAUNCHD, "win32": ManagerKind.WINDOWS}.get(
    sys.platform, ManagerKind.SYSTEMD
)
_BackendOption = Annotated[
    bool | None,
    Option("--backend/--no-backend", help="Run vdbevents backend, too.", show_default="as it is installed"),
]


def _manager(kind: ManagerKind, environ: Mapping[str, str]) -> "Manager":
    from vdbevents.journal.state import home_directory
    from vdbevents.service import managers

    home = home_directory()
    if home is None:
        raise InputError(
            "a service belongs to a home directory: HOME is not set", "set HOME", error_id="home-missing"
        )
    match kind:
        case ManagerKind.SYSTEMD:
            return managers.SystemdManager(environ, home)
        case ManagerKind.LAUNCHD:
            return managers.LaunchdManager(home, os.getuid() if sys.platform != "win32" else 0)
        case ManagerKind.WINDOWS:
            return managers.WindowsManager(environ, home)


@service_app.command()
@reports
def install(
    *,
    backend: _BackendOption = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print what would be written, and change nothing.")
    ] = False,
    manager: Annotated[
        ManagerKind | None,
        Option(help="With --dry-run: write for this manager.", show_default="that of this system"),
    ] = None,
    options: RecorderOptions,
) -> ExitCode:
    """Start vdbevents listen at login, and now, and again whenever it fails.

    The service gets its key from --key-file, else from ~/.config/vdbevents/api-key, else from the system's
    keyring; never from this terminal. Its other options are those of the configuration. Installing again
    replaces what was installed: do so after an update has moved this program.

    \b
    Examples:
      (umask 077; printenv VIDEO_DB_API_KEY > ~/.config/vdbevents/api-key)
      vdbevents service install
      vdbevents service install --backend
      vdbevents service install --dry-run > vdbevents-listen.service
    """  # noqa: D301 - typer's mark for a paragraph that is not wrapped
    from vdbevents.service import managers
    from vdbevents.service.service_plan import BACKEND, LISTEN, named

    if manager is not None and not dry_run and manager is not _HERE:
        raise InputError(
            f"--manager: not this system's service manager, got {manager}",
            "print the file with --dry-run, and install it where it belongs",
            error_id="service-manager-elsewhere",
        )
    chosen = _manager(manager or _HERE, os.environ)
    with_backend = chosen.path_of(BACKEND).exists() if backend is None else backend
    plans = _plans(options, with_backend=with_backend)
    if dry_run:
        _print_files(chosen, plans)
        return ExitCode.DONE
    chosen.check()
    _require_startable(plans[0])
    state = options.state
    state.create()
    from vdbevents.journal.locks import already_listening, listener_runs

    if listener_runs(state) and not any(chosen.state(name).runs for name in managers.NAMES):
        raise already_listening(state)
    for plan in plans:
        is_changed = managers.install(chosen, plan)
        done = "installed" if is_changed else "as before"
        put(f"{plan.name:<8} {done}, {_in_words(chosen.state(plan.name))}")
        put(f"{_INDENT}{harmless(str(chosen.path_of(plan.name)))}")
    if BACKEND not in named(plans) and managers.uninstall(chosen, BACKEND):
        put(f"{BACKEND:<8} removed")
    _hint_at_lingering(chosen)
    return ExitCode.DONE if all(chosen.state(name).runs for name in (LISTEN,)) else ExitCode.LISTENER_STATE


def _plans(options: RecorderOptions, *, with_backend: bool) -> "list[ServicePlan]":
    from vdbevents.service.service_plan import passed_on, plan_services

    environ, left_out = passed_on(options.environ, with_backend=with_backend)
    if left_out:
        diagnostics = Diagnostics()
        diagnostics.say(
            f"not passed on to the service: {', '.join(map(harmless, left_out))}",
            problem=True,
            hint="set options in config.toml, and a proxy with a password for all services of your user",
        )
        diagnostics.flush()
    state = options.state
    # It must not depend on the .env file of whatever directory it starts in.
    arguments = [f"--cwd={state.path.anchor}", *_key_arguments(options)]
    return plan_services(
        os.path.abspath(sys.executable),  # noqa: PTH100 - a link of a virtual environment must stay one
        str(state.path),
        str(state.service_log),
        arguments,
        environ,
        with_backend=with_backend,
    )


def _key_arguments(options: RecorderOptions) -> list[str]:
    """Return the options that tell the service where its key is; check that it is there."""
    from vdbevents.cloud import find_key
    from vdbevents.cloud.key_sources import require_private

    base_url = options.service_address("the service's API key", from_file=False)
    settings = []
    if options.env_file is not None:
        settings = [f"--env-file={options.env_file.absolute()}"]
        require_private(options.env_file)
        if options.key_file is None and options.environ.get("VIDEO_DB_API_KEY"):
            return settings
    key_file = options.key_file or options.usual_key_file
    try:
        find_key({}, base_url, key_file)
    except ServiceRefusedError as error:
        if error.error_id != "key-missing":
            raise
        configuration = locate(os.environ)
        name = configuration.with_name(KEY_FILE_NAME) if configuration else "FILE"
        raise ServiceRefusedError(
            "there is no key for the service: it does not see this terminal's VIDEO_DB_API_KEY",
            f"store it, then try again: (umask 077; printenv VIDEO_DB_API_KEY > '{name}')",
            error_id="service-key-missing",
        ) from None
    return [*settings, *([] if key_file is None else [f"--key-file={key_file.absolute()}"])]


def _print_files(manager: "Manager", plans: "list[ServicePlan]") -> None:
    diagnostics = Diagnostics()
    for plan in plans:
        diagnostics.say(str(manager.path_of(plan.name)))
        content = manager.content_of(plan)
        put(content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8").rstrip("\n"))
    diagnostics.flush()


def _require_startable(plan: "ServicePlan") -> None:
    """Check that the service's interpreter has this program.

    Raises:
        InputError: it has not, as in a checkout that is not installed.
    """
    program, *_ = plan.command
    done = subprocess.run(
        [program, "-P", "-m", "vdbevents", "--version"],
        cwd=Path(program).anchor,
        capture_output=True,
        check=False,
        timeout=_CHECK_SECONDS,
    )
    if done.returncode != 0:
        raise InputError(
            f"{program} cannot start vdbevents from another directory",
            "install it first: pip install .",
            error_id="service-program-unusable",
        )


def _hint_at_lingering(manager: "Manager") -> None:
    from vdbevents.service.managers import SystemdManager

    if isinstance(manager, SystemdManager) and not manager.lingers():
        put("It ends when you log out. To let it run from the start of the system: loginctl enable-linger")


def _in_words(state: "ServiceState") -> str:
    if not state.is_installed:
        return "not installed"
    if state.program is not None and not Path(state.program).exists():
        return f"its program is gone: {harmless(state.program)}"
    from vdbevents.service.managers import how_ended

    detail = f": {harmless(state.detail)}" if state.detail else ""
    if state.runs:
        return f"running{f' (PID {state.pid})' if state.pid else ''}{detail}"
    return f"not running{detail}{f', last ended by {how_ended(state.exit_code)}' if state.exit_code else ''}"


@service_app.command()
@reports
def uninstall() -> ExitCode:
    """Stop the services and remove them. The journal and the key stay."""
    from vdbevents.service import managers

    manager = _manager(_HERE, os.environ)
    # The backend first: it would miss its listener.
    removed = [name for name in reversed(managers.NAMES) if managers.uninstall(manager, name)]
    put("\n".join(f"{name:<8} removed" for name in removed) or "no service was installed")
    return ExitCode.DONE


@service_app.command()
@reports
def status(*, printing: JsonOptions) -> ExitCode:
    """Show whether the services are installed and run.

    For what the recorder receives, see: vdbevents status.

    \b
    Exit codes: 0 all that is installed runs, 3 it does not, or nothing is installed.
    """  # noqa: D301
    from vdbevents.service import managers

    manager = _manager(_HERE, os.environ)
    states = [manager.state(name) for name in managers.NAMES]
    installed = [state for state in states if state.is_installed]
    if printing.as_json:
        put(json_text({"services": [_as_object(state) for state in states]}))
    for state in () if printing.as_json else installed or states[:1]:
        put(f"{state.name:<8} {_in_words(state)}")
        if state.is_installed:
            at_login = "starts at login" if state.at_login else "does not start at login"
            put(f"{_INDENT}{at_login}; {harmless(str(state.path))}")
            if not state.runs:
                put(f"{_INDENT}→ see: vdbevents service logs")
                put(f"{_INDENT}→ start it, also after an update or a move: vdbevents service install")
    if not installed and not printing.as_json:
        put(f"{_INDENT}→ install it with: vdbevents service install")
    all_run = bool(installed) and all(state.runs for state in installed)
    return ExitCode.DONE if all_run else ExitCode.LISTENER_STATE


def _as_object(state: "ServiceState") -> dict[str, Any]:
    is_there = state.program is not None and Path(state.program).exists()
    return {**state._asdict(), "path": str(state.path), "program_exists": is_there}


@service_app.command()
@reports
def logs(
    *,
    limit: Annotated[int, Option("-n", "--limit", min=1, metavar="N", help="Show the last N.")] = 50,
    follow: Annotated[bool, Option("--follow", "-f", help="Keep printing new ones until Ctrl-C.")] = False,
    options: StateOptions,
) -> ExitCode:
    """Show the services' messages: problems, and how they ended.

    For what was recorded, see: vdbevents query.
    """
    from vdbevents.service import managers

    manager = _manager(_HERE, os.environ)
    if command := manager.log_command(managers.NAMES, limit, follow=follow):
        try:
            return (
                ExitCode.DONE if subprocess.run(command, check=False).returncode == 0 else ExitCode.NO_MATCH
            )
        except FileNotFoundError:
            raise InputError(
                f"{command[0]} is not installed", "install systemd's tools", error_id="service-log-missing"
            ) from None
    log = options.state.service_log
    try:
        with log.open(encoding="utf-8", errors="replace") as opened:
            shown = opened.readlines()[-limit:]
            while True:
                for line in shown:
                    put(harmless(line.rstrip("\n")))
                if not follow:
                    return ExitCode.DONE
                shown = opened.readlines()
                if not shown:
                    time.sleep(_POLL_SECONDS)
    except OSError as error:
        raise ListenerStateError(
            f"no messages: cannot read {log}: {error.strerror or error}",
            "name the state directory of the service, or see: vdbevents service status",
            error_id="service-log-missing",
        ) from None


@service_app.command(context_settings={"ignore_unknown_options": True})
@reports
def run(
    command: Annotated[
        list[str], Argument(metavar="-- COMMAND...", help="listen or backend, with their options.")
    ],
    *,
    log: Annotated[Path, Option(metavar="FILE", help="Append its messages to this file.")],
    assign: Annotated[
        list[str] | None, Option("--set", metavar="NAME=VALUE", help="Set a variable for it.")
    ] = None,
) -> ExitCode:
    """Run a command, and again whenever it fails; what launchd and the Task Scheduler start.

    Ends with 0 when the command ends by itself, or a restart would not help: wrong usage, a refused key.
    """
    from vdbevents.service.supervised_run import SupervisedRun

    variables = dict(text.split("=", 1) for text in assign or () if "=" in text)
    # A program without a console, such as that of a task of Windows, has nowhere to write messages.
    python = re.sub(r"(?i)\bpythonw\.exe$", "python.exe", sys.executable)
    SupervisedRun([python, "-P", "-m", "vdbevents", *command], {**os.environ, **variables}, log).run()
    return ExitCode.DONE
