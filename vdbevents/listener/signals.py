"""Handle the signals of the listener."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stop_signals(stop: Callable[[int], None]) -> Iterator[None]:
    """Call `stop` on the running loop for SIGINT and SIGTERM; ignore SIGHUP and SIGTTOU meanwhile."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop, number)
        except NotImplementedError:  # Windows' event loop has no signals
            signal.signal(number, lambda n, _: loop.call_soon_threadsafe(stop, n))
    # A terminal that closes, or that lets no background job write, must not stop the recording.
    ignored = [getattr(signal, name) for name in ("SIGHUP", "SIGTTOU") if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
