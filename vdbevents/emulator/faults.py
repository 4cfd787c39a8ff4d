"""Faults: which there are, which are in force, and until when.

A new fault is a line in `_FAULTS`, a call of `strike` or `peek` where it takes effect, and an example in
docs/emulator.md. Faults of all API calls take effect in http_gate.py, of one call in rest.py, of WebSockets
and pushed messages in websocket_endpoint.py, of sessions and exports in emulated_cloud.py, of webhooks in
webhooks.py, of the capture runtime in fake_runtime.py, which receives them from runtime_link.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from typing import Any, Final

from vdbevents.emulator.fake_runtime import COMMANDS, PERMISSIONS
from vdbevents.emulator.request_checks import (
    FLAG,
    OBJECT,
    TEXT,
    Json,
    RequestField,
    check_all,
    invalid,
    list_of,
    number,
    one_of,
    whole,
)

_STATUS: Final = whole(200, 599).required
_SECONDS: Final = number()
_RETRY_AFTER: Final = RequestField(
    "a number or a text", lambda value: TEXT.fits(value) or number().fits(value)
)
_ERROR: Final = RequestField(
    "a text, or an object with a message",
    lambda value: TEXT.fits(value) or (OBJECT.fits(value) and TEXT.fits(value.get("message"))),
)
_METHOD: Final = RequestField(
    "an HTTP method",
    lambda value: (
        TEXT.fits(value) and value.upper() in {"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"}
    ),
)
_COMMAND: Final = one_of(*COMMANDS)
_PERMISSION: Final = one_of(*dict.fromkeys([*PERMISSIONS, *(it.replace("-", "_") for it in PERMISSIONS)]))
_REFUSALS: Final = RequestField(
    f"texts by command ({', '.join(COMMANDS)})",
    lambda value: OBJECT.fits(value) and all(_COMMAND.fits(key) and TEXT.fits(value[key]) for key in value),
)
CLOSE_CODE: Final = RequestField(
    "a code that a close frame may carry",
    # RFC 6455, section 7.4, and the IANA registry.
    lambda value: whole(1000, 4999).fits(value) and value not in {1004, 1005, 1006, *range(1015, 3000)},
)
_MODE: Final = one_of("never", "failed", "late").required

# Which API calls, and which webhooks, a fault is for.
_CALLS: Final = {"path": TEXT, "method": _METHOD, "skip": whole()}
_WEBHOOKS: Final = {"event": TEXT}

_FAULTS: Final[dict[str, dict[str, RequestField]]] = {
    "http": {"status": _STATUS, "retry_after": _RETRY_AFTER, "body": TEXT, **_CALLS},
    "slow": {"seconds": _SECONDS.required, **_CALLS},
    "late": {"seconds": _SECONDS.required, **_CALLS},
    "hang": _CALLS,
    "upgrade": {"status": _STATUS, "retry_after": _RETRY_AFTER, "body": TEXT},
    "down": {"for": _SECONDS.required},
    "init": {
        "mode": one_of("none", "late", "preceded", "garbage").required,
        "seconds": _SECONDS,
        "frames": list_of(TEXT),
        "text": TEXT,
    },
    "accept_then_close": {"code": CLOSE_CODE, "reason": TEXT},
    "mute": {"ws_connection_id": TEXT},
    "no_websocket_url": {},
    "withhold": {"channel": TEXT.required},
    "expired_tokens": {},
    "activation": {"mode": _MODE, "seconds": _SECONDS, "error": _ERROR},
    "export": {"mode": _MODE, "seconds": _SECONDS},
    "runtime": {
        "deny": list_of(_PERMISSION),
        "channels": list_of(OBJECT),
        "die_at": _COMMAND,
        "hang_at": one_of(*COMMANDS, "*"),
        "ignore_sigterm": FLAG,
        "refuse": _REFUSALS,
        "long_line_at": _COMMAND,
        "noise": FLAG,
    },
    "webhook_duplicate": {"copies": whole(2), **_WEBHOOKS},
    "webhook_delay": {"seconds": _SECONDS.required, "up_to": number(), "seed": whole(-inf), **_WEBHOOKS},
    "webhook_reorder": {"window": whole(2), "seconds": _SECONDS, "seed": whole(-inf), **_WEBHOOKS},
    "webhook_lost": {"attempts": whole(1), **_WEBHOOKS},
    "webhook_withhold": _WEBHOOKS,
}
_STATES: Final = ("mute", "down", "withhold", "runtime", "webhook_withhold")
"""Faults that last and do not strike: they take no `times`."""
FAULT_NAMES: Final = tuple(_FAULTS)


@dataclass(slots=True)
class _Fault:
    options: Json
    until: float | None
    strikes_left: int | None
    skips_left: int


class ActiveFaults:
    """The faults in force.

    Each ends `for` seconds after it was set or after `times` strikes, whichever comes first; without these,
    when it is cleared. `clock` returns seconds and only has to go forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._faults: dict[str, _Fault] = {}

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Set the named faults; None or False clears one. A ValueError changes nothing."""
        checked = {name: _check(name, options) for name, options in wanted.items()}
        for name, options in checked.items():
            if options is None:
                self._faults.pop(name, None)
                continue
            seconds = options.get("for")
            until = None if seconds is None else self._clock() + seconds
            self._faults[name] = _Fault(options, until, options.get("times"), options.get("skip", 0))

    def clear(self) -> None:
        """End all faults."""
        self._faults.clear()

    def peek(self, name: str, event: str | None = None) -> Json | None:
        """Return the options of a fault in force for this event, without counting a strike."""
        fault = self._faults.get(name)
        if fault is None:
            return None
        if (fault.until is not None and self._clock() >= fault.until) or fault.strikes_left == 0:
            del self._faults[name]
            return None
        if event is not None and not event.startswith(fault.options.get("event", "")):
            return None
        return fault.options

    def strike(self, name: str, path: str = "", method: str = "", event: str | None = None) -> Json | None:
        """Return the options of a fault that strikes now, and count it; None when it does not apply."""
        options = self.peek(name, event)
        if options is None or not _is_for_call(options, path, method):
            return None
        fault = self._faults[name]
        if fault.skips_left:
            fault.skips_left -= 1
            return None
        if fault.strikes_left is not None:
            fault.strikes_left -= 1
        return options

    def in_force(self) -> dict[str, Json]:
        """Return the faults in force with what is left: `seconds_left`, `times_left`, `skip_left`."""
        report: dict[str, Json] = {}
        for name in list(self._faults):
            options = self.peek(name)
            if options is None:
                continue
            fault = self._faults[name]
            report[name] = dict(options)
            if fault.until is not None:
                report[name]["seconds_left"] = round(fault.until - self._clock(), 3)
            if fault.strikes_left is not None:
                report[name]["times_left"] = fault.strikes_left
            if "skip" in fault.options:
                report[name]["skip_left"] = fault.skips_left
        return report


def _is_for_call(options: Json, path: str, method: str) -> bool:
    """Return whether a fault is for a call: `path` is a prefix, or with a `*` a pattern of the whole path."""
    if options.get("method", method).upper() != method.upper():
        return False
    wanted = options.get("path", "")
    if "*" not in wanted:
        return path.startswith(wanted)
    # Part by part, so that a `*` does not match a slash.
    patterns, parts = wanted.rstrip("/").split("/"), path.split("/")
    return len(patterns) == len(parts) and all(map(fnmatchcase, parts, patterns))


def _check(name: str, wanted: object) -> Json | None:
    """Return the checked options of a fault, None to clear it; raise ValueError."""
    if name not in _FAULTS:
        raise invalid(f"There is no fault {name!r}; there are {', '.join(_FAULTS)}.")
    if wanted is None or wanted is False:
        return None
    options = {} if wanted is True else wanted
    subject = f"fault {name}"
    if not isinstance(options, Mapping):
        raise invalid(f"{subject}: must be an object of options, or null to end it, got {wanted!r}")
    if name in _STATES and "times" in options:
        raise invalid(f"{subject}: is a state and takes no times, use for")
    fields = {"for": _SECONDS, "times": whole(1)} | _FAULTS[name]
    checked = check_all(options, fields, subject + ", ")
    if name in {"activation", "export"} and checked["mode"] == "late" and "seconds" not in checked:
        raise invalid(f"{subject}, seconds: must be given with the mode late")
    if name == "webhook_delay" and checked.get("up_to", checked["seconds"]) < checked["seconds"]:
        raise invalid(f"{subject}, up_to: must be a number from {checked['seconds']}, got {checked['up_to']}")
    return checked
