"""Say whether a state directory is recorded into, from what was observed of it. Pure.

Values of a wrong type in the files, which anybody may have written, count as missing.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, NamedTuple

from vdbevents.events import fields, lifecycle
from vdbevents.events.envelope import utc_text
from vdbevents.events.gaps import EVENT, Gap, gap_from
from vdbevents.health.delivery import (
    STALE_SECONDS,
    Connection,
    Judge,
    StreamHealth,
    last_events,
    unjudged,
)
from vdbevents.health.observation import Observation
from vdbevents.health.outages import gap_of, is_elsewhere
from vdbevents.privacy.exclusion import parse_hours
from vdbevents.privacy.pauses import Pauses
from vdbevents.sessions.plan import objects_in
from vdbevents.sessions.progress import ENDED
from vdbevents.sessions.recorded_session import RecordedSession, session_from_info

CONNECTED: Final = "connected"
NOT_RUNNING: Final = "not running"
SERVING: Final = "serving"

# The listener writes its status every ten seconds; a slow disk may take a while.
_FRESH_SECONDS: Final = 30.0
_NO_ROOM_BYTES: Final = 1 << 20
_OVER: Final = ("ended", "failed")


class Verdict(NamedTuple):
    """Whether it records.

    Attributes:
        state: `connected` if all that was asked to run runs and delivers; `serving` for a backend without a
            session, which needs no listener yet; else the first that applies of
            `not running`, `starting`, `not responding`, `not writing`, `disconnected`, `connecting`,
            `paused`, `capture ended`, `backend ended` (both: unexpectedly) and `stale`.
        since_ms: since when, in ms since the epoch; None if unknown.
        reason: in words; empty if the state says it all.
    """

    state: str
    since_ms: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """The status of a directory at one moment.

    Attributes:
        observed: what it is made of.
        now_ms: the moment, in ms since the epoch.
        zone: by whose clock hours are excluded: the listener's.
    """

    observed: Observation
    now_ms: int
    zone: tzinfo = UTC

    @property
    def listener(self) -> Mapping[str, Any]:
        """The listener's status; empty if the file is that of an earlier run."""
        observed = self.observed
        is_current = not observed.listener.runs or observed.status.get("pid") == observed.listener.pid
        return observed.status if is_current else {}

    @property
    def verdict(self) -> Verdict:
        """Whether it records, and if not, why: the first trouble counts."""
        if not self.observed.listener.runs:
            since_ms = fields.unix_ms(self.observed.served.get("since"))
            return next(self._troubles(), Verdict(SERVING, since_ms))
        return next(self._troubles(), Verdict(CONNECTED, self._ms("since")))

    def problems(self) -> list[Verdict]:
        """Return all troubles, the worst first."""
        return list(self._troubles())

    def _troubles(self) -> Iterator[Verdict]:
        if not self.observed.listener.runs:
            end = self._end_of_listener()
            if end is not None:
                yield end
        else:
            yield from self._troubles_of_listener()
        if self._is_capture_abandoned():
            pid = self.observed.info.get("pid")
            yield Verdict("capture ended", None, f"the capture (PID {pid}) ended unexpectedly")
        if self.observed.served and not self.observed.backend.runs:
            pid = self.observed.served.get("pid")
            yield Verdict("backend ended", None, f"the backend (PID {pid}) ended unexpectedly")
        for health in self.streams():
            if health.state == "stale":
                yield self._stale(health)
        for noticed in self.stale_by_listener():
            since_ms, name = fields.unix_ms(noticed.get("since")), noticed.get("stream_name")
            yield Verdict("stale", since_ms, f"{name}: visual index silent")

    def _end_of_listener(self) -> Verdict | None:
        """Return that no listener runs; None if none is needed."""
        status, observed = self.observed.status, self.observed
        written_ms = self._ms("written")
        if not status or status.get("state") == "stopped":
            if observed.backend.runs and not self.recorded_by():
                return None
            is_for_others = observed.capture.runs and not self.recorded_by()
            reason = "what is captured here is recorded by a backend elsewhere" if is_for_others else ""
            return Verdict(NOT_RUNNING, written_ms, reason)
        if is_elsewhere(status, observed.host):
            return Verdict(NOT_RUNNING, written_ms, f"its last listener is that of {status['host']}")
        reason = f"the listener (PID {status.get('pid')}) ended unexpectedly"
        return Verdict(NOT_RUNNING, written_ms, reason)

    def _troubles_of_listener(self) -> Iterator[Verdict]:
        status, written_ms = self.listener, self._ms("written")
        free = self.observed.free_bytes
        has_no_room = free is not None and free < _NO_ROOM_BYTES
        if not status or written_ms is None:
            yield Verdict("starting")
        elif abs(self.now_ms - written_ms) > _FRESH_SECONDS * 1000:
            reason = "the disk has no room for its status" if has_no_room else "it hangs, or cannot write"
            yield Verdict("not responding", written_ms, reason)
        if status.get("disk_trouble"):
            yield Verdict("not writing", self._ms("unwritten_since"), str(status["disk_trouble"]))
        elif has_no_room:
            yield Verdict("not writing", None, "the disk is full")
        if status and status.get("state") != CONNECTED:
            lost = status.get("blind_since") or status.get("lost_connections")
            since_ms = self._ms("disconnected_since") or self._ms("since")
            yield Verdict("disconnected" if lost else "connecting", since_ms, _text(status, "last_error"))
        if self.is_paused:
            until = _text(status, "paused_until")
            yield Verdict("paused", self._ms("paused_since"), f"until {until}" if until else "")
        elif hours := self.excluded_hours():
            yield Verdict("paused", None, f"the hours {hours} are excluded")

    def _stale(self, health: StreamHealth) -> Verdict:
        problem = next((pipeline for pipeline in health.pipelines if pipeline.problem), None)
        kind = f"{problem.kind.replace('_', ' ')} " if problem else ""
        words = problem.problem if problem else ""
        return Verdict("stale", health.last_ms, f"{health.stream.name}: {kind}{words}")

    def stale_by_listener(self) -> list[Mapping[str, Any]]:
        """Return the streams that only the listener knows to be stale, such as those of a killed capture."""
        judged = {health.stream.id for health in self.streams()}
        listed = objects_in(self.listener, "stale") if self.observed.listener.runs else []
        return [stream for stream in listed if stream.get("stream_id") not in judged]

    @property
    def is_paused(self) -> bool:
        """Whether its owner has paused the recording."""
        until_ms = self._ms("paused_until")
        return self.listener.get("paused") is True and (until_ms is None or until_ms > self.now_ms)

    def pause(self) -> dict[str, Any]:
        """Return whether there is a pause, and its times: the listener's, else what the next one follows."""
        if not self.observed.listener.runs:
            return Pauses.from_dict(self.observed.pauses or {}).status(self.now_ms)
        times = {name: self.listener.get(name) for name in ("paused_since", "paused_until")}
        return {"paused": self.is_paused, **(times if self.is_paused else dict.fromkeys(times))}

    def excluded_hours(self) -> str:
        """Return the hours of `[exclude]` that it is now; empty if nothing is excluded by the clock."""
        excluded = _object(self.listener, "exclude").get("hours")
        moment = datetime.fromtimestamp(self.now_ms / 1000, self.zone)
        for text in map(str, excluded if isinstance(excluded, list) else ()):
            with contextlib.suppress(ValueError):
                if parse_hours(text).includes(moment):
                    return text
        return ""

    def recorded_by(self) -> str:
        """Return who runs the session of the info file now: `capture`, `backend`, or empty."""
        if self.observed.info.get("status") in _OVER:
            return ""
        pid = self.observed.info.get("pid")
        for owner, process in (("capture", self.observed.capture), ("backend", self.observed.backend)):
            if process.runs and process.pid == pid:
                return owner
        return ""

    def _is_capture_abandoned(self) -> bool:
        """Return whether the capture of the info file was killed, and its session may still run."""
        info, session = self.observed.info, self.session
        if session is None or info.get("status") in _OVER or session.status in ENDED:
            return False
        # A backend's session has no channels: they are chosen where it is recorded.
        is_captures = bool(objects_in(info, "channels"))
        return is_captures and not self.observed.capture.runs and not self.recorded_by()

    @property
    def session(self) -> RecordedSession | None:
        """The session of the info file."""
        return session_from_info(self.observed.info)

    def streams(self) -> list[StreamHealth]:
        """Return the streams of the session that is recorded now, with what they deliver."""
        session, status = self.session, self.listener
        if session is None or not self.recorded_by() or session.status in ENDED:
            return []
        streams, last = lifecycle.streams_of(self.observed.info), last_events(status)
        if self.is_paused or self.excluded_hours():
            return unjudged(streams, last, "paused")
        if not self.observed.listener.runs or status.get("state") != CONNECTED:
            return unjudged(streams, last, "unknown")
        connection = Connection(_text(status, "ws_id"), self._ms("since") or self.now_ms)
        allowed = status.get("stale_after")
        seconds = float(allowed) if isinstance(allowed, int | float) and allowed > 0 else STALE_SECONDS
        judged = Judge(session, last, connection, seconds, self.now_ms).judged(streams)
        sources = _object(status, "exclude").get("sources")
        excluded = sources if isinstance(sources, list) else []
        return [
            replace(one, state="excluded", pipelines=()) if one.stream.source in excluded else one
            for one in judged
        ]

    def open_gaps(self) -> list[Gap]:
        """Return the gaps that lack something for now, the one that goes on last."""
        lines = (
            {"channel": fields.OWN_CHANNEL, "event": EVENT, "data": data}
            for data in objects_in(self.listener, "open_gaps")
        )
        known = [gap for gap in map(gap_from, lines) if gap is not None]
        runs = self.observed.listener.runs and bool(self.listener)
        if not runs and is_elsewhere(self.observed.status, self.observed.host):
            return known
        ongoing = gap_of(self.observed.status, self.observed.info, runs=runs, now_ms=self.now_ms)
        return known if ongoing is None else [*known, ongoing]

    def age(self, at_ms: int | None) -> float | None:
        """Return how many seconds ago a time was; None for none."""
        return None if at_ms is None else round(max(0, self.now_ms - at_ms) / 1000, 1)

    def _ms(self, name: str) -> int | None:
        return fields.unix_ms(self.listener.get(name))


