"""`vdbevents transcript`: what was said, as paragraphs or subtitles."""

import shlex
import sys
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, Self, cast

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import reports
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode, is_terminal
from vdbevents.cli.no_match import explain, in_window, newest_hint
from vdbevents.cli.options import (
    AsJsonOption,
    BoundOptions,
    CacheOption,
    EnvironmentOptions,
    FormatOptions,
    words_of,
)
from vdbevents.cli.query_options import (
    TIMES_HELP,
    LakeSourceOptions,
    SourceOptions,
    WindowOptions,
    ZeroOption,
    ZeroPoint,
    listed,
)
from vdbevents.cli.searching import (
    GapsCommand,
    SearchingAgain,
    known_gaps,
    remark_on_each,
    searched_for_rows,
)
from vdbevents.cli.summary_options import broken, too_small
from vdbevents.cli.tables import data_stream, remark, terminal_width
from vdbevents.errors import options_conflict
from vdbevents.terminal import counted, harmless, harmless_in_file, with_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from vdbevents.events.session_facts import SessionFacts
    from vdbevents.query.filters import Event, Filters
    from vdbevents.query.hostnames import HostJournal
    from vdbevents.query.merge import MergedResult
    from vdbevents.query.older import Older
    from vdbevents.query.output.budget import Bound
    from vdbevents.query.output.rows import Output, Sink
    from vdbevents.query.result_protocols import JournalRows
    from vdbevents.summaries.transcript import Silence
    from vdbevents.summaries.transcript_pages import Layout

USUAL_TOKENS: Final = 8000
"""The bound of a text for which none is given."""

HELP = f"""Print what was said, in paragraphs with times.

Without a window or a session: the last session; in a journal without sessions, all of it. A window is about
when something was said, not when it was received. Silences of more than a minute are marked, and so is where
nothing was recorded. As text it prints the newest parts, {USUAL_TOKENS:,} tokens at most; other formats print
all. docs/summaries.md has examples.

\b
Examples:
  vdbevents transcript
  vdbevents transcript --last 1h --speaker Ada
  vdbevents transcript --max-tokens 0 | less          all of it
  vdbevents transcript --session cap-5f1d9c20 -o md > meeting.md
  vdbevents transcript --session last -o srt --zero session > video.srt
  vdbevents transcript --on yesterday --max-tokens 4000 --json

{TIMES_HELP}

\b
Exit codes: 0 speech, 1 no speech, 2 wrong input.
"""

_BREAK: Final = "60s"


class TranscriptOutput(StrEnum):
    """The output formats of `transcript`."""

    TXT = "txt"
    MD = "md"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


class SpeechOptions(FormatOptions):
    """What to write down, and how."""

    session: Annotated[
        str | None, Option(metavar="ID|last", help="What was said in this session, or in the last one.")
    ] = None
    speaker: Annotated[
        list[str] | None,
        Option(metavar="NAME", help="Said by this speaker, in any case; repeatable."),
    ] = None
    source: Annotated[
        list[str] | None,
        Option(metavar="NAME", help="mic or system_audio; repeatable, or with commas."),
    ] = None
    silence: Annotated[str, Option("--break", metavar="TIME", help="Mark a silence that is longer.")] = _BREAK
    output: Annotated[
        TranscriptOutput,
        Option("-o", "--output", help="txt, md: paragraphs; srt, vtt: subtitles; json: an object."),
    ] = TranscriptOutput.TXT
    as_json: AsJsonOption = False
    zero: ZeroOption = ZeroPoint.FIRST
    cache: CacheOption = True

    def settle(self) -> None:
        """Take `--json` for `-o json`.

        Raises:
            InputError: another format is given, too, or a beginning for what has no subtitles.
        """
        if self.zero is ZeroPoint.SESSION and self.output.value not in ("srt", "vtt"):
            raise options_conflict("--zero session", f"-o {self.output.value}", "use -o srt or -o vtt")
        super().settle()


