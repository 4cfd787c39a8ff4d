"""What the cloud can do with a recording: `clip` plays a moment again, `search` finds one by its meaning."""

import io
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from vdbevents.cli.cloud_client import Attempts, Service, begin, find_streams, pick_stream, stream_by_id
from vdbevents.cli.command import as_json, put, reports
from vdbevents.cli.diagnostics import ExitCode, is_terminal
from vdbevents.cli.options import (
    SessionOptions,
    StreamOption,
)
from vdbevents.cli.tables import as_text, nothing, remark
from vdbevents.errors import InputError
from vdbevents.events import envelope, fields
from vdbevents.events.lifecycle import Stream
from vdbevents.terminal import cut, harmless, padded

if TYPE_CHECKING:
    from vdbevents.journal.state import StateDirectory

_TEXT_CELLS: Final = 40
_UNANSWERED_IN_A_ROW: Final = 2

HELP = """Print a playable link for a moment: local time, text, the stream's and the player's address.

The moment is that of --at, or each that a line on stdin tells of, as vdbevents query -o jsonl prints them.
It is seen in the session that was recorded then, of those that the journal in --dir tells of.

\b
Examples:
  vdbevents clip --at 10:15 --for 30s
  vdbevents clip --at "yesterday 16:40" --stream mic
  vdbevents query --grep invoice -o jsonl | vdbevents clip
  vdbevents query --grep invoice -o jsonl | vdbevents clip --video --json | jq -r .player_url

A clip that fails is said, and the others are made. --timeout is for each of them, and after two in a row
without an answer the rest is left out.

\b
Exit codes: 0 all were made, 1 stdin tells of no moment, 4 or 5 some failed.
"""


class _ClipOptions(SessionOptions):
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="A session's id.", show_default="the one recorded then")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False


class _Clip(NamedTuple):
    """A stretch of a stream, in whole Unix seconds."""

    stream_id: str
    start: int
    end: int


@reports
def clip(
    *,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="When it begins, such as 10:15; as for query.")
    ] = None,
    length: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="How long it is, from --at on.", show_default="30s"),
    ] = None,
    pad: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Before and after it.", show_default="2s for lines on stdin, else 0"
        ),
    ] = None,
    stream: StreamOption = None,
    video: Annotated[
        bool, typer.Option("--video", help="What was on screen then, whatever stream a line is about.")
    ] = False,
    options: _ClipOptions,
) -> ExitCode:
    if at is None and length is not None:
        raise InputError("--for says how long, and nothing says since when", "give --at, too")
    if at is None and is_terminal(sys.stdin):
        raise InputError(
            "nothing says which moment is meant",
            "give --at, or pipe events into it: vdbevents query --grep invoice -o jsonl | vdbevents clip",
        )
    if stream is not None and video:
        raise InputError("--stream and --video contradict each other", "give one of them")
    service, state = begin(options)
    chooser = _Chooser(service, state, options, stream, video=video)
    output = _Output(service, as_json=options.as_json)
    if at is None:
        margin = _padding(pad or "2s")
        output.add_all(margin, chooser if video or stream is not None else None)
        return output.finish()
    start, end = _span(at, length or "30s")
    margin = _padding(pad or "0")
    one = chooser.choose(start, end)
    if one is None:
        raise chooser.nothing_at(start)
    output.add(_whole(one.id, start - margin, end + margin), "", one.name)
    return output.code


def _shown(streams: Sequence[Stream], *, named: bool, video: bool) -> Stream:
    """The stream to be seen of those that are meant: the first video there is, unless one was named."""
    if not streams:
        raise InputError(
            "the session has no streams: it is not active yet, or was never started",
            "name another --session: vdbevents session list",
        )
    seen = streams if named else [one for one in streams if one.media == "video"]
    if video and not seen:
        raise InputError("the session records no video", "leave --video out, or name a --stream")
    return (seen or streams)[0]


class _Recording(NamedTuple):
    """A session that was recorded, from and until a time in Unix milliseconds."""

    session_id: str
    began_ms: float
    ended_ms: float
    streams: tuple[Stream, ...]

    def described(self) -> str:
        until = f"until {_local(self.ended_ms)}" if self.ended_ms < math.inf else "on"
        return f"the session {self.session_id}, from {_local(self.began_ms)} {until}"


def _recordings(state: "StateDirectory") -> list[_Recording]:
    """The sessions that were captured into a state directory, oldest first: one at a time."""
    from vdbevents.journal.files import read_object

    found: dict[str, _Recording] = {}
    for event in _told_of_captures(state.journal):
        data = event.get("data")
        told = data if isinstance(data, Mapping) else {}
        session_id, at_ms = as_text(told.get("capture_session_id")), fields.unix_ms(event.get("unix_ts"))
        if at_ms is None:
            continue
        streams = _streams_told(told)
        if event.get("event") == "capture.started":
            found[session_id] = _Recording(session_id, at_ms, math.inf, streams)
        elif event.get("event") == "capture.ended" and session_id in found:
            known = found[session_id]
            found[session_id] = known._replace(ended_ms=at_ms, streams=streams or known.streams)
    info = read_object(state.capture_info)
    _add_captured(found, info)
    return _one_at_a_time(sorted(found.values(), key=lambda one: one.began_ms))


