"""`vdbevents stop`: stop the listener."""

from typing import Annotated

from vdbevents.cli.command import put, reports, require_finite
from vdbevents.cli.declared import Option
from vdbevents.cli.options import StateOptions, seconds


@reports
def stop(
    *,
    timeout: Annotated[
        float, Option(parser=seconds(0.0), metavar="SECONDS", help="How long to wait for its end.")
    ] = 10.0,
    options: StateOptions,
) -> None:
    """Stop the listener, and wait until it has ended."""
    from vdbevents.cli.background import stop_listener

    require_finite(timeout=timeout)
    put(stop_listener(options.state, timeout))