class SpeechBoundOptions(BoundOptions):
    """How large a transcript may be."""

    max_tokens: Annotated[
        int | None,
        Option(
            min=0,
            metavar="N",
            help="The same in tokens of a language model, of 4 characters; 0: all.",
            show_default=f"{USUAL_TOKENS} for txt without --max-bytes",
        ),
    ] = None

    @property
    def bound(self) -> "Bound":
        """The bound of the answer, if there is one."""
        from vdbevents.query.output.budget import Bound

        return Bound(self.max_bytes, self.max_tokens or None)

    def settled_for(self, output: TranscriptOutput) -> Self:
        """Return the options with the usual bound, where none is given of a text to read."""
        is_given = self.max_bytes is not None or self.max_tokens is not None
        return (
            self if is_given or output is not TranscriptOutput.TXT else self.replace(max_tokens=USUAL_TOKENS)
        )


@reports
def transcript(
    *,
    named: LakeSourceOptions,
    when: WindowOptions,
    speech: SpeechOptions,
    sized: SpeechBoundOptions,
    options: EnvironmentOptions,
) -> ExitCode:
    from dataclasses import replace
    from datetime import UTC, datetime

    from vdbevents.query import merge
    from vdbevents.query.filters import Filters, known_sources
    from vdbevents.summaries.journal_answers import session_asked_for
    from vdbevents.times import Window, parse_duration

    zone, now = when.zone(), datetime.now(UTC)
    window = when.window(now, zone)
    is_last = speech.session is None and window == Window()
    session = "last" if is_last else speech.session
    break_ms = parse_duration("--break", speech.silence)
    filters = Filters(
        window=window,
        by_event=True,
        channels=("transcript",),
        sources=known_sources("--source", listed(speech.source)),
        speakers=tuple(speech.speaker or ()),
        sessions=() if session is None else (session,),
    )
    asked = _Asked(
        named, when, speech, sized, options, filters, zone, break_ms, round(now.timestamp() * 1000)
    )
    with searched_for_rows(named, filters, options, now, cache=speech.cache) as (journals, answer):
        facts = session_asked_for(journals, asked.older, filters.sessions) if filters.sessions else None
        if not is_last or answer.count or facts is not None:
            return _print(asked, journals, answer, facts)
        asked = asked._replace(filters=replace(filters, sessions=()))
        cache_of = asked.older.cache_of
        with merge.search_rows(journals, asked.filters, cache_of, cleared=named.archived) as everything:
            return _print(asked, journals, everything, None)


class _Asked(NamedTuple):
    named: SourceOptions
    when: WindowOptions
    speech: SpeechOptions
    sized: SpeechBoundOptions
    options: EnvironmentOptions
    filters: "Filters"
    zone: "tzinfo"
    break_ms: int
    now_ms: int

    @property
    def older(self) -> "Older":
        """How to read what was set aside."""
        from vdbevents.query.cache.seal_policy import present_cache
        from vdbevents.query.older import Older

        return Older(present_cache if self.speech.cache else lambda _: None, self.named.archived)

    @property
    def bound(self) -> "Bound":
        """How large the answer may be."""
        return self.sized.settled_for(self.speech.output).bound

    def command(self, session: str) -> str:
        """Return the command that shows the whole transcript, whenever it is run."""
        when, speech, window = self.when, self.speech, self.filters.window
        if window.since_ms is not None or window.until_ms is not None:
            until_ms = self.now_ms if window.until_ms is None else window.until_ms
            when = when.fixed(window.since_ms, until_ms)
        if self.filters.sessions and session:
            speech = speech.replace(session=session)
        no_bound = SpeechBoundOptions(max_bytes=None, max_tokens=None)
        is_whole = not no_bound.settled_for(speech.output).bound.is_given
        unbounded = no_bound if is_whole else no_bound.replace(max_tokens=0)
        words = words_of(self.named, when, speech, unbounded, self.options)
        return harmless(shlex.join(["vdbevents", "transcript", *words]))


