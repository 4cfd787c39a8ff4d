"""The backend's part of `videodb_capture_info.json`, where the listener finds the pipelines to rebind."""

import asyncio
import os
from collections.abc import Callable, Container, Mapping
from typing import Any

from vdbevents import __version__
from vdbevents.backend.served_session import ServedSession
from vdbevents.journal import files, locks, state
from vdbevents.sessions.capture_info import merge_bindings, unended_sessions

_Content = dict[str, Any]


class ServedInfoFile:
    """Write a session into the info file, which has room for one: that which became active last.

    The methods that write raise OSError.
    """

    def __init__(self, directory: state.StateDirectory, own_sessions: Container[str]) -> None:
        """Write nothing yet; `own_sessions` holds the ids of the backend's sessions."""
        self._path = directory.capture_info
        self._lock = directory.capture_info_lock
        self._own_sessions = own_sessions
        self._guard = asyncio.Lock()

    async def write(self, session: ServedSession, *, take_over: bool) -> None:
        """Write a session's state; replace another session's only if `take_over`."""
        ours = _content(session)

        def change(content: _Content) -> Mapping[str, Any] | None:
            if _session_id(content) == session.id:
                # A capture that records it on this machine knows more about it.
                kept = dict(content) if content.get("channels") else ours
                merged = merge_bindings(ours, content)
                newer = {name: merged[name] for name in ("pipelines", "streams", "alerts")}
                return {**kept, **newer, "unended": content.get("unended") or []}
            if not take_over:
                return None
            unended = [
                {"id": session_id, "collection_id": collection}
                for session_id, collection in unended_sessions(content)
                if session_id not in self._own_sessions
            ]
            return {**ours, "unended": unended}

        await self._change(change)

    async def write_video(self, session: ServedSession) -> None:
        """Write a session's video, and keep the rest; no-op if the file is about another session."""
        ours = _content(session)

        def change(content: _Content) -> Mapping[str, Any] | None:
            if _session_id(content) != session.id:
                return None
            status = ours["session"]["status"]
            newer = {name: ours[name] for name in ("export", "written")}
            return {**content, **newer, "session": {**content["session"], "status": status}}

        await self._change(change)

    async def _change(self, change: Callable[[_Content], Mapping[str, Any] | None]) -> None:
        async with self._guard:
            await asyncio.to_thread(locks.change_object, self._path, self._lock, change)


def _content(session: ServedSession) -> _Content:
    return session.info.to_dict(pid=os.getpid(), version=__version__, now_ms=files.wall_ms())


def _session_id(content: Mapping[str, Any]) -> object:
    session = content.get("session")
    return session.get("id") if isinstance(session, Mapping) else None
