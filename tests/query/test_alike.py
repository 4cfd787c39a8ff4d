"""A search finds what looks the same, in every way to ask, and `forget` what the search finds."""

import contextlib
import json
import unicodedata
import warnings

import pytest
from support.databases import search, shared_database

from vdbevents.errors import InputError
from vdbevents.query import alike, patterns
from vdbevents.query.cache import build, index
from vdbevents.query.filters import Filters
from vdbevents.query.output.highlight import Highlighter
from vdbevents.query.sieve import Sieve
from vdbevents.removal.forgetting import Forgetting, Words
from vdbevents.removal.line_selection import JournalLine
from vdbevents.times import Window

HANGUL = "\ud55c\uad6d\uc5b4"
KATAKANA = "\u30d7\u30ed\u30b0\u30e9\u30e0"
TEXTS = (
    "un café noir",
    unicodedata.normalize("NFD", "un café au lait"),
    "a cafe",
    unicodedata.normalize("NFD", HANGUL),
    unicodedata.normalize("NFD", KATAKANA),
    "I don\u2019t know",
    'she said "no"',
    "\u201cno\u201d was said",
    "1\u00a0000 users",
    "alpha one\n  beta two",
    "a co\u00adope\u200bration",
    "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u039b\u039f\u0393\u039f\u03a3",
    "12 \u00b5m",
    "ACME Corp",
    "\u6771\u4eac\u306b\u884c\u304f",
    "x\u2011y \u212aelvin",
    "no \0 caf\u00e9",
)


def line(text):
    return json.dumps(
        {"unix_ts": 1772446530, "channel": "visual_index", "data": {"text": text}}, ensure_ascii=False
    )


LINES = [line(text) for text in TEXTS]


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """A journal that has each line twice, and its cache, which has the first of each."""
    folder = tmp_path_factory.mktemp("alike")
    path = folder / "videodb_events.jsonl"
    content = "".join(f"{one}\n" for one in LINES).encode()
    path.write_bytes(content)
    build.seal(path, folder / "cache", piece=1000, part=500, to_end=True)
    path.write_bytes(content * 2)
    cache = index.load(path, folder / "cache")
    assert cache.end == len(content)
    assert len(cache.segments) > 2
    return path, cache


def found(journal, asked):
    """Return the places of the texts that are found, which are the same in the cache and in the journal."""
    path, cache = journal
    with search(path, asked, cache) as answer:
        assert answer.snapshot.sealed.segments
        texts = [TEXTS.index(event.text) for batch in answer.events() for event in batch]
    sealed, unsealed = texts[: len(texts) // 2], texts[len(texts) // 2 :]
    assert sealed == unsealed
    return sealed


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        *(("café", [0, 1, 16]), (unicodedata.normalize("NFD", "Café"), []), ("cafe", [2])),
        *((HANGUL, [3]), (unicodedata.normalize("NFD", KATAKANA), [4])),
        *(("don't", [5]), ("don\u2019t", [5]), ('"no"', [6, 7]), ("\u201eno\u201f", [6, 7])),
        *(("1 000", [8]), ("one beta", [9]), ("one\tbeta  two", [9]), ("cooperation", [10])),
        *(
            ("\u03bb\u03bf\u03b3\u03bf\u03c2", [11]),
            ("\u03bb\u03bf\u03b3\u03bf\u03c3", [11]),
            ("\u03bcm", [12]),
        ),
        *(("x-y", [15]), ("kelvin", [15]), ("Kelvin", [15]), ("\u200b", [10])),
    ],
)
def test_what_looks_the_same_is_found_in_every_way_to_ask(journal, pattern, places):
    asked = Filters(grep=(pattern,))
    assert found(journal, asked) == places
    with Sieve(asked, ("text",)) as sieve:
        assert [TEXTS.index(event.text) for event in sieve.sift([one.encode() for one in LINES])[0]] == places
    forgetting = Forgetting(Window(), Words(pattern))
    gone = [
        place for place, one in enumerate(LINES) if forgetting.change(JournalLine(one.encode(), 0)) is None
    ]
    assert gone == places


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        *(
            ("café", [0, 16]),
            ("cafe", [1, 2]),
            ("don't", []),
            ("1\u00a0000", [8]),
            ("acme", []),
            ("ACME", [13]),
        ),
        *(("one\n  beta", [9]), ("one beta", []), ("e\u0301", [1]), ("\u212aelvin", [15])),
    ],
)
def test_an_exact_search_is_for_the_characters(journal, pattern, places):
    asked = Filters(grep=(pattern,), exact=True)
    assert found(journal, asked) == places
    words = Words(pattern, exact=True)
    assert [place for place, text in enumerate(TEXTS) if words.are_in(text)] == places


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        *(("alpha.*beta", [9]), ("^ +beta", [9]), ("one$", [9]), (r"\Aalpha[^z]*two\z", [9]), ("don't", [5])),
        *(("[[:upper:]]{4}", [13]), (r"\p{Lu}{4}", [11, 13]), ("acme", [13]), ("(?i)ACME", [13])),
        *(
            (r"[[:^upper:]]\p{Lu}", [11, 13, 15]),
            ("caf\u00e9|1 0", [0, 1, 8, 16]),
            (r"caf\x{e9}", [0, 1, 16]),
        ),
        *(("[\u2018-\u201f]t", [5]), (r"(?P<Name>acme)", [13]), ("\u200b+", [10])),
    ],
)
def test_a_regular_expression_sees_one_text_and_what_it_looks_like(journal, pattern, places):
    asked = Filters(grep=(pattern,), extended=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found(journal, asked) == places
        Highlighter(asked).places([text.replace("\0", " ") for text in TEXTS])


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("\u6771\u4eac", [14]),
        ("no", [6, 7, 16]),
        ("caf", []),
        ("one beta", [9]),
        ("on", []),
        ("café", [0, 1, 16]),
    ],
)
def test_a_whole_word_ends_anywhere_in_a_script_without_spaces(journal, pattern, places):
    asked = Filters(grep=(pattern,), whole_words=True)
    assert found(journal, asked) == places


