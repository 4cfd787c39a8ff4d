#!/usr/bin/env python3
"""Measure events per second into the journal, and CPU per event, relative to the listener of VideoDB's docs.

usage: ingest.py [EVENTS] [ROUNDS] [KIND ...]        both listeners in turn on each kind of message

It exits with 1 if a kind misses its targets.
"""

import base64
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness import (
    HERE,
    VDBEVENTS,
    await_true,
    cpu_seconds,
    journal_of,
    median,
    recorder,
    scratch,
    server,
    spread,
)
from journal import block

import vdbevents

BLOCK: Final = 1_000
EVENTS: Final = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
ROUNDS: Final = int(sys.argv[2]) if len(sys.argv) > 2 else 5

COMMANDS: Final = {
    "vdbevents": (*VDBEVENTS, "listen", "--quiet"),
    "reference": (sys.executable, str(HERE / "reference_listener.py")),
}
_SESSION = Path(vdbevents.__file__).parent / "emulator" / "data" / "real-session.jsonl"
_WORDS = {
    "ru": "мы должны исправить ошибку до пятницы и показать отчёт клиенту на встрече завтра утром",
    "zh": "我们 需要 在 周五 之前 修复 这个 错误 并且 向 客户 展示 报告 明天 早上 开会",
    "hi": "हमें शुक्रवार से पहले यह त्रुटि ठीक करनी है और कल सुबह ग्राहक को रिपोर्ट दिखानी है",
}


class Target(NamedTuple):
    """At least how many times the reference's events a second, at no more than which share of its CPU."""

    rate: float
    cpu: float


def main() -> None:
    kinds = sys.argv[3:] or list(KINDS)
    missed = [kind for kind in kinds if not compare(kind)]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


def compare(kind: str) -> bool:
    """Print what both listeners reach with a kind of message; return whether the targets are met."""
    make, target = KINDS[kind]
    messages = make(random.Random(kind))
    rates: dict[str, list[float]] = {name: [] for name in COMMANDS}
    costs: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(ROUNDS):
        # Each first in turn: a machine that gets slower must not favour one of them.
        for name in list(COMMANDS)[:: 1 if number % 2 == 0 else -1]:
            rate, cost = measure(COMMANDS[name], messages)
            rates[name].append(rate)
            costs[name].append(cost)
    print(f"{kind}: {sum(map(len, messages)) / len(messages):.0f} bytes a message")
    for name in COMMANDS:
        print(f"  {name:<10}{spread(rates[name], 'events/s', 0)}, {spread(costs[name], 'µs CPU per event')}")
    rate = median([a / b for a, b in zip(rates["vdbevents"], rates["reference"], strict=True)])
    cost = median([a / b for a, b in zip(costs["vdbevents"], costs["reference"], strict=True)])
    is_met = rate >= target.rate and cost <= target.cpu
    print(f"  ratio     {rate:.2f} times the events per second (target: at least {target.rate})")
    print(
        f"            {cost:.2f} times the CPU per event (target: at most {target.cpu:.2f})"
        f"{'' if is_met else ': MISSED'}",
        flush=True,
    )
    return is_met


def measure(
    command: Sequence[str], messages: Sequence[bytes], settings: Mapping[str, str] = {}, events: int = EVENTS
) -> tuple[float, float]:
    """Return (events per second, µs of CPU per event) of one flood, with settings of the environment."""
    with (
        server(settings) as running,
        scratch() as directory,
        recorder((*command, directory), running) as process,
    ):
        journal = journal_of(directory)
        frames = base64.b64encode(b"".join(map(_frame, messages))).decode()
        times = max(1, events // len(messages))

        def flood(name: str, repeat: int) -> None:
            running.request("send", raw_base64=frames, repeat=repeat)
            running.request("send", text=json.dumps({"channel": "bench", "data": {"text": name}}))
            await_true(lambda: name.encode() in _end_of(journal))

        flood("the listener is warm", 2)
        before, used, began = journal.stat().st_size, cpu_seconds(process.pid), time.perf_counter()
        flood("the flood is over", times)
        elapsed, used = time.perf_counter() - began, cpu_seconds(process.pid) - used
        with journal.open("rb") as lines:
            lines.seek(before)
            written = sum(
                b'"channel": "vdbevents"' not in line and b'"channel":"vdbevents"' not in line
                for line in lines
            )
        sent = times * len(messages)
        if written != sent + 1:
            raise SystemExit(f"{command} wrote {written} of {sent + 1} events")
        return sent / elapsed, used / sent * 1e6


def _frame(message: bytes) -> bytes:
    size = len(message)
    if size < 126:
        return bytes([0x81, size]) + message
    return bytes([0x81, 126]) + size.to_bytes(2, "big") + message


def _end_of(journal: Path) -> bytes:
    if not journal.exists():
        return b""
    with journal.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 4096))
        return file.read()


# The kinds of messages.


def _events() -> list[dict[str, Any]]:
    events = map(json.loads, block(0, BLOCK, 1_795_000_000).splitlines())
    return [_without_stamps(event) for event in events]


def _without_stamps(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("ts", "unix_ts")}


def _compact(_: random.Random) -> list[bytes]:
    return [json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() for event in _events()]


def _spaced(_: random.Random) -> list[bytes]:
    return [json.dumps(event).encode() for event in _events()]


def _session(_: random.Random) -> list[bytes]:
    """Return a real session's messages as a service in Python writes them."""
    events = [_without_stamps(json.loads(line)) for line in _SESSION.read_bytes().splitlines()]
    return [json.dumps(events[number % len(events)]).encode() for number in range(BLOCK)]


def _escaped(draw: random.Random) -> list[bytes]:
    events = _events()
    for event in events:
        words = _WORDS[draw.choice(list(_WORDS))].split()
        if "text" in event["data"]:
            event["data"]["text"] = " ".join(draw.choices(words, k=draw.randint(5, 25)))
    return [json.dumps(event).encode() for event in events]


def _mixed(draw: random.Random) -> list[bytes]:
    """Return messages of all other kinds; one in twenty is of a kind that takes a way of its own."""
    usual = [make(draw) for make in (_compact, _spaced, _session, _escaped)]
    mixed = [messages[number] for number in range(BLOCK) for messages in draw.choices(usual, (4, 4, 3, 1))]
    events = _events()
    odd: tuple[Callable[[dict[str, Any]], str], ...] = (
        lambda event: json.dumps(event, indent=2, ensure_ascii=False),
        lambda event: json.dumps({**event, "ts": "2026-03-02T10:15:30Z"}),
        lambda event: json.dumps({**event, "score": 0}).replace('"score": 0', '"score": 1.50E5'),
        lambda event: json.dumps({**event, "text": "\x1b[31m red"}),
        lambda event: json.dumps({**event, "n": 2**70}),
        lambda _: "The service says this in words.",
    )
    for number in range(0, BLOCK, 20):
        mixed[number] = draw.choice(odd)(events[number]).encode()
    return mixed


KINDS: Final = {
    "compact": (_compact, Target(3.0, 0.40)),
    "spaced": (_spaced, Target(3.0, 0.40)),
    "session": (_session, Target(3.0, 0.40)),
    "mixed": (_mixed, Target(3.0, 0.40)),
    "escaped": (_escaped, Target(1.7, 0.55)),
}


if __name__ == "__main__":
    main()
