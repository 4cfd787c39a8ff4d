"""`vdbevents pipelines`: starts, lists and stops the transcripts and indexes of a session."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from vdbevents.cli.cloud_client import Attempts, Service, begin, bound_ws_id, find_streams
from vdbevents.cli.command import reports
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import SessionArgumentOptions, StreamOption, WsIdOption
from vdbevents.cli.pipeline_options import PipelineOptions
from vdbevents.cli.tables import as_text, nothing, remark, show_rows
from vdbevents.errors import InputError, ServiceRefusedError
from vdbevents.events.lifecycle import Stream

if TYPE_CHECKING:
    from vdbevents.cloud import Index
    from vdbevents.sessions.plan import Pipeline


_TRANSCRIPT: Final = "transcript"
_ENDED: Final = ("stopped", "not_configured")
_PIPELINE_COLUMNS: Final = ("stream_name", "kind", "id", "status", "prompt")

IndexOption = Annotated[str | None, Option("--index", metavar="ID", help="An index of the session.")]

pipelines_app = typer.Typer(
    help="Manage the transcripts and indexes of a session's streams.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class _Running(NamedTuple):
    """A pipeline on the server."""

    stream: Stream
    kind: str
    id: str
    status: str
    prompt: str
    engine: str = ""

    def row(self) -> dict[str, Any]:
        return {
            "stream_id": self.stream.id,
            "stream_name": self.stream.name,
            "source": self.stream.source,
            "kind": self.kind,
            "id": self.id or None,
            "status": self.status,
            "prompt": self.prompt or None,
        }


def _pipelines_of(service: Service, streams: Iterable[Stream]) -> list[_Running]:
    pipelines = []
    for stream in streams:
        if stream.media != "video":
            try:
                pipelines.append(_transcript_of(service, stream))
            except ServiceRefusedError:
                # A stream given by its id may have no audio.
                if stream.media:
                    raise
        pipelines += [
            _Running(stream, index.channel, index.id, index.status, index.prompt)
            for index in indexes_of(service, stream)
        ]
    return pipelines


def _transcript_of(service: Service, stream: Stream) -> _Running:
    transcript = service.ask(lambda: service.account.transcript_status(stream.id))
    status, engine = as_text(transcript.get("status")), as_text(transcript.get("engine"))
    return _Running(stream, _TRANSCRIPT, "", status, "", engine)


def indexes_of(service: Service, stream: Stream) -> "list[Index]":
    return service.ask(lambda: service.account.list_indexes(stream.id))


_START_HELP = """Start the transcripts and indexes of a session's streams.

A transcript and an audio index on each audio stream, a visual index on each video stream. Their events go to
the WebSocket of --ws-id, else of the listener in --dir.

\b
Examples:
  vdbevents pipelines start
  vdbevents pipelines start --session cap-5f1d9c20 --no-index-audio --visual-prompt 'Which program is used?'
  vdbevents pipelines start --stream screen --alert 'invoice=an invoice is on screen' --json

\b
Exit codes: 0 all started, 1 no stream fits.
"""


@pipelines_app.command(help=_START_HELP)
@reports
def start(
    *,
    stream: StreamOption = None,
    pipelines: PipelineOptions,
    ws_id: WsIdOption = None,
    options: SessionArgumentOptions,
) -> ExitCode:
    from vdbevents.sessions.plan import pipelines_for

    settings = pipelines.settings()
    service, state = begin(options)
    streams = find_streams(service, state, options, stream)
    wanted = pipelines_for(streams, settings)
    if not wanted:
        return nothing("the session has no stream for these pipelines", "see: vdbevents streams")
    bound = bound_ws_id(ws_id, state)
    if bound is None:
        remark(
            "no listener is connected: no events will arrive",
            "start a listener first: vdbevents listen --daemon",
        )
    attempts = Attempts(service)
    rows = attempts.each([_starting(service, pipeline, settings.alerts, bound) for pipeline in wanted])
    show_rows(rows, _PIPELINE_COLUMNS, as_json=options.as_json)
    return attempts.code


def _starting(
    service: Service, wanted: "Pipeline", alerts: Sequence[tuple[str, str]], ws_id: str | None
) -> Callable[[], dict[str, Any]]:
    import secrets

    from vdbevents.sessions.pipelines import attach_alerts, find_event, start_pipeline

    # A retry finds by this name an index that an attempt without an answer has created.
    name = f"vdbevents {wanted.kind} {secrets.token_hex(4)}"
    is_retry = False

    def call() -> dict[str, Any]:
        nonlocal is_retry
        again, is_retry = is_retry, True
        running = start_pipeline(service.account, wanted, ws_id=ws_id, name=name, again=again)
        if alerts and running.id:
            events = [(label, find_event(service.account, label, prompt)) for label, prompt in alerts]
            attach_alerts(service.account, running.stream.id, running.id, events, ws_id)
        return _Running(
            running.stream, running.kind, running.id, running.status, running.settings.get("prompt", "")
        ).row()

    return call


_LIST_HELP = """List the pipelines of a session.

Columns: stream, kind, id, status, prompt.

\b
Examples:
  vdbevents pipelines list
  vdbevents pipelines list --session cap-5f1d9c20 --json | jq -r '.[] | select(.kind == "visual_index") | .id'

\b
Exit codes: 0 some listed, 1 none.
"""


@pipelines_app.command("list", help=_LIST_HELP)
@reports
def list_pipelines(*, options: SessionArgumentOptions) -> ExitCode:
    service, state = begin(options)
    streams = find_streams(service, state, options)
    rows = [pipeline.row() for pipeline in _pipelines_of(service, streams)]
    show_rows(rows, _PIPELINE_COLUMNS, as_json=options.as_json)
    if rows:
        return ExitCode.DONE
    if not streams:
        return nothing("the session has no streams: it is not active yet, or was never started")
    return nothing("no pipelines on the session's streams")


_STOP_HELP = """Stop the pipelines of a session, and list them.

Stops all, or those of one --stream, or one --index. Recorded events are kept.

\b
Examples:
  vdbevents pipelines stop
  vdbevents pipelines stop --stream mic:default
  vdbevents pipelines stop --session cap-5f1d9c20 --index scene-idx-7

\b
Exit codes: 0 some stopped, 1 none was running.
"""


@pipelines_app.command(help=_STOP_HELP)
@reports
def stop(
    *, stream: StreamOption = None, index: IndexOption = None, options: SessionArgumentOptions
) -> ExitCode:
    service, state = begin(options)
    streams = find_streams(service, state, options, stream)
    pipelines = _pipelines_of(service, streams)
    if index is not None:
        pipelines = [pipeline for pipeline in pipelines if pipeline.id == index]
        if not pipelines:
            raise no_index(index)
    running = [pipeline for pipeline in pipelines if pipeline.status not in _ENDED]
    attempts = Attempts(service)
    rows = attempts.each([partial(_stop, service, pipeline) for pipeline in running])
    show_rows(rows, _PIPELINE_COLUMNS, as_json=options.as_json)
    if not running:
        return nothing("no pipeline is running")
    return attempts.code


def _stop(service: Service, pipeline: _Running) -> dict[str, Any]:
    from vdbevents.sessions.pipelines import stop_pipeline

    stop_pipeline(service.account, pipeline.stream.id, pipeline.id, engine=pipeline.engine or None)
    return pipeline._replace(status="stopped").row()


def no_index(index: str) -> InputError:
    return InputError(
        f"--index: not an index of the session, got {index}",
        "see: vdbevents pipelines list",
        error_id="index-missing",
    )
