"""Each worker begins with the tests that wait longest."""

import pytest
from support.order import shared_out


@pytest.mark.parametrize("workers", [1, 2, 5, 12])
@pytest.mark.parametrize(("long", "others"), [(0, 0), (0, 7), (7, 0), (1, 13), (5, 2), (100, 1000)])
def test_each_worker_begins_with_its_share_of_the_long_tests(long, others, workers):
    tests = [("long", number) for number in range(long)], [("other", number) for number in range(others)]
    ordered = shared_out(*tests, workers)

    assert sorted(ordered) == sorted([*tests[0], *tests[1]])
    assert [test for test in ordered if test[0] == "other"] == tests[1]
    given = list(ordered)
    for worker in range(workers):
        # As xdist gives them out.
        count = len(given) // (workers - worker)
        kinds = [kind for kind, _ in given[:count]]
        del given[:count]
        assert kinds == sorted(kinds)
        assert long // workers <= kinds.count("long") <= long // workers + 1
