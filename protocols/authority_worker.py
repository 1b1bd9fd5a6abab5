"""A key authority as a program of its own; `protocols.authority_process` talks to it.

    python -m protocols.authority_worker

Its keys are made here and stay here.
"""

from __future__ import annotations

import sys
from typing import Any

from protocols.authority import AuthorityKeeper
from protocols.third_worker import round_of, serve
from secagg.schemes.ckks import EncryptedScheme, KeyAuthority, SlotScreen

__all__ = ["main"]


def main() -> int:
    """Answer until nobody asks any more."""
    keeper = AuthorityKeeper(KeyAuthority.generate())

    def answer(request: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        stated = request["scheme"]
        screen = stated.get("screen")
        opened = None if screen is None else SlotScreen(**screen)
        scheme = keeper.authority.scheme(**{**stated, "screen": opened})
        if request["round"] is None:
            return _public(scheme), scheme.public_key
        return {}, keeper.answer(scheme, round_of(request["round"]), body)

    return serve(answer)


def _public(scheme: EncryptedScheme) -> dict[str, Any]:
    return {"identity": scheme.authority.hex(), "share_key": scheme.share_key.hex()}


if __name__ == "__main__":
    sys.exit(main())
