"""Print the lowest version that pyproject.toml allows of each dependency, as constraints for pip and uv."""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# A test imports every module, and some ship.
EXTRAS = "mcp", "lake", "spark"

extra = [requirement for name in EXTRAS for requirement in PROJECT["optional-dependencies"][name]]
for requirement in (*PROJECT["dependencies"], *extra):
    if not requirement.startswith(f"{PROJECT['name']}["):
        name, version = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)", requirement).groups()
        print(f"{name}=={version}")
