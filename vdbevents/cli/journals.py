"""Find the journals for `vdbevents query`: directories, files, archives and stdin, one or several."""

import contextlib
import functools
import glob
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from vdbevents.cli.options import EnvironmentOptions
from vdbevents.cli.query_options import SourceOptions
from vdbevents.errors import InputError, options_conflict
from vdbevents.journal.history import older_journals
from vdbevents.query import decompress, hostnames, scratch
from vdbevents.query.byte_ranges import unreadable_journal
from vdbevents.terminal import counted

if TYPE_CHECKING:
    from vdbevents.query.filters import Filters
    from vdbevents.query.hostnames import HostJournal


_STDIN: Final = Path("-")


class JournalSource(NamedTuple):
    """A journal as it was named: a file, a pipe or stdin; and its machine's name, if given."""

    path: Path
    host: str | None = None

    @property
    def is_piped(self) -> bool:
        """Whether it can be read only once."""
        return self.path == _STDIN or _is_pipe(self.path)

    @property
    def label(self) -> str:
        """Its name in messages."""
        return "stdin" if self.path == _STDIN else str(self.path)


def named_by(named: SourceOptions, options: EnvironmentOptions, *, hint: str) -> list[JournalSource]:
    """Return the journals that an argument, the options or the environment name, in order, each once.

    Raises:
        InputError: a name matches nothing.
    """
    if not named.by_options:
        source = JournalSource(named.journal or Path())
        if named.journal is None or not source.is_piped:
            source = JournalSource(options.journal_at(named.journal, hint=hint))
        return [source]
    _refuse_argument(named.journal)
    sources = [_in_directory(text) for text in named.directories or ()]
    sources += [source for text in named.files or () for source in _of_files(text)]
    distinct: dict[object, JournalSource] = {}
    for source in sources:
        distinct.setdefault(_identity(source), source)
    return list(distinct.values())


def _refuse_argument(argument: Path | None) -> None:
    """Refuse an argument beside `--dir` and `--file`.

    Raises:
        InputError: there is one.
    """
    if argument is not None:
        option = "--dir" if argument.is_dir() else "--file"
        raise options_conflict("--dir, --file", f"the argument {argument}", f"use {option} {argument}")


def words_from_anywhere(named: SourceOptions) -> list[str]:
    """Return the words of a command line that name the same journals from any directory; none for the usual.

    Raises:
        InputError: a name matches nothing, or is stdin, which another process does not have.
    """
    if "-" in (str(named.journal), *(named.files or ())):
        raise InputError(
            "stdin: another program reads this later",
            "name a state directory, or the file of a journal",
            error_id="source-is-stdin",
        )
    if not named.by_options:
        return [] if named.journal is None else [_absolute(_existing(str(named.journal)))]
    _refuse_argument(named.journal)
    words = []
    for option, texts in (("--dir", named.directories), ("--file", named.files)):
        for text in texts or ():
            host, path = _split(text)
            _refuse_empty(option, path)
            words.append(f"{option}={'' if host is None else f'{host}='}{_absolute(_existing(path))}")
    return words


def _existing(text: str) -> str:
    """Return the text of a path, or of a pattern that matches one.

    Raises:
        InputError: there is nothing.
    """
    if not os.path.lexists(text) and not _matching(text):
        raise InputError(
            f"{text}: no such directory or file",
            "name a state directory, or the file of a journal",
            error_id="path-missing",
        )
    return text


def _absolute(text: str) -> str:
    return os.path.abspath(text)  # noqa: PTH100 - a link's own name is the one that was given


def to_follow(named: SourceOptions) -> Path | None:
    """Return the journal to follow, as an argument would name it.

    Raises:
        InputError: there are several, or it is a pipe or an archive.
    """
    argument, texts = named.journal, [*(named.directories or ()), *(named.files or ())]
    if texts:
        _refuse_argument(argument)
        _, text = _split(texts[0])
        matching = [text] if named.directories or os.path.lexists(text) else _matching(text) or [text]
        if len(texts) > 1 or len(matching) > 1:
            raise InputError(
                "cannot follow several journals",
                "name one of them",
                error_id="follow-several-journals",
            )
        argument = Path(matching[0])
    if argument is not None:
        source = JournalSource(argument)
        if source.is_piped or (argument.is_file() and _is_whole(argument)):
            raise InputError(
                f"not a growing journal, got {source.label}",
                "name a journal that is being written, or search this one: vdbevents query, without --follow",
                error_id="follow-source-invalid",
            )
    return argument


def _is_whole(path: Path) -> bool:
    """Return whether a file is an archive or an array, to which nothing is appended."""
    return decompress.is_packed(path) or not decompress.holds_lines(path, str(path))


def archived_hint(journals: Sequence[Path], *, archived: bool) -> str:
    """Return what to try if nothing was found: to search what was cleared, if there is any.

    Args:
        journals: those that were searched.
        archived: whether what was cleared was searched, too.
    """
    cleared = 0
    for journal in () if archived else journals:
        with contextlib.suppress(OSError):
            cleared += sum(older.is_cleared for older in older_journals(journal, cleared=True))
    if not cleared:
        return ""
    was, it = ("was", "it") if cleared == 1 else ("were", "them")
    return f"{counted(cleared, 'journal')} {was} cleared: add --archived to search {it}, too"


