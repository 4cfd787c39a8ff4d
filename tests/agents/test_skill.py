"""The skill and the section of AGENTS.md: within the convention's limits, and each of their commands runs."""

import os
import re
import shlex
from datetime import UTC, datetime

import pytest
from support.journals import recent_journal
from support.processes import assert_failed, run

import vdbevents
from vdbevents.agents import skill
from vdbevents.errors import InputError

CHARACTERS_PER_TOKEN = 4
FIELDS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}


def frontmatter(text):
    """The fields of a skill's head, each on its line; those of `metadata` are indented below it."""
    head, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()
    return dict(
        line.split(": ", 1) for line in head.splitlines() if not line.startswith("  ") and ": " in line
    ), body


def main_text():
    return skill.skill_files()["SKILL.md"]


def commands_of(text):
    """The commands of the program in the code of a text, in its fences and between backticks."""
    fenced = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in fenced for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = [
        code
        for code in re.findall(r"`(vdbevents [^`]+)`", prose)
        if "…" not in code and "COMMAND" not in code
    ]
    return [*lines, *inline]


ALL_TEXTS = {**skill.skill_files(), "AGENTS.md": skill.agents_section()}
ALL_COMMANDS = sorted({command for text in ALL_TEXTS.values() for command in commands_of(text)})
# Those that say so, without a listener, or change something.
OTHER_CODES = {"vdbevents status": 3, "vdbevents listen": None, "vdbevents skill": None}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A home with recordings of the last minutes: of this machine, and of two others."""
    home = tmp_path_factory.mktemp("home")
    for folder in (home / ".local" / "state" / "videodb", home / "laptop", home / "desk"):
        folder.mkdir(parents=True)
        recent_journal(folder / "videodb_events.jsonl")
    return home


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_each_command_of_the_texts_runs(command, recorded):
    expected = next((code for start, code in OTHER_CODES.items() if command.startswith(start)), 0)
    if expected is None:
        return
    name, *words = shlex.split(command)
    assert name == "vdbevents"
    # In a zone where it is noon, all of the recording is of today.
    noon = f"NOON{datetime.now(UTC).hour - 12}"
    environ = {"HOME": str(recorded), "TZ": noon, "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}

    ended = run(words, environ, cwd=recorded)

    assert ended.returncode == expected, ended.stderr
    assert ended.stdout.strip()
    # The recording has a gap, which answers about its time name.
    assert not ended.stderr or "gap from " in ended.stderr.splitlines()[0]


def test_the_texts_name_the_jobs_of_an_agent():
    named = {shlex.split(command)[1] for command in commands_of(main_text())}

    assert named >= {
        *("status", "query", "context", "transcript", "digest", "sessions", "stats", "wait", "sql", "gaps")
    }
    for text in (main_text(), skill.agents_section()):
        for said in ("never an instruction", "--max-tokens", "UTC", "local", "xit code"):
            assert said in text


def test_the_skill_keeps_to_the_limits_of_the_convention():
    fields, body = frontmatter(main_text())

    assert fields["name"] == skill.NAME
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fields["name"])
    assert len(fields["name"]) <= 64
    assert 1 <= len(fields["description"]) <= 1024
    # A reader that knows no more of YAML than `NAME: TEXT` reads it as one that does.
    assert not re.search(r": | #|^[\"'>|&*!%@`\[{-]", fields["description"])
    assert len(fields["compatibility"]) <= 500
    assert not re.search(r": | #", fields["compatibility"])
    assert set(fields) <= FIELDS
    assert len(body.splitlines()) < 500
    assert len(body) / CHARACTERS_PER_TOKEN < 5000


def test_the_main_text_leads_to_all_others_which_are_one_step_away():
    files = skill.skill_files()

    linked = set(re.findall(r"\]\(([\w/.-]+\.md)\)", main_text()))
    assert linked == set(files) - {"SKILL.md"}
    assert linked
    for name in linked:
        assert name.startswith("references/")
        assert not re.findall(r"\]\(", files[name])


def test_the_section_of_agents_md_is_short():
    assert len(skill.agents_section()) / CHARACTERS_PER_TOKEN < 500


@pytest.mark.parametrize(
    ("place", "folders"),
    [
        ("project", ["project/.claude/skills/vdbevents", "project/.agents/skills/vdbevents"]),
        (".codex/skills", [".codex/skills/vdbevents"]),
        (".codex/skills/vdbevents", [".codex/skills/vdbevents"]),
        (None, [".claude/skills/vdbevents", ".agents/skills/vdbevents"]),
    ],
)
def test_where_the_skill_goes(place, folders, tmp_path):
    named = None if place is None else tmp_path / place

    assert skill.skill_folders(named, tmp_path, {}) == [tmp_path / folder for folder in folders]


def test_another_folder_of_claude_code_is_followed(tmp_path):
    elsewhere = {"CLAUDE_CONFIG_DIR": str(tmp_path / "work")}

    assert skill.skill_folders(None, tmp_path, elsewhere)[0] == tmp_path / "work" / "skills" / "vdbevents"


def test_an_installed_skill_is_whole_and_is_written_once(tmp_path):
    folder = tmp_path / "skills" / "vdbevents"

    assert all(file.is_changed for file in skill.install_skill(folder))
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert not any(file.is_changed for file in skill.install_skill(folder))

    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")} == set(skill.skill_files())
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    assert f'version: "{vdbevents.__version__}"' in (folder / "SKILL.md").read_text()


def test_a_newer_version_replaces_an_older_one_without_a_copy(tmp_path, monkeypatch):
    folder = tmp_path / "skills" / "vdbevents"
    monkeypatch.setattr(skill, "__version__", "0.0.1")
    skill.install_skill(folder)
    monkeypatch.undo()

    assert skill.install_skill(folder)[0].is_changed
    assert list(folder.glob("*.bak")) == []


@pytest.mark.parametrize("name", ["SKILL.md", "references/sql.md"])
def test_what_somebody_has_edited_is_kept(name, tmp_path):
    folder = tmp_path / "skills" / "vdbevents"
    skill.install_skill(folder)
    edited = (folder / name).read_text() + "\nOurs: look in the desk's recording, too.\n"
    (folder / name).write_text(edited)

    with pytest.raises(InputError, match="edited"):
        skill.remove_skill(folder)
    files = skill.install_skill(folder)

    backups = [file.backup for file in files if file.backup]
    assert [backup.read_text() for backup in backups] == [edited]
    assert skill.remove_skill(folder)
    assert [path for path in folder.rglob("*") if path.is_file()] == backups


def test_another_skill_of_that_name_stays(tmp_path):
    folder = tmp_path / "skills" / "vdbevents"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: other\n---\n")

    for change in (skill.install_skill, skill.remove_skill):
        with pytest.raises(InputError) as refused:
            change(folder)
        assert refused.value.error_id == "skill-foreign"


def test_removing_leaves_no_folder_of_its_own_and_says_when_there_is_nothing(tmp_path):
    folder = tmp_path / "skills" / "vdbevents"
    skill.install_skill(folder)

    assert skill.remove_skill(folder)
    assert not folder.exists()
    assert folder.parent.exists()
    assert not skill.remove_skill(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# Ours\n",
        "# Ours",
        "# Ours\r\n\r\n- one\r\n",
        "\ufeff# Ours\n",
        "# Ours\n\n\n",
        "## vdbevents\nold\n",
    ],
)
def test_a_section_is_added_once_and_leaves_as_it_came(text, tmp_path):
    path = tmp_path / "AGENTS.md"
    path.write_bytes(text.encode())

    skill.install_section(path)
    once = path.read_bytes()
    assert not skill.install_section(path).is_changed

    assert path.read_bytes() == once
    assert once.startswith(text.encode())
    assert (b"\r\n" in once) == ("\r\n" in text)
    assert once.count(b"vdbevents: begin") == 1
    assert skill.remove_section(path).is_changed
    after = path.read_bytes() if path.exists() else b""
    assert after.rstrip() == text.encode().rstrip()
    assert after == text.encode() or not text.endswith("\n")
    assert not skill.remove_section(path).is_changed


def test_an_older_section_is_replaced_in_its_place(tmp_path):
    path = tmp_path / "AGENTS.md"
    old = "# Ours\n\n<!-- vdbevents: begin; old words -->\nold\n<!-- vdbevents: end -->\n\n# After\n"
    path.write_text(old)

    skill.install_section(path)

    text = path.read_text()
    assert text == f"# Ours\n\n{skill.agents_section()}\n# After\n"
    skill.remove_section(path)
    assert path.read_text() == "# Ours\n\n\n# After\n"


@pytest.mark.parametrize(
    "text",
    [
        "<!-- vdbevents: begin -->\n",
        "<!-- vdbevents: end -->\n",
        "<!-- vdbevents: end -->\n<!-- vdbevents: begin -->\n",
        "<!-- vdbevents: begin -->\n<!-- vdbevents: begin -->\n<!-- vdbevents: end -->\n",
    ],
)
def test_markers_that_are_no_pair_are_refused(text, tmp_path):
    path = tmp_path / "AGENTS.md"
    path.write_text(text)

    for change in (skill.install_section, skill.remove_section):
        with pytest.raises(InputError) as refused:
            change(path)
        assert refused.value.error_id == "agents-section-broken"
    assert path.read_text() == text


@pytest.fixture
def environ(tmp_path):
    return {"HOME": str(tmp_path), "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}


def test_the_command_prints_installs_and_removes(environ, tmp_path):
    assert run(["skill"], environ).stdout == main_text()
    assert run(["skill", "--agents-md"], environ).stdout == skill.agents_section()

    first = run(["skill", "--write"], environ)
    again = run(["skill", "--write"], environ)
    removed = run(["skill", "--remove"], environ)

    places = [str(folder) for folder in skill.skill_folders(None, tmp_path, {})]
    assert first.stdout == "".join(f"added      {place}\n" for place in places)
    assert again.stdout == "".join(f"as before  {place}\n" for place in places)
    assert removed.stdout == "".join(f"removed    {place}\n" for place in places)
    assert run(["skill", "--remove"], environ).returncode == 1


def test_claude_code_is_told_to_read_an_agents_md_until_it_does(environ, tmp_path):
    assert (
        "echo @AGENTS.md >> CLAUDE.md" in run(["skill", "--agents-md", "--write", tmp_path], environ).stdout
    )
    (tmp_path / "CLAUDE.md").write_text("@AGENTS.md\n")

    said = run(["skill", "--agents-md", "--write", tmp_path], environ).stdout
    assert said == f"as before  {tmp_path / 'AGENTS.md'}\n"


@pytest.mark.parametrize(
    ("arguments", "error_id"),
    [
        (["--write", "--remove"], "options-conflict"),
        (["somewhere"], "write-missing"),
        (["--write", "file.txt"], "skill-folder-invalid"),
        (["--agents-md", "--write", "nowhere"], "agents-file-invalid"),
        (["--agents-md", "--write", "file.txt"], "agents-file-invalid"),
        (["--agents-md", "--write", "latin.md"], "edited-file-encoding"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, error_id, environ, tmp_path):
    (tmp_path / "file.txt").write_text("text")
    (tmp_path / "latin.md").write_bytes(b"caf\xe9\n")

    assert_failed(run(["skill", *arguments], environ, cwd=tmp_path), 2, error_id=error_id)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.txt", "latin.md"]
