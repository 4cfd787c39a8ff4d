"""`vdbevents clip`: print links that play recorded moments."""

import io
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from vdbevents.cli.cloud_client import Attempts, Service, begin, find_streams, pick_stream, stream_by_id
from vdbevents.cli.command import as_json, put, reports
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode, is_terminal
from vdbevents.cli.localtime import local_text
from vdbevents.cli.options import ArchivedOption, SessionOptions, StreamOption
from vdbevents.cli.query_options import TIMES_HELP, TzOption, zone_of
from vdbevents.cli.tables import as_text, nothing, remark
from vdbevents.errors import InputError, options_conflict
from vdbevents.events import envelope, fields
from vdbevents.events.lifecycle import Stream
from vdbevents.terminal import cut_in_words, harmless, padded

if TYPE_CHECKING:
    from vdbevents.journal.state import StateDirectory

_TEXT_CELLS: Final = 40
_UNANSWERED_IN_A_ROW: Final = 2

HELP = f"""Print a playable link for a moment of a recording.

Prints local time, text, stream address, player address. Takes one moment from --at, or the moments of events
on stdin, as vdbevents query -o jsonl prints them. The clip is from the session that was recorded at that
time, according to the journal in --dir.

\b
Examples:
  vdbevents clip --at 10:15 --duration 30s
  vdbevents clip --at "yesterday 16:40" --stream mic
  vdbevents query --grep invoice -o jsonl | vdbevents clip
  vdbevents query --grep invoice -o jsonl | vdbevents clip --video --json | jq -r .player_url

{TIMES_HELP}
docs/query.md has a table of the forms of a time.

Failed clips are reported; the others are still made. --timeout is for each clip; after two in a row without
an answer the rest is skipped.

\b
Exit codes: 0 all made, 1 no events on stdin, 4 or 5 some failed.
"""


class _ClipOptions(SessionOptions):
    session: Annotated[
        str | None, Option(metavar="ID", help="A session's id.", show_default="the one recorded then")
    ] = None
    archived: ArchivedOption = False


class _Clip(NamedTuple):
    """Part of a stream, in whole Unix seconds."""

    stream_id: str
    start: int
    end: int


@reports
def clip(
    *,
    at: Annotated[
        str | None, Option("--at", metavar="TIME", help="Start, like 10:15; see vdbevents query.")
    ] = None,
    length: Annotated[
        str | None, Option("--duration", metavar="TIME", help="Length, from --at.", show_default="30s")
    ] = None,
    tz: TzOption = None,
    pad: Annotated[
        str | None,
        Option(
            metavar="TIME",
            help="Time to add before and after.",
            show_default="2s for events on stdin, else 0",
        ),
    ] = None,
    stream: StreamOption = None,
    video: Annotated[
        bool, Option("--video", help="Show the screen, whichever stream the event is from.")
    ] = False,
    options: _ClipOptions,
) -> ExitCode:
    if at is None and length is not None:
        raise InputError("--duration: needs a start", "give --at, too", error_id="moment-not-given")
    if at is None and is_terminal(sys.stdin):
        raise InputError(
            "no events on stdin",
            "give --at, or pipe events in: vdbevents query --grep invoice -o jsonl | vdbevents clip",
            error_id="moment-not-given",
        )
    if stream is not None and video:
        raise options_conflict("--stream", "--video")
    service, state = begin(options)
    chooser = _Chooser(service, state, options, stream, video=video)
    zone = zone_of(tz)
    output = _Output(service, zone, as_json=options.as_json)
    if at is None:
        margin = _padding(pad or "2s")
        output.add_all(margin, chooser if video or stream is not None else None)
        return output.finish()
    start, end = _span(at, length or "30s", zone)
    margin = _padding(pad or "0")
    shown = chooser.choose(start, end)
    if shown is None:
        raise chooser.nothing_at(start)
    output.add(_whole(shown.id, start - margin, end + margin), "", shown.name)
    return output.code


