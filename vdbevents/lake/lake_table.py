"""Open the table of a lake, or create it: on a disk, or in an object store."""

import contextlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError, StorageError
from vdbevents.lake.table_schema import COLUMNS, PARTITIONS, SCHEMA_VERSION, VERSION_KEY
from vdbevents.terminal import harmless
from vdbevents.times import parse_duration

if TYPE_CHECKING:
    from deltalake import DeltaTable

SCHEMES: Final = ("s3://", "gs://", "az://")
"""The beginnings of addresses in object stores; any other is a folder's."""

_MODULES: Final = ("deltalake", "obstore")
_PREFIXES: Final = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT")
_ANSWER_MS: Final = 30_000
_LEAST_BYTES_A_MS: Final = 32
_SIGNS_OF_REFUSAL: Final = re.compile(
    r"(?<![\w.])40[13](?![\w.])|Forbidden|Unauthorized|AccessDenied|PermissionDenied|Permission denied"
    "|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|InvalidBucketName"
    "|Unauthenticated|permissions|[cC]redential"
)
# What obstore 0.12.1 writes after its message.
_DETAILS: Final = "\n\nDebug source:"
# An address with a slip, or a drive of Windows.
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# delta-rs 1.6.6 takes the first for `/`, and drops tabs and line ends.
_NOT_IN_PATHS: Final = re.compile(r"[\\\x00-\x1f]")
_LOG: Final = "_delta_log"
_MOST_SHOWN: Final = 200
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def require_lake() -> None:
    """Check that the libraries of the extra `lake` are installed.

    Raises:
        InputError: one is missing.
    """
    if missing := [name for name in _MODULES if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"a lake needs {' and '.join(missing)}, not installed",
            "install the extra: pip install 'vdbevents[lake]'",
            error_id="lake-missing",
        )


def is_remote(address: str) -> bool:
    """Return whether an address is one of an object store."""
    return address.startswith(SCHEMES)


def lake_address(given: str) -> str:
    """Return a lake's address as it is used: a folder as an absolute path, without a `/` at the end.

    Raises:
        InputError: nothing known has such an address.
    """
    if is_remote(given):
        bucket = given.partition("://")[2].split("/", 1)[0]
        if not bucket or "?" in given or "@" in bucket:
            raise _no_address(given)
        return given.rstrip("/")
    path = str(Path(given).expanduser().absolute())
    if not given or "://" in given or _SCHEME.match(given) or _NOT_IN_PATHS.search(path):
        raise _no_address(given)
    return path


def _no_address(given: str) -> InputError:
    # What is before `@` may be a password.
    shown = given.partition(":")[0] + ":…" if ":" in given else given
    return InputError(
        f"not the address of a lake, got '{harmless(shown)}'",
        "name a folder (one with a colon: ./a:b; none with a backslash), or s3://BUCKET/PATH, "
        "gs://BUCKET/PATH, az://CONTAINER/PATH",
        error_id="lake-address-invalid",
    )


def client_options(address: str, environ: Mapping[str, str], size: int = 0) -> dict[str, str]:
    """Return how to reach an object store: within which time, and whether without encryption.

    Args:
        address: the lake's.
        environ: the environment.
        size: so many bytes are sent or read; the time limit is for all of them together.

    Raises:
        InputError: the time limit in the environment is not a duration.
    """
    name = f"{_PREFIXES[address.partition('://')[0]]}_TIMEOUT"
    milliseconds = parse_duration(name, environ[name]) if environ.get(name) else _ANSWER_MS
    milliseconds += size // _LEAST_BYTES_A_MS
    options = {"connect_timeout": "10s", "timeout": f"{milliseconds}ms"}
    if any(environ.get(endpoint, "").startswith("http://") for endpoint in _ENDPOINTS):
        options["allow_http"] = "true"
    return options


