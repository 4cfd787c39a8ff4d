"""The options of `vdbevents query`."""

import glob
import os
from datetime import datetime, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self, cast

from vdbevents.cli.command import require_finite
from vdbevents.cli.declared import Argument, Option
from vdbevents.cli.diagnostics import Color
from vdbevents.cli.options import (
    ArchivedOption,
    AsJsonOption,
    CacheOption,
    ColorOption,
    FormatOptions,
    FormulasOption,
    OptionGroup,
)
from vdbevents.errors import InputError, options_conflict

if TYPE_CHECKING:
    from vdbevents.query.filters import Filters
    from vdbevents.query.follow import Ending
    from vdbevents.query.output.text import TextShape
    from vdbevents.times import Window

_Text = str | None
_Texts = list[str] | None


TIMES_HELP: Final = (
    "Times are local unless they name a zone, or --tz does; data (json, jsonl, csv, parquet) has UTC."
)
"""What the help of each command with a window says of its times."""


TzOption = Annotated[
    _Text,
    Option(metavar="ZONE", help="Zone of times given and shown: UTC, Europe/Berlin, +02:00. Default: local."),
]


class OutputFormat(StrEnum):
    """The output formats of `query`."""

    TEXT = "text"
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    MD = "md"
    SRT = "srt"
    VTT = "vtt"
    PARQUET = "parquet"


class TimeBasis(StrEnum):
    """Which time of an event is compared."""

    RECEIVED = "received"
    EVENT = "event"


class ZeroPoint(StrEnum):
    """Where the times of subtitles count from."""

    FIRST = "first"
    SESSION = "session"


ZeroOption = Annotated[
    ZeroPoint,
    Option(
        "--zero",
        help="srt, vtt: count from the first subtitle, or from the session's beginning, beside its video.",
    ),
]


LakeOption = Annotated[
    _Text,
    Option(
        metavar="ADDRESS",
        help="Read what recorders shipped to this lake: a folder, or s3://BUCKET/PATH, gs://…, az://….",
    ),
]
HostsOption = Annotated[
    _Texts,
    Option("--host", metavar="NAME", help="With --lake: only what this recorder shipped; repeatable."),
]


EngineOption = Annotated[
    _Text,
    Option(
        metavar="sc://HOST:PORT",
        help="With --lake: let this engine find it, which speaks Spark Connect: Spark, Databricks, Sail.",
    ),
]


class SourceOptions(OptionGroup):
    """The journals to read."""

    # No annotations: they are options of `LakeSourceOptions` alone.
    lake = cast("_Text", None)
    hosts = cast("_Texts", None)
    engine = cast("_Text", None)

    journal: Annotated[
        Path | None,
        Argument(
            metavar="DIR|FILE|-",
            help="A state directory, or any journal, also .gz or .zst; - is stdin. Default: as for listen.",
            show_default=False,
        ),
    ] = None
    directories: Annotated[
        _Texts,
        Option(
            "--dir",
            metavar="[NAME=]DIR",
            help="Read the journal of this state directory; repeatable. NAME is the machine's.",
        ),
    ] = None
    files: Annotated[
        _Texts,
        Option(
            "--file",
            metavar="[NAME=]FILE",
            help="Read this journal: also .gz, .zst, 'logs/*.jsonl.gz', - for stdin; repeatable.",
        ),
    ] = None

    archived: ArchivedOption = False

    @property
    def by_options(self) -> bool:
        """Whether journals are named by options, with their hosts."""
        return bool(self.directories or self.files or self.lake)


class LakeSourceOptions(SourceOptions):
    """The journals to read, or a lake."""

    lake: LakeOption = None
    hosts: HostsOption = None

    def settle(self) -> None:
        """Check that journals are not named beside a lake, nor hosts without one.

        Raises:
            InputError: they are.
        """
        super().settle()
        if self.lake is None:
            if self.hosts:
                raise InputError(
                    "--host: needs --lake",
                    "name the lake: --lake ADDRESS; journals are named by --dir and --file",
                    error_id="option-missing",
                )
            return
        for option, value in (
            (f"the argument {self.journal}", self.journal),
            ("--dir", self.directories),
            ("--file", self.files),
            ("--archived", self.archived),
        ):
            if value:
                raise options_conflict("--lake", option)