def _shown(streams: Sequence[Stream], *, named: bool, video: bool) -> Stream:
    """Return the stream to show: the first video, unless a stream was named."""
    if not streams:
        raise InputError(
            "the session has not started: no streams yet",
            "give another --session: vdbevents session list",
            error_id="session-without-streams",
        )
    candidates = streams if named else [stream for stream in streams if stream.media == "video"]
    if video and not candidates:
        raise InputError(
            "--video: the session has no video stream",
            "leave out --video, or give a --stream",
            error_id="session-without-video",
        )
    return (candidates or streams)[0]


class _RecordedSession(NamedTuple):
    """A recorded session; its start and end in Unix milliseconds."""

    session_id: str
    began_ms: float
    ended_ms: float
    streams: tuple[Stream, ...]

    def described(self) -> str:
        until = f" until {local_text(self.ended_ms)}" if self.ended_ms < math.inf else ""
        return f"{self.session_id}, from {local_text(self.began_ms)}{until}"


def _recordings(state: "StateDirectory", *, archived: bool) -> list[_RecordedSession]:
    """Return the sessions captured into a state directory, oldest first, without overlaps."""
    from vdbevents.journal.files import read_object

    sessions: dict[str, _RecordedSession] = {}
    for event in _capture_events(state.journal, archived=archived):
        data = event.get("data")
        data = data if isinstance(data, Mapping) else {}
        session_id, at_ms = as_text(data.get("capture_session_id")), fields.unix_ms(event.get("unix_ts"))
        if at_ms is None:
            continue
        streams = _streams_in(data)
        if event.get("event") == "capture.started":
            sessions[session_id] = _RecordedSession(session_id, at_ms, math.inf, streams)
        elif event.get("event") == "capture.ended" and session_id in sessions:
            known = sessions[session_id]
            sessions[session_id] = known._replace(ended_ms=at_ms, streams=streams or known.streams)
    info = read_object(state.capture_info)
    _add_captured(sessions, info)
    return _without_overlaps(sorted(sessions.values(), key=lambda session: session.began_ms))


def _capture_events(journal: Path, *, archived: bool) -> list[dict[str, Any]]:
    from vdbevents.query import engine, filters as query_filters
    from vdbevents.query.cache.seal_policy import present_cache
    from vdbevents.query.older import Older

    if not journal.is_file():
        return []
    # The text filter skips lines without parsing them: the whole journal is searched.
    filters = query_filters.Filters(
        grep=("capture.",), ignore_case=False, channels=(fields.OWN_CHANNEL,), interim=True
    )
    older = Older(present_cache, archived)
    with engine.search(journal, filters, present_cache(journal), older=older) as answer:
        return [envelope.parse_line(line.encode()) or {} for batch in answer.lines() for line in batch]


def _add_captured(sessions: dict[str, _RecordedSession], info: Mapping[str, Any]) -> None:
    """Add the session of the info file, which has the end of the recording, not of the whole capture."""
    session = info.get("session")
    session_id = as_text(session.get("id")) if isinstance(session, Mapping) else ""
    began, ended = fields.unix_ms(info.get("started")), fields.unix_ms(info.get("ended"))
    if not session_id or began is None:
        return
    known = sessions.get(session_id, _RecordedSession(session_id, began, math.inf, ()))
    sessions[session_id] = known._replace(
        began_ms=min(began, known.began_ms),
        ended_ms=known.ended_ms if ended is None else min(ended, known.ended_ms),
        streams=_streams_in(info) or known.streams,
    )


def _without_overlaps(recordings: Sequence[_RecordedSession]) -> list[_RecordedSession]:
    # A killed capture has no end in the journal: it ended when the next one began at the latest.
    begins = [*(session.began_ms for session in recordings[1:]), math.inf]
    return [
        session._replace(ended_ms=min(session.ended_ms, following))
        for session, following in zip(recordings, begins, strict=False)
    ]


