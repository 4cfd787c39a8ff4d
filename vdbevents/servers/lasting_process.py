"""Set up a process that answers for days."""

import gc
from typing import Final

# Each message of a protocol leaves some dozen objects in cycles. Commands, which end before, collect garbage
# so seldom that these would take many megabytes.
_OBJECTS: Final = 1000


def collect_often() -> None:
    """Collect garbage as a process needs it that goes on, and never look again at what was loaded by now."""
    gc.freeze()
    gc.set_threshold(_OBJECTS)
