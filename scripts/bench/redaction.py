#!/usr/bin/env python3
"""Measure events per second into the journal with all built-in rules of `[redact]`, relative to none.

usage: redaction.py [EVENTS] [ROUNDS]        both in turn; target: 0.7
"""

import random
import sys
from typing import Final

from harness import VDBEVENTS, median, spread
from ingest import KINDS as MESSAGES, ROUNDS, measure

from vdbevents.privacy.redaction import KINDS

COMMAND = (*VDBEVENTS, "listen", "--quiet")
CASES: Final = {"no rules": "no", "default": "", "all rules": "yes"}
TARGET = 0.7


def settings(value: str) -> dict[str, str]:
    """Return an environment with each built-in kind on or off; unchanged without a value."""
    return {f"VDBEVENTS_REDACT_{kind.upper().replace('-', '_')}": value for kind in KINDS if value}


def main() -> None:
    rates: dict[str, list[float]] = {name: [] for name in CASES}
    costs: dict[str, list[float]] = {name: [] for name in CASES}
    make, _ = MESSAGES["compact"]
    messages = make(random.Random(0))
    for number in range(ROUNDS):
        # Each first in turn: a machine that gets slower must not favour one of them.
        names = list(CASES)[number % len(CASES) :] + list(CASES)[: number % len(CASES)]
        for name in names:
            rate, cost = measure(COMMAND, messages, settings(CASES[name]))
            rates[name].append(rate)
            costs[name].append(cost)
    for name in CASES:
        print(f"{name:<10} {spread(rates[name], 'events/s', 0)}, {spread(costs[name], 'µs CPU per event')}")
    for name in list(CASES)[1:]:
        ratio = median([a / b for a, b in zip(rates[name], rates["no rules"], strict=True)])
        cost = median([a / b for a, b in zip(costs["no rules"], costs[name], strict=True)])
        target = f" (target: at least {TARGET})" if name == "all rules" else ""
        print(f"{name}: {ratio:.2f} times the events per second of no rules{target}, by CPU {cost:.2f}")
    all_rules = [a / b for a, b in zip(rates["all rules"], rates["no rules"], strict=True)]
    sys.exit(median(all_rules) < TARGET)


if __name__ == "__main__":
    main()