class SeveralSourceOptions(SourceOptions):
    """The journals to read, of which arguments may name several."""

    journal: Annotated[
        _Texts,
        Argument(
            metavar="[[NAME=]DIR|FILE]...",
            help="State directories, or any journals, also .gz or .zst. Default: as for listen.",
            show_default=False,
        ),
    ] = None  # type: ignore[assignment]  # it is settled to what the base has

    def settle(self) -> None:
        """Take several arguments for what `--dir` and `--file` name."""
        texts = self.journal
        if not isinstance(texts, list):
            return
        is_plain = len(texts) == 1 and (os.path.lexists(texts[0]) or "=" not in texts[0])
        if is_plain and not self.by_options:
            vars(self)["journal"] = Path(texts[0])
            return
        self.journal = None
        files = [text for text in texts if _names_files(text)]
        self.directories = [*(text for text in texts if text not in files), *(self.directories or ())]
        self.files = [*files, *(self.files or ())]


def _names_files(text: str) -> bool:
    """Return whether `[NAME=]PATH` is a file, or a pattern of files; what does not exist is a directory."""
    path = text if os.path.lexists(text) else text.partition("=")[2] or text
    path = os.path.expanduser(path)  # noqa: PTH111 - never an error
    if os.path.lexists(path):
        return not os.path.isdir(path)  # noqa: PTH112 - never an error
    return path == "-" or glob.has_magic(path)


class EngineSourceOptions(LakeSourceOptions):
    """The journals to read, or a lake, by itself or by an engine."""

    engine: EngineOption = None

    def settle(self) -> None:
        """Check that an engine has a lake.

        Raises:
            InputError: there is none.
        """
        super().settle()
        if self.engine is not None and self.lake is None:
            raise InputError(
                "--engine: needs --lake",
                "name the lake: --lake ADDRESS",
                error_id="option-missing",
            )


class WindowOptions(OptionGroup):
    """The time to look at, and the zone of times given and shown."""

    last: Annotated[_Text, Option(metavar="TIME", help="The last 90s, 10m, 2 hours, 3d, 1w.")] = None
    since: Annotated[
        _Text, Option(metavar="TIME", help="At this time or later: 10:15, 10am, friday, 1h.")
    ] = None
    until: Annotated[_Text, Option(metavar="TIME", help="Before this time.")] = None
    on: Annotated[_Text, Option(metavar="DAY", help="On this day: yesterday, friday, 2 march.")] = None
    tz: TzOption = None

    def zone(self) -> tzinfo:
        """Return the zone of times given and shown."""
        return zone_of(self.tz)

    def fixed(self, since_ms: int | None, until_ms: int | None) -> Self:
        """Return the options for a window that does not move on, from one time to another, in Unix ms."""
        return self.replace(last=None, on=None, since=moment_text(since_ms), until=moment_text(until_ms))

    def window(self, now: datetime, zone: tzinfo) -> "Window":
        """Return the window of time; say on stderr what of it is to come, or was not today.

        Raises:
            InputError: an option is invalid.
        """
        from vdbevents.cli.tables import remark
        from vdbevents.times import parse_window, unexpected

        window = parse_window(
            last=self.last, since=self.since, until=self.until, on=self.on, now=now, zone=zone
        )
        for option, text, at_ms in (
            ("--since", self.since, window.since_ms),
            ("--until", self.until, window.until_ms),
        ):
            if (
                text is not None
                and at_ms is not None
                and (said := unexpected(option, text, at_ms, now, zone))
            ):
                remark(said)
        return window


def moment_text(milliseconds: int | None) -> str | None:
    """Return a time in Unix ms as options take it; None for none."""
    return None if milliseconds is None else f"@{milliseconds / 1000:.3f}"


def zone_of(tz: str | None) -> tzinfo:
    """Return the zone of `--tz`, else the local one.

    Raises:
        InputError: there is no such zone.
    """
    from vdbevents.cli.localtime import SystemZone
    from vdbevents.times import parse_zone

    return SystemZone() if tz is None else parse_zone(tz)