def _print(
    asked: _Asked,
    journals: "Sequence[HostJournal]",
    answer: "MergedResult[JournalRows]",
    session: "SessionFacts | None",
) -> ExitCode:
    from vdbevents.summaries.journal_answers import silences_in, transcript_window
    from vdbevents.summaries.transcript import COLUMNS

    columns = COLUMNS if len(journals) > 1 else [name for name in COLUMNS if name != "host"]
    events = [event for batch in answer.events(columns) for event in batch if (event.text or "").strip()]
    window = transcript_window(asked.filters, session, events)
    if events:
        silences = silences_in(journals, answer, window, asked.now_ms, known_gaps)
        _write(asked, journals, events, silences, "" if session is None else session.id)
        sys.stdout.flush()
    remark_on_each(journals, answer, window, GapsCommand(asked.named, asked.when, window, asked.options))
    if events:
        return ExitCode.DONE
    if asked.speech.session is not None and session is None:
        remark(f"no session {asked.speech.session} in what was searched", "see: vdbevents sessions")
    else:
        archived = asked.named.archived
        hint = cli_journals.archived_hint([one.path for one in journals], archived=archived)
        again = SearchingAgain(journals, cleared=archived, cache=asked.speech.cache)
        if hint or not (asked.speech.speaker and explain(again, asked.filters, zone=asked.zone)):
            what = in_window("nothing was said", asked.filters.window)
            remark(what, hint or newest_hint(again, asked.filters, asked.zone))
    return ExitCode.NO_MATCH


def _write(
    asked: _Asked,
    journals: "Sequence[HostJournal]",
    events: "Sequence[Event]",
    silences: "Sequence[Silence]",
    session: str,
) -> None:
    """Print what was said, or the newest of it that fits."""
    from vdbevents.summaries.transcript import parts_of
    from vdbevents.summaries.transcript_pages import fitting

    output = asked.speech.output
    is_text = output is TranscriptOutput.TXT
    stream = data_stream("text" if is_text else output.value)
    if output in (TranscriptOutput.SRT, TranscriptOutput.VTT):
        left_out = _write_subtitles(asked, journals, events, silences, stream)
        if left_out:
            hint = f"for all: {asked.command(session)}"
            remark(f"{counted(left_out, 'earlier subtitle')} left out", hint)
        return
    parts = list(parts_of(events, silences, asked.break_ms))
    page = _page(asked, session)
    fitted = fitting(asked.bound, parts, page)
    if not fitted.text:
        raise too_small(asked.bound, page.ending(fitted.left_out))
    stream.write(fitted.text.encode())
    # Who keeps a text, or searches it, may not see its last line.
    is_seen = fitted.is_told and (asked.sized.bound.is_given or is_terminal(sys.stdout))
    if fitted.left_out and not is_seen:
        remark(f"{counted(fitted.left_out, 'earlier part')} left out", f"for all: {asked.command(session)}")


def _page(asked: _Asked, session: str) -> "Layout":
    """Return how a transcript is written."""
    from vdbevents.summaries.transcript_pages import (
        Layout,
        json_head,
        json_pieces,
        json_tail,
        markdown_pieces,
        text_pieces,
    )

    title = f"session {session}" if session else ""

    def more(left_out: int) -> str:
        return f"{counted(left_out, 'earlier part')} left out"

    command = asked.command(session)

    match asked.speech.output:
        case TranscriptOutput.JSON:
            return Layout(json_pieces, json_tail, json_head(session or None))
        case TranscriptOutput.MD:
            from vdbevents.query.output.markdown import in_code

            pieces = partial(markdown_pieces, zone=asked.zone, title=title)
            return Layout(
                pieces,
                lambda left_out: f"{more(left_out)}: {in_code(command)}\n" if left_out else "",
            )
    pieces = partial(
        text_pieces,
        zone=asked.zone,
        title=title,
        clean=harmless if is_terminal(sys.stdout) else harmless_in_file,
        width=terminal_width(),
    )
    return Layout(
        pieces,
        lambda left_out: with_command(f"… {more(left_out)}", command, broken) + "\n" if left_out else "",
    )


def _write_subtitles(
    asked: _Asked,
    journals: "Sequence[HostJournal]",
    events: "Sequence[Event]",
    silences: "Sequence[Silence]",
    stream: "Sink",
) -> int:
    """Print subtitles; return how many do not fit."""
    from vdbevents.cli.video_zero import zero_of
    from vdbevents.query.output import write
    from vdbevents.summaries.transcript_pages import CueEvents

    cues = CueEvents(events, silences)
    zero_ms = zero_of(asked.speech.zero, cues.span, journals, cleared=asked.named.archived)
    style = write.Style(asked.filters, asked.zone, zero_ms=zero_ms)
    written = write.write_within(
        asked.bound,
        cues,
        cast("Output", asked.speech.output.value),
        stream,
        style,
        last_line=lambda *_: "",
    )
    if written.least:
        raise too_small(asked.bound, written.least)
    return written.left_out
