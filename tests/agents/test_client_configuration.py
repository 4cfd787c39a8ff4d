"""The server in the configuration of clients: where it is written, and that nothing else changes there."""

import json
import os
import stat
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.processes import assert_failed, run

from vdbevents.agents import edited_files
from vdbevents.agents.client_configuration import is_own, is_temporary, server_entry
from vdbevents.agents.clients import CLIENTS, Machine
from vdbevents.agents.commented_json import parsed
from vdbevents.errors import InputError

HOME = Path("/home/ada")
SCRIPT = str(Path(sys.executable).with_name("vdbevents"))
FORMS = {"claude-desktop": "mcpServers", "claude-code": "mcpServers", "cursor": "mcpServers"}
FORMS |= {"vscode": "servers", "zed": "context_servers"}
WITH_COMMENTS = """\
// My settings
{
    "theme": "One Dark", // the best one
    /* "context_servers" are below */
    "%s": {
        "files": {"command": "files-mcp", "args": ["--root", "/"],}, // mine
    },
    "zoom": 1.50,
}
"""


@pytest.mark.parametrize(
    ("client", "system", "environ", "file"),
    [
        ("claude-desktop", "darwin", {}, "Library/Application Support/Claude/claude_desktop_config.json"),
        ("claude-desktop", "linux", {}, ".config/Claude/claude_desktop_config.json"),
        ("claude-desktop", "linux", {"XDG_CONFIG_HOME": "/x"}, "/x/Claude/claude_desktop_config.json"),
        ("claude-desktop", "win32", {"APPDATA": "/r"}, "/r/Claude/claude_desktop_config.json"),
        ("claude-desktop", "win32", {}, "AppData/Roaming/Claude/claude_desktop_config.json"),
        ("claude-code", "darwin", {}, ".claude.json"),
        ("claude-code", "linux", {"CLAUDE_CONFIG_DIR": "/c"}, "/c/.claude.json"),
        ("cursor", "win32", {"APPDATA": "/r"}, ".cursor/mcp.json"),
        ("vscode", "darwin", {}, "Library/Application Support/Code/User/mcp.json"),
        ("vscode", "linux", {}, ".config/Code/User/mcp.json"),
        ("vscode", "win32", {"APPDATA": "/r"}, "/r/Code/User/mcp.json"),
        ("zed", "darwin", {"XDG_CONFIG_HOME": "/x"}, ".config/zed/settings.json"),
        ("zed", "linux", {"XDG_CONFIG_HOME": "/x"}, "/x/zed/settings.json"),
        ("zed", "win32", {"APPDATA": "/r"}, "/r/Zed/settings.json"),
    ],
)
def test_where_each_client_keeps_its_configuration(client, system, environ, file):
    assert CLIENTS[client].file(Machine(system, HOME, environ)) == HOME / file


def test_a_packaged_claude_desktop_reads_its_own_copy_where_it_has_one(tmp_path):
    name = "claude_desktop_config.json"
    machine = Machine("win32", tmp_path, {})
    usual = tmp_path / "AppData/Roaming/Claude" / name
    packaged = tmp_path / "AppData/Local/Packages/Claude_pzs8/LocalCache/Roaming/Claude" / name
    client = CLIENTS["claude-desktop"]

    assert client.file(machine) == usual
    packaged.parent.mkdir(parents=True)
    assert client.file(machine) == packaged
    usual.parent.mkdir(parents=True)
    usual.write_text("{}")
    assert client.file(machine) == usual
    packaged.write_text("{}")
    assert client.file(machine) == packaged


def test_the_program_is_this_installation():
    entry = server_entry(
        sys.executable, ["/state"], {"TZ": "Europe/Berlin", "SECRET": "x", "XDG_CACHE_HOME": ""}
    )

    assert entry == (SCRIPT, ("mcp", "/state"), {"TZ": "Europe/Berlin"})
    assert not is_temporary(entry)
    assert server_entry("/usr/bin/python3", ["/state"], {})[:2] == (
        "/usr/bin/python3",
        ("-P", "-m", "vdbevents", "mcp", "/state"),
    )


