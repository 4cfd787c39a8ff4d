"""Take a secret out of text that comes from outside. Pure."""

import functools
import json
from typing import AnyStr, Final
from urllib.parse import quote

MARK: Final = "…"
# A shorter key is no secret, and may be a part of any word.
_SHORTEST_SECRET: Final = 8


def without_secret(content: AnyStr, secret: str) -> AnyStr:
    """Return text or bytes in which a mark replaces a secret: plain, as in a JSON text, or as in a URL."""
    if isinstance(content, bytes):
        for _, form in _forms(secret):
            if form in content:
                content = content.replace(form, MARK.encode())
        return content
    for form, _ in _forms(secret):
        content = content.replace(form, MARK)
    return content


@functools.lru_cache(maxsize=8)
def _forms(secret: str) -> tuple[tuple[str, bytes], ...]:
    """Return the ways to write a secret, as text and as bytes; none if it is too short to be one."""
    if len(secret) < _SHORTEST_SECRET:
        return ()
    in_json = json.dumps(secret)[1:-1]
    forms = dict.fromkeys((secret, in_json, in_json.replace("/", "\\/"), quote(secret, safe="")))
    return tuple((form, form.encode("utf-8", "replace")) for form in forms)
