"""A key authority as a program of its own; `protocols.authority_process` talks to it.

    python -m protocols.authority_worker

Its keys are made here and stay here. It reads requests from the standard input and writes answers
to the standard output, each a line of JSON with a size, then so many bytes, until the input ends.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from protocols.authority import AuthorityKeeper
from secagg.context import Round
from secagg.errors import SecAggError
from secagg.identity import Roster
from secagg.schemes.ckks import EncryptedExact, KeyAuthority

__all__ = ["main"]


def main() -> int:
    """Answer until nobody asks any more."""
    keeper = AuthorityKeeper(KeyAuthority.generate())
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        body = sys.stdin.buffer.read(request["size"])
        head, answer = _answered(keeper, request, body)
        sys.stdout.buffer.write(json.dumps({**head, "size": len(answer)}).encode() + b"\n")
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
    return 0


def _answered(
    keeper: AuthorityKeeper, request: dict[str, Any], body: bytes
) -> tuple[dict[str, Any], bytes]:
    """What a caller is told: an answer, or the name and the text of an error."""
    try:
        scheme = keeper.authority.scheme(**request["scheme"])
        if request["round"] is None:
            return _public(scheme), scheme.public_key
        return {}, keeper.answer(scheme, _round(request["round"]), body)
    except SecAggError as error:
        return {"error": type(error).__name__, "text": str(error)}, b""


def _public(scheme: EncryptedExact) -> dict[str, Any]:
    return {"identity": scheme.authority.hex(), "share_key": scheme.share_key.hex()}


def _round(described: dict[str, Any]) -> Round:
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


if __name__ == "__main__":
    sys.exit(main())
