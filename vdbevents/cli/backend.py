"""`vdbevents backend`: serve clients that record without an API key."""

import os
import signal
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from vdbevents.cli.background import BackgroundListener
from vdbevents.cli.command import LONGEST_CALL_SECONDS, put, reports, silence_stdout
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import Diagnostics, ExitCode
from vdbevents.cli.options import MessageOptions, RecorderOptions
from vdbevents.cli.pipeline_options import PipelineOptions, RecordingOptions
from vdbevents.cli.recording_rules import recording_rules
from vdbevents.errors import InputError, options_conflict

if TYPE_CHECKING:
    from vdbevents.journal.state import StateDirectory

_LISTENER_SECONDS = 30.0

HELP = """Serve clients that record without an API key.

Creates their sessions, takes webhooks, and starts pipelines. Prints BACKEND_URL=<address> on stdout as soon
as it answers requests, and again if a tunnel changes its address. A client needs the address and the token of
--show-token. Each webhook is written to the journal before it is answered. Starts a listener if none runs.
Runs until SIGTERM or Ctrl-C.

\b
Examples:
  vdbevents backend --tunnel                          a public address by cloudflared
  vdbevents backend --public-url https://capture.example.com     behind your own proxy
  vdbevents backend --show-token                      what a client sends as "Authorization: Bearer …"
  vdbevents backend --show-token | sed 's/^/Authorization: Bearer /' |
      curl -X POST -H @- http://127.0.0.1:5002/init-session

\b
Exit codes: 0 ended by SIGTERM, 2 wrong input or the port is in use, 4 no API key, 6 another backend serves
this directory, 74 the journal cannot be written, 130 ended by Ctrl-C.
"""


@reports
def backend(
    context: typer.Context,
    *,
    host: Annotated[
        str,
        Option(metavar="ADDRESS", help="Address to listen on; only loopback is closed to the network."),
    ] = "127.0.0.1",
    port: Annotated[
        int, Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0: any free port.")
    ] = 5002,
    public_url: Annotated[
        str | None, Option(metavar="URL", help="Public address of your own proxy, for VideoDB.")
    ] = None,
    tunnel: Annotated[
        bool, Option("--tunnel", help="Get a public address from an installed cloudflared.")
    ] = False,
    show_token: Annotated[
        bool, Option("--show-token", help="Print the token for clients, and exit.")
    ] = False,
    insecure_no_auth: Annotated[
        bool, Option("--insecure-no-auth", help="Require no token; on loopback only.")
    ] = False,
    pipelines: PipelineOptions,
    new_session: RecordingOptions,
    options: RecorderOptions,
    messages: MessageOptions,
) -> ExitCode:
    from vdbevents import cloud
    from vdbevents.listener.service_manager import ServiceManager

    # Before the environment is copied for the listener.
    manager = ServiceManager.take_from(os.environ)
    environ, state = options.environ, options.state
    if show_token:
        state.create()
        put(_token(state))
        return ExitCode.DONE
    address = _public_address(public_url)
    lifetime = new_session.token_seconds()
    settings = pipelines.settings()
    metadata = new_session.parsed_metadata()

    from vdbevents.backend import server, tunnel as tunnels
    from vdbevents.backend.supervisor import SupervisorOptions

    if address and tunnel:
        raise options_conflict("--public-url", "--tunnel")
    is_local = cloud.is_loopback(host)
    if insecure_no_auth and (not is_local or address or tunnel):
        raise InputError(
            "--insecure-no-auth: only allowed on loopback",
            "leave out --public-url, --tunnel and --host, or require the token",
            error_id="no-auth-not-local",
        )
    credentials = options.credentials
    cloudflared = tunnels.find_cloudflared(environ) if tunnel else None
    state.create()
    observer = messages.diagnostics(Diagnostics)
    serving = server.ServerOptions(
        sessions=SupervisorOptions(
            directory=state,
            account=cloud.Account(credentials, LONGEST_CALL_SECONDS),
            end_user_id=new_session.end_user,
            listener=BackgroundListener(state, _LISTENER_SECONDS, observer, options.as_arguments()),
            collection_id=new_session.collection,
            metadata=metadata,
            token_seconds=lifetime,
            pipelines=settings,
        ),
        host=host,
        port=port,
        public_url=address,
        cloudflared=cloudflared,
        open_to_loopback=insecure_no_auth,
        rules=recording_rules(context, state),
        manager=manager,
    )

    def announce(url: str) -> None:
        _announce(url)
        observer.say(f"serving {state.path} at {url}")
        if not address and not tunnel:
            observer.say(
                f"VideoDB cannot send webhooks to {url}/webhook/…: events of the sessions come over the "
                "WebSocket alone",
                hint="give --tunnel or --public-url for a public address",
            )

    if address.startswith("http://") and not cloud.is_loopback(urlsplit(address).hostname or ""):
        observer.say(
            "--public-url: not https, tokens and the secret webhook address are sent unencrypted",
            problem=True,
            hint="use https in the proxy",
        )
    _warn(observer, host, is_local=is_local, has_token=not insecure_no_auth)
    try:
        ended_by = server.serve(serving, observer.say, announce)
    finally:
        observer.flush()
    return ExitCode.INTERRUPTED if ended_by is signal.SIGINT else ExitCode.DONE


def _warn(observer: Diagnostics, host: str, *, is_local: bool, has_token: bool) -> None:
    if not is_local:
        observer.say(
            f"listening on {host}: anyone in the network can send requests, unencrypted",
            problem=True,
            hint="put an https proxy in front, or listen on 127.0.0.1",
        )
    if not has_token:
        observer.say(
            "no token required: all programs and users of this machine can record with this account",
            problem=True,
        )


def _token(state: "StateDirectory") -> str:
    from vdbevents.backend.credentials import credentials_of, make_credentials
    from vdbevents.journal import locks

    known = credentials_of(state)
    if known is None:
        lock = locks.ProcessLock(state.backend_lock, lambda: locks.already_serving(state))
        try:
            known = make_credentials(state)
        finally:
            lock.release()
    return known.token


def _public_address(url: str | None) -> str:
    """Return the address without its last slash; empty if none is given."""
    if url is None:
        return ""
    try:
        parts = urlsplit(url.strip())
        is_http = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_http = False
    is_plain = url.isprintable() and not set(url.strip()) & set(' \\"<>')
    if not is_http or parts.query or parts.fragment or "@" in parts.netloc or not is_plain:
        raise InputError(
            "--public-url: not an http:// or https:// base address",
            "write it like https://capture.example.com",
            error_id="public-url-invalid",
        )
    return url.strip().rstrip("/")


def _announce(url: str) -> None:
    try:
        put(f"BACKEND_URL={url}")
    except (OSError, ValueError):
        # The reader is gone; stderr has the address, too.
        silence_stdout()
