"""`vdbevents capture`: record a session, and show its state."""

import contextlib
import os
import signal
import stat
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vdbevents.cli.background import BackgroundListener
from vdbevents.cli.command import (
    LONGEST_CALL_SECONDS,
    as_json as json_text,
    put,
    reports,
    require_finite,
    silence_stdout,
)
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import Diagnostics, ExitCode, LogFormat, can_redraw, is_terminal
from vdbevents.cli.options import JsonOptions, MessageOptions, RecorderOptions, seconds
from vdbevents.cli.pipeline_options import PipelineOptions, RecordingOptions
from vdbevents.cli.recording_rules import recording_rules
from vdbevents.errors import InputError, StorageError, options_conflict
from vdbevents.journal.state import StateDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import RenderableType
    from rich.live import Live

    from vdbevents.capture.capture_context import CaptureObserver, CaptureOptions, CaptureOutcome
    from vdbevents.sessions.capture_info import CaptureInfo


_LONGEST_TOKEN_FILE = 8192
_LONGEST_SHOWN = 500
_NOT_RUNNING = ("starting", "failed")
_REFRESHES_PER_SECOND = 4
_INTERRUPT_CELLS = 3

# Options that --backend leaves to the backend, and time limits that only apply with an own account.
_BACKEND_OPTIONS = frozenset(
    (
        *(option.name for group in (PipelineOptions, RecordingOptions) for option in group.parameters()),
        *("listen", "active_timeout", "export_timeout"),
    )
)

HELP = """Record this desktop, and export the video.

Creates a session and starts its pipelines. Runs until Ctrl-C or SIGTERM, --duration, or the end of the
session; then stops the session and waits for the video (a second Ctrl-C skips waiting). Starts a listener if
none runs, and stops it in the end. Prints a summary on stdout, and progress on stderr. The summary is text on
a terminal, and one JSON object with --json, or if stdout is not a terminal.

\b
Examples:
  vdbevents capture                                   screen, microphone and system audio, until Ctrl-C
  vdbevents capture --duration 30m --no-system-audio
  vdbevents capture --display all --no-store all      transcribed and described, but no video kept
  vdbevents capture --backend https://backend.example    a backend's session, without an API key
  vdbevents capture --alert 'deploy=a deployment is mentioned' --visual-prompt 'Which program is used?'
  kill "$(cat ~/.local/state/videodb/videodb_capture_pid)"    ends it

\b
Exit codes: 0 recorded, 2 wrong input, 3 no listener (--no-listen), 4 the service refused, 5 the service is
not reachable, 6 the recording failed or another one runs, 130 waiting for the end was skipped.
"""


