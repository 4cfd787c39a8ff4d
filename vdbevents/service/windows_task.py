"""Write tasks for Windows' Task Scheduler, and read back which program they start. Pure.

The elements are those of the Task Scheduler's schema, in the order in which it exports them itself.
Its restarts after a failure are not for a program that exits with a code: `vdbevents service run` does that.
"""

import re
from typing import Final
from xml.etree import ElementTree as ET

from vdbevents import __version__
from vdbevents.service.service_plan import ServicePlan

_NAMESPACE: Final = "http://schemas.microsoft.com/windows/2004/02/mit/task"
_Tree = tuple[str, "str | tuple[_Tree, ...]"]


def task_name(service: str) -> str:
    r"""Return the name of a service's task, in the folder `\vdbevents`."""
    return rf"\vdbevents\{service}"


def task_of(plan: ServicePlan, user: str) -> bytes:
    r"""Return the content of a service's task, as UTF-16: `schtasks` reads no other encoding.

    Args:
        plan: the service.
        user: who runs it, as `DOMAIN\name`.
    """
    program, *arguments = plan.supervised()
    start = arguments.index("--")
    # The one that opens no window.
    program = re.sub(r"(?i)\bpython\.exe$", "pythonw.exe", program)
    # A task has no environment of its own.
    variables = [f"--set={name}={value}" for name, value in plan.environ.items()]
    arguments[start:start] = variables
    root = ET.Element("Task", {"version": "1.2", "xmlns": _NAMESPACE})
    for tree in _task(plan, user, program, " ".join(map(quoted, arguments))):
        _append(root, tree)
    root.find("Principals/Principal").set("id", "Author")  # type: ignore[union-attr]
    root.find("Actions").set("Context", "Author")  # type: ignore[union-attr]
    ET.indent(root)
    text = '<?xml version="1.0" encoding="UTF-16"?>\n' + ET.tostring(root, encoding="unicode")
    return text.encode("utf-16")


def _task(plan: ServicePlan, user: str, program: str, arguments: str) -> tuple[_Tree, ...]:
    # After an update the task differs, and the service is restarted.
    information = (
        ("Version", __version__),
        ("Description", plan.description),
        ("URI", task_name(plan.name)),
    )
    trigger = (("Enabled", "true"), ("UserId", user))
    principal = (("UserId", user), ("LogonType", "InteractiveToken"), ("RunLevel", "LeastPrivilege"))
    return (
        ("RegistrationInfo", information),
        ("Triggers", (("LogonTrigger", trigger),)),
        ("Principals", (("Principal", principal),)),
        ("Settings", _SETTINGS),
        ("Actions", (("Exec", (("Command", program), ("Arguments", arguments))),)),
    )


def quoted(word: str) -> str:
    """Return an argument as a program of Windows reads it from its command line."""
    mark = '"' if not word or set(" \t") & set(word) else ""
    # Backslashes are doubled before a quotation mark, and count as such elsewhere.
    pattern = r'(\\*)("|$)' if mark else r'(\\*)(")'
    inside = re.sub(pattern, lambda run: 2 * run[1] + (r"\"" if run[2] else ""), word)
    return f"{mark}{inside}{mark}"


_SETTINGS: Final[tuple[_Tree, ...]] = (
    ("MultipleInstancesPolicy", "IgnoreNew"),
    ("DisallowStartIfOnBatteries", "false"),
    ("StopIfGoingOnBatteries", "false"),
    ("AllowHardTerminate", "true"),
    ("StartWhenAvailable", "true"),
    ("RunOnlyIfNetworkAvailable", "false"),
    ("IdleSettings", (("StopOnIdleEnd", "false"), ("RestartOnIdle", "false"))),
    ("AllowStartOnDemand", "true"),
    ("Enabled", "true"),
    ("Hidden", "false"),
    ("RunOnlyIfIdle", "false"),
    ("WakeToRun", "false"),
    # Without limit; the default ends a task after three days.
    ("ExecutionTimeLimit", "PT0S"),
    # As a program of the user; the default is below that.
    ("Priority", "5"),
    # Should `service run` itself fail.
    ("RestartOnFailure", (("Interval", "PT1M"), ("Count", "255"))),
)


def _append(parent: ET.Element, tree: _Tree) -> None:
    name, content = tree
    element = ET.SubElement(parent, name)
    if isinstance(content, str):
        element.text = content
        return
    for inner in content:
        _append(element, inner)


def program_in(task: bytes) -> str | None:
    """Return the path of the program that a task starts; None if it is not readable."""
    try:
        root = ET.fromstring(task)  # noqa: S314 - our own file, in the user's own folder
    except (ET.ParseError, UnicodeError, ValueError, LookupError):
        return None
    return root.findtext(f"{{{_NAMESPACE}}}Actions/{{{_NAMESPACE}}}Exec/{{{_NAMESPACE}}}Command")