@pytest.mark.parametrize(
    "executable",
    [
        "/home/ada/.cache/uv/archive-v0/aB-1/bin/python",
        "C:\\Users\\a\\uv\\archive-v0\\x\\Scripts\\python.exe",
    ],
)
def test_an_installation_in_a_cache_is_noticed(executable):
    assert is_temporary(server_entry(executable, [], {}))


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ({"command": "/x/bin/vdbevents", "args": ["mcp", "/d"]}, True),
        ({"command": "C:\\x\\Scripts\\vdbevents.exe", "args": ["mcp"]}, True),
        ({"command": "/usr/bin/python3", "args": ["-P", "-m", "vdbevents", "mcp"]}, True),
        ({"command": "uvx", "args": ["--from", "vdbevents[mcp]", "vdbevents", "mcp"]}, True),
        ({"command": "/x/bin/vdbevents", "args": ["listen"]}, False),
        ({"command": "other", "args": ["mcp"]}, False),
        ({"url": "https://example.com/vdbevents/mcp"}, False),
        ({"command": ["vdbevents"], "args": "mcp"}, False),
        ("vdbevents mcp", False),
        (None, False),
    ],
)
def test_whose_a_server_is(member, expected):
    assert is_own(member) is expected


@pytest.fixture
def environ(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    settings = {"VIDEODB_EVENTS_DIR": str(state), "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
    return {"HOME": str(tmp_path), **settings}


def file_of(client, home):
    return CLIENTS[client].file(Machine(sys.platform, home, {}))


def written(client, home):
    return parsed(file_of(client, home).read_text())[FORMS[client]]


needs_mcp = pytest.mark.skipif(not find_spec("mcp"), reason="the extra is missing")


@needs_mcp
@pytest.mark.parametrize("client", FORMS)
def test_each_client_gets_the_server_once_in_its_form(client, environ, tmp_path):
    file = file_of(client, tmp_path)
    printed = run(["mcp", "install", "--client", client], environ).stdout

    first = run(["mcp", "install", "--client", client, "--write"], environ)
    again = run(["mcp", "install", "--client", client, "--write"], environ)

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith(f"{client:<15} added       {file}\n")
    assert again.stdout == f"{client:<15} as before   {file}\n"
    assert json.loads(file.read_text()) == json.loads(printed)
    entry = written(client, tmp_path)["vdbevents"]
    assert entry.pop("type", "stdio") == "stdio"
    assert entry == {"command": SCRIPT, "args": ["mcp", str(tmp_path / "state")]}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.glob("*.bak")) == []


@needs_mcp
@pytest.mark.parametrize("client", ["vscode", "zed", "cursor"])
def test_all_else_keeps_its_bytes_and_the_file_its_mode_and_a_copy(client, environ, tmp_path):
    file = file_of(client, tmp_path)
    before = (WITH_COMMENTS % FORMS[client]).replace("\n", "\r\n").encode()
    real = tmp_path / "dotfiles" / "settings.json"
    real.parent.mkdir()
    real.write_bytes(b"\xef\xbb\xbf" + before)
    real.chmod(0o640)
    file.parent.mkdir(parents=True)
    file.symlink_to(real)

    run(["mcp", "install", "--client", client, "--write"], environ)

    assert file.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    after = real.read_bytes()
    head, tail = before.split(b"// mine\r\n")
    assert after.startswith(b"\xef\xbb\xbf" + head + b"// mine\r\n")
    assert after.endswith(tail)
    assert set(written_in(after, client)) == {"files", "vdbevents"}
    (backup,) = real.parent.glob("*.bak")
    assert (backup.read_bytes(), stat.S_IMODE(backup.stat().st_mode)) == (b"\xef\xbb\xbf" + before, 0o640)
    assert run(["mcp", "uninstall", "--client", client], environ).returncode == 0
    assert real.read_bytes() == b"\xef\xbb\xbf" + before


def written_in(content, client):
    return parsed(content.decode("utf-8-sig"))[FORMS[client]]


@needs_mcp
def test_an_entry_that_is_there_is_brought_up_to_date_and_keeps_what_was_added_to_it(environ, tmp_path):
    file = file_of("zed", tmp_path)
    file.parent.mkdir(parents=True)
    old = {
        "enabled": False,
        "command": "/old/bin/vdbevents",
        "args": ["mcp", "/x"],
        "env": {"A": "1", "TZ": "X"},
    }
    file.write_text(json.dumps({"context_servers": {"vdbevents": old}}))

    said = run(["mcp", "install", "--client", "zed", "--write"], {**environ, "TZ": "Asia/Tokyo"}).stdout

    assert "changed" in said
    expected = {
        "command": SCRIPT,
        "args": ["mcp", str(tmp_path / "state")],
        "env": {"A": "1", "TZ": "Asia/Tokyo"},
    }
    assert written("zed", tmp_path) == {"vdbevents": {"enabled": False, **expected}}


@needs_mcp
def test_several_journals_are_one_server_or_several(environ, tmp_path):
    for name in ("laptop", "desk"):
        (tmp_path / name).mkdir()
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.jsonl").write_text("")
    install = ["mcp", "install", "--client", "cursor", "--write"]

    both = run(
        [*install, "--dir", "laptop=laptop", "--dir", "desk", "--file", "logs/*.jsonl"], environ, cwd=tmp_path
    )
    work = run(
        [*install, "desk", "--name", "work", "--tz", "Europe/Berlin", "--archived"], environ, cwd=tmp_path
    )

    assert (both.returncode, work.returncode) == (0, 0)
    servers = written("cursor", tmp_path)
    at = str(tmp_path)
    assert servers["vdbevents"]["args"] == [
        *("mcp", f"--dir=laptop={at}/laptop", f"--dir={at}/desk", f"--file={at}/logs/*.jsonl")
    ]
    assert servers["work"]["args"] == ["mcp", f"{at}/desk", "--tz=Europe/Berlin", "--archived"]
    assert run(["mcp", "uninstall", "--name", "work"], environ).returncode == 0
    assert list(written("cursor", tmp_path)) == ["vdbevents"]


@needs_mcp
def test_what_the_server_shall_do_is_in_its_entry(environ, tmp_path):
    key = tmp_path / "key"
    key.write_text("sk-1")
    options = ["--allow-control", "--key-file", "key", "--env-file", "settings.env"]
    (tmp_path / "settings.env").write_text("")

    run(["mcp", "install", "--client", "cursor", *options, "--write"], environ, cwd=tmp_path)

    passed = ["--allow-control", f"--key-file={key}", f"--env-file={tmp_path / 'settings.env'}"]
    assert written("cursor", tmp_path)["vdbevents"]["args"] == ["mcp", str(tmp_path / "state"), *passed]
    assert "sk-1" not in file_of("cursor", tmp_path).read_text()


@needs_mcp
def test_a_key_that_the_server_will_not_see_is_named_until_it_is_stored(environ, tmp_path):
    install = ["mcp", "install", "--client", "zed", "--write"]
    with_key = {**environ, "VIDEO_DB_API_KEY": "sk-secret"}

    said = run(install, with_key).stderr
    stored = tmp_path / ".config" / "vdbevents" / "api-key"
    assert str(stored) in said
    assert "sk-secret" not in said + file_of("zed", tmp_path).read_text()
    stored.parent.mkdir(parents=True)
    stored.write_text("sk-secret")
    assert run(install, with_key).stderr == ""


@needs_mcp
def test_a_project_has_its_own_files(environ, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    clients = ["claude-code", "cursor", "vscode", "zed"]
    options = [word for client in clients for word in ("--client", client)]

    run(["mcp", "install", *options, "--project", project, "--write"], environ)

    files = {".mcp.json", ".cursor/mcp.json", ".vscode/mcp.json", ".zed/settings.json"}
    assert {path.relative_to(project).as_posix() for path in project.rglob("*.json")} == files
    mask = os.umask(0o022)
    os.umask(mask)
    assert {stat.S_IMODE((project / file).stat().st_mode) for file in files} == {0o666 & ~mask}
    removed = run(["mcp", "uninstall", "--project", project], environ)
    assert removed.stdout.count("removed") == 4
    assert run(["mcp", "uninstall", "--project", project], environ).returncode == 1


@needs_mcp
@pytest.mark.parametrize(
    ("content", "client", "error_id"),
    [
        (b'{"mcpServers": {', "claude-desktop", "client-file-malformed"),
        (b'{"mcpServers": {}} // mine', "claude-desktop", "client-file-malformed"),
        (b'{"mcpServers": {},}', "claude-code", "client-file-malformed"),
        (b"[]", "cursor", "client-file-malformed"),
        (b'{"servers": []}', "vscode", "client-file-malformed"),
        (b'{"caf\xe9": 1}', "zed", "edited-file-encoding"),
        ('{"a": 1}'.encode("utf-16"), "zed", "edited-file-encoding"),
        (b'{"mcpServers": {"vdbevents": {"url": "https://x"}}}', "cursor", "server-name-taken"),
    ],
)
def test_a_file_that_cannot_be_changed_rightly_is_not_changed(content, client, error_id, environ, tmp_path):
    file = file_of(client, tmp_path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    good = "zed" if client != "zed" else "vscode"

    failed = run(["mcp", "install", "--client", good, "--client", client, "--write"], environ)

    assert_failed(failed, 2, str(file), error_id=error_id)
    assert file.read_bytes() == content
    assert sorted(path.name for path in file.parent.iterdir() if path.is_file()) == [file.name]
    assert not file_of(good, tmp_path).exists()
    if content not in (b"[]", b'{"servers": []}'):
        assert_failed(run(["mcp", "uninstall", "--client", client], environ), 2, str(file), error_id=error_id)
    listed = run(["mcp", "install"], environ)
    assert listed.returncode == 0
    every = run(["mcp", "uninstall"], environ)
    assert every.returncode == 1
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "error_id"),
    [
        (["install", "--write"], "client-missing"),
        (["install", "nowhere"], "path-missing"),
        (["install", "-"], "source-is-stdin"),
        (["install", "--file", "-"], "source-is-stdin"),
        (["install", "--dir", "state", "state"], "options-conflict"),
        (["install", "--client", "claude-desktop", "--project", "."], "client-without-project"),
        (["install", "--client", "zed", "--project", "nowhere"], "project-missing"),
        (["install", "--client-file", "x.json"], "client-missing"),
        (["install", "--client", "zed", "--project", ".", "--client-file", "x.json"], "options-conflict"),
        (["install", "--name", " "], "name-empty"),
        (["install", "--tz", "Nowhere"], "zone-unknown"),
        (["install", "--client", "vscode", "${HOME}"], "client-replaces"),
        (["uninstall", "--client-file", "x.json"], "client-missing"),
    ],
)
def test_wrong_input_is_named(arguments, error_id, environ, tmp_path):
    (tmp_path / "${HOME}").mkdir()

    assert_failed(run(["mcp", *arguments], environ, cwd=tmp_path), 2, error_id=error_id)


def test_without_a_client_all_are_listed_with_the_usual_form(environ, tmp_path):
    file = file_of("vscode", tmp_path)
    file.parent.mkdir(parents=True)
    file.write_text('{"servers": {"vdbevents": {"command": "vdbevents", "args": ["mcp"]}}}')
    file_of("cursor", tmp_path).parent.mkdir()
    zed = file_of("zed", tmp_path)
    zed.parent.mkdir()
    zed.write_text("{")

    listed = run(["mcp", "install"], environ).stdout

    lines, usual = listed.split("\n\n", 1)
    states = {line.split()[0]: line[16:27].strip() for line in lines.splitlines()}
    assert states == {
        "claude-desktop": "not found",
        "claude-code": "not found",
        "cursor": "without it",
        "vscode": "has it",
        "zed": "malformed",
    }
    assert list(json.loads(usual)) == ["mcpServers"]


def test_another_program_that_writes_meanwhile_keeps_its_change(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("1")
    seen = []

    def change(text):
        seen.append(text)
        if len(seen) == 1:
            path.write_text("2")
        return text + "!"

    done = edited_files.edit(path, change, private=True)

    assert seen == ["1", "2"]
    assert path.read_text() == "2!"
    assert [backup.read_text() for backup in tmp_path.glob("*.bak")] == ["2"]
    assert done.backup.read_text() == "2"


def test_a_program_that_never_rests_is_named(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("1")

    def change(text):
        path.write_text(text + "1")
        return "ours"

    with pytest.raises(InputError) as refused:
        edited_files.edit(path, change, private=True)
    assert refused.value.error_id == "edited-file-busy"
    assert [it.name for it in tmp_path.iterdir()] == ["settings.json"]


def test_two_changes_in_a_second_leave_two_copies(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("1")
    for text in ("2", "3"):
        edited_files.edit(path, lambda _, text=text: text, private=True)

    assert sorted(backup.read_text() for backup in tmp_path.glob("*.bak")) == ["1", "2"]


@pytest.mark.skipif("os.geteuid() == 0", reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    path = tmp_path / "sub" / "settings.json"
    path.parent.mkdir()
    path.parent.chmod(0o500)
    with pytest.raises(InputError) as refused:
        edited_files.edit(path, lambda _: "x", private=True)
    assert refused.value.error_id == "edited-file-unusable"


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(InputError) as refused:
        edited_files.edit(tmp_path, lambda _: "x", private=True)
    assert refused.value.error_id == "edited-file-unusable"
