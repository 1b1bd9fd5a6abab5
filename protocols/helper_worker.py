"""A helper as a program of its own; `protocols.helper_process` talks to it.

    python -m protocols.helper_worker

Its identity is made here and stays here.
"""

from __future__ import annotations

import sys
from typing import Any

from protocols.helper import HelperKeeper
from protocols.helper_document import scheme_of
from protocols.third_worker import round_of, serve

__all__ = ["main"]


def main() -> int:
    """Answer until nobody asks any more."""
    keeper = HelperKeeper.generate()

    def answer(request: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        if request["round"] is None:
            return {"identity": keeper.public.hex(), "share_key": keeper.share_key.hex()}, b""
        scheme = scheme_of(request["scheme"])
        return {}, keeper.answer(scheme, round_of(request["round"]), body)

    return serve(answer)


if __name__ == "__main__":
    sys.exit(main())
