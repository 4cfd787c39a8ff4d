"""The tools, as a client calls them on a day of recording."""

import json
from datetime import UTC

import pytest
from support.mcp_clients import answered, ask, refused, served
from support.recorded_day import write_day

from vdbevents.journal.files import wall_ms
from vdbevents.query import plain_events

HOURS = 4
USUAL_CALLS = [
    ("recording_status", {}),
    ("search_events", {}),
    ("search_events", {"words": "the"}),
    ("search_events", {"regex": "[a-z]+"}),
    ("get_context", {"words": "the"}),
    ("get_transcript", {}),
    ("get_transcript", {"newest": True}),
    ("get_transcript", {"last": "1d"}),
    ("summarize_window", {}),
    ("summarize_window", {"last": "1d"}),
    ("list_sessions", {}),
    ("get_stats", {}),
    ("get_stats", {"by": "window"}),
    ("query_sql", {"query": "FROM events"}),
    ("wait_for", {"seconds": 0}),
]


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """The journal of a working day, and how many events it has."""
    journal = tmp_path_factory.mktemp("day") / "state" / "videodb_events.jsonl"
    return journal, write_day(journal, HOURS, wall_ms() - 20_000)


def dumped(data):
    return json.dumps(data, ensure_ascii=False)


def pages(journal, name, **arguments):
    """Yield the data of each page of an answer."""
    cursor = None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        _, data = answered(served(journal), name, **arguments, **more)
        yield data
        cursor = data["next"]
        if cursor is None:
            return


@pytest.mark.long
def test_every_usual_answer_is_bounded_and_says_how_to_get_more(day):
    journal, _ = day

    results = ask(served(journal), *USUAL_CALLS)

    for (name, arguments), result in zip(USUAL_CALLS, results, strict=True):
        assert not result.is_error, (name, result.content[0].text)
        text, data = result.content[0].text, result.structured_content
        assert len(text) <= 1500 * 4, (name, arguments)
        assert len(dumped(data)) <= 1500 * 4, (name, arguments)
        if len(text) > 1400 * 4:
            assert "cursor=" in text or "max_tokens=" in text, name
        if len(dumped(data)) > 1400 * 4:
            assert data.get("next") or data.get("more"), name


@pytest.mark.long
def test_a_larger_bound_gets_more_and_holds(day):
    journal, _ = day
    calls = [(name, {**arguments, "max_tokens": size}) for size in (400, 6000) for name, arguments in (
        ("search_events", {"words": "the"}), ("get_transcript", {"last": "1d"}),
        ("summarize_window", {"last": "1d"}), ("get_context", {"words": "the"}),
    )]  # fmt: skip

    sizes = [
        (arguments["max_tokens"], len(result.content[0].text), len(dumped(result.structured_content)))
        for (_, arguments), result in zip(calls, ask(served(journal), *calls), strict=True)
    ]

    for small, large in zip(sizes[:4], sizes[4:], strict=True):
        assert max(small[1:]) <= 400 * 4
        assert max(large[1:]) <= 6000 * 4
        assert large[1] > small[1]


EXAMPLE = """\
{"ts":"2026-03-02T10:00:00.000Z","unix_ts":1772445600.0,"event":"capture_session.active","capture_session_id":"cap-1","data":{}}
"""


def line(second, text, *, channel="transcript", stream="mic:default", **data):
    at = 1772445600 + second
    own = {"text": text, "start": at * 1000, "end": at * 1000 + 900}
    own |= {"is_final": True} if channel == "transcript" else {}
    event = {
        "ts": f"2026-03-02T10:{second // 60:02}:{second % 60:02}.000Z",
        "unix_ts": float(at),
        "channel": channel,
        "rtstream_name": stream,
        "data": own | data,
    }
    return json.dumps(event) + "\n"


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "state" / "videodb_events.jsonl"
    path.parent.mkdir()
    said = [line(number, f"word{number} and code") for number in range(60)]
    # Several have the same time: a page may end among them.
    said += [line(70, f"same{number} and code") for number in range(9)]
    said += [
        line(80 + number, f"Screen {number}", channel="visual_index", stream="display:1")
        for number in range(5)
    ]
    path.write_text(EXAMPLE + "".join(said))
    return path


@pytest.mark.parametrize("bound", [200, 300])
def test_the_pages_of_a_search_have_each_match_once_the_newest_first(journal, bound):
    found = [
        event
        for page in pages(journal, "search_events", words="code", max_tokens=bound)
        for event in page["events"]
    ]

    texts = [event["text"] for event in found]
    assert sorted(texts[:9]) == [f"same{number} and code" for number in range(9)]
    assert texts[9:] == [f"word{number} and code" for number in reversed(range(60))]


