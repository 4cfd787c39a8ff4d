#!/usr/bin/env python3
"""Run `vdbevents listen` under the name that VideoDB's capture documents use.

usage: python scripts/ws_listener.py [--clear] [--cwd=PATH] [output_dir]
"""

import sys
from pathlib import Path

try:
    from vdbevents.cli.entry import run
except ModuleNotFoundError:
    root = Path(__file__).resolve().parent.parent
    sys.exit(f"vdbevents is not installed for {sys.executable}: pip install {root}")

if __name__ == "__main__":
    sys.argv.insert(1, "listen")
    run()
