"""Tests of `vdbevents mcp` need the package that its extra brings."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("mcp") else ["test_*.py"]