def to_dict(status: RecordingStatus, directory: str, journal: str) -> dict[str, Any]:
    """Return a status as `status --json` prints it: times in UTC, ages and spans in seconds."""
    observed, listener, verdict = status.observed, status.listener, status.verdict
    runs = observed.listener.runs
    live = listener if runs else {}
    pause = status.pause()
    since = _utc(verdict.since_ms)
    written_ms = fields.unix_ms(listener.get("written"))
    return {
        "directory": directory,
        "running": runs,
        "state": verdict.state,
        "since": since,
        "for_seconds": status.age(verdict.since_ms),
        "reason": verdict.reason or None,
        "problems": [_problem(status, one) for one in status.problems()],
        "pid": observed.listener.pid,
        "listener_state": live.get("state"),
        "listener_since": live.get("since"),
        "listener_seconds": status.age(fields.unix_ms(live.get("since"))),
        "ws_id": live.get("ws_id"),
        "disconnected_since": live.get("disconnected_since"),
        "disconnected_seconds": status.age(fields.unix_ms(live.get("disconnected_since"))),
        "reconnects": _number(listener, "reconnects"),
        "lost_connections": _number(listener, "lost_connections"),
        "failed_attempts": _number(listener, "failed_attempts"),
        "last_error": listener.get("last_error"),
        "next_attempt": live.get("next_attempt"),
        "written": _utc(written_ms),
        "written_age_seconds": status.age(written_ms),
        "events": _events(status),
        "gaps": _number(listener, "gaps"),
        "unrecovered": _number(listener, "unrecovered"),
        "open_gaps": [{**gap.data(), "ongoing": gap.ongoing} for gap in status.open_gaps()],
        "stale": _stale_streams(status),
        "dropped": _number(listener, "dropped"),
        "disk_trouble": live.get("disk_trouble"),
        "unwritten_since": live.get("unwritten_since"),
        "capture": _capture(status),
        "last_capture": _last_capture(status),
        "backend": _backend(status),
        "sealing": _sealing(status),
        "free_bytes": observed.free_bytes,
        "redact": live.get("redact"),
        "exclude": live.get("exclude"),
        "excluded": live.get("excluded"),
        **{name: pause[name] for name in ("paused", "paused_since", "paused_until")},
        "journal": journal,
        "journal_bytes": observed.journal_bytes,
        "archive": None
        if observed.archive is None
        else {"journals": len(observed.archive), "bytes": sum(observed.archive)},
        "version": listener.get("version"),
    }


