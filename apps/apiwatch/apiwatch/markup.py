"""STAGE XML body -> pairs of a path and a text, with every character of the body in one of them.

No parser that validates: a server may read what is broken, so what is no element is a text too,
and so are declarations and comments. Entities of characters are replaced once; none that a
document defines is expanded. Time grows with length alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

__all__ = ["is_xml", "leaves"]

_LONG = 512  # characters of a path: names beyond them are texts, and paths no square of the body
_TOKEN = re.compile(
    r"""<!\[CDATA\[(?P<data>.*?)\]\]>
    |(?P<other><!--.*?-->|<\?.*?\?>|<![^<>\[]*+>)
    |<(?P<close>/?)(?P<name>[^\s<>/"'=!?]++)(?P<inside>(?:[^<>"']++|"[^"]*+"|'[^']*+')*+)>
    |(?P<text>[^<]++)
    |(?P<rest>.+)""",
    re.VERBOSE | re.DOTALL,
)
_ATTRIBUTE = re.compile(
    r"""(?P<name>[^\s=<>"'/]++)\s*+=\s*+(?P<value>"[^"]*+"|'[^']*+')|[^\s=<>"'/]++|\s++|.""",
    re.DOTALL,
)


def is_xml(kind: str, body: str) -> bool:
    """Whether a body of this content type is read as XML."""
    start = body.lstrip()
    return start.startswith("<?xml") or ("xml" in kind.lower() and start.startswith("<"))


def leaves(body: str) -> Iterator[tuple[str, str]]:
    """Texts by the path of their element, `$.a.b`, and attributes, `$.a.b@name`, in their order.

    What is in no element has the path `$`. From where no element can be read on, all is one text.
    """
    inner = [("", "$")]  # names of open elements, and their paths
    for token in _TOKEN.finditer(body):
        (opened, path), name = inner[-1], token["name"]
        if name is None:
            yield from _text(path, token)
        elif token["close"]:
            if name == opened and not token["inside"].strip():
                inner.pop()
            else:
                yield path, token[0]
        else:
            if len(path) + len(name) < _LONG:
                path = f"{path}.{name}"
            else:
                yield path, name
            yield from _attributes(path, token["inside"])
            if not token["inside"].endswith("/"):
                inner.append((name, path))


def _text(path: str, token: re.Match[str]) -> Iterator[tuple[str, str]]:
    literal = token["data"] or token["other"]
    text = literal or unescape(token["text"] or token["rest"] or "")
    if text.strip():
        yield path, text


def _attributes(path: str, inside: str) -> Iterator[tuple[str, str]]:
    left: list[str] = []
    for token in _ATTRIBUTE.finditer(inside):
        if token["name"] is None:
            left.append(token[0])
        else:
            yield f"{path}@{token['name']}", unescape(token["value"][1:-1])
    rest = "".join(left).strip().removesuffix("/").strip()
    if rest:
        yield f"{path}@", unescape(rest)
