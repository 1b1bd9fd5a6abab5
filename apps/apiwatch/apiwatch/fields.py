"""STAGE request -> fields: every segment, parameter, header and cookie, and which there are.

A field belongs to the endpoint, but for headers and cookies, which look the same everywhere, and
for segments of the path, which belong to the path before them. Some kinds of field hold structure
and no text: the method, each parameter's name, the set of all names, where a path ends, and what
its segments' names end in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from apiwatch.event import Field, Place, Request
from apiwatch.markup import is_xml, leaves
from apiwatch.normalize import decode, fold, template

__all__ = ["endpoint_of", "fields"]

_BOUNDARY = re.compile(r'boundary="?([^";,]+)', re.IGNORECASE)
_PART_NAME = re.compile(r'name="([^"]*)"', re.IGNORECASE)
_PREFIX = {place: place.name.lower() for place in Place}
_SHORT = 512  # characters of a header that is remembered, or of all segments' names
_DEEP = 32  # segments whose places are told apart; names of all would take the square of the path
_Pair = tuple[Place, str, str]


def endpoint_of(request: Request) -> str:
    """The path as a template: what shares usual values."""
    path = request.target.partition("?")[0].partition("#")[0]
    return "/".join(template(segment) for segment in decode(path, plus=False).split("/"))


def fields(request: Request) -> tuple[str, list[Field]]:
    """The endpoint, and all fields of the request in their order; none is left out or cut."""
    path, _, query = request.target.partition("?")
    segments = decode(path.partition("#")[0], plus=False).split("/")
    found, endpoint = _of_path(segments)
    found.append(Field(Place.METHOD, endpoint, "", request.method.upper()))
    pairs = [*_urlencoded(query, Place.QUERY), *_of_body(request)]
    names = sorted({f"{_PREFIX[place]}:{name}" for place, name, _ in pairs})
    found.append(Field(Place.NAMES, endpoint, "", " ".join(names)))
    found += [Field(Place.NAME, endpoint, "", name) for name in names]
    found += [Field(place, endpoint, name, value) for place, name, value in pairs]
    found += _of_headers(request.headers)
    return endpoint, found


def _of_path(segments: list[str]) -> tuple[list[Field], str]:
    found: list[Field] = []
    before: list[str] = []
    scope = ""
    for segment in segments:
        if len(before) <= _DEEP:
            scope = "/".join(before) + "/"
        if found or segment:  # the empty one before the first slash says nothing
            found.append(Field(Place.PATH, scope, "", segment))
        before.append(template(segment))
    # that the path ends here is a step like any other: a parent folder is not an endpoint
    endpoint = "/".join(before)
    found.append(Field(Place.NAME, endpoint, "end", ""))
    found += (_of_kinds if len(endpoint) < _SHORT else _of_kinds.__wrapped__)(tuple(before))
    return found, endpoint


@lru_cache(maxsize=1 << 12)
def _of_kinds(templates: tuple[str, ...]) -> tuple[Field, ...]:
    """What each segment's name ends in, such as `jsp`, with a slash where the path goes on."""
    ends = [part.rpartition(".")[2] if "." in part else "" for part in templates]
    kinds = [*(f"{end}/" for end in ends[:-1]), ends[-1]]
    return tuple(Field(Place.NAME, "", "kind", kind) for kind in kinds)


def _urlencoded(text: str, place: Place) -> Iterator[_Pair]:
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        yield place, decode(name, plus=True), decode(value, plus=True)


def _of_body(request: Request) -> Iterator[_Pair]:
    body = request.body
    if not body:
        return
    kind = next((v for k, v in request.headers if k.lower() == "content-type"), "")
    boundary = _BOUNDARY.search(kind)
    document = _json(body) if body.lstrip()[:1] in ("{", "[") else None
    if document is not None:
        yield from _leaves(document)
    elif is_xml(kind, body):
        for path, text in leaves(body):
            yield Place.XML, path, decode(text, plus=False)
    elif boundary:
        yield from _multipart(body, boundary[1])
    elif "=" in body and "xml" not in kind.lower() and body.lstrip()[:1] != "<":
        yield from _urlencoded(body, Place.FORM)
    else:
        yield Place.BODY, "", decode(body, plus=False)


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
