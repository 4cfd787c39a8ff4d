#!/usr/bin/env bash
# A server that an MCP client starts does not get the client's environment: not TZ, not XDG_*, no variable of its own.
#
# usage: findings/mcp-clients-filter-environment.sh        needs the network; not part of scripts/test
#
# mcp 2.3.0 (PyPI) and @modelcontextprotocol/sdk 1.32.2 (npm), on Linux, pass on six names, also where the entry names
# none. So a server set up by variables of the shell reads another directory, and one whose user has set TZ takes the
# zone of the system for the local one: times are off by hours, and nothing says so. What such a server needs must be in
# its arguments, or in the entry's "env", which is added to the six.
# Of HOME, PATH, TZ, LANG, XDG_CACHE_HOME and OWN, the server sees:
#
#   PyPI, no env           HOME PATH
#   PyPI, env of OWN       HOME OWN PATH
#   npm, no env            HOME PATH
#   npm, env of OWN        HOME OWN PATH
#
# Exits with 1 if a client behaves differently.
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install --quiet --disable-pip-version-check "mcp==2.3.0"
npm install --silent --no-audit --no-fund --prefix "$dir" "@modelcontextprotocol/sdk@1.32.2"

cat >"$dir/server.py" <<'PYTHON'
import os
import sys

watched = {"HOME", "PATH", "TZ", "LANG", "XDG_CACHE_HOME", "OWN"}
with open(sys.argv[1], "w") as seen:
    seen.write(" ".join(sorted(watched & set(os.environ))))
PYTHON

cat >"$dir/client.py" <<'PYTHON'
import sys

import anyio
from mcp.client.stdio import StdioServerParameters, stdio_client

server, seen, *own = sys.argv[1:]


async def start():
    env = {"OWN": own[0]} if own else None
    async with stdio_client(StdioServerParameters(command=sys.executable, args=[server, seen], env=env)) as (read, _):
        async for _ in read:
            pass


anyio.run(start)
PYTHON

cat >"$dir/client.mjs" <<'NODE'
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
const [python, server, seen, own] = process.argv.slice(2);
const env = own ? { OWN: own } : undefined;
const transport = new StdioClientTransport({ command: python, args: [server, seen], env });
transport.onclose = () => process.exit(0);
await transport.start();
NODE

export HOME="$dir" TZ=Asia/Tokyo LANG=C.UTF-8 XDG_CACHE_HOME="$dir/cache" OWN=1
python="$dir/venv/bin/python"
seen() {
  rm -f "$dir/seen"
  (cd "$dir" && timeout 60 "$@" </dev/null)
  cat "$dir/seen"
}
result="PyPI, no env           $(seen "$python" client.py server.py seen)
PyPI, env of OWN       $(seen "$python" client.py server.py seen 1)
npm, no env            $(seen node client.mjs "$python" server.py seen)
npm, env of OWN        $(seen node client.mjs "$python" server.py seen 1)"
expected="$(sed -n 's/^#   \(\(PyPI\|npm\), .*\)/\1/p' "${BASH_SOURCE[0]}")"
echo "$result"
if [ "$result" != "$expected" ]; then
  echo "this is not what the head of this file says" >&2
  exit 1
fi
