#!/usr/bin/env bash
# DuckDB 2.0.1 (PyPI) remembers that a result was not read to its end. After connection.execute(…).fetchone()
# of a result of ONE row, connection.sql(…).fetchall() raises ResourceInUseException, which 1.4.4 does not:
# fetchone() has not yet seen that there is no second row. Another execute() is allowed, and ends the first.
# fetchall() in place of fetchone(), or a cursor() for each statement, avoids it.
# A relation has lost fetchone(): duckdb.sql("SELECT 1").fetchone() is an AttributeError in 2.0.1.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cat >"$dir/program.py" <<'PYTHON'
import duckdb


def show(name, read):
    try:
        print(duckdb.__version__, name, read())
    except Exception as error:
        print(duckdb.__version__, name, type(error).__name__)


connection = duckdb.connect()
show("execute, fetchone:", lambda: connection.execute("SELECT 1").fetchone())
show("then sql, fetchall:", lambda: connection.sql("SELECT 2").fetchall())
show("then execute, fetchall:", lambda: connection.execute("SELECT 3").fetchall())
show("then sql, fetchall:", lambda: connection.sql("SELECT 4").fetchall())
show("sql, fetchone:", lambda: connection.sql("SELECT 5").fetchone())
PYTHON
for version in 1.4.4 2.0.1; do
  python3 -m venv "$dir/$version"
  "$dir/$version/bin/pip" install --quiet --disable-pip-version-check "duckdb==$version"
  "$dir/$version/bin/python" "$dir/program.py" >>"$dir/seen"
done
cat "$dir/seen"
[ "$(cat "$dir/seen")" = "1.4.4 execute, fetchone: (1,)
1.4.4 then sql, fetchall: [(2,)]
1.4.4 then execute, fetchall: [(3,)]
1.4.4 then sql, fetchall: [(4,)]
1.4.4 sql, fetchone: (5,)
2.0.1 execute, fetchone: (1,)
2.0.1 then sql, fetchall: ResourceInUseException
2.0.1 then execute, fetchall: [(3,)]
2.0.1 then sql, fetchall: [(4,)]
2.0.1 sql, fetchone: AttributeError" ]
