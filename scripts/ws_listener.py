#!/usr/bin/env python3
"""The listener of VideoDB's capture documents, as a call of `vdbevents listen`.

usage: python scripts/ws_listener.py [--clear] [--cwd=PATH] [output_dir]
"""

import sys
from pathlib import Path

try:
    from vdbevents.cli.app import app
except ModuleNotFoundError:
    root = Path(__file__).resolve().parent.parent
    sys.exit(f"vdbevents is not installed for {sys.executable}: pip install {root}")

if __name__ == "__main__":
    app(["listen", *sys.argv[1:]])
