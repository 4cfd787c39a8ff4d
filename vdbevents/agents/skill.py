"""The skill that teaches an agent this program, and its section for a project's AGENTS.md.

Sources, as of November 2026: agentskills.io/specification has the format. Where agents look for skills:
code.claude.com/docs/en/skills (`.claude/skills`, in a project or at home); `.agents/skills` in both places:
developers.openai.com/codex/skills, zed.dev/docs/ai/skills; Cursor (cursor.com/docs/context/skills) and
Copilot in VS Code (code.visualstudio.com/docs/agent-customization/agent-skills) read both. So two folders
reach all. AGENTS.md is read by most agents (agents.md); Claude Code reads CLAUDE.md, which can import it.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vdbevents import __version__
from vdbevents.agents.edited_files import EditedFile, edit, text_of
from vdbevents.errors import InputError

NAME: Final = "vdbevents"
"""The skill's name, and that of its folder, as the convention asks for."""

_DATA: Final = Path(__file__).resolve().parent / "data"
_MAIN: Final = "SKILL.md"
_SECTION: Final = "agents-section.md"
_LICENSE: Final = "license: MIT\n"
_METADATA: Final = re.compile(r'^metadata:\n  version: "[^"\n]*"\n  digest: "([0-9a-f]*)"\n', re.MULTILINE)
_BEGIN: Final = "<!-- vdbevents: begin; written by `vdbevents skill --agents-md --write` -->"
_END: Final = "<!-- vdbevents: end -->"
_ANY_BEGIN: Final = re.compile(r"<!-- vdbevents: begin\b[^\n]*?-->")


def skill_files() -> dict[str, str]:
    """Return the texts of the skill by their paths in its folder, the main one first."""
    folder = _DATA / NAME
    rest = sorted(path for path in folder.rglob("*.md") if path.name != _MAIN)
    texts = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in (folder / _MAIN, *rest)
    }
    metadata = f'metadata:\n  version: "{__version__}"\n  digest: "{_digest(texts)}"\n'
    return {**texts, _MAIN: texts[_MAIN].replace(_LICENSE, _LICENSE + metadata, 1)}


def _digest(texts: Mapping[str, str]) -> str:
    whole = "\0".join(f"{name}\0{_METADATA.sub('', text)}" for name, text in sorted(texts.items()))
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def skill_folders(place: Path | None, home: Path | None, environ: Mapping[str, str]) -> list[Path]:
    """Return the folders to install the skill in.

    Args:
        place: a project, or a folder of skills; None for all projects of this user.
        home: the home directory.
        environ: the environment.

    Raises:
        InputError: it is a file, or the user has no home directory.
    """
    if place is not None:
        place = place.absolute()
        if place.exists() and not place.is_dir():
            raise InputError(
                f"not a folder, got {place}",
                "name a project, or a folder of skills such as .claude/skills",
                error_id="skill-folder-invalid",
            )
        if place.name == NAME and place.parent.name == "skills":
            return [place]
        if place.name == "skills":
            return [place / NAME]
        return [place / kind / "skills" / NAME for kind in (".claude", ".agents")]
    if home is None:
        raise InputError(
            "this user has no home directory: HOME is not set", "name a project", error_id="home-missing"
        )
    claude = Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude")
    return [claude / "skills" / NAME, home / ".agents" / "skills" / NAME]


def install_skill(folder: Path) -> list[EditedFile]:
    """Write the skill into a folder; files that somebody has edited are kept beside the new ones.

    Raises:
        InputError: the folder has another skill, or cannot be written.
        StorageError: the disk has no room.
    """
    present = _installed(folder)
    is_edited = bool(present) and not _is_as_written(present)
    return [
        edit(folder / name, lambda _, text=text: text, private=False, backup=is_edited)  # type: ignore[misc]
        for name, text in skill_files().items()
    ]


