"""Write the vectors of scheme `pine`: `python tests/vectors/generate_pine.py`.

The reference makes them, without the library, from counted bytes:
a vector written again is the same.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reference.pine import Setting, shard, verify

__all__ = ["CASES", "vector"]

FOLDER = Path(__file__).parent / "pine"
SMALL = {"dimension": 10, "bound": 100, "chunk": 40, "norm_chunk": 4, "proofs": 3}
CASES = {
    "production": Setting(
        **SMALL, checks=100, successes=100, norm_proofs=1, context=bytes(range(100, 132))
    ),
    "production_odd": Setting(
        dimension=7, bound=5, checks=9, successes=6, chunk=11, norm_chunk=3, proofs=1,
        norm_proofs=2, context=bytes(range(32)),
    ),
    "draft": Setting(**SMALL, checks=20, successes=20, norm_proofs=1, context=b""),
    "entries": Setting(
        dimension=0, bound=0, checks=0, successes=0, chunk=1, norm_chunk=1, proofs=3,
        norm_proofs=1, context=bytes(range(50, 82)), count=20, entry_bits=1, entry_chunk=7,
    ),
    "entries_and_norm": Setting(
        dimension=7, bound=5, checks=9, successes=6, chunk=11, norm_chunk=3, proofs=1,
        norm_proofs=2, context=bytes(range(32)), count=4, entry_bits=3, entry_chunk=4,
    ),
}  # fmt: skip
VECTORS = {
    "production": [3, -70, 0, 1, -1, 50, 2, 0, 0, -9],
    "production_odd": [0, 0, -3, 0, 4, 0, 0],
    "draft": [0, 100, 0, 0, 0, 0, 0, 0, 0, 0],
    "entries": [0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1],
    "entries_and_norm": [0, 0, -3, 0, 4, 0, 0, 7, 0, 3, 5],
}


def vector(name: str) -> dict[str, Any]:
    """One report from shard to output shares, as the reference makes it."""
    setting, key = CASES[name], bytes(range(200, 232))
    nonce, rand = bytes(range(16)), bytes(range(7 * 32))
    public, leader, helper = shard(setting, VECTORS[name], nonce, rand)
    shown, message, outputs = verify(setting, key, nonce, public, [leader, helper])
    return {
        "setting": {**asdict(setting), "context": setting.context.hex()},
        "verify_key": key.hex(),
        "nonce": nonce.hex(),
        "rand": rand.hex(),
        "vector": VECTORS[name],
        "public_share": public.hex(),
        "input_shares": [leader.hex(), helper.hex()],
        "verifier_shares": [share.hex() for share in shown],
        "message": message.hex(),
        "outputs": [output.hex() for output in outputs],
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for case in CASES:
        text = json.dumps(vector(case), indent=1)
        (FOLDER / f"{case}.json").write_text(text + "\n")
