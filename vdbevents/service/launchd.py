"""Write agents for macOS' launchd, and read back which program they start. Pure.

`man launchd.plist` is the reference. launchd does not tell exit codes apart: the program is started by
`vdbevents service run`, which ends with 0 when a restart would not help.
"""

import plistlib
from typing import Any

from vdbevents import __version__
from vdbevents.service.service_plan import RESTART_SECONDS, STOP_SECONDS, ServicePlan


def label_of(service: str) -> str:
    """Return the label of a service's agent; its file is called so, too."""
    return f"vdbevents.{service}"


def agent_of(plan: ServicePlan) -> bytes:
    """Return the content of a service's property list."""
    content: dict[str, Any] = {
        "Label": label_of(plan.name),
        "ProgramArguments": list(plan.supervised()),
        "EnvironmentVariables": dict(plan.environ),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": RESTART_SECONDS,
        "ExitTimeOut": STOP_SECONDS,
        "Umask": 0o077,
        # What Python itself says, before the program has its own log.
        "StandardErrorPath": plan.log,
    }
    # After an update the agent differs, and the service is restarted.
    mark = f"<!-- Written by vdbevents {__version__} -->\n".encode()
    return plistlib.dumps(content, sort_keys=False).replace(b"<dict>", mark + b"<dict>", 1)


def program_in(agent: bytes) -> str | None:
    """Return the path of the program that an agent starts; None if it is not readable."""
    try:
        program = plistlib.loads(agent)["ProgramArguments"][0]
    except Exception:  # noqa: BLE001 - whatever is wrong with it
        return None
    return program if isinstance(program, str) else None