@contextlib.contextmanager
def opened_as_named(
    named: SourceOptions, options: EnvironmentOptions, *, hint: str, filters: "Filters | None" = None
) -> Iterator[list["HostJournal"]]:
    """Yield the journals that an argument, the options or the environment name, with their hosts.

    Args:
        named: names them, or a lake.
        options: where the journal is, if none is named.
        hint: what to do if no journal has the argument's name.
        filters: what is asked for; of a lake, only what may have that is looked at.

    Raises:
        InputError: a name matches nothing, or a journal or the lake cannot be read.
        ServiceRefusedError, ServiceUnreachableError: the lake's object store refused, or did not answer.
        StorageError: there is no room.
    """
    if named.lake is not None and named.engine is not None:
        from vdbevents.lake.remote_engine import RemoteEngine
        from vdbevents.query.filters import Filters

        with (
            contextlib.closing(RemoteEngine(named.engine, named.lake)) as engine,
            scratch.folder("engine") as folder,
        ):
            yield engine.journals(named.hosts or (), filters or Filters(), folder)
    elif named.lake is None:
        with opened(named_by(named, options, hint=hint)) as journals:
            yield journals
    else:
        from vdbevents.lake.lake_reader import LakeReader
        from vdbevents.query.cache.seal_policy import find_root

        reader = LakeReader(named.lake, os.environ, find_root())
        yield reader.journals(named.hosts or (), filters)


@contextlib.contextmanager
def opened(sources: Sequence[JournalSource]) -> Iterator[list["HostJournal"]]:
    """Yield the journals with their hosts; copies of archives, pipes and arrays are removed at the end.

    Raises:
        InputError: a file cannot be read, or is not the archive that its name says.
        StorageError: there is no room to unpack it.
    """
    names = hostnames.names([hostnames.Place(_parts(source), source.host) for source in sources])
    with contextlib.ExitStack() as resources:
        scratch.remove_left()
        # Most journals are read as they are.
        folder = functools.cache(lambda: resources.enter_context(scratch.folder("unpacked")))
        yield [_journal(source, name, folder) for source, name in zip(sources, names, strict=True)]


def _journal(source: JournalSource, name: str, folder: Callable[[], Path]) -> "HostJournal":
    from vdbevents.query.hostnames import HostJournal

    path = source.path
    if source.is_piped:
        # stdin is left open.
        piped = contextlib.nullcontext(sys.stdin.buffer) if path == _STDIN else path.open("rb")
        with piped as stream:
            path = decompress.copy(stream, folder(), source.label)
    journal = decompress.readable(path, folder, source.label)
    if source.is_piped and journal.is_copy:
        path.unlink()
    is_scratch = source.is_piped or journal.is_copy
    return HostJournal(name, journal.path, source.label, is_scratch=is_scratch, trouble=journal.trouble)


def _in_directory(text: str) -> JournalSource:
    host, text = _split(text)
    _refuse_empty("--dir", text)
    path = Path(text)
    if path.is_file():
        raise InputError(
            f"--dir: not a directory, got {path}", f"use --file {path}", error_id="directory-invalid"
        )
    return JournalSource(EnvironmentOptions().journal_at(path, hint="name a state directory"), host)


def _of_files(text: str) -> list[JournalSource]:
    host, text = _split(text)
    _refuse_empty("--file", text)
    if Path(text).is_dir():
        raise InputError(f"--file: not a file, got {text}", f"use --dir {text}", error_id="file-invalid")
    if Path(text) == _STDIN or os.path.lexists(text):
        return [JournalSource(Path(text), host)]
    if matches := _matching(text):
        return [JournalSource(Path(path), host) for path in matches]
    hint = "name the file of a journal, or several: 'logs/*.jsonl.gz'"
    if glob.has_magic(text):
        hint = f"list the files with `ls {Path(text).parent}`"
    raise InputError(f"--file: no such file, got {text}", hint, error_id="file-missing")


def _refuse_empty(option: str, text: str) -> None:
    if not text:
        raise InputError(
            f"{option}: the path is empty",
            "name a path; for the current directory write .",
            error_id="path-missing",
        )


def _split(text: str) -> tuple[str | None, str]:
    """Split `NAME=PATH`; a text that is itself a path has no name."""
    if os.path.lexists(text) or _matching(text):
        return None, text
    host, path = hostnames.named(text)
    # The shell expands ~ only at the beginning of a word.
    return host, path if host is None else os.path.expanduser(path)  # noqa: PTH111 - never an error


def _matching(pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return []
    paths = glob.glob(pattern, recursive=True)  # noqa: PTH207 - it takes absolute ones too
    return sorted(path for path in paths if not Path(path).is_dir())


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _identity(source: JournalSource) -> object:
    if source.is_piped:
        return source.path
    try:
        status = source.path.stat()
    except OSError as error:
        raise unreadable_journal(source.path, error) from None
    return status.st_dev, status.st_ino


def _parts(source: JournalSource) -> tuple[str, ...]:
    if source.path == _STDIN:
        return ("stdin",)
    path = os.path.abspath(source.path)  # noqa: PTH100 - a link's own name is the one that was given
    return hostnames.parts_of(Path(path).parts)
