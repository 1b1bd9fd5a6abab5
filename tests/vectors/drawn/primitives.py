"""Vectors of single building blocks, by the library; deterministic but for `sealed`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from drawn.rounds import Shake, Tape, scheme_of

from secagg import Identity, Roster, Round
from secagg.primitives import agreement, prg, ring, seal, shamir
from secagg.primitives.digest import Label, digest
from secagg.quantize import Clip, FixedPoint, HalfEven, NormClip, RangeClip
from secagg.schemes.secagg_plus.transcript import check_words

__all__ = ["primitives", "sealed"]

Json = dict[str, Any]

LABELS = (
    *("CONTEXT", "ROSTER", "STRUCTURE", "PLAN", "FRAME", "SNAPSHOT", "COHORT", "MEMBERS"),
    *("SURVIVORS", "ATTEST", "SHARES", "GRAPH", "SELF_SEED", "SHARE", "EDGE", "SEAL"),
    *("PAIR_MASK", "SELF_MASK", "CHECK"),
)
P = 2**255 - 19
LOW_ORDER = (
    *(0, 1, P - 1, P, P + 1),
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
"""X25519 coordinates with which every secret is zero."""
_ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
SMALL_ORDER = (0, 2**255, 1, P - 1, *(y + s for y in (_ORDER_8, P - _ORDER_8) for s in (0, 2**255)))
"""Ed25519 points whose order divides 8: y, and the sign of x as the highest bit."""
WIDTHS = (2, 3, 7, 8, 9, 15, 16, 17, 20, 24, 31, 32, 33, 47, 48, 63, 64)


def primitives() -> Json:
    """All sections but `sealed`."""
    return {
        "kind": "primitives",
        "description": "Building blocks, one call each. Labels go by their names in the register.",
        "labels": [{"name": name.lower(), "text": Label[name].value.hex()} for name in LABELS],
        "digests": list(_digests()),
        "signatures": list(_signatures()),
        "small_order": [{"public": _point(point)} for point in SMALL_ORDER],
        "agreements": list(_agreements()),
        "low_order": [{"public": _point(point)} for point in LOW_ORDER],
        "keys": list(_keys()),
        "streams": list(_streams()),
        "check_words": list(_check_words()),
        "packings": list(_packings()),
        "refused_packings": REFUSED_PACKINGS,
        "sharings": list(_sharings()),
        "contexts": list(_contexts()),
        "quantized": list(_quantized()),
    }


def _digests() -> Iterator[Json]:
    rand = Shake("digests")
    shapes = [[], [b""], [b"", b""], [b"ab", b"c"], [b"a", b"bc"], [rand(32), rand(300), rand(1)]]
    for number, parts in enumerate(shapes):
        for size in (32, 16):
            label = LABELS[number]
            made = digest(Label[label], *parts, size=size).hex()
            yield {"label": label.lower(), "parts": _hex(parts), "size": size, "digest": made}


def _signatures() -> Iterator[Json]:
    rand = Shake("signatures")
    for label, parts in (("FRAME", [rand(45), rand(64)]), ("ATTEST", [rand(32)])):
        identity = Identity.generate(rand)
        yield {
            "private": identity.to_bytes().hex(),
            "public": identity.public.hex(),
            "label": label.lower(),
            "parts": _hex(parts),
            "signature": identity.sign(Label[label], *parts).hex(),
        }


def _agreements() -> Iterator[Json]:
    rand = Shake("agreements")
    for _ in range(4):
        peer, private = agreement.public_key(rand(32)), rand(32)
        secret = agreement.agree(X25519PrivateKey.from_private_bytes(private), peer)
        public = agreement.public_key(private).hex()
        yield {
            "private": private.hex(),
            "public": public,
            "peer": peer.hex(),
            "secret": secret.hex(),
        }


def _keys() -> Iterator[Json]:
    rand = Shake("keys")
    shapes = (("EDGE", (32, 8), 16), ("SEAL", (32, 8), 32), ("PAIR_MASK", (32, 8), 32))
    for label, sizes, size in (*shapes, ("SELF_MASK", (32, 4), 32)):
        secret, parts = rand(32), [rand(part) for part in sizes]
        key = agreement.derive(secret, Label[label], *parts, size=size).hex()
        named = {"label": label.lower(), "parts": _hex(parts), "size": size, "key": key}
        yield {"secret": secret.hex(), **named}


def _streams() -> Iterator[Json]:
    """The last counter blocks run over the end of 64 bits, and of 128."""
    rand = Shake("streams")
    counters = (rand(16), bytes(8) + b"\xff" * 8, b"\xff" * 15 + b"\xfe")
    for counter, size in zip(counters, (1, 50, 64), strict=True):
        key = rand(16) + counter
        yield {"key": key.hex(), "stream": prg.stream(key, size).hex()}


def _check_words() -> Iterator[Json]:
    for width in (2, 16, 20, 33, 64):
        rand, count = Shake(f"check words {width}"), -(-64 // width)
        vector, cohort = _residues(rand, 11, width), rand(32)
        words = ring.reduce(check_words(vector, cohort, count), width).tolist()
        values = {"vector": vector.tolist(), "words": words}
        yield {"width": width, "cohort": cohort.hex(), **values}


def _packings() -> Iterator[Json]:
    for width in WIDTHS:
        for length in (1, 3, 17):
            values = _residues(Shake(f"packings {width}"), length, width)
            values[-1] = (1 << width) - 1
            packed = ring.pack(values, width).hex()
            yield {"width": width, "values": values.tolist(), "packed": packed}


REFUSED_PACKINGS: list[Json] = [
    {"width": 20, "length": 1, "packed": "ffff1f", "rule": "padding bits are zero"},
    {"width": 20, "length": 1, "packed": "ffff0f00", "rule": "no byte too many"},
    {"width": 20, "length": 1, "packed": "ffff", "rule": "no byte too few"},
    {"width": 33, "length": 3, "packed": "ffffffffffffffffffffffff80", "rule": "padding bits"},
    {"width": 32, "length": 1, "packed": "ffffffffff", "rule": "no byte too many"},
]


def _sharings() -> Iterator[Json]:
    rand = Shake("sharings")
    cases = (
        (1, [1, 2, 3], [rand(32)]),
        (2, [1, 2, 3, 4], [rand(32), rand(32)]),
        (3, [65_535, 1, 256, 4_096], [rand(32), rand(32)]),
        (5, [5, 4, 3, 2, 1], [rand(2)]),
        (4, [1, 2, 3, 4], [bytes(4), b"\xff" * 4]),
    )
    for threshold, points, secrets in cases:
        coefficients = rand(2 * (threshold - 1) * sum(map(len, secrets)) // 2)
        shares = shamir.split(secrets, threshold, points, Tape(coefficients))
        yield {
            "threshold": threshold,
            "points": points,
            "secrets": _hex(secrets),
            "coefficients": coefficients.hex(),
            "shares": [_hex([share.tobytes() for share in row]) for row in shares],
        }


PLANS = (
    ("secagg_plus", 3, 20, "0.0", "0.0", None),
    ("secagg_plus", 10, 32, "0.2", "0.3", 4),
    ("secagg_plus", 200, 20, "0.1", "0.3", None),
    ("secagg_plus", 300, 20, "0.05", "0.1", None),
    ("secagg_plus", 300, 20, "0.05", "0.1", 32),
    ("secagg_plus", 250, 20, "0.29", "0.3", None),
    ("secagg_plus", 1_000, 17, "0.1", "0.2", None),
    ("secagg_plus_semi_honest", 5, 64, "0.2", "0.4", None),
    ("secagg_plus_semi_honest", 300, 2, "0.05", "0.1", None),
    ("secagg_plus_semi_honest", 1_000, 20, "1e-05", "0.2", None),
)


def _contexts() -> Iterator[Json]:
    """Rosters stay small: the context has their digest, and checks no size."""
    rand = Shake("contexts")
    for scheme, clients, width, corrupt, dropout, threshold in PLANS:
        fractions = {"corrupt": corrupt, "dropout": dropout, "threshold": threshold}
        plan = {"scheme": scheme, "clients": clients, "length": 1_000, "width": width, **fractions}
        server, keys = rand(32), {party: rand(32) for party in (2**32 - 2, 1, 256)}
        number, session, model = int.from_bytes(rand(8), "little"), rand(16), rand(32)
        roster = Roster(server, keys)
        parameters = scheme_of(plan).encoded()
        named = Round(session=session, number=number, model=model, roster=roster)
        yield {
            "plan": plan,
            "session": session.hex(),
            "number": number,
            "model": model.hex(),
            "server": server.hex(),
            "clients": {str(party): key.hex() for party, key in keys.items()},
            "parameters": parameters.decode(),
            "roster": roster.digest.hex(),
            "context": named.context(scheme_of(plan).code, parameters).hex(),
        }


def sealed() -> list[Json]:
    """HPKE draws by itself: other bytes at each call."""
    rand = Shake("sealed")
    made = []
    for plaintext, info in ((rand(64), rand(92)), (b"", b"")):
        private = rand(32)
        box = seal.seal(plaintext, agreement.public_key(private), info)
        named = {"private": private.hex(), "info": info.hex(), "plaintext": plaintext.hex()}
        made.append({**named, "sealed": box.hex()})
    return made


_QUANTIZED: tuple[tuple[Json, list[tuple[list[float], int]]], ...] = (
    (
        {"clip": "range", "bound": 1.0, "fraction_bits": 1, "max_weight": 1},
        [([0.25, 0.75, -0.25, -0.75, 0.5, -0.0], 1), ([9.0, -9.0, 0.1, 1.0, -1.0, 0.2], 1)],
    ),
    (
        {"clip": "range", "bound": 0.3, "fraction_bits": 16, "max_weight": 100},
        [([0.1, -0.2, 0.3, 1e300, -5e-324], 100), ([0.3, 0.3, 0.3, -1.0, 0.0], 1)],
    ),
    (
        {"clip": "norm", "bound": 1.5, "fraction_bits": 20, "max_weight": 3},
        [([0.5, -0.25, 0.125, 1.0], 3), ([0.1, 0.2, 0.3, 0.4], 2), ([0.0, 0.0, 0.0, 0.0], 1)],
    ),
    (
        {"clip": "range", "bound": 1e6, "fraction_bits": -4, "max_weight": 1},
        [([24.0, 40.0, -56.0, 8.0], 1), ([1e6, -1e6, 0.0, 7.9], 1)],
    ),
)


def _quantized() -> Iterator[Json]:
    """Halves to even; several clients, so that the mean has a sum to come from."""
    kinds: dict[str, type[Clip]] = {"range": RangeClip, "norm": NormClip}
    for stated, inputs in _QUANTIZED:
        sizes = {name: stated[name] for name in ("fraction_bits", "max_weight")}
        clip = kinds[stated["clip"]](stated["bound"])
        point = FixedPoint(clip=clip, rounding=HalfEven(), cohort=len(inputs), **sizes)
        encodings = [point.encode(np.array(x), weight, Tape(b"")) for x, weight in inputs]
        total = ring.reduce(np.sum(encodings, axis=0, dtype=point.dtype), point.width)
        mean, weight = point.decode(total, len(inputs))
        clients = [
            {"vector": x, "weight": weight, "residues": residues.tolist()}
            for (x, weight), residues in zip(inputs, encodings, strict=True)
        ]
        yield {
            "plan": {**stated, "cohort": len(inputs)},
            "width": point.width,
            "clients": clients,
            "mean": mean.tolist(),
            "weight": weight,
        }


def _residues(rand: Shake, length: int, width: int) -> ring.Words:
    word = ring.word(width)
    return ring.reduce(np.frombuffer(rand(length * word.itemsize), word).copy(), width)


def _point(number: int) -> str:
    return number.to_bytes(32, "little").hex()


def _hex(parts: list[bytes]) -> list[str]:
    return [part.hex() for part in parts]
