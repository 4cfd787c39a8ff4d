"""Secrets that nobody has, in the forms of real ones, to try rules for them on. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

_CARD: Final = "4929"


def made_up_secret(number: int) -> str:
    """Return the secret of a number: by turns a card, a card in groups, a token and a key.

    Cards begin with 4929, tokens are `ghp_` and 36 hexadecimal digits, keys `sk-` and 40.
    """
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    kind = number % 4
    if kind == 0:
        return _card(number)
    if kind == 1:
        card = _card(number)
        return " ".join(card[start : start + 4] for start in range(0, len(card), 4))
    return f"ghp_{digest[:36]}" if kind == 2 else f"sk-{digest[:40]}"  # noqa: PLR2004 - the third of four


def _card(number: int) -> str:
    digits = f"{_CARD}{number % 10**11:011d}"
    # ISO/IEC 7812: every second digit from the right, the last one not counted, is doubled.
    doubled = sum(sum(divmod(int(digit) * 2, 10)) for digit in digits[::-2])
    plain = sum(map(int, digits[-2::-2]))
    return f"{digits}{-(doubled + plain) % 10}"
