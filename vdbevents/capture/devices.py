"""Ask the capture runtime what it may and can record, without a session and without a recording."""

import asyncio
from collections.abc import Callable, Sequence
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


def ask_runtime(base_url: str, seconds: float, give: Callable[[DeviceAnswers], object]) -> None:
    """Start the runtime that `cloud.find_runtime` found, ask it, and end it.

    Args:
        base_url: of the API.
        seconds: the time limit of each of its three answers; the first one may take twice as long, since it
            starts meanwhile.
        give: gets the answers, before the runtime is ended.
    """
    asyncio.run(_ask(base_url, seconds, give))


async def _ask(base_url: str, seconds: float, give: Callable[[DeviceAnswers], object]) -> None:
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
        give(DeviceAnswers(permissions, channels, {name: where_to_grant(name) for name in _PERMISSIONS}))
    finally:
        await runtime.close(_CLOSING_SECONDS)
