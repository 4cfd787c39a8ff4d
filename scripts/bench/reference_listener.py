"""Record events as VideoDB's documents show it: the SDK's `receive()`, and a file opened for each event.

usage: reference_listener.py OUTPUT_DIR        for comparison; not part of the product
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import videodb

OUTPUT = Path(sys.argv[1])
EVENTS = OUTPUT / "videodb_events.jsonl"


def append_event(event: dict) -> None:
    now = datetime.now(UTC)
    event = {"ts": now.isoformat(timespec="milliseconds"), "unix_ts": now.timestamp(), **event}
    with EVENTS.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(event) + "\n")


async def listen() -> None:
    connection = videodb.connect(base_url=os.environ["VIDEO_DB_API"])
    socket = await connection.connect_websocket().connect()
    (OUTPUT / "videodb_ws_id").write_text(socket.connection_id)
    print(f"WS_ID={socket.connection_id}", flush=True)
    async for message in socket.receive():
        append_event(message)


asyncio.run(listen())
