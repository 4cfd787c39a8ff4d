"""A name that nothing has is an error, not an answer that says that nothing was said."""

import pytest
from support.journals import recent_journal
from support.mcp_clients import answered, refused, served


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "videodb_events.jsonl"
    recent_journal(path)
    return served(path)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search_events", {"session": "cap-nowhere"}),
        ("search_events", {"speaker": "Nobody", "words": "invoice"}),
        ("search_events", {"label": "nothing"}),
        ("get_context", {"words": "invoice", "session": "cap-nowhere"}),
        ("get_transcript", {"session": "cap-nowhere"}),
        ("get_transcript", {"speaker": "Nobody"}),
        ("summarize_window", {"session": "cap-nowhere"}),
        ("get_stats", {"session": "cap-nowhere"}),
    ],
)
def test_a_name_that_nothing_has_is_an_error(tool, arguments, recording):
    message = refused(recording, tool, **arguments)

    name = next(name for name in ("session", "speaker", "label") if name in arguments)
    assert message.startswith(f"{tool}: {name}: nothing in the recording has {arguments[name]!r}")
    assert "\n→ " in message


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search_events", {"session": "cap-1", "words": "zebra"}),
        ("search_events", {"session": "cap", "words": "zebra"}),
        ("search_events", {"session": "last", "words": "zebra"}),
        ("search_events", {"label": "ready", "until": "1h"}),
        ("get_transcript", {"session": "cap-1", "until": "1h"}),
    ],
)
def test_a_name_that_something_has_is_none(tool, arguments, recording):
    text, _ = answered(recording, tool, **arguments)

    assert "Nothing" in text
