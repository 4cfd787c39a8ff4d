"""The options that say what is to be made of a stream: of `capture` and of `pipelines start`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vdbevents.sessions import plan

Transcript = Annotated[bool, typer.Option(help="Have what is said written down.")]
Engine = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of the transcript.", show_default="the service's own")
]
IndexAudio = Annotated[bool, typer.Option(help="Have what is said described.")]
AudioPrompt = Annotated[str, typer.Option(metavar="TEXT", help="What the model is asked about what is said.")]
AudioEvery = Annotated[
    str, typer.Option(metavar="SPAN", help="What one description covers: 30s, 50words, 5sentences.")
]
IndexVisuals = Annotated[bool, typer.Option(help="Have what is shown described.")]
VisualPrompt = Annotated[
    str, typer.Option(metavar="TEXT", help="What the model is asked about what is shown.")
]
VisualEvery = Annotated[str, typer.Option(metavar="SPAN", help="What one description covers: 2s.")]
Frames = Annotated[int, typer.Option(min=1, metavar="N", help="How many pictures of such a span are used.")]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of both descriptions.", show_default="the service's own")
]
Alert = Annotated[
    list[str] | None,
    typer.Option(metavar="LABEL=TEXT", help="Watch the descriptions for what TEXT says; repeatable."),
]

AUDIO_PROMPT = "Summarize what is being discussed"
AUDIO_EVERY = "30s"
VISUAL_PROMPT = "In one sentence, describe what is on screen"
VISUAL_EVERY = "2s"
FRAMES = 5


def pipeline_settings(
    *,
    transcript: bool,
    engine: str | None,
    index_audio: bool,
    audio_prompt: str,
    audio_every: str,
    index_visuals: bool,
    visual_prompt: str,
    visual_every: str,
    frames: int,
    model: str | None,
    alerts: list[str] | None,
) -> "plan.PipelineSettings":
    """What the options ask for.

    Raises:
        InputError: one of them makes no sense.
    """
    from vdbevents.sessions import plan

    return plan.PipelineSettings(
        transcript=transcript,
        engine=engine,
        audio=index_audio,
        audio_prompt=audio_prompt,
        audio_batch=plan.parse_batch("--audio-every", audio_every),
        visual=index_visuals,
        visual_prompt=visual_prompt,
        visual_batch=plan.parse_batch("--visual-every", visual_every, frames=frames),
        model=model,
        alerts=tuple(dict(plan.parse_alert(alert) for alert in alerts or ()).items()),
    )
