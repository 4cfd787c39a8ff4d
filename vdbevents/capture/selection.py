"""Choose the channels to record from those that the runtime offers. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vdbevents.errors import InputError
from vdbevents.sessions.plan import Channel, Choice

KINDS: Final = ("mic", "system_audio", "display")
"""The kinds of channel that can be recorded."""

_OPTIONS: Final = {"mic": "--mic-device", "display": "--display"}
_NAMES: Final = {"mic": "microphone", "system_audio": "system audio", "display": "display"}


@dataclass(frozen=True, slots=True)
class WantedChannels:
    """Which channels to record.

    Attributes:
        mic, system_audio: whether to record it.
        mic_device: the microphone's id; None: the default one.
        display: an id, `all`, `none`, or None: the default one.
        stored: the kinds kept for the exported video.
    """

    mic: bool = True
    system_audio: bool = True
    mic_device: str | None = None
    display: str | None = None
    stored: frozenset[str] = frozenset(KINDS)

    @property
    def is_empty(self) -> bool:
        """Whether all sources are off."""
        return not (self.mic or self.system_audio or self.display != "none")


def choose(
    wanted: WantedChannels, available: Sequence[Channel], denied: Iterable[str]
) -> tuple[list[Choice], list[str]]:
    """Return the channels to record, and a remark for each that is wanted but missing.

    Args:
        wanted: which channels to record.
        available: in the runtime's order: the first of a kind is its default.
        denied: the kinds without a permission.

    Raises:
        InputError: a device that was named is not there.
    """
    without_permission = set(denied)
    known: dict[str, Channel] = {}
    for channel in available:
        known.setdefault(channel.id, channel)
    chosen: list[Choice] = []
    remarks: list[str] = []
    for kind in KINDS:
        devices = [channel for channel in known.values() if channel.kind == kind]
        is_wanted, selector = _selector(wanted, kind)
        if not is_wanted:
            continue
        if kind in without_permission:
            remarks.append(f"{_NAMES[kind]}: permission denied, not recorded")
            continue
        selected = _select(devices, selector)
        if not selected and selector is not None:
            raise _unknown_device(kind, selector, devices)
        if not selected:
            remarks.append(f"no {_NAMES[kind]} to record")
        for position, channel in enumerate(selected):
            primary = kind == "display" and position == 0
            chosen.append(Choice(channel, kind in wanted.stored, primary))
    return chosen, remarks


def _unknown_device(kind: str, selector: str, devices: Sequence[Channel]) -> InputError:
    names = ", ".join(channel.id for channel in devices)
    return InputError(
        f"{_OPTIONS[kind]}: no such {_NAMES[kind]}, got {selector!r}",
        f"use one of: {names}" if names else "this machine has none; see: vdbevents channels",
        error_id="device-unknown",
    )


def named(wanted: WantedChannels, kind: str) -> bool:
    """Return whether the user named a device of a kind."""
    is_wanted, selector = _selector(wanted, kind)
    return is_wanted and selector is not None


def _selector(wanted: WantedChannels, kind: str) -> tuple[bool, str | None]:
    match kind:
        case "mic":
            return wanted.mic, wanted.mic_device
        case "system_audio":
            return wanted.system_audio, None
        case _:
            return wanted.display != "none", wanted.display


def _select(devices: list[Channel], selector: str | None) -> list[Channel]:
    if selector is None:
        return devices[:1]
    if selector == "all":
        return devices
    return [channel for channel in devices if selector in (channel.id, channel.id.partition(":")[2])][:1]


def parse_metadata(texts: Iterable[str]) -> dict[str, str]:
    """Return the mapping of `key=value` texts.

    Raises:
        InputError: a text has no key, or a key is repeated.
    """
    metadata: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise InputError(
                f"--metadata: not KEY=VALUE, got {text!r}",
                "write it like --metadata project=apollo",
                error_id="metadata-invalid",
            )
        if key.strip() in metadata:
            raise InputError(
                f"--metadata: repeated key, got {key.strip()!r} twice",
                "give each key once",
                error_id="metadata-repeated",
            )
        metadata[key.strip()] = value.strip()
    return metadata


def parse_kinds(store: Iterable[str], no_store: Iterable[str]) -> frozenset[str]:
    """Return the kinds of channel to store: those of `--store` (default: all) without those of `--no-store`.

    Raises:
        InputError: a name is not a kind of channel.
    """
    wanted, unwanted = _kinds("--store", store), _kinds("--no-store", no_store)
    return (wanted or frozenset(KINDS)) - unwanted


def _kinds(option: str, names: Iterable[str]) -> frozenset[str]:
    kinds: set[str] = set()
    for name in names:
        kind = name.strip().lower().replace("-", "_")
        if kind == "all":
            kinds.update(KINDS)
        elif kind in KINDS:
            kinds.add(kind)
        else:
            raise InputError(
                f"{option}: not a kind of channel, got {name!r}",
                "use mic, system-audio, display or all",
                error_id="channel-kind-invalid",
            )
    return frozenset(kinds)
