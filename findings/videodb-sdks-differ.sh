#!/usr/bin/env bash
# VideoDB's two SDKs send different requests for one call, so a server that knows one refuses the other:
# videodb 0.5.1 (PyPI) names the type of a visual index "time", videodb 0.2.0 (npm) names it "time_based", and leaves
# it out when no settings are given. And the npm one lists capture sessions without ids: it renames `session_id` to
# `sessionId`, and then reads `id`.
set -euo pipefail
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check videodb==0.5.1
# Without its scripts: one of them downloads the capture runtime.
npm install --silent --ignore-scripts --no-audit --no-fund --prefix "$dir" videodb@0.2.0
cat > "$dir/index.py" <<'PYTHON'
import sys

from videodb import connect
from videodb.rtstream import RTStream

stream = RTStream(connect(api_key="key", base_url=sys.argv[1]), "rts-1")
stream.index_visuals(prompt="p", batch_config={"type": "time", "value": 2, "frame_count": 5})
stream.index_visuals(prompt="p")
PYTHON
cat > "$dir/index.cjs" <<'NODE'
const http = require("http"), { spawn } = require("child_process"), { connect } = require("videodb");
const answers = { sessions: [{ session_id: "cap-1", status: "active" }], id: "rts-1", rtstream_index_id: "idx-1" };
let who = "PyPI";
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (piece) => (body += piece));
  request.on("end", () => {
    if (body) console.log(who, JSON.stringify(JSON.parse(body).extraction_type));
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ success: true, data: answers }));
  });
});
server.listen(0, "127.0.0.1", () => {
  const baseUrl = `http://127.0.0.1:${server.address().port}`;
  const python = spawn(process.argv[2], [process.argv[3], baseUrl], { stdio: "inherit" });
  python.on("exit", async () => {
    who = "npm";
    const connection = connect({ apiKey: "key", baseUrl });
    const stream = await (await connection.getCollection()).getRTStream("rts-1");
    await stream.indexVisuals({ prompt: "p", batchConfig: { type: "time", value: 2, frameCount: 5 } });
    await stream.indexVisuals({ prompt: "p" });
    console.log(who, JSON.stringify((await connection.listCaptureSessions()).map((it) => [it.id, it.status])));
    server.close();
    process.exit(0);
  });
});
NODE
seen=$(cd "$dir" && NO_PROXY=127.0.0.1 node index.cjs "$dir/venv/bin/python" "$dir/index.py")
echo "$seen"
[ "$seen" = 'PyPI "time"
PyPI "time"
npm "time_based"
npm undefined
npm [[null,"active"]]' ]
