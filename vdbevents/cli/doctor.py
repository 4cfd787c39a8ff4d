"""`vdbevents doctor`: show what would keep this machine from recording, and what to do."""

import contextlib
import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vdbevents.cli.command import as_json as json_text, put, reports
from vdbevents.cli.diagnostics import Color, ExitCode, wants_colour
from vdbevents.cli.options import ColorOption, JsonOptions, RecorderOptions
from vdbevents.errors import InputError
from vdbevents.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdbevents.cloud.key_sources import FoundKey
    from vdbevents.health.check_runner import Result
    from vdbevents.health.finding import Check, Finding
    from vdbevents.health.runtime_checks import RuntimeChecks
    from vdbevents.health.service_checks import ServiceChecks

_SECONDS: Final = 9.0
_REQUEST_SECONDS: Final = 6.0
_ENDING_SECONDS: Final = 5.0
_KEYRING_SECONDS: Final = 2.5
_ANSWER_SECONDS: Final = 1.5
_COLOURS: Final = {"ok": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}

HELP = """Check what would keep this machine from recording.

Each problem comes with how to fix it. Checks the key and its rights, the API, proxies, the clock, the disk
and the folder, file modes, left-over process ids, the journal, and the capture runtime with its permissions
and devices. Records nothing, and creates nothing on the server. Takes a few seconds at most; works without a
network and without a key.

\b
Exit codes: 0 no errors, 1 errors.
"""


@reports
def doctor(*, printing: JsonOptions, options: RecorderOptions, color: ColorOption = Color.AUTO) -> ExitCode:
    from vdbevents.health.finding import Severity

    results = _examine(options)
    errors = sum(result.severity is Severity.ERROR for result in results)
    warnings = sum(result.severity is Severity.WARNING for result in results)
    if printing.as_json:
        put(json_text({"errors": errors, "warnings": warnings, "checks": [it._asdict() for it in results]}))
    else:
        _print(results, color)
    return ExitCode.NO_MATCH if errors else ExitCode.DONE


def _print(results: "list[Result]", color: Color) -> None:
    is_coloured = wants_colour(color, sys.stdout, os.environ)
    width = max(len(result.check) for result in results)
    for result in results:
        severity = f"{result.severity:<7}"
        if is_coloured:
            severity = f"{_COLOURS[result.severity]}{severity}\x1b[0m"
        put(f"{severity}  {result.check:<{width}}  {harmless(result.message)}")
        if result.hint:
            put(f"{'':<{width + 11}}→ {harmless(result.hint)}")


def _examine(options: RecorderOptions) -> "list[Result]":
    from vdbevents import cloud
    from vdbevents.cli.capture import prepare_for_runtime
    from vdbevents.health.check_runner import run_checks
    from vdbevents.health.finding import Check

    unreadable = _settings_error(options)
    service, runtime = _service_checks(options), _runtime_checks(options)
    checks = [
        *([Check("settings", partial(_fail, unreadable))] if unreadable else []),
        Check("key", service.check_key),
        Check("rights", service.check_rights),
        Check("api", service.check_api),
        Check("proxies", service.check_proxies),
        Check("clock", service.check_clock),
        *_directory_checks(options),
        Check("runtime", runtime.check_runtime),
        Check("permissions", runtime.check_permissions),
        Check("devices", runtime.check_devices),
    ]
    # All settings are read: no program that is started from now on gets the key.
    prepare_for_runtime()
    with contextlib.suppress(ImportError):  # The checks report it.
        cloud.load_sdk()
    asking = [threading.Thread(target=it.look_up, daemon=True) for it in (service, runtime)]
    for thread in asking:
        thread.start()
    results = run_checks(checks, _SECONDS)
    # A runtime that does not end when it is asked to is killed, and not left behind.
    asking[-1].join(_ENDING_SECONDS)
    return [
        result._replace(message=service.scrubbed(result.message), hint=service.scrubbed(result.hint))
        for result in results
    ]


def _settings_error(options: RecorderOptions) -> InputError | None:
    """Return what is wrong with a `.env` that nobody named; the checks are then made without it.

    Raises:
        InputError: a file or a directory that the user named is missing.
    """
    try:
        _ = options.environ
    except InputError as error:
        if options.env_file is not None or options.cwd is not None:
            raise
        options.environ = dict(os.environ)
        return error
    return None


def _service_checks(options: RecorderOptions) -> "ServiceChecks":
    from vdbevents.health.service_checks import ServiceChecks

    environ, key_file = options.environ, options.chosen_key_file
    is_in_file = not os.environ.get("VIDEO_DB_API_KEY")
    # Now, as long as the environment has the key.
    address, problem = "", None
    try:
        address = options.key_address
    except InputError as error:
        problem = error

    def find_address() -> str:
        if problem is not None:
            raise problem
        return address

    def find_key() -> "FoundKey":
        from vdbevents import cloud

        found = cloud.find_key(environ, find_address(), key_file, keyring_seconds=_KEYRING_SECONDS)
        is_in_env_file = is_in_file and found.source == "VIDEO_DB_API_KEY"
        return found._replace(source=f"{found.source} in {_env_file(options)}") if is_in_env_file else found

    return ServiceChecks(find_address, find_key, _REQUEST_SECONDS)


def _runtime_checks(options: RecorderOptions) -> "RuntimeChecks":
    from vdbevents.health.runtime_checks import RuntimeAnswers, RuntimeChecks

    def find() -> Path:
        from vdbevents import cloud
        from vdbevents.cli.capture import runtime_of

        return cloud.find_runtime(runtime_of(options.environ))

    def ask(give: "Callable[[RuntimeAnswers], object]") -> None:
        from vdbevents import cloud
        from vdbevents.capture.devices import ask_runtime

        address = cloud.base_url_from(options.environ)
        ask_runtime(address, _ANSWER_SECONDS, lambda answers: give(RuntimeAnswers(*answers)))

    def records() -> bool:
        from vdbevents.journal.locks import capture_runs

        return capture_runs(options.state)

    return RuntimeChecks(find, ask, records)


def _directory_checks(options: RecorderOptions) -> "list[Check]":
    from vdbevents.health import directory_checks
    from vdbevents.health.finding import Check
    from vdbevents.query.cache.seal_policy import find_root

    try:
        state = options.state
    except InputError as error:
        return [Check("folder", partial(_fail, error))]
    return [
        Check("disk", partial(directory_checks.check_disk, state)),
        Check("folder", partial(directory_checks.check_folder, state)),
        Check("file modes", partial(directory_checks.check_modes, state, _env_file(options), find_root())),
        Check("processes", partial(directory_checks.check_processes, state)),
        Check("journal", partial(directory_checks.check_journal, state)),
    ]


def _env_file(options: RecorderOptions) -> Path:
    return options.env_file or (options.cwd or Path()) / ".env"


def _fail(error: InputError) -> "list[Finding]":
    raise error
