"""`vdbevents backend`: what it asks for, and what a person sees of it."""

import signal
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from vdbevents.cli.background import BackgroundListener
from vdbevents.cli.command import (
    LONGEST_CALL_SECONDS,
    put,
    reports,
    silence_stdout,
)
from vdbevents.cli.diagnostics import Diagnostics, ExitCode
from vdbevents.cli.options import MessageOptions, StateOptions
from vdbevents.cli.pipeline_options import NewSessionOptions, PipelineOptions
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from vdbevents.journal.state import StateDirectory

_LISTENER_SECONDS = 30.0

HELP = """Serve clients that record without an API key: their sessions, VideoDB's webhooks, the pipelines.

The first line on stdout is BACKEND_URL=<address>, as soon as requests to it are answered; one more follows
when a tunnel gets another address. Whoever knows the address and the token of --show-token may record. Every
webhook is a line of the journal before it is answered. A listener is started where none runs. Runs until a
signal asks to end.

\b
Examples:
  vdbevents backend --tunnel                          a public address, by cloudflared
  vdbevents backend --public-url https://capture.example.com     behind a proxy of one's own
  vdbevents backend --show-token                      what a client sends as "Authorization: Bearer …"
  vdbevents backend --show-token | sed 's/^/Authorization: Bearer /' |
      curl -X POST -H @- http://127.0.0.1:5002/init-session

\b
Exit codes: 0 ended by SIGTERM, 2 wrong input or the port is in use, 4 there is no key, 6 another one serves
this directory, 74 the journal cannot be written, 130 ended by Ctrl-C.
"""


@reports
def backend(
    *,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; others than loopback let the network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0: a free one.")] = 5002,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="How VideoDB reaches this: a proxy of your own.")
    ] = None,
    tunnel: Annotated[
        bool, typer.Option("--tunnel", help="Have an installed cloudflared give it a public address.")
    ] = False,
    show_token: Annotated[
        bool, typer.Option("--show-token", help="Print the token that clients need, and nothing else.")
    ] = False,
    insecure_no_auth: Annotated[
        bool, typer.Option("--insecure-no-auth", help="Ask for no token; on loopback only.")
    ] = False,
    pipelines: PipelineOptions,
    new_session: NewSessionOptions,
    options: StateOptions,
    messages: MessageOptions,
) -> ExitCode:
    """Serve clients that record without an API key."""
    from vdbevents import cloud

    environ, state = options.environ, options.state
    if show_token:
        state.create()
        put(_token(state))
        return ExitCode.DONE
    address = _public_address(public_url)
    token_lives = new_session.token_seconds()
    settings = pipelines.settings()
    metadata = new_session.parsed_metadata()

    from vdbevents.backend import server, tunnel as tunnels
    from vdbevents.backend.supervisor import SupervisorOptions

    if address and tunnel:
        raise InputError("--public-url and --tunnel contradict each other", "give one of them")
    is_local = cloud.is_loopback(host)
    if insecure_no_auth and (not is_local or address or tunnel):
        raise InputError(
            "--insecure-no-auth is for this machine alone",
            "leave it out, or --public-url, --tunnel and a --host that is not loopback",
        )
    credentials = cloud.credentials_from(environ)
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
            token_seconds=token_lives,
            pipelines=settings,
        ),
        host=host,
        port=port,
        public_url=address,
        cloudflared=cloudflared,
        open_to_loopback=insecure_no_auth,
    )

    def announce(url: str) -> None:
        _announce(url)
        observer.say(f"serving {state.path} at {url}")
        if not address and not tunnel:
            observer.say(
                f"webhooks go to {url}/webhook/…, which VideoDB's cloud cannot reach: what becomes of the "
                "sessions comes over the WebSocket alone",
                hint="for a public address: --tunnel, or --public-url",
            )

    if address.startswith("http://") and not cloud.is_loopback(urlsplit(address).hostname or ""):
        observer.say(
            f"{address} is no https: tokens and the webhooks' secret address go in the clear",
            problem=True,
            hint="have the proxy speak https",
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
            f"listening on {host}: whoever reaches this machine can send requests, in the clear",
            problem=True,
            hint="put a proxy that speaks https before it, or listen on 127.0.0.1",
        )
    if not has_token:
        observer.say(
            "no token is asked for: every program and every user of this machine may record on this account",
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
    """A base address without its last slash; empty where none is given."""
    if url is None:
        return ""
    try:
        parts = urlsplit(url.strip())
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    is_plain = url.isprintable() and not set(url.strip()) & set(' \\"<>')
    if not is_one or parts.query or parts.fragment or "@" in parts.netloc or not is_plain:
        raise InputError(
            "--public-url is no http:// or https:// address that something can be added to",
            "for example: --public-url https://capture.example.com",
        )
    return url.strip().rstrip("/")


def _announce(url: str) -> None:
    try:
        put(f"BACKEND_URL={url}")
    except (OSError, ValueError):
        # Whoever read our output has had enough; stderr tells it, too.
        silence_stdout()


def add_to(app: typer.Typer) -> None:
    """Adds what is here."""
    app.command(help=HELP)(backend)
