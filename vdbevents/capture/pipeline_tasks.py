"""The pipelines of a capture with the user's own account: started one by one, and retried until they run."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from vdbevents.capture.capture_context import CaptureContext, cancel_tasks
from vdbevents.cloud import Account
from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import ServiceUnreachableError, VdbeventsError
from vdbevents.events import lifecycle
from vdbevents.journal import files
from vdbevents.sessions import pipelines, plan

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0


class PipelineTasks:
    """Starts pipelines and their alerts in tasks, one for each pipeline."""

    def __init__(self, context: CaptureContext, account: Account, settings: plan.PipelineSettings) -> None:
        """Start nothing yet."""
        self._context = context
        self._info = context.info
        self._account = account
        self._settings = settings
        self._event_guard = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, streams: Sequence[lifecycle.Stream]) -> None:
        """Start the pipelines of streams that the session records."""
        known = self._info.pipelines
        if not self._info.life.streams:
            self._context.say("the session has no streams: no pipeline is started", problem=True)
        first = len(known)
        known += plan.pipelines_for(streams, self._settings)
        if self._settings.alerts and not first and all(one.kind == "transcript" for one in known):
            self._context.say("--alert needs an index, and none is started: no alerts", problem=True)
        for position in range(first, len(known)):
            self._context.start_task(self._run(position), self._tasks)

    async def end(self) -> None:
        """Start no pipeline any more."""
        await cancel_tasks(self._tasks)
        if self._info.session_id:
            self._context.write_info()

    async def _run(self, position: int) -> None:
        """Start a pipeline and its alerts; retry until that succeeds or the recording ends."""
        backoff, last_message = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS), ""
        while True:
            pipeline = self._info.pipelines[position]
            try:
                await self._start_one(position, again=bool(last_message))
            except VdbeventsError as error:
                refused = not isinstance(error, ServiceUnreachableError) and pipeline.status != "running"
                pipeline = self._info.pipelines[position]
                status = "failed" if refused else pipeline.status
                self._update(position, replace(pipeline, status=status, error=error.message))
                if error.message != last_message:
                    self._context.say(
                        f"the {pipeline.title}: {error.message}; retrying",
                        problem=True,
                        hint=error.hint if refused else "",
                    )
                last_message = error.message
                await asyncio.sleep(backoff.next())
            else:
                return

    async def _start_one(self, position: int, *, again: bool) -> None:
        pipeline = self._info.pipelines[position]
        if pipeline.status != "running":
            # An attempt without an answer may have bound it for good: all attempts name one connection.
            ws_id = pipeline.ws_id or self._current_ws_id()
            self._info.pipelines[position] = replace(pipeline, ws_id=ws_id)
            name = pipelines.index_name(pipeline.kind, self._info.session_id)
            start = partial(
                pipelines.start_pipeline, self._account, pipeline, ws_id=ws_id, name=name, again=again
            )
            pipeline = await self._context.waiting.in_thread(start)
            self._update(position, pipeline)
            self._context.say(f"started the {pipeline.title}")
        if pipeline.kind == "transcript" or not self._settings.alerts:
            return
        while not self._update(position, await self._with_alerts(self._info.pipelines[position])):
            """The listener has rebound the pipeline meanwhile, as another index."""

    def _current_ws_id(self) -> str:
        return files.read_small_file(self._context.directory.ws_id) or self._info.ws_id

    async def _with_alerts(self, pipeline: plan.Pipeline) -> plan.Pipeline:
        async with self._event_guard:
            find = partial(pipelines.find_events, self._account, self._settings.alerts, self._info.event_ids)
            events = await self._context.waiting.in_thread(find)
        attach = partial(
            pipelines.attach_alerts,
            self._account,
            pipeline.stream.id,
            pipeline.id,
            events,
            self._current_ws_id(),
        )
        attached = await self._context.waiting.in_thread(attach)
        self._context.say(f"alerts on the {pipeline.title}: {', '.join(attached)}")
        return replace(pipeline, alerts=attached, error="")

    def _update(self, position: int, pipeline: plan.Pipeline) -> bool:
        is_current = self._info.update_pipeline(position, pipeline)
        if is_current:
            self._context.write_info()
        return is_current
