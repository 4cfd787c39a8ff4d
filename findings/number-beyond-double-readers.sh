#!/usr/bin/env bash
# 1e400 is a valid JSON number, larger than a double. A reader may refuse it or call it infinity. Seen for {"n":1e400}:
#   Python's json, pandas 3.1.1 and DuckDB 2.0.1's read_json give infinity (which none of their JSON writers can write);
#   DuckDB's ->> gives the text 1e400; orjson 3.13.0, polars 2.1.0 and pyarrow 26.0.1 refuse the line.
# And 18446744073709551616 (2 to the 64th): pandas alone refuses it; orjson, pyarrow and DuckDB round it without a word.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
  orjson==3.13.0 polars==2.1.0 pyarrow==26.0.1 duckdb==2.0.1 pandas==3.1.1
printf '%s\n' '{"n":1e400}' >"$dir/huge.jsonl"
printf '%s\n' '{"n":18446744073709551616}' >"$dir/wide.jsonl"
seen=$("$dir/venv/bin/python" - "$dir" <<'PYTHON'
import json
import sys

import duckdb
import orjson
import pandas
import polars
import pyarrow.json


def show(name, read):
    try:
        print(name, read())
    except Exception as error:
        print(name, type(error).__name__)


for kind in ("huge", "wide"):
    path = f"{sys.argv[1]}/{kind}.jsonl"
    line = open(path, encoding="ascii").read()
    show(f"{kind} json", lambda: json.loads(line)["n"])
    show(f"{kind} orjson", lambda: orjson.loads(line)["n"])
    show(f"{kind} pandas", lambda: pandas.read_json(path, lines=True)["n"][0])
    show(f"{kind} duckdb read_json", lambda: duckdb.sql(f"FROM read_json('{path}')").fetchall()[0][0])
    show(f"{kind} duckdb ->>", lambda: duckdb.execute("SELECT ?::JSON ->> '$.n'", [line]).fetchall()[0][0])
    show(f"{kind} polars", lambda: polars.read_ndjson(path)["n"][0])
    show(f"{kind} pyarrow", lambda: pyarrow.json.read_json(path)["n"][0])
PYTHON
)
echo "$seen"
[ "$seen" = "huge json inf
huge orjson JSONDecodeError
huge pandas inf
huge duckdb read_json inf
huge duckdb ->> 1e400
huge polars ComputeError
huge pyarrow ArrowInvalid
wide json 18446744073709551616
wide orjson 1.8446744073709552e+19
wide pandas ValueError
wide duckdb read_json 1.8446744073709552e+19
wide duckdb ->> 18446744073709551616
wide polars 18446744073709551616
wide pyarrow 1.8446744073709552e+19" ]
