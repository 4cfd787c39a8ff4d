"""Record a session with real processes under random faults, and account for each of its events.

usage: scripts/soak [--minutes N] [--seed N] [--rate N] [--pauses] [--keep DIR]        Linux only

`vdbevents listen` and `vdbevents capture` record one session of the emulator, the documents' own listener
(`scripts/bench/reference_listener.py`) another, each in a process of its own that is started again when it
ends. Both get the same faults, which the seed determines. At the end, the events in each file are compared
with the records of the service.

Each event of the service has a made-up secret, and messages with others are planted beside them: at the end
no file may hold one. The journal is rotated and pruned all the while. With `--pauses` the recording is paused
now and then. The times of pauses are this machine's and those of events the service's, so its clock then runs
as this machine's does, and no fault sets one of the two.
"""

import argparse
import base64
import collections
import contextlib
import heapq
import itertools
import json
import os
import random
import re
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import duckdb
import zstandard

from support.patience import PATIENCE, patient
from support.processes import KEY
from support.stepped_clock import step
from vdbevents.emulator.made_up_secrets import made_up_secret
from vdbevents.events import envelope, fields, gaps, identity as events_identity, lifecycle
from vdbevents.journal.append import Journal
from vdbevents.journal.archive import archived
from vdbevents.journal.state import StateDirectory
from vdbevents.privacy.redaction import Redactor

HERE = Path(__file__).resolve().parent
REFERENCE = HERE.parents[1] / "scripts" / "bench" / "reference_listener.py"

REDACTOR = Redactor()
# The secrets that the emulator makes up, and those that are planted beside them.
SECRETS = re.compile(rb"4929[ \d]{12,18}|ghp_[0-9a-f]{36}|sk-[0-9a-f]{40}")

# What is counted: of everything else (interim transcripts, alerts) the service keeps no record.
COUNTED = ("transcript", "audio_index", "visual_index")
SHOWN = 5
# For a process to be there, where the machine has much else to do.
START_SECONDS = 120.0
OLD_LINE = (
    b'{"ts":"2020-01-01T00:00:00.000Z","unix_ts":1577836800.000,"channel":"old","data":{"text":"old"}}\n'
)


# What is to go wrong: a function of the seed.


class Fault(NamedTuple):
    """A kind of fault, and its options."""

    kind: str
    options: dict

    def __str__(self):
        told = " ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.kind} {told}".rstrip()


class Strike(NamedTuple):
    """Faults that happen together, `at` seconds after the beginning."""

    at: float
    faults: tuple[Fault, ...]


# The calls with which a listener finds out what it has missed, and binds what it goes on with.
CALLS = (
    {"method": "GET", "path": "/collection/*/websocket"},
    {"method": "GET", "path": "/collection/*/capture/session/*"},
    {"method": "GET", "path": "/rtstream/*/transcription"},
    {"method": "POST", "path": "/rtstream/*/transcription"},
    {"method": "GET", "path": "/rtstream/*/index/scene"},
    {"method": "POST", "path": "/rtstream/*/index/scene"},
    {"method": "GET", "path": "/rtstream/*/index/scene/*"},
    {"method": "PATCH", "path": "/rtstream/*/index/scene/*/status"},
)
CODES = (1000, 1001, 1008, 1011, 1012, 1013, 1014, 3000, 4000, 4999)
INITS = (
    {"mode": "none"},
    {"mode": "late", "seconds": 1.0},
    {"mode": "late", "seconds": 6.0},
    {"mode": "garbage", "text": "{oops"},
    {"mode": "preceded", "frames": ["{}", "noise", '{"channel":"other","data":null}']},
)


def span(draw, longest):
    """Draw a time of up to `longest` seconds; short ones are more likely."""
    return round(0.3 + (longest - 0.3) * draw.random() ** 2, 2)


def some_calls(draw):
    """Draw which calls a fault affects: all, or one kind."""
    return dict(draw.choice(CALLS)) if draw.random() < 0.6 else {}


def clock_step(draw):
    """Draw a step of a clock: seconds to hours, forward or back."""
    return round(draw.choice((-1, 1)) * 3600 ** draw.uniform(0.1, 1.2), 1)


