"""Decide what runs as a service: its command line, its environment, its log. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from vdbevents.errors import InputError

LISTEN: Final = "listen"
BACKEND: Final = "backend"
FINAL_EXIT_CODES: Final = (2, 4)
"""Wrong usage or invalid input, and a refusal such as that of the key: a restart does not mend them."""
RESTART_SECONDS: Final = 10
STOP_SECONDS: Final = 40
"""Longer than a listener or a backend takes to write what it holds."""

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_PASSED: Final = (
    *("VIDEO_DB_API", "VIDEO_DB_BASE_URL", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", *_PROXIES, *(name.lower() for name in _PROXIES)),
)
# A secret of other programs.
_NOT_MISSED: Final = frozenset(("VDBEVENTS_BACKEND_TOKEN",))
_OWN_PREFIX: Final = "VDBEVENTS_"


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """A program that a service manager starts at login, and again when it fails.

    Attributes:
        name: `listen` or `backend`.
        description: for a person, on one line.
        command: the program's absolute path, and its arguments.
        environ: the variables that it needs besides those of any program of the user.
        log: the file for its messages, where the manager keeps none.
        after: the names of the services to start before.
    """

    name: str
    description: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    log: str
    after: tuple[str, ...] = field(default=())

    def supervised(self) -> tuple[str, ...]:
        """Return the command line that also restarts the program, for managers that do not."""
        program, *arguments = self.command
        start = arguments.index(self.name)
        run = ("service", "run", f"--log={self.log}", "--")
        return (program, *arguments[:start], *run, *arguments[start:])


def plan_services(
    python: str,
    directory: str,
    log: str,
    options: Sequence[str],
    environ: Mapping[str, str],
    *,
    with_backend: bool,
) -> list[ServicePlan]:
    """Return the services to install.

    Args:
        python: the absolute path of the interpreter that has this program.
        directory: the state directory.
        log: see `ServicePlan`.
        options: for both commands, such as `--key-file=…`, with absolute paths.
        environ: the variables to pass on.
        with_backend: whether `vdbevents backend` is one of them.

    Raises:
        InputError: a path or a variable cannot be written into a unit.
    """
    for text in (python, directory, log, *options, *environ.values()):
        _require_writable(text)

    def plan(name: str, purpose: str, own: Sequence[str] = (), after: tuple[str, ...] = ()) -> ServicePlan:
        # -P: import nothing from the working directory. Without --quiet, what is said would go into a log.
        command = (python, "-P", "-m", "vdbevents", name, directory, "--quiet", *own, *options)
        return ServicePlan(name, f"{purpose} {directory}", command, environ, log, after)

    services = [plan(LISTEN, "Record VideoDB's events into", ["--unattended"])]
    if with_backend:
        services.append(plan(BACKEND, "Serve recording clients from", after=(LISTEN,)))
    return services


def _require_writable(text: str) -> None:
    try:
        is_text = not set("\0\r\n") & set(text) and bool(text.encode())
    except UnicodeEncodeError:
        is_text = False
    if text and not is_text:
        raise InputError(
            f"cannot pass this path or value to a service: {text!a}",
            "use one without line breaks, in UTF-8",
            error_id="service-text-invalid",
        )


def passed_on(environ: Mapping[str, str], *, with_backend: bool) -> tuple[dict[str, str], list[str]]:
    """Return the variables that a service needs, and the names of those that it must not be given.

    The latter hold a password, which a unit would show, or set a default of an option.

    Args:
        environ: of this process, and the settings of its `.env` file.
        with_backend: whether a backend runs, too; it looks for `cloudflared`.
    """
    passed = {name: environ[name] for name in _PASSED if environ.get(name)}
    secret = [name for name, value in passed.items() if _has_password(value)]
    if with_backend and environ.get("PATH"):
        passed["PATH"] = environ["PATH"]
    settings = sorted(
        name
        for name, value in environ.items()
        if value and name.startswith(tuple(f"{_OWN_PREFIX}{kind.upper()}_" for kind in (LISTEN, BACKEND)))
    )
    left_out = [*secret, *(name for name in settings if name not in _NOT_MISSED)]
    return {name: value for name, value in passed.items() if name not in secret}, left_out


def _has_password(value: str) -> bool:
    try:
        return "@" in urlsplit(value).netloc
    except ValueError:
        return False


def named(plans: Iterable[ServicePlan]) -> list[str]:
    """Return the names of services."""
    return [plan.name for plan in plans]
