"""Each worker begins with the tests that take longest, one half with those that wait."""

import pytest
from support.order import shared_out


@pytest.mark.parametrize("workers", [1, 2, 5, 12])
@pytest.mark.parametrize(
    ("waiting", "computing", "others"),
    [(0, 0, 0), (0, 0, 7), (7, 0, 0), (0, 7, 0), (1, 0, 13), (3, 2, 2), (60, 40, 1000)],
)
def test_each_worker_begins_with_its_share_of_the_long_tests(waiting, computing, others, workers):
    counts = {"waiting": waiting, "computing": computing, "other": others}
    tests = [[(kind, number) for number in range(count)] for kind, count in counts.items()]
    ordered = shared_out(*tests, workers)

    assert sorted(ordered) == sorted([*tests[0], *tests[1], *tests[2]])
    assert [test for test in ordered if test[0] == "other"] == tests[2]
    given = list(ordered)
    for worker in range(workers):
        # As xdist gives them out.
        count = len(given) // (workers - worker)
        kinds = [kind for kind, _ in given[:count]]
        del given[:count]
        assert kinds == sorted(kinds, key=["computing", "waiting", "other"].index) or worker % 2
        assert kinds == sorted(kinds, key=["waiting", "computing", "other"].index) or not worker % 2
        for kind in ("waiting", "computing"):
            assert counts[kind] // workers <= kinds.count(kind) <= counts[kind] // workers + 1
