"""Pipelines of any kind: start and stop them, take in what a script says, page their records. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vdbevents.emulator.request_checks import UNIX_TIME, one_of, optional_text, read, read_number, whole
from vdbevents.emulator.scene_alerts import fire_alerts
from vdbevents.emulator.store import EmulatedPipeline, stream_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vdbevents.emulator.request_checks import Json, RestCall
    from vdbevents.emulator.store import EmulatedStore, EmulatedStream, Record
    from vdbevents.emulator.utterances import Utterance

ACTION: Final = one_of("start", "stop").required
_ID_PREFIXES: Final = {"visual_index": "scene-idx", "audio_index": "scene-idx", "scene_index": "und"}
_PAGE_SIZE: Final = whole(1, 1_000)


def add_pipeline(
    store: EmulatedStore, stream: EmulatedStream, channel: str, connection_id: str | None, details: Json
) -> EmulatedPipeline:
    """Add a running pipeline that nothing feeds yet; a stream has one transcription."""
    now, prefix = store.clock(), _ID_PREFIXES.get(channel)
    pipeline_id = transcription_id(stream) if prefix is None else store.new_id(prefix)
    pipeline = EmulatedPipeline(pipeline_id, stream.id, channel, connection_id, now, details, created_at=now)
    store.pipelines[pipeline.id] = pipeline
    stream.script_origins.setdefault(pipeline.script_channel, now)
    return pipeline


def create_pipeline(
    store: EmulatedStore, stream: EmulatedStream, channel: str, body: Json, details: Json
) -> EmulatedPipeline:
    """Add a running pipeline that pushes to the body's `ws_connection_id`, and queue it to be fed."""
    pipeline = add_pipeline(store, stream, channel, optional_text(body, "ws_connection_id"), details)
    store.started.append(pipeline)
    return pipeline


def change_pipeline(store: EmulatedStore, pipeline: EmulatedPipeline, call: RestCall) -> None:
    """Start or stop a pipeline; it keeps its connection id."""
    if read(call.body, "action", ACTION) == "stop":
        stop_pipeline(store, pipeline)
    elif pipeline.status != "running":
        restart_pipeline(store, pipeline)


def restart_pipeline(store: EmulatedStore, pipeline: EmulatedPipeline) -> None:
    """Start a stopped pipeline, and queue it to be fed."""
    pipeline.status, pipeline.started_at, pipeline.stopped_at = "running", store.clock(), None
    pipeline.starts += 1
    pipeline.implicit = False
    store.started.append(pipeline)


def stop_pipeline(store: EmulatedStore, pipeline: EmulatedPipeline) -> None:
    """Stop a pipeline; no-op when it is stopped."""
    if pipeline.status == "running":
        pipeline.status, pipeline.stopped_at = "stopped", store.clock()


def stop_stream(store: EmulatedStore, stream: EmulatedStream) -> None:
    """Stop a stream and its pipelines."""
    stream.status = "stopped"
    for pipeline in store.pipelines.values():
        if pipeline.stream_id == stream.id:
            stop_pipeline(store, pipeline)


def take_in(store: EmulatedStore, pipeline: EmulatedPipeline, utterance: Utterance) -> None:
    """Keep a final utterance as a record, and fire the pipeline's alerts."""
    if utterance.is_final:
        pipeline.records.append((*utterance.seconds(store.clock()), utterance.text))
    fire_alerts(store, pipeline, utterance)


def deliver(store: EmulatedStore, pipeline: EmulatedPipeline, utterance: Utterance) -> None:
    """Push an utterance of the script, and take it in."""
    data: Json = {"text": utterance.text}
    if pipeline.channel == "transcript":
        data["is_final"] = utterance.is_final
    data |= {"start": utterance.start, "end": utterance.end}
    stream = store.streams[pipeline.stream_id]
    store.push(pipeline.connection_id, stream_event(pipeline.channel, stream, data))
    take_in(store, pipeline, utterance)


def transcription_id(stream: EmulatedStream) -> str:
    """Return the pipeline id of a stream's transcription."""
    return f"transcription-{stream.id}"


def records_page(records: Iterable[Record], query: Mapping[str, str]) -> tuple[list[Record], Json]:
    """Return a page of records, oldest first, and its numbers (`next_page`, `total_count` …).

    `start` and `end` select records that begin between them, both included; `since` those that end later.
    Pages count from 1.
    """
    page, size = read_number(query, "page", whole(1), 1), read_number(query, "page_size", _PAGE_SIZE, 100)
    start, end, since = (read_number(query, name, UNIX_TIME) for name in ("start", "end", "since"))
    selected = [
        record
        for record in records
        if (start is None or record[0] >= start)
        and (end is None or record[0] <= end)
        and (since is None or record[1] > since)
    ]
    first = (page - 1) * size
    has_more = first + size < len(selected)
    numbers = {"next_page": has_more, "total_count": len(selected), "page": page, "page_size": size}
    return selected[first : first + size], numbers


def descriptions_page(records: Iterable[Record], query: Mapping[str, str], name: str) -> Json:
    """Return a page of index records, in a list of this name."""
    selected, numbers = records_page(records, query)
    described = [{"start": start, "end": end, "description": text} for start, end, text in selected]
    return {name: described, "next_page": numbers["next_page"]}
