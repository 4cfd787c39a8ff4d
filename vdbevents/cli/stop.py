"""`vdbevents stop`: ends the listener."""

from typing import Annotated

import typer

from vdbevents.cli.command import (
    Directory,
    EnvironmentFile,
    WorkingDirectory,
    environment,
    put,
    reports,
    require_finite,
    state_directory,
)
from vdbevents.cli.diagnostics import ExitCode


@reports
def stop(
    directory: Directory = None,
    *,
    timeout: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How long to wait for it.")
    ] = 10.0,
    env_file: EnvironmentFile = None,
    cwd: WorkingDirectory = None,
) -> ExitCode:
    """Ask the listener to end, and wait until it has."""
    from vdbevents.cli.background import stop_listener

    require_finite(timeout=timeout)
    put(stop_listener(state_directory(directory, environment(env_file, cwd)), timeout))
    return ExitCode.DONE


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(stop)
