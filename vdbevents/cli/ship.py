"""`vdbevents ship`: append what was recorded to a lake, each line once."""

import random
import signal
import time
from typing import TYPE_CHECKING, Annotated, Final

from vdbevents.cli.command import reports, run_in_order
from vdbevents.cli.declared import Argument, Option
from vdbevents.cli.diagnostics import Diagnostics, ExitCode
from vdbevents.cli.options import LowPriorityOption, MessageOptions, StateOptions
from vdbevents.errors import InputError, VdbeventsError, options_conflict
from vdbevents.terminal import byte_size, counted, harmless

if TYPE_CHECKING:
    from vdbevents.journal.state import StateDirectory
    from vdbevents.lake.shipping import Shipped, Shipper

HELP = """Append what was recorded to a lake, each line once.

LAKE is a folder, or s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH: one table of the events of many
recorders, which Spark, Trino, Databricks, Polars and DuckDB read, too (docs/fleet.md). It ships all whole
lines of the journal and of what was set aside, as they are there: redacted. Then it looks again every five
minutes, until a signal. Whatever ends it when, no line is missing or there twice. It needs an extra: pip
install 'vdbevents[lake]'. Credentials are those of the object store's own tools, from the environment.

\b
Examples:
  vdbevents ship /mnt/team/lake
  vdbevents ship s3://team-events/lake --every 1m
  vdbevents ship s3://team-events/lake --once --host laptop

\b
Exit codes: 0 shipped, or nothing was new, or ended by SIGTERM; 2 wrong input; 4 the object store refused;
5 it was not reached; 74 no room; 130 ended by Ctrl-C.
"""

LakeArgument = Annotated[
    str, Argument(metavar="LAKE", help="A folder, or an address: s3://…, gs://…, az://…", show_default=False)
]

_EVERY: Final = "5m"
_SPREAD: Final = 0.1


@reports
def ship(
    lake: LakeArgument,
    *,
    every: Annotated[str, Option(metavar="TIME", help="Look again after 30s, 5m, 1h.")] = _EVERY,
    once: Annotated[bool, Option("--once", help="Ship what there is, and exit.")] = False,
    host: Annotated[
        str | None,
        Option(metavar="NAME", help="The recorder's name in the lake; default: this machine's."),
    ] = None,
    low_priority: LowPriorityOption = False,
    messages: MessageOptions,
    options: StateOptions,
) -> ExitCode:
    from vdbevents.lake.lake_table import lake_address, require_lake
    from vdbevents.query import duck
    from vdbevents.query.termination import TerminatedError, ended_in_order
    from vdbevents.times import parse_duration

    if once and every != _EVERY:
        raise options_conflict("--every", "--once")
    seconds = parse_duration("--every", every) / 1000
    require_lake()
    lake_address(lake)
    run_in_order(low_priority=low_priority)
    # `ended_in_order` takes it, and says that it was this one: it ends the command as planned.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    shipping = _Shipping(lake, options.state, host, messages.diagnostics(Diagnostics))
    with ended_in_order():
        try:
            with duck.interruptible():
                shipping.run(None if once else seconds)
        except TerminatedError:
            pass
    return ExitCode.DONE


class _Shipping:
    """Ships one recording, and says what it did."""

    def __init__(
        self, lake: str, state: "StateDirectory", host: str | None, diagnostics: Diagnostics
    ) -> None:
        self._lake = lake
        self._state = state
        self._host = host
        self._diagnostics = diagnostics
        self._shipper: Shipper | None = None

    def run(self, seconds: float | None) -> None:
        """Ship once, or every so many seconds.

        Raises:
            VdbeventsError: as `step` and `repeat` have it.
        """
        try:
            if seconds is None:
                self.step(is_only=True)
            else:
                self.repeat(seconds)
        finally:
            self.close()

    def close(self) -> None:
        if self._shipper is not None:
            self._shipper.close()
        self._diagnostics.flush()

    def step(self, *, is_only: bool = False) -> None:
        """Ship what there is.

        Args:
            is_only: whether to say also that nothing was new.

        Raises:
            VdbeventsError: it was not all shipped.
        """
        if self._shipper is None:
            self._shipper = self._opened()
        if self._shipper is None:
            if is_only:
                self._diagnostics.say("nothing is recorded yet")
            return
        done = self._shipper.ship()
        if done.commits or is_only:
            self._diagnostics.say(_shown(done, self._shipper.host, self._lake))

    def repeat(self, seconds: float) -> None:
        """Ship again and again; what fails for now is said once, and tried the next time.

        Raises:
            InputError: the first time failed for a reason that will not pass.
        """
        chance = random.Random()  # noqa: S311 - only keeps many recorders from shipping at one moment
        failed = ""
        has_shipped = False
        while True:
            try:
                self.step()
                failed, has_shipped = "", True
            except VdbeventsError as error:
                if isinstance(error, InputError) and not has_shipped:
                    raise
                if error.error_id != failed:
                    self._diagnostics.say(error.message, problem=True, hint=error.hint)
                failed = error.error_id
            time.sleep(seconds * chance.uniform(1 - _SPREAD, 1 + _SPREAD))

    def _opened(self) -> "Shipper | None":
        from vdbevents.lake.lake_name import recording_name
        from vdbevents.lake.shipping import Shipper
        from vdbevents.query.cache import seal_policy

        names = recording_name(self._state, self._host)
        if names is None:
            return None
        return Shipper(self._lake, self._state.journal, names, seal_policy.default_root())


def _shown(done: "Shipped", host: str, lake: str) -> str:
    if not done.commits:
        return f"nothing new to ship to {harmless(lake)}"
    return (
        f"shipped {counted(done.lines, 'line')} ({byte_size(done.bytes)}) of {host} to {harmless(lake)} "
        f"in {counted(done.commits, 'commit')}"
    )
