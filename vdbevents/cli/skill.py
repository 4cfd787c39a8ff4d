"""`vdbevents skill`: teach an agent this program, by a skill or a section of AGENTS.md."""

import os
from pathlib import Path
from typing import Annotated

from vdbevents.cli.command import put, reports
from vdbevents.cli.declared import Argument, Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.errors import InputError
from vdbevents.terminal import harmless

HELP = """Teach an agent this program: a skill, or a part of AGENTS.md.

Prints the skill (agentskills.io). --write installs it where Claude Code, Codex, Cursor, VS Code, Zed and
others look: in .claude/skills and .agents/skills of your home directory, or of a PROJECT. --agents-md
is a shorter section for the AGENTS.md of a project: --write puts it there between two markers, and leaves
all else as it is. Write them again after an update of this program; a skill that you have edited is kept
beside the new one, as a .bak file.

\b
Examples:
  vdbevents skill
  vdbevents skill --write
  vdbevents skill --write ~/project
  vdbevents skill --write ~/.codex/skills
  vdbevents skill --agents-md --write ~/project
  vdbevents skill --remove

docs/agents.md says more.

\b
Exit codes: 0 done, 1 nothing to remove, 2 wrong input.
"""


@reports
def skill(
    project: Annotated[
        Path | None,
        Argument(
            metavar="[PROJECT]",
            help="The folder of a project, or of skills; with --agents-md also a Markdown file.",
            show_default="all projects; with --agents-md the current directory",
        ),
    ] = None,
    *,
    write: Annotated[bool, Option("--write", help="Install it; print only what was done.")] = False,
    remove: Annotated[bool, Option("--remove", help="Remove what --write has installed.")] = False,
    agents_md: Annotated[bool, Option("--agents-md", help="The section for an AGENTS.md instead.")] = False,
) -> ExitCode:
    if write and remove:
        from vdbevents.errors import options_conflict

        raise options_conflict("--write", "--remove")
    if project is not None and not (write or remove):
        raise InputError(
            f"PROJECT: nothing is written without --write, got {project}",
            "add --write, or leave out the project",
            error_id="write-missing",
        )
    return _agents_md(project, write, remove) if agents_md else _skill(project, write, remove)


def _skill(project: Path | None, write: bool, remove: bool) -> ExitCode:  # noqa: FBT001
    from vdbevents.agents import skill as agent_skill
    from vdbevents.journal.state import home_directory

    if not write and not remove:
        put(next(iter(agent_skill.skill_files().values())), end="")
        return ExitCode.DONE
    folders = agent_skill.skill_folders(project, home_directory(), os.environ)
    if remove:
        removed = [folder for folder in folders if agent_skill.remove_skill(folder)]
        put("\n".join(f"removed    {_shown(folder)}" for folder in removed) or "no skill was installed there")
        return ExitCode.DONE if removed else ExitCode.NO_MATCH
    for folder in folders:
        files = agent_skill.install_skill(folder)
        changed = [file for file in files if file.is_changed]
        state = "as before" if not changed else "added" if files[0].before is None else "updated"
        put(f"{state:<9}  {_shown(folder)}")
        for file in changed:
            if file.backup is not None:
                put(f"           your version is now {_shown(file.backup)}")
    return ExitCode.DONE


def _agents_md(project: Path | None, write: bool, remove: bool) -> ExitCode:  # noqa: FBT001
    from vdbevents.agents import skill as agent_skill

    if not write and not remove:
        put(agent_skill.agents_section(), end="")
        return ExitCode.DONE
    path = _agents_file(project or Path())
    file = (agent_skill.remove_section if remove else agent_skill.install_section)(path)
    if remove:
        put(f"removed    {_shown(path)}" if file.is_changed else f"no section was in {_shown(path)}")
        return ExitCode.DONE if file.is_changed else ExitCode.NO_MATCH
    state = "as before" if not file.is_changed else "added" if file.before is None else "updated"
    put(f"{state:<9}  {_shown(path)}")
    _hint_at_claude(path)
    return ExitCode.DONE


def _agents_file(place: Path) -> Path:
    if place.is_dir():
        return place / "AGENTS.md"
    if place.suffix.lower() == ".md" and place.parent.is_dir():
        return place
    raise InputError(
        f"PROJECT: not a folder or a Markdown file, got {place}",
        "name a project",
        error_id="agents-file-invalid",
    )


def _hint_at_claude(path: Path) -> None:
    """Say what makes Claude Code, which reads CLAUDE.md alone, read an AGENTS.md."""
    from vdbevents.agents.edited_files import text_of

    if path.name != "AGENTS.md":
        return
    claude = path.with_name("CLAUDE.md")
    if claude.exists() and (claude.samefile(path) or "@AGENTS.md" in (text_of(claude) or "")):
        return
    put("           Claude Code reads CLAUDE.md instead; let it import this: echo @AGENTS.md >> CLAUDE.md")


def _shown(path: Path) -> str:
    return harmless(str(path))
