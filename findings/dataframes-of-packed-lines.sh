#!/usr/bin/env bash
# Thirty JSON lines, packed in three parts one after another, as gzip members and as Zstandard frames: both are
# valid, and how rotating loggers and `cat a.zst b.zst` make them. Rows that libraries of data frames read:
#   daft 0.7.26 reads 30 of the gzip file and 10 of the Zstandard file: it stops after the first frame, without
#   an error;
#   pyarrow.dataset (pyarrow 25.0.1) unpacks the gzip file by its name, and refuses the Zstandard file;
#   pandas 3.1.1, polars 2.1.0 and DuckDB 2.0.1 read 30 of both.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
  daft==0.7.26 pyarrow==25.0.1 pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 zstandard==0.25.0
seen=$(cd "$dir" && DAFT_ANALYTICS_ENABLED=0 "$dir/venv/bin/python" - 2>/dev/null <<'PYTHON'
import gzip

import daft
import duckdb
import pandas
import polars
import pyarrow.dataset
import zstandard

parts = [b"".join(b'{"n":%d}\n' % n for n in range(first, first + 10)) for first in (0, 10, 20)]
packers = {"lines.jsonl.gz": gzip.compress, "lines.jsonl.zst": zstandard.compress}
for name, pack in packers.items():
    with open(name, "wb") as file:
        file.write(b"".join(map(pack, parts)))


def show(name, count):
    results = []
    for path in packers:
        try:
            results.append(count(path))
        except Exception as error:
            results.append(type(error).__name__)
    print(name, *results)


show("daft", lambda path: daft.read_json(path).count_rows())
show("pyarrow.dataset", lambda path: pyarrow.dataset.dataset(path, format="json").count_rows())
show("pandas", lambda path: len(pandas.read_json(path, lines=True)))
show("polars", lambda path: len(polars.read_ndjson(path)))
show("duckdb", lambda path: len(duckdb.sql(f"FROM read_json('{path}')").fetchall()))
PYTHON
)
echo "$seen"
[ "$seen" = "daft 30 10
pyarrow.dataset 30 ArrowInvalid
pandas 30 30
polars 30 30
duckdb 30 30" ]
