"""List the sessions of journals: which of them are in a window, and what each consists of. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from vdbevents.events.envelope import utc_text
from vdbevents.events.fields import source_named
from vdbevents.events.session_content import SessionBook
from vdbevents.events.session_facts import SessionFacts
from vdbevents.times import Window

COLUMNS: Final = (
    *("session", "started", "ended", "seconds", "status", "reason", "events"),
    *("transcript", "visual_index", "audio_index", "alert", "video"),
)
"""The columns of csv; with several journals, `host` comes last."""

_BEFORE_ALL_MS: Final = -(1 << 60)


class KnownSession(NamedTuple):
    """A session, and the number of its journal among those that were named."""

    journal: int
    facts: SessionFacts


class ListedSession(NamedTuple):
    """A session with what belongs to it.

    Attributes:
        host: the machine that its journal is from.
        facts: what its lines say.
        channels: how many of its events there are, by channel.
        latest_ms: when the last of them happened, in Unix ms; None without any.
    """

    host: str
    facts: SessionFacts
    channels: Mapping[str, int]
    latest_ms: int | None

    @property
    def length_ms(self) -> int | None:
        """From its first line to its end, or to the last event of one that goes on; None without a time."""
        until_ms = self.facts.over_ms
        if until_ms is None:
            until_ms = max(
                (at for at in (self.facts.last_ms, self.latest_ms) if at is not None), default=None
            )
        since_ms = self.facts.first_ms
        return None if since_ms is None or until_ms is None else max(0, until_ms - since_ms)

    def to_dict(self, *, with_host: bool) -> dict[str, Any]:
        """Return it in JSON's types, with times in UTC."""
        facts, length_ms = self.facts, self.length_ms
        return {
            "session": facts.id,
            "started": None if facts.first_ms is None else utc_text(facts.first_ms),
            "ended": None if facts.over_ms is None else utc_text(facts.over_ms),
            "seconds": None if length_ms is None else length_ms / 1000,
            "status": facts.status or None,
            "reason": facts.reason or None,
            "events": sum(self.channels.values()),
            "channels": dict(self.channels),
            "streams": [
                {"id": stream, "name": name, "source": source_named(name)} for stream, name in facts.streams
            ],
            "video": facts.video or None,
            "video_id": facts.video_id or None,
            **({"host": self.host} if with_host else {}),
        }


def in_window(books: Iterable[SessionBook], window: Window) -> list[KnownSession]:
    """Return the sessions of all journals that touch a window, oldest first.

    A session without a time touches only a window without bounds.
    """
    chosen = []
    for number, book in enumerate(books):
        times = {time.session: time for time in book.times()}
        for facts in book.sessions():
            time = times.get(facts.id)
            if time is None:
                touches = window == Window()
            else:
                begins_before = window.until_ms is None or time.since_ms < window.until_ms
                ends_after = (
                    window.since_ms is None or time.until_ms is None or time.until_ms > window.since_ms
                )
                touches = begins_before and ends_after
            if touches:
                chosen.append(KnownSession(number, facts))
    return sorted(chosen, key=lambda one: _begun_ms(one.facts))


def with_content(
    known: Sequence[KnownSession],
    hosts: Sequence[str],
    counts: Sequence[Iterable[tuple[str, str, int, int | None]]],
) -> list[ListedSession]:
    """Return sessions with their content.

    Args:
        known: the sessions.
        hosts: of each journal.
        counts: of each journal (session, channel, count, latest own time in Unix ms).
    """
    channels: dict[tuple[int, str], dict[str, int]] = {}
    latest: dict[tuple[int, str], int] = {}
    for number, rows in enumerate(counts):
        for session, channel, count, latest_ms in rows:
            key = number, session
            channels.setdefault(key, {})[channel] = count
            if latest_ms is not None:
                latest[key] = max(latest_ms, latest.get(key, latest_ms))
    return [
        ListedSession(
            hosts[number], facts, channels.get((number, facts.id), {}), latest.get((number, facts.id))
        )
        for number, facts in known
    ]


def _begun_ms(facts: SessionFacts) -> int:
    return _BEFORE_ALL_MS if facts.first_ms is None else facts.first_ms