# What ends a connection, or stops what comes over it: a function of (draw, longest) to the options.
DROPS = {
    "close": lambda draw, _: {"code": draw.choice(CODES), "reason": draw.choice(("", "going away", "über"))},
    "reset": lambda *_: {},
    "stall": lambda draw, longest: {"seconds": span(draw, min(longest, 10))},
    "mute": lambda draw, longest: {"seconds": span(draw, longest)},
    "kill": lambda *_: {},
    "terminate": lambda *_: {},
    "suspend": lambda draw, longest: {"seconds": span(draw, min(longest, 20))},
}
# What gets in the way of the next connection, of the recovery, or of the writing.
OBSTACLES = {
    "5xx": lambda draw, longest: {
        "status": draw.choice((500, 502, 503, 504)),
        **some_calls(draw),
        "for": span(draw, longest),
    },
    "429": lambda draw, longest: {
        "status": 429,
        "retry_after": draw.randint(1, 3),
        **some_calls(draw),
        "for": span(draw, longest),
    },
    "401": lambda draw, longest: {"status": 401, **some_calls(draw), "for": span(draw, 1.5 * longest)},
    "slow": lambda draw, longest: {
        "seconds": round(draw.uniform(0.1, 4), 2),
        **some_calls(draw),
        "for": span(draw, longest),
    },
    "hang": lambda draw, longest: {**some_calls(draw), "for": span(draw, longest)},
    "down": lambda draw, longest: {"for": span(draw, longest)},
    "upgrade": lambda draw, longest: {"status": draw.choice((429, 502, 503)), "for": span(draw, longest)},
    "accept_then_close": lambda draw, longest: {"code": draw.choice(CODES), "for": span(draw, longest)},
    "init": lambda draw, longest: {**draw.choice(INITS), "for": span(draw, longest)},
    "no_websocket_url": lambda draw, longest: {"for": span(draw, longest)},
    "full disk": lambda draw, longest: {"seconds": span(draw, longest), "room": draw.randrange(5000)},
    "clock step": lambda draw, _: {"seconds": clock_step(draw)},
    "hours pass": lambda draw, _: {"advance": round(60 ** draw.uniform(1, 2.2))},
    "prune": lambda draw, _: {"lines": draw.randint(1, 2000)},
}
# The emulator's names of faults that stay in force for a while.
SERVICE_FAULTS = {
    **{
        kind: kind
        for kind in (
            "slow",
            "hang",
            "down",
            "upgrade",
            "accept_then_close",
            "init",
            "no_websocket_url",
        )
    },
    "5xx": "http",
    "429": "http",
    "401": "http",
}


def schedule(seed, longest, without=()):
    """Yield strikes without end, and without some kinds; no fault lasts over 1.5 times `longest` seconds."""
    draw = random.Random(seed)
    bag = []
    at = 0.0
    while True:
        # Each kind once, in another order each time: a short run is to see many of them.
        if not bag:
            bag = sorted({**DROPS, **OBSTACLES}.keys() - set(without))
            draw.shuffle(bag)
        kinds = [bag.pop()]
        # What is only in the way of a new connection strikes nobody while the old one stands.
        if draw.random() < (0.7 if kinds[0] in OBSTACLES else 0.3):
            others = [kind for kind in sorted(DROPS) if kind not in kinds]
            kinds.append(draw.choice(others))
        faults = [Fault(kind, {**DROPS, **OBSTACLES}[kind](draw, longest)) for kind in kinds]
        # Nothing can be asked of a server that is down.
        faults.sort(key=lambda fault: fault.kind == "down")
        # Mostly soon after the one before, and now and then so late that all is long well again.
        at += 1.5 + min(draw.expovariate(6 / longest), 1.25 * longest)
        yield Strike(round(at, 2), tuple(faults))


# What became of the events.

# What arrives in a pause is not written, even if it is from before: so long may it take.
LATEST_MS = 45_000
MARGIN_MS = 700


class Silence(NamedTuple):
    """A pause, in true milliseconds: asked for, in force for certain, asked to end, over for certain.

    `certain` is None if the listener has not confirmed it.
    """

    asked: int
    certain: int | None
    ending: int
    over: int

    def may_have(self, identity):
        """Return whether an event may be missing because of it."""
        end_ms = identity.end_ms or identity.start_ms
        return identity.start_ms < self.over + MARGIN_MS and end_ms > self.asked - LATEST_MS

    def has(self, identity):
        """Return whether an event was in it from its beginning to its end, and must not be there."""
        if self.certain is None:
            return False
        end_ms = identity.end_ms or identity.start_ms
        return identity.start_ms > self.certain + MARGIN_MS and end_ms < self.ending - MARGIN_MS


@dataclass
class Counts:
    """The events of the service that one listener has in its file.

    Attributes:
        sent: records that the service made: each was pushed to the connection its pipeline was bound to.
        unmade: numbers of a stream, between its first and its last, that are no record: they were not made,
            as the pipeline was stopped.
        live, recovered: of those sent, those that were received as they came, and those fetched later.
        lost, duplicates: of those sent, those that are not there, and those that are there twice.
        paused: of those sent, those that are not there because of a pause.
        leaked: those that are there and were in a pause from their beginning to their end.
        foreign: what is there and was never sent.
        misplaced: what is not where its number belongs when all is sorted by its beginning.
        damaged: lines that are no JSON object, by number.
        longest_gap: the longest time of which no event was received live, in seconds of the service's time.
        missing: the same of which nothing is there at all.
    """

    lines: int = 0
    sent: int = 0
    unmade: int = 0
    live: int = 0
    recovered: int = 0
    paused: int = 0
    leaked: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    longest_gap: float = 0.0
    missing: float = 0.0

    @property
    def failures(self):
        """Return a description of each failure."""
        found = [
            (self.lost, "lost"),
            (self.leaked, "of a pause"),
            (self.duplicates, "recorded twice"),
            (self.foreign, "recorded and never sent"),
            (self.misplaced, "out of order by their beginning"),
            (self.damaged, "damaged lines"),
        ]
        return [f"{len(them)} {what}: {_some(them)}" for them, what in found if them]


_NUMBERED = re.compile(r"\S+ \S+ (\d+):")


def number_of(text):
    """Return the number that the emulator gave an event, or None."""
    found = _NUMBERED.match(text)
    return int(found[1]) if found else None


def lines_of(journal):
    """Return the parsed lines of a file; None for damaged ones, including a torn last line."""
    yield from _parsed(journal.read_bytes() if journal.exists() else b"")


