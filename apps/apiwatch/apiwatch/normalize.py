"""STAGE text of a request -> text that is compared: decoded twice, folded, never cut.

Encodings are what an attack hides in, so two rounds of percent-decoding are undone and full-width
or ligature forms are folded (Unicode NFKC). Whoever encodes three times is seen by the percent
signs that are left, which no usual value has.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from urllib.parse import unquote

__all__ = ["decode", "fold", "template"]

_ROUNDS = 2
_LONG_TOKEN = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{16,}"
)
_DIGITS = re.compile(r"[0-9]+")


def decode(text: str, *, plus: bool) -> str:
    """`text` after two rounds of percent-decoding; `plus` is a space where the query has one.

    A byte that is no UTF-8 becomes U+FFFD, as in the logs of most servers.
    """
    if "%" not in text and "+" not in text and text.isascii():
        return text
    if plus and "+" in text:
        text = text.replace("+", " ")
    for _ in range(_ROUNDS):
        if "%" not in text:
            break
        text = unquote(text, errors="replace")
    return fold(text)


def fold(text: str) -> str:
    """Compatible characters made one, so that a full-width bracket is a bracket."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


@lru_cache(maxsize=1 << 16)
def template(segment: str) -> str:
    """A path segment without what counts things: digits become 0, long hexadecimal tokens `*`."""
    return _DIGITS.sub("0", _LONG_TOKEN.sub("*", segment.lower()))
