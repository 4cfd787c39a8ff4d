"""`vdbevents emulator`: imitate VideoDB's cloud on loopback."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from vdbevents.cli.command import reports, unwritable_output
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import Diagnostics
from vdbevents.errors import InputError

HELP = """Imitate VideoDB's cloud on this machine, to test without a key.

Prints the settings for a VideoDB client, and the path of a capture runtime that records nothing if it is
installed; runs until a signal. It plays a real recording, or the journal of --replay, to the first WebSocket.

\b
Examples:
  vdbevents emulator --port 8800 --speed 10 &
  export VIDEO_DB_API=http://127.0.0.1:8800 VIDEO_DB_API_KEY=sk-emulator
  vdbevents listen
  vdbevents emulator --fault 'http={"status": 503, "for": 10}'
  curl -X POST $VIDEO_DB_API/emulator/close -d '{"code": 1011}'
  vdbevents emulator --numbered --clock-rate 60
  curl -X POST $VIDEO_DB_API/emulator/clock -d '{"advance": 3600}'

\b
For a capture, which starts the recording itself, instead of the first and third line:
  vdbevents emulator --port 8800 --no-autoplay &
  export VDBEVENTS_CAPTURE_RUNTIME=$(command -v vdbevents-capture-runtime)
  vdbevents capture --duration 20s
"""


@reports
def emulator(
    *,
    port: Annotated[
        int, Option(min=0, max=65535, metavar="PORT", help="Port to serve on; 0: any free one.")
    ] = 0,
    api_key: Annotated[str, Option(metavar="KEY", help="The only key to accept.")] = "sk-emulator",
    replay: Annotated[
        Path | None,
        Option(metavar="FILE", help="The journal to play.", show_default="the bundled real session"),
    ] = None,
    speed: Annotated[float, Option(min=0.0, metavar="N", help="Play N times as fast; 0: at once.")] = 1.0,
    loop: Annotated[bool, Option("--loop", help="Repeat the recording.")] = False,
    autoplay: Annotated[bool, Option(help="Play to the first WebSocket.")] = True,
    numbered: Annotated[
        bool,
        Option("--numbered", help="Send numbered events without end instead of a recording."),
    ] = False,
    secrets: Annotated[
        bool, Option("--secrets", help="With --numbered: a made-up secret in each event's text.")
    ] = False,
    clock_rate: Annotated[float, Option(metavar="N", help="Run the service's clock N times as fast.")] = 1.0,
    fault: Annotated[
        list[str] | None,
        Option(metavar="NAME=JSON", help="A fault in force from the start; repeatable."),
    ] = None,
    certificate: Annotated[
        Path | None, Option(metavar="FILE", help="Serve https and wss with this certificate.")
    ] = None,
    private_key: Annotated[
        Path | None, Option(metavar="FILE", help="The certificate's key, if in another file.")
    ] = None,
) -> None:
    from vdbevents.emulator.application import EmulatorSettings, installed_path, serve

    if not api_key:
        raise InputError(
            "--api-key: must not be empty", "give the key of the clients, or omit it", error_id="key-empty"
        )
    if numbered and replay is not None:
        raise InputError(
            "--numbered: not allowed with --replay", "leave out one of them", error_id="options-conflict"
        )
    settings = EmulatorSettings(
        port=port,
        api_key=api_key,
        replay=replay,
        speed=speed,
        loop=loop,
        autoplay=autoplay,
        numbered=numbered,
        secrets=secrets,
        clock_rate=clock_rate,
        faults=dict(_parse_fault(text) for text in fault or ()),
        certificate=certificate,
        private_key=private_key,
    )

    def announce(url: str) -> None:
        if _has_proxy():
            diagnostics = Diagnostics()
            diagnostics.say(
                "a proxy is set in this environment: clients other than vdbevents may send it the key",
                problem=True,
                hint="export NO_PROXY=127.0.0.1,localhost",
            )
            diagnostics.flush()
        runtime = installed_path()
        setting = "" if runtime is None else f"\nVDBEVENTS_CAPTURE_RUNTIME={runtime}"
        try:
            print(f"VIDEO_DB_API={url}\nVIDEO_DB_API_KEY={api_key}{setting}", flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise unwritable_output(error) from error

    try:
        serve(settings, announce)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(
            f"cannot serve on port {port}: {error.strerror or error}",
            "give another --port, or 0 for a free one",
            error_id="port-unusable",
        ) from error
    except ValueError as error:
        hint = "see: vdbevents emulator --help, and docs/emulator.md"
        raise InputError(f"cannot start: {error}", hint, error_id="emulator-setting-invalid") from error


def _has_proxy() -> bool:
    """Return whether clients that follow the environment, as SDKs do, reach this machine by a proxy."""
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return False
    from urllib.request import getproxies, proxy_bypass

    return bool(set(getproxies()) - {"no"}) and not proxy_bypass("127.0.0.1")


def _parse_fault(text: str) -> tuple[str, Any]:
    """Split `NAME=JSON`; a name alone is a fault without options."""
    import json

    name, separator, options = text.partition("=")
    try:
        return name, json.loads(options if separator else "{}")
    except ValueError:
        hint = """for example: --fault 'http={"status": 503, "for": 10}'"""
        raise InputError(
            f"--fault: must be NAME=JSON, got {text!r}", hint, error_id="fault-invalid"
        ) from None
