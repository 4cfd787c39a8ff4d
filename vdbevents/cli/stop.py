"""`vdbevents stop`: ends the listener."""

from typing import Annotated

import typer

from vdbevents.cli.command import put, reports, require_finite
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import (
    StateOptions,
)


@reports
def stop(
    *,
    timeout: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How long to wait for it.")
    ] = 10.0,
    options: StateOptions,
) -> ExitCode:
    """Ask the listener to end, and wait until it has."""
    from vdbevents.cli.background import stop_listener

    require_finite(timeout=timeout)
    put(stop_listener(options.state, timeout))
    return ExitCode.DONE


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(stop)
