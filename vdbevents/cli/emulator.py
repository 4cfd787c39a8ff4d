"""`vdbevents emulator`: imitates the cloud on loopback."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vdbevents.cli.command import reports
from vdbevents.errors import InputError

HELP = """Imitate VideoDB's cloud for capture on this machine, for trying and testing without a key.

Prints the settings that point any VideoDB client at it, and the path of a capture runtime that records
nothing, where it is installed; runs until a signal asks to end. The recording (a real one, unless --replay
names another journal) is played to the first WebSocket that connects.

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
For a capture, which has the recording played itself, in place of the first and the third line:
  vdbevents emulator --port 8800 --no-autoplay &
  export VDBEVENTS_CAPTURE_RUNTIME=$(command -v vdbevents-capture-runtime)
  vdbevents capture --duration 20s
"""


@reports
def emulator(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0: a free one.")] = 0,
    api_key: Annotated[
        str, typer.Option(metavar="KEY", help="The one key that is accepted.")
    ] = "sk-emulator",
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The journal to play.", show_default="the real session that is bundled"
        ),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.0, metavar="N", help="How many times as fast; 0: at once.")
    ] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Start over at the end.")] = False,
    autoplay: Annotated[bool, typer.Option(help="Whether to play to the first WebSocket.")] = True,
    numbered: Annotated[
        bool,
        typer.Option("--numbered", help="Instead of a recording, an endless script of numbered events."),
    ] = False,
    clock_rate: Annotated[
        float, typer.Option(metavar="N", help="Run the service's clock N times as fast.")
    ] = 1.0,
    fault: Annotated[
        list[str] | None, typer.Option(metavar="NAME=JSON", help="A fault from the start on; repeatable.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Speak https and wss with this certificate.")
    ] = None,
    private_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its key, if in another file.")
    ] = None,
) -> None:
    from vdbevents.emulator.application import EmulatorSettings, installed_path, serve

    if not api_key:
        raise InputError("--api-key is empty", "give the key that clients will send, or leave the option out")
    if numbered and replay is not None:
        raise InputError("--numbered and --replay contradict each other", "give one of them")
    settings = EmulatorSettings(
        port=port,
        api_key=api_key,
        replay=replay,
        speed=speed,
        loop=loop,
        autoplay=autoplay,
        numbered=numbered,
        clock_rate=clock_rate,
        faults=dict(_parse_fault(text) for text in fault or ()),
        certificate=certificate,
        private_key=private_key,
    )

    def announce(url: str) -> None:
        runtime = installed_path()
        found = "" if runtime is None else f"\nVDBEVENTS_CAPTURE_RUNTIME={runtime}"
        print(f"VIDEO_DB_API={url}\nVIDEO_DB_API_KEY={api_key}{found}", flush=True)

    try:
        serve(settings, announce)
    except OSError as error:
        raise InputError(
            f"cannot serve on port {port}: {error.strerror or error}",
            "name another --port, or 0 for a free one",
        ) from error
    except ValueError as error:
        raise InputError(str(error), "see: vdbevents emulator --help, and docs/emulator.md") from error


def _parse_fault(text: str) -> tuple[str, Any]:
    import json

    name, separator, options = text.partition("=")
    try:
        return name, json.loads(options if separator else "{}")
    except ValueError:
        raise InputError(
            f"--fault {text!r} is not NAME=JSON", """for example: --fault 'http={"status": 503, "for": 10}'"""
        ) from None


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(help=HELP)(emulator)