def _parsed(content, needle=b""):
    for line in content.split(b"\n"):
        if line and needle in line:
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            yield event if isinstance(event, dict) else None


def lines_of_state(state, needle=b""):
    """Return the parsed lines of a directory's journals, the rotated ones first; only those with `needle`."""
    for path in [journal.path for journal in archived(state) if not journal.is_cleared]:
        yield from _parsed(_unpacked(path), needle)
    yield from _parsed(state.journal.read_bytes(), needle)


def made_event(made):
    """Return a record of the service as an event, with its secrets replaced as the default rules do."""
    said = {"text": REDACTOR.words(made["text"]), "start": made["start"], "end": made["end"]}
    return {"channel": made["channel"], "rtstream_id": made["rtstream_id"], "data": said}


def count(events, records, pauses=()):
    """Count which records of a session are in the lines of a file (None: damaged).

    Args:
        events: the lines, parsed.
        records: as `GET /emulator/records` has them: `rtstream_id`, `channel`, `start`, `end`, `text`.
        pauses: of the recording, as `Silence`.
    """
    sent = {events_identity.identity_of(event): event for event in map(made_event, records)}
    counts = Counts(sent=len(sent))
    found = collections.defaultdict(list)
    for line_number, event in enumerate(events, 1):
        counts.lines += 1
        if event is None:
            counts.damaged.append(line_number)
            continue
        identity = events_identity.identity_of(event)
        if identity is None:
            continue
        found[identity].append(event)
    excused = {it for it in sent if any(silence.may_have(it) for silence in pauses)} - found.keys()
    counts.paused = len(excused)
    counts.lost = [_name(sent[it]) for it in sent if it not in found and it not in excused]
    counts.leaked = [
        _name(sent[it]) for it in sent if it in found and any(silence.has(it) for silence in pauses)
    ]
    repeated = [_name(them[0]) for them in found.values() if len(them) > 1]
    # The same number with another beginning is the same event, too, and told apart by mistake.
    numbers = Counter(
        (it.channel, it.stream, number_of(fields.text_of(them[0])))
        for it, them in found.items()
        if it.channel in COUNTED
    )
    renumbered = [
        f"{channel} {number} of {stream}"
        for (channel, stream, number), times in numbers.items()
        if number is not None and times > 1
    ]
    counts.duplicates = sorted({*repeated, *renumbered})
    counts.foreign = [
        _name(them[0]) for it, them in found.items() if it.channel in COUNTED and it not in sent
    ]
    live = {
        it for it, them in found.items() if it in sent and any(not event.get("backfilled") for event in them)
    }
    counts.live = len(live)
    counts.recovered = len(sent) - len(counts.lost) - len(live) - counts.paused
    counts.misplaced = list(_misplaced(found, sent))
    counts.unmade = sum(max(them) - min(them) + 1 - len(them) for them in _numbers(sent).values())
    counts.longest_gap = _longest_without(sent, live)
    counts.missing = _longest_without(sent, found)
    return counts


def files_with_secrets(*folders):
    """Return the files, given or below given folders, whose bytes hold a secret.

    What is packed, or stored in columns, is unpacked first.
    """
    files = [folder for folder in folders if folder.is_file()]
    files += sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [path for path in files if SECRETS.search(_unpacked(path))]


def _unpacked(path):
    content = path.read_bytes()
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True).read()
    if path.suffix == ".parquet":
        rows = duckdb.connect().execute("FROM read_parquet(?)", [str(path)]).fetchall()
        return content + repr(rows).encode()
    return content


def _name(event):
    life = lifecycle.lifecycle_of(event)
    if life is not None:
        return f"{fields.channel_of(event)} {life.session_id} {life.status}"
    return f"{fields.channel_of(event)} {fields.stream_id_of(event)} {fields.text_of(event)[:40]!r}"


def _some(them):
    shown = ", ".join(map(str, them[:SHOWN]))
    return f"{shown}, …" if len(them) > SHOWN else shown


def _numbers(identities):
    """Return the numbers of events in order of their starts, by channel and stream."""
    sorted_numbers = collections.defaultdict(list)
    for identity in sorted(identities, key=lambda it: it.start_ms or 0):
        number = number_of(fields.text_of(identities[identity]))
        if number is not None:
            sorted_numbers[identity.channel, identity.stream].append(number)
    return sorted_numbers


def _misplaced(found, sent):
    """Where the numbers of a stream do not rise with the beginnings, or not as those of the service do."""
    there = _numbers({identity: them[0] for identity, them in found.items() if identity in sent})
    for (channel, stream), numbers in there.items():
        for before, after in itertools.pairwise(numbers):
            if after <= before:
                yield f"{channel} {stream}: {after} after {before}"


def _longest_without(sent, those):
    """Return the seconds of the longest run of events, by their starts, none of which is in `those`."""
    longest, begun = 0.0, None
    for identity in sorted(sent, key=lambda it: it.start_ms):
        if identity in those:
            begun = None
            continue
        begun = identity.start_ms if begun is None else begun
        longest = max(longest, ((identity.end_ms or identity.start_ms) - begun) / 1000)
    return longest


# What the journal says of its gaps.

# Between what a process noticed and what was true, and between two readings of a clock.
_TOLERANCE_MS = 2500


class Stretch(NamedTuple):
    """A time without a connection, by the listener's clock, and why."""

    since_ms: int
    until_ms: int
    why: str


