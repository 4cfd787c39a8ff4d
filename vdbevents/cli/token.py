"""`vdbevents token`: print a client token."""

from typing import Annotated

from vdbevents.cli.cloud_client import Service
from vdbevents.cli.command import as_json, put, reports, token_seconds
from vdbevents.cli.declared import Option
from vdbevents.cli.options import CloudOptions
from vdbevents.terminal import harmless

HELP = """Print a client token, which lets a capture runtime record.

It allows nothing else. The token is a secret: with it anyone can record into your account until it expires.
It does not contain the API key.

\b
Examples:
  vdbevents token --token-ttl 1h
  vdbevents token --json | jq -r .expires
"""


@reports
def token(
    *,
    token_ttl: Annotated[str, Option(metavar="TIME", help="How long it is valid: 30m, 24h, 7d.")] = "24h",  # noqa: S107 - a duration
    options: CloudOptions,
) -> None:
    from vdbevents.events.envelope import utc_text

    seconds = token_seconds("--token-ttl", token_ttl)
    service = Service(options)
    client_token = service.ask(lambda: service.account.create_token(seconds))
    if options.as_json:
        put(as_json({"token": client_token.value, "expires": utc_text(client_token.expires_ms)}))
    else:
        put(harmless(client_token.value))
