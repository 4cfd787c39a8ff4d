"""Chooses the channels to record from those that the runtime offers. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vdbevents.errors import InputError
from vdbevents.sessions.plan import Channel, Choice

KINDS: Final = ("mic", "system_audio", "display")
"""What can be recorded. A kind is the beginning of a channel's id; `screen:…` is a display, too."""

_NAMES: Final = {"mic": "microphone", "system_audio": "system audio", "display": "display"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which channels are asked for.

    Attributes:
        mic, system_audio: whether at all.
        mic_device: the id of the microphone; None is the default one.
        display: an id, `all`, `none`, or None for the default one.
        stored: the kinds whose recording is kept for the exported video.
    """

    mic: bool = True
    system_audio: bool = True
    mic_device: str | None = None
    display: str | None = None
    stored: frozenset[str] = frozenset(KINDS)


def choose(
    wanted: Wanted, available: Sequence[Channel], denied: Iterable[str]
) -> tuple[list[Choice], list[str]]:
    """The channels to record, and what is to be said of those that were asked for and are not there.

    Args:
        wanted: what is asked for.
        available: in the runtime's order: the first of a kind is its default.
        denied: the kinds for which the system gives no permission.
    """
    without_permission = set(denied)
    known: dict[str, Channel] = {}
    for channel in available:
        known.setdefault(channel.id, channel)
    chosen: list[Choice] = []
    remarks: list[str] = []
    for kind in KINDS:
        devices = [channel for channel in known.values() if channel.kind == kind]
        asked, selector = _asked(wanted, kind)
        if not asked:
            continue
        if kind in without_permission:
            remarks.append(f"the {_NAMES[kind]} is left out: its permission was denied")
            continue
        found = _select(devices, selector)
        if not found:
            what = f"no {_NAMES[kind]} {selector}" if selector not in (None, "all") else f"no {_NAMES[kind]}"
            others = f"; there is {', '.join(channel.id for channel in devices)}" if devices else ""
            remarks.append(f"there is {what} to record: left out{others}")
        for position, channel in enumerate(found):
            primary = kind == "display" and position == 0
            chosen.append(Choice(channel, kind in wanted.stored, primary))
    return chosen, remarks


def _asked(wanted: Wanted, kind: str) -> tuple[bool, str | None]:
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
    """`key=value` texts as a mapping.

    Raises:
        InputError: one has no key, or comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise InputError(f"--metadata {text!r} is no key=value", "for example: --metadata project=apollo")
        if key.strip() in found:
            raise InputError(f"--metadata names {key.strip()!r} twice", "give each key once")
        found[key.strip()] = value.strip()
    return found


def parse_kinds(store: Iterable[str], no_store: Iterable[str]) -> frozenset[str]:
    """The kinds of channel to store: those of `--store` (all, unless given) without those of `--no-store`.

    Raises:
        InputError: a name is no kind of channel.
    """
    wanted, unwanted = _kinds("--store", store), _kinds("--no-store", no_store)
    return (wanted or frozenset(KINDS)) - unwanted


def _kinds(option: str, names: Iterable[str]) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        kind = name.strip().lower().replace("-", "_")
        if kind == "all":
            found.update(KINDS)
        elif kind in KINDS:
            found.add(kind)
        else:
            raise InputError(
                f"{option} {name!r} is no kind of channel", "Accepted: mic, system-audio, display, all."
            )
    return frozenset(found)
