"""`vdbevents listen`: records every event until a signal."""

import contextlib
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vdbevents.cli.command import LONGEST_CALL_SECONDS, reports, require_finite, silence_stdout
from vdbevents.cli.diagnostics import Diagnostics, ExitCode
from vdbevents.cli.options import (
    MessageOptions,
    StateOptions,
)

if TYPE_CHECKING:
    from vdbevents.cloud import Credentials
    from vdbevents.journal.state import StateDirectory
    from vdbevents.recovery.reconciler import Reconciler


HELP = """Record every event into DIR/videodb_events.jsonl until a signal asks to end.

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


@reports
def listen(
    *,
    clear: Annotated[bool, typer.Option("--clear", help="Empty the journal first.")] = False,
    daemon: Annotated[
        bool,
        typer.Option("--daemon", help="Run in the background; return when connected, or with the failure."),
    ] = False,
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
    options: StateOptions,
    messages: MessageOptions,
) -> ExitCode:
    from vdbevents import cloud

    require_finite(
        connect_timeout=connect_timeout,
        ping_interval=ping_interval,
        hold=hold,
        sync_every=sync_every,
        stale_after=stale_after,
    )
    state = options.state
    credentials = cloud.credentials_from(options.environ)
    state.create()
    if daemon:
        from vdbevents.cli.background import start_detached

        messages_as = f"--log-format={messages.log_format}"
        return start_detached(state, [*_same_listener(locals()), messages_as, *options.as_arguments()])
    from vdbevents.cli.cache_worker import kept_sealed
    from vdbevents.listener.daemon import ListenerOptions, listen as record_events
    from vdbevents.listener.protocol import ConnectionSettings

    settings = ConnectionSettings(
        max_retries=max_retries, step_limit=connect_timeout, ping_interval=ping_interval
    )
    recovery = _recovery(state, credentials, stale_after, ping_interval) if recover else None
    recording = ListenerOptions(
        state, credentials, settings, clear, int(hold * (1 << 20)), sync_every, recovery
    )
    observer = messages.diagnostics(_ListenObserver)
    observer.say(f"recording from {cloud.shown_address(credentials.base_url)} into {state.path}")
    try:
        with kept_sealed(state.journal) if seal else contextlib.nullcontext():
            ended_by = record_events(recording, observer)
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
    ]
    if options["clear"]:
        arguments.append("--clear")
    if options["max_retries"] is not None:
        arguments.append(f"--max-retries={options['max_retries']}")
    return arguments


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(help=HELP)(listen)
