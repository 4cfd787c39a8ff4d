"""What runs on a session's streams, and what is watched for in it: `pipelines …` and `alerts …`."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from vdbevents.cli.cloud_client import Attempts, Service, begin, bound_ws_id, find_streams
from vdbevents.cli.command import reports
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import (
    SessionArgumentOptions,
    StreamOption,
    WsIdOption,
)
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

IndexOption = Annotated[
    str | None, typer.Option("--index", metavar="ID", help="A scene index of the session.")
]

pipelines_app = typer.Typer(
    help="Transcripts and indexes of a session's streams.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class _Running(NamedTuple):
    """A pipeline as the service tells of it, and how it is shown."""

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
    found = []
    for stream in streams:
        if stream.media != "video":
            try:
                found.append(_transcript_of(service, stream))
            except ServiceRefusedError:
                # Of a stream that is known by its id alone, nobody knows whether it can be transcribed.
                if stream.media:
                    raise
        found += [
            _Running(stream, index.channel, index.id, index.status, index.prompt)
            for index in indexes_of(service, stream)
        ]
    return found


def _transcript_of(service: Service, stream: Stream) -> _Running:
    told = service.ask(lambda: service.account.transcript_status(stream.id))
    status, engine = as_text(told.get("status")), as_text(told.get("engine"))
    return _Running(stream, _TRANSCRIPT, "", status, "", engine)


def indexes_of(service: Service, stream: Stream) -> "list[Index]":
    return service.ask(lambda: service.account.list_indexes(stream.id))


_START_HELP = """Start the transcripts and descriptions of a session's streams.

On each audio stream a transcript and a description of what is said, on each video stream a description of
what is shown. Their results are told to the WebSocket of --ws-id, else of the listener in --dir.

\b
Examples:
  vdbevents pipelines start
  vdbevents pipelines start cap-5f1d9c20 --no-index-audio --visual-prompt 'Which program is used?'
  vdbevents pipelines start --stream screen --alert 'invoice=an invoice is on screen' --json

\b
Exit codes: 0 all of them were started, 1 there is no stream for any.
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
        return nothing("the session has no stream for what is wanted", "see: vdbevents streams")
    bound = bound_ws_id(ws_id, state)
    if bound is None:
        remark(
            "nobody listens: what is found can be fetched, and is told to no one",
            "start a listener first: vdbevents listen --daemon",
        )
    attempts = Attempts(service)
    rows = attempts.each([_starting(service, one, settings.alerts, bound) for one in wanted])
    show_rows(rows, _PIPELINE_COLUMNS, as_json=options.as_json)
    return attempts.code


def _starting(
    service: Service, wanted: "Pipeline", alerts: Sequence[tuple[str, str]], ws_id: str | None
) -> Callable[[], dict[str, Any]]:
    import secrets

    from vdbevents.sessions.pipelines import attach_alerts, find_event, start_pipeline

    # One of this name is ours, whatever became of the answer to an earlier attempt.
    name = f"vdbevents {wanted.kind} {secrets.token_hex(4)}"
    tried = False

    def call() -> dict[str, Any]:
        nonlocal tried
        again, tried = tried, True
        running = start_pipeline(service.account, wanted, ws_id=ws_id, name=name, again=again)
        if alerts and running.id:
            events = [(label, find_event(service.account, label, prompt)) for label, prompt in alerts]
            attach_alerts(service.account, running.stream.id, running.id, events, ws_id)
        return _Running(
            running.stream, running.kind, running.id, running.status, running.settings.get("prompt", "")
        ).row()

    return call


_LIST_HELP = """List what runs, or ran, on the streams of a session: stream, kind, id, status, prompt.

\b
Examples:
  vdbevents pipelines list
  vdbevents pipelines list cap-5f1d9c20 --json | jq -r '.[] | select(.kind == "visual_index") | .id'

\b
Exit codes: 0 there is something, 1 there is nothing.
"""


@pipelines_app.command("list", help=_LIST_HELP)
@reports
def list_pipelines(
    *,
    options: SessionArgumentOptions,
) -> ExitCode:
    service, state = begin(options)
    streams = find_streams(service, state, options)
    rows = [one.row() for one in _pipelines_of(service, streams)]
    show_rows(rows, _PIPELINE_COLUMNS, as_json=options.as_json)
    if rows:
        return ExitCode.DONE
    if not streams:
        return nothing("the session has no streams: it is not active yet, or was never started")
    return nothing("nothing runs on the session's streams")


_STOP_HELP = """Stop what runs on the streams of a session, and say what was stopped.

All of it, or what runs on one stream, or one index. What was recorded stays.

\b
Examples:
  vdbevents pipelines stop
  vdbevents pipelines stop --stream mic:default
  vdbevents pipelines stop cap-5f1d9c20 --index scene-idx-7

\b
Exit codes: 0 something was stopped, 1 nothing ran.
"""


@pipelines_app.command(help=_STOP_HELP)
@reports
def stop(
    *,
    stream: StreamOption = None,
    index: IndexOption = None,
    options: SessionArgumentOptions,
) -> ExitCode:
    service, state = begin(options)
    streams = find_streams(service, state, options, stream)
    found = _pipelines_of(service, streams)
    if index is not None:
        found = [one for one in found if one.id == index]
        if not found:
            raise no_index(index)
    running = [one for one in found if one.status not in _ENDED]
    attempts = Attempts(service)
    rows = attempts.each([_stopping(service, one) for one in running])
    show_rows(rows, _PIPELINE_COLUMNS, as_json=options.as_json)
    if not running:
        return nothing("nothing runs that could be stopped")
    return attempts.code


def _stopping(service: Service, one: _Running) -> Callable[[], dict[str, Any]]:
    from vdbevents.sessions.pipelines import stop_pipeline

    def call() -> dict[str, Any]:
        stop_pipeline(service.account, one.stream.id, one.id, engine=one.engine or None)
        return one._replace(status="stopped").row()

    return call


def no_index(index: str) -> InputError:
    return InputError(f"the session has no index {index}", "see: vdbevents pipelines list")


def add_to(app: typer.Typer) -> None:
    """Adds what is here."""
    app.add_typer(pipelines_app, name="pipelines")