def _problem(status: RecordingStatus, verdict: Verdict) -> dict[str, Any]:
    return {
        "state": verdict.state,
        "since": _utc(verdict.since_ms),
        "for_seconds": status.age(verdict.since_ms),
        "reason": verdict.reason or None,
    }


def _events(status: RecordingStatus) -> dict[str, Any]:
    events = _object(status.listener, "events")
    return {
        "total": _number(events, "total"),
        "since": events.get("since"),
        "channels": {
            name: {
                "count": _number(channel, "count"),
                "last": channel.get("last"),
                "age_seconds": status.age(fields.unix_ms(channel.get("last"))),
            }
            for name, channel in _object(events, "channels").items()
            if isinstance(channel, dict)
        },
    }


def _stale_streams(status: RecordingStatus) -> list[dict[str, Any]]:
    """Return the streams that do not deliver, with the time of their last event."""
    judged = [
        (health.stream.id, health.stream.name, health.last_ms)
        for health in status.streams()
        if health.state == "stale"
    ]
    noticed = [
        (stream.get("stream_id"), stream.get("stream_name"), fields.unix_ms(stream.get("since")))
        for stream in status.stale_by_listener()
    ]
    return [
        {
            "stream_id": stream_id,
            "stream_name": name,
            "since": _utc(since_ms),
            "for_seconds": status.age(since_ms),
        }
        for stream_id, name, since_ms in (*judged, *noticed)
    ]


