"""Write and read the content of `videodb_listener.json`. Pure.

`docs/events-format.md` is the normative text.
"""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from vdbevents import __version__
from vdbevents.events import envelope, fields, gaps
from vdbevents.listener.counters import STREAM_CHANNELS, ChannelCount, ListenerCounts
from vdbevents.listener.machine import ListenerMachine
from vdbevents.listener.protocol import ListenerState

_MOST_GAPS = 1000
_END_OF_TIME = 253402300800  # the year 10000, which RFC 3339 cannot express


class DiskState(NamedTuple):
    """The state of the journal's disk.

    Attributes:
        trouble: why it refuses writes; None if it does not.
        unwritten_since_ms: since when the oldest held line waits; None if none does.
        journal_bytes: the journal's size once all held lines are written.
        journal_head: its first bytes, which distinguish it from one that was rotated.
        journal_inode: the number of its file, which distinguishes it from one that was rewritten.
    """

    trouble: str | None
    unwritten_since_ms: int | None
    journal_bytes: int
    journal_head: bytes = b""
    journal_inode: int = 0


def status_of(
    machine: ListenerMachine,
    disk: DiskState,
    stale: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    pid: int,
    now_ms: int,
) -> dict[str, Any]:
    """Return the status of a run, in JSON's types; `settings` are members that it only passes on."""
    counts, outage = machine.counts, machine.outage
    return {
        "version": __version__,
        "pid": pid,
        "state": machine.state,
        "since": envelope.utc_text(machine.since_ms),
        "ws_id": machine.ws_id,
        "disconnected_since": _text(machine.disconnected_ms),
        "reconnects": machine.reconnects,
        "lost_connections": machine.lost_connections,
        "failed_attempts": machine.failed_attempts,
        "last_error": machine.last_error,
        "next_attempt": _text(machine.next_attempt_ms),
        "events": {
            "total": sum(channel.count for channel in counts.channels.values()),
            "since": envelope.utc_text(counts.since_ms),
            "channels": {
                name: {"count": channel.count, "last": envelope.utc_text(channel.last_ms)}
                for name, channel in counts.channels.items()
            },
        },
        "streams": [
            {"stream_id": stream_id, "channel": channel, "last": envelope.utc_text(last_ms)}
            for (stream_id, channel), last_ms in counts.last_live_ms.items()
        ],
        "gaps": counts.gaps,
        "unrecovered": counts.unrecovered,
        "open_gaps": [gap.data() for gap in itertools.islice(counts.open_gaps.values(), _MOST_GAPS)],
        "stale": stale,
        "dropped": counts.dropped,
        "disk_trouble": disk.trouble,
        "unwritten_since": _text(disk.unwritten_since_ms),
        "blind_since": _text(outage.since_ms if outage else None),
        "blind_reason": outage.reason if outage else None,
        "journal_bytes": disk.journal_bytes,
        "journal_head": disk.journal_head.decode("latin-1"),
        "journal_inode": disk.journal_inode,
        **settings,
        "written": envelope.utc_text(now_ms),
    }


def in_words(machine: ListenerMachine, trouble: str | None) -> str:
    """Return the state of a run in a few words.

    Args:
        machine: the run.
        trouble: why the disk refuses writes; None if it does not.
    """
    words = str(machine.state)
    if machine.state is not ListenerState.CONNECTED and machine.last_error:
        words += f": {machine.last_error}"
    return f"{words}; the disk refuses writes: {trouble}" if trouble else words


def is_ready(machine: ListenerMachine) -> bool:
    """Return whether a run records, or will go on trying until it does.

    Not before its first attempt has succeeded or failed: a key that is refused at the start ends the run.
    """
    return machine.state is not ListenerState.STOPPED and machine.connections + machine.failures > 0


def _text(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else envelope.utc_text(milliseconds)


def restore_counts(counts: ListenerCounts, status: Mapping[str, Any]) -> None:
    """Continue from the counts of the last run, as far as its status has them."""
    with contextlib.suppress(AttributeError, TypeError, KeyError, ValueError):
        counts.since_ms = fields.unix_ms(status["events"]["since"]) or 0
        for name, channel in status["events"]["channels"].items():
            counts.channels[name] = ChannelCount(int(channel["count"]), fields.unix_ms(channel["last"]) or 0)
        for stream in status.get("streams", ()):
            counts.note_live(stream["stream_id"], stream["channel"], fields.unix_ms(stream["last"]) or 0)
        counts.gaps = int(status["gaps"])
        counts.dropped = int(status["dropped"])
        counts.unrecovered = int(status["unrecovered"])
        for data in status["open_gaps"]:
            gap = gaps.gap_from({"channel": fields.OWN_CHANNEL, "event": gaps.EVENT, "data": data})
            if gap is not None:
                counts.open_gaps[gap.id] = gap


def count_line(counts: ListenerCounts, line: bytes) -> None:
    """Count a line that another run has written."""
    event = envelope.parse_line(line)
    if event is None:
        return
    stamp = event.get("unix_ts")
    # Other recorders write here, too: a stamp may be in microseconds, or not a time at all.
    at_ms = round(stamp * 1000) if isinstance(stamp, int | float) and 0 <= stamp < _END_OF_TIME else 0
    counts.since_ms = counts.since_ms or at_ms
    channel = fields.channel_of(event)
    if channel == fields.OWN_CHANNEL:
        counts.note_own(event)
        return
    count = counts.channels.setdefault(channel, ChannelCount())
    count.count += 1
    count.last_ms = max(count.last_ms, at_ms)
    if channel in STREAM_CHANNELS and "backfilled" not in event:
        counts.note_live(fields.stream_id_of(event), channel, at_ms)