@reports
def capture(
    context: typer.Context,
    *,
    backend: Annotated[
        str | None,
        Option(
            metavar="URL",
            help="Record a session of this backend. Its token is read from VDBEVENTS_BACKEND_TOKEN; the API "
            "key is not used.",
            show_default="your own account",
        ),
    ] = None,
    backend_token_file: Annotated[
        Path | None, Option(metavar="FILE", help="Read the backend's token from this file instead.")
    ] = None,
    duration: Annotated[
        str | None, Option(metavar="TIME", help="Record for 90s, 30m, 2h.", show_default="until Ctrl-C")
    ] = None,
    mic: Annotated[bool, Option(help="Record a microphone.")] = True,
    mic_device: Annotated[
        str | None,
        Option(metavar="ID", help="Microphone; see: vdbevents channels.", show_default="the default one"),
    ] = None,
    system_audio: Annotated[bool, Option(help="Record system audio.")] = True,
    display: Annotated[
        str | None,
        Option(metavar="ID|all|none", help="Screen to record.", show_default="the default one"),
    ] = None,
    store: Annotated[
        list[str] | None,
        Option(
            metavar="KIND",
            help="Channels to keep for the video: mic, system-audio, display, all; repeatable.",
            show_default="all",
        ),
    ] = None,
    no_store: Annotated[
        list[str] | None, Option(metavar="KIND", help="Channels not to keep for the video; repeatable.")
    ] = None,
    require_all: Annotated[
        bool, Option("--require-all", help="Fail if a permission is denied or a channel is missing.")
    ] = False,
    pipelines: PipelineOptions,
    new_session: RecordingOptions,
    listen: Annotated[
        bool, Option("--listen/--no-listen", help="Start a listener if none runs, or fail (exit 3).")
    ] = True,
    timeout: Annotated[
        float,
        Option(
            parser=seconds(0.1),
            metavar="SECONDS",
            help="Timeout of each other step; transient errors are retried within it.",
        ),
    ] = 30.0,
    permission_timeout: Annotated[
        float, Option(parser=seconds(0.1), metavar="SECONDS", help="Timeout for granting a permission.")
    ] = 120.0,
    active_timeout: Annotated[
        float,
        Option(parser=seconds(0.1), metavar="SECONDS", help="Timeout for the session to become active."),
    ] = 60.0,
    export_timeout: Annotated[
        float, Option(parser=seconds(0.1), metavar="SECONDS", help="Timeout for the video.")
    ] = 600.0,
    printing: JsonOptions,
    options: RecorderOptions,
    messages: MessageOptions,
) -> ExitCode:
    from vdbevents import cloud
    from vdbevents.capture import backend_session, capture_context, own_session, recording, selection
    from vdbevents.times import parse_duration

    require_finite(
        timeout=timeout,
        permission_timeout=permission_timeout,
        active_timeout=active_timeout,
        export_timeout=export_timeout,
    )
    state = options.state
    seconds = None if duration is None else parse_duration("--duration", duration) / 1000
    mic, mic_device = _microphone(context, mic=mic, device=mic_device)
    wanted = selection.WantedChannels(
        mic, system_audio, mic_device, display, selection.parse_kinds(store or (), no_store or ())
    )
    if wanted.is_empty:
        raise InputError(
            "nothing to record: --no-mic, --no-system-audio and --display none",
            "leave out one of them",
            error_id="sources-off",
        )
    observer = messages.diagnostics(_CaptureObserver)
    observer.directory = state
    environ = options.environ
    has_token = backend_token_file is not None or bool(os.environ.get("VDBEVENTS_BACKEND_TOKEN"))
    make: Callable[[CaptureOptions, CaptureObserver], recording.SessionRecording]
    if backend is not None:
        _refuse_backend_options(context)
        token = _backend_token(backend_token_file, environ, observer)
        make = partial(
            backend_session.BackendRecording, cloud.BackendClient(backend, token, _call_seconds(timeout))
        )
    else:
        if _is_given(context, "backend_token_file"):
            raise InputError(
                "--backend-token-file: no backend given", "give --backend, too", error_id="backend-not-given"
            )
        lifetime = new_session.token_seconds()
        settings = pipelines.settings()
        if seconds is not None and seconds >= lifetime:
            raise InputError(
                f"--duration: longer than the runtime's token is valid, got {duration}",
                "raise --token-ttl",
                error_id="duration-beyond-token",
            )
        metadata = new_session.parsed_metadata()
        listener = BackgroundListener(state, timeout, observer, options.as_arguments()) if listen else None
        own = own_session.OwnSession(
            cloud.Account(options.credentials, _call_seconds(timeout)),
            new_session.end_user,
            collection_id=new_session.collection,
            metadata=metadata,
            token_seconds=lifetime,
            pipelines=settings,
            listener=listener,
        )
        make = partial(own_session.OwnRecording, own)
    plan = capture_context.CaptureOptions(
        directory=state,
        base_url=options.service_address("the session's token", from_file=not has_token),
        runtime=runtime_of(environ),
        wanted=wanted,
        require_all=require_all,
        duration=seconds,
        limits=capture_context.CaptureLimits(timeout, permission_timeout, active_timeout, export_timeout),
        rules=recording_rules(context, state),
    )
    state.create()
    prepare_for_runtime()
    try:
        outcome = recording.run_capture(plan, observer, make)
    finally:
        observer.flush()
    return _report(outcome, observer, as_text=printing.as_text_for(sys.stdout))


def _microphone(context: typer.Context, *, mic: bool, device: str | None) -> tuple[bool, str | None]:
    """Return whether to record a microphone, and which: the command line counts more than a configuration.

    Raises:
        InputError: both contradict each other in one place.
    """
    if mic or device is None:
        return mic, device
    is_off, is_named = _is_given(context, "mic"), _is_given(context, "mic_device")
    if is_off == is_named:
        raise options_conflict("--mic-device", "--no-mic")
    return is_named, device if is_named else None


def _report(outcome: "CaptureOutcome", observer: Diagnostics, *, as_text: bool) -> ExitCode:
    """Print the summary; return the exit code, or raise the capture's failure."""
    print_error = None if outcome.summary is None else _print_summary(outcome.summary, as_text=as_text)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        # Python removes its own handlers before it exits, but not this one.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if outcome.failure is not None:
        if print_error is not None:
            observer.say(print_error.message, problem=True)
            observer.flush()
        raise outcome.failure
    if print_error is not None:
        raise print_error
    return ExitCode.INTERRUPTED if outcome.interrupted else ExitCode.DONE


def _call_seconds(timeout: float) -> float:
    # Half of the time, which leaves time for a retry.
    return min(max(timeout / 2, 1.0), timeout, LONGEST_CALL_SECONDS)


