"""The forms of API keys, tokens and private keys, from their vendors' documents. Pure.

A form has literals, one of which is in or near every such secret: searching for these first costs a fraction
of an expression. Every expression takes time proportional to the text, whatever the text is.
"""

import re
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

API_KEY: Final = "api-key"
TOKEN: Final = "token"  # noqa: S105 - the name of a kind
PRIVATE_KEY: Final = "private-key"


SHORTEST: Final = 20
"""How long a word is at least in which a secret stands."""


class LiteralPlace(Enum):
    """Where a form's literals are: in a long word with the secret; beside one, in any case; before an `@`."""

    IN_WORD = 1
    NEAR_WORD = 2
    BEFORE_AT = 3


def _is_random(text: str) -> bool:
    """Return whether a text is made of random characters, and not of words: `sk-folding-cube` is not."""
    longest = max(re.split("[-_]", text), key=len)
    digits = sum(character.isdigit() for character in text)
    return digits >= _MANY_DIGITS or (len(longest) >= _LONG_PART and digits >= _FEW_DIGITS)


_MANY_DIGITS = 5
_FEW_DIGITS = 2
_LONG_PART = 16


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text)


class SecretForm(NamedTuple):
    """What one kind of secret looks like.

    Attributes:
        kind: the name in its mark.
        place: where its literals are.
        literals: ASCII; every text with such a secret has one of them. Those near a word are lower case.
        expression: its group `secret` is what to replace, else the whole match.
        is_secret: a last check of what was found.
    """

    kind: str
    place: LiteralPlace
    literals: tuple[str, ...]
    expression: re.Pattern[str]
    is_secret: Callable[[str], bool] = lambda _: True


def _form(
    kind: str,
    literals: str,
    expression: str,
    is_secret: Callable[[str], bool] = lambda _: True,
    place: LiteralPlace = LiteralPlace.IN_WORD,
) -> SecretForm:
    return SecretForm(kind, place, tuple(literals.split()), re.compile(expression, re.ASCII), is_secret)


# What may not stand before a secret whose first letters are common ones. Letters that long words have by
# chance stand before it in their expression: that is searched for faster.
_APART = r"(?<![A-Za-z0-9])"