class FilterOptions(OptionGroup):
    """The filters."""

    by: Annotated[
        TimeBasis,
        Option(help="Compare the time of receipt, or the event's own: when it was said or shown."),
    ] = TimeBasis.RECEIVED
    grep: Annotated[
        _Texts,
        Option(
            "--grep", "-g", metavar="TEXT", help="In the text, label or speaker; repeatable: all must match."
        ),
    ] = None
    any_of: Annotated[
        _Texts, Option("--any", metavar="TEXT", help="Repeatable: at least one of these must match.")
    ] = None
    none_of: Annotated[
        _Texts, Option("--not", metavar="TEXT", help="Repeatable: none of these may match.")
    ] = None
    ignore_case: Annotated[
        bool,
        Option(
            "--ignore-case", "-i", help="Ignore case. Default: only for a TEXT without an upper-case letter."
        ),
    ] = False
    fixed: Annotated[bool, Option("--fixed-strings", "-F", help="TEXT is literal (the default).")] = False
    extended: Annotated[
        bool, Option("--extended-regexp", "-E", help="TEXT is a regular expression (RE2).")
    ] = False
    whole_words: Annotated[bool, Option("--word-regexp", "-w", help="TEXT matches whole words only.")] = False
    exact: Annotated[
        bool,
        Option("--exact", help="TEXT character for character: case, accents, quotes and spaces as they are."),
    ] = False
    channel: Annotated[
        _Texts,
        Option(
            metavar="NAME",
            help="transcript, visual_index, audio_index, alert, …; repeatable, or with commas.",
        ),
    ] = None
    not_channel: Annotated[
        _Texts,
        Option("--not-channel", metavar="NAME", help="None of these; repeatable, or with commas."),
    ] = None
    everything: Annotated[
        bool,
        Option(
            "--all",
            help="Also what is about the recorder itself: channels vdbevents and capture_client, which are "
            "left out unless named.",
        ),
    ] = False
    source: Annotated[
        _Texts,
        Option(metavar="NAME", help="mic, system_audio, screen, camera; repeatable, or with commas."),
    ] = None
    stream: Annotated[_Texts, Option(metavar="ID|NAME", help="Such as rts-1 or mic:default; repeatable.")] = (
        None
    )
    session: Annotated[
        _Texts,
        Option(metavar="ID|last", help="All content of this session, or of the newest one; repeatable."),
    ] = None
    event: Annotated[
        _Texts,
        Option(metavar="NAME", help="Such as capture_session.active, listener.gap; repeatable."),
    ] = None
    label: Annotated[_Texts, Option(metavar="TEXT", help="An alert's label, exactly; repeatable.")] = None
    speaker: Annotated[
        _Texts, Option(metavar="NAME", help="Said by this speaker, in any case; repeatable.")
    ] = None
    window: Annotated[
        _Texts,
        Option(
            metavar="NAME",
            help="A window or app that the description names: its name, or words of it; repeatable.",
        ),
    ] = None
    min_confidence: Annotated[float | None, Option(metavar="NUMBER", help="Confidence at least this.")] = None
    where: Annotated[
        _Text,
        Option(
            metavar="SQL",
            help="A SQL condition over the columns of events (see `vdbevents sql --describe`).",
        ),
    ] = None
    around: Annotated[
        _Text,
        Option(metavar="TIME", help="Also all events within 15s, 2m, … before and after each match."),
    ] = None
    limit: Annotated[
        int | None, Option("-n", "--limit", min=0, metavar="N", help="The newest N only; 0: all.")
    ] = None
    offset: Annotated[int, Option(min=0, metavar="N", help="Skip the newest N.")] = 0
    reverse: Annotated[bool, Option("--reverse", help="Newest first.")] = False
    interim: Annotated[
        bool, Option("--interim", help="Also unfinished transcripts that a final one replaced.")
    ] = False

    def settle(self) -> None:
        """Take a limit of 0 for none.

        Raises:
            InputError: patterns are to be read in two ways.
        """
        super().settle()
        for option, other, are_given in (
            ("--fixed-strings", "--extended-regexp", self.fixed and self.extended),
            ("--exact", "--ignore-case", self.exact and self.ignore_case),
        ):
            if are_given:
                raise options_conflict(option, other)
        self.limit = self.limit or None

    def parse(self, window: "Window", zone: tzinfo | None = None) -> "Filters":
        """Return the filters, in this window of time; times in --where are in `zone`, else in UTC.

        Raises:
            InputError: an option is invalid.
        """
        from vdbevents.query.filters import Filters, known_sources
        from vdbevents.times import parse_duration

        require_finite(min_confidence=self.min_confidence)
        return Filters(
            window=window,
            by_event=self.by is TimeBasis.EVENT,
            grep=tuple(self.grep or ()),
            any_of=tuple(self.any_of or ()),
            none_of=tuple(self.none_of or ()),
            ignore_case=True if self.ignore_case else None,
            extended=self.extended,
            whole_words=self.whole_words,
            exact=self.exact,
            channels=listed(self.channel),
            not_channels=listed(self.not_channel),
            recorder=self.everything,
            sources=known_sources("--source", listed(self.source)),
            streams=tuple(self.stream or ()),
            sessions=tuple(self.session or ()),
            names=tuple(self.event or ()),
            labels=tuple(self.label or ()),
            speakers=tuple(self.speaker or ()),
            windows=tuple(self.window or ()),
            least_confidence=self.min_confidence,
            where=self.where,
            zone=zone,
            limit=self.limit,
            offset=self.offset,
            newest_first=self.reverse,
            around_ms=None if self.around is None else parse_duration("--around", self.around),
            interim=self.interim,
        )


