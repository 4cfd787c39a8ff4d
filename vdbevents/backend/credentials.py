"""What callers of a backend have to know: made at its first start, and the same from then on."""

import json
import secrets
from dataclasses import dataclass, field

from vdbevents.errors import InputError
from vdbevents.journal import files, state

_SHORTEST = 20


@dataclass(frozen=True, slots=True)
class BackendCredentials:
    """Kept out of `repr`.

    Attributes:
        token: the bearer token with which a client asks for sessions.
        webhook_secret: the last part of the path at which webhooks are taken.
    """

    token: str = field(repr=False)
    webhook_secret: str = field(repr=False)


def credentials_of(directory: state.StateDirectory) -> BackendCredentials | None:
    """Those of a directory; None where none were made yet.

    Raises:
        InputError: they cannot be read.
    """
    path = directory.backend_credentials
    if not path.exists():
        return None
    told = files.read_object(path)
    token, secret = told.get("token"), told.get("webhook_secret")
    if not _is_secret(token) or not _is_secret(secret):
        raise InputError(
            f"{path} cannot be read, or holds no credentials", "see who owns it; without it new ones are made"
        )
    return BackendCredentials(str(token), str(secret))


def _is_secret(value: object) -> bool:
    return isinstance(value, str) and len(value) >= _SHORTEST and value.isascii() and value.isprintable()


def make_credentials(directory: state.StateDirectory) -> BackendCredentials:
    """Those of a directory, which are made where there are none. Call it with the backend's lock held.

    Raises:
        InputError: they cannot be read or written.
    """
    known = credentials_of(directory)
    if known is not None:
        return known
    made = BackendCredentials(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    content = json.dumps({"token": made.token, "webhook_secret": made.webhook_secret}, indent=1)
    try:
        files.replace_file(directory.backend_credentials, content.encode())
    except OSError as error:
        raise files.unusable(directory.backend_credentials, error) from error
    return made
