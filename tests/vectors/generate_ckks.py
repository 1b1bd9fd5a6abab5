"""Write the vectors of the encrypted scheme: `python tests/vectors/generate_ckks.py`.

The reference makes them from counted bytes, without the library, but for the sealed seeds: HPKE
draws its own randomness, so a seed that is stored is kept, and a missing one is sealed by the
library.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from reference import ed25519, x25519
from reference.ckks import coefficients, contributor, masked, plaintext, shape
from reference.hashing import text
from reference.ring import pack

__all__ = ["CASES", "stored", "vector"]

FOLDER = Path(__file__).parent / "ckks"
CASES = {
    "one_lane": {"clients": 20, "length": 5000, "width": 32},
    "lanes": {"clients": 5, "length": 9, "width": 12},
    "two_limbs": {"clients": 100, "length": 5, "width": 56},
}
CLIENT = 7


def vector(name: str, sealed: bytes) -> dict[str, Any]:
    """What one client sends in one round, but for the ciphertexts."""
    sizes, context, seed = CASES[name], bytes(range(32)), bytes(range(40, 72))
    given, private, share = shape(**sizes), bytes(range(80, 112)), bytes(range(120, 152))
    width, (prime, *_) = sizes["width"], given.primes
    values = [(at * 2654435761 + 12345) % 2**width for at in range(sizes["length"])]
    slots = plaintext(given, values, width)
    residues = [0, 1, prime - 1, *((at * 2**31 + at) % prime for at in range(20))]
    return {
        **sizes,
        "layout": {**asdict(given), "primes": list(given.primes)},
        "first": values[:8],
        "slots": _shown(slots),
        "masked": _shown(masked(given, slots, seed)),
        "residues": residues,
        "packed": pack(residues, prime.bit_length()).hex(),
        "client": CLIENT,
        "context": context.hex(),
        "seed": seed.hex(),
        "client_private": private.hex(),
        "client_public": ed25519.public_key(private).hex(),
        "share_private": share.hex(),
        "sealed": sealed.hex(),
        "signature": contributor(private, context, sealed).hex(),
        "nonce": seed[::-1].hex(),
        "blocks_map": coefficients(context, seed[::-1], "blocks", 64),
        "slots_map": coefficients(context, seed[::-1], "slots", 64),
    }


def stored(name: str) -> dict[str, Any]:
    """The vector in the folder."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return found


def _shown(blocks: list[list[int]]) -> dict[str, Any]:
    """The ends, and a digest of all slots as u64."""
    whole = b"".join(slot.to_bytes(8, "little") for block in blocks for slot in block)
    digest = sha256(whole).hexdigest()
    return {"first": blocks[0][:4], "last": blocks[-1][-4:], "sha256": digest}


def _sealed(name: str) -> bytes:
    if (FOLDER / f"{name}.json").exists():
        return bytes.fromhex(stored(name)["sealed"])
    from secagg.primitives.seal import seal  # noqa: PLC0415  for a vector that is not there yet

    recipient = x25519.public_key(bytes(range(120, 152)))
    info = text("binding") + bytes(range(32)) + CLIENT.to_bytes(4, "little")
    return seal(bytes(range(40, 72)), recipient, info)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for case in CASES:
        made = json.dumps(vector(case, _sealed(case)), indent=1)
        (FOLDER / f"{case}.json").write_text(made + "\n")
