"""Print the lowest version that pyproject.toml allows of each dependency, as constraints for pip and uv."""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# `vdbevents.mcp` is imported by a test.
for requirement in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["mcp"]):
    name, version = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)", requirement).groups()
    print(f"{name}=={version}")
