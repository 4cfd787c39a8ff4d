#!/usr/bin/env bash
# An application writes to a Delta table with a transaction version (`txn`), to write each batch once. Of two
# commits from the same state the second fails. But from a new state deltalake 1.6.6 (delta-rs) takes the same
# version again, and a lower one, and then says the lower one: what compares it has to be the application.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1
seen=$(cd "$dir" && "$dir/venv/bin/python" - <<'PYTHON'
import pyarrow
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

rows = pyarrow.table({"n": [1]})
write_deltalake("table", rows)


def commit(table, version):
    try:
        properties = CommitProperties(app_transactions=[Transaction("app", version)])
        write_deltalake(table, rows, mode="append", commit_properties=properties)
    except Exception as error:
        return f"{version}: {error}"
    return f"{version}: committed, now {DeltaTable('table').transaction_version('app')}"


stale = DeltaTable("table")
print(commit(DeltaTable("table"), 7))
print(commit(stale, 7))
print(commit(DeltaTable("table"), 7))
print(commit(DeltaTable("table"), 5))
print(DeltaTable("table").to_pyarrow_table().num_rows, "rows")
PYTHON
)
echo "$seen"
[ "$seen" = "7: committed, now 7
7: Failed to commit transaction: Concurrent transaction failed.
7: committed, now 7
5: committed, now 5
4 rows" ]