def stretches(events):
    """Yield the times without a connection, from the recorder's events about connections alone."""
    lost, last_ms, in_run = None, None, False
    for event in events:
        if event is None:
            continue
        at_ms = round(event.get("unix_ts", 0) * 1000)
        name = event.get("event") if event.get("channel") == fields.OWN_CHANNEL else None
        if name == "listener.disconnected":
            lost = lost or (at_ms, "disconnected")
        elif name == "listener.started":
            if in_run:
                lost = lost or (last_ms, "killed")
            in_run = True
        elif name == "listener.stopped":
            in_run = False
        elif name == "listener.connected":
            if lost is not None:
                yield Stretch(lost[0], at_ms, lost[1])
            lost = None
        if event.get("channel") != envelope.CAPTURE_CHANNEL and not str(name).startswith("capture."):
            last_ms = at_ms


def untold(events, steps=((0, 0),)):
    """Return the times without a connection that no gap covers.

    Args:
        events: the lines, parsed.
        steps: when the listener's clock was set, in true milliseconds, and how far it was off from then on.
    """
    known = sorted((gap.since_ms, gap.until_ms) for gap in gaps.latest_gaps(filter(None, events)))
    for stretch in stretches(events):
        if _on_one_clock(stretch, steps):
            told = _covers(known, stretch)
        else:
            # Set back or forward in between: one of the two ends is all that can be looked for.
            told = any(
                abs(since_ms - stretch.since_ms) < _TOLERANCE_MS
                or abs(until_ms - stretch.until_ms) < _TOLERANCE_MS
                for since_ms, until_ms in known
            )
        if not told:
            yield stretch


def _on_one_clock(stretch, steps):
    ends = [at_ms for at_ms, _ in steps[1:]] + [float("inf")]
    return stretch.since_ms <= stretch.until_ms and any(
        begin <= stretch.since_ms - off and stretch.until_ms - off <= end
        for (begin, off), end in zip(steps, ends, strict=True)
    )


def _covers(known, stretch):
    reached = stretch.since_ms
    for since_ms, until_ms in known:
        if since_ms <= reached + _TOLERANCE_MS:
            reached = max(reached, until_ms)
    return reached >= stretch.until_ms - _TOLERANCE_MS


# The processes.


class ChaosError(Exception):
    """A run that gives no result, such as one with a process that does not end."""


# Becomes the command that follows, and ends with this process, even if that is killed: 1 is PR_SET_PDEATHSIG.
_LEASH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Supervised:
    """A process in its own group that is restarted when it ends, as a service manager does."""

    def __init__(self, name, command, environ, directory, *, again=True):
        self._command, self._environ, self._again = list(map(str, command)), environ, again
        self._directory = directory
        self.out, self.log = directory / f"{name}.out", directory / f"{name}.log"
        self.name = name
        self.codes = []
        self._due = None
        self._start()

    def _start(self):
        self._due = None
        with self.out.open("ab") as out, self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _LEASH, *self._command],
                env=self._environ,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self):
        """Return the pid of the running process, or None."""
        return self.process.pid if self.process.poll() is None else None

    def tend(self):
        """Restart the process if it has ended and its pause is over."""
        if self.pid is not None:
            return
        if self._due is None:
            self.codes.append(self.process.returncode)
            if not self._again:
                raise ChaosError(f"{self.name} has ended by itself with {self.codes[-1]}: {self.words}")
            self._due = time.monotonic() + 0.3
        elif time.monotonic() >= self._due:
            self._start()

    @property
    def words(self):
        """Return the last lines of its output."""
        return self.log.read_text(errors="replace")[-500:].strip()

    def send(self, number):
        """Send a signal; return False if no process runs."""
        if self.pid is None:
            return False
        self.process.send_signal(number)
        return True

    def limit(self, size):
        """Limit the size of its files; None: no limit. Return False if no process runs."""
        if self.pid is None:
            return False
        soft = resource.RLIM_INFINITY if size is None else size
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
        return True

    def end(self, number=signal.SIGTERM, seconds=10.0):
        """End the process, or kill its group if it does not end; return its exit code."""
        for wanted in (signal.SIGCONT, number):
            self.send(wanted)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patient(seconds))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


# A run.


