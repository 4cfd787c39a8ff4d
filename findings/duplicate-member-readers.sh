#!/usr/bin/env bash
# A member that occurs twice in a JSON object: RFC 8259 leaves open which one counts, and "most take the last"
# is half the truth for {"ts":1,"text":"first","text":"last"}:
#   Python's json, orjson 3.13.0 and pandas 3.1.1 take the last;
#   DuckDB 2.0.1's ->> and json_transform, and polars 2.1.0 (top level), take the first;
#   DuckDB's read_json, pyarrow 26.0.1, and polars for a nested object refuse the line.
# So one file has two answers in one engine, by the function that reads it.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
  orjson==3.13.0 polars==2.1.0 pyarrow==26.0.1 duckdb==2.0.1 pandas==3.1.1
printf '%s\n' '{"ts":1,"text":"first","text":"last"}' >"$dir/flat.jsonl"
printf '%s\n' '{"data":{"text":"first","text":"last"}}' >"$dir/nested.jsonl"
seen=$("$dir/venv/bin/python" - "$dir" <<'PYTHON'
import json
import sys

import duckdb
import orjson
import pandas
import polars
import pyarrow.json

flat, nested = f"{sys.argv[1]}/flat.jsonl", f"{sys.argv[1]}/nested.jsonl"
line = open(flat, encoding="ascii").read()


def show(name, read):
    try:
        print(name, read())
    except Exception as error:
        print(name, type(error).__name__)


show("json", lambda: json.loads(line)["text"])
show("orjson", lambda: orjson.loads(line)["text"])
show("pandas", lambda: pandas.read_json(flat, lines=True)["text"][0])
show("duckdb ->>", lambda: duckdb.execute("SELECT ?::JSON ->> '$.text'", [line]).fetchall()[0][0])
shape = '{"text":"VARCHAR"}'
show("duckdb transform", lambda: duckdb.execute("SELECT json_transform(?, ?)", [line, shape]).fetchall()[0][0]["text"])
show("duckdb read_json", lambda: duckdb.sql(f"FROM read_json('{flat}')").fetchall()[0][1])
show("polars", lambda: polars.read_ndjson(flat)["text"][0])
show("polars nested", lambda: polars.read_ndjson(nested)["data"][0])
show("pyarrow", lambda: pyarrow.json.read_json(flat)["text"][0])
PYTHON
)
echo "$seen"
[ "$seen" = "json last
orjson last
pandas last
duckdb ->> first
duckdb transform first
duckdb read_json InvalidInputException
polars first
polars nested DuplicateError
pyarrow ArrowInvalid" ]
