"""`vdbevents listen`: record every event until a signal."""

import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vdbevents.cli.clearing import (
    ClearableCommand,
    ClearMode,
    ClearOption,
    YesOption,
    confirms_deletion,
    reporter,
)
from vdbevents.cli.command import LONGEST_CALL_SECONDS, reports, require_finite, silence_stdout
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import Diagnostics, ExitCode
from vdbevents.cli.options import MessageOptions, RecorderOptions, seconds
from vdbevents.cli.recording_rules import recording_rules
from vdbevents.cli.tables import nothing
from vdbevents.journal.locks import host_name, terminal_of
from vdbevents.journal.rotation import parse_rotation

if TYPE_CHECKING:
    from vdbevents.cloud import Credentials
    from vdbevents.journal.state import StateDirectory
    from vdbevents.privacy.recording_rules import RecordingRules
    from vdbevents.recovery.reconciler import Reconciler


HELP = """Record every event into the journal until a signal.

The journal is DIR/videodb_events.jsonl. Prints WS_ID=<id> once it is connected; DIR/videodb_ws_id holds the
id while the connection is open. A lost connection is retried, without limit unless --max-retries sets one.

\b
Examples:
  vdbevents listen --clear &                          start a new recording; the old one is archived
  vdbevents listen --daemon                           return once it is connected
  cat ~/.local/state/videodb/videodb_ws_id            the id for create_capture_session and the pipelines
  kill "$(cat ~/.local/state/videodb/videodb_ws_pid)"   stop it, like: vdbevents stop
"""

COMMAND = ClearableCommand

# Passed on to a listener in the background, if they are set.
_NUMBERS = ("connect_timeout", "ping_interval", "hold", "sync_every", "stale_after", "max_retries")


