"""What the environment says before a command line is read: a shell's wish, and whether defaults are set."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PREFIX: Final = "VDBEVENTS"
"""How the variables begin that set defaults of options."""
FILE_NAME: Final = "config.toml"
OTHER_VARIABLES: Final = {"VDBEVENTS_BACKEND_TOKEN", "VDBEVENTS_CAPTURE_RUNTIME", "VDBEVENTS_PAGER"}
"""Those that begin so, and set no option."""


def is_completing(environ: Mapping[str, str]) -> bool:
    """Return whether a shell wants a word to be completed."""
    return any(name.endswith("_COMPLETE") for name in environ)


def words_before(environ: Mapping[str, str]) -> list[str]:
    """Return the words before the one that a shell wants to be completed, without the program's name."""
    if "_TYPER_COMPLETE_ARGS" in environ:
        line = environ["_TYPER_COMPLETE_ARGS"]
        words = line.split()
        return words[1:] if line.endswith(" ") else words[1:-1]
    words, place = environ.get("COMP_WORDS", "").split(), environ.get("COMP_CWORD", "")
    return words[1 : int(place) if place.isdecimal() else None]


def is_silent(environ: Mapping[str, str]) -> bool:
    """Return whether there is neither a file nor a variable that could set anything, or be wrong."""
    path = locate(environ)
    names = {name for name in environ if name.startswith(f"{PREFIX}_")}
    return names <= OTHER_VARIABLES and (path is None or not os.path.lexists(path))


def locate(environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file's path, whether or not it exists; None without a home directory.

    A relative `XDG_CONFIG_HOME` is ignored, as the XDG specification says.
    """
    base = Path(environ.get("XDG_CONFIG_HOME") or "")
    if not base.is_absolute():
        try:
            base = Path.home() / ".config"
        except RuntimeError:
            return None
    return base / "vdbevents" / FILE_NAME
