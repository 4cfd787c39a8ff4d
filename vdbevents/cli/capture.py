"""`vdbevents capture` and `vdbevents channels`: what they ask for, and what a person sees meanwhile."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vdbevents.cli import pipeline_options as o
from vdbevents.cli.command import (
    LONGEST_CALL_SECONDS,
    ColorOption,
    Directory,
    EnvironmentFile,
    LogFormatOption,
    WorkingDirectory,
    as_json as json_text,
    default_end_user,
    environment,
    put,
    reports,
    require_finite,
    silence_stdout,
    state_directory,
    token_seconds,
)
from vdbevents.cli.diagnostics import (
    Color,
    Diagnostics,
    ExitCode,
    LogFormat,
    error_of,
    is_terminal,
    wants_colour,
)
from vdbevents.cli.service import Service
from vdbevents.errors import InputError, ListenerStateError, ServiceUnreachableError, StorageError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

    from rich.console import RenderableType
    from rich.live import Live

    from vdbevents.capture.info import CaptureInfo
    from vdbevents.cloud import Account, Credentials
    from vdbevents.journal import StateDirectory

_TOKEN_SECONDS = 60
_LIVE_STATUS_A_SECOND = 4

HELP = """Record this desktop: session, permissions, channels, pipelines, and in the end the video.

Runs until Ctrl-C or SIGTERM, --duration, or until the session ends by itself; then it ends everything in
order and waits for the video (a second Ctrl-C skips the waiting). A listener is started where none runs, and
ended with it. Prints one JSON object, the summary; what happens is told on stderr.

\b
Examples:
  vdbevents capture                                   screen, microphone and system audio, until Ctrl-C
  vdbevents capture --duration 30m --no-system-audio
  vdbevents capture --display all --no-store all      described and transcribed, and no video kept
  vdbevents capture --alert 'deploy=a deployment is mentioned' --visual-prompt 'Which program is used?'
  kill "$(cat ~/.local/state/videodb/videodb_capture_pid)"    ends it

