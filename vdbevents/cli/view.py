"""`vdbevents view`: the recording as a timeline in the browser."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from vdbevents.cli.command import put, reports, silence_stdout
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode, is_terminal
from vdbevents.cli.options import KeyOptions
from vdbevents.cli.query_options import TIMES_HELP, SeveralSourceOptions, WindowOptions
from vdbevents.cli.served_journals import ServedJournals, player_of, refuse_stdin
from vdbevents.cli.tables import remark
from vdbevents.errors import InputError, options_conflict

if TYPE_CHECKING:
    from datetime import tzinfo

    from vdbevents.web.timeline_state import TimelineState
    from vdbevents.web.view_server import MakePlayer

HELP = f"""Show a recording as a timeline in the browser.

It serves a page on this machine, 127.0.0.1 alone, until Ctrl-C, and opens it: lanes of what was said and
shown from a year to a second, the transcript beside them, search, statistics, and what comes in live. The
address that it prints holds a token, new each time: only who knows it sees the page. It only reads. With an
API key the page plays a moment. With --export it writes a time into one file instead, which any browser
shows without a server. docs/view.md walks through it.

\b
Examples:
  vdbevents view
  vdbevents view ~/laptop --port 5004 --no-open
  vdbevents view ~/laptop ~/desk
  vdbevents view laptop=/mnt/one desk=/mnt/two
  vdbevents view --export day.html --on yesterday

{TIMES_HELP}

\b
Exit codes: 0 ended by SIGTERM, or exported, 1 nothing to export, 2 wrong input, 130 ended by Ctrl-C.
"""

_DAY: Final = "1d"


@reports
def view(
    *,
    named: SeveralSourceOptions,
    port: Annotated[
        int, Option(min=0, max=65535, metavar="PORT", help="The port of the page; 0: any free port.")
    ] = 0,
    open_page: Annotated[
        bool, Option("--open/--no-open", help="Open the page in the browser, or only print its address.")
    ] = True,
    export: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write one page with a time, and exit; default: the last day."),
    ] = None,
    when: WindowOptions,
    options: KeyOptions,
) -> ExitCode:
    refuse_stdin(named, "the page is served until a signal")
    served = ServedJournals(named, options)
    zone = when.zone()
    if export is None and _names_time(when):
        raise options_conflict("a time", "a page that shows all", "add --export FILE, or leave it out")
    served.check()
    from vdbevents.servers.warm_journals import WarmJournals
    from vdbevents.web.timeline_state import TimelineState

    with (
        WarmJournals(served.open_journals, served.states, zone, cleared=named.archived) as journals,
        TimelineState(journals) as state,
    ):
        if export is not None:
            return _export(state, export, when, zone)
        return _serve(state, port, _make_player(options), open_page=open_page)


def _serve(
    state: "TimelineState", port: int, make_player: "MakePlayer | None", *, open_page: bool
) -> ExitCode:
    from vdbevents.web.view_server import serve_view

    def announce(address: str) -> None:
        try:
            put(f"VIEW_URL={address}")
        except (OSError, ValueError):
            # The reader is gone.
            silence_stdout()
        if is_terminal(sys.stdout):
            remark("serving until Ctrl-C")
        if open_page and not _open(address):
            remark("no browser was found", "open the address in one")

    ended_by = serve_view(state, port, make_player=make_player, announce=announce)
    return ExitCode.INTERRUPTED if ended_by is signal.SIGINT else ExitCode.DONE


def _names_time(when: WindowOptions) -> bool:
    return any(one is not None for one in (when.last, when.since, when.until, when.on))


def _open(address: str) -> bool:
    import webbrowser

    try:
        return webbrowser.open(address)
    except (webbrowser.Error, OSError):
        return False


def _export(state: "TimelineState", path: Path, when: WindowOptions, zone: "tzinfo") -> ExitCode:
    from datetime import UTC, datetime

    from vdbevents.journal.files import replace_file, unusable
    from vdbevents.web.exported_page import exported_page

    now = datetime.now(UTC)
    window = (when if _names_time(when) else when.replace(last=_DAY)).window(now, zone)
    known = state.known().span
    if window.since_ms is None and known is not None:
        window = window.__class__(known[0], window.until_ms)
    now_ms = round(now.timestamp() * 1000)
    page = exported_page(state, window, now_ms)
    if page is None:
        remark("nothing was recorded in this time")
        return ExitCode.NO_MATCH
    try:
        replace_file(path, page)
    except OSError as error:
        raise unusable(path, error) from error
    put(str(path))
    return ExitCode.DONE


def _make_player(options: KeyOptions) -> "MakePlayer | None":
    export = player_of(options)
    if export is None:
        return None

    def make(stream_id: str, start: int, end: int) -> str:
        links = export(stream_id, start, end)
        if not (address := links.player_url or links.stream_url):
            raise InputError(
                "the service gave no link for this moment", "choose another one", error_id="play-impossible"
            )
        return address

    return make
