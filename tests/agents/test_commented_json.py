"""JSON with comments, changed in place: what is not meant stays byte for byte."""

import json
import re

import pytest
from hypothesis import Phase, given, settings, strategies as st

from vdbevents.agents.commented_json import MalformedJsonError, parsed, with_member, without_member

# To find a smaller text that fails takes minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
PATH = ("servers", "ours")
ENTRY = {"command": "/bin/x", "args": ["mcp", "/päth"]}

BLANKS = st.sampled_from(["", " ", "\n", "\n  ", "\n\t", "\r\n    "])
COMMENTS = st.sampled_from(["", "", "", "/* ] } , */", '// " } ,\n', "/*a*/ /*\nb*/"])
NAMES = st.sampled_from(["servers", "ours", "a", "b", 'é"\\', "//", "/*"])
SCALARS = st.sampled_from(
    ["1", "-0.5e3", "true", "null", '"x"', '"// no"', '"\\u00e9\\n"', "[]", "{}", "[1, 2]"]
)


@st.composite
def between(draw):
    return draw(BLANKS) + draw(COMMENTS) + draw(BLANKS)


@st.composite
def objects(draw, depth=3):
    names = draw(st.lists(NAMES, max_size=4))
    parts = []
    for name in names:
        is_object = depth and (name == "servers" or draw(st.booleans()))
        value = draw(objects(depth=depth - 1)) if is_object else draw(SCALARS)
        around = [draw(between()) for _ in range(4)]
        parts.append(
            f"{around[0]}{json.dumps(name, ensure_ascii=False)}{around[1]}:{around[2]}{value}{around[3]}"
        )
    comma = "," if parts and draw(st.booleans()) else ""
    return "{" + ",".join(parts) + comma + draw(between()) + "}"


@st.composite
def documents(draw):
    return draw(between()) + draw(objects()) + draw(between())


def plain(value):
    """A value as a reader takes it that knows of one member of each name."""
    return json.loads(json.dumps(value))


def comments_of(text):
    strings_or_comments = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|/\*.*?\*/', re.DOTALL)
    return [it for it in strings_or_comments.findall(text) if it.startswith("/")]


def is_object_on(value, path):
    for name in path:
        if not isinstance(value, dict):
            return False
        value = value.get(name)
        if value is None:
            return True
    return isinstance(value, dict)


@settings(phases=PHASES)
@given(documents())
def test_a_member_is_set_and_nothing_else_changes(text):
    before = parsed(text)
    if not is_object_on(before, PATH[:1]):
        with pytest.raises(MalformedJsonError):
            with_member(text, PATH, ENTRY)
        return
    was_there = isinstance(before.get("servers"), dict) and "ours" in before["servers"]

    after = with_member(text, PATH, ENTRY)

    expected = plain(before)
    expected["servers"] = {**(expected.get("servers") or {}), "ours": ENTRY}
    assert parsed(after) == expected
    assert list(parsed(after)) == list(expected)
    assert with_member(after, PATH, ENTRY) == after
    if not was_there and before.get("servers", {}) is not None:
        # Only text was added, in one place but for a comma.
        assert comments_of(after) == comments_of(text)
        rest = iter(re.sub(r"\s", "", after))
        assert all(character in rest for character in re.sub(r"\s", "", text))


@settings(phases=PHASES)
@given(documents())
def test_a_member_is_removed_and_nothing_else_changes(text):
    before = parsed(text)
    if not is_object_on(before, PATH[:1]):
        return

    after = without_member(text, PATH)

    expected = plain(before)
    servers = expected.get("servers")
    if not servers or "ours" not in servers:
        assert after == text
        return
    del servers["ours"]
    assert parsed(after) == expected
    outside = text
    for comment in comments_of(after):
        assert comment in outside
        outside = outside.split(comment, 1)[1]
    assert without_member(after, PATH) == after


