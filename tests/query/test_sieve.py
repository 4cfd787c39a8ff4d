"""New lines of a followed journal: what a condition selects among them, however it is written."""

import json

import pytest

from vdbevents.query.filters import Filters
from vdbevents.query.sieve import Sieve

TEXTS = ["it's code?", "no code", "the_condition"]
LINES = [json.dumps({"unix_ts": 1772446530, "channel": "alert", "text": text}).encode() for text in TEXTS]


@pytest.mark.parametrize(
    ("where", "selected"),
    [
        ("text LIKE '%?%' -- what's up", TEXTS[:1]),
        ("text LIKE '%?%' /* isn't it? */", TEXTS[:1]),
        (r"text = E'it\'s code?'", TEXTS[:1]),
        ("text LIKE $a$%?%$a$", TEXTS[:1]),
        ("text LIKE $$%'%?$$", TEXTS[:1]),
        ("text = 'the_condition' OR \"text\" = '?'", TEXTS[2:]),
        ("text = 'it''s code?'", TEXTS[:1]),
        ("text NOT LIKE '%?%'", TEXTS[1:]),
    ],
)
def test_a_condition_runs_as_it_was_checked(where, selected):
    with Sieve(Filters(where=where, any_of=("code?", "no", "the_condition")), ("text",)) as sieve:
        matches, unreadable = sieve.sift(LINES)

    assert [match.text for match in matches] == selected
    assert unreadable == 0
