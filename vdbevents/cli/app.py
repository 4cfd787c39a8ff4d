"""The commands: each parses its options, calls one thing, and renders what comes back."""

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.models import CommandInfo

from vdbevents import __version__
from vdbevents.cli.command import (
    LONGEST_CALL_SECONDS,
    ColorOption,
    Directory,
    EnvironmentFile,
    LogFormatOption,
    WorkingDirectory,
    environment,
    put,
    reports,
    require_finite,
    silence_stdout,
    state_directory,
)
from vdbevents.cli.config import ConfiguredGroup, is_silent
from vdbevents.cli.diagnostics import Color, Diagnostics, ExitCode, LogFormat, wants_colour
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from vdbevents.cloud import Credentials
    from vdbevents.journal.state import StateDirectory
    from vdbevents.recovery.reconciler import Reconciler

app = typer.Typer(
    name="vdbevents",
    cls=ConfiguredGroup,
    help="The flight recorder for a desktop that VideoDB watches.",
    epilog="Start with: vdbevents demo",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


# The commands and groups of commands that have modules of their own, of `vdbevents.cli`.
_ELSEWHERE: Final = {
    "query": ("query",),
    "sql": ("sql",),
    "gaps": ("gaps",),
    "cache": ("cache",),
    "capture": ("capture", "channels"),
    "backend": ("backend",),
    "session": ("session", "token", "streams"),
    "pipelines": ("pipelines", "alerts"),
    "clip": ("clip",),
    "search": ("search",),
}
_AFTER_THEM: Final = ("emulator", "demo", "config")


def run() -> None:
    """The `vdbevents` command."""
    _fill_closed_streams()
    wanted = next(iter(sys.argv[1:]), "")
    if is_silent(os.environ) and not any(name.endswith("_COMPLETE") for name in os.environ):
        _complete(wanted)
        _leave_out_all_but(wanted)
    else:
        _complete()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


def whole_app() -> typer.Typer:
    """The application with all its commands."""
    _complete()
    return app


def _complete(wanted: str = "") -> None:
    """Adds the commands that have modules of their own: those of the wanted one's alone, where it has one."""
    modules = [module for module, names in _ELSEWHERE.items() if wanted in names] or list(_ELSEWHERE)
    if wanted != "config" and wanted in map(_command_name, app.registered_commands):
        return
    known = {*map(_command_name, app.registered_commands), *(it.name for it in app.registered_groups)}
    for module in modules:
        if _ELSEWHERE[module][0] not in known:
            importlib.import_module(f"vdbevents.cli.{module}").add_to(app)
    app.registered_commands.sort(key=lambda it: _command_name(it) in _AFTER_THEM)


def _leave_out_all_but(wanted: str) -> None:
    # Making the options of some thirty commands takes as long as most of them run.
    commands = [it for it in app.registered_commands if _command_name(it) == wanted]
    groups = [it for it in app.registered_groups if it.name == wanted]
    if wanted != "config" and (commands or groups):
        app.registered_commands, app.registered_groups = commands, groups


def _command_name(command: CommandInfo) -> str:
    return command.name or str(getattr(command.callback, "__name__", ""))


def _fill_closed_streams() -> None:
    # After `<&- >&- 2>&-` the next files to be opened, the journal among them, would get the numbers of the
    # streams, and with them whatever is written to a stream.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's form of a callback
    if wanted:
        print(f"vdbevents {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: FBT002 - typer's form of an option
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


_LISTEN_HELP = """Record every event into DIR/videodb_events.jsonl until a signal asks to end.

The first line on stdout is WS_ID=<id>, as soon as the first connection stands; the id is in DIR/videodb_ws_id
for as long as the connection stands. A connection that is lost is made again, for ever unless --max-retries
says otherwise.

\b
Examples:
  vdbevents listen --clear &                          a new recording
  vdbevents listen --daemon                           in the background, once it is connected
  cat ~/.local/state/videodb/videodb_ws_id            the id for create_capture_session and the pipelines
  kill "$(cat ~/.local/state/videodb/videodb_ws_pid)" ends it, as does: vdbevents stop
"""


@app.command(help=_LISTEN_HELP)
@reports
def listen(
    directory: Directory = None,
    *,
    clear: Annotated[bool, typer.Option("--clear", help="Empty the journal first.")] = False,
    daemon: Annotated[
        bool,
        typer.Option("--daemon", help="Run in the background; return when connected, or with the failure."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing but problems on stderr.")] = False,
    max_retries: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Give up (exit 5) when N retries in a row failed.", show_default="never"
        ),
    ] = None,
    connect_timeout: Annotated[
        float,
        typer.Option(
            min=0.1, metavar="SECONDS", help="For the API's answer, the handshake, and the first message."
        ),
    ] = 20.0,
    ping_interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between pings, and at most until each answer.")
    ] = 20.0,
    hold: Annotated[
        float, typer.Option(min=0.001, metavar="MIB", help="What to hold in memory while the disk is full.")
    ] = 64.0,
    sync_every: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How much a power cut may cost; 0: nothing.")
    ] = 1.0,
    recover: Annotated[
        bool,
        typer.Option(
            help="After a reconnect, have the capture's pipelines send to the new connection, and fetch what "
            "was missed."
        ),
    ] = True,
    stale_after: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="Start the description of a screen anew if nothing of it came for so long; 0: never.",
        ),
    ] = 60.0,
    seal: Annotated[
        bool,
        typer.Option(help="Keep the journal's old part in the cache, too, so that queries stay fast."),
    ] = True,
    env_file: EnvironmentFile = None,
    cwd: WorkingDirectory = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    color: ColorOption = Color.AUTO,
) -> ExitCode:
    from vdbevents import cloud

    require_finite(
        connect_timeout=connect_timeout,
        ping_interval=ping_interval,
        hold=hold,
        sync_every=sync_every,
        stale_after=stale_after,
    )
    environ = environment(env_file, cwd)
    state = state_directory(directory, environ)
    credentials = cloud.credentials_from(environ)
    state.create()
    if daemon:
        from vdbevents.cli.background import start_listener

        started = start_listener(state, _same_listener(locals()))
        # It goes on without us: that it is still running is no oversight to warn of.
        started.process.returncode = started.code
        return started.code
    from vdbevents.cli.cache_worker import kept_sealed
    from vdbevents.listener.daemon import Options, listen as record_events
    from vdbevents.listener.protocol import Settings

    settings = Settings(max_retries=max_retries, step_limit=connect_timeout, ping_interval=ping_interval)
    recovery = _recovery(state, credentials, stale_after, ping_interval) if recover else None
    options = Options(state, credentials, settings, clear, int(hold * (1 << 20)), sync_every, recovery)
    colour = wants_colour(color, sys.stderr, os.environ)
    observer = _ListenObserver(log_format=log_format, colour=colour, quiet=quiet)
    observer.say(f"recording from {cloud.shown_address(credentials.base_url)} into {state.path}")
    try:
        with kept_sealed(state.journal) if seal else contextlib.nullcontext():
            ended_by = record_events(options, observer)
    finally:
        observer.flush()
    return ExitCode.INTERRUPTED if ended_by is signal.SIGINT else ExitCode.DONE


