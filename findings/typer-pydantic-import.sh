#!/usr/bin/env bash
# typer 0.29.2 imports pydantic whenever it parses a command line.
#
# usage: findings/typer-pydantic-import.sh        needs the network; not part of scripts/test
#
# Where: typer.core._TyperParameter.process_value passes every value to get_runtime_param().coerce, which
# builds a pydantic TypeAdapter; only a bool flag that has a bool as its value is left out. --help, when it
# is not given, has the value None, so that even a program of bool flags loads pydantic.
# There is no setting against it.
# Cost: `vdbevents status` takes 330 ms of CPU instead of 130 with typer 0.28.0, which never loads pydantic.
# Seen with typer 0.29.2 on Python 3.11:
#
#   int option                   pydantic loaded: yes
#   bool flag                    pydantic loaded: yes
#   bool flag, without --help    pydantic loaded: no
#
# Exits with 1 if typer behaves differently.
set -euo pipefail
version=0.29.2
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "typer==$version"

cat >"$folder/program.py" <<'PYTHON'
import sys

import typer

kind, *arguments = sys.argv[1:]
app = typer.Typer(add_completion=False)


@app.command(add_help_option=kind != "flag-without-help")
def main(*, on: bool = False) -> None:
    pass


if kind == "option":
    app.registered_commands.clear()

    @app.command()
    def count(*, count: int = 0) -> None:
        pass


app(arguments, standalone_mode=False)
print("yes" if "pydantic" in sys.modules else "no")
PYTHON

run() { "$folder/venv/bin/python" "$folder/program.py" "$@"; }
seen="int option                   pydantic loaded: $(run option --count 1)
bool flag                    pydantic loaded: $(run flag --on)
bool flag, without --help    pydantic loaded: $(run flag-without-help --on)"
expected="$(sed -n 's/^#   \(.*pydantic loaded: .*\)/\1/p' "${BASH_SOURCE[0]}")"
echo "typer $version"
echo "$seen"
if [ "$seen" != "$expected" ]; then
  echo "this is not what the head of this file says" >&2
  exit 1
fi
