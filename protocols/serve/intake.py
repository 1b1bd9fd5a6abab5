"""How a body comes in: of the right type, no larger and no slower than allowed, few at a time."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import IO, TypeVar

from starlette.requests import ClientDisconnect, Request

from protocols.serve.problem import Problem, refusal
from secagg.errors import ParameterError, StoreFailed

__all__ = ["Bounds", "Intake"]

T = TypeVar("T")
_IN_MEMORY = 1 << 16  # of each body while it arrives; the rest is in a file


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What clients can take of a server.

    connections: open at a time; others are cut. head_seconds: for a connection without a whole
    request head. body_seconds: for a body. working: bodies that are in memory at a time.
    """

    connections: int = 256
    head_seconds: int = 10
    body_seconds: float = 60.0
    working: int = 2

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 < value <= 1 << 16:
                raise ParameterError(f"0 < {item.name} <= 65536 must hold, got {value}")


class Intake:
    """Takes bodies of one server."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._working = asyncio.Semaphore(bounds.working)

    async def take(self, request: Request, media: str, most: int, use: Callable[[bytes], T]) -> T:
        """What `use` makes of the body, in a thread of its own.

        Raises `RequestRefused` for a body of another type than `media`, of more than `most` bytes,
        before it is read where it says so itself, and one that is too slow or breaks off.
        """
        _require_media(request, media)
        _require_size(request, most)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
            await self._receive(request, spool, most)
            async with self._working:
                spool.seek(0)
                return await asyncio.to_thread(use, spool.read())

    async def _receive(self, request: Request, spool: IO[bytes], most: int) -> None:
        try:
            async with asyncio.timeout(self._bounds.body_seconds):
                await _copy(request, spool, most)
        except TimeoutError:
            detail = f"the body took longer than {self._bounds.body_seconds:g} s: send it faster"
            raise refusal(Problem.SLOW, detail) from None
        except ClientDisconnect:
            raise refusal(Problem.INVALID, "the body breaks off: send all of it") from None
        except OSError as error:
            raise StoreFailed(f"no room for a body: {error.strerror}") from None


async def _copy(request: Request, spool: IO[bytes], most: int) -> None:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise refusal(Problem.TOO_LARGE, f"a body has at most {most} bytes here")
        spool.write(chunk)


def _require_media(request: Request, media: str) -> None:
    found = request.headers.get("content-type", "")
    if found.replace(" ", "").lower() != media:
        raise refusal(Problem.MEDIA_TYPE, f"this resource takes {media}")


def _require_size(request: Request, most: int) -> None:
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated[:20]) > most:
        raise refusal(Problem.TOO_LARGE, f"a body has at most {most} bytes here, not {stated[:20]}")