@settings(phases=PHASES)
@given(documents())
def test_what_was_added_can_be_removed_without_a_trace(text):
    before = parsed(text)
    servers = before.get("servers")
    if not isinstance(servers, dict) or "ours" in servers:
        return

    again = without_member(with_member(text, PATH, ENTRY), PATH)

    if servers:
        assert re.sub(r"\s", "", again) == re.sub(r"\s", "", text)
    assert parsed(again) == plain(before)
    assert comments_of(again) == comments_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '{\n  "servers": {\n    "ours": 1\n  }\n}\n'),
        ("// ours\n", '// ours\n{\n  "servers": {\n    "ours": 1\n  }\n}\n'),
        ("{}", '{\n  "servers": {\n    "ours": 1\n  }\n}'),
        ('{"a": 1}', '{"a": 1, "servers": {"ours": 1}}'),
        ('{"servers": null}', '{"servers": {\n  "ours": 1\n}}'),
        ('{\n\t"a": 1 // one\n}\n', '{\n\t"a": 1, // one\n\t"servers": {\n\t\t"ours": 1\n\t}\n}\n'),
        ('{\r\n    "servers": {}\r\n}', '{\r\n    "servers": {\r\n        "ours": 1\r\n    }\r\n}'),
        (
            '{\n  "servers": {\n    "x": {},\n    // ours next\n  },\n}\n',
            '{\n  "servers": {\n    "x": {},\n    "ours": 1,\n    // ours next\n  },\n}\n',
        ),
        ('{\n  "servers": {"ours": {"a": 1}}\n}', '{\n  "servers": {"ours": 1}\n}'),
        ('{"servers": {"ours": 2, "ours": 3}}', '{"servers": {"ours": 2, "ours": 1}}'),
    ],
)
def test_new_text_has_the_style_of_the_rest(text, expected):
    assert with_member(text, PATH, 1) == expected


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text",
    [
        '{"servers": {"x": 1}}',
        '{\n  "servers": {\n    "x": 1\n  }\n}\n',
        '{\n\t"servers": {\n\t\t"x": 1, // one\n\t},\n}\n',
        '{\n  "servers": {\n    "x": 1 /* one */\n    // two\n  },\n  "b": 2 // three\n}',
        '{\n  "servers": {\n    "x": {}, \n    // two\n    /* three */\n  }\n}',
        '{\n  "servers": { "x": 1 },\n  "b": 2\n}\n',
    ],
)
def test_what_was_added_to_a_text_as_people_lay_it_out_is_removed_to_the_byte(text, line_end):
    text = text.replace("\n", line_end)

    assert without_member(with_member(text, PATH, ENTRY), PATH) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1, column 2: expected a name in double quotes"),
        ('{"a": 1,, "b": 2}', "line 1, column 9: expected a name in double quotes"),
        ('{"a": 1 "b": 2}', "line 1, column 9: expected ',' or '}'"),
        ('{"a" 1}', "line 1, column 6: expected ':'"),
        ("{'a': 1}", "expected a name in double quotes"),
        ("{a: 1}", "expected a name in double quotes"),
        ('{"a": NaN}', "expected a value"),
        ('{"a": 01}', "expected a value"),
        ('{"a": 1.}', "expected a value"),
        ('{"a": +1}', "expected a value"),
        ('{"a": nullx}', "expected a value"),
        ('{\n"a": "b\nc"}', "line 2, column 6: a text without its closing quote"),
        ('{"a": "\\x"}', "a malformed escape"),
        ('{"a": 1} x', "text after the end"),
        ('{"a": 1} {}', "text after the end"),
        ('{"a": /* b}', "a comment without an end"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "the whole is not an object"),
        ('{"servers": []}', '"servers" is not an object'),
        ('{"servers": "x"}', '"servers" is not an object'),
        ("\x00", "expected a value"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(text, said):
    with pytest.raises(MalformedJsonError, match=re.escape(said)):
        with_member(text, PATH, 1)


@pytest.mark.parametrize("text", ['{"a": 1 // b\n}', '/* a */ {"a": 1}', '{"a": 1,}', '{"a": [1,]}'])
def test_a_client_without_comments_gets_none(text):
    assert parsed(text, comments=True)
    for change in (lambda: with_member(text, PATH, 1, comments=False), lambda: parsed(text, comments=False)):
        with pytest.raises(MalformedJsonError, match="this client does not read"):
            change()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda it: st.lists(it) | st.dictionaries(st.text(), it),
    )
)
def test_all_json_is_read_as_json(value):
    for indent in (None, 2):
        text = json.dumps(value, indent=indent)
        assert parsed(text, comments=False) == parsed(text) == value
