"""The options that describe a new session and its pipelines."""

from typing import TYPE_CHECKING, Annotated

from vdbevents.cli.command import default_end_user, require_text, token_seconds
from vdbevents.cli.declared import Option
from vdbevents.cli.options import OptionGroup

if TYPE_CHECKING:
    from vdbevents.sessions.plan import PipelineSettings


class PipelineOptions(OptionGroup):
    """Which transcripts and indexes run on a session's streams."""

    transcript: Annotated[bool, Option(help="Transcribe speech.")] = True
    engine: Annotated[
        str | None,
        Option(metavar="NAME", help="Transcription engine.", show_default="the service's own"),
    ] = None
    index_audio: Annotated[bool, Option(help="Summarise the audio.")] = True
    audio_prompt: Annotated[str, Option(metavar="TEXT", help="What to ask the model about the audio.")] = (
        "Summarize what is being discussed"
    )
    audio_every: Annotated[
        str, Option(metavar="SPAN", help="What one summary covers: 30s, 50words, 5sentences.")
    ] = "30s"
    index_visuals: Annotated[bool, Option(help="Describe the screen.")] = True
    visual_prompt: Annotated[str, Option(metavar="TEXT", help="What to ask the model about the screen.")] = (
        "In one sentence, describe what is on screen"
    )
    visual_every: Annotated[str, Option(metavar="SPAN", help="What one description covers: 2s.")] = "2s"
    frames: Annotated[int, Option(min=1, metavar="N", help="Video frames used per description.")] = 5
    model: Annotated[
        str | None,
        Option(metavar="NAME", help="Model for both indexes.", show_default="the service's own"),
    ] = None
    alert: Annotated[
        list[str] | None,
        Option(metavar="LABEL=TEXT", help="Alert when TEXT is seen or heard; repeatable."),
    ] = None

    def settings(self) -> "PipelineSettings":
        """Return what the options ask for.

        Raises:
            InputError: one of them is invalid.
        """
        from vdbevents.sessions import plan

        require_text(self.audio_prompt, self.visual_prompt, self.engine, self.model, *(self.alert or ()))
        return plan.PipelineSettings(
            transcript=self.transcript,
            engine=self.engine,
            audio=self.index_audio,
            audio_prompt=self.audio_prompt,
            audio_batch=plan.parse_batch("--audio-every", self.audio_every),
            visual=self.index_visuals,
            visual_prompt=self.visual_prompt,
            visual_batch=plan.parse_batch("--visual-every", self.visual_every, frames=self.frames),
            model=self.model,
            alerts=tuple(dict(plan.parse_alert(alert) for alert in self.alert or ()).items()),
        )


class NewSessionOptions(OptionGroup):
    """The options of a new session."""

    end_user_id: Annotated[
        str | None, Option(metavar="ID", help="The session's end user.", show_default="user@host")
    ] = None
    collection: Annotated[str, Option(metavar="ID", help="Where the video is stored.")] = "default"
    metadata: Annotated[
        list[str] | None, Option(metavar="KEY=VALUE", help="Stored with the session; repeatable.")
    ] = None

    @property
    def end_user(self) -> str:
        """The session's end user."""
        return self.end_user_id or default_end_user()

    def parsed_metadata(self) -> dict[str, str]:
        """Return the metadata; also check that all texts can be sent.

        Raises:
            InputError: a text cannot be encoded, or is not KEY=VALUE.
        """
        from vdbevents.capture.selection import parse_metadata

        require_text(self.end_user_id, self.collection, *(self.metadata or ()))
        return parse_metadata(self.metadata or ())


class RecordingOptions(NewSessionOptions):
    """The options of a new session that is recorded here."""

    token_ttl: Annotated[
        str, Option(metavar="TIME", help="How long the capture runtime's token is valid.")
    ] = "24h"  # noqa: S105 - a duration

    def token_seconds(self) -> int:
        """Return the lifetime of the runtime's token.

        Raises:
            InputError: it is not a duration, or out of range.
        """
        return token_seconds("--token-ttl", self.token_ttl)
