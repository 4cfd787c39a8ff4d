"""Which journals `vdbevents query` reads: directories, files, archives and stdin, one or several."""

import contextlib
import glob
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from vdbevents.cli.options import (
    EnvironmentOptions,
)
from vdbevents.errors import InputError
from vdbevents.query import decompress, hostnames

if TYPE_CHECKING:
    from vdbevents.query.merge import HostJournal


SourceArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="DIR|FILE|-",
        help="A state directory, or any journal, also .gz or .zst; - is stdin. Default: as for listen.",
        show_default=False,
    ),
]
DirectoriesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dir",
        metavar="[NAME=]DIR",
        help="The journal of this state directory, with all others; repeatable. NAME is the machine's.",
    ),
]
FilesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--file",
        metavar="[NAME=]FILE",
        help="Such journals, with all others: also .gz, .zst, 'logs/*.jsonl.gz', - for stdin; repeatable.",
    ),
]

_STDIN: Final = Path("-")


class JournalSource(NamedTuple):
    """A journal as it was named: a file, a pipe or stdin; and its machine's name, if that was said."""

    path: Path
    host: str | None = None

    @property
    def is_piped(self) -> bool:
        """Whether it can be read but once."""
        return self.path == _STDIN or _is_pipe(self.path)

    @property
    def label(self) -> str:
        """Its name in messages."""
        return "stdin" if self.path == _STDIN else str(self.path)


def named_by(
    argument: Path | None,
    directories: Sequence[str] | None,
    files: Sequence[str] | None,
    options: EnvironmentOptions,
    *,
    otherwise: str,
) -> list[JournalSource]:
    """The journals that an argument, the options or the environment name, in their order, each once.

    Raises:
        InputError: there is none of a name.
    """
    if not (directories or files):
        source = JournalSource(argument or Path())
        if argument is None or not source.is_piped:
            source = JournalSource(options.journal_at(argument, hint=otherwise))
        return [source]
    refuse_with_argument(argument)
    found = [_of_directory(text) for text in directories or ()]
    found += [source for text in files or () for source in _of_files(text)]
    once: dict[object, JournalSource] = {}
    for source in found:
        once.setdefault(_identity(source), source)
    return list(once.values())


def refuse_with_argument(argument: Path | None) -> None:
    """Sees that nothing is named without an option, where something is named with one.

    Raises:
        InputError: something is.
    """
    if argument is not None:
        option = "--dir" if argument.is_dir() else "--file"
        raise InputError(
            f"{argument} contradicts --dir and --file, which name all journals",
            f"name it so too: {option} {argument}",
        )


def to_follow(
    argument: Path | None, directories: Sequence[str] | None, files: Sequence[str] | None
) -> Path | None:
    """What `--follow` follows, as an argument would name it.

    Raises:
        InputError: there are several, or it does not grow by lines.
    """
    named = [*(directories or ()), *(files or ())]
    if named:
        refuse_with_argument(argument)
        _, text = _split(named[0])
        matching = [text] if directories or os.path.lexists(text) else _matching(text) or [text]
        if len(named) > 1 or len(matching) > 1:
            raise InputError("--follow and several journals contradict each other", "follow one of them")
        argument = Path(matching[0])
    if argument is not None:
        source = JournalSource(argument)
        if source.is_piped or (argument.is_file() and decompress.is_packed(argument)):
            raise InputError(
                f"--follow: not a growing journal, got {source.label}",
                "leave out --follow, or name a journal that is being written",
                error_id="follow-source-invalid",
            )
    return argument


@contextlib.contextmanager
def opened(sources: Sequence[JournalSource]) -> Iterator[list["HostJournal"]]:
    """Makes files, for as long as they are needed, of what is packed or piped, and names each one's machine.

    Raises:
        InputError: a file cannot be read, or is no archive though its name says so.
        StorageError: there is no room to unpack it.
    """
    names = hostnames.names([hostnames.Place(_parts(source), source.host) for source in sources])
    with tempfile.TemporaryDirectory(prefix="vdbevents-unpacked-") as folder:
        yield [_journal(source, name, Path(folder)) for source, name in zip(sources, names, strict=True)]


def _journal(source: JournalSource, name: str, folder: Path) -> "HostJournal":
    from vdbevents.query.merge import HostJournal

    path = source.path
    if source.is_piped:
        # Stdin stays open: it is not ours.
        piped = contextlib.nullcontext(sys.stdin.buffer) if path == _STDIN else path.open("rb")
        with piped as stream:
            path = decompress.copy(stream, folder, source.label)
    if not decompress.is_packed(path):
        return HostJournal(name, path, source.label, is_scratch=source.is_piped)
    unpacked, trouble = decompress.unpack(path, folder, source.label)
    if source.is_piped:
        path.unlink()
    return HostJournal(name, unpacked, source.label, is_scratch=True, trouble=trouble)


def _of_directory(text: str) -> JournalSource:
    host, text = _split(text)
    path = Path(text)
    if path.is_file():
        raise InputError(f"--dir {path} is a file", f"name it so: --file {path}")
    return JournalSource(EnvironmentOptions().journal_at(path, hint="name a state directory"), host)


def _of_files(text: str) -> list[JournalSource]:
    host, text = _split(text)
    if Path(text).is_dir():
        raise InputError(f"--file {text} is a directory", f"name it so: --dir {text}")
    if Path(text) == _STDIN or os.path.lexists(text):
        return [JournalSource(Path(text), host)]
    if found := _matching(text):
        return [JournalSource(Path(path), host) for path in found]
    if glob.has_magic(text):
        raise InputError(f"no file matches {text}", f"see what there is: ls {Path(text).parent}")
    raise InputError(f"there is no file {text}", "name the file of a journal, or several: 'logs/*.jsonl.gz'")


def _split(text: str) -> tuple[str | None, str]:
    """The name that was given, and the path; what is a path as it stands has no name."""
    if os.path.lexists(text) or _matching(text):
        return None, text
    host, path = hostnames.named(text)
    # A shell does so at a word's beginning only.
    return host, path if host is None else os.path.expanduser(path)  # noqa: PTH111 - never an error


def _matching(pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return []
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - it takes absolute ones too
    return sorted(path for path in found if not Path(path).is_dir())


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _identity(source: JournalSource) -> object:
    if source.is_piped:
        return source.path
    try:
        told = source.path.stat()
    except OSError as error:
        raise InputError(
            f"the journal {source.path} cannot be read: {error.strerror}", "name a file that is there"
        ) from None
    return told.st_dev, told.st_ino


def _parts(source: JournalSource) -> tuple[str, ...]:
    if source.path == _STDIN:
        return ("stdin",)
    path = os.path.abspath(source.path)  # noqa: PTH100 - a link's own name is the one that was given
    return hostnames.parts_of(Path(path).parts)