def _told_of_captures(journal: Path) -> list[dict[str, Any]]:
    from vdbevents.query import engine, filters as query_filters
    from vdbevents.query.cache.seal_policy import present_cache

    if not journal.is_file():
        return []
    # What a line's words tell is seen before any JSON is: the whole of a long journal is asked.
    filters = query_filters.Filters(
        grep=("capture.",), ignore_case=False, channels=(fields.OWN_CHANNEL,), interim=True
    )
    with engine.search(journal, filters, present_cache(journal)) as answer:
        return [envelope.parse_line(line.encode()) or {} for batch in answer.lines() for line in batch]


def _add_captured(found: dict[str, _Recording], info: Mapping[str, Any]) -> None:
    """Adds what the last capture's own file says, which knows when the recording ended, not when all did."""
    session = info.get("session")
    session_id = as_text(session.get("id")) if isinstance(session, Mapping) else ""
    began, ended = fields.unix_ms(info.get("started")), fields.unix_ms(info.get("ended"))
    if not session_id or began is None:
        return
    known = found.get(session_id, _Recording(session_id, began, math.inf, ()))
    found[session_id] = known._replace(
        began_ms=min(began, known.began_ms),
        ended_ms=known.ended_ms if ended is None else min(ended, known.ended_ms),
        streams=_streams_told(info) or known.streams,
    )


def _one_at_a_time(recordings: Sequence[_Recording]) -> list[_Recording]:
    # Of a capture that was killed nobody wrote the end: at the latest it was when the next one began.
    begins = [*(one.began_ms for one in recordings[1:]), math.inf]
    return [
        one._replace(ended_ms=min(one.ended_ms, following))
        for one, following in zip(recordings, begins, strict=False)
    ]


def _streams_told(holder: Mapping[str, Any]) -> tuple[Stream, ...]:
    listed = holder.get("streams")
    items = [item for item in (listed if isinstance(listed, list) else ()) if isinstance(item, Mapping)]
    members = ([as_text(item.get(name)) for name in Stream._fields] for item in items)
    return tuple(
        Stream(stream_id, name, source or None, media) for stream_id, name, source, media in members
        if stream_id
    )  # fmt: skip


def _local(milliseconds: float) -> str:
    from vdbevents.cli.localtime import SystemZone

    moment = datetime.fromtimestamp(math.floor(milliseconds / 1000), UTC).astimezone(SystemZone())
    return f"{moment:%Y-%m-%d %H:%M:%S}"


class _Chooser:
    """Finds the stream to be seen: of the session that is named, else of the one that was recorded then."""

    def __init__(
        self,
        service: Service,
        state: "StateDirectory",
        options: SessionOptions,
        stream: str | None,
        *,
        video: bool,
    ) -> None:
        self._service = service
        self._state = state
        self._options = options
        self._stream = stream
        self._video = video
        self._asked: dict[str | None, list[Stream]] = {}

    @cached_property
    def _recordings(self) -> list[_Recording]:
        return _recordings(self._state)

    def choose(self, start_ms: float, end_ms: float, stream_id: str = "") -> Stream | None:
        """The stream to be seen; None where it is known that nothing was recorded.

        Args:
            start_ms: the stretch's beginning.
            end_ms: its end, which may be in another session, that counts where none was recorded before.
            stream_id: one that is known to be of the session that is meant.
        """
        session, named, video = self._options.session, self._stream, self._video
        if session is not None or not self._recordings:
            return _shown(self._ask(session), named=named is not None, video=video)
        found = self._recording(start_ms, end_ms, stream_id)
        if found is None:
            return self._unknown()
        streams: Sequence[Stream] = found.streams or self._ask(found.session_id)
        if named is not None:
            streams = [pick_stream(found.session_id, streams, named, stream_by_id(named))]
        return _shown(streams, named=named is not None, video=video)

    def _recording(self, start_ms: float, end_ms: float, stream_id: str) -> _Recording | None:
        for one in self._recordings:
            if stream_id in (stream.id for stream in one.streams):
                return one
        end_ms = max(end_ms, start_ms + 1)
        then = (one for one in self._recordings if one.began_ms < end_ms and start_ms < one.ended_ms)
        return next(then, None)

    def _unknown(self) -> Stream | None:
        """The stream that is named by an id, if it is of none of the sessions that are known."""
        known = {name for one in self._recordings for stream in one.streams for name in stream[:2]}
        named = self._stream
        return None if named is None or named in known else stream_by_id(named)

    def _ask(self, session: str | None) -> list[Stream]:
        if session not in self._asked:
            options = self._options.replace(session=session)
            self._asked[session] = find_streams(self._service, self._state, options, self._stream)
        return self._asked[session]

    def nothing_at(self, start_ms: float) -> InputError:
        """That nothing was recorded at a time, and when something was."""
        before = [one for one in self._recordings if one.began_ms <= start_ms]
        nearest, which = (before[-1], "last before it") if before else (self._recordings[0], "first of all")
        return InputError(
            f"nothing was recorded at {_local(start_ms)}",
            f"the {which} was {nearest.described()}; --session names any other",
        )


