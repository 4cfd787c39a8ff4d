"""Ask the capture runtime what it may and can record, without a session and without a recording."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from vdbevents import cloud
from vdbevents.capture.runtime import CaptureRuntime, where_to_grant
from vdbevents.errors import CaptureError
from vdbevents.sessions.plan import Channel

_PERMISSIONS = ("microphone", "screen_capture")
_CLOSING_SECONDS = 2.0


class DeviceAnswers(NamedTuple):
    """What the runtime says; an error in the place of an answer that it did not give.

    Attributes:
        permissions: of each permission, whether it is granted.
        channels: what can be recorded.
        hints: of each permission, where it is granted.
    """

    permissions: dict[str, bool | CaptureError]
    channels: Sequence[Channel] | CaptureError
    hints: dict[str, str]


def ask_runtime(base_url: str, seconds: float) -> DeviceAnswers:
    """Start the runtime that `cloud.find_runtime` found, ask it, and end it.

    Each of its three answers may take `seconds`, the first one twice as long: the runtime starts meanwhile.
    """
    return asyncio.run(_ask(base_url, seconds))


async def _ask(base_url: str, seconds: float) -> DeviceAnswers:
    # It needs a token only to record.
    runtime = CaptureRuntime(cloud.capture_client(None, base_url), lambda _, __: None)
    permissions: dict[str, bool | CaptureError] = {}
    channels: Sequence[Channel] | CaptureError
    try:
        for number, permission in enumerate(_PERMISSIONS):
            try:
                limit = seconds if number else 2 * seconds
                permissions[permission] = await runtime.permit(permission, limit)
            except CaptureError as error:
                permissions[permission] = error
        try:
            channels = await runtime.channels(seconds)
        except CaptureError as error:
            channels = error
    finally:
        await runtime.close(_CLOSING_SECONDS)
    return DeviceAnswers(permissions, channels, {name: where_to_grant(name) for name in _PERMISSIONS})
