# For the other scripts to source: set up .venv with uv if it is installed, else with venv and pip.
# usage: prepare_environment [dev]
prepare_environment() {
  local group="${1:-}" stamp=".venv/.ready-${1:-run}" want
  want="$(cat pyproject.toml scripts/environment.sh | cksum)"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && .venv/bin/python -c 'import vdbevents' 2>/dev/null; then
    return
  fi
  echo "preparing .venv …" >&2
  if command -v uv >/dev/null 2>&1; then
    [ -x .venv/bin/python ] || uv venv --quiet --python '>=3.11' .venv
    uv pip install --quiet --python .venv/bin/python --editable . ${group:+--group "$group"}
  else
    [ -x .venv/bin/python ] || "$(find_python)" -m venv .venv
    # Dependency groups need a pip of 2025 or later.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable . ${group:+--group "$group"}
  fi
  echo "$want" >"$stamp"
}

# Set up .venv/lowest: the lowest versions that pyproject.toml allows, and what a few tests need.
prepare_lowest_environment() {
  local place=.venv/lowest wanted tools=(hypothesis pytest pytest-timeout pytest-xdist)
  wanted="$(cat pyproject.toml scripts/environment.sh scripts/lowest_versions.py | cksum)"
  if [ -f "$place/.ready" ] && [ "$(cat "$place/.ready")" = "$wanted" ]; then
    return
  fi
  echo "preparing $place …" >&2
  rm -rf "$place"
  .venv/bin/python scripts/lowest_versions.py >.venv/lowest-versions.txt
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --python .venv/bin/python "$place"
    uv pip install --quiet --python "$place/bin/python" --constraints .venv/lowest-versions.txt --editable '.[mcp,lake,spark]' "${tools[@]}"
  else
    .venv/bin/python -m venv --without-pip "$place"
    .venv/bin/python -m pip --python "$place/bin/python" install --quiet --disable-pip-version-check \
      --constraint .venv/lowest-versions.txt --editable '.[mcp,lake,spark]' "${tools[@]}"
  fi
  echo "$wanted" >"$place/.ready"
}

# Set up .venv/spark: Spark itself, which must not be beside Sail. It needs Java.
prepare_spark_environment() {
  local place=.venv/spark wanted='pyspark==4.3.0'
  if [ -f "$place/.ready" ] && [ "$(cat "$place/.ready")" = "$wanted" ]; then
    return
  fi
  echo "preparing $place …" >&2
  rm -rf "$place"
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --python .venv/bin/python "$place"
    uv pip install --quiet --python "$place/bin/python" "$wanted"
  else
    .venv/bin/python -m venv --without-pip "$place"
    .venv/bin/python -m pip --python "$place/bin/python" install --quiet --disable-pip-version-check "$wanted"
  fi
  echo "$wanted" >"$place/.ready"
}

find_python() {
  local candidate
  for candidate in python3.13 python3.12 python3.11 python3 python; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "vdbevents needs Python 3.11 or later with its venv module; install it, or install uv" >&2
  exit 1
}