\b
Exit codes: 0 recorded and ended in order, 2 wrong input, 3 no listener (--no-listen), 4 the service refused,
5 the service was not reachable, 6 the recording failed or another one runs, 130 the waiting was skipped.
"""


@reports
def capture(
    directory: Directory = None,
    *,
    duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="Record for 90s, 30m, 2h.", show_default="until Ctrl-C")
    ] = None,
    mic: Annotated[bool, typer.Option(help="Record a microphone.")] = True,
    mic_device: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Which one; see: vdbevents channels.", show_default="the default one"
        ),
    ] = None,
    system_audio: Annotated[bool, typer.Option(help="Record what the machine plays.")] = True,
    display: Annotated[
        str | None,
        typer.Option(metavar="ID|all|none", help="Which screen to record.", show_default="the default one"),
    ] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="Keep mic, system-audio, display or all for the video; repeatable.",
            show_default="all",
        ),
    ] = None,
    no_store: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Do not keep these; repeatable.")
    ] = None,
    require_all: Annotated[
        bool, typer.Option("--require-all", help="Fail if a permission is denied or a channel is missing.")
    ] = False,
    transcript: o.Transcript = True,
    engine: o.Engine = None,
    index_audio: o.IndexAudio = True,
    audio_prompt: o.AudioPrompt = o.AUDIO_PROMPT,
    audio_every: o.AudioEvery = o.AUDIO_EVERY,
    index_visuals: o.IndexVisuals = True,
    visual_prompt: o.VisualPrompt = o.VISUAL_PROMPT,
    visual_every: o.VisualEvery = o.VISUAL_EVERY,
    frames: o.Frames = o.FRAMES,
    model: o.Model = None,
    alert: o.Alert = None,
    end_user_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Whose session it is.", show_default="the user's name and the host's"
        ),
    ] = None,
    collection: Annotated[str, typer.Option(metavar="ID", help="Where the video goes.")] = "default",
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Kept with the session; repeatable.")
    ] = None,
    token_ttl: Annotated[
        str, typer.Option(metavar="TIME", help="How long the runtime's token is good.")
    ] = "24h",  # noqa: S107 - a length of time
    listen: Annotated[
        bool,
        typer.Option("--listen/--no-listen", help="Start a listener where none runs, or refuse (exit 3)."),
    ] = True,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="For each step without a limit of its own; what fails in passing is tried again in it.",
        ),
    ] = 30.0,
    permission_timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="For a person to grant a permission.")
    ] = 120.0,
    active_timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="For the session to become active.")
    ] = 60.0,
    export_timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="For the video in the end.")
    ] = 600.0,
    env_file: EnvironmentFile = None,
    cwd: WorkingDirectory = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing but problems on stderr.")] = False,
    log_format: LogFormatOption = LogFormat.TEXT,
    color: ColorOption = Color.AUTO,
) -> ExitCode:
    """Record this desktop."""
    from vdbevents import cloud
    from vdbevents.capture import plan
    from vdbevents.query.window import parse_duration

    require_finite(
        timeout=timeout,
        permission_timeout=permission_timeout,
        active_timeout=active_timeout,
        export_timeout=export_timeout,
    )
    _require_text(
        end_user_id, collection, audio_prompt, visual_prompt, engine, model, *(metadata or ()), *(alert or ())
    )
    token_lives = token_seconds("--token-ttl", token_ttl)
    settings = o.pipeline_settings(
        transcript=transcript,
        engine=engine,
        index_audio=index_audio,
        audio_prompt=audio_prompt,
        audio_every=audio_every,
        index_visuals=index_visuals,
        visual_prompt=visual_prompt,
        visual_every=visual_every,
        frames=frames,
        model=model,
        alerts=alert,
    )
    seconds = None if duration is None else parse_duration("--duration", duration) / 1000
    if seconds is not None and seconds >= token_lives:
        raise InputError(
            f"--duration {duration} is longer than the runtime's token is good", "give a longer --token-ttl"
        )
    wanted = plan.Wanted(
        mic, system_audio, mic_device, display, plan.parse_kinds(store or (), no_store or ())
    )
    told = plan.parse_metadata(metadata or ())
    environ = environment(env_file, cwd)
    state = state_directory(directory, environ)
    credentials = cloud.credentials_from(environ)
    state.create()

    from vdbevents.capture import orchestrator

    arguments = [f"--cwd={(cwd or Path()).absolute()}"]
    if env_file is not None:
        arguments.append(f"--env-file={env_file.absolute()}")
    colour = wants_colour(color, sys.stderr, os.environ)
    observer = _CaptureObserver(log_format=log_format, colour=colour, quiet=quiet)
    options = orchestrator.Options(
        directory=state,
        account=_account(credentials, timeout),
        base_url=credentials.base_url,
        end_user_id=end_user_id or default_end_user(),
        collection_id=collection,
        metadata=told,
        token_seconds=token_lives,
        runtime=runtime_of(environ),
        wanted=wanted,
        pipelines=settings,
        require_all=require_all,
        duration=seconds,
        limits=orchestrator.Limits(timeout, permission_timeout, active_timeout, export_timeout),
        listener=_BackgroundListener(state, timeout, observer, arguments) if listen else None,
    )
    _prepare_for_runtime()
    try:
        outcome = orchestrator.capture(options, observer)
    finally:
        observer.flush()
    unprinted = None if outcome.summary is None else _print_summary(outcome.summary)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        # All is said and done. Python gives up its own handlers before it ends, and this stays.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if outcome.failure is not None:
        if unprinted is not None:
            observer.say(unprinted.message, problem=True)
            observer.flush()
        raise outcome.failure
    if unprinted is not None:
        raise unprinted
    return ExitCode.INTERRUPTED if outcome.interrupted else ExitCode.DONE


def _account(credentials: "Credentials", timeout: float) -> "Account":
    from vdbevents.cloud import Account

    # Half of the time, so that a call that is not answered can be made once more.
    return Account(credentials, min(max(timeout / 2, 1.0), timeout, LONGEST_CALL_SECONDS))


def _require_text(*values: str | None) -> None:
    for value in values:
        try:
            (value or "").encode()
        except UnicodeEncodeError:
            raise InputError(f"{value!a} is no text", "write it in this terminal's encoding") from None


def _print_summary(summary: "Mapping[str, Any]") -> StorageError | None:
    """Prints it; answers with the error of a stdout that does not take it."""
    try:
        put(json_text(summary))
    except BrokenPipeError:
        # Nobody reads it. What went wrong is still to be said.
        silence_stdout()
    except OSError as error:
        silence_stdout()
        return StorageError(
            f"cannot write the summary to stdout: {error.strerror or error}",
            "the recording itself is in order; its facts are in videodb_capture_info.json",
        )
    return None


def _prepare_for_runtime() -> None:
    """The SDK starts the runtime with this process's environment: from now on the key is not in it."""
    os.environ.pop("VIDEO_DB_API_KEY", None)
    import logging

    # Of a process that ends while the SDK tells it to, asyncio says that it knows no such child.
    logging.getLogger("asyncio").setLevel(logging.ERROR)


def runtime_of(environ: "Mapping[str, str]") -> Path | None:
    """The capture runtime that the environment names instead of VideoDB's own."""
    named = environ.get("VDBEVENTS_CAPTURE_RUNTIME")
    return Path(named).expanduser() if named else None


