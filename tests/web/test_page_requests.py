"""What a page asks for is checked: a wrong number is an error, never a surprise."""

import pytest

from vdbevents.errors import InputError
from vdbevents.times import Window
from vdbevents.web.page_requests import moment_in, parts_in, search_in, span_in

ALL = Window()


@pytest.mark.parametrize(
    "text", ["", "x", "1.5", "1e3", "0x10", "99999999999999999", "-99999999999999999", "٣x"]
)
def test_a_time_is_a_whole_number_of_milliseconds_that_a_calendar_has(text):
    with pytest.raises(InputError) as refused:
        moment_in({"at": text}, "at")

    assert refused.value.error_id == "page-request-invalid"


def test_a_missing_time_is_an_error_and_not_the_epoch():
    with pytest.raises(InputError):
        span_in({"since": "0"})


def test_a_time_ends_after_it_began():
    assert span_in({"since": "5", "until": "6"}) == (5, 6)
    for until in ("5", "4"):
        with pytest.raises(InputError):
            span_in({"since": "5", "until": until})


@pytest.mark.parametrize("text", ["0", "-1", "4001", ""])
def test_a_time_is_cut_into_as_many_parts_as_a_screen_has_columns(text):
    with pytest.raises(InputError):
        parts_in({"parts": text})


def test_a_search_is_of_words_that_must_all_occur_and_of_phrases():
    filters = search_in({"q": ' ship "the invoice"  now '}, {}, ALL)

    assert filters.grep == ("ship", "the invoice", "now")
    assert (filters.ignore_case, filters.extended, filters.by_event, filters.recorder) == (
        True,
        False,
        True,
        False,
    )


def test_a_regular_expression_is_taken_as_it_is():
    filters = search_in({"q": r'a "b" \d+', "regex": "1"}, {}, ALL)

    assert filters.grep == (r'a "b" \d+',)
    assert filters.extended


def test_a_search_may_be_of_a_channel_a_source_or_a_session_alone():
    assert search_in({}, {"channel": ["alert"]}, ALL).channels == ("alert",)
    assert search_in({}, {"source": ["mic"]}, ALL).sources == ("mic",)
    assert search_in({"session": "cap-1"}, {}, ALL).sessions == ("cap-1",)


def test_a_search_may_be_of_a_time():
    times = {"q": "x", "from": "1000", "to": "2000"}

    assert search_in(times, {}, ALL).window == Window(1000, 2000)
    assert search_in(times, {}, Window(1500, 3000)).window == Window(1500, 2000)
    assert search_in(times, {}, Window(0, 1200)).window == Window(1000, 1200)
    assert search_in(times, {}, Window(5000, 6000)).window == Window(5000, 5000)
    for wrong in ({"from": "1"}, {"to": "1"}, {"from": "x", "to": "2"}):
        with pytest.raises(InputError):
            search_in({"q": "x", **wrong}, {}, ALL)


@pytest.mark.parametrize(
    ("values", "several"), [({}, {}), ({"q": "  "}, {}), ({"q": "x"}, {"source": ["tv"]})]
)
def test_nothing_to_search_for_and_an_unknown_source_are_errors(values, several):
    with pytest.raises(InputError):
        search_in(values, several, ALL)
