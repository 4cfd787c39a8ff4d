"""The kinds of pipelines: transcriptions, scene indexes and the search in them, understandings. Pure.

A new kind needs its calls here and in rest.py, its channel in `EmulatedPipeline.script_channel`, and an id
prefix in emulated_pipelines.py.
"""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING, Final

from vdbevents.emulator.emulated_pipelines import (
    ACTION,
    change_pipeline,
    create_pipeline,
    descriptions_page,
    records_page,
    restart_pipeline,
    stop_pipeline,
    transcription_id,
)
from vdbevents.emulator.request_checks import (
    NAME,
    OBJECT,
    invalid,
    number,
    one_of,
    optional_text,
    read,
    read_number,
    whole,
)
from vdbevents.emulator.store import INDEX_CHANNELS, iso_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vdbevents.emulator.request_checks import Json, RestCall
    from vdbevents.emulator.store import EmulatedPipeline, EmulatedStore, EmulatedStream

# Each by the name of the Python SDK and of the Node SDK.
_INDEX_KINDS: Final = {
    **dict.fromkeys(("time", "time_based", "shot", "shot_based"), ("visual_index", "video")),
    "transcript": ("audio_index", "audio"),
}
_EXTRACTION: Final = one_of(*_INDEX_KINDS)
_UNDERSTANDING: Final = ("scene_index",)
_RESULTS: Final = 10
_QUERY_WORD: Final = re.compile(r"[^\W_]{3,}")


def change_transcript(store: EmulatedStore, call: RestCall) -> Json:
    """Start or stop the transcription.

    One that runs keeps the connection id that it was started with: no call rebinds it.
    """
    stream, pipeline = store.stream(call["id"]), _transcription(store, call)
    if "audio" not in stream.media_types:
        raise invalid("The stream has no audio to transcribe.")
    engine = optional_text(call.body, "engine") or "default"
    if read(call.body, "action", ACTION) == "start":
        pipeline = start_transcript(store, stream, call.body)
    elif pipeline is not None:
        stop_pipeline(store, pipeline)
    return _describe_transcription(pipeline, engine)


def start_transcript(store: EmulatedStore, stream: EmulatedStream, body: Json) -> EmulatedPipeline:
    """Return the stream's transcription, started with the body's `engine` and connection unless it runs."""
    engine = optional_text(body, "engine") or "default"
    pipeline = store.pipelines.get(transcription_id(stream))
    if pipeline is None:
        pipeline = create_pipeline(store, stream, "transcript", body, {"engine": engine})
    elif pipeline.status != "running":
        pipeline.connection_id = optional_text(body, "ws_connection_id")
        pipeline.details["engine"] = engine
        restart_pipeline(store, pipeline)
    return pipeline


def get_transcript_status(store: EmulatedStore, call: RestCall) -> Json:
    """Return the status: `running`, `stopped` or `not_configured`."""
    pipeline = _transcription(store, call)
    answer = _describe_transcription(pipeline, "default")
    if pipeline is None:
        return answer
    return {**answer, "language": "en", "created_at": iso_time(pipeline.created_at)}


def get_transcript(store: EmulatedStore, call: RestCall) -> Json:
    """Return a page of final transcripts, oldest first, times in Unix seconds."""
    pipeline = _transcription(store, call)
    records, numbers = records_page(() if pipeline is None else pipeline.records, call.query)
    transcripts = [
        {"start": start, "end": end, "text": text, "word_timestamps": []} for start, end, text in records
    ]
    return {"transcription_records": transcripts, **numbers}


def _transcription(store: EmulatedStore, call: RestCall) -> EmulatedPipeline | None:
    return store.pipelines.get(transcription_id(store.stream(call["id"])))


def _describe_transcription(pipeline: EmulatedPipeline | None, engine: str) -> Json:
    if pipeline is None:
        return {"status": "not_configured", "engine": engine}
    answer = {
        "status": pipeline.status,
        "engine": pipeline.details["engine"],
        "updated_at": iso_time(pipeline.stopped_at or pipeline.started_at),
        "start_time": pipeline.started_at,
    }
    return answer if pipeline.stopped_at is None else {**answer, "end_time": pipeline.stopped_at}


def create_index(store: EmulatedStore, call: RestCall) -> Json:
    """Create a scene index: of speech with `extraction_type` `transcript`, else visual.

    The Node SDK leaves the type out of a visual index without settings.
    """
    stream, body = store.stream(call["id"]), call.body
    extraction_type = read(body, "extraction_type", _EXTRACTION, "time")
    channel, media = _INDEX_KINDS[extraction_type]
    if media not in stream.media_types:
        raise invalid(f"The stream has no {media} to index.")
    details = {
        "extraction_type": extraction_type,
        "extraction_config": read(body, "extraction_config", OBJECT, {}),
        "prompt": optional_text(body, "prompt") or "Describe the scene",
        "name": optional_text(body, "name") or f"{channel} of {stream.name}",
        "sandbox_id": optional_text(body, "sandbox_id"),
    }
    return describe_index(create_pipeline(store, stream, channel, body, details))


