"""Packages of npm for tests: installed once for this environment."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def installed_package(package, name):
    """Install a package, as `name@version`, beside this environment; return the folder it can be used in.

    It skips the test where Node, npm or the package cannot be had.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node and npm are not installed")
    folder = Path(sys.prefix) / name
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != package:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "package.json").write_text('{"private": true}')
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", package]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot install {package}: {(done.stderr or done.stdout).strip()[-200:]}")
        stamp.write_text(package)
    return folder