@reports
def listen(
    context: typer.Context,
    *,
    clear: ClearOption = None,
    yes: YesOption = False,
    daemon: Annotated[
        bool, Option("--daemon", help="Run in the background; return once connected or failed.")
    ] = False,
    max_retries: Annotated[
        int | None,
        Option(
            min=0, metavar="N", help="Give up (exit 5) after N failed retries in a row.", show_default="never"
        ),
    ] = None,
    connect_timeout: Annotated[
        float,
        Option(
            parser=seconds(0.1),
            metavar="SECONDS",
            help="Limit for the API's answer, the handshake, the first message.",
        ),
    ] = 20.0,
    ping_interval: Annotated[
        float,
        Option(parser=seconds(0.1), metavar="SECONDS", help="Time between pings, and limit for each answer."),
    ] = 20.0,
    hold: Annotated[
        float, Option(min=0.001, metavar="MIB", help="Memory for events while the disk is full.")
    ] = 64.0,
    sync_every: Annotated[
        float,
        Option(
            parser=seconds(0.0),
            metavar="SECONDS",
            help="Sync to disk every N seconds (0: after every event).",
        ),
    ] = 1.0,
    recover: Annotated[
        bool,
        Option(
            help="After a reconnect, rebind the capture's pipelines to the new connection and backfill what "
            "was missed."
        ),
    ] = True,
    stale_after: Annotated[
        float,
        Option(
            parser=seconds(0.0),
            metavar="SECONDS",
            help="Restart the index of a screen that sent no description for N seconds (0: never).",
        ),
    ] = 60.0,
    rotate: Annotated[
        str | None,
        Option(
            metavar="1d|256MB",
            help="Move finished days into DIR/archive, every N days or at this size; queries read them.",
            show_default="never",
        ),
    ] = None,
    seal: Annotated[
        bool, Option(help="Seal old parts of the journal into the cache, so that queries stay fast.")
    ] = True,
    unattended: Annotated[
        bool,
        Option(
            "--unattended",
            help="Also retry after an invalid certificate: at login it may be a captive portal's.",
        ),
    ] = False,
    options: RecorderOptions,
    messages: MessageOptions,
) -> ExitCode:
    from vdbevents import cloud
    from vdbevents.listener.service_manager import ServiceManager

    arguments = locals()
    manager = ServiceManager.take_from(os.environ)
    require_finite(**{name: arguments[name] for name in _NUMBERS})
    rotation = None if rotate is None else parse_rotation("--rotate", rotate)
    state = options.state
    credentials = options.credentials
    state.create()
    if clear is ClearMode.DELETE and not confirms_deletion(state, is_confirmed=yes):
        return nothing("nothing was deleted, and nothing is recorded", "leave out --clear=delete to record")
    if daemon:
        from vdbevents.cli.background import start_detached

        return start_detached(state, _listener_arguments(arguments))
    from vdbevents.cli.cache_worker import kept_sealed
    from vdbevents.cli.retention_worker import kept_pruned
    from vdbevents.listener.daemon import listen as record_events
    from vdbevents.listener.listener_options import ListenerOptions
    from vdbevents.listener.protocol import ConnectionSettings

    settings = ConnectionSettings(
        max_retries=max_retries,
        step_limit=connect_timeout,
        ping_interval=ping_interval,
        unattended=unattended,
    )
    rules = recording_rules(context, state)
    recovery = _recovery(state, credentials, stale_after, ping_interval, rules) if recover else None
    observer = messages.diagnostics(_ListenObserver)
    recording = ListenerOptions(
        state,
        credentials,
        settings,
        clear=clear.value if clear else None,
        on_cleared=reporter(clear, state, observer),
        rotation=rotation,
        hold_bytes=int(hold * (1 << 20)),
        sync_seconds=sync_every,
        recovery=recovery,
        report_settings=lambda: {
            "stale_after": stale_after,
            "recovers": recover,
            "seals": seal,
            "terminal": terminal_of(2),
            "host": host_name(),
        },
        manager=manager,
        rules=rules,
    )
    observer.say(f"recording from {cloud.shown_address(credentials.base_url)} into {state.path}")
    try:
        with (
            kept_sealed(state.journal) if seal else contextlib.nullcontext(),
            kept_pruned(state.path, context.obj.section("retention"), observer.say),
        ):
            ended_by = record_events(recording, observer)
    finally:
        observer.flush()
    return ExitCode.INTERRUPTED if ended_by is signal.SIGINT else ExitCode.DONE


def _recovery(
    state: "StateDirectory",
    credentials: "Credentials",
    stale_seconds: float,
    ping_interval: float,
    rules: "RecordingRules",
) -> "Reconciler":
    from vdbevents import cloud
    from vdbevents.recovery.reconciler import Reconciler

    return Reconciler(
        state,
        cloud.Account(credentials, LONGEST_CALL_SECONDS),
        stale_seconds=stale_seconds,
        # A connection without any traffic for longer has been given up by then.
        linger_seconds=3 * ping_interval,
        rules=rules,
    )


class _ListenObserver(Diagnostics):
    def announce(self, ws_id: str) -> None:
        try:
            # In bytes: the terminal's encoding may lack characters of the id.
            sys.stdout.buffer.write(f"WS_ID={ws_id}\n".encode())
            sys.stdout.buffer.flush()
        except (OSError, ValueError):
            # `listen | head -0`, or a closed stdout: the id is also in a file.
            silence_stdout()


def _listener_arguments(options: Mapping[str, Any]) -> list[str]:
    """Return the command line of a listener in the background with the same options."""
    numbers = [(name, options[name]) for name in _NUMBERS if options[name] is not None]
    return [
        *(f"--{name.replace('_', '-')}={value}" for name, value in numbers),
        "--recover" if options["recover"] else "--no-recover",
        "--seal" if options["seal"] else "--no-seal",
        *([f"--rotate={options['rotate']}"] if options["rotate"] else []),
        *(["--unattended"] if options["unattended"] else []),
        *([f"--clear={options['clear'].value}", "--yes"] if options["clear"] else []),
        f"--log-format={options['messages'].log_format}",
        *options["options"].as_arguments(),
    ]