def _recovery(
    state: "StateDirectory", credentials: "Credentials", stale_seconds: float, ping_interval: float
) -> "Reconciler":
    from vdbevents import cloud
    from vdbevents.recovery.reconciler import Reconciler

    return Reconciler(
        state,
        cloud.Account(credentials, LONGEST_CALL_SECONDS),
        stale_seconds=stale_seconds,
        # A connection on which nothing moved for longer has been given up by then.
        linger_seconds=3 * ping_interval,
    )


class _ListenObserver(Diagnostics):
    def announce(self, ws_id: str) -> None:
        try:
            # In bytes: the id may hold what the terminal's encoding does not.
            sys.stdout.buffer.write(f"WS_ID={ws_id}\n".encode())
            sys.stdout.buffer.flush()
        except (OSError, ValueError):
            # `listen | head -0`, or a stdout that was closed: the files tell the id, too.
            silence_stdout()


def _same_listener(options: Mapping[str, Any]) -> list[str]:
    """The arguments that make a listener in the background the one that was asked for."""
    arguments = [
        f"--connect-timeout={options['connect_timeout']}",
        f"--ping-interval={options['ping_interval']}",
        f"--hold={options['hold']}",
        f"--sync-every={options['sync_every']}",
        f"--stale-after={options['stale_after']}",
        "--recover" if options["recover"] else "--no-recover",
        "--seal" if options["seal"] else "--no-seal",
        f"--log-format={options['log_format']}",
        f"--cwd={(options['cwd'] or Path()).absolute()}",
    ]
    if options["clear"]:
        arguments.append("--clear")
    if options["max_retries"] is not None:
        arguments.append(f"--max-retries={options['max_retries']}")
    if options["env_file"] is not None:
        arguments.append(f"--env-file={options['env_file'].absolute()}")
    return arguments


_STATUS_HELP = """Show whether the listener runs, is connected, and what it receives.

\b
Exit codes: 0 connected, 3 not running, 5 running but not connected, or stale (a screen is not described).
"""


@app.command(help=_STATUS_HELP)
@reports
def status(
    directory: Directory = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    env_file: EnvironmentFile = None,
    cwd: WorkingDirectory = None,
) -> ExitCode:
    import time

    from vdbevents.cli.status import gather, render

    found = gather(state_directory(directory, environment(env_file, cwd)), time.time())
    put(render(found, as_json=as_json))
    return {"connected": ExitCode.DONE, "not running": ExitCode.LISTENER_STATE}.get(
        found["state"], ExitCode.UNREACHABLE
    )


@app.command()
@reports
def stop(
    directory: Directory = None,
    *,
    timeout: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How long to wait for it.")
    ] = 10.0,
    env_file: EnvironmentFile = None,
    cwd: WorkingDirectory = None,
) -> ExitCode:
    """Ask the listener to end, and wait until it has."""
    from vdbevents.cli.background import stop_listener

    require_finite(timeout=timeout)
    put(stop_listener(state_directory(directory, environment(env_file, cwd)), timeout))
    return ExitCode.DONE


