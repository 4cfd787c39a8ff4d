"""Pauses of a recording: stretches of time that somebody asked not to write down. Pure.

docs/events-format.md describes the file and the lines.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from vdbevents.events import fields

PAUSED: Final = "listener.paused"
RESUMED: Final = "listener.resumed"

_MOST: Final = 1000

Noted = Literal["", "paused", "resumed"]


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause.

    Attributes:
        id: unique in its directory; the same in all lines about it.
        since_ms: when it began, by the clock of this machine.
        until_ms: when it ends by itself; None: never.
        ended_ms: when it was ended before that; None: it was not.
        noted: which of its lines are in the journal.
    """

    id: str
    since_ms: int
    until_ms: int | None = None
    ended_ms: int | None = None
    noted: Noted = ""

    @property
    def end_ms(self) -> int | None:
        """When it ends, or ended; None: not before somebody ends it."""
        return self.until_ms if self.ended_ms is None else self.ended_ms

    def is_on(self, now_ms: int) -> bool:
        """Return whether it goes on. A clock that is set back neither ends one nor begins it again."""
        return self.ended_ms is None and (self.until_ms is None or now_ms < self.until_ms)

    def touches(self, since_ms: int | None, until_ms: int | None) -> bool:
        """Return whether it overlaps a half-open window; None is unbounded."""
        return (until_ms is None or self.since_ms < until_ms) and (
            since_ms is None or self.end_ms is None or since_ms < self.end_ms
        )

    def covers(self, start_ms: int, end_ms: int | None) -> bool:
        """Return whether an event with this start and end was, at least in part, in the pause."""
        return self.touches(start_ms, max(start_ms + 1, start_ms if end_ms is None else end_ms))

    def data(self) -> dict[str, Any]:
        """Return the `data` of its lines: `until` is null while it has no end."""
        end_ms = self.end_ms
        data: dict[str, Any] = {"id": self.id, "since": fields.utc_text(self.since_ms)}
        data["until"] = None if end_ms is None else fields.utc_text(end_ms)
        if end_ms is not None:
            data["seconds"] = max(0, end_ms - self.since_ms) / 1000
        return data

    def to_dict(self) -> dict[str, Any]:
        """Return the pause as the file has it."""
        times = {"since": self.since_ms, "until": self.until_ms, "ended": self.ended_ms}
        texts = {name: None if time is None else fields.utc_text(time) for name, time in times.items()}
        return {"id": self.id, **texts, "noted": self.noted}


class Pauses:
    """The pauses of a directory, oldest first."""

    def __init__(self, pauses: Sequence[Pause] = ()) -> None:
        """Keep the newest 1,000."""
        self.all = tuple(pauses)[-_MOST:]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Pauses":
        """Return the pauses in a file; entries that are not one are skipped."""
        entries = content.get("pauses")
        found = (_pause_from(entry) for entry in entries) if isinstance(entries, list) else ()
        return cls([pause for pause in found if pause is not None])

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {"pauses": [pause.to_dict() for pause in self.all]}

    def at(self, now_ms: int) -> Pause | None:
        """Return the pause that is on."""
        return next((pause for pause in reversed(self.all) if pause.is_on(now_ms)), None)

    def status(self, now_ms: int) -> dict[str, Any]:
        """Return the members of the listener's status that say whether the recording is paused."""
        pause = self.at(now_ms)
        since_ms, until_ms = (None, None) if pause is None else (pause.since_ms, pause.end_ms)
        return {
            "paused": pause is not None,
            "pause_id": None if pause is None else pause.id,
            "paused_since": None if since_ms is None else fields.utc_text(since_ms),
            "paused_until": None if until_ms is None else fields.utc_text(until_ms),
        }

    def covers(self, start_ms: int, end_ms: int | None) -> bool:
        """Return whether an event with this start and end was, at least in part, in any of them."""
        return any(pause.covers(start_ms, end_ms) for pause in self.all)

    def begin(self, new_id: str, now_ms: int, until_ms: int | None) -> "Pauses":
        """Return the pauses with one that is on until a time; one that is on already gets this end."""
        on = self.at(now_ms)
        pause = Pause(new_id, now_ms, until_ms) if on is None else replace(on, until_ms=until_ms, noted="")
        return Pauses([*(other for other in self.all if other is not on), pause])

    def end(self, now_ms: int) -> "Pauses":
        """Return the pauses with none that is on."""
        return Pauses([replace(one, ended_ms=now_ms) if one.is_on(now_ms) else one for one in self.all])

    def note(self, pause_id: str, noted: Noted) -> "Pauses":
        """Return the pauses with a note of which lines of one are in the journal."""
        return Pauses([replace(one, noted=noted) if one.id == pause_id else one for one in self.all])


def _pause_from(entry: object) -> Pause | None:
    if not isinstance(entry, Mapping):
        return None
    since_ms, until_ms, ended_ms = (fields.unix_ms(entry.get(name)) for name in ("since", "until", "ended"))
    noted = entry.get("noted")
    if since_ms is None or not isinstance(entry.get("id"), str):
        return None
    return Pause(
        str(entry["id"]), since_ms, until_ms, ended_ms, noted if noted in ("paused", "resumed") else ""
    )


def pauses_in(lines: Iterable[str]) -> list[Pause]:
    """Return the pauses that lines of a journal report, each as its last line has it."""
    found: dict[str, Pause] = {}
    for line in lines:
        if not (PAUSED in line or RESUMED in line):
            continue
        from vdbevents.events.envelope import parse_line

        event = parse_line(line.encode())
        if event is None or not fields.is_own(event) or event.get("event") not in (PAUSED, RESUMED):
            continue
        data = event.get("data")
        pause = _pause_from(data)
        if pause is not None:
            found[pause.id] = pause
    return list(found.values())