@dataclass
class Report:
    """The result of a run.

    Attributes:
        faults: how many of each kind were injected.
        missed: how many found nobody to strike.
        pauses: of the recording.
        planted, replaced: messages with a secret that were sent beside the service's events; marks in the
            journals.
        archived: how many journals were set aside.
        failures: what is not as it should be with `vdbevents`, in words; empty: it has passed.
        directory: what is left of the run.
    """

    seed: int
    seconds: float
    rate: float
    directory: Path
    faults: Counter = field(default_factory=Counter)
    missed: int = 0
    ours: Counts = field(default_factory=Counts)
    theirs: Counts = field(default_factory=Counts)
    starts: tuple[int, int] = (0, 0)
    gaps: Counter = field(default_factory=Counter)
    pauses: list[Silence] = field(default_factory=list)
    planted: int = 0
    replaced: int = 0
    archived: int = 0
    failures: list[str] = field(default_factory=list)

    def table(self):
        """Return a table that compares both listeners."""
        kinds = ", ".join(f"{kind} {times}" for kind, times in sorted(self.faults.items()))
        ours, theirs = self.ours, self.theirs
        rows = [
            ("events sent", ours.sent, theirs.sent),
            ("recorded live", ours.live, theirs.live),
            ("recovered", ours.recovered, theirs.recovered),
            ("lost", len(ours.lost), len(theirs.lost)),
            ("paused", ours.paused, theirs.paused),
            ("duplicates", len(ours.duplicates), len(theirs.duplicates)),
            ("damaged lines", len(ours.damaged), len(theirs.damaged)),
            ("never made", ours.unmade, theirs.unmade),
            ("lines", ours.lines, theirs.lines),
            ("started", *self.starts),
            ("longest gap", _clock(ours.longest_gap), _clock(theirs.longest_gap)),
            ("longest loss", _clock(ours.missing), _clock(theirs.missing)),
        ]
        hours = self.seconds * self.rate / 3600
        told = ", ".join(f"{status} {times}" for status, times in sorted(self.gaps.items()))
        upkeep = f"pauses {len(self.pauses)}, rotations {self.archived}, secrets planted {self.planted:,}"
        head = [
            f"seed {self.seed}: {self.seconds / 60:.1f} minutes for {hours:.1f} hours",
            f"{self.faults.total()} faults: {kinds} (and {self.missed} that found nobody)",
            f"gaps: {told or 'none'}",
            f"{upkeep}, marks {self.replaced:,}",
            "",
            f"{'':<18}{'vdbevents':>12}{'reference':>12}",
        ]
        return "\n".join([*head, *(f"{name:<18}{_cell(one):>12}{_cell(two):>12}" for name, one, two in rows)])


def _cell(value):
    return value if isinstance(value, str) else f"{value:,}"


