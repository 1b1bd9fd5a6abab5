"""Sends requests over HTTP/1.1 and reads the answers, with little processor time of its own.

A load generator must cost less than what it loads; it speaks as much of HTTP as the sample API.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from apiwatch.demo.traffic import Asked
from apiwatch.errors import StoryFailed
from apiwatch.event import Request

__all__ = ["Answered", "as_request", "drive", "encoded"]


@dataclass(frozen=True, slots=True)
class Answered:
    """A request at a site, and the status that it got."""

    site: int
    asked: Asked
    status: int


async def drive(ports: Mapping[int, int], planned: Mapping[int, Iterable[Asked]]) -> list[Answered]:
    """Each site's requests one after the other, all sites at once."""
    found = await asyncio.gather(
        *(_site(site, ports[site], asked) for site, asked in planned.items())
    )
    return [one for answers in found for one in answers]


def encoded(asked: Asked) -> bytes:
    """The request as it is sent."""
    query = f"?{urlencode(asked.query)}" if asked.query else ""
    lines = [f"{asked.method} {quote(asked.path)}{query} HTTP/1.1", "host: api.example"]
    lines.append(f"user-agent: {asked.agent}")
    if asked.source:
        lines.append(f"x-forwarded-for: {asked.source}")
    body = b""
    if asked.json is not None:
        body = json.dumps(asked.json).encode()
        lines.append("content-type: application/json")
    elif asked.form is not None:
        body = urlencode(asked.form).encode()
        lines.append("content-type: application/x-www-form-urlencoded")
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def as_request(asked: Asked) -> Request:
    """The request as a log of the sample API would have it."""
    head, _, body = encoded(asked).decode().partition("\r\n\r\n")
    line, *headers = head.split("\r\n")
    method, target, _ = line.split(" ")
    pairs = tuple((name, value) for name, _, value in (h.partition(": ") for h in headers))
    return Request(method=method, target=target, headers=pairs, body=body)


async def _site(site: int, port: int, planned: Iterable[Asked]) -> list[Answered]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        answered: list[Answered] = []
        for asked in planned:
            writer.write(encoded(asked))
            answered.append(Answered(site, asked, await _status(reader)))
        return answered
    except (EOFError, ConnectionError) as error:
        raise StoryFailed(f"the API went away: {type(error).__name__}") from None
    finally:
        writer.close()


async def _status(reader: asyncio.StreamReader) -> int:
    """Of one answer, read to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    sizes = [line.partition(":")[2] for line in lines if line.lower().startswith("content-length:")]
    await reader.readexactly(int(sizes[0]) if sizes else 0)
    return int(lines[0].split(" ")[1])
