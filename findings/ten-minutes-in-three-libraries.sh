#!/usr/bin/env bash
# "10 minutes", read at noon of 2 March 2026, is three times: for dateparser 1.5.0 ten minutes ago, for
# parsedatetime 2.6 in ten minutes, for dateutil 4.0.0 ten minutes after midnight. None of them refuses
# "03/04/2026", which is 4 March for all three.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
  dateparser==1.5.0 parsedatetime==2.6 python-dateutil==4.0.0
seen=$("$dir/venv/bin/python" - 2>/dev/null <<'PYTHON'
from datetime import datetime

import dateparser
import parsedatetime
from dateutil import parser

noon = datetime(2026, 3, 2, 12)
for text in ("10 minutes", "03/04/2026"):
    times = (
        dateparser.parse(text, settings={"RELATIVE_BASE": noon}),
        parsedatetime.Calendar().parseDT(text, noon)[0],
        parser.parse(text, default=noon.replace(hour=0)),
    )
    print(text, *(f"{time:%Y-%m-%d %H:%M}" for time in times), sep=" | ")
PYTHON
)
echo "$seen"
[ "$seen" = "10 minutes | 2026-03-02 11:50 | 2026-03-02 12:10 | 2026-03-02 00:10
03/04/2026 | 2026-03-04 00:00 | 2026-03-04 12:00 | 2026-03-04 00:00" ]