def _streams_in(holder: Mapping[str, Any]) -> tuple[Stream, ...]:
    listed = holder.get("streams")
    items = [item for item in (listed if isinstance(listed, list) else ()) if isinstance(item, Mapping)]
    members = ([as_text(item.get(name)) for name in Stream._fields] for item in items)
    return tuple(
        Stream(stream_id, name, source or None, media)
        for stream_id, name, source, media in members
        if stream_id
    )


class _Chooser:
    """Chooses the stream to show: of the given session, else of the one recorded at that time."""

    def __init__(
        self,
        service: Service,
        state: "StateDirectory",
        options: _ClipOptions,
        stream: str | None,
        *,
        video: bool,
    ) -> None:
        self._service = service
        self._state = state
        self._options = options
        self._stream = stream
        self._video = video
        self._streams: dict[str | None, list[Stream]] = {}

    @cached_property
    def _recordings(self) -> list[_RecordedSession]:
        return _recordings(self._state, archived=self._options.archived)

    def choose(self, start_ms: float, end_ms: float, stream_id: str = "") -> Stream | None:
        """Return the stream to show; None if nothing was recorded.

        Args:
            start_ms: the start.
            end_ms: the end; it decides only if no session was recorded at the start.
            stream_id: a stream of the session, if one is known.
        """
        session, named, video = self._options.session, self._stream, self._video
        if session is not None or not self._recordings:
            return _shown(self._ask(session), named=named is not None, video=video)
        recorded = self._recording(start_ms, end_ms, stream_id)
        if recorded is None:
            return self._unknown()
        streams: Sequence[Stream] = recorded.streams or self._ask(recorded.session_id)
        if named is not None:
            streams = [pick_stream(recorded.session_id, streams, named, stream_by_id(named))]
        return _shown(streams, named=named is not None, video=video)

    def _recording(self, start_ms: float, end_ms: float, stream_id: str) -> _RecordedSession | None:
        for recording in self._recordings:
            if stream_id in (stream.id for stream in recording.streams):
                return recording
        end_ms = max(end_ms, start_ms + 1)
        then = (
            recording
            for recording in self._recordings
            if recording.began_ms < end_ms and start_ms < recording.ended_ms
        )
        return next(then, None)

    def _unknown(self) -> Stream | None:
        """Return the stream given by its id, unless it belongs to a known session."""
        known = {
            name for recording in self._recordings for stream in recording.streams for name in stream[:2]
        }
        named = self._stream
        return None if named is None or named in known else stream_by_id(named)

    def _ask(self, session: str | None) -> list[Stream]:
        if session not in self._streams:
            options = self._options.replace(session=session)
            self._streams[session] = find_streams(self._service, self._state, options, self._stream)
        return self._streams[session]

    def nothing_at(self, start_ms: float) -> InputError:
        """Return the error that nothing was recorded at a time."""
        before = [recording for recording in self._recordings if recording.began_ms <= start_ms]
        nearest, which = (
            (before[-1], "session before it") if before else (self._recordings[0], "earliest session")
        )
        return InputError(
            f"--at: nothing was recorded at {local_text(start_ms)}",
            f"the {which} is {nearest.described()}; give --session for any other",
            error_id="moment-not-recorded",
        )


