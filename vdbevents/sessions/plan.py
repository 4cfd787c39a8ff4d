"""What a capture is to record and to have made of it: choices, without any I/O.

Channels go in as the SDK lists them, streams and events as the service sends them; what comes out is which
channels to record, which pipelines to start, and what `videodb_capture_info.json` says.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

from vdbevents.errors import InputError
from vdbevents.events import lifecycle

_BATCH: Final = re.compile(r"(\d{1,6})\s*(s|seconds?|words?|sentences?)")
_LONGEST_LABEL: Final = 100


class Batch(NamedTuple):
    """How much of a stream goes into one record of an index.

    Attributes:
        kind: of what there are `value`.
        frames: how many pictures of such a span a visual index looks at.
    """

    kind: Literal["time", "word", "sentence"]
    value: int
    frames: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the SDK takes it: `type`, `value`, `frame_count`."""
        every: dict[str, Any] = {"type": self.kind, "value": self.value}
        return every if self.frames is None else {**every, "frame_count": self.frames}


AUDIO_BATCH: Final = Batch("time", 30)
VISUAL_BATCH: Final = Batch("time", 2, 5)

PipelineKind = Literal["transcript", "audio_index", "visual_index"]


@dataclass(frozen=True, slots=True)
class Channel:
    """Something on this machine that can be recorded, as the capture runtime lists it."""

    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A channel that is going to be recorded."""

    channel: Channel
    store: bool
    primary: bool


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """What is to be made of the streams.

    Attributes:
        transcript, audio, visual: whether to start these at all.
        engine: of the transcript; None is the service's own choice.
        audio_prompt, visual_prompt: what the model is asked.
        model: of both indexes; None is the service's own choice.
        alerts: (label, what to look for), each watched for on every index.
    """

    transcript: bool = True
    engine: str | None = None
    audio: bool = True
    audio_prompt: str = ""
    audio_batch: Batch = AUDIO_BATCH
    visual: bool = True
    visual_prompt: str = ""
    visual_batch: Batch = VISUAL_BATCH
    model: str | None = None
    alerts: tuple[tuple[str, str], ...] = ()


_PIPELINE_KINDS: Final[dict[str, PipelineKind]] = {
    "transcript": "transcript",
    "audio_index": "audio_index",
    "visual_index": "visual_index",
}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A transcript or an index of one stream, and how far it is.

    Attributes:
        id: of an index; a transcript has none but its stream's.
        status: `starting`, `running`, `failed`, `stopped`.
        alerts: label and alert id of each alert that is attached.
        former: ids of indexes that were stopped when it was bound anew, and may hold what was never received.
        bindings: how often it was bound anew; of two tellings the one with more is the newer.
    """

    kind: PipelineKind
    stream: lifecycle.Stream
    settings: Mapping[str, Any]
    id: str = ""
    ws_id: str = ""
    status: str = "starting"
    error: str = ""
    alerts: Mapping[str, str] = field(default_factory=dict)
    former: tuple[str, ...] = ()
    bindings: int = 0

    @property
    def title(self) -> str:
        """For a person: `transcript of mic:default`."""
        return f"{self.kind.replace('_', ' ')} of {self.stream.name}"

    def to_dict(self) -> dict[str, Any]:
        """As `videodb_capture_info.json` holds it."""
        return {
            "kind": self.kind,
            "id": self.id or None,
            "stream_id": self.stream.id,
            "ws_id": self.ws_id or None,
            "status": self.status,
            "error": self.error or None,
            "settings": dict(self.settings),
            "alerts": [{"label": label, "alert_id": alert_id} for label, alert_id in self.alerts.items()],
            "former": list(self.former),
            "bindings": self.bindings,
        }


def pipeline_from(told: Mapping[str, Any], streams: Mapping[str, lifecycle.Stream]) -> Pipeline | None:
    """The pipeline that `videodb_capture_info.json` describes; None where it makes no sense.

    Args:
        told: as `Pipeline.to_dict` has it.
        streams: the session's, by their ids.
    """
    kind, stream = _PIPELINE_KINDS.get(str(told.get("kind"))), streams.get(str(told.get("stream_id")))
    settings, alerts, former = (told.get(name) for name in ("settings", "alerts", "former"))
    if kind is None or stream is None:
        return None
    bindings = told.get("bindings")
    return Pipeline(
        kind=kind,
        stream=stream,
        settings=settings if isinstance(settings, Mapping) else {},
        id=_text(told.get("id")),
        ws_id=_text(told.get("ws_id")),
        status=_text(told.get("status")),
        error=_text(told.get("error")),
        alerts={
            _text(alert.get("label")): _text(alert.get("alert_id"))
            for alert in (alerts if isinstance(alerts, list) else ())
            if isinstance(alert, Mapping)
        },
        former=tuple(map(str, former)) if isinstance(former, list) else (),
        bindings=bindings if type(bindings) is int else 0,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def pipelines_for(streams: Sequence[lifecycle.Stream], settings: PipelineSettings) -> list[Pipeline]:
    """The pipelines to start on the streams of a session."""
    found: list[Pipeline] = []
    for stream in streams:
        if stream.media == "video":
            if settings.visual:
                made = _index_settings(settings.visual_prompt, settings.visual_batch, settings.model)
                found.append(Pipeline("visual_index", stream, made))
            continue
        if settings.transcript:
            found.append(Pipeline("transcript", stream, {"engine": settings.engine}))
        if settings.audio:
            made = _index_settings(settings.audio_prompt, settings.audio_batch, settings.model)
            found.append(Pipeline("audio_index", stream, made))
    return found


def _index_settings(prompt: str, batch: Batch, model: str | None) -> dict[str, Any]:
    return {"prompt": prompt, "batch": batch.to_dict(), "model": model}


def parse_batch(option: str, text: str, *, frames: int | None = None) -> Batch:
    """`30s`, `50words` or `5sentences` as a batch; with `frames`, which pictures have, only seconds.

    Raises:
        InputError: it is none of them.
    """
    match = _BATCH.fullmatch(text.strip().lower())
    forms = "2s" if frames is not None else "30s, 50words, 5sentences"
    if match is None or int(match[1]) < 1 or (frames is not None and not match[2].startswith("s")):
        raise InputError(f"{option} {text!r} is no span of a recording", f"Accepted: {forms}.")
    unit = match[2]
    kind: Literal["time", "word", "sentence"] = "time"
    if unit.startswith("w"):
        kind = "word"
    elif unit.startswith("sentence"):
        kind = "sentence"
        if frames is not None:
            raise InputError(f"{option} {text!r} is no span of pictures", f"Accepted: {forms}.")
    return Batch(kind, int(match[1]), frames)


def parse_alert(text: str, example: str = "--alert 'deploy=a deployment is mentioned'") -> tuple[str, str]:
    """`label=what to look for` as its two halves.

    Args:
        text: as it was given.
        example: how it is given rightly, for the hint.

    Raises:
        InputError: one of them is missing, or the label is too long to be one.
    """
    label, separator, prompt = (part.strip() for part in text.partition("="))
    if not separator or not label or not prompt or len(label) > _LONGEST_LABEL:
        raise InputError(f"{text[:_LONGEST_LABEL]!r} is no alert", f"give it as: {example}")
    return label, prompt


def mark_stopped(pipeline: Pipeline) -> Pipeline:
    """The same pipeline, when its session has ended."""
    return replace(pipeline, status="stopped") if pipeline.status in ("running", "starting") else pipeline
