#!/usr/bin/env bash
# Two processes open the same Delta table, and each replaces the same file by its own copy of the rows, as two
# compactions do, with `create_write_transaction` of deltalake 1.6.6 (delta-rs). The protocol says that the second
# must fail, as the file that it removes was removed since. It commits, and each row is there twice.
# With `max_commit_retries=0` the second fails, as it would with any commit between.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1
seen=$(cd "$dir" && "$dir/venv/bin/python" - <<'PYTHON'
import json
import os
import shutil

import pyarrow
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.transaction import AddAction, RemoveAction

for retries in (15, 0):
    write_deltalake("table", pyarrow.table({"n": [1, 2, 3]}))
    tables = [DeltaTable("table"), DeltaTable("table")]
    [old] = tables[0].get_add_actions(flatten=True).column("path").to_pylist()
    size = os.path.getsize(f"table/{old}")
    ends = []
    for name, table in zip(("a.parquet", "b.parquet"), tables):
        shutil.copy(f"table/{old}", f"table/{name}")
        try:
            table.create_write_transaction(
                [
                    RemoveAction(old, False, 0, size, {}),
                    AddAction(name, size, {}, 0, False, json.dumps({"numRecords": 3})),
                ],
                "append",
                table.schema(),
                commit_properties=CommitProperties(max_commit_retries=retries),
            )
            ends.append("committed")
        except Exception as error:
            ends.append(type(error).__name__)
    print(f"{retries} retries:", *ends, sorted(DeltaTable("table").to_pyarrow_table()["n"].to_pylist()))
    shutil.rmtree("table")
PYTHON
)
echo "$seen"
[ "$seen" = "15 retries: committed committed [1, 1, 2, 2, 3, 3]
0 retries: committed CommitFailedError [1, 2, 3]" ]
