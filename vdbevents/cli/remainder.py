"""What is left out of an answer to `query` that has a bound, and the command that shows it."""

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from vdbevents.cli.options import BoundOptions, EnvironmentOptions, words_of
from vdbevents.cli.query_options import (
    FilterOptions,
    OutputFormat,
    ResultOptions,
    SourceOptions,
    WindowOptions,
)
from vdbevents.cli.summary_options import broken
from vdbevents.cli.tables import remark
from vdbevents.terminal import counted, harmless, with_command

if TYPE_CHECKING:
    from vdbevents.query.result_protocols import EventBatches
    from vdbevents.times import Window


class Asked(NamedTuple):
    """The options of a query.

    Attributes:
        window: the times that `when` means.
        now_ms: when it was asked, in Unix ms.
    """

    named: SourceOptions
    when: WindowOptions
    filtering: FilterOptions
    printing: ResultOptions
    sized: BoundOptions
    options: EnvironmentOptions
    window: "Window"
    now_ms: int

    @property
    def noun(self) -> str:
        """What the answer consists of."""
        return "older line" if self.printing.unique else "older event"

    def last_line(self, answer: "EventBatches", left_out: int, shown: int) -> str:
        """Return the last line of an answer for eyes: how many of its events are left out, and a command."""
        text = f"{counted(left_out, self.noun)} left out"
        command = harmless(self.command(answer, shown))
        if self.printing.output is not OutputFormat.MD:
            return with_command(f"… {text}", command, broken) + "\n"
        longest = max(map(len, re.findall("`+", command)), default=0)
        fence = "`" * (longest + 1)
        return f"\n{text}: {fence}{command}{fence}\n"

    def remark(self, answer: "EventBatches", left_out: int, shown: int) -> None:
        """Say the same on stderr."""
        remark(f"{counted(left_out, self.noun)} left out", f"for these: {self.command(answer, shown)}")

    def command(self, answer: "EventBatches", shown: int) -> str:
        """Return the command that shows what is left out after so many of the newest events.

        They are the next page, of the same size. Where pages cannot be counted, or nothing fits on one, the
        command shows everything.
        """
        filtering, sized = self.filtering, self.sized
        is_sorted_anew = self.printing.output in (OutputFormat.SRT, OutputFormat.VTT)
        if not shown or filtering.around is not None or self.printing.unique or is_sorted_anew:
            sized = BoundOptions(max_bytes=None, max_tokens=None)
        else:
            left = None if filtering.limit is None else filtering.limit - shown
            filtering = filtering.replace(limit=left, offset=filtering.offset + shown)
        groups = (self.named, self._fixed(answer), filtering, self.printing, sized, self.options)
        return shlex.join(["vdbevents", "query", *words_of(*groups)])

    def _fixed(self, answer: "EventBatches") -> WindowOptions:
        """Return a window that does not move on, nor take in later events, if there is one."""
        since_ms, until_ms = self.window.since_ms, self.window.until_ms
        if since_ms is not None and until_ms is None:
            until_ms = max(self.now_ms, *(answer.span or ())) + 1
        return self.when.fixed(since_ms, until_ms)