def test_events_that_come_meanwhile_are_on_no_later_page(journal):
    _, first = answered(served(journal), "search_events", words="code", max_tokens=200)
    with journal.open("a") as file:
        file.writelines(line(200 + number, f"later{number} and code") for number in range(9))
    _, second = answered(served(journal), "search_events", words="code", max_tokens=200, cursor=first["next"])

    seen = [event["text"] for page in (first, second) for event in page["events"]]
    assert len(set(seen)) == len(seen)
    assert not any(text.startswith("later") for text in seen)


@pytest.mark.parametrize("newest", [False, True])
def test_the_pages_of_a_transcript_have_each_sentence_once(journal, newest):
    texts = [
        part["text"]
        for page in pages(journal, "get_transcript", session="cap-1", newest=newest, max_tokens=200)
        for part in (page["parts"][::-1] if newest else page["parts"])
        if part["kind"] == "speech"
    ]

    words = " ".join(texts).split(" ")
    assert sorted(words).count("code") == 69
    assert {f"word{number}" for number in range(60)} <= set(words)


def test_the_text_has_cursors_of_its_own(journal):
    text, _ = answered(served(journal), "search_events", words="code", max_tokens=200)
    cursor = text.partition('cursor="')[2].partition('"')[0]

    following, _ = answered(served(journal), "search_events", words="code", max_tokens=200, cursor=cursor)

    shown = [one for page in (text, following) for one in page.split() if one.startswith(("same", "word"))]
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"words": "WORD7 code"}, ["word7 and code"]),
        ({"words": '"word7 and"'}, ["word7 and code"]),
        ({"words": '"code and"'}, []),
        ({"regex": "^WORD5[89]"}, ["word59 and code", "word58 and code"]),
        ({"any_of": ["word3 ", "word4 "]}, ["word4 and code", "word3 and code"]),
        ({"channel": "visual_index", "words": "screen 4"}, ["Screen 4"]),
        ({"source": ["mic"], "words": "screen"}, []),
        ({"words": "code", "since": "2026-03-02T10:00:58Z", "until": "2026-03-02T10:00:59.5Z"},
         ["word59 and code", "word58 and code"]),
        ({"session": "last", "regex": r"word1\b"}, ["word1 and code"]),
        ({"words": "word1", "last": "1h"}, []),
    ],
)  # fmt: skip
def test_a_search_takes_these_filters(journal, arguments, found):
    _, data = answered(served(journal), "search_events", **arguments)

    assert [event["text"] for event in data["events"]] == found
    assert bool(data["remarks"]) is not bool(found)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("search_events", {"words": "x", "regex": "y"}, "regex: not with words"),
        ("search_events", {"regex": "("}, "regular expression"),
        ("search_events", {"since": "never"}, "since: cannot parse"),
        ("search_events", {"last": "1h", "since": "2h"}, "last: not allowed with since"),
        ("search_events", {"channel": "nothing"}, "use transcript"),
        ("search_events", {"max_tokens": 10**6}, "at most 20000"),
        ("search_events", {"max_tokens": "many"}, "not a whole number"),
        ("search_events", {"cursor": "x"}, "cursor: not one of this question"),
        ("search_events", {"word": "x"}, "did you mean words?"),
        ("get_context", {}, "no moment given"),
        ("get_context", {"at": "10:00", "words": "x"}, "at: not with a filter"),
        ("query_sql", {}, "query is missing"),
        ("query_sql", {"query": "SELEC 1"}, "syntax error"),
        ("query_sql", {"query": "DELETE FROM events"}, "only one SELECT"),
        ("query_sql", {"query": "FROM read_csv('/etc/passwd')"}, "not allowed"),
        ("get_stats", {"by": "moon"}, "use hour"),
        ("wait_for", {"seconds": 51}, "at most 50"),
        ("wait_for", {"cursor": "zz"}, "cursor: not one of wait_for"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(journal, name, arguments, said):
    message = refused(served(journal), name, **arguments)

    assert said in message
    assert "\n→ " in message
    assert "--" not in message


def test_a_cursor_is_of_one_question(journal):
    _, first = answered(served(journal), "search_events", words="code", max_tokens=200)

    message = refused(served(journal), "search_events", words="other", cursor=first["next"])

    assert "cursor: not one of this question" in message


def test_numbers_and_lists_may_be_written_as_models_write_them(journal):
    _, data = answered(
        served(journal), "search_events", words="word7", max_tokens="300", channel="transcript",
        source=[], speaker="", session=None,
    )  # fmt: skip

    assert [event["text"] for event in data["events"]] == ["word7 and code"]


def test_the_context_of_a_time_has_what_was_said_and_shown(journal):
    text, data = answered(served(journal), "get_context", at="2026-03-02T10:01:20Z", around="15s")

    [moment] = data["moments"]
    assert moment["screens"][0]["text"] == "Screen 0"
    assert {one["text"] for one in moment["said"]} == {f"same{number} and code" for number in range(9)}
    assert "Screen 0" in text


def test_the_context_of_a_match_is_found_in_lines_that_were_parsed_once(journal, monkeypatch):
    parsed = []
    read = plain_events._parsed
    monkeypatch.setattr(plain_events, "_parsed", lambda line: parsed.append(line) or read(line))
    _, data = answered(served(journal), "get_context", words="word30", around="5s")

    [moment] = data["moments"]
    assert len(moment["said"]) == 11
    assert sorted(parsed) == sorted(journal.read_bytes().splitlines())


def test_sessions_and_statistics_are_paged(journal):
    with journal.open("a") as file:
        file.writelines(
            EXAMPLE.replace("cap-1", f"cap-{number + 2}")
            .replace("10:00:00", f"1{number}:30:00")
            .replace("1772445600.0", f"{1772445600 + 1800 + 3600 * number}.0")
            for number in range(6)
        )

    sessions = [one for page in pages(journal, "list_sessions", max_tokens=200) for one in page["sessions"]]
    rows = [row for page in pages(journal, "get_stats", by="hour", max_tokens=300) for row in page["rows"]]

    assert [one["session"] for one in sessions] == [f"cap-{number}" for number in range(7, 0, -1)]
    assert sum(row["events"] for row in rows) == 74 + 7


@pytest.mark.long
def test_the_rows_of_a_query_are_paged(journal):
    rows = [
        row
        for page in pages(
            journal, "query_sql", query="SELECT text FROM transcripts ORDER BY text", max_tokens=250
        )
        for row in page["rows"]
    ]

    assert len(rows) == 69
    assert rows == sorted(rows)


def test_what_was_written_since_the_last_call_is_found(journal):
    import anyio
    from mcp.client import Client

    from vdbevents.mcp.serving import opened_server

    async def asked():
        with opened_server(served(journal)) as server:
            async with Client(server) as client:
                before = await client.call_tool("search_events", {"words": "fresh"})
                with journal.open("a") as file:
                    file.write(line(300, "fresh bread"))
                return before, await client.call_tool("search_events", {"words": "fresh"})

    before, after = anyio.run(asked)

    assert before.structured_content["events"] == []
    assert [event["text"] for event in after.structured_content["events"]] == ["fresh bread"]


@pytest.mark.long
def test_calls_at_once_get_answers_of_their_own(journal):
    import anyio
    from mcp.client import Client

    from vdbevents.mcp.serving import opened_server

    found = {}

    async def asked():
        with opened_server(served(journal)) as server:
            async with Client(server) as client, anyio.create_task_group() as group:

                async def one(number):
                    result = await client.call_tool("search_events", {"regex": rf"word{number}\b"})
                    found[number] = [event["text"] for event in result.structured_content["events"]]

                for number in range(20):
                    group.start_soon(one, number)

    anyio.run(asked)

    assert found == {number: [f"word{number} and code"] for number in range(20)}


def test_a_journal_that_begins_later_is_read_then(tmp_path):
    from contextlib import contextmanager

    from vdbevents.errors import InputError
    from vdbevents.mcp.serving import ServedRecording
    from vdbevents.query.hostnames import HostJournal

    path = tmp_path / "videodb_events.jsonl"

    @contextmanager
    def find():
        if not path.exists():
            raise InputError("no journal yet", "record one", error_id="journal-missing")
        yield [HostJournal("here", path, str(path))]

    recording = ServedRecording(find, list, UTC)

    assert refused(recording, "search_events") == "no journal yet\n→ record one"
    path.write_text(line(1, "hello"))
    assert answered(recording, "search_events")[1]["events"][0]["text"] == "hello"


@pytest.mark.long
def test_several_machines_are_named(journal, tmp_path):
    other = tmp_path / "desk" / "videodb_events.jsonl"
    other.parent.mkdir()
    other.write_text(line(30, "code on the desk"))

    text, data = answered(served(journal, other), "search_events", words="desk")

    assert data["events"][0]["host"] == "desk"
    assert "desk mic: code on the desk" in text
    assert "host is missing" in refused(served(journal, other), "query_sql", query="FROM events")
    _, rows = answered(served(journal, other), "query_sql", query="SELECT text FROM events", host="desk")
    assert rows["rows"] == [["code on the desk"]]