FORMS: Final = (
    # Private keys. One that is cut off ends with its last long word.
    _form(
        PRIVATE_KEY,
        "private key",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?:[^-]|-(?!----)){0,16384}+-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"|(?:[\s/\\|,\"']{1,8}(?:[A-Za-z0-9+/=]{16,}|(?:Proc-Type|DEK-Info|Version|Comment): ?\S*))*)",
        place=LiteralPlace.NEAR_WORD,
    ),
    _form(
        PRIVATE_KEY,
        "private-lines:",
        r"Private-Lines: ?\d{1,3}(?:[\s/\\|]{1,8}[A-Za-z0-9+/=]{16,})+",
        place=LiteralPlace.NEAR_WORD,
    ),
    _form(PRIVATE_KEY, "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{50,}"),
    # Keys of AI services; VideoDB's own begin with sk-, too.
    _form(API_KEY, "sk-", rf"{_APART}sk-[A-Za-z0-9_-]{{20,}}", _is_random),
    _form(API_KEY, "gsk_ r8_ hf_", rf"{_APART}(?:gsk|r8|hf)_[A-Za-z0-9]{{30,}}"),
    _form(API_KEY, "xai- pplx-", rf"{_APART}(?:xai|pplx)-[A-Za-z0-9]{{40,}}"),
    # Cloud providers.
    _form(API_KEY, "AKIA ASIA ABIA ACCA", rf"{_APART}A(?:KI|SI|BI|CC)A[A-Z2-7]{{16}}(?![A-Za-z0-9])"),
    _form(
        API_KEY,
        "secret",
        r"(?i:aws.{0,12}secret.{0,12}key)[\"'\s:=>]{1,6}(?P<secret>[A-Za-z0-9+/]{40})(?![A-Za-z0-9+/])",
        place=LiteralPlace.NEAR_WORD,
    ),
    _form(API_KEY, "AIza", r"AIza[A-Za-z0-9_-]{35}"),
    _form(API_KEY, "GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{20,}"),
    _form(API_KEY, "AccessKey=", r"AccessKey=(?P<secret>[A-Za-z0-9+/]{40,}={0,2})"),
    _form(API_KEY, "AccountKey=", r"AccountKey=(?P<secret>[A-Za-z0-9+/]{60,}={0,2})"),
    _form(TOKEN, "ya29.", r"ya29\.[A-Za-z0-9_-]{20,}"),
    _form(TOKEN, "doo_v1_ dop_v1_ dor_v1_", r"do[opr]_v1_[0-9a-f]{64}"),
    _form(TOKEN, "dapi", rf"{_APART}dapi[0-9a-f]{{32}}"),
    # Payment.
    _form(API_KEY, "k_live_ k_test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _form(API_KEY, "whsec_", r"whsec_[A-Za-z0-9+/]{24,}={0,2}"),
    _form(API_KEY, "sq0", r"sq0(?:atp|csp)-[A-Za-z0-9_-]{22,}"),
    # Code and packages.
    _form(TOKEN, "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,}"),
    _form(TOKEN, "github_pat_", r"github_pat_[A-Za-z0-9_]{22,}"),
    _form(TOKEN, "glpat- glptt- gldt- glrt-", r"gl(?:pat|ptt|dt|rt)-[A-Za-z0-9_-]{20,}"),
    _form(TOKEN, "npm_", rf"{_APART}npm_[A-Za-z0-9]{{36}}"),
    _form(TOKEN, "pypi-", rf"{_APART}pypi-[A-Za-z0-9_-]{{50,}}"),
    _form(TOKEN, "rubygems_", r"rubygems_[0-9a-f]{48}"),
    _form(TOKEN, "dckr_pat_", r"dckr_pat_[A-Za-z0-9_-]{20,}"),
    _form(TOKEN, "ATATT3x", r"ATATT3x[A-Za-z0-9_=-]{50,}"),
    _form(API_KEY, "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    # Messages and mail.
    _form(TOKEN, "xox xapp-", r"x(?<![A-Za-z0-9]x)(?:ox[abeoprs]|app)-[A-Za-z0-9-]{16,}", _has_digit),
    _form(
        TOKEN, "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/(?P<secret>[A-Za-z0-9_/]{20,})"
    ),
    _form(TOKEN, ":AA", r"(?<![0-9A-Za-z])\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    _form(API_KEY, "SG.", rf"{_APART}SG\.[A-Za-z0-9_-]{{22}}\.[A-Za-z0-9_-]{{43}}"),
    _form(API_KEY, "key-", rf"{_APART}key-[0-9a-f]{{32}}(?![0-9a-z])"),
    _form(API_KEY, "-us", rf"{_APART}[0-9a-f]{{32}}-us\d{{1,2}}(?![0-9A-Za-z])"),
    _form(API_KEY, "SK", r"SK(?<![A-Za-z0-9]SK)[0-9a-f]{32}(?![0-9A-Za-z])"),
    # Tools of teams.
    _form(API_KEY, "lin_api_", r"lin_api_[A-Za-z0-9]{40}"),
    _form(TOKEN, "ntn_ secret_", rf"{_APART}(?:ntn_|secret_)[A-Za-z0-9]{{43,}}", _has_digit),
    _form(TOKEN, "figd_", r"figd_[A-Za-z0-9_-]{40,}"),
    _form(TOKEN, "shp", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    _form(TOKEN, "pat", rf"{_APART}pat[A-Za-z0-9]{{14}}\.[0-9a-f]{{64}}"),
    # Operation.
    _form(TOKEN, "glsa_", r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}"),
    _form(API_KEY, "NRAK-", r"NRAK-[A-Z0-9]{27}"),
    _form(TOKEN, "sntry", r"sntry[su]_[A-Za-z0-9+/=_-]{40,}"),
    _form(TOKEN, "hvs. hvb.", rf"{_APART}hv[sb]\.[A-Za-z0-9_-]{{24,}}"),
    _form(TOKEN, ".atlasv1.", rf"{_APART}[A-Za-z0-9]{{14}}\.atlasv1\.[A-Za-z0-9_-]{{60,}}"),
    _form(TOKEN, "dp.", rf"{_APART}dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9.]{{40,}}"),
    _form(TOKEN, "sbp_ sb_secret_", rf"{_APART}(?:sbp_[0-9a-f]{{40}}|sb_secret_[A-Za-z0-9_-]{{20,}})"),
    _form(TOKEN, "pscale_", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,}"),
    _form(TOKEN, "nfp_", rf"{_APART}nfp_[A-Za-z0-9]{{36}}"),
    # Tokens of no vendor: JSON Web Tokens, HTTP's credentials, a password in an address.
    _form(TOKEN, "eyJ", r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
    _form(
        TOKEN,
        "bearer",
        r"(?i:bearer)[\s\"':=]{1,3}(?P<secret>[A-Za-z0-9._~+/-]{20,}=*)",
        _has_digit,
        LiteralPlace.NEAR_WORD,
    ),
    _form(
        TOKEN,
        "authorization",
        r"(?i:authorization\W{1,4}basic) +(?P<secret>[A-Za-z0-9+/]{18,}={0,2})",
        place=LiteralPlace.NEAR_WORD,
    ),
    _form(
        TOKEN,
        "://",
        r"[a-z+]{2,20}://[^\s/:@\"'<>]{0,64}:(?P<secret>[^\s/@\"'<>]{1,128})@(?=[A-Za-z0-9\[])",
        place=LiteralPlace.BEFORE_AT,
    ),
)
