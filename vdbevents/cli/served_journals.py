"""The journals that a server of this machine answers from, as its command line names them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import LONGEST_CALL_SECONDS
from vdbevents.cli.options import EnvironmentOptions, KeyOptions
from vdbevents.cli.query_options import SourceOptions
from vdbevents.errors import InputError, VdbeventsError
from vdbevents.query import hostnames

if TYPE_CHECKING:
    from vdbevents.cloud import Export
    from vdbevents.journal.state import StateDirectory
    from vdbevents.query.hostnames import HostJournal

_CLIP_SECONDS: Final = 30.0


def player_of(options: KeyOptions) -> "Callable[[str, int, int], Export] | None":
    """Return what exports a part of a stream to play it, in whole Unix seconds; None without an API key."""
    try:
        credentials = options.credentials
    except VdbeventsError:
        # Everything else works without.
        return None

    def export(stream_id: str, start: int, end: int) -> "Export":
        from vdbevents.cloud import Account, persist

        account = Account(credentials, LONGEST_CALL_SECONDS)
        return persist(lambda: account.playable(stream_id, start, end), _CLIP_SECONDS)

    return export


def refuse_stdin(named: SourceOptions, reason: str) -> None:
    """Check that no journal comes by stdin.

    Raises:
        InputError: one does.
    """
    if named.journal == Path("-") or "-" in (named.files or ()):
        raise InputError(
            f"stdin: {reason}",
            "name a state directory, or the file of a journal",
            error_id="source-is-stdin",
        )


class ServedJournals:
    """The journals that are served."""

    def __init__(self, named: SourceOptions, options: EnvironmentOptions) -> None:
        self._named = named
        self._options = options

    def _sources(self) -> list[cli_journals.JournalSource]:
        hint = "name a state directory, or the file of a journal"
        return cli_journals.named_by(self._named, self._options, hint=hint)

    def check(self) -> None:
        """Check what is named; a directory may have no journal yet.

        Raises:
            InputError: a name matches nothing.
        """
        try:
            self._sources()
        except InputError as error:
            if error.error_id != "journal-missing":
                raise

    @contextlib.contextmanager
    def open_journals(self) -> Iterator["Sequence[HostJournal]"]:
        """Yield the journals, which are looked for now.

        Raises:
            InputError: there is none.
        """
        with cli_journals.opened(self._sources()) as journals:
            yield journals

    def states(self) -> "Sequence[StateDirectory]":
        """Return the directories of the journals, or the files of those that were copied."""
        from vdbevents.journal.state import StateDirectory

        if not self._named.by_options:
            return [self._options.state_at(self._named.journal)]
        paths = (source.path for source in self._sources())
        return [StateDirectory(path.parent if path.name == hostnames.JOURNAL else path) for path in paths]