def _is_given(context: typer.Context, name: str) -> bool:
    """Return whether an option is on the command line, not in the configuration."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _refuse_backend_options(context: typer.Context) -> None:
    given = [
        _as_typed(option, context.params[option.name])
        for option in context.command.params
        if option.name in _BACKEND_OPTIONS and _is_given(context, option.name)
    ]
    if given:
        raise InputError(
            f"--backend: the backend decides on {', '.join(given)}",
            "leave that out, or leave out --backend to record with your own API key",
            error_id="backend-option",
        )


def _as_typed(option: Any, value: object) -> str:  # noqa: ANN401 - click's CommandParameter
    name: str = (option.secondary_opts if value is False else option.opts)[0]
    return name


def _backend_token(file: Path | None, environ: "Mapping[str, str]", observer: Diagnostics) -> str:
    """Return the token for the backend; empty if there is none, since some backends need none."""
    if file is None:
        return environ.get("VDBEVENTS_BACKEND_TOKEN", "").strip()
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            token = opened.read(_LONGEST_TOKEN_FILE).decode("ascii", "replace").strip()
    except OSError as error:
        raise InputError(
            f"--backend-token-file: cannot read {file}: {error.strerror or error}",
            "write it on the backend's machine: vdbevents backend --show-token > FILE",
            error_id="backend-token-unreadable",
        ) from error
    if not token:
        raise InputError(
            f"--backend-token-file: no token in {file}",
            "write it with: vdbevents backend --show-token > FILE",
            error_id="backend-token-missing",
        )
    if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077:
        observer.say(
            f"other users of this machine can read the backend's token in {file}",
            problem=True,
            hint=f"protect it: chmod 600 {file}",
        )
    return token


def _print_summary(summary: "Mapping[str, Any]", *, as_text: bool) -> StorageError | None:
    """Print the summary; return the error if stdout cannot be written."""
    from vdbevents.cli.capture_summary import summary_text

    try:
        put(summary_text(summary) if as_text else json_text(summary))
    except BrokenPipeError:
        # The reader is gone; a failure of the capture is still reported.
        silence_stdout()
    except OSError as error:
        silence_stdout()
        return StorageError(
            f"cannot write the summary to stdout: {error.strerror or error}",
            "the recording itself succeeded; see the journal, channel vdbevents",
            error_id="stdout-unwritable",
        )
    return None


def prepare_for_runtime() -> None:
    """Remove secrets from this process's environment, which the runtime inherits."""
    for secret in ("VIDEO_DB_API_KEY", "VDBEVENTS_BACKEND_TOKEN"):
        os.environ.pop(secret, None)
    import logging

    # asyncio warns of an unknown child if the runtime exits while the SDK signals it.
    logging.getLogger("asyncio").setLevel(logging.ERROR)


def runtime_of(environ: "Mapping[str, str]") -> Path | None:
    """Return the capture runtime that the environment names instead of VideoDB's."""
    named = environ.get("VDBEVENTS_CAPTURE_RUNTIME")
    # Without a home directory the text stays as it is.
    return Path(os.path.expanduser(named)) if named else None  # noqa: PTH111


class _CaptureObserver(Diagnostics):
    """Shows messages; on a terminal also a live status below them."""

    _live: "Live | None" = None
    _info: "CaptureInfo | None" = None
    directory: StateDirectory | None = None
    """Whose listener may write to the same terminal, where a live status would be torn."""

    def watch(self, info: "CaptureInfo") -> None:
        if is_terminal(self._stream) and self._format is LogFormat.TEXT and not self._quiet:
            self._info = info

    def _write(self, text: str) -> None:
        # Runs in the thread of messages: a slow terminal must not delay the recording.
        if self._info is None or not can_redraw(self._stream, self.directory):
            if self._live is not None:
                self._live.stop()
                self._live = None
            super()._write(text)
            return
        from rich.text import Text

        if self._live is None:
            self._live = _live_status(self._info, colour=self._colour)
            self._live.start()
        self._live.console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)

    def abandon(self) -> None:
        """Show the cursor again, without waiting for the terminal: the process exits now."""
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
    from rich.constrain import Constrain
    from rich.live import Live

    console = Console(stderr=True, no_color=not colour, highlight=False)
    return Live(
        console=console,
        # Room for the ^C that the terminal shows: on a line of its own, it would move what is redrawn.
        get_renderable=lambda: Constrain(_status(info), max(console.width - _INTERRUPT_CELLS, 1)),
        refresh_per_second=_REFRESHES_PER_SECOND,
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
    missing = [pipeline.title for pipeline in list(info.pipelines) if pipeline.status in _NOT_RUNNING]
    counts = ", ".join(f"{name} {count}" for name, count in sorted(info.tally.counts.items()))
    if since is not None:
        lines.append(Text(f"  events  {counts or 'none yet'}"))
    if info.listener_trouble:
        seconds = _clock(time.monotonic() - info.troubled_since)
        trouble = f"  listener {harmless(info.listener_trouble)} ({seconds})"
        lines.append(Text(trouble, style="bold red"))
    if missing:
        lines.append(Text(f"  not yet {harmless(', '.join(missing))}", style="yellow"))
    for label, text in (("heard", info.tally.heard), ("seen", info.tally.seen)):
        if text:
            lines.append(Text(f"  {label:<7} {harmless(text[:_LONGEST_SHOWN])}"))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"