_EMULATOR_HELP = """Imitate VideoDB's cloud for capture on this machine, for trying and testing without a key.

Prints the settings that point any VideoDB client at it, and the path of a capture runtime that records
nothing, where it is installed; runs until a signal asks to end. The recording (a real one, unless --replay
names another journal) is played to the first WebSocket that connects.

\b
Examples:
  vdbevents emulator --port 8800 --speed 10 &
  export VIDEO_DB_API=http://127.0.0.1:8800 VIDEO_DB_API_KEY=sk-emulator
  vdbevents listen
  vdbevents emulator --fault 'http={"status": 503, "for": 10}'
  curl -X POST $VIDEO_DB_API/emulator/close -d '{"code": 1011}'
  vdbevents emulator --numbered --clock-rate 60
  curl -X POST $VIDEO_DB_API/emulator/clock -d '{"advance": 3600}'

\b
For a capture, which has the recording played itself, in place of the first and the third line:
  vdbevents emulator --port 8800 --no-autoplay &
  export VDBEVENTS_CAPTURE_RUNTIME=$(command -v vdbevents-capture-runtime)
  vdbevents capture --duration 20s
"""


@app.command(help=_EMULATOR_HELP)
@reports
def emulator(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0: a free one.")] = 0,
    api_key: Annotated[
        str, typer.Option(metavar="KEY", help="The one key that is accepted.")
    ] = "sk-emulator",
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The journal to play.", show_default="the real session that is bundled"
        ),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.0, metavar="N", help="How many times as fast; 0: at once.")
    ] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Start over at the end.")] = False,
    autoplay: Annotated[bool, typer.Option(help="Whether to play to the first WebSocket.")] = True,
    numbered: Annotated[
        bool,
        typer.Option("--numbered", help="Instead of a recording, an endless script of numbered events."),
    ] = False,
    clock_rate: Annotated[
        float, typer.Option(metavar="N", help="Run the service's clock N times as fast.")
    ] = 1.0,
    fault: Annotated[
        list[str] | None, typer.Option(metavar="NAME=JSON", help="A fault from the start on; repeatable.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Speak https and wss with this certificate.")
    ] = None,
    private_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its key, if in another file.")
    ] = None,
) -> None:
    from vdbevents.emulator.application import EmulatorSettings, installed_path, serve

    if not api_key:
        raise InputError("--api-key is empty", "give the key that clients will send, or leave the option out")
    if numbered and replay is not None:
        raise InputError("--numbered and --replay contradict each other", "give one of them")
    settings = EmulatorSettings(
        port=port,
        api_key=api_key,
        replay=replay,
        speed=speed,
        loop=loop,
        autoplay=autoplay,
        numbered=numbered,
        clock_rate=clock_rate,
        faults=dict(_parse_fault(text) for text in fault or ()),
        certificate=certificate,
        private_key=private_key,
    )

    def announce(url: str) -> None:
        runtime = installed_path()
        found = "" if runtime is None else f"\nVDBEVENTS_CAPTURE_RUNTIME={runtime}"
        print(f"VIDEO_DB_API={url}\nVIDEO_DB_API_KEY={api_key}{found}", flush=True)

    try:
        serve(settings, announce)
    except OSError as error:
        raise InputError(
            f"cannot serve on port {port}: {error.strerror or error}",
            "name another --port, or 0 for a free one",
        ) from error
    except ValueError as error:
        raise InputError(str(error), "see: vdbevents emulator --help, and docs/emulator.md") from error


def _parse_fault(text: str) -> tuple[str, Any]:
    import json

    name, separator, options = text.partition("=")
    try:
        return name, json.loads(options if separator else "{}")
    except ValueError:
        raise InputError(
            f"--fault {text!r} is not NAME=JSON", """for example: --fault 'http={"status": 503, "for": 10}'"""
        ) from None


@app.command()
@reports
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the recording where it is.")] = False,
) -> None:
    """Show a real recording being made and queried, on this machine alone: no key, no network."""
    from vdbevents.cli.demo import run_demo

    run_demo(keep=keep)


_CONFIG_HELP = """Show which options the file and the environment set, to what, and what is wrong there.

An option that no flag sets is taken from VDBEVENTS_<COMMAND>_<OPTION>, else from the table of its command in
$XDG_CONFIG_HOME/vdbevents/config.toml (else ~/.config/vdbevents/config.toml), else it has its own default.

\b
Examples:
  vdbevents config
  vdbevents config listen --all
  VDBEVENTS_QUERY_LIMIT=20 vdbevents config query

\b
Exit codes: 0 nothing is wrong, 2 something is.
"""


@app.command(help=_CONFIG_HELP)
@reports
def config(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND]...", help="Only this command, or group of commands.", show_default=False
        ),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also what has its own default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with all options.")] = False,
) -> ExitCode:
    from vdbevents.cli.config import configuration_of, only, render, tell

    found = configuration_of(context)
    if command:
        found = only(found, command)
    put(render(found, everything=everything, as_json=as_json))
    if not found.problems:
        return ExitCode.DONE
    if not as_json:
        tell(found.problems)
    return ExitCode.BAD_INPUT
