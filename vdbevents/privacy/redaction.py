"""Replace what must not be written down in lines of a journal by marks that name its kind. Pure.

Only texts are changed: ids, times and names of events stay, and so does every byte around what is replaced.
docs/privacy.md says what is recognised and what is not.
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vdbevents.events.envelope import Record, parse_line
from vdbevents.privacy import expressions as own_expressions, number_forms
from vdbevents.privacy.folding import folded, parts_of, unescaped, written_places
from vdbevents.privacy.number_forms import CARD, EMAIL, IBAN, PHONE, Span
from vdbevents.privacy.prefilter import BASE64, SHORTEST_CARD, Prefilter
from vdbevents.privacy.secret_forms import API_KEY, FORMS, PRIVATE_KEY, TOKEN, LiteralPlace
from vdbevents.privacy.structure import STRUCTURE, is_structure

KINDS: Final[Mapping[str, bool]] = {
    API_KEY: True,
    TOKEN: True,
    PRIVATE_KEY: True,
    CARD: True,
    IBAN: False,
    EMAIL: False,
    PHONE: False,
}
"""The built-in kinds, and whether each is on by default."""

MARK: Final = re.compile(r"\[redacted:[a-z][a-z0-9_-]{0,39}\]")
"""What a secret is replaced by."""


@dataclass(frozen=True, slots=True)
class RedactionRules:
    """What to replace.

    Attributes:
        kinds: the built-in kinds that are on.
        expressions: own ones in RE2's syntax, by the names in their marks.
        secrets: texts known to be secret, such as the API key in use.
    """

    kinds: frozenset[str] = frozenset(kind for kind, is_on in KINDS.items() if is_on)
    expressions: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of all rules in force, as in their marks."""
        return [*(kind for kind in KINDS if kind in self.kinds), *self.expressions]


class Redacted(NamedTuple):
    """A line or text after redaction, and how many of each kind were replaced."""

    content: bytes
    counts: Mapping[str, int]


class _Found(NamedTuple):
    """A part of a text to replace."""

    start: int
    end: int
    kind: str


class _Piece(NamedTuple):
    """A part of a line that may be replaced: the content of a string, or a whole number."""

    start: int
    end: int
    name: str
    is_number: bool = False


_TOKEN_OF_JSON = re.compile(
    r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:)?|[\[\]{}]|-?\d[\d.eE+-]*+|[a-z]++', re.DOTALL
)
_SHORTEST_SECRET = 16
_LONGEST_NAME = 32
_MOST_NAMES = 10_000


