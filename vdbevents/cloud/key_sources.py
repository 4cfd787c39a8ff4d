"""Find the API key: in a file of its own, in the environment, or in the system's keyring."""

import os
import stat
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError

KEYRING_SERVICE: Final = "vdbevents"
"""The name of the keyring's entries; the user name of each is the API's host."""
KEY_HINT: Final = (
    "get a key at https://console.videodb.io, then export VIDEO_DB_API_KEY=sk-… "
    "or put VIDEO_DB_API_KEY=sk-… into a .env file in the current directory"
)

_LONGEST_FILE: Final = 8192
# A keyring may ask for its password first.
_KEYRING_SECONDS: Final = 60.0


class FoundKey(NamedTuple):
    """An API key, and where it was found, in words."""

    key: str
    source: str

    def __repr__(self) -> str:
        return f"FoundKey({self.source})"


def find_key(
    environ: Mapping[str, str],
    base_url: str,
    key_file: Path | None,
    *,
    keyring_seconds: float = _KEYRING_SECONDS,
) -> FoundKey:
    """Return the API key in `key_file`, else in `VIDEO_DB_API_KEY`, else the keyring's for the API's host.

    Args:
        environ: the environment, and what a `.env` file adds to it.
        base_url: of the API.
        key_file: a file that the user named; no other source is tried then.
        keyring_seconds: the time limit of the keyring's answer.

    Raises:
        InputError: the file cannot be read, or others can read it.
        ServiceRefusedError: there is no key, or it is malformed.
        ServiceUnreachableError: the keyring is locked, or does not answer.
    """
    if key_file is not None:
        return _checked(FoundKey(read_key_file(key_file), str(key_file)))
    if key := environ.get("VIDEO_DB_API_KEY", "").strip():
        return _checked(FoundKey(key, "VIDEO_DB_API_KEY"))
    if key := keyring_key(base_url, keyring_seconds):
        return _checked(FoundKey(key, "the system's keyring"))
    raise ServiceRefusedError("VIDEO_DB_API_KEY is not set", KEY_HINT, error_id="key-missing")


def _checked(found: FoundKey) -> FoundKey:
    if not (found.key.isascii() and found.key.isprintable()) or " " in found.key:
        raise ServiceRefusedError(
            f"{found.source}: not an API key, it has spaces, control or non-ASCII characters",
            KEY_HINT,
            error_id="key-invalid",
        )
    return found


def read_key_file(path: Path) -> str:
    """Return the key in a file that nobody else can read.

    Raises:
        InputError: it cannot be read, others can read it, or it is empty.
    """
    try:
        with path.open("rb") as opened:
            status = os.fstat(opened.fileno())
            # Before a byte is read: a key that others know must be replaced, not used.
            _require_private(path, status)
            key = opened.read(_LONGEST_FILE).decode("utf-8", "replace").strip()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not key:
        raise InputError(
            f"--key-file: no key in {path}",
            "write nothing but the key into it",
            error_id="key-file-empty",
        )
    return key


def require_private(path: Path) -> None:
    """Check that nobody else can read a file that holds the key.

    Raises:
        InputError: others can, or it cannot be found.
    """
    try:
        _require_private(path, path.stat())
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"--key-file: cannot read {path}: {error.strerror or error}",
        "write the key into it, and give it mode 0600: docs/service.md shows how",
        error_id="key-file-unreadable",
    )


def _require_private(path: Path, status: os.stat_result) -> None:
    # On Windows the mode says nothing; a pipe is as private as the process that opened it.
    if os.name != "posix" or not stat.S_ISREG(status.st_mode):
        return
    if status.st_uid not in (0, os.geteuid()):
        raise InputError(
            f"{path} belongs to another user, who can read the key in it",
            "copy it to a file of your own, with mode 0600",
            error_id="key-file-not-private",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise InputError(
            f"others can read the key in {path}: its mode is {mode:04o}",
            f"protect it: chmod 600 {path}; and replace the key if others use this machine",
            error_id="key-file-not-private",
        )


def keyring_key(base_url: str, seconds: float) -> str:
    """Return the key that the system's keyring has for the API's host; empty if it has none.

    Without the extra `keyring`, or on a system that has no keyring, it has none.

    Raises:
        ServiceUnreachableError: it is locked, or does not answer in time.
    """
    try:
        # A user without a home has no keyring, and the library would not find its settings.
        Path.home()
        import keyring
        from keyring.errors import NoKeyringError
    except (ImportError, RuntimeError):
        return ""
    answer: Future[str | None] = Future()

    def ask() -> None:
        try:
            answer.set_result(keyring.get_password(KEYRING_SERVICE, keyring_user(base_url)))
        except NoKeyringError:
            answer.set_result(None)
        except Exception as error:  # noqa: BLE001 - of any of its backends
            answer.set_exception(error)

    # A prompt that nobody answers must not hold up the end of the program.
    Thread(target=ask, name="keyring", daemon=True).start()
    try:
        return (answer.result(seconds) or "").strip()
    except Exception as error:
        reason = f"no answer in {seconds:g} s" if isinstance(error, TimeoutError) else type(error).__name__
        raise ServiceUnreachableError(
            f"VIDEO_DB_API_KEY is not set, and the system's keyring cannot be read: {reason}",
            "unlock it, or name a file that holds the key with --key-file",
            error_id="keyring-unusable",
        ) from error


def keyring_user(base_url: str) -> str:
    """Return the user name of the keyring's entry for an API: its host, with the port if it has one."""
    return urlsplit(base_url).netloc.rpartition("@")[2]