def _capture(status: RecordingStatus) -> dict[str, Any] | None:
    observed, owner = status.observed, status.recorded_by()
    if not owner and not observed.capture.runs:
        return None
    # Without one in the info file, the session is that of a backend elsewhere, or still to be created.
    info = observed.info if owner else {}
    session, started_ms = _object(info, "session"), fields.unix_ms(info.get("started"))
    return {
        "pid": observed.capture.pid,
        "recorded_by": owner or ("capture" if observed.listener.runs else None),
        "status": info.get("status", "running"),
        "session_id": session.get("id"),
        "session_status": session.get("status"),
        "started": info.get("started"),
        "for_seconds": status.age(started_ms),
        "streams": [_stream(status, health) for health in status.streams()],
    }


def _last_capture(status: RecordingStatus) -> dict[str, Any] | None:
    """Return the capture of the info file, if it has ended or was killed."""
    info = status.observed.info
    session = _object(info, "session")
    if not session.get("id") or status.recorded_by():
        return None
    return {
        "status": info.get("status") if info.get("status") in _OVER else "ended unexpectedly",
        "session_id": session.get("id"),
        "session_status": session.get("status"),
        "started": info.get("started"),
        "ended": info.get("ended"),
        "error": info.get("error"),
    }


def _stream(status: RecordingStatus, health: StreamHealth) -> dict[str, Any]:
    return {
        "id": health.stream.id,
        "name": health.stream.name,
        "source": health.stream.source,
        "state": health.state,
        "last": _utc(health.last_ms),
        "age_seconds": status.age(health.last_ms),
        "pipelines": [
            {
                "kind": pipeline.kind,
                "state": pipeline.state,
                "problem": pipeline.problem or None,
                "last": _utc(pipeline.last_ms),
                "age_seconds": status.age(pipeline.last_ms),
            }
            for pipeline in health.pipelines
        ],
    }


def _backend(status: RecordingStatus) -> dict[str, Any] | None:
    observed = status.observed
    if not observed.backend.runs:
        return None
    served = observed.served
    return {
        "pid": observed.backend.pid,
        "url": served.get("url"),
        "since": served.get("since"),
        "for_seconds": status.age(fields.unix_ms(served.get("since"))),
    }


def _sealing(status: RecordingStatus) -> dict[str, Any] | None:
    sealing = status.observed.sealing
    if sealing is None:
        return None
    is_on = status.listener.get("seals") if status.observed.listener.runs else None
    return {
        "on": is_on if isinstance(is_on, bool) else None,
        "sealed_bytes": sealing.sealed,
        "unsealed_bytes": sealing.rest,
    }


def _utc(at_ms: int | None) -> str | None:
    return None if at_ms is None else utc_text(at_ms)


def _object(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _number(holder: Mapping[str, Any], name: str) -> int:
    value = holder.get(name)
    return value if type(value) is int else 0


def _text(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""