class _BackgroundListener:
    """A listener that this process starts, and ends again."""

    def __init__(
        self, state: "StateDirectory", seconds: float, observer: Diagnostics, arguments: list[str]
    ) -> None:
        self._state = state
        self._seconds = seconds
        self._observer = observer
        self._arguments = arguments
        # Whatever the user's defaults for a listener are: what is recorded already stays.
        self._environ = {**os.environ, "VDBEVENTS_LISTEN_CLEAR": "false"}
        self._process: subprocess.Popen[str] | None = None

    def start(self, cancelled: threading.Event) -> None:
        """Returns when it is connected; it is ended again when the event is set before."""
        from vdbevents.cli.background import start_listener

        deadline = time.monotonic() + self._seconds
        started = start_listener(
            self._state,
            self._arguments,
            announce=lambda _: None,
            tell=self._tell,
            environ=self._environ,
            given_up=lambda: cancelled.is_set() or time.monotonic() > deadline,
            on_start=self._hold,
        )
        if started.code == ExitCode.DONE or cancelled.is_set():
            return
        log = self._state.listener_log
        if time.monotonic() > deadline:
            raise ServiceUnreachableError(
                f"the listener was not connected in {self._seconds:g} s",
                f"give it longer: --timeout; what it said is in {log}",
            )
        raise error_of(started.code)("the listener did not start", f"what it said is in {log}")

    def stop(self, seconds: float) -> bool:
        """Ends it, and waits until it has ended; whether it was still there."""
        import subprocess

        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ListenerStateError(
                f"the listener (PID {process.pid}) was asked to end and has not after {seconds:g} s",
                f"end it at once with: kill -9 {process.pid}",
            ) from None
        return True

    def _hold(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def _tell(self, text: str) -> None:
        for line in text.splitlines():
            self._observer.say(f"the listener: {line.strip().removeprefix('vdbevents: ')}", problem=True)


class _CaptureObserver(Diagnostics):
    """Plain lines; on a terminal, below them, how things are."""

    _live: "Live | None" = None
    _info: "CaptureInfo | None" = None

    def watch(self, info: "CaptureInfo") -> None:
        if is_terminal(self._stream) and self._format is LogFormat.TEXT and not self._quiet:
            self._info = info

    def _write(self, text: str) -> None:
        # In the thread that may be held up by a terminal: whoever records goes on.
        if self._info is None:
            super()._write(text)
            return
        from rich.text import Text

        if self._live is None:
            self._live = _live_status(self._info, colour=self._colour)
            self._live.start()
        self._live.console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)

    def abandon(self) -> None:
        """The process ends at once: the cursor is shown again, if the terminal takes that without waiting."""
        if self._live is None:
            return
        with contextlib.suppress(OSError, ValueError):
            number = self._stream.fileno()
            os.set_blocking(number, False)
            try:
                os.write(number, b"\x1b[?25h\n")
            finally:
                os.set_blocking(number, True)

    def _write_waiting(self) -> None:
        try:
            super()._write_waiting()
        finally:
            if self._live is not None:
                self._live.stop()


def _live_status(info: "CaptureInfo", *, colour: bool) -> "Live":
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, no_color=not colour, highlight=False)
    return Live(
        console=console,
        get_renderable=lambda: _status(info),
        refresh_per_second=_LIVE_STATUS_A_SECOND,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _status(info: "CaptureInfo") -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    from vdbevents.terminal import harmless

    since = info.recording_since
    elapsed = "" if since is None else f" {_clock(time.monotonic() - since)}"
    channels = ", ".join(choice.channel.id for choice in info.choices)
    lines = [Text(f"● {info.phase}{elapsed}  ", style="bold") + Text(harmless(channels), style="not bold")]
    missing = [pipeline.title for pipeline in list(info.pipelines) if pipeline.status in _NOT_YET]
    counts = ", ".join(f"{name} {count}" for name, count in sorted(info.tally.counts.items()))
    if since is not None:
        lines.append(Text(f"  events  {counts or 'none yet'}"))
    if missing:
        lines.append(Text(f"  not yet {harmless(', '.join(missing))}", style="yellow"))
    for label, text in (("heard", info.tally.heard), ("seen", info.tally.seen)):
        if text:
            lines.append(Text(f"  {label:<7} {harmless(text[:_LONGEST_SHOWN])}"))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


_LONGEST_SHOWN = 500
_NOT_YET = ("starting", "failed")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


CHANNELS_HELP = """Show what the capture runtime finds here: microphones, system audio, displays, cameras.

Cameras are listed, and not recorded.

\b
Examples:
  vdbevents channels
  vdbevents capture --display display:2 --mic-device mic:headset
"""


@reports
def channels(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="For the service, and for the runtime.")
    ] = 30.0,
    env_file: EnvironmentFile = None,
    cwd: WorkingDirectory = None,
) -> ExitCode:
    """Show what can be recorded here."""
    import asyncio

    from vdbevents import cloud
    from vdbevents.capture.runtime import Runtime
    from vdbevents.terminal import harmless

    environ = environment(env_file, cwd)
    service = Service(environ, timeout)
    cloud.find_runtime(runtime_of(environ))
    token = service.ask(lambda: service.account.create_token(_TOKEN_SECONDS))
    _prepare_for_runtime()

    async def ask() -> list[Any]:
        runtime = Runtime(cloud.capture_client(token, service.base_url), lambda _, __: None)
        try:
            return await runtime.channels(timeout)
        finally:
            await runtime.close(5.0)

    found = asyncio.run(ask())
    if as_json:
        put(json_text([{"id": it.id, "name": it.name, "kind": it.kind} for it in found]))
    else:
        width = max((len(harmless(it.id)) for it in found), default=0)
        for it in found:
            put(f"{it.kind:<12}  {harmless(it.id):<{width}}  {harmless(it.name)}")
    return ExitCode.DONE if found else ExitCode.NO_MATCH