class _Output:
    """Clips as they are made: each once, a line each."""

    def __init__(self, service: Service, *, as_json: bool) -> None:
        from vdbevents.cli.localtime import SystemZone

        self._service = service
        self._attempts = Attempts(service)
        self._as_json = as_json
        self._zone = SystemZone()
        self._seen: set[_Clip] = set()
        self._unanswered = 0
        self._useless = 0
        self._unseen = 0

    @property
    def code(self) -> ExitCode:
        """What the command exits with."""
        return self._attempts.code

    def add_all(self, margin_ms: int, chooser: _Chooser | None) -> None:
        """Makes a clip of each moment that the lines on stdin tell of.

        Args:
            margin_ms: before and after it.
            chooser: finds the stream to be seen, where that is not the line's own.
        """
        for moment in self._moments(sys.stdin.buffer if sys.stdin is not None else io.BytesIO()):
            stream_id, start, end, _ = moment
            if chooser is not None:
                self._service.renew()
                chosen = chooser.choose(start, end, stream_id)
                if chosen is None:
                    self._unseen += 1
                    continue
                stream_id = chosen.id
            wanted = _whole(stream_id, start - margin_ms, end + margin_ms)
            self.add(wanted, moment.text, moment.text)
            if self._unanswered >= _UNANSWERED_IN_A_ROW:
                remark("the rest was left out: the service does not answer")
                break

    def _moments(self, lines: Iterable[bytes]) -> Iterator["_Moment"]:
        for line in lines:
            moment = _moment_of(envelope.parse_line(line) or {})
            if moment is None:
                self._useless += bool(line.strip())
            else:
                yield moment

    def add(self, wanted: _Clip, text: str, shown: str) -> None:
        """Makes and prints a clip, unless it was made before."""
        if wanted in self._seen:
            return
        self._seen.add(wanted)
        self._service.renew()
        made = self._attempts.make(lambda: self._service.account.playable(*wanted))
        self._unanswered = self._unanswered + 1 if self._attempts.last is ExitCode.UNREACHABLE else 0
        if made is None:
            return
        if self._as_json:
            told = {**wanted._asdict(), "text": text}
            put(as_json({**told, "stream_url": made.stream_url, "player_url": made.player_url}, indent=None))
            return
        when = datetime.fromtimestamp(wanted.start, UTC).astimezone(self._zone)
        what = padded(cut(harmless(shown), _TEXT_CELLS), _TEXT_CELLS)
        addresses = "  ".join(harmless(address) or "-" for address in (made.stream_url, made.player_url))
        put(f"{when:%Y-%m-%d %H:%M:%S}  {what}  {addresses}")

    def finish(self) -> ExitCode:
        """Says what made no clip; answers with the exit code."""
        for count, what in (
            (self._useless, "no stream and time"),
            (self._unseen, "a time when nothing was recorded"),
        ):
            if count:
                remark(f"{count} {'line tells' if count == 1 else 'lines tell'} of {what}, and made no clip")
        if not self._seen:
            return nothing("stdin told of no moment", "pipe into it: vdbevents query --grep … -o jsonl")
        return self.code


def _span(at: str, length: str) -> tuple[int, int]:
    """The beginning and the end of a moment, in Unix milliseconds."""
    from vdbevents.cli.localtime import SystemZone
    from vdbevents.times import parse_duration, parse_moment

    now = datetime.now(UTC)
    start = parse_moment("--at", at, now, SystemZone())
    if start > now.timestamp() * 1000:
        raise InputError(f"--at {at} is in the future", "name the day, too: --at 'yesterday 10:15'")
    return start, start + parse_duration("--for", length)


def _padding(text: str) -> int:
    from vdbevents.times import parse_duration

    return 0 if text.strip() in ("0", "0s") else parse_duration("--pad", text)


def _whole(stream_id: str, start_ms: float, end_ms: float) -> _Clip:
    start = math.floor(start_ms / 1000)
    return _Clip(stream_id, start, max(math.ceil(end_ms / 1000), start + 1))


class _Moment(NamedTuple):
    """What an event is about; times in Unix milliseconds."""

    stream_id: str
    start_ms: float
    end_ms: float
    text: str


def _moment_of(event: Mapping[str, Any]) -> _Moment | None:
    """What an event is about; None where it has no stream or no time.

    What has only a beginning, as an alert, ends where it begins.
    """
    stream_id = fields.stream_id_of(event)
    start, end = fields.span_of(event)
    if not stream_id or start is None or start < 0:
        return None
    return _Moment(stream_id, start, max(start, start if end is None else end), fields.text_of(event))


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(help=HELP)(clip)
