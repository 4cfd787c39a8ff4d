"""Check the API key, and the way to the API: proxies, the API itself, the rights, this machine's clock."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future

from vdbevents.cloud import shown_address
from vdbevents.cloud.key_sources import FoundKey
from vdbevents.cloud.probe import Probe, probe
from vdbevents.cloud.proxies import proxy_for
from vdbevents.cloud.scrub import without_secret
from vdbevents.errors import VdbeventsError
from vdbevents.health.finding import Finding, error, ok, warning

_KEY_ERRORS = ("key-refused",)
_RIGHTS_ERRORS = ("key-forbidden", "credit-exhausted")
_SLOW_SECONDS = 3.0
_CLOCK_WARNING_SECONDS = 5.0
_CLOCK_ERROR_SECONDS = 300.0


class ServiceChecks:
    """Checks that share one request, which the first of them sends."""

    def __init__(self, address: Callable[[], str], find_key: Callable[[], FoundKey], seconds: float) -> None:
        """Send nothing yet.

        Args:
            address: returns the API's address; may raise a VdbeventsError.
            find_key: returns the key; may raise a VdbeventsError.
            seconds: the time limit of the request.
        """
        self._address = address
        self._find_key = find_key
        self._seconds = seconds
        self._key: Future[FoundKey] = Future()
        self._probe: Future[Probe] = Future()

    def look_up(self) -> None:
        """Find the key, then ask the API. The checks wait for it, each in a thread of its own."""
        try:
            self._key.set_result(self._find_key())
        except BaseException as failure:  # noqa: BLE001 - raised again in the check of the key
            self._key.set_exception(failure)
        try:
            key = "" if self._key.exception() else self._key.result().key
            self._probe.set_result(probe(self._address(), key, self._seconds))
        except BaseException as failure:  # noqa: BLE001 - raised again in the check of the API
            self._probe.set_exception(failure)

    def check_key(self) -> Finding:
        """Check that there is a key, and that the API accepts it."""
        found = self._key.result()
        failure, status = (answer := self._probe_or_none()) and answer.failure, answer and answer.status
        if failure is not None and failure.error_id in _KEY_ERRORS:
            return error(f"{failure.message}; it is from {found.source}", failure.hint)
        accepted = "accepted" if status is not None and failure is None else "not tried"
        return ok(f"from {found.source}, {accepted}")

    def check_rights(self) -> Finding:
        """Check that the key may record."""
        if self._key.exception() is not None:
            return warning("not known without a key")
        answer = self._probe_or_none()
        if answer is None or answer.status is None:
            return warning("not known: the API was not reached")
        if answer.failure is None:
            return ok("this account may use capture sessions")
        if answer.failure.error_id in _RIGHTS_ERRORS:
            return error(answer.failure.message, answer.failure.hint)
        return warning(f"not known: {answer.failure.message}")

    def check_api(self) -> Finding:
        """Check that the API answers."""
        answer, address = self._probe.result(), shown_address(self._address())
        if answer.status is None and answer.failure is not None:
            hint = answer.failure.hint or "check the network, and VIDEO_DB_API; recording resumes by itself"
            return error(f"{address}: {answer.failure.message}", hint)
        failure = answer.failure
        if failure is not None and not failure.fatal:
            return warning(f"{address}: {failure.message}", failure.hint or "try again later")
        took = f"{address} answers in {answer.seconds * 1000:.0f} ms"
        return (
            warning(took, "a slow network delays the start of recordings")
            if answer.seconds > _SLOW_SECONDS
            else ok(took)
        )

    def check_clock(self) -> Finding:
        """Compare this machine's clock with the API's."""
        answer = self._probe_or_none()
        ahead = answer.clock_seconds if answer is not None else None
        if ahead is None:
            return warning("not compared: the API did not tell its time")
        text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the API's"
        hint = "set it: turn on the time synchronisation of the system"
        if abs(ahead) > _CLOCK_ERROR_SECONDS:
            return error(f"{text}: tokens and certificates may count as expired", hint)
        if abs(ahead) > _CLOCK_WARNING_SECONDS:
            return warning(f"{text}: times of events are off by as much", hint)
        return ok("agrees with the API's")

    def check_proxies(self) -> Iterator[Finding]:
        """Check that the proxy that the environment names can be used."""
        address = self._address()
        scheme, _, place = address.partition("://")
        socket_address = f"{'wss' if scheme == 'https' else 'ws'}://{place}"
        ways = {proxy_for(address), proxy_for(socket_address)}
        for proxy in ways:
            if proxy is None:
                yield ok("none, the API is reached directly")
            else:
                yield ok(f"{proxy.address}, from {proxy.setting}")

    def scrubbed(self, text: str) -> str:
        """Return a text without the key, if it is known."""
        is_known = self._key.done() and self._key.exception() is None
        return without_secret(text, self._key.result().key) if is_known else text

    def _probe_or_none(self) -> Probe | None:
        try:
            return self._probe.result()
        except VdbeventsError:
            return None
