"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

CollectionOption = Annotated[
    str | None,
    typer.Option(
        "--collection", metavar="ID", help="The session's collection.", show_default="as captured, or default"
    ),
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="The state directory whose capture, or listener, is meant.",
        show_default="as for listen",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
SessionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SESSION",
        help="A session's id. Default: that of the capture in the state directory.",
        show_default=False,
    ),
]
SessionOption = Annotated[
    str | None,
    typer.Option("--session", metavar="ID", help="A session's id.", show_default="the captured one"),
]
StreamOption = Annotated[
    str | None,
    typer.Option("--stream", metavar="ID|NAME|SOURCE", help="Such as rts-1, mic:default, or screen."),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        min=0.1,
        metavar="SECONDS",
        help="The time limit of it all; what fails for a reason that passes is tried again in it.",
    ),
]
WsIdOption = Annotated[
    str | None,
    typer.Option(
        "--ws-id",
        metavar="ID",
        help="The WebSocket to send to.",
        show_default="that of the listener in the state directory",
    ),
]