class Redactor:
    """Applies rules to lines. Safe to share between threads."""

    def __init__(self, rules: RedactionRules | None = None) -> None:
        """Prepare the rules; without any, the built-in kinds that are on by default.

        Raises:
            ValueError: an own expression is wrong.
            InputError: own expressions are not available.
        """
        self.rules = RedactionRules() if rules is None else rules
        kinds = self.rules.kinds
        self._kinds = kinds
        self._forms = [form for form in FORMS if form.kind in kinds]
        self._forms_beside_words = [form for form in self._forms if form.place is not LiteralPlace.IN_WORD]
        self._secrets = [secret for secret in self.rules.secrets if len(secret) >= _SHORTEST_SECRET]
        self._own = own_expressions.compile_all(self.rules.expressions)
        self._is_idle = not (kinds or self._own or self._secrets)
        # Names of members come again with each event: short texts without anything to replace.
        self._clean_names: set[str] = set()
        self._prefilter = Prefilter(self._forms, self._secrets, kinds)

    def record(self, record: Record) -> Record:
        """Return a record without what the rules replace; the same one if that is nothing."""
        return self.records([record])[0]

    def records(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return records without what the rules replace: faster than `record` of each."""
        if self._is_idle or not records:
            return records
        if self._own:
            return [self._redacted(record) for record in records]
        to_look_at = self._prefilter.may_change([record.line for record in records])
        if not to_look_at:
            return records
        redacted = list(records)
        for number in to_look_at:
            redacted[number] = self._redacted(redacted[number])
        return redacted

    def _redacted(self, record: Record) -> Record:
        content, counts = self._object(record.line)
        event = parse_line(content) if counts else None
        if event is None:
            return record
        del event["ts"], event["unix_ts"]
        return Record(content, event)

    def line(self, line: bytes) -> Redacted:
        """Return a journal's line without what the rules replace; one that is not JSON is taken as text."""
        if self._is_idle:
            return Redacted(line, {})
        if not self._own and not self._prefilter.may_change([line]):
            return Redacted(line, {})
        return self.text(line) if parse_line(line) is None else self._object(line)

    def text(self, content: bytes) -> Redacted:
        """Return a text, UTF-8 or not, without what the rules replace."""
        text, counts = _until_nothing_is_found(self._redact_text, content.decode("utf-8", "surrogateescape"))
        return Redacted(text.encode("utf-8", "surrogateescape") if counts else content, counts)

    def _redact_text(self, text: str) -> tuple[str, Mapping[str, int]]:
        found = self._find(text)
        edits = [(item.start, item.end, _mark(item.kind)) for item in found]
        return _edited(text, edits), Counter(item.kind for item in found)

    def words(self, text: str) -> str:
        """Return a message for a person without what the rules replace."""
        return self.text(text.encode("utf-8", "surrogatepass")).content.decode("utf-8", "replace")

    def _object(self, line: bytes) -> Redacted:
        body, counts = _until_nothing_is_found(self._redact_object, line.decode("utf-8"))
        return Redacted(body.encode("utf-8") if counts else line, counts)

    def _redact_object(self, body: str) -> tuple[str, Mapping[str, int]]:
        edits: list[tuple[int, int, str]] = []
        counts: Counter[str] = Counter()
        for group in _groups(body):
            first = group[0]
            if first.is_number:
                if CARD in self._kinds and number_forms.is_card(body[first.start : first.end]):
                    edits.append((first.start, first.end, f'"{_mark(CARD)}"'))
                    counts[CARD] += 1
            elif first.name == BASE64:
                edits += self._base64_edits(body, first, counts)
            elif len(group) > 1 or first.end - first.start > _LONGEST_NAME:
                edits += self._text_edits(body, group, counts)
            elif (name := body[first.start : first.end]) not in self._clean_names:
                found = list(self._text_edits(body, group, counts))
                edits += found
                if not found:
                    self._note_clean(name)
        return _edited(body, edits), counts

    def _note_clean(self, name: str) -> None:
        if len(self._clean_names) >= _MOST_NAMES:
            self._clean_names.clear()
        self._clean_names.add(name)

    def _base64_edits(self, body: str, piece: _Piece, counts: Counter[str]) -> Iterator[tuple[int, int, str]]:
        try:
            content = base64.b64decode(body[piece.start : piece.end], validate=True)
        except (binascii.Error, ValueError):
            return
        redacted = self.text(content)
        if redacted.counts:
            counts.update(redacted.counts)
            yield piece.start, piece.end, base64.b64encode(redacted.content).decode("ascii")

    def _text_edits(
        self, body: str, group: list[_Piece], counts: Counter[str]
    ) -> Iterator[tuple[int, int, str]]:
        """Yield the edits of strings that are read as one text, each on a line of its own."""
        texts = [unescaped(body[piece.start : piece.end]) for piece in group]
        found = self._find("\n".join(texts))
        offset = 0
        for piece, text in zip(group, texts, strict=True) if found else ():
            spans: list[tuple[int, int, str]] = []
            for item in found:
                start, end = max(item.start - offset, 0), min(item.end - offset, len(text))
                if start >= end:
                    continue
                if item.start >= offset:
                    counts[item.kind] += 1
                # Of a secret on several lines, its mark is on the first.
                spans.append((start, end, _mark(item.kind) if item.start >= offset else ""))
            # Only where something was found are its places in the escaped text looked for.
            places = written_places(
                body[piece.start : piece.end], [place for span in spans for place in span[:2]]
            )
            for (_, _, mark), start, end in zip(spans, places[::2], places[1::2], strict=True):
                yield piece.start + start, piece.start + end, mark
            offset += len(text) + 1

    def _find(self, text: str) -> list[_Found]:
        """Return what to replace in a text, in its order, without overlaps."""
        found = [
            _Found(span.start, span.end, name)
            for name, pattern in self._own.items()
            for span in own_expressions.find(pattern, text)
        ]
        for first, part in parts_of(text):
            reading = folded(part)
            for item in self._find_built_in(part if reading is None else reading.text):
                ends = (
                    (item.start, item.end)
                    if reading is None
                    else (reading.start(item.start), reading.end(item.end))
                )
                found.append(_Found(first + ends[0], first + ends[1], item.kind))
        return _merged(found, [Span(*mark.span()) for mark in MARK.finditer(text)]) if found else found

    def _find_built_in(self, text: str) -> Iterator[_Found]:
        for secret in self._secrets:
            if secret in text:
                for match in re.finditer(re.escape(secret), text):
                    yield _Found(*match.span(), API_KEY)
        yield from self._find_forms(text)
        for kind in self._prefilter.numbers_in(text.encode("utf-8", "replace")):
            for span in number_forms.FINDERS[kind](text):
                yield _Found(span.start, span.end, kind)

    def _find_forms(self, text: str) -> Iterator[_Found]:
        lower = text.lower()
        forms = self._forms if self._prefilter.has_long_word(text) else self._forms_beside_words
        for form in forms:
            where = lower if form.place is LiteralPlace.NEAR_WORD else text
            if any(literal in where for literal in form.literals):
                group = "secret" if "secret" in form.expression.groupindex else 0
                for match in form.expression.finditer(text):
                    if form.is_secret(match[group]):
                        yield _Found(*match.span(group), form.kind)


def _until_nothing_is_found(
    redact: Callable[[str], tuple[str, Mapping[str, int]]], text: str
) -> tuple[str, Mapping[str, int]]:
    """Redact again what was redacted: digits beside a number that is replaced may be one now."""
    total: Counter[str] = Counter()
    while True:
        redacted, counts = redact(text)
        if not counts:
            return text, total
        text = redacted
        total.update(counts)


def _mark(kind: str) -> str:
    return f"[redacted:{kind}]"


def _edited(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    done = 0
    for start, end, replacement in edits:
        pieces += [text[done:start], replacement]
        done = end
    return "".join([*pieces, text[done:]])


def _merged(found: list[_Found], marks: list[Span]) -> list[_Found]:
    """Return what was found in its order; what overlaps is one, and what is in a mark is left out."""
    merged: list[_Found] = []
    for item in sorted(found, key=lambda item: (item.start, -item.end)):
        if any(mark.start <= item.start and item.end <= mark.end for mark in marks):
            continue
        if merged and item.start < merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(item.end, merged[-1].end))
        else:
            merged.append(item)
    return merged


def _groups(body: str) -> Iterator[list[_Piece]]:
    """Yield the strings and long numbers of a JSON text; strings that stand together in a list, as one."""
    names = [""]
    group: list[_Piece] = []
    for token in _TOKEN_OF_JSON.finditer(body):
        first = body[token.start()]
        is_key = token[2] is not None
        if first == '"' and not is_key:
            if not is_structure(names[-1], token[1]):
                group.append(_Piece(token.start(1), token.end(1), names[-1]))
            continue
        if group:
            yield group
            group = []
        if is_key:
            names[-1] = token[1]
            yield [_Piece(token.start(1), token.end(1), "")]
        elif first in "[{":
            names.append(names[-1] if first == "[" else "")
        elif first in "]}":
            names.pop()
        elif _is_long_number(token[0]) and names[-1] not in STRUCTURE:
            yield [_Piece(token.start(), token.end(), names[-1], is_number=True)]
    if group:
        yield group


def _is_long_number(token: str) -> bool:
    return len(token) >= SHORTEST_CARD and token.isdigit()
