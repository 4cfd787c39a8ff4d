"""Write units for a user's systemd, and read back which program they start. Pure.

`man systemd.syntax`, `systemd.service` and `systemd.unit` are the reference.
"""

import re
from typing import Final

from vdbevents import __version__
from vdbevents.service.service_plan import FINAL_EXIT_CODES, RESTART_SECONDS, STOP_SECONDS, ServicePlan

# A disk that hangs for so long loses what is held in memory anyway. A full disk is no hang.
_WATCHDOG_SECONDS: Final = 120
# Three steps of --connect-timeout, and counting a long journal.
_START_SECONDS: Final = 300

_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
_SHELL: Final = ("/bin/sh", "-c", 'exec "$@"', "sh")

_UNIT: Final = """\
# Written by vdbevents {version}; `vdbevents service install` replaces it.
[Unit]
Description={description}
{order}# Keep trying, however long the network is away.
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={command}
{environ}# Should it hang, the place is logged.
Environment="PYTHONFAULTHANDLER=1"
Restart=on-failure
RestartSec={restart}
RestartPreventExitStatus={final}
WatchdogSec={watchdog}
TimeoutStartSec={start}
TimeoutStopSec={stop}
# Only the program itself: it ends its own children.
KillMode=mixed
UMask=0077
# A core dump would hold the key.
LimitCORE=0
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""


def unit_name(service: str) -> str:
    """Return the name of a service's unit."""
    return f"vdbevents-{service}.service"


def unit_of(plan: ServicePlan) -> str:
    """Return the content of a service's unit."""
    before = " ".join(map(unit_name, plan.after))
    return _UNIT.format(
        # After an update the unit differs, and the service is restarted.
        version=__version__,
        description=_described(plan.description),
        order=f"Wants={before}\nAfter={before}\n" if before else "",
        command=" ".join(quoted(word).replace("$", "$$") for word in _startable(plan.command)),
        environ="".join(f"Environment={quoted(f'{name}={text}')}\n" for name, text in plan.environ.items()),
        restart=RESTART_SECONDS,
        final=" ".join(map(str, FINAL_EXIT_CODES)),
        watchdog=_WATCHDOG_SECONDS,
        start=_START_SECONDS,
        stop=STOP_SECONDS,
    )


def _startable(command: tuple[str, ...]) -> tuple[str, ...]:
    # systemd refuses a program whose name has one of these, quoted or not; or it starts another, for a $.
    return (*_SHELL, *command) if set(command[0]) & set("'\"\\\t$") else command


def _described(text: str) -> str:
    # A backslash at the end of a line would join the next one to it.
    return text.replace("\\", "/").replace("%", "%%")


def quoted(word: str) -> str:
    """Return a word for a unit: in quotes, with what systemd would expand or split escaped."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("%", "%%") + '"'


def program_in(unit: str) -> str | None:
    """Return the path of the program that a unit from `unit_of` starts; None if it is another's."""
    line = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    words = [_unquoted(word) for word in re.findall(_QUOTED, line[1])] if line else []
    if tuple(words[: len(_SHELL)]) == _SHELL:
        words = words[len(_SHELL) :]
    return next(iter(words), None)


def _unquoted(word: str) -> str:
    unescaped = re.sub(r"\\(.)", lambda escape: {"t": "\t"}.get(escape[1], escape[1]), word)
    return unescaped.replace("%%", "%").replace("$$", "$")
