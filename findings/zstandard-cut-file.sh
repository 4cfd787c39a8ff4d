#!/usr/bin/env bash
# zstandard 0.25.0 (PyPI): a Zstandard file of which a third is missing, as after a copy that was interrupted.
# ZstdDecompressor.stream_reader(), .read_to_iter(), .copy_stream() and zstandard.open() return what there is
# and then the end of the file, without an error; .decompress() raises one. Python's gzip module,
# backports.zstd 1.8.0 and pyzstd 0.20.0 raise EOFError.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
  zstandard==0.25.0 backports.zstd==1.8.0 pyzstd==0.20.0
seen=$("$dir/venv/bin/python" - <<'PYTHON'
import gzip
import io

import pyzstd
import zstandard
from backports import zstd

whole = b"".join(b'{"n":%d}\n' % number for number in range(200_000))


def two_thirds(packed):
    return io.BytesIO(packed[: len(packed) * 2 // 3])


def show(name, read):
    try:
        length = read(two_thirds(gzip.compress(whole) if name == "gzip" else zstandard.compress(whole)))
    except Exception as error:
        print(name, type(error).__name__)
    else:
        print(name, "a part, no error" if 0 < length < len(whole) else length)


reader = zstandard.ZstdDecompressor()
show("stream_reader", lambda file: len(reader.stream_reader(file).read()))
show("read_to_iter", lambda file: sum(map(len, reader.read_to_iter(file))))
show("copy_stream", lambda file: reader.copy_stream(file, io.BytesIO())[1])
show("zstandard.open", lambda file: len(zstandard.open(file).read()))
show("decompress", lambda file: len(reader.decompress(file.getvalue())))
show("backports.zstd", lambda file: len(zstd.open(file).read()))
show("pyzstd", lambda file: len(pyzstd.open(file).read()))
show("gzip", lambda file: len(gzip.open(file).read()))
PYTHON
)
echo "$seen"
[ "$seen" = "stream_reader a part, no error
read_to_iter a part, no error
copy_stream a part, no error
zstandard.open a part, no error
decompress ZstdError
backports.zstd EOFError
pyzstd EOFError
gzip EOFError" ]
