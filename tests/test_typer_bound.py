"""When the bound on typer's version in pyproject.toml can go."""

import importlib.util
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import typer
app = typer.Typer(add_completion=False)
@app.command()
def main(*, count: int = 0) -> None:
    pass
app(["--count", "1"], standalone_mode=False)
print(typer.__version__, typer.__file__, "pydantic" in sys.modules)
"""


@pytest.mark.slow
def test_the_newest_typer_loads_pydantic_to_parse_a_command_line(tmp_path):
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path), "typer"]
    installed = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if installed.returncode:
        pytest.skip(f"typer cannot be installed: {installed.stderr.splitlines()[-1:]}")
    environ = {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    version, file, loads_pydantic = done.stdout.split()

    assert file.startswith(str(tmp_path))
    assert loads_pydantic == "True", f"typer {version} does not load pydantic: the bound on typer can go"