def storage_options(address: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the object store needs beside the environment, which its client reads itself.

    Raises:
        InputError: as `client_options` has it.
    """
    if not is_remote(address):
        return {}
    options = {**client_options(address, environ), "max_retries": "5", "retry_timeout": "60s"}
    if address.startswith("s3://"):
        options["aws_conditional_put"] = "etag"
    return options


def open_lake(given: str, environ: Mapping[str, str] | None = None) -> "DeltaTable":
    """Open the table at an address, as it is now; `update_incremental()` of it reads what came later.

    Args:
        given: a folder, or an address in an object store.
        environ: the environment; None for the process's own.

    Raises:
        InputError: the extra is missing, or there is no such table, or another's or a newer one.
        ServiceRefusedError: the object store refused.
        ServiceUnreachableError: the object store was not reached.
        StorageError: the folder cannot be read.
    """
    require_lake()
    address = lake_address(given)
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    if not is_remote(address) and not Path(address).is_dir():
        raise _no_lake(address)
    with lake_errors(address):
        try:
            table = DeltaTable(
                address, storage_options=storage_options(address, os.environ if environ is None else environ)
            )
        except TableNotFoundError:
            raise _no_lake(address) from None
        return _checked(table, address)


def open_or_create_lake(given: str, environ: Mapping[str, str] | None = None) -> "DeltaTable":
    """Open the table at an address; create it where there is none.

    Raises:
        InputError: as `open_lake` has it, and of a folder with other files.
        ServiceRefusedError, ServiceUnreachableError, StorageError: as `open_lake` has it.
    """
    require_lake()
    try:
        return open_lake(given, environ)
    except InputError as error:
        if error.error_id != "lake-not-found":
            raise
    address = lake_address(given)
    from deltalake import DeltaTable, Field, Schema
    from deltalake.exceptions import CommitFailedError
    from deltalake.schema import PrimitiveType

    if not is_remote(address):
        try:
            _require_room_for_a_lake(address)
        except InputError as error:
            # Another recorder may have created it a moment ago.
            with contextlib.suppress(InputError):
                return open_lake(given, environ)
            raise error from None
    schema = Schema([Field(one.name, PrimitiveType(one.kind)) for one in COLUMNS])
    options = storage_options(address, os.environ if environ is None else environ)
    with lake_errors(address):
        if not is_remote(address):
            Path(address).mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            DeltaTable.create(
                address,
                schema,
                mode="ignore",
                partition_by=list(PARTITIONS),
                name="events",
                description="The events of desktops that VideoDB watched; one row a line of a journal.",
                configuration={
                    VERSION_KEY: str(SCHEMA_VERSION),
                    # Texts are not compared by their order: a file's statistics need not have them.
                    "delta.dataSkippingStatsColumns": "host,journal,position,time,started,ended",
                },
                raise_if_key_not_exists=False,
                storage_options=options,
            )
        except CommitFailedError:
            # deltalake 1.6.6 raises it in spite of `ignore` where another recorder creates it meanwhile.
            if not DeltaTable.is_deltatable(address, options):
                raise
    return open_lake(given, environ)


def _require_room_for_a_lake(address: str) -> None:
    """Check that there is nothing at a path, or an empty folder, or a log, whose table is being created.

    Raises:
        InputError: there is something else.
        StorageError: it cannot be read.
    """
    if not os.path.lexists(address):
        return
    hint = "name an empty folder, or one that does not exist yet"
    if not Path(address).is_dir():
        raise InputError(f"not a folder: {harmless(address)}", hint, error_id="lake-foreign")
    with lake_errors(address):
        has_others = any(path.name != _LOG for path in Path(address).iterdir())
    if has_others:
        raise InputError(f"not a lake: {harmless(address)} has other files", hint, error_id="lake-foreign")


def _checked(table: "DeltaTable", address: str) -> "DeltaTable":
    version = table.metadata().configuration.get(VERSION_KEY)
    if version is None:
        raise InputError(
            f"not a lake: the table at {harmless(address)} has other rows than events",
            "name the folder that `vdbevents ship` wrote to",
            error_id="lake-foreign",
        )
    if not str(version).isdecimal() or int(version) > SCHEMA_VERSION:
        raise InputError(
            f"the lake {harmless(address)} was written by a later version of vdbevents",
            "update it: pip install --upgrade 'vdbevents[lake]'",
            error_id="lake-newer",
        )
    return table


def _no_lake(address: str) -> InputError:
    return InputError(
        f"no lake at {harmless(address)}",
        "ship to it first: vdbevents ship LAKE; or check the address",
        error_id="lake-not-found",
    )


@contextlib.contextmanager
def lake_errors(address: str) -> Iterator[None]:
    """Raise an error of ours where the table or the object store fails.

    Raises:
        ServiceRefusedError: the object store refused.
        ServiceUnreachableError: the object store was not reached, or did not answer.
        StorageError: the folder cannot be read or written.
    """
    from deltalake.exceptions import DeltaError, DeltaProtocolError

    try:
        yield
    except DeltaProtocolError as error:
        raise InputError(
            f"the lake {harmless(address)} needs more than this program can read: {_shown(error)}",
            "update it: pip install --upgrade 'vdbevents[lake]'",
            error_id="lake-newer",
        ) from error
    except Exception as error:
        if isinstance(error, (DeltaError, OSError)) or _is_of_obstore(error):
            raise lake_failure(address, error) from error
        raise


def _is_of_obstore(error: Exception) -> bool:
    # Its errors are no OSErrors. Who has one, has loaded it.
    exceptions = sys.modules.get("obstore.exceptions")
    return exceptions is not None and isinstance(error, exceptions.BaseError)


def lake_failure(
    address: str, error: Exception
) -> InputError | ServiceRefusedError | ServiceUnreachableError | StorageError:
    """Return our error for one of the table or of the object store."""
    # Names of files may have such numbers.
    text = " ".join(word for word in str(error).split() if "/" not in word)
    if not is_remote(address):
        return StorageError(
            f"cannot read or write the lake {harmless(address)}: {_shown(error)}",
            "check its owner, and the room on its disk",
            error_id="lake-unusable",
        )
    if _SIGNS_OF_REFUSAL.search(text):
        return ServiceRefusedError(
            f"the object store refused access to {harmless(address)}",
            "check the credentials in the environment, and what they allow: reading, writing, listing",
            error_id="lake-refused",
        )
    if "NoSuchBucket" in text or "bucket does not exist" in text:
        return InputError(
            f"no bucket at {harmless(address)}", "create it, or check the address", error_id="lake-not-found"
        )
    if isinstance(error, FileNotFoundError):
        from vdbevents.query.row_journal import unreadable_rows

        return unreadable_rows()
    return ServiceUnreachableError(
        f"the object store of {harmless(address)} did not answer: {_shown(error)}",
        "check the address and the network; what is not shipped yet is shipped the next time",
        error_id="lake-unreachable",
    )


def _shown(error: Exception) -> str:
    """Return an error's cause without what may be secret: the query of an address has signatures."""
    text = _COLOUR.sub("", str(error)) or type(error).__name__
    text, _, details = text.partition(_DETAILS)
    if "kind: Timeout" in details:
        return "operation timed out"
    # What failed comes first, and its cause last.
    cause = [line.strip(" \u21b3") for line in text.splitlines() if line.strip(" \u21b3")][-1]
    if details:
        cause = cause.rpartition(" - ")[2]
    words = (word.partition("?")[0] if "://" in word else word for word in cause.split())
    return harmless(" ".join(words))[:_MOST_SHOWN]
