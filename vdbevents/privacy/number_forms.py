"""Payment cards, IBANs, phone numbers and e-mail addresses in a text. Pure.

All functions take a text in which digits, spaces and dashes of other scripts are ASCII (`folding`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

CARD: Final = "card"
IBAN: Final = "iban"
PHONE: Final = "phone"
EMAIL: Final = "email"


class Span(NamedTuple):
    """A part of a text."""

    start: int
    end: int


# Between two groups of digits: "4111-1111", "4111, 1111", "4111 / 1111".
_GAP = r"[ \t\n\r,.\-/|]{1,3}"
# Each begins with a class of digits, which is found fast, and gives up at once behind another digit.
_FIRST = r"[2-68](?<!\d[2-68])"
_PRINTED: Final = tuple(
    re.compile(rf"{form}(?!\d)", re.ASCII)
    for form in (
        rf"{_FIRST}\d{{13,18}}+",
        rf"{_FIRST}\d{{3}}(?:{_GAP}\d{{4}}){{3}}(?:{_GAP}\d{{3}})?",
        rf"{_FIRST}\d{{3}}(?:{_GAP}\d{{4}}){{3}}",
        rf"3(?<!\d3)\d{{3}}{_GAP}\d{{6}}{_GAP}\d{{4,5}}",
        rf"{_FIRST}\d{{3}}{_GAP}\d{{4}}{_GAP}\d{{8}}",
        rf"{_FIRST}\d{{7}}{_GAP}\d{{8}}",
        rf"{_FIRST}\d{{5}}{_GAP}\d{{13}}",
    )
)
# Every form is within such a run: most texts have none, however many digits they have.
_RUN = re.compile(r"\d(?:[ \t\n\r,.\-/|]{0,3}+\d){13,}+", re.ASCII)
_ONE_BY_ONE = re.compile(rf"\d(?<!\d\d)(?:{_GAP}\d(?!\d)){{13,}}", re.ASCII)
_IN_PAIRS = re.compile(rf"\d(?<!\d\d)\d({_GAP})\d\d(?:\1\d\d){{5,7}}(?:\1\d)?(?!\d)", re.ASCII)
# An id, a hash or a fraction goes on before or after.
_NOT_BEFORE = re.compile(r"(?:[A-Za-z_]|\d\.|(?<!\d)0,|(?:rts|cap|gap|ws|idx)-)\Z", re.ASCII)
_NOT_AFTER = re.compile(r"[A-Za-z_]|\.\d", re.ASCII)
_SHORTEST_CARD = 14
_LONGEST_CARD = 19
# Nobody says so many digits: it is a table.
_MOST_SPOKEN = 64

_CARDS: Final = (
    (re.compile(r"4", re.ASCII), (16, 19)),
    (re.compile(r"5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)", re.ASCII), (16,)),
    (re.compile(r"3[47]", re.ASCII), (15,)),
    (re.compile(r"3(?:0[0-5]|095|[689])", re.ASCII), (14, 16, 17, 18, 19)),
    (re.compile(r"6(?:011|4[4-9]|5)|62|35(?:2[89]|[3-8])|8[12]|508", re.ASCII), (16, 17, 18, 19)),
    (re.compile(r"220[0-4]", re.ASCII), (16, 17, 18, 19)),
    (re.compile(r"50(?:18|20|38)|5893|6304|67(?:59|6[1-3])", re.ASCII), (14, 15, 16, 17, 18, 19)),
)


def find_cards(text: str) -> Iterator[Span]:
    """Yield the payment cards in a text: an issuer's first digits, a length that it has, the right checksum.

    The digits stand together, in the groups that are printed on cards, or one by one or in pairs, as they are
    spoken. What is found may overlap.
    """
    if _RUN.search(text) is None:
        return
    for form in _PRINTED:
        match = form.search(text)
        while match is not None:
            start, end = match.span()
            if is_card(_digits_of(match[0])) and _stands_alone(text, start, end):
                yield Span(start, end)
            # The next may begin within this one: other groups may stand before a number.
            match = form.search(text, start + 1)
    for match in _ONE_BY_ONE.finditer(text):
        digits = _DIGIT.finditer(text, *match.span())
        yield from _spoken_in(text, [digit.start() for digit in islice(digits, _MOST_SPOKEN + 1)])
    for match in _IN_PAIRS.finditer(text):
        start, end = match.span()
        # With the same before or after it, it is a part of a table, or of a calendar.
        size = len(match[1]) + 1
        before, after = text[max(0, start - size) : start], text[end : end + size]
        goes_on = (before[1:] == match[1] and before[0].isdigit()) or (
            after[:-1] == match[1] and after[-1].isdigit()
        )
        if is_card(_digits_of(match[0])) and not goes_on:
            yield Span(start, end)


_DIGIT = re.compile(r"\d", re.ASCII)
_NO_DIGIT = re.compile(r"\D+", re.ASCII)


def _digits_of(text: str) -> str:
    return _NO_DIGIT.sub("", text)


def _spoken_in(text: str, places: list[int]) -> Iterator[Span]:
    """Yield the cards among digits at some places of a text."""
    if len(places) > _MOST_SPOKEN:
        return
    digits = "".join(text[place] for place in places)
    for first in range(len(digits) - _SHORTEST_CARD + 1):
        for size in range(_SHORTEST_CARD, min(_LONGEST_CARD, len(digits) - first) + 1):
            if is_card(digits[first : first + size]):
                yield Span(places[first], places[first + size - 1] + 1)


def _stands_alone(text: str, start: int, end: int) -> bool:
    return not _NOT_BEFORE.search(text[max(0, start - 4) : start]) and not _NOT_AFTER.match(text, end)


def is_card(digits: str) -> bool:
    """Return whether digits are the number of a payment card."""
    is_issued = any(len(digits) in lengths and first.match(digits) for first, lengths in _CARDS)
    return is_issued and _luhn(digits) and len(set(digits)) > 1


def _luhn(digits: str) -> bool:
    doubled = "".join(str(int(digit) * 2) for digit in digits[-2::-2])
    # Of a doubled digit with two digits, both count.
    return sum(map(int, digits[-1::-2] + doubled)) % 10 == 0


_IBAN = re.compile(r"[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}(?![A-Za-z0-9])", re.ASCII)
_LETTERS = {chr(ord("A") + index): str(10 + index) for index in range(26)}


def find_ibans(text: str) -> Iterator[Span]:
    """Yield the IBANs in a text, with spaces or dashes or without, by their checksum (ISO 13616)."""
    for match in _IBAN.finditer(text):
        if match.start() and text[match.start() - 1].isalnum():
            continue
        # Words may follow: "DE89 3704 0044 0532 0130 00 BIC".
        end = match.end()
        while end - match.start() >= _SHORTEST_IBAN:
            if _is_iban(re.sub("[ -]", "", text[match.start() : end])):
                yield Span(match.start(), end)
                break
            end = max(text.rfind(" ", match.start(), end), text.rfind("-", match.start(), end))


_SHORTEST_IBAN = 15


def _is_iban(compact: str) -> bool:
    if len(compact) < _SHORTEST_IBAN:
        return False
    digits = "".join(_LETTERS.get(character, character) for character in compact[4:] + compact[:4])
    return int(digits) % 97 == 1


# International numbers, and national ones as they are usually written: (555) 867-5309, 030 1234567.
_PHONE = re.compile(
    r"(?<![\w.,+-])(?:"
    r"(?:\+|00)[1-9]\d{0,2}(?:[ .-]?\(\d{1,4}\))?(?:[ ./-]?\d){5,13}"
    r"|\(0?\d{2,5}\)[ ./-]{0,2}\d{2,4}(?:[ ./-]?\d{2,5}){1,4}"
    r"|(?:1[ .-])?[2-9]\d{2}([.-])[2-9]\d{2}\1\d{4}"
    r"|0[1-9]\d{1,4}[ /-]{1,3}\d{3,8}(?:[ -]\d{2,6}){0,3}"
    r")(?![\w-]|[.,:/]\d)",
    re.ASCII,
)


def find_phones(text: str) -> Iterator[Span]:
    """Yield the phone numbers in a text: international ones, and common national forms."""
    for match in _PHONE.finditer(text):
        yield Span(*match.span())


_LOCAL_PART = re.compile(r"[\w.+%-]{1,64}\Z")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
_LONGEST_LOCAL_PART = 64


def find_emails(text: str) -> Iterator[Span]:
    """Yield the e-mail addresses in a text."""
    at = text.find("@")
    while at >= 0:
        before = max(0, at - _LONGEST_LOCAL_PART)
        local, domain = _LOCAL_PART.search(text[before:at]), _DOMAIN.match(text, at + 1)
        if local is not None and domain is not None:
            yield Span(before + local.start(), domain.end())
        at = text.find("@", at + 1)


FINDERS: Final[Mapping[str, Callable[[str], Iterator[Span]]]] = {
    CARD: find_cards,
    IBAN: find_ibans,
    PHONE: find_phones,
    EMAIL: find_emails,
}
"""What finds each kind in a text."""
