"""Words that a reader of other tools' manuals does not know stay out of the code and the documents.

`docs/design.md` has the glossary with the words to use instead.
"""

import ast
import re

from support.sources import FILES, ROOT, name_of, tree_of

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

REFUSED = {
    r"(?<!there )\b(is|are) no (?!longer|more\b|later|earlier|other)": 'write "is not a …"',
    r"\btell(s|ing)? of\b|\btold of\b": 'write "reports", "contains"',
    r"\bis told\b|\bare told\b": 'name who reports what: "prints", "receives"',
    r"\bthe cure\b": 'write "hint", "how to fix it"',
    r"\bwhoever\b|\bwhosoever\b": "name the subject",
    r"\banew\b": 'write "again"',
    r"\bhas to hold\b": 'write "filters combine with AND"',
    r"\bhappenings?\b": 'write "event"',
    r"\bblindness\b|\bblind\b": 'write "gap", "disconnected"',
    r"\bhearsay\b": 'write "pending", "unconfirmed"',
    r"\b(is|are|was|were) not to be had\b|\bto be had\b": 'write "could not recover", "not available"',
    r"\bwhat is made of it\b": "name what: transcripts and descriptions",
    r"\bis at\.$": 'write "state of …"',
    r"(?-i:(?<!there )\bis none\b)": 'write "is not a …"',
    r"\bso much at least\b": 'write "at least N"',
}
ANY_REFUSED = re.compile("|".join(REFUSED), re.IGNORECASE)
REFUSED_NAMES = {"told", "hearsay", "blindness"}


def refused_in(text):
    if not ANY_REFUSED.search(text):
        return []
    return [
        f"{match[0]!r}: {advice}"
        for pattern, advice in REFUSED.items()
        if (match := re.search(pattern, text, re.IGNORECASE))
    ]


def strings_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def test_messages_help_and_docstrings_use_plain_words():
    assert [
        f"{name_of(file)}:{line}: {word}"
        for file in FILES
        for line, text in strings_of(tree_of(file))
        for word in refused_in(text)
    ] == []


def test_values_are_named_for_what_they_are():
    nodes = ((file, node) for file in FILES for node in ast.walk(tree_of(file)))
    names = ((file, node, getattr(node, "id", None) or getattr(node, "arg", None)) for file, node in nodes)

    assert [
        f"{name_of(file)}:{node.lineno}: {name}"
        for file, node, name in names
        if isinstance(node, ast.Name | ast.arg) and name in REFUSED_NAMES
    ] == []


def test_documents_use_plain_words_in_short_lines():
    for file in DOCUMENTS:
        prose = [*enumerate(file.read_text(encoding="utf-8").splitlines(), 1)]

        assert [
            f"{name_of(file)}:{number}: {word}" for number, line in prose for word in refused_in(line)
        ] == []
        long = [number for number, line in _outside_code(prose) if len(line) > 100]
        assert [f"{name_of(file)}:{number}" for number in long] == []


def _outside_code(lines):
    """The lines that a person wrote as prose: neither in code blocks, nor rows of a table, nor links."""
    in_code = False
    for number, line in lines:
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and not line.startswith("|") and "](http" not in line:
            yield number, line


def test_the_check_refuses_what_it_should_and_nothing_else():
    assert refused_in("'microphone' is no source") != []
    assert refused_in("the journal tells of no gap") != []
    assert refused_in("there is no directory x; it is no longer there") == []
    assert refused_in("nothing was received") == []