def list_indexes(store: EmulatedStore, call: RestCall) -> Json:
    """Return a stream's scene indexes."""
    indexes = store.pipelines_of(call["id"], INDEX_CHANNELS)
    return {"scene_indexes": [describe_index(index) for index in indexes]}


def get_scenes(store: EmulatedStore, call: RestCall) -> Json:
    """Return a page of a scene index's records, oldest first, times in Unix seconds."""
    index = store.index(call["id"], call["index"])
    return descriptions_page(index.records, call.query, "scene_index_records")


def change_prompt(store: EmulatedStore, call: RestCall) -> None:
    """Replace a scene index's prompt."""
    store.index(call["id"], call["index"]).details["prompt"] = read(call.body, "prompt", NAME)


def change_index(store: EmulatedStore, call: RestCall) -> None:
    """Start or stop a scene index; it keeps its connection id."""
    change_pipeline(store, store.index(call["id"], call["index"]), call)


def search_indexes(store: EmulatedStore, call: RestCall) -> Json:
    """Return records of a stream's scene indexes that hold words of the `query`, best first.

    The score is the share of the query's words of three or more letters that occur in the text.
    """
    indexes = store.pipelines_of(call["id"], INDEX_CHANNELS)
    index_id = optional_text(call.body, "scene_index_id")
    return _search(indexes if index_id is None else [store.index(call["id"], index_id)], call)


def search_collection(store: EmulatedStore, call: RestCall) -> Json:
    """Return the same of all streams of a collection; each result names its stream."""
    store.collection(call["id"])
    streams = {stream.id: stream for stream in store.streams.values() if stream.collection_id == call["id"]}
    index_id = optional_text(call.body, "scene_index_id")
    indexes = [
        index
        for stream_id in streams
        for index in store.pipelines_of(stream_id, INDEX_CHANNELS)
        if index_id in {None, index.id}
    ]
    found = _search(indexes, call)
    for result in found["results"]:
        stream = streams[store.pipelines[result["scene_index_id"]].stream_id]
        result |= {"rtstream_id": stream.id, "rtstream_name": stream.name}
    return found


def _search(indexes: Iterable[EmulatedPipeline], call: RestCall) -> Json:
    query = read(call.body, "query", NAME)
    most = read_number(call.body, "result_threshold", whole(1), _RESULTS)
    least = read(call.body, "score_threshold", number(-inf), 0)
    words = set(_QUERY_WORD.findall(query.lower()))
    results = [
        {
            "start": start,
            "end": end,
            "text": text,
            "score": round(score, 4),
            "scene_index_id": index.id,
            "scene_index_name": index.details["name"],
            "metadata": {},
        }
        for index in indexes
        for start, end, text in index.records
        if (score := sum(word in text.lower() for word in words) / max(1, len(words))) > 0 and score >= least
    ]
    results.sort(key=lambda result: (-result["score"], result["start"]))
    return {"results": results[:most]}


def describe_index(index: EmulatedPipeline) -> Json:
    """Return a scene index as the API does."""
    return {"rtstream_index_id": index.id, "status": index.status, **index.details}


def create_understanding(store: EmulatedStore, call: RestCall) -> Json:
    """Create an understanding with its one `vlm` analyzer."""
    stream, body = store.stream(call["id"]), call.body
    match body.get("analyzers"):
        case [{"type": "vlm"} as analyzer]:
            output = str(analyzer.get("name") or "scene")
        case _:
            raise invalid("analyzers: must hold exactly one analyzer of type 'vlm'")
    details = {
        "segmentation": read(body, "segmentation", OBJECT, {}),
        "analyzers": body["analyzers"],
        "store": body.get("store", True) is not False,
        "output": output,
    }
    return _describe_understanding(create_pipeline(store, stream, "scene_index", body, details))


def list_understandings(store: EmulatedStore, call: RestCall) -> Json:
    """Return a stream's understandings."""
    pipelines = store.pipelines_of(call["id"], _UNDERSTANDING)
    return {"understandings": [_describe_understanding(pipeline) for pipeline in pipelines]}


def get_understanding(store: EmulatedStore, call: RestCall) -> Json:
    """Return an understanding."""
    return _describe_understanding(_understanding(store, call))


def change_understanding(store: EmulatedStore, call: RestCall) -> None:
    """Start or stop an understanding; it keeps its connection id."""
    change_pipeline(store, _understanding(store, call), call)


def get_understood(store: EmulatedStore, call: RestCall) -> Json:
    """Return a page of records of an `output` (`scene` by default); empty when it is not stored."""
    pipeline = _understanding(store, call)
    is_kept = pipeline.details["store"] and call.query.get("output", "scene") == pipeline.details["output"]
    return descriptions_page(pipeline.records if is_kept else (), call.query, "records")


def _understanding(store: EmulatedStore, call: RestCall) -> EmulatedPipeline:
    return store.pipeline(call["id"], call["of"], _UNDERSTANDING, "understanding")


def _describe_understanding(pipeline: EmulatedPipeline) -> Json:
    details = dict(pipeline.details)
    output = details.pop("output")
    return {
        "understanding_id": pipeline.id,
        "rtstream_id": pipeline.stream_id,
        "status": pipeline.status,
        **details,
        "outputs": {output: {"type": "understanding", "understanding_id": pipeline.id, "output": output}},
    }
