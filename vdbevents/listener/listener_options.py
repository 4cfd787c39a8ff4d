"""Settings of the listener: where to record from and to, and who receives its messages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from vdbevents.cloud import Credentials
from vdbevents.events.envelope import Record
from vdbevents.journal.aside import Contents
from vdbevents.journal.rotation import RotationRule
from vdbevents.journal.state import StateDirectory
from vdbevents.listener.protocol import ConnectionSettings
from vdbevents.listener.recovery_hook import Recovery
from vdbevents.listener.service_manager import ServiceManager
from vdbevents.privacy.recording_rules import RecordingRules


class ListenerObserver(Protocol):
    """Show a person what the listener does. Nothing here may block or raise."""

    def say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        """Show a message."""

    @property
    def shows_events(self) -> bool:
        """Whether `show` must be called."""

    def show(self, record: Record, received_ms: int) -> None:
        """Show an event."""

    def announce(self, ws_id: str) -> None:
        """Print the id of the first connection, once it is in the files."""


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """The options of a listener.

    Attributes:
        directory: the state directory; it must exist.
        credentials: for the service.
        settings: times and retries.
        clear: whether to empty the journal first: set what it has aside, or delete it; None leaves it.
        on_cleared: called with what that was.
        rotation: when to rotate the journal; None never does.
        hold_bytes: how much to hold in memory while the disk refuses writes.
        sync_seconds: how long a written line may stay unsynced.
        recovery: rebinds pipelines and backfills gaps; None only marks the gaps.
        report_settings: returns members of the status file that are about this run's settings, in JSON's
            types; called from any thread.
        manager: of the service that the listener is, if it is one.
        rules: what must not be written.
    """

    directory: StateDirectory
    credentials: Credentials
    settings: ConnectionSettings = field(default_factory=ConnectionSettings)
    clear: Literal["archive", "delete"] | None = None
    on_cleared: Callable[[Contents], None] = lambda _: None
    rotation: RotationRule | None = None
    hold_bytes: int = 64 << 20
    sync_seconds: float = 1.0
    recovery: Recovery | None = None
    report_settings: Callable[[], Mapping[str, Any]] = dict
    manager: ServiceManager = field(default_factory=ServiceManager)
    rules: RecordingRules = field(default_factory=RecordingRules)
