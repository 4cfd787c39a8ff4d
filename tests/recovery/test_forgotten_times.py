"""What the user forgets while a listener runs is known from then on."""

import itertools
import json

from vdbevents.events.forgotten import Forgotten, ForgottenSpan
from vdbevents.journal.files import replace_file
from vdbevents.recovery.forgotten_times import ForgottenTimes

T0 = 1_772_446_500_000


def test_the_file_is_read_again_whenever_it_changes(tmp_path):
    path = tmp_path / "forgotten.json"
    known = ForgottenTimes(path, itertools.count().__next__)
    event = {"channel": "transcript", "rtstream_id": "rts-1", "data": {"start": T0 + 5, "end": T0 + 9}}

    assert not known.covers(event)
    for span, is_covered in (((T0, T0 + 6), True), ((T0 + 9, T0 + 20), False)):
        replace_file(path, json.dumps(Forgotten([ForgottenSpan(*span)]).to_object()).encode())
        assert known.covers(event) == is_covered
    path.write_bytes(b"damaged")
    assert known.now().spans == ()
    path.unlink()
    assert not known.covers(event)
