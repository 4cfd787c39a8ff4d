"""The resources: the newest events, and the transcript of each session."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import anyio.to_thread
import mcp_types as types
from mcp.shared.exceptions import MCPError

from vdbevents.errors import VdbeventsError
from vdbevents.mcp.live_updates import LIVE, LiveUpdates
from vdbevents.mcp.protocol_server import refuse_cursor, said
from vdbevents.mcp.tool import Reporting, Tool
from vdbevents.mcp.tool_parameters import checked

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    _Context = ServerRequestContext[dict[str, Any]]

_TRANSCRIPT: Final = "vdbevents://sessions/{id}/transcript"
_TRANSCRIPT_FORM: Final = re.compile(r"vdbevents://sessions/([^/]+)/transcript")
_TEXT: Final = "text/plain"
_TRANSCRIPT_TOKENS: Final = 20_000
_LISTED_TOKENS: Final = 2_000


class Silent:
    """Nobody waits for the progress of a resource."""

    is_cancelled = False

    def progress(self, done: float, total: float, message: str) -> None:
        """Report nothing."""


def answered(tool: Tool, **arguments: Any) -> str:  # noqa: ANN401 - of the tool's parameters
    """Return the text that a tool answers."""
    reporting: Reporting = Silent()
    return tool.run(checked(tool.name, tool.parameters, arguments), reporting).text


def resource_handlers(tools: Mapping[str, Tool], live: LiveUpdates) -> dict[str, Callable[..., Any]]:
    """Return the handlers of requests about resources, which answer as the tools do."""

    async def list_resources(
        _: "_Context", params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        refuse_cursor(params)
        return types.ListResourcesResult(resources=await anyio.to_thread.run_sync(_listed, tools))

    async def list_templates(
        _: "_Context", params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        refuse_cursor(params)
        template = types.ResourceTemplate(
            uri_template=_TRANSCRIPT,
            name="transcript",
            title="What was said in a session",
            description="The id is one of list_sessions, or last.",
            mime_type=_TEXT,
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read(_: "_Context", params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(params.uri)
        try:
            text = await anyio.to_thread.run_sync(_read, tools, uri)
        except VdbeventsError as error:
            raise MCPError(types.INVALID_PARAMS, said(error), {"uri": uri}) from None
        content = types.TextResourceContents(uri=params.uri, mime_type=_TEXT, text=text)
        return types.ReadResourceResult(contents=[content])

    async def subscribe(context: "_Context", params: types.SubscribeRequestParams) -> types.EmptyResult:
        if str(params.uri) != LIVE:
            raise MCPError(types.INVALID_PARAMS, f"only {LIVE} can be subscribed to")
        live.subscribe(context.session)
        return types.EmptyResult()

    async def unsubscribe(context: "_Context", _params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        live.unsubscribe(context.session)
        return types.EmptyResult()

    return {
        "on_list_resources": list_resources,
        "on_list_resource_templates": list_templates,
        "on_read_resource": read,
        "on_subscribe_resource": subscribe,
        "on_unsubscribe_resource": unsubscribe,
    }


def _listed(tools: Mapping[str, Tool]) -> list[types.Resource]:
    """Return the live resource, and the transcripts of the newest sessions."""
    resources = [
        types.Resource(
            uri=LIVE,
            name="live",
            title="The newest events",
            description="What was said and shown last; clients that subscribe are notified of new events.",
            mime_type=_TEXT,
        )
    ]
    tool = tools["list_sessions"]
    try:
        values = checked(tool.name, tool.parameters, {"max_tokens": _LISTED_TOKENS})
        sessions = tool.run(values, Silent()).data["sessions"]
    except VdbeventsError:
        return resources  # there is no journal yet
    for session in sessions:
        name = session["session"]
        resources.append(
            types.Resource(
                uri=_TRANSCRIPT.replace("{id}", quote(name, safe="")),
                name=name,
                title=f"What was said in {name}, {session['started'] or 'time unknown'}",
                mime_type=_TEXT,
            )
        )
    return resources


def _read(tools: Mapping[str, Tool], uri: str) -> str:
    if uri == LIVE:
        return answered(tools["search_events"])
    if found := _TRANSCRIPT_FORM.fullmatch(uri):
        return answered(tools["get_transcript"], session=unquote(found[1]), max_tokens=_TRANSCRIPT_TOKENS)
    raise VdbeventsError(
        f"no resource {uri[:200]}", f"use {LIVE} or {_TRANSCRIPT}", error_id="resource-unknown"
    )
