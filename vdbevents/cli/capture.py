"""`vdbevents capture` and `vdbevents channels`: what they ask for, and what a person sees meanwhile."""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vdbevents.cli import pipeline_options as o
from vdbevents.cli.command import (
    ColorOption,
    Directory,
    EnvironmentFile,
    LogFormatOption,
    WorkingDirectory,
    default_end_user,
    environment,
    reports,
    state_directory,
)
from vdbevents.cli.diagnostics import Color, Diagnostics, ExitCode, LogFormat, is_terminal, wants_colour
from vdbevents.errors import InputError, ServiceUnreachableError, VdbeventsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType
    from rich.live import Live

    from vdbevents.capture.orchestrator import Progress
    from vdbevents.journal import StateDirectory

_CALL_SECONDS = 20.0
_SHORTEST_TOKEN_SECONDS = 60
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
Exit codes: 0 recorded and ended in order, 3 no listener (--no-listen), 4 the service refused, 5 the service
was not reachable, 6 the recording failed, 130 the waiting was skipped.
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
        float, typer.Option(min=0.1, metavar="SECONDS", help="For each step that has no limit of its own.")
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
    from vdbevents.query.plan import parse_duration

    token_seconds = parse_duration("--token-ttl", token_ttl) // 1000
    if token_seconds < _SHORTEST_TOKEN_SECONDS:
        raise InputError(f"--token-ttl {token_ttl} is too short to begin with", "give a minute at least")
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
    wanted = plan.Wanted(
        mic, system_audio, mic_device, display, plan.parse_kinds(store or (), no_store or ())
    )
    told = plan.parse_metadata(metadata or ())
    environ = environment(env_file, cwd)
    state = state_directory(directory, environ)
    credentials = cloud.credentials_from(environ)
    state.create()

    from vdbevents.capture import orchestrator

    colour = wants_colour(color, sys.stderr, os.environ)
    observer = _CaptureObserver(log_format=log_format, colour=colour, quiet=quiet)
    options = orchestrator.Options(
        directory=state,
        account=cloud.Account(credentials, min(timeout, _CALL_SECONDS)),
        base_url=credentials.base_url,
        end_user_id=end_user_id or default_end_user(),
        collection_id=collection,
        metadata=told,
        token_seconds=token_seconds,
        runtime=runtime_of(environ),
        wanted=wanted,
        pipelines=settings,
        require_all=require_all,
        duration=seconds,
        limits=orchestrator.Limits(timeout, permission_timeout, active_timeout, export_timeout),
        start_listener=_listener_starter(state, timeout, env_file, cwd) if listen else None,
        stop_listener=lambda: _stop_listener(state),
    )
    _prepare_for_runtime()
    try:
        outcome = orchestrator.capture(options, observer)
    finally:
        observer.flush()
    if outcome.summary is not None:
        print(json.dumps(outcome.summary, ensure_ascii=False, indent=2), flush=True)
    if outcome.failure is not None:
        raise outcome.failure
    return ExitCode.INTERRUPTED if outcome.interrupted else ExitCode.DONE


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


def _listener_starter(
    state: "StateDirectory", seconds: float, env_file: Path | None, cwd: Path | None
) -> Any:  # noqa: ANN401
    environ = dict(os.environ)
    arguments = [f"--cwd={(cwd or Path()).absolute()}"]
    if env_file is not None:
        arguments.append(f"--env-file={env_file.absolute()}")

    def start(cancelled: threading.Event) -> None:
        from vdbevents.cli.background import start_listener

        deadline = time.monotonic() + seconds
        late = False

        def given_up() -> bool:
            nonlocal late
            late = late or time.monotonic() > deadline
            return late or cancelled.is_set()

        code = start_listener(state, arguments, lambda _: None, environ=environ, given_up=given_up)
        if late:
            raise ServiceUnreachableError(
                f"the listener was not connected in {seconds:g} s", f"see why in {state.listener_log}"
            )
        if code != ExitCode.DONE and not cancelled.is_set():
            raise error_for(code, f"the listener did not start; see {state.listener_log}")

    return start


def error_for(code: ExitCode, message: str) -> VdbeventsError:
    """The error that makes this process end with the exit code of another."""
    from vdbevents.cli.diagnostics import error_of

    return error_of(code)(message, "its reason is above")


def _stop_listener(state: "StateDirectory") -> None:
    from vdbevents.cli.background import stop_listener

    stop_listener(state, timeout=10.0)


class _CaptureObserver(Diagnostics):
    """Plain lines; on a terminal, below them, how things are."""

    _live: "Live | None" = None
    _progress: "Progress | None" = None

    def watch(self, progress: "Progress") -> None:
        if is_terminal(self._stream) and self._format is LogFormat.TEXT and not self._quiet:
            self._progress = progress

    def _write(self, text: str) -> None:
        # In the thread that may be held up by a terminal: whoever records goes on.
        if self._progress is None:
            super()._write(text)
            return
        from rich.text import Text

        if self._live is None:
            self._live = _live_status(self._progress, colour=self._colour)
            self._live.start()
        self._live.console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)

    def _write_waiting(self) -> None:
        try:
            super()._write_waiting()
        finally:
            if self._live is not None:
                self._live.stop()


def _live_status(progress: "Progress", *, colour: bool) -> "Live":
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, no_color=not colour, highlight=False)
    return Live(
        console=console,
        get_renderable=lambda: _status(progress),
        refresh_per_second=_LIVE_STATUS_A_SECOND,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _status(progress: "Progress") -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    from vdbevents.terminal import harmless

    since = progress.recording_since
    elapsed = "" if since is None else f" {_clock(time.monotonic() - since)}"
    channels = ", ".join(choice.channel.id for choice in progress.choices)
    lines = [
        Text(f"● {progress.phase}{elapsed}  ", style="bold") + Text(harmless(channels), style="not bold")
    ]
    waiting = [pipeline.title for pipeline in list(progress.pipelines) if pipeline.status != "running"]
    counts = ", ".join(f"{name} {count}" for name, count in sorted(progress.tally.counts.items()))
    if since is not None:
        lines.append(Text(f"  events  {counts or 'none yet'}"))
    if waiting:
        lines.append(Text(f"  not yet {harmless(', '.join(waiting))}", style="yellow"))
    for label, text in (("heard", progress.tally.heard), ("seen", progress.tally.seen)):
        if text:
            lines.append(Text(f"  {label:<7} {harmless(text[:_LONGEST_SHOWN])}"))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


_LONGEST_SHOWN = 500


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


CHANNELS_HELP = """Show what can be recorded on this machine: microphones, displays, system audio.

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
    credentials = cloud.credentials_from(environ)
    cloud.find_runtime(runtime_of(environ))
    account = cloud.Account(credentials, min(timeout, _CALL_SECONDS))
    token = cloud.persist(lambda: account.create_token(_SHORTEST_TOKEN_SECONDS), timeout)

    _prepare_for_runtime()

    async def ask() -> list[Any]:
        runtime = Runtime(cloud.capture_client(token, credentials.base_url), lambda _, __: None)
        try:
            return await runtime.channels(timeout)
        finally:
            await runtime.close(5.0)

    found = asyncio.run(ask())
    if as_json:
        listed = [{"id": it.id, "name": it.name, "kind": it.kind} for it in found]
        print(json.dumps(listed, ensure_ascii=False, indent=2))
    else:
        width = max((len(harmless(it.id)) for it in found), default=0)
        for it in found:
            print(f"{it.kind:<12}  {harmless(it.id):<{width}}  {harmless(it.name)}")
    return ExitCode.DONE if found else ExitCode.NO_MATCH
