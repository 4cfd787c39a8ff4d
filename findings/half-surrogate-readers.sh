#!/usr/bin/env bash
# "\ud83d" alone is valid JSON (RFC 8259, section 8.2), and VideoDB's text can hold it where a caption was cut
# in the middle of a pair. What readers of JSON lines make of {"t":"a\ud83d b"}:
#   orjson 3.13.0, pyarrow 26.0.1 and DuckDB 2.0.1 refuse the whole line;
#   polars 2.1.0 reads it, and puts a NUL character where the half pair was;
#   Python's json keeps the half pair, which can then not be encoded as UTF-8.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
  orjson==3.13.0 polars==2.1.0 pyarrow==26.0.1 duckdb==2.0.1
printf '%s\n' '{"t":"a\ud83d b"}' >"$dir/line.jsonl"
seen=$("$dir/venv/bin/python" - "$dir/line.jsonl" <<'PYTHON'
import json
import sys

import duckdb
import orjson
import polars
import pyarrow.json

path = sys.argv[1]
line = open(path, encoding="ascii").read()


def show(name, read):
    try:
        print(name, ascii(read()))
    except Exception as error:
        print(name, type(error).__name__)


show("json", lambda: json.loads(line)["t"])
show("orjson", lambda: orjson.loads(line)["t"])
show("polars", lambda: polars.read_ndjson(path)["t"][0])
show("pyarrow", lambda: pyarrow.json.read_json(path)["t"][0].as_py())
show("duckdb", lambda: duckdb.sql(f"FROM read_json('{path}')").fetchall()[0][0])
PYTHON
)
echo "$seen"
[ "$seen" = "json 'a\\ud83d b'
orjson JSONDecodeError
polars 'a\\x00 b'
pyarrow ArrowInvalid
duckdb InvalidInputException" ]
