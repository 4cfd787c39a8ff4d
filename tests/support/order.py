"""The order in which the workers of a run take the tests."""

import itertools


def shared_out(waiting, computing, others, workers):
    """Return all tests in an order in which each worker begins with its share of the long ones.

    Of the long ones, every second worker begins with those that wait, the others with those that compute: so
    the processors have work from the beginning to the end.
    A worker first gets as many tests in a row as any other, or the last ones one more (xdist's `worksteal`).
    The others keep their order: tests of one module can share what it sets up.
    """
    long = [(test, "waiting") for test in waiting] + [(test, "computing") for test in computing]
    ordered, rest = [], iter(others)
    for worker in range(workers):
        share = long[workers - 1 - worker :: workers]
        size = (len(long) + len(others) + worker) // workers
        for kind in ("waiting", "computing") if worker % 2 else ("computing", "waiting"):
            ordered += [test for test, its_kind in share if its_kind == kind]
        ordered += itertools.islice(rest, size - len(share))
    return ordered
