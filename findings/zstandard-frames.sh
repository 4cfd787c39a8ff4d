#!/usr/bin/env bash
# zstandard 0.25.0 (PyPI), Python 3: two Zstandard frames one after another, as `cat a.zst b.zst` or a
# rotating logger makes them, are one valid stream. Of four ways to read it, two stop after the first frame
# without an error: ZstdDecompressor.decompress() and .read_to_iter(). stream_reader() and zstandard.open()
# read all of it.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check zstandard==0.25.0
seen=$("$dir/venv/bin/python" - <<'PYTHON'
import io
import zstandard

first, second = b'{"n":1}\n', b'{"n":2}\n'
stream = zstandard.compress(first) + zstandard.compress(second)
reader = zstandard.ZstdDecompressor()
print("decompress", reader.decompress(stream).count(b"\n"))
print("read_to_iter", b"".join(reader.read_to_iter(io.BytesIO(stream))).count(b"\n"))
print("stream_reader", reader.stream_reader(io.BytesIO(stream)).read().count(b"\n"))
print("open", zstandard.open(io.BytesIO(stream)).read().count(b"\n"))
PYTHON
)
echo "$seen"
[ "$seen" = "decompress 1
read_to_iter 1
stream_reader 2
open 2" ]