class _Output:
    """Makes clips, each once, and prints a line for each."""

    def __init__(self, service: Service, zone: tzinfo, *, as_json: bool) -> None:
        self._service = service
        self._zone = zone
        self._attempts = Attempts(service)
        self._as_json = as_json
        self._printed: set[_Clip] = set()
        self._unanswered = 0
        self._without_moment = 0
        self._unrecorded = 0

    @property
    def code(self) -> ExitCode:
        """The exit code."""
        return self._attempts.code

    def add_all(self, margin_ms: int, chooser: _Chooser | None) -> None:
        """Make a clip for each event on stdin.

        Args:
            margin_ms: the time to add before and after.
            chooser: chooses the stream; None: the event's own.
        """
        for moment in self._moments(sys.stdin.buffer if sys.stdin is not None else io.BytesIO()):
            stream_id, start, end, _ = moment
            if chooser is not None:
                self._service.renew()
                chosen = chooser.choose(start, end, stream_id)
                if chosen is None:
                    self._unrecorded += 1
                    continue
                stream_id = chosen.id
            wanted = _whole(stream_id, start - margin_ms, end + margin_ms)
            self.add(wanted, moment.text, moment.text)
            if self._unanswered >= _UNANSWERED_IN_A_ROW:
                remark("skipping the rest: the service does not answer")
                break

    def _moments(self, lines: Iterable[bytes]) -> Iterator["_Moment"]:
        for line in lines:
            moment = _moment_of(envelope.parse_line(line) or {})
            if moment is None:
                self._without_moment += bool(line.strip())
            else:
                yield moment

    def add(self, wanted: _Clip, text: str, shown: str) -> None:
        """Make and print a clip, unless it was printed before."""
        if wanted in self._printed:
            return
        self._printed.add(wanted)
        self._service.renew()
        links = self._attempts.make(lambda: self._service.account.playable(*wanted))
        self._unanswered = self._unanswered + 1 if self._attempts.last is ExitCode.UNREACHABLE else 0
        if links is None:
            return
        if self._as_json:
            urls = {"stream_url": links.stream_url, "player_url": links.player_url}
            put(as_json({**wanted._asdict(), "text": text, **urls}, indent=None))
            return
        label = padded(cut_in_words(harmless(shown), _TEXT_CELLS), _TEXT_CELLS)
        addresses = "  ".join(harmless(address) or "-" for address in (links.stream_url, links.player_url))
        put(f"{local_text(wanted.start * 1000, self._zone)}  {label}  {addresses}")

    def finish(self) -> ExitCode:
        """Report what made no clip; return the exit code."""
        for count, problem in (
            (self._without_moment, "have no stream or no time"),
            (self._unrecorded, "are from a time when nothing was recorded"),
        ):
            if count:
                remark(f"no clip for {count} of the lines, which {problem}")
        if not self._printed:
            return nothing("no events on stdin", "pipe events in: vdbevents query --grep … -o jsonl")
        return self.code


def _span(at: str, length: str, zone: tzinfo) -> tuple[int, int]:
    """Return the start and end of a moment in Unix milliseconds."""
    from vdbevents.times import parse_duration, parse_moment

    now = datetime.now(UTC)
    start = parse_moment("--at", at, now, zone)
    if start > now.timestamp() * 1000:
        raise InputError(
            f"--at: must not be in the future, got {at}",
            "name the day, too: --at 'yesterday 10:15'",
            error_id="moment-in-future",
        )
    return start, start + parse_duration("--duration", length)


def _padding(text: str) -> int:
    from vdbevents.times import parse_duration

    return 0 if text.strip() in ("0", "0s") else parse_duration("--pad", text)


def _whole(stream_id: str, start_ms: float, end_ms: float) -> _Clip:
    start = math.floor(start_ms / 1000)
    return _Clip(stream_id, start, max(math.ceil(end_ms / 1000), start + 1))


class _Moment(NamedTuple):
    """The stream and time of an event; times in Unix milliseconds."""

    stream_id: str
    start_ms: float
    end_ms: float
    text: str


def _moment_of(event: Mapping[str, Any]) -> _Moment | None:
    """Return the moment of an event; None if it has no stream or no time.

    An event with only a start, such as an alert, ends there.
    """
    stream_id = fields.stream_id_of(event)
    start, end = fields.span_of(event)
    if not stream_id or start is None or start < 0:
        return None
    return _Moment(stream_id, start, max(start, start if end is None else end), fields.text_of(event))
