#!/usr/bin/env bash
# Azurite 3.33.0 (npm), which stands in for Azure's Blob Storage, ignores `startFrom` when it lists: obstore
# 0.12.1 (PyPI) asks it for what comes after a name, and gets all names. So the log of a Delta table seems to
# begin after its end: the third commit of deltalake 1.6.6 fails with "Invalid table version". Needs node and npm.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check obstore==0.12.1 deltalake==1.6.6 pyarrow==26.0.1
npm install --silent --no-fund --no-audit --prefix "$dir" azurite@3.33.0 >"$dir/npm.log" 2>&1
cat >"$dir/program.py" <<'PYTHON'
import base64
import hashlib
import hmac
import os
import sys
import urllib.request
from email.utils import formatdate

import obstore
import pyarrow
from deltalake import write_deltalake
from obstore.store import from_url

# The account that every Azurite has.
name = "devstoreaccount1"
key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
address = f"http://127.0.0.1:{sys.argv[1]}/{name}"
headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
signed = "PUT" + "\n" * 12 + "".join(f"{one}:{value}\n" for one, value in headers.items())
signed += f"/{name}/{name}/events\nrestype:container"
digest = hmac.new(base64.b64decode(key), signed.encode(), hashlib.sha256).digest()
headers["Authorization"] = f"SharedKey {name}:{base64.b64encode(digest).decode()}"
headers["Content-Length"] = "0"
make = urllib.request.Request(f"{address}/events?restype=container", headers=headers, method="PUT")
urllib.request.urlopen(make)

store = from_url(
    "az://events/names",
    client_options={"allow_http": True},
    account_name=name,
    account_key=key,
    endpoint=address,
)
for letter in "abc":
    obstore.put(store, letter, b"")
print("after b:", *(one["path"] for one in obstore.list(store, offset="b").collect()))

os.environ |= {"AZURE_STORAGE_ACCOUNT_NAME": name, "AZURE_STORAGE_ACCOUNT_KEY": key}
os.environ |= {"AZURE_STORAGE_ENDPOINT": address}
for number in range(1, 4):
    try:
        rows = pyarrow.table({"n": [number]})
        write_deltalake("az://events/table", rows, mode="append", storage_options={"allow_http": "true"})
        print(f"commit {number}: done")
    except Exception as error:
        print(f"commit {number}: {error}")
PYTHON
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
node "$dir/node_modules/azurite/dist/src/blob/main.js" --blobPort "$port" --inMemoryPersistence \
  --skipApiVersionCheck --silent >"$dir/azurite.log" 2>&1 &
server=$!
for _ in $(seq 300); do
  grep -q "successfully listens" "$dir/azurite.log" && break
  sleep 0.2
done
seen=$("$dir/venv/bin/python" "$dir/program.py" "$port")
echo "$seen"
[ "$seen" = "after b: a b c
commit 1: done
commit 2: done
commit 3: Invalid table version: 1" ]
