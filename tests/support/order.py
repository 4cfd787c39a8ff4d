"""The order in which the workers of a run take the tests."""

import itertools


def shared_out(long, others, workers):
    """Return all tests in an order in which each worker begins with its share of the long ones.

    A worker first gets as many tests in a row as any other, or the last ones one more (xdist's `worksteal`).
    The others keep their order: tests of one module can share what it sets up.
    """
    ordered, rest = [], iter(others)
    for worker in range(workers):
        first = long[workers - 1 - worker :: workers]
        size = (len(long) + len(others) + worker) // workers
        ordered += first
        ordered += itertools.islice(rest, size - len(first))
    return ordered
