"""The SDK's client of the capture runtime, and where that runtime is."""

import logging
from pathlib import Path
from typing import Any

from vdbevents.cloud.account import Token
from vdbevents.errors import CaptureError


def find_runtime(named: Path | None) -> Path:
    """The capture runtime that a `CaptureClient` will start.

    Args:
        named: an executable to use instead of the one that VideoDB ships.

    Raises:
        CaptureError: there is none.
    """
    import os
    import sys
    import types

    if named is not None:
        # A name without a folder would be looked for on the PATH.
        named = named.absolute()
        if not os.access(named, os.X_OK) or named.is_dir():
            raise CaptureError(
                f"the capture runtime {named} is no program that can be run", "set VDBEVENTS_CAPTURE_RUNTIME"
            )
        # The SDK asks this module where its runtime is.
        module = types.ModuleType("videodb_capture_bin")
        module.get_binary_path = lambda: str(named)  # type: ignore[attr-defined]
        sys.modules["videodb_capture_bin"] = module
    from videodb.capture import get_capture_binary_path

    # It reports what it raises; here it is said once.
    logging.getLogger("videodb.capture").addHandler(logging.NullHandler())
    try:
        return Path(get_capture_binary_path())
    except Exception as error:
        if sys.platform not in ("darwin", "win32"):
            raise CaptureError(
                "there is no capture runtime: VideoDB ships its runtime for macOS and Windows only",
                "record on such a machine; to try it on this one, run vdbevents emulator and export what it "
                "prints, VDBEVENTS_CAPTURE_RUNTIME among it",
            ) from error
        raise CaptureError(
            f"VideoDB's capture runtime cannot be used: {error}", "install it: pip install 'videodb[capture]'"
        ) from error


def capture_client(token: Token, base_url: str) -> Any:  # noqa: ANN401
    """The SDK's `CaptureClient`, which starts the runtime that `find_runtime` found with its first call.

    Args:
        token: a client token; it is all that the runtime gets to know.
        base_url: of the service.
    """
    from videodb.capture import CaptureClient

    return CaptureClient(client_token=token.value, base_url=base_url)
