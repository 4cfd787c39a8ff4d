"""How many random examples a property is tested with."""

import os


def examples(count):
    """Return `count` multiplied by VDBEVENTS_TEST_EXAMPLES (1 unless set); at least 1.

    `scripts/test --fast` sets it below 1, `scripts/test --all` above.
    """
    return max(1, round(count * float(os.environ.get("VDBEVENTS_TEST_EXAMPLES") or 1)))
