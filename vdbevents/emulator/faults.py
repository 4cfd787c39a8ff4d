"""What goes wrong on demand: which faults are in force, and until when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from vdbevents.emulator.fake_runtime import COMMANDS, PERMISSIONS

Options = dict[str, Any]

_NUMBER: Final = (int, float)
_LOWEST_STATUS: Final = 200
_HIGHEST_STATUS: Final = 599

# Which API calls a fault is for.
_CALLS: Final[dict[str, type | tuple[type, ...]]] = {"path": str, "method": str, "skip": int}
# Which webhooks.
_WEBHOOKS: Final[dict[str, type | tuple[type, ...]]] = {"event": str}
# What each fault can be told, and the types that are accepted for it; `!` marks what it must be told.
_OPTIONS: Final[dict[str, dict[str, type | tuple[type, ...]]]] = {
    "http": {"!status": int, "retry_after": (int, float, str), "body": str, **_CALLS},
    "slow": {"!seconds": _NUMBER, **_CALLS},
    "late": {"!seconds": _NUMBER, **_CALLS},
    "hang": _CALLS,
    "upgrade": {"!status": int, "retry_after": (int, float, str), "body": str},
    "down": {"!for": _NUMBER},
    "init": {"!mode": str, "seconds": _NUMBER, "frames": list, "text": str},
    "accept_then_close": {"code": int, "reason": str},
    "mute": {"ws_connection_id": str},
    "no_websocket_url": {},
    "withhold": {"!channel": str},
    "expired_tokens": {},
    "activation": {"!mode": str, "seconds": _NUMBER, "error": (str, dict)},
    "export": {"!mode": str, "seconds": _NUMBER},
    "runtime": {
        "deny": list,
        "channels": list,
        "die_at": str,
        "hang_at": str,
        "ignore_sigterm": bool,
        "refuse": dict,
        "long_line_at": str,
        "noise": bool,
    },
    "webhook_duplicate": {"copies": int, **_WEBHOOKS},
    "webhook_delay": {"!seconds": _NUMBER, "up_to": _NUMBER, "seed": int, **_WEBHOOKS},
    "webhook_reorder": {"window": int, "seconds": _NUMBER, "seed": int, **_WEBHOOKS},
    "webhook_lost": {"attempts": int, **_WEBHOOKS},
    "webhook_withhold": _WEBHOOKS,
}
_COMMON: Final[dict[str, type | tuple[type, ...]]] = {"for": _NUMBER, "times": int}
_MODES: Final = {
    "init": ("none", "late", "preceded", "garbage"),
    "activation": ("never", "failed", "late"),
    "export": ("never", "failed", "late"),
}
_METHODS: Final = ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS")
_STATES: Final = ("mute", "down", "withhold", "runtime", "webhook_withhold")
FAULT_NAMES: Final = tuple(_OPTIONS)


@dataclass(slots=True)
class _Fault:
    options: Options
    until: float | None
    left: int | None
    passing: int


class Faults:
    """The faults in force.

    Each ends by itself after `for` seconds or after it has struck `times` times, whichever comes first, and
    else stays until it is cleared. `clock` gives seconds and only has to go forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._faults: dict[str, _Fault] = {}

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Sets the faults named; None or False clears one, the others stay. `ValueError` changes nothing."""
        checked = {name: _check(name, options) for name, options in wanted.items()}
        for name, options in checked.items():
            if options is None:
                self._faults.pop(name, None)
                continue
            seconds = options.get("for")
            until = None if seconds is None else self._clock() + seconds
            self._faults[name] = _Fault(options, until, options.get("times"), options.get("skip", 0))

    def clear(self) -> None:
        """Ends all of them."""
        self._faults.clear()

    def peek(self, name: str, event: str | None = None) -> Options | None:
        """The options of a fault that is in force, and for this event, without counting it as a strike."""
        fault = self._faults.get(name)
        if fault is None:
            return None
        if (fault.until is not None and self._clock() >= fault.until) or fault.left == 0:
            del self._faults[name]
            return None
        if event is not None and not event.startswith(fault.options.get("event", "")):
            return None
        return fault.options

    def strike(self, name: str, path: str = "", method: str = "", event: str | None = None) -> Options | None:
        """The options of a fault that strikes now, counted; `None` when it is not for this call or event."""
        options = self.peek(name, event)
        if options is None or not _is_meant(options, path, method):
            return None
        fault = self._faults[name]
        if fault.passing:
            fault.passing -= 1
            return None
        if fault.left is not None:
            fault.left -= 1
        return options

    def in_force(self) -> dict[str, Options]:
        """The faults in force with what is left of them: `seconds_left`, `times_left`, `skip_left`."""
        report: dict[str, Options] = {}
        for name in list(self._faults):
            options = self.peek(name)
            if options is None:
                continue
            fault = self._faults[name]
            report[name] = dict(options)
            if fault.until is not None:
                report[name]["seconds_left"] = round(fault.until - self._clock(), 3)
            if fault.left is not None:
                report[name]["times_left"] = fault.left
            if "skip" in fault.options:
                report[name]["skip_left"] = fault.passing
        return report


def _is_meant(options: Options, path: str, method: str) -> bool:
    """Whether a call is one that the fault is for: `path` is a prefix, with a `*` a pattern of all of it."""
    if options.get("method", method).upper() != method.upper():
        return False
    wanted = options.get("path", "")
    if "*" not in wanted:
        return path.startswith(wanted)
    # Part by part, so that a `*` stays within its slashes.
    patterns, parts = wanted.rstrip("/").split("/"), path.split("/")
    return len(patterns) == len(parts) and all(map(fnmatchcase, parts, patterns))


def _check(name: str, wanted: object) -> Options | None:
    """The options of one fault, checked; `ValueError` says what is wrong with them."""
    if name not in _OPTIONS:
        raise ValueError(f"There is no fault {name!r}; there are {', '.join(_OPTIONS)}.")
    if wanted is None or wanted is False:
        return None
    options = {} if wanted is True else wanted
    if not isinstance(options, Mapping):
        message = f"The fault {name!r} takes an object with its options, or null to end it."
        raise ValueError(message)  # noqa: TRY004 - all that is wrong with a fault is one kind of error
    known = _COMMON | _OPTIONS[name]
    for option, kinds in known.items():
        plain = option.removeprefix("!")
        if plain != option and plain not in options:
            raise ValueError(f"The fault {name!r} needs {plain!r}.")
        value = options.get(plain)
        if value is not None and not _fits(value, kinds):
            raise ValueError(f"The fault {name!r} cannot take {value!r} for {plain!r}.")
    unknown = [option for option in options if option not in known and f"!{option}" not in known]
    if unknown:
        raise ValueError(f"The fault {name!r} has no option {unknown[0]!r}.")
    checked = {option: value for option, value in options.items() if value is not None}
    _check_ranges(name, checked)
    _check_modes(name, checked)
    if name == "runtime":
        _check_runtime(checked)
    if name.startswith("webhook_"):
        _check_webhook(name, checked)
    return checked


def _fits(value: object, kinds: type | tuple[type, ...]) -> bool:
    """Whether a value is of one of these types; True is no number here."""
    return isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))


def _check_ranges(name: str, options: Options) -> None:
    if not _LOWEST_STATUS <= options.get("status", _LOWEST_STATUS) <= _HIGHEST_STATUS:
        raise ValueError(f"The fault {name!r} takes a status from {_LOWEST_STATUS} to {_HIGHEST_STATUS}.")
    if options.get("for", 0) < 0 or options.get("times", 1) < 1 or options.get("seconds", 0) < 0:
        raise ValueError(f"The fault {name!r} takes no negative time, and at least one time.")
    if options.get("method", "GET").upper() not in _METHODS:
        raise ValueError(f"The fault {name!r} takes one of {', '.join(_METHODS)} for 'method'.")
    if options.get("skip", 0) < 0:
        raise ValueError(f"The fault {name!r} cannot skip fewer than no calls.")
    if name in _STATES and "times" in options:
        raise ValueError(f"The fault {name!r} is a state and does not strike: give it a time with 'for'.")
    if not all(isinstance(frame, str) for frame in options.get("frames", [])):
        raise ValueError("The frames of the fault 'init' are a list of texts.")
    if not is_close_code(options.get("code", 1000)):
        raise ValueError(f"A close frame cannot carry the code {options['code']}.")


def _check_modes(name: str, options: Options) -> None:
    if name not in _MODES:
        return
    if options["mode"] not in _MODES[name]:
        raise ValueError(f"The fault {name!r} has the modes {', '.join(_MODES[name])}.")
    if name != "init" and options["mode"] == "late" and "seconds" not in options:
        raise ValueError(f"The fault {name!r} needs 'seconds' to be late.")
    error = options.get("error", "")
    if not isinstance(error, str) and not isinstance(error.get("message"), str):
        message = "The error of the fault 'activation' is a text, or an object with a 'message'."
        raise ValueError(message)  # noqa: TRY004 - as above


def _check_runtime(options: Options) -> None:
    for option in ("die_at", "hang_at", "long_line_at"):
        any_of = (*COMMANDS, "*") if option == "hang_at" else COMMANDS
        if options.get(option, COMMANDS[0]) not in any_of:
            raise ValueError(f"The fault 'runtime' takes one of {', '.join(any_of)} for {option!r}.")
    for command, text in options.get("refuse", {}).items():
        if command not in COMMANDS or not isinstance(text, str):
            raise ValueError(f"The fault 'runtime' refuses one of {', '.join(COMMANDS)} with a text.")
    known = {*PERMISSIONS, *(name.replace("-", "_") for name in PERMISSIONS)}
    if not all(isinstance(name, str) and name in known for name in options.get("deny", [])):
        raise ValueError(f"The fault 'runtime' denies {' or '.join(PERMISSIONS)}, in a list.")
    if not all(isinstance(channel, dict) for channel in options.get("channels", [])):
        raise ValueError("The channels of the fault 'runtime' are a list of objects.")


def _check_webhook(name: str, options: Options) -> None:
    lowest = {"copies": 2, "window": 2, "attempts": 1, "up_to": options.get("seconds", 0)}
    for option, least in lowest.items():
        if options.get(option, least) < least:
            raise ValueError(f"The fault {name!r} takes {least} or more for {option!r}.")


def is_close_code(code: object) -> bool:
    """Whether a close frame may carry this code (RFC 6455, section 7.4, and the IANA registry)."""
    if not isinstance(code, int) or isinstance(code, bool):
        return False
    return code in {1000, 1001, 1002, 1003, *range(1007, 1015)} or code in range(3000, 5000)