class ResultOptions(FormatOptions):
    """How the matches are read and printed."""

    unique: Annotated[
        bool,
        Option(
            "--unique",
            help="Merge consecutive screen descriptions that are nearly the same into one line, with "
            "duration and count.",
        ),
    ] = False
    follow: Annotated[bool, Option("--follow", "-f", help="Keep printing new matches until Ctrl-C.")] = False
    max_count: Annotated[
        int | None,
        Option("--max-count", "-m", min=1, metavar="N", help="With --follow: end after N matches."),
    ] = None
    timeout: Annotated[_Text, Option(metavar="TIME", help="With --follow: end after 30s, 5m, …")] = None
    count: Annotated[bool, Option("--count", help="Print only the number of matches.")] = False
    fields: Annotated[
        _Text, Option(metavar="NAME,…", help="Only these columns, such as time,source,text.")
    ] = None
    output: Annotated[
        OutputFormat,
        Option(
            "-o",
            "--output",
            help="jsonl, json: the journal's own lines; csv, parquet: folded columns; srt, vtt: subtitles.",
        ),
    ] = OutputFormat.TEXT
    full: Annotated[bool, Option("--full", help="text: show each text whole, and wrap it on a terminal.")] = (
        False
    )
    width: Annotated[
        int | None,
        Option(
            min=1,
            metavar="N",
            help="text, md: show N characters of each text, around the match. Default for text: 200, "
            "and on a terminal what fits on a line.",
        ),
    ] = None
    as_json: AsJsonOption = False
    zero: ZeroOption = ZeroPoint.FIRST
    pager: Annotated[bool, Option(help="Show text in $VDBEVENTS_PAGER, $PAGER or less, on a terminal.")] = (
        True
    )
    cache: CacheOption = True
    color: ColorOption = Color.AUTO
    no_formulas: FormulasOption = False

    def ending(self) -> "Ending":
        """Return when to follow no longer.

        Raises:
            InputError: the time is invalid.
        """
        from vdbevents.query.follow import Ending
        from vdbevents.times import parse_seconds

        seconds = None if self.timeout is None else parse_seconds("--timeout", self.timeout)
        return Ending(self.max_count, seconds)

    @property
    def is_export(self) -> bool:
        """Whether the journal's own lines are printed, so that they can be read as a journal again."""
        is_json = self.output in (OutputFormat.JSONL, OutputFormat.JSON)
        return is_json and self.fields is None and not (self.count or self.unique)

    @property
    def shape(self) -> "TextShape":
        """How much of each text is shown."""
        from vdbevents.cli.tables import terminal_width
        from vdbevents.query.output.text import SNIPPET, TextShape

        is_cut = self.width is None and not self.full
        snippet = self.width
        if is_cut and self.output is OutputFormat.TEXT and terminal_width() is None:
            snippet = SNIPPET
        return TextShape(terminal_width, snippet, wraps=not is_cut)

    def settle(self) -> None:
        """Take `--json` for `-o json`.

        Raises:
            InputError: another format is given, too, or two lengths of a text.
        """
        if self.full and self.width is not None:
            raise options_conflict("--full", "--width")
        super().settle()


def listed(values: _Texts) -> tuple[str, ...]:
    """Return the names of a repeatable option whose values may hold several, with commas."""
    return tuple(name.strip() for value in values or () for name in value.split(","))
