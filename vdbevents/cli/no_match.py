"""Say on stderr why a query may have found nothing: a name that nothing has, or lines that it leaves out."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vdbevents.cli.diagnostics import is_terminal
from vdbevents.cli.tables import remark
from vdbevents.terminal import counted, cut, harmless

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import tzinfo

    from vdbevents.cli.searching import SearchingAgain
    from vdbevents.query.filters import Filters
    from vdbevents.query.merge import MergedResult
    from vdbevents.query.result_protocols import JournalRows
    from vdbevents.times import Window

_MOST_NAMES: Final = 12
_LONGEST_NAME: Final = 40
_DAY_MS: Final = 24 * 3_600_000
# Channels that are known though nothing may have them yet.
_CHANNELS: Final = (
    *("transcript", "visual_index", "audio_index", "alert", "capture_session"),
    *("vdbevents", "capture_client", "scene_index", "spoken_index", "visual", "audio"),
)


def explain(
    search: "SearchingAgain",
    filters: "Filters",
    *,
    zone: "tzinfo | None" = None,
    follows: bool = False,
) -> bool:
    """Say why nothing matches, if there is something to say; return whether there is.

    On a terminal there always is. Elsewhere there is if lines about the recorder itself match, or if nothing
    has a name that is asked for. This searches again, so that a search that finds something costs no more.

    Args:
        search: searches the same journals with other filters.
        filters: what nothing matches.
        zone: of the times that are shown; None is the local one.
        follows: whether matches are waited for: then one may still come.
    """
    if (hidden := _hidden_matches(search, filters)) and (filters.looked_for or not follows):
        noun = "line" if hidden == 1 else "lines"
        remark(
            f"no match, but in {hidden:,} {noun} about the recorder itself, which this leaves out",
            "add --all to search them, too",
        )
        return True
    asked = _names_asked_for(filters)
    is_told_all = is_terminal(sys.stderr) and not follows
    if not (asked or is_told_all):
        return False
    with search(_of_window(filters, recorder=bool(asked) or filters.recorder)) as everything:
        columns_asked = [column for columns in asked for column in columns]
        known = everything.names(list(dict.fromkeys(["channel", *columns_asked])))
        count = everything.count
    said = _say_all_unknown(asked, known, f"of {counted(count, 'event')} in this time")
    if is_told_all and not said:
        channels = f", of these channels: {_listed(sorted(known['channel']))}" if count else ""
        hint = "" if count else newest_hint(search, filters, zone)
        remark(f"no match: there are {counted(count, 'event')} in this time{channels}", hint)
    return said or is_told_all


def in_window(text: str, window: "Window") -> str:
    """Return what was not found, with the time that was searched, if not all was."""
    is_bounded = window.since_ms is not None or window.until_ms is not None
    return f"{text} in this time" if is_bounded else text


def newest_hint(search: "SearchingAgain", filters: "Filters", zone: "tzinfo | None" = None) -> str:
    """Return when the newest event was, if before the window, and how to see it; else nothing.

    Args:
        search: searches the same journals with other filters.
        filters: what nothing matches; of them, the window and the channels count.
        zone: of the times that are shown; None is the local one.
    """
    from vdbevents.cli.localtime import local_text
    from vdbevents.query.filters import Filters

    since_ms = filters.window.since_ms
    if since_ms is None:
        return ""
    newest_ms = search.newest_ms(Filters(by_event=True, channels=filters.channels, recorder=False))
    if newest_ms is None or newest_ms >= since_ms:
        return ""
    at = local_text(newest_ms, zone)
    return f"the newest is of {at[:-3]}: use --on {at[:10]}"


def remark_on_names(
    search: "Callable[[Filters], AbstractContextManager[MergedResult[JournalRows]]]", filters: "Filters"
) -> None:
    """Say which names that are waited for nothing had in the last day: one may be misspelt.

    Args:
        search: searches the same journal with other filters.
        filters: what is waited for.
    """
    from dataclasses import replace

    from vdbevents.journal.files import wall_ms
    from vdbevents.times import Window

    asked = {
        columns: doubtful
        for columns, names in _names_asked_for(filters).items()
        if (doubtful := [name for name in names if not _is_known(_OPTIONS[columns], name, ())])
    }
    if not asked:
        return
    lately = replace(filters, window=Window(wall_ms() - _DAY_MS, None), by_event=False)
    with search(_of_window(lately, recorder=True)) as everything:
        columns_asked = ["channel", *(column for columns in asked for column in columns)]
        known = everything.names(list(dict.fromkeys(columns_asked)))
        if not everything.count:
            asked = {columns: names for columns, names in asked.items() if columns == ("channel",)}
        _say_all_unknown(asked, known, f"of {counted(everything.count, 'event')} of the last day")


def _say_all_unknown(
    asked: Mapping[tuple[str, ...], Sequence[str]], known: Mapping[str, Collection[str]], of_which: str
) -> bool:
    """Say which names nothing has; return whether there are such."""
    said = False
    for columns, names in asked.items():
        option = _OPTIONS[columns]
        there = sorted({name for column in columns for name in known[column]})
        for name in names:
            if not _is_known(option, name, there):
                _say_unknown(option, name, there, of_which)
                said = True
    return said


def _hidden_matches(
    search: "Callable[[Filters], AbstractContextManager[MergedResult[JournalRows]]]", filters: "Filters"
) -> int:
    from dataclasses import replace

    if not filters.hidden_channels:
        return 0
    with search(replace(filters, recorder=True, limit=None, offset=0, around_ms=None)) as found:
        return found.count


_OPTIONS: Final = {
    ("channel",): "--channel",
    ("event",): "--event",
    ("session",): "--session",
    ("label",): "--label",
    ("stream", "stream_name"): "--stream",
    ("speaker",): "--speaker",
}


def _names_asked_for(filters: "Filters") -> Mapping[tuple[str, ...], Sequence[str]]:
    """Return the names that are asked for, by the columns that hold them."""
    given = (
        *(filters.channels, filters.names, filters.sessions),
        *(filters.labels, filters.streams, filters.speakers),
    )
    return {columns: names for columns, names in zip(_OPTIONS, given, strict=True) if names}


def _of_window(filters: "Filters", *, recorder: bool) -> "Filters":
    from vdbevents.query.filters import Filters

    return Filters(filters.window, filters.by_event, interim=filters.interim, recorder=recorder)


def _is_known(option: str, name: str, there: Sequence[str]) -> bool:
    """Return whether something has a name, or may have it at another time."""
    match option:
        case "--channel":
            return name in there or name in _CHANNELS
        case "--session":
            return name == "last" or any(other.startswith(name) for other in there)
        case "--speaker":
            from vdbevents.query.alike import alike

            return alike(name).lower() in (alike(other).lower() for other in there)
    return name in there


def _say_unknown(option: str, name: str, there: Sequence[str], of_which: str) -> None:
    import difflib

    lowered = {other.lower(): other for other in there}
    if option == "--channel":
        lowered.update({other: other for other in _CHANNELS if other not in lowered})
    closest = difflib.get_close_matches(name.lower(), lowered, 1)
    hint = f"did you mean {option} {_shown(lowered[closest[0]])}?" if closest else ""
    others = f"; there are {_listed(there)}" if there else ""
    remark(f"{option}: none {of_which} has {_shown(name)!r}{others}", hint)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(_shown, names[:_MOST_NAMES]))
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more:,} more" if more > 0 else shown


def _shown(name: str) -> str:
    return cut(harmless(name), _LONGEST_NAME)
