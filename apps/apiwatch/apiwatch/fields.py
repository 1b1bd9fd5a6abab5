"""STAGE request -> fields: every segment, parameter, header and cookie, and which there are.

A field belongs to the endpoint, but for headers and cookies, which look the same everywhere, and
for segments of the path, which belong to the path before them. Some kinds of field hold structure
and no text: the method, each parameter's name, the set of all names, where a path ends, and what
its segments' names end in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

from apiwatch.event import Field, Place, Request
from apiwatch.markup import is_xml, leaves
from apiwatch.normalize import decode, fold, template

__all__ = ["Group", "Groups", "endpoint_of", "fields", "split"]

_BOUNDARY = re.compile(r'boundary="?([^";,]+)', re.IGNORECASE)
_PART_NAME = re.compile(r'name="([^"]*)"', re.IGNORECASE)
_PREFIX = {place: f"{place.name.lower()}:" for place in Place}
_SHORT = 512  # characters of a header or a path that is remembered, or of all names
_FEW = 32  # names that are remembered together
_DEEP = 32  # segments whose places are told apart; names of all would take the square of the path
_unquoted = partial(decode, plus=False)
_Pair = tuple[Place, str, str]
Group = tuple[Field, ...]
Groups = tuple[Group, Group]


def endpoint_of(request: Request) -> str:
    """The path as a template: what shares usual values."""
    path = request.target.partition("?")[0].partition("#")[0]
    return "/".join(template(segment) for segment in decode(path, plus=False).split("/"))


def fields(request: Request) -> tuple[str, list[Field]]:
    """The endpoint, and all fields of the request in their order; none is left out or cut."""
    endpoint, repeated, content = split(request)
    return endpoint, [field for group in (*repeated, content) for field in group]


def split(request: Request) -> tuple[str, Groups, list[Field]]:
    """`fields` in groups: those that come together again, of the path and of structure, and the
    content.
    """
    path, _, query = request.target.partition("?")
    endpoint, steps = (_of_path if len(path) < _SHORT else _of_path.__wrapped__)(path)
    pairs = [*_urlencoded(query, Place.QUERY), *_of_body(request)]
    names = tuple([_PREFIX[place] + name for place, name, _ in pairs])
    short = len(endpoint) + sum(map(len, names)) < _SHORT and len(names) <= _FEW
    structure = (_structure if short else _structure.__wrapped__)(endpoint, request.method, names)
    content = [Field(place, endpoint, name, value) for place, name, value in pairs]
    if request.headers:
        content += _of_headers(request.headers)
    return endpoint, (steps, structure), content


@lru_cache(maxsize=1 << 11)
def _of_path(path: str) -> tuple[str, Group]:
    """The endpoint, and each segment."""
    found: list[Field] = []
    before: list[str] = []
    scope = ""
    for segment in decode(path.partition("#")[0], plus=False).split("/"):
        if len(before) <= _DEEP:
            scope = "/".join(before) + "/"
        if found or segment:  # the empty one before the first slash says nothing
            found.append(Field(Place.PATH, scope, "", segment))
        before.append(template(segment))
    return "/".join(before), tuple(found)


@lru_cache(maxsize=1 << 11)
def _structure(endpoint: str, method: str, names: tuple[str, ...]) -> Group:
    """That the path ends here, what its segments' names end in, the method, and which parameters
    there are.
    """
    distinct = sorted({*names})
    # an end is a step like any other: a parent folder is not an endpoint
    return (
        Field(Place.NAME, endpoint, "end", ""),
        *(Field(Place.NAME, "", "kind", kind) for kind in _kinds(endpoint)),
        Field(Place.METHOD, endpoint, "", method.upper()),
        Field(Place.NAMES, endpoint, "", " ".join(distinct)),
        *(Field(Place.NAME, endpoint, "", name) for name in distinct),
    )


def _kinds(endpoint: str) -> list[str]:
    """What each segment's name ends in, such as `jsp`, with a slash where the path goes on."""
    ends = [part.rpartition(".")[2] if "." in part else "" for part in endpoint.split("/")]
    return [*(f"{end}/" for end in ends[:-1]), ends[-1]]


def _urlencoded(text: str, place: Place) -> list[_Pair]:
    if not text:
        return []
    parts = [part.partition("=") for part in text.replace("+", " ").split("&")]
    if "%" not in text and text.isascii():
        return [(place, name, value) for name, _, value in parts]
    plain = _unquoted if "%" in text else fold
    return [(place, plain(name), plain(value)) for name, _, value in parts]


def _of_body(request: Request) -> Iterable[_Pair]:
    body = request.body
    if not body:
        return ()
    kind = next((v for k, v in request.headers if k.lower() == "content-type"), "")
    boundary = _BOUNDARY.search(kind) if kind else None
    first = body.lstrip()[:1]
    document = _json(body) if first in ("{", "[") else None
    if document is not None:
        return _leaves(document)
    if is_xml(kind, body):
        return [(Place.XML, path, decode(text, plus=False)) for path, text in leaves(body)]
    if boundary:
        return _multipart(body, boundary[1])
    if "=" in body and "xml" not in kind.lower() and first != "<":
        return _urlencoded(body, Place.FORM)
    return ((Place.BODY, "", decode(body, plus=False)),)


def _json(body: str) -> Any:
    """The document, or None for what is none, or is nested beyond what the parser bears."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _leaves(document: Any) -> Iterator[_Pair]:
    """Leaves by path, depth first; the keys of an object are part of the path, decoded."""
    stack: list[tuple[str, Any]] = [("$", document)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, dict):
            stack += [(f"{path}.{fold(str(k))}", v) for k, v in reversed(node.items())]
        elif isinstance(node, list):
            inside = f"{path}[]"  # one name for all: there may be many, and it may be long
            stack += [(inside, item) for item in reversed(node)]
        else:
            text = node if isinstance(node, str) else json.dumps(node)
            yield Place.JSON, path, decode(text, plus=False)


def _multipart(body: str, boundary: str) -> Iterator[_Pair]:
    """Name and content of each part; what stands in its headers is the beginning of its content
    where no name does.
    """
    for part in body.split(f"--{boundary}"):
        head, gap, content = part.replace("\r\n", "\n").partition("\n\n")
        name = _PART_NAME.search(head)
        if gap and name:
            yield Place.FORM, decode(name[1], plus=False), decode(content.strip("\n"), plus=False)
            yield Place.FORM, f"{decode(name[1], plus=False)}:head", decode(head, plus=False)
        elif part.strip("-\r\n"):
            yield Place.BODY, "", decode(part, plus=False)


def _of_headers(headers: tuple[tuple[str, str], ...]) -> Iterator[Field]:
    for name, value in headers:
        yield from (_of_header if len(value) < _SHORT else _of_header.__wrapped__)(name, value)


@lru_cache(maxsize=1 << 13)
def _of_header(name: str, value: str) -> tuple[Field, ...]:
    """Remembered: clients repeat their headers."""
    lowered = name.lower()
    known = Field(Place.NAME, "header", "", fold(lowered))
    if lowered != "cookie":
        return known, Field(Place.HEADER, "", fold(lowered), decode(value, plus=False))
    pairs = (part.strip().partition("=") for part in value.split(";"))
    cookies = ((decode(key, plus=False), decode(content, plus=False)) for key, _, content in pairs)
    return known, *(Field(Place.COOKIE, "", key, content) for key, content in cookies)
