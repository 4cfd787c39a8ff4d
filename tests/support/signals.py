"""Default signals for the processes that tests start."""

import signal

# `nohup` ignores SIGHUP, and a script's `&` the other two; every child would inherit that.
_IGNORED_BY_SHELLS = ("SIGHUP", "SIGINT", "SIGQUIT")


def restore_default_signals():
    """Undo that a shell had this process, and so its children, ignore signals."""
    for name in _IGNORED_BY_SHELLS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            is_interrupt = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
