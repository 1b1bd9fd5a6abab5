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
_SLICE = 1 << 10  # characters
_SHORT = 128  # characters of a segment that is remembered
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
    if plus:
        text = text.replace("+", " ")
    for _ in range(_ROUNDS):
        if "%" not in text:
            break
        text = unquote(text, errors="replace")
    return fold(text)


def fold(text: str) -> str:
    """Compatible characters made one, so that a full-width bracket is a bracket.

    Slice by slice: to order combining marks takes the square of how many follow each other.
    """
    if text.isascii():
        return text
    if len(text) <= _SLICE:
        return unicodedata.normalize("NFKC", text)
    slices = (text[low : low + _SLICE] for low in range(0, len(text), _SLICE))
    return "".join([unicodedata.normalize("NFKC", part) for part in slices])


def template(segment: str) -> str:
    """A path segment without what counts things: digits become 0, long hexadecimal tokens `*`."""
    return (_template if len(segment) < _SHORT else _template.__wrapped__)(segment)


@lru_cache(maxsize=1 << 16)
def _template(segment: str) -> str:
    return _DIGITS.sub("0", _LONG_TOKEN.sub("*", segment.lower()))
