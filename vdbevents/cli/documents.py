"""Where the documents are that help and hints name: installed in the package, or beside it in a checkout."""

import re
from pathlib import Path
from typing import Final

_NAMED: Final = re.compile(r"\bdocs/([\w-]+\.md)\b")
_PACKAGE: Final = Path(__file__).resolve().parent.parent


def documents_folder() -> Path | None:
    """Return the folder of the documents; None if they are not installed."""
    for folder in (_PACKAGE / "docs", _PACKAGE.parent / "docs"):
        if (folder / "cli.md").is_file():
            return folder
    return None


def named_in(text: str) -> list[str]:
    """Return the file names of the documents that a text names as `docs/NAME.md`, each once."""
    return list(dict.fromkeys(_NAMED.findall(text)))


def with_paths(text: str) -> str:
    """Return a text with the paths of the documents that it names as `docs/NAME.md`."""
    names = named_in(text)
    folder = documents_folder() if names else None
    for name in names if folder else ():
        text = text.replace(f"docs/{name}", f"{folder}/{name}")
    return text
