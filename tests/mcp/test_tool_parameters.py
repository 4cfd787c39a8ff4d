"""Arguments as models write them."""

import pytest
from hypothesis import given, strategies as st

from vdbevents.errors import InputError
from vdbevents.mcp.page_cursor import PageCursor, cursor_in
from vdbevents.mcp.tool_parameters import Parameter, checked, schema_of

PARAMETERS = (
    Parameter("words", "text", "Words."),
    Parameter("kinds", "texts", "Kinds.", choices=("a", "b")),
    Parameter("count", "number", "How many.", 5, 1, 10),
    Parameter("seconds", "seconds", "How long.", 2.5, 0, 50),
    Parameter("deep", "switch", "Whether."),
)
USUAL = {"words": None, "kinds": None, "count": 5, "seconds": 2.5, "deep": None}


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {}),
        ({"words": None, "kinds": None, "count": None}, {}),
        ({"words": "", "kinds": []}, {}),
        ({"words": "null"}, {"words": "null"}),
        ({"words": 7}, {"words": "7"}),
        ({"words": 20260302}, {"words": "20260302"}),
        ({"kinds": "a"}, {"kinds": ["a"]}),
        ({"kinds": ["a", "b", ""]}, {"kinds": ["a", "b"]}),
        ({"count": "7"}, {"count": 7}),
        ({"count": 7.0}, {"count": 7}),
        ({"seconds": "0.5"}, {"seconds": 0.5}),
        ({"deep": True}, {"deep": True}),
        ({"deep": "False"}, {"deep": False}),
    ],
)
def test_these_arguments_are_taken(given, changed):
    assert checked("tool", PARAMETERS, given) == {**USUAL, **changed}


@pytest.mark.parametrize(
    "given",
    [
        {"words": ["x"]},
        {"words": {"a": 1}},
        {"words": True},
        {"words": "x" * 30_000},
        {"kinds": "c"},
        {"kinds": [1]},
        {"kinds": ["a"] * 60},
        {"kinds": {"a": 1}},
        {"count": 0},
        {"count": 11},
        {"count": 2.5},
        {"count": "ten"},
        {"count": True},
        {"count": float("nan")},
        {"count": 10**400},
        {"seconds": float("inf")},
        {"deep": "maybe"},
        {"deep": 1},
        {"other": 1},
    ],
)
def test_these_are_refused_with_a_hint(given):
    with pytest.raises(InputError) as refused:
        checked("tool", PARAMETERS, given)

    assert str(refused.value).startswith("tool: ")
    assert refused.value.hint
    assert len(str(refused.value)) < 200


def test_the_schema_has_types_bounds_and_choices():
    schema = schema_of((*PARAMETERS, Parameter("must", "text", "Needed.", required=True)))

    assert schema["additionalProperties"] is False
    assert schema["required"] == ["must"]
    assert schema["properties"]["count"] == {
        "type": "integer",
        "description": "How many.",
        "minimum": 1,
        "maximum": 10,
        "default": 5,
    }
    assert schema["properties"]["kinds"]["items"] == {"type": "string", "enum": ["a", "b"]}


@given(
    st.none() | st.integers(0, 2**50),
    st.none() | st.integers(0, 2**50),
    st.integers(0, 10**6),
    st.integers(200, 20_000),
)
def test_a_cursor_comes_back_as_it_was_also_with_another_bound(since_ms, at_ms, skip, tokens):
    values = {"words": "x", "max_tokens": 1500, "cursor": None}
    place = PageCursor(since_ms, at_ms, skip)

    given_back = {**values, "max_tokens": tokens, "cursor": place.text_for(values)}

    assert cursor_in("tool", given_back) == place


def test_a_number_beyond_its_bound_is_told_in_one_line():
    with pytest.raises(InputError) as refused:
        checked("search_events", PARAMETERS, {"count": 1e308})

    assert len(str(refused.value)) < 200


def test_a_hint_reads_as_a_sentence():
    with pytest.raises(InputError) as refused:
        checked("search_events", PARAMETERS, {"count": "many"})

    assert refused.value.hint == "give how many."
