"""Decide quickly whether an event can have anything to redact: most have not. Pure.

A secret of a known form has a long word, and numbers have many digits: one pass over a text that maps its
characters to classes finds both in a fraction of the time of an expression.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

from vdbevents.privacy.folding import ODD_CHARACTER
from vdbevents.privacy.number_forms import CARD, IBAN, PHONE
from vdbevents.privacy.secret_forms import SHORTEST, LiteralPlace, SecretForm
from vdbevents.privacy.structure import STRUCTURE, is_structure

EMAIL: Final = "email"
BASE64: Final = "raw_base64"
"""The member that holds a message that is not UTF-8."""
SHORTEST_CARD: Final = 14

_BASE64_KEY = b'"%b":' % BASE64.encode("ascii")
# A received event is kept without its time of receipt.
_STAMPS = 2
_LEAST_CARD = 10 ** (SHORTEST_CARD - 1)
_SHORTEST_PHONE = 7
_IN_WORDS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+/.~=:@-")
_WORDS: Final = bytes(ord("a") if code in _IN_WORDS else ord(" ") for code in range(256))
_LONG_WORD: Final = b"a" * SHORTEST
# Digits become 0 and capital letters A; what may stand between digits is left out.
_SHAPE: Final = bytes(
    ord("0") if chr(code).isdigit() else ord("A") if chr(code).isupper() else code for code in range(128)
) + bytes(range(128, 256))
_BETWEEN: Final = b" \t\r\n,.-/|()"


class Glance:
    """The quick look of some rules."""

    def __init__(self, forms: Iterable[SecretForm], secrets: Sequence[str], kinds: Container[str]) -> None:
        """Look for what these forms have in common, these texts, and numbers and addresses of these kinds."""
        by_place: dict[LiteralPlace, dict[str, None]] = {place: {} for place in LiteralPlace}
        for form in forms:
            by_place[form.place].update(dict.fromkeys(form.literals))
        by_place[LiteralPlace.ANYWHERE].update(dict.fromkeys(secrets))
        self._in_words, self._near_words, self._anywhere = map(tuple, by_place.values())
        self._card, self._iban, self._email = (kind in kinds for kind in (CARD, IBAN, EMAIL))
        digits = [SHORTEST_CARD] * self._card + [_SHORTEST_PHONE] * (PHONE in kinds)
        self._digits = b"0" * min(digits) if digits else b""

    def may_change(self, line: bytes, event: Mapping[str, Any]) -> bool:
        """Return whether an event, and the line with it, can have anything to replace."""
        texts: list[str] = []
        names = self._collect(event, texts)
        if names is None or _BASE64_KEY in line:
            return True
        # Of duplicate keys the event has the last one. Each key of compact JSON has this after it.
        if line.count(b'":') != (names if "ts" in event else names + _STAMPS):
            return True
        return self.may_change_text("\n".join(texts))

    def may_change_text(self, text: str) -> bool:
        """Return whether a text can have anything to replace."""
        if not text.isascii():
            if ODD_CHARACTER.search(text):
                return True
            content = text.encode("utf-8", "replace")
        else:
            content = text.encode("ascii")
        if b"\\" in content or b"\0" in content or any(literal in text for literal in self._anywhere):
            return True
        if _LONG_WORD in content.translate(_WORDS) and self._has_literal(text):
            return True
        if self._email and b"@" in content:
            return True
        return bool(self._digits or self._iban) and self._has_number(content)

    def _has_literal(self, text: str) -> bool:
        words = " ".join(word for word in text.split() if len(word) >= SHORTEST)
        return any(literal in words for literal in self._in_words) or any(
            literal in text for literal in self._near_words
        )

    def _has_number(self, content: bytes) -> bool:
        shape = content.translate(_SHAPE, _BETWEEN)
        return bool(self._digits and self._digits in shape) or (self._iban and b"AA00" in shape)

    def _collect(self, event: Mapping[str, Any], texts: list[str]) -> int | None:
        """Add the texts of an event to a list; return how many keys it has, None if it must be looked at."""
        names = len(event)
        for name, value in event.items():
            kind = type(value)
            if kind is str:
                if name not in STRUCTURE or not is_structure(name, value):
                    texts.append(value)
            elif kind is dict or kind is list:
                inner = (
                    self._collect(value, texts) if kind is dict else self._collect_list(name, value, texts)
                )
                if inner is None:
                    return None
                names += inner
            elif kind is int and value >= _LEAST_CARD and self._card and name not in STRUCTURE:
                return None
            if len(name) >= SHORTEST_CARD and name not in STRUCTURE:
                texts.append(name)
        return names

    def _collect_list(self, name: str, items: Sequence[Any], texts: list[str]) -> int | None:
        names = 0
        for item in items:
            # As the value of a member: lists and numbers in lists have its name, too.
            inner = self._collect({name: item}, texts)
            if inner is None:
                return None
            names += inner - 1
        return names
