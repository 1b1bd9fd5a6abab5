"""The loop of a third party as a program of its own; `protocols.third_process` talks to it.

It reads requests from the standard input and writes answers to the standard output, each a line of
JSON with a size, then so many bytes, until the input ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from secagg.context import Round
from secagg.errors import SecAggError
from secagg.identity import Roster

__all__ = ["round_of", "serve"]

Answer = tuple[dict[str, Any], bytes]


def serve(answer: Callable[[dict[str, Any], bytes], Answer]) -> int:
    """Answer until nobody asks any more: with an answer, or the name and the text of an error."""
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        body = sys.stdin.buffer.read(request["size"])
        try:
            head, found = answer(request, body)
        except SecAggError as error:
            head, found = {"error": type(error).__name__, "text": str(error)}, b""
        sys.stdout.buffer.write(json.dumps({**head, "size": len(found)}).encode() + b"\n")
        sys.stdout.buffer.write(found)
        sys.stdout.buffer.flush()
    return 0


def round_of(described: dict[str, Any]) -> Round:
    """The round that `protocols.third_process.described` described."""
    roster = Roster(
        server=bytes.fromhex(described["server"]),
        clients={int(party): bytes.fromhex(key) for party, key in described["clients"].items()},
        share_keys={
            int(party): bytes.fromhex(key) for party, key in described["share_keys"].items()
        },
        server_share_key=bytes.fromhex(described["server_share_key"]),
    )
    return Round(
        session=bytes.fromhex(described["session"]),
        number=described["number"],
        model=bytes.fromhex(described["model"]),
        roster=roster,
    )