def _clock(seconds):
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class Run:
    """The processes of a run, and the faults that they get."""

    def __init__(self, directory, *, seed, rate, say, pauses=False, compares=True):
        self.directory, self._say = directory, say
        self._draw = random.Random(f"upkeep {seed}")
        self._pauses, self._compares = pauses, compares
        self._silence = None
        self._commands = []
        self._is_ending = False
        self.report = Report(seed, 0.0, rate, directory)
        self._processes = []
        self._prunes = []
        self._later = []
        self._tie = itertools.count()
        self._steps = [(0, 0)]
        self._clock_file = directory / "clock"
        step(self._clock_file, 0)
        self.state = StateDirectory(directory / "state")
        self.state.create()
        self._their_directory = directory / "reference"
        self._their_directory.mkdir()
        self._their_journal = self._their_directory / "videodb_events.jsonl"
        # With a PYTHONPATH another version of the program can be put to the test.
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        self._base_environ = {
            **kept,
            "HOME": str(directory),
            "TZ": "UTC",
            "LANG": "C.UTF-8",
            "VIDEO_DB_API_KEY": KEY,
            # CPython does not notice that a full disk took a part of a compiled module, and trips over it.
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    # Set-up and end.

    def begin(self):
        """Start everything; return when both sessions are being recorded."""
        vdbevents = (sys.executable, "-m", "vdbevents")
        self._emulator = self._supervise(
            "emulator",
            (
                *vdbevents,
                "emulator",
                "--no-autoplay",
                "--numbered",
                "--secrets",
                "--clock-rate",
                self.report.rate,
            ),
            again=False,
        )
        self._until(
            lambda: self._emulator.out.read_text().count("\n") >= 3, START_SECONDS, "the emulator's start"
        )
        settings = dict(line.split("=", 1) for line in self._emulator.out.read_text().splitlines())
        self._url = settings["VIDEO_DB_API"]
        self._base_environ |= settings
        listen = ("--quiet", "--ping-interval", 2, "--connect-timeout", 3)
        # A run in real time has few events, and is to rotate more than once all the same.
        listen += ("--rotate", "6kB" if self._pauses else "1MB")
        launcher = (sys.executable, HERE / "stepped_clock.py", self._clock_file)
        self._listener = self._supervise("listener", (*launcher, "listen", self.state.path, *listen))
        self._reference = None
        if self._compares:
            reference = (sys.executable, REFERENCE, self._their_directory)
            self._reference = self._supervise("reference", reference)
        self._until(self.state.ws_id.exists, START_SECONDS, "the listener's first connection")
        capture = ("--no-listen", "--end-user-id", "chaos", "--token-ttl", "30d", "--export-timeout", 30)
        self._capture = self._supervise(
            "capture", (*vdbevents, "capture", self.state.path, *capture), again=False
        )
        self._until(self._is_recorded, START_SECONDS, "the capture's pipelines")
        self._session = json.loads(self.state.capture_info.read_text())["session"]["id"]
        if self._reference is not None:
            self._until(
                lambda: self._reference.out.read_text().endswith("\n"),
                START_SECONDS,
                "the reference's connection",
            )
            self._their_session = self._begin_reference()
        self._in(1, self._plant)
        if self._pauses:
            self._in(self._draw.uniform(1, 3), self._pause)

    # What goes on beside the faults.

    def _plant(self):
        """Send messages with secrets that the service has no record of, now and then."""
        if self._is_ending:
            return
        self._in(2, self._plant)
        secret = made_up_secret(self._draw.randrange(10**6))
        told = {"channel": "chat", "data": {"text": f"so {secret} it was", "lines": ["is it", secret]}}
        for content in (
            {"json": told},
            {"text": f"not JSON: {secret}"},
            {"base64": base64.b64encode(b"\xff " + secret.encode()).decode()},
        ):
            with contextlib.suppress(urllib.error.HTTPError):  # nobody is connected
                self.report.planted += bool(self._control("send", ws_connection_id="*", **content)["sent"])

    def _pause(self):
        if self._is_ending:
            return
        asked = time.time_ns() // 1_000_000

        def confirmed(code):
            if code not in (0, 3):
                self.report.failures.append(f"pause ended with {code}: see {self.directory / 'pause.log'}")
            self._silence = (asked, time.time_ns() // 1_000_000 if code == 0 else None)
            self._in(self._draw.uniform(2, 8), self._resume)

        self._command("pause", confirmed)

    def _resume(self):
        # The end of the run may ask for it while the one that was due is at work.
        silence, self._silence = self._silence, None
        if silence is None:
            return
        ending = time.time_ns() // 1_000_000

        def confirmed(code):
            if code not in (0, 3):
                self.report.failures.append(f"resume ended with {code}: see {self.directory / 'pause.log'}")
            # Not confirmed: it ends as soon as the listener goes on.
            over = time.time_ns() // 1_000_000 + (0 if code == 0 else LATEST_MS)
            self.report.pauses.append(Silence(*silence, ending, over))
            self._in(self._draw.uniform(50, 110), self._pause)

        self._command("resume", confirmed)

    def _command(self, name, done):
        """Run a command on the directory; call `done` with its exit code, some time."""
        command = (sys.executable, "-m", "vdbevents", name, self.state.path, "--timeout", "20")
        with (self.directory / "pause.log").open("ab") as log:
            process = subprocess.Popen(command, env=self._base_environ, stdout=log, stderr=log)
        self._commands.append((process, done))

    def _end_pauses(self):
        self._until(lambda: not self._commands, PATIENCE, "the end of a pause")
        self._resume()
        self._until(lambda: not self._commands, PATIENCE, "the end of the last pause")

    def _supervise(self, name, command, *, again=True):
        process = Supervised(name, command, self._base_environ, self.directory, again=again)
        self._processes.append(process)
        return process

    def _is_recorded(self):
        try:
            info = json.loads(self.state.capture_info.read_text())
        except FileNotFoundError:
            return False
        running = [pipeline["status"] == "running" for pipeline in info["pipelines"]]
        return info["status"] == "recording" and len(running) > 0 and all(running)

    def _begin_reference(self):
        """Start all pipelines with the id that the listener printed, as the documents' code does."""
        ws_id = self._reference.out.read_text().split("\n", 1)[0].removeprefix("WS_ID=")
        wanted = {"end_user_id": "reference", "ws_connection_id": ws_id}
        session = self._call("POST", "/collection/default/capture/session", wanted)["session_id"]
        channels = [
            {"channel_id": "mic:default", "type": "audio"},
            {"channel_id": "system_audio:default", "type": "audio"},
            {"channel_id": "display:1", "type": "video", "is_primary": True},
        ]
        self._call("POST", "/capture/session/start", {"session_id": session, "channels": channels})
        path = f"/collection/default/capture/session/{session}"
        streams = self._until(
            lambda: self._call("GET", path)["rtstreams"], START_SECONDS, "the reference's session"
        )
        for stream in streams:
            at = f"/rtstream/{stream['rtstream_id']}"
            if "audio" in stream["media_types"]:
                self._call("POST", at + "/transcription", {"action": "start", "ws_connection_id": ws_id})
                how = {"extraction_type": "transcript", "extraction_config": {"segmenter": "time"}}
            else:
                how = {"extraction_type": "time", "extraction_config": {"time": 2, "frame_count": 5}}
            index = {**how, "prompt": "Describe what happens", "ws_connection_id": ws_id}
            self._call("POST", at + "/index/scene", index)
        return session

    def strike(self, strikes, seconds):
        """Apply the faults, each at its time."""
        began = time.monotonic()
        next_word = began + 30
        for planned in strikes:
            if planned.at >= seconds:
                break
            while time.monotonic() < began + planned.at:
                self._turn()
                if time.monotonic() >= next_word:
                    next_word += 30
                    self._tell(time.monotonic() - began, seconds)
            for fault in planned.faults:
                struck = self._inject(fault)
                self.report.faults[fault.kind] += struck
                self.report.missed += not struck
                self._note(f"{time.monotonic() - began:.2f} {fault}{'' if struck else ' (nobody)'}")
        while time.monotonic() < began + seconds:
            self._turn()
        self.report.seconds = time.monotonic() - began

    def _tell(self, elapsed, seconds):
        status = self._status()
        events = status.get("events", {}).get("total", 0)
        faults = self.report.faults.total()
        self._say(
            f"{_clock(elapsed)} of {_clock(seconds)}: {faults} faults, {events:,} events, "
            f"listener {status.get('state', 'starting')}, started {len(self._listener.codes) + 1} times"
        )

    def _note(self, text):
        with (self.directory / "faults.log").open("a") as notes:
            notes.write(text + "\n")

    def settle(self, patience):
        """End all faults and the sessions; return when no more events can come."""
        self._is_ending = True
        while self._later:
            heapq.heappop(self._later)[2]()
        self._control("faults", method="DELETE")
        if self._pauses:
            self._end_pauses()
        self._settled("before the session's end", patience)
        code = self._capture.end(signal.SIGINT, patience)
        self._processes.remove(self._capture)
        if code != 0:
            self.report.failures.append(f"the capture ended with {code}: {self._capture.words}")
        if self._reference is not None:
            with contextlib.suppress(urllib.error.HTTPError):
                self._call("POST", f"/capture/session/{self._their_session}/stop", {})
        self._settled("after the session's end", patience)
        try:
            self._until(self._is_exported, patience, "")
        except ChaosError:
            self.report.failures.append(f"{patience:.0f} s after the session's end the journal does not tell")

    def _is_exported(self):
        found = self._events(b"capture_session.exported")
        return any(event and event.get("event") == "capture_session.exported" for event in found)

    def _events(self, needle):
        """Return the lines with `needle`."""
        while True:
            # A journal that is packed at this moment has another name at the next.
            with contextlib.suppress(FileNotFoundError):
                return list(lines_of_state(self.state, needle))

    def _settled(self, when, patience):
        """Wait until the listener is connected, no gap is open, and no gap events are added."""
        try:
            self._until(lambda: self._is_connected() and not self._open_gaps(), patience, when)
        except ChaosError:
            state = self._status().get("state")
            still = _some([f"{gap.data()['since']} {gap.reason}" for gap in self._open_gaps()])
            self.report.failures.append(
                f"{patience:.0f} s {when} and without faults: {state}, open gaps: {still or 'none'}"
            )

    def _status(self):
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self.state.listener_status.read_text())
        return {}

    def _is_connected(self):
        status = self._status()
        return (
            status.get("state") == "connected"
            and status.get("pid") == self._listener.pid
            and status.get("unwritten_since") is None
            and self.state.ws_id.exists()
        )

    def _open_gaps(self):
        return [
            gap
            for gap in gaps.latest_gaps(filter(None, self._events(b'"listener.gap"')))
            if gap.status == "open"
        ]

    def conclude(self):
        """End the listeners, and count."""
        ours = self._records(self._session)
        theirs = [] if self._reference is None else self._records(self._their_session)
        self._listener.end()
        if self._reference is not None:
            self._reference.end()
        report = self.report
        # One that could not have the journal to itself is made up for by the next.
        codes = {process.wait() for process in self._prunes}
        if not codes <= {0, 1, 74} or self._begin_pruning().wait() not in (0, 1):
            report.failures.append(f"pruning ended with {codes}: see {self.directory / 'prune.log'}")
        events = list(lines_of_state(self.state))
        if any(event and event.get("channel") == "old" for event in events):
            report.failures.append("lines that are too old were not removed")
        report.ours = count(events, ours, report.pauses)
        self._look_for_secrets(events)
        report.theirs = count(lines_of(self._their_journal), theirs)
        their_starts = 0 if self._reference is None else len(self._reference.codes) + 1
        report.starts = (len(self._listener.codes) + 1, their_starts)
        report.gaps = Counter(gap.status for gap in gaps.latest_gaps(filter(None, events)))
        report.failures += report.ours.failures
        uncovered = [
            f"{envelope.utc_text(one.since_ms)} to {envelope.utc_text(one.until_ms)} ({one.why})"
            for one in untold(events, self._steps)
        ]
        if uncovered:
            report.failures.append(
                f"{len(uncovered)} times without a connection that no gap covers: {_some(uncovered)}"
            )
        if b"Traceback" in self._listener.log.read_bytes():
            report.failures.append(f"the listener had a bug: see {self._listener.log}")

    def _look_for_secrets(self, events):
        report = self.report
        kept = [self.state.path, self.directory / ".cache"]
        kept += [self.directory / f"{name}.log" for name in ("listener", "capture", "prune", "pause")]
        report.archived = len(archived(self.state))
        report.replaced = sum("[redacted:" in json.dumps(event) for event in events)
        found = files_with_secrets(*kept)
        if found:
            report.failures.append(f"{len(found)} files hold a secret: {_some(found)}")
        if report.replaced < report.ours.live:
            report.failures.append(f"{report.replaced} marks for {report.ours.live} events with secrets")

    def _records(self, session):
        return self._control(f"records?session_id={session}", method="GET")["records"]

    def end(self):
        """End all processes."""
        for process, _ in self._commands:
            process.kill()
        for process in reversed(self._processes):
            process.end(seconds=5)

    # Waiting, and the ways to the server.

    def _turn(self):
        """Wait a moment; restart processes and lift faults that are due."""
        for process in self._processes:
            process.tend()
        ended = [command for command in self._commands if command[0].poll() is not None]
        for command in ended:
            self._commands.remove(command)
            command[1](command[0].returncode)
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        time.sleep(0.02)

    def _until(self, condition, seconds, what):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise ChaosError(f"{what}: not within {seconds:.0f} s")
            self._turn()
            time.sleep(0.1)
        return found

    def _in(self, seconds, work):
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._tie), work))

    def _control(self, path, method="POST", **body):
        """Call the emulator's control endpoint; wait while it is down."""
        content = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(f"{self._url}/emulator/{path}", content, method=method)
        return self._until(lambda: self._answered(request), 120, f"an answer of the emulator to {path}")

    @staticmethod
    def _answered(request):
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            raise
        except OSError:
            return None

    def _call(self, method, path, body=None):
        """Call the API, before or after the faults."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"x-access-token": KEY, "Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, content, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer).get("data")

    # What goes wrong.

    def _inject(self, fault):
        """Apply a fault; return False if there was no process to apply it to."""
        kind, options = fault.kind, fault.options
        if kind in SERVICE_FAULTS:
            self._control("faults", **{SERVICE_FAULTS[kind]: options})
            return True
        if kind in ("close", "reset", "stall"):
            return bool(self._control(kind, **options)["ws_connection_ids"])
        if kind == "mute":
            self._control("faults", mute={})
            self._in(options["seconds"], self._unmute)
            return True
        if kind == "hours pass":
            return bool(self._control("clock", **options))
        if kind == "clock step":
            return self._step_clock(options["seconds"])
        return self._prune(options["lines"]) if kind == "prune" else self._strike_listeners(kind, options)

    def _strike_listeners(self, kind, options):
        listeners = [(self._listener, self.state.journal)]
        if self._reference is not None:
            listeners.append((self._reference, self._their_journal))
        return self._strike_process(kind, options, listeners)

    def _prune(self, lines):
        """Append lines that are too old, and remove them while everything goes on."""
        journal = Journal(self.state, clock_ms=lambda: time.time_ns() // 1_000_000)
        try:
            journal.append([OLD_LINE] * lines)
        except OSError:
            return False  # a process that is suspended holds the lock
        finally:
            journal.close()
        self._prunes.append(self._begin_pruning())
        return True

    def _begin_pruning(self):
        command = (
            sys.executable,
            "-m",
            "vdbevents",
            "prune",
            self.state.path,
            "--older-than",
            "300d",
            "--yes",
        )
        with (self.directory / "prune.log").open("ab") as log:
            return subprocess.Popen(command, env=self._base_environ, stdout=log, stderr=log)

    def _unmute(self):
        # TCP does not go on behind a hole: what was connected all the while is dead by now.
        self._control("reset")
        self._control("faults", mute=None)

    def _strike_process(self, kind, options, listeners):
        struck = False
        for process, journal in listeners:
            if kind == "kill":
                done = process.send(signal.SIGKILL)
            elif kind == "terminate":
                # A process that is suspended would keep it for later.
                process.send(signal.SIGCONT)
                done = process.send(signal.SIGTERM)
            elif kind == "suspend":
                done = process.send(signal.SIGSTOP)
                self._in(options["seconds"], lambda process=process: process.send(signal.SIGCONT))
            else:
                size = journal.stat().st_size if journal.exists() else 0
                done = process.limit(size + options["room"])
                self._in(options["seconds"], lambda process=process: process.limit(None))
            struck = struck or (done and process is self._listener)
        return struck

    def _step_clock(self, seconds):
        """Step the listener's clock by a number of seconds."""
        off_ms = self._steps[-1][1] + round(seconds * 1000)
        step(self._clock_file, off_ms / 1000)
        self._steps.append((time.time_ns() // 1_000_000, off_ms))
        return self._listener.pid is not None


def run(
    directory,
    *,
    seed,
    seconds,
    rate=60.0,
    longest=40.0,
    patience=180.0,
    pauses=False,
    compares=True,
    say=lambda _: None,
):
    """Run everything in an empty directory; return the report.

    Args:
        directory: for all that is written.
        seed: of the faults.
        seconds: how long things go wrong; after that all is well, for as long as it takes.
        rate: how many seconds of the service's time pass in one.
        longest: seconds, for one fault, and between two.
        patience: seconds for the listener to recover when all is well.
        pauses: pause the recording now and then; `rate` is 1 then.
        compares: run the reference, too.
        say: told how it goes.

    Raises:
        ChaosError: it could not be carried out.
    """
    running = Run(
        directory, seed=seed, rate=1.0 if pauses else rate, say=say, pauses=pauses, compares=compares
    )
    without = ("clock step", "hours pass") if pauses else ()
    try:
        running.begin()
        running.strike(schedule(seed, longest, without), seconds)
        running.settle(patience)
        running.conclude()
    finally:
        running.end()
    return running.report


def _say(text):
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _interrupted(number, _):
    raise SystemExit(128 + number)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long things go wrong (30)")
    parser.add_argument("--seed", type=int, help="of the faults (a random one)")
    parser.add_argument("--rate", type=float, default=60.0, help="seconds of the service's time in one (60)")
    parser.add_argument("--longest", type=float, help="seconds that a fault may last (40, or a tenth of all)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave everything there; it must not exist")
    parser.add_argument("--pauses", action="store_true", help="pause the recording now and then; rate 1")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    seconds = options.minutes * 60
    longest = options.longest or max(2.0, min(40.0, seconds / 10))
    if options.keep is not None:
        options.keep.mkdir(parents=True)
    directory = (options.keep or Path(tempfile.mkdtemp(prefix="vdbevents-chaos-"))).absolute()
    _say(f"seed {seed}, {options.minutes:g} minutes, in {directory}")
    try:
        report = run(
            directory,
            seed=seed,
            seconds=seconds,
            rate=options.rate,
            longest=longest,
            pauses=options.pauses,
            say=_say,
        )
    except ChaosError as error:
        raise SystemExit(f"seed {seed}: {error}; everything is in {directory}") from None
    sys.stdout.write(report.table() + "\n")
    if report.failures:
        sys.stdout.write("".join(f"FAILED: {failure}\n" for failure in report.failures))
        raise SystemExit(f"seed {seed}: failed; everything is in {directory}")
    if options.keep is None:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
