"""Plan which channels to record, and which pipelines to run on their streams. Pure.

Channels go in as the SDK lists them, streams as the service sends them; what comes out is which pipelines
to start, and how `videodb_capture_info.json` describes them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, get_args

from vdbevents.errors import InputError
from vdbevents.events import lifecycle

_BATCH: Final = re.compile(r"(\d{1,6})\s*(?:(?P<time>s|seconds?)|(?P<word>words?)|(?P<sentence>sentences?))")
_LONGEST_LABEL: Final = 100
_INTERVALS: Final = 3


class Batch(NamedTuple):
    """How much of a stream one record of an index covers.

    Attributes:
        kind: the unit of `value`: `time` (seconds), `word` or `sentence`.
        frames: how many frames of it a visual index looks at.
    """

    kind: str
    value: int
    frames: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as the SDK takes it: `type`, `value`, `frame_count`."""
        batch: dict[str, Any] = {"type": self.kind, "value": self.value}
        return batch if self.frames is None else {**batch, "frame_count": self.frames}


AUDIO_BATCH: Final = Batch("time", 30)
VISUAL_BATCH: Final = Batch("time", 2, 5)

PipelineKind = Literal["transcript", "audio_index", "visual_index"]


@dataclass(frozen=True, slots=True)
class Channel:
    """A device or screen that the capture runtime can record."""

    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A channel to record."""

    channel: Channel
    store: bool
    primary: bool


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """The pipelines to run on a session's streams.

    Attributes:
        transcript, audio, visual: whether to run these.
        engine: of the transcript; None is the service's default.
        audio_prompt, visual_prompt: of the indexes.
        model: of both indexes; None is the service's default.
        alerts: (label, prompt), each attached to every index.
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


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A transcript or an index of one stream, and its state.

    Attributes:
        id: of an index; empty for a transcript.
        status: `starting`, `running`, `failed`, `stopped`.
        alerts: the ids of its alerts, by label.
        former: ids of the indexes that rebinding replaced, whose records may not all be fetched.
        bindings: how often it was rebound; of two descriptions the one with more is newer.
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
        """Its name in messages: `transcript of mic:default`."""
        return f"{self.kind.replace('_', ' ')} of {self.stream.name}"

    @property
    def interval_seconds(self) -> float | None:
        """The time between two records of an index; None if that depends on what is said, or is unknown."""
        batch = self.settings.get("batch")
        if not isinstance(batch, Mapping) or batch.get("type") != "time":
            return None
        value = batch.get("value")
        return float(value) if isinstance(value, int | float) else None

    def longest_silence(self, seconds: float) -> float:
        """Return how many seconds without a record of an index are right, if `seconds` are for a fast one."""
        return max(seconds, _INTERVALS * (self.interval_seconds or 0.0))

    def to_dict(self) -> dict[str, Any]:
        """Return it as `videodb_capture_info.json` has it."""
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


def objects_in(info: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects in a list of an info file, which anybody may have written."""
    items = info.get(name)
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def pipeline_from(entry: Mapping[str, Any], streams: Mapping[str, lifecycle.Stream]) -> Pipeline | None:
    """Read what `Pipeline.to_dict` wrote, with the session's streams by id; None if it makes no sense."""
    kind = next((kind for kind in get_args(PipelineKind) if kind == entry.get("kind")), None)
    stream = streams.get(str(entry.get("stream_id")))
    if kind is None or stream is None:
        return None
    settings, former, bindings = (entry.get(name) for name in ("settings", "former", "bindings"))
    return Pipeline(
        kind=kind,
        stream=stream,
        settings=settings if isinstance(settings, Mapping) else {},
        id=_text(entry.get("id")),
        ws_id=_text(entry.get("ws_id")),
        status=_text(entry.get("status")),
        error=_text(entry.get("error")),
        alerts={
            _text(alert.get("label")): _text(alert.get("alert_id")) for alert in objects_in(entry, "alerts")
        },
        former=tuple(map(str, former)) if isinstance(former, list) else (),
        bindings=bindings if type(bindings) is int else 0,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def pipelines_for(streams: Sequence[lifecycle.Stream], settings: PipelineSettings) -> list[Pipeline]:
    """Return the pipelines to start on the streams of a session."""
    pipelines: list[Pipeline] = []
    for stream in streams:
        if stream.media == "video":
            if settings.visual:
                index = _index_settings(settings.visual_prompt, settings.visual_batch, settings.model)
                pipelines.append(Pipeline("visual_index", stream, index))
            continue
        if settings.transcript:
            pipelines.append(Pipeline("transcript", stream, {"engine": settings.engine}))
        if settings.audio:
            index = _index_settings(settings.audio_prompt, settings.audio_batch, settings.model)
            pipelines.append(Pipeline("audio_index", stream, index))
    return pipelines


def _index_settings(prompt: str, batch: Batch, model: str | None) -> dict[str, Any]:
    return {"prompt": prompt, "batch": batch.to_dict(), "model": model}


def parse_batch(option: str, text: str, *, frames: int | None = None) -> Batch:
    """Parse `30s`, `50words` or `5sentences`; with `frames`, only seconds.

    Raises:
        InputError: `text` is in another form.
    """
    match = _BATCH.fullmatch(text.strip().lower())
    kind = match.lastgroup if match else None
    if match is None or kind is None or int(match[1]) < 1 or (frames is not None and kind != "time"):
        hint = (
            "use seconds, for example 2s"
            if frames is not None
            else "use a number and a unit: 30s, 50words, 5sentences"
        )
        raise InputError(f"{option}: not a length, got {text!r}", hint, error_id="batch-invalid")
    return Batch(kind, int(match[1]), frames)


def parse_alert(text: str, example: str = "--alert 'deploy=a deployment is mentioned'") -> tuple[str, str]:
    """Split `LABEL=TEXT` into label and prompt.

    Raises:
        InputError: one of them is missing, or the label is too long.
    """
    label, separator, prompt = (part.strip() for part in text.partition("="))
    if not separator or not label or not prompt or len(label) > _LONGEST_LABEL:
        raise InputError(
            f"alert: must be LABEL=TEXT, got {text[:_LONGEST_LABEL]!r}",
            f"try {example}",
            error_id="alert-invalid",
        )
    return label, prompt


def mark_stopped(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline as it is when its session has ended."""
    return replace(pipeline, status="stopped") if pipeline.status in ("running", "starting") else pipeline
