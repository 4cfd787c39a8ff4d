"""`vdbevents channels`: list what the capture runtime can record."""

from typing import Any

from vdbevents.cli.capture import prepare_for_runtime, runtime_of
from vdbevents.cli.command import as_json, put, reports, require_finite
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import CloudOptions

HELP = """List the channels that can be recorded on this machine.

These are microphones, system audio and displays. Cameras are listed, but not recorded. Only the capture
runtime is asked: no API key is needed.

\b
Examples:
  vdbevents channels
  vdbevents capture --display display:2 --mic-device mic:headset
"""


@reports
def channels(*, options: CloudOptions) -> ExitCode:
    import asyncio

    from vdbevents import cloud
    from vdbevents.capture.runtime import CaptureRuntime
    from vdbevents.terminal import harmless

    require_finite(timeout=options.timeout)
    base_url = cloud.base_url_from(options.environ)
    cloud.find_runtime(runtime_of(options.environ))
    prepare_for_runtime()

    async def list_channels() -> list[Any]:
        runtime = CaptureRuntime(cloud.capture_client(None, base_url), lambda _, __: None)
        try:
            return await runtime.channels(options.timeout)
        finally:
            await runtime.close(5.0)

    available = asyncio.run(list_channels())
    if options.as_json:
        put(
            as_json([{"id": channel.id, "name": channel.name, "kind": channel.kind} for channel in available])
        )
    else:
        width = max((len(harmless(channel.id)) for channel in available), default=0)
        for channel in available:
            put(f"{channel.kind:<12}  {harmless(channel.id):<{width}}  {harmless(channel.name)}")
    return ExitCode.DONE if available else ExitCode.NO_MATCH
