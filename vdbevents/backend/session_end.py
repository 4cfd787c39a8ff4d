"""Record the end of a session, and its video."""

from dataclasses import dataclass

from vdbevents.backend.pipeline_starter import Record
from vdbevents.backend.served_info import ServedInfoFile
from vdbevents.backend.served_session import ENDED_EVENT, ServedSession
from vdbevents.journal import files
from vdbevents.sessions import plan
from vdbevents.sessions.interfaces import Reporter

LONGEST_SHOWN = 500
"""Characters of what a webhook or the service says that a message may repeat."""


@dataclass(frozen=True, slots=True)
class EndRecorder:
    """Write what a session has come to into the info file and the journal; raise OSError if that fails."""

    info_file: ServedInfoFile
    record: Record
    say: Reporter

    async def record_end(self, session: ServedSession) -> None:
        """Record that a session is stopping or has ended."""
        info, is_ended = session.info, session.progress.is_ended
        info.pipelines = [plan.mark_stopped(pipeline) for pipeline in info.pipelines]
        info.phase = "stopping"
        if is_ended:
            info.phase = "failed" if session.progress.status == "failed" else "ended"
            info.ended_ms = info.ended_ms or files.wall_ms()
        info.error = session.progress.error
        await self.info_file.write(session, take_over=False)
        if not is_ended or session.is_end_recorded:
            return
        session.is_end_recorded = True
        status = session.progress.status
        end = {"capture_session_id": session.id, "status": status, "error": info.error or None}
        try:
            await self.record(ENDED_EVENT, end)
        except OSError:
            session.is_end_recorded = False
            raise
        reason = f": {info.error}" if info.error else ""
        # One that is exported already is so later in any other report: its video is reported by itself.
        ended = "stopped" if status == "exported" else session.progress.status
        self.say(f"session {session.id} is {ended}{reason}", problem=bool(reason))

    async def record_video(self, session: ServedSession) -> None:
        """Record where a session's video is, and show it."""
        export = session.progress.export
        await self.info_file.write_video(session)
        session.is_video_recorded = True
        links = [url[:LONGEST_SHOWN] for url in (export.stream_url, export.player_url) if url]
        self.say(
            f"session {session.id} is exported: video {export.video_id[:LONGEST_SHOWN]}, {', '.join(links)}"
        )