@pytest.mark.parametrize(
    ("pattern", "text", "shown"),
    [
        *(
            ("don't", "I don\u2019t", "don\u2019t"),
            ("café", "un cafe\u0301", "cafe\u0301"),
            ("cafe", "cafe\u0301", ""),
        ),
        *(("a b", "a\u00a0b", "a\u00a0b"), ("\u03bf\u03c2", "\u03a7\u039f\u03a3", "\u039f\u03a3")),
    ],
)
def test_what_looks_the_same_is_highlighted(pattern, text, shown):
    [places] = Highlighter(Filters(grep=(pattern,))).places([text])
    assert "".join(text[first:last] for first, last in places) == shown


def test_sql_makes_texts_alike_as_python_does():
    odd = [chr(code) for code in range(1, 0x3100)] + [
        "e\u0301\u00ad",
        "\u1112\u1161\u11ab",
        "\u00e9\0e\u0301",
        "",
    ]
    with contextlib.closing(shared_database().connection(0)) as database:
        rows = database.execute(
            f"SELECT text, coalesce({alike.looks('text')}, text), lower(text) FROM "
            "(SELECT unnest(?) AS text)",
            [odd],
        ).fetchall()
    assert [row for row in rows if row[1:] != (alike.alike(row[0]), alike.lower(row[0]))] == []


def test_a_pattern_of_ascii_in_any_case_matches_what_has_it_in_lower_case():
    # RE2 folds letters otherwise than `lower`: of all characters these may differ.
    connection = shared_database().connection(1000)
    connection.execute(
        f"""CREATE TEMP TABLE letters AS
            WITH every AS (SELECT chr(code::INTEGER) AS text FROM range(1, 1114112) AS codes(code)
                WHERE code NOT BETWEEN 55296 AND 57343),
            seen AS (SELECT text, {alike.looks("text")} AS looks FROM every)
            SELECT * FROM seen WHERE lower(coalesce(looks, text)) < chr(128)
                OR regexp_matches(coalesce(looks, text), '(?i)[\\x01-\\x7f\u0130]')"""
    )
    [(count,)] = connection.execute("SELECT count(*) FROM letters").fetchall()
    assert 128 < count < 1000
    for wanted in map(chr, range(1, 128)):
        pattern, values = f"{wanted}", []
        found = patterns.is_in(pattern, "text", Filters(ignore_case=True), values)
        plain = f"contains(lower(regexp_replace(coalesce(looks, text), '{alike.BLANK}', ' ', 'g')), ?)"
        sql = f"SELECT list(text) FROM letters WHERE {found} IS DISTINCT FROM {plain}"
        values.append(patterns.sought(pattern, Filters(ignore_case=True)))
        assert connection.execute(sql, values).fetchall() == [(None,)], repr(wanted)


@pytest.mark.parametrize(
    "condition",
    [
        *(
            "row_number() OVER () = 1",
            "count(*) > 0",
            "max(time) = time",
            "unnest([1]) = 1",
            "COLUMNS(*) IS NULL",
        ),
        *("time IN (SELECT time)", "lag(text) OVER (ORDER BY time) = text"),
    ],
)
def test_a_condition_on_other_events_is_refused(journal, condition):
    with pytest.raises(InputError) as caught:
        found(journal, Filters(where=condition))
    assert caught.value.error_id in ("condition-failed", "condition-invalid")
