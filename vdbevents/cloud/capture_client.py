"""The SDK's client of the capture runtime, and where that runtime is."""

import logging
import os
import sys
import types
from pathlib import Path
from typing import Any

from vdbevents.cloud.account import Token
from vdbevents.errors import CaptureError


def find_runtime(named: Path | None) -> Path:
    """Return the path of the capture runtime that a `CaptureClient` will start.

    Args:
        named: an executable to use instead of the one that VideoDB ships.

    Raises:
        CaptureError: there is none, or it cannot be executed.
    """
    if named is not None:
        # A name without a folder would be looked up on the PATH.
        named = named.absolute()
        if not os.access(named, os.X_OK) or named.is_dir():
            raise CaptureError(
                f"VDBEVENTS_CAPTURE_RUNTIME: not an executable file, got {named}",
                "set VDBEVENTS_CAPTURE_RUNTIME to a capture runtime, or unset it to use VideoDB's",
                error_id="runtime-not-executable",
            )
        # The SDK asks this module where its runtime is.
        module = types.ModuleType("videodb_capture_bin")
        module.get_binary_path = lambda: str(named)  # type: ignore[attr-defined]
        sys.modules["videodb_capture_bin"] = module
    from videodb.capture import get_capture_binary_path

    # It logs what it raises; here that is reported once.
    logging.getLogger("videodb.capture").addHandler(logging.NullHandler())
    try:
        return Path(get_capture_binary_path())
    except Exception as error:
        if sys.platform not in ("darwin", "win32"):
            raise CaptureError(
                "no capture runtime: VideoDB ships it for macOS and Windows only",
                "record on such a machine; to try it here, run vdbevents emulator and export the variables "
                "that it prints, VDBEVENTS_CAPTURE_RUNTIME among them",
                error_id="runtime-missing",
            ) from error
        raise CaptureError(
            f"cannot use VideoDB's capture runtime: {error}",
            "install it: pip install 'videodb[capture]'",
            error_id="runtime-unusable",
        ) from error


def capture_client(token: Token | None, base_url: str) -> Any:  # noqa: ANN401
    """Return the SDK's `CaptureClient`; its first call starts the runtime that `find_runtime` found.

    Args:
        token: a client token, the only secret that the runtime gets, and not before it is to record.
        base_url: of the service.
    """
    from videodb.capture import CaptureClient

    return CaptureClient(client_token=token.value if token else "", base_url=base_url)