def remove_skill(folder: Path) -> bool:
    """Remove the skill from a folder; return False if it is not there.

    Raises:
        InputError: it is another skill, was edited, or cannot be removed.
    """
    present = _installed(folder)
    if not present:
        return False
    if not _is_as_written(present):
        raise InputError(
            f"{folder}: somebody has edited this skill",
            f"if its changes may go, remove the folder: rm -r '{folder}'",
            error_id="skill-edited",
        )
    try:
        for name in present:
            (folder / name).unlink()
        for empty in sorted({(folder / name).parent for name in present}, key=lambda it: -len(it.parts)):
            if not any(empty.iterdir()):
                empty.rmdir()
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror or error}", "check its owner and mode", error_id="skill-not-removed"
        ) from None
    return True


def _installed(folder: Path) -> dict[str, str]:
    """Return the texts of the skill that a folder has, by their paths in it; none if it has no skill.

    Raises:
        InputError: it has another skill.
    """
    main = text_of(folder / _MAIN)
    if main is None:
        return {}
    if not re.search(rf"^name: {NAME}$", main, re.MULTILINE):
        raise InputError(
            f"{folder}: this is another skill",
            "name another folder, or remove it by hand",
            error_id="skill-foreign",
        )
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.md")) if path.is_file()]
    return {name: text for name in names if (text := text_of(folder / name)) is not None}


def _is_as_written(texts: Mapping[str, str]) -> bool:
    """Return whether the texts are as a version of this program has written them."""
    recorded = _METADATA.search(texts[_MAIN])
    return recorded is not None and recorded[1] == _digest(texts)


def agents_section() -> str:
    """Return the section for an AGENTS.md, between its markers."""
    text = (_DATA / _SECTION).read_text(encoding="utf-8").strip()
    return f"{_BEGIN}\n{text}\n{_END}\n"


def install_section(path: Path) -> EditedFile:
    """Write the section into an AGENTS.md: in place of the one that is there, else at its end.

    Raises:
        InputError: the markers of the present section are not a pair; the file cannot be written.
        StorageError: the disk has no room.
    """
    return edit(path, lambda text: with_section(text, str(path)), private=False, backup=False)


def remove_section(path: Path) -> EditedFile:
    """Remove the section from an AGENTS.md, and a file that has nothing else; all else keeps its bytes.

    Raises:
        InputError: as of `install_section`.
    """
    before = text_of(path)
    if before is None or _section_place(before, str(path)) is None:
        return EditedFile(path, before, before)
    file = edit(path, lambda text: without_section(text, str(path)), private=False, backup=False)
    if not file.after:
        path.unlink(missing_ok=True)
    return file


def with_section(text: str, label: str) -> str:
    """Return the text of an AGENTS.md with the present section.

    Args:
        text: the whole text.
        label: what messages call it.

    Raises:
        InputError: the markers of the section in it are not a pair.
    """
    line_end = "\r\n" if "\r\n" in text else "\n"
    section = agents_section().replace("\n", line_end)
    place = _section_place(text, label)
    if place is not None:
        return text[: place[0]] + section.removesuffix(line_end) + text[place[1] :]
    if not text.strip():
        return section
    between = line_end if text.endswith("\n") else line_end * 2
    return text + between + section


def without_section(text: str, label: str) -> str:
    """Return the text of an AGENTS.md as it was before its section was added at the end.

    Raises:
        InputError: as of `with_section`.
    """
    place = _section_place(text, label)
    if place is None:
        return text
    head, tail = text[: place[0]], text[place[1] :]
    tail = tail.removeprefix("\r").removeprefix("\n")
    line_end = "\r\n" if head.endswith("\r\n") else "\n"
    return head.removesuffix(line_end) + tail if head.endswith(line_end * 2) and not tail else head + tail


def _section_place(text: str, label: str) -> tuple[int, int] | None:
    """Return the begin and end of the section, with its markers; None if there is none."""
    begins = [match.start() for match in _ANY_BEGIN.finditer(text)]
    ends = [match.end() for match in re.finditer(re.escape(_END), text)]
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        raise InputError(
            f"{label}: the markers of the section of vdbevents are not one pair",
            f"remove all lines with <!-- vdbevents: … --> but for one pair, which ends with {_END}",
            error_id="agents-section-broken",
        )
    return begins[0], ends[0]
