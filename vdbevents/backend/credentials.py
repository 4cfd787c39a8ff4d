"""The secrets that callers of a backend need: created at its first start, and kept."""

import secrets
from dataclasses import asdict, dataclass, field

from vdbevents.errors import InputError
from vdbevents.journal import files, state

_SHORTEST = 20


@dataclass(frozen=True, slots=True)
class BackendCredentials:
    """The secrets of a backend, kept out of `repr`.

    Attributes:
        token: the bearer token with which a client asks for sessions.
        webhook_secret: the last part of the path of webhooks.
    """

    token: str = field(repr=False)
    webhook_secret: str = field(repr=False)


def credentials_of(directory: state.StateDirectory) -> BackendCredentials | None:
    """Return a directory's credentials; None if none were created yet.

    Raises:
        InputError: the file cannot be read, or is malformed.
    """
    path = directory.backend_credentials
    if not path.exists():
        return None
    content = files.read_object(path)
    token, secret = content.get("token"), content.get("webhook_secret")
    if not _is_secret(token) or not _is_secret(secret):
        raise InputError(
            f"{path}: cannot be read, or holds no credentials",
            "check its owner, or delete it: the next start creates new ones",
            error_id="backend-credentials-invalid",
        )
    return BackendCredentials(str(token), str(secret))


def _is_secret(value: object) -> bool:
    return isinstance(value, str) and len(value) >= _SHORTEST and value.isascii() and value.isprintable()


def make_credentials(directory: state.StateDirectory) -> BackendCredentials:
    """Return a directory's credentials; create them if there are none. Needs the backend's lock.

    Raises:
        InputError: the file cannot be read or written, or is malformed.
    """
    existing = credentials_of(directory)
    if existing is not None:
        return existing
    created = BackendCredentials(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    try:
        files.replace_file(directory.backend_credentials, files.to_json(asdict(created)))
    except OSError as error:
        raise files.unusable(directory.backend_credentials, error) from error
    return created
