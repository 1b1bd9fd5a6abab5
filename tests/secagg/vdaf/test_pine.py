"""PINE against the published vectors, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secagg.primitives.field64 import field64
from secagg.primitives.xof import HmacAes
from secagg.vdaf.claim import encode_floats
from secagg.vdaf.norm import NormBound
from secagg.vdaf.pine import Pine
from secagg.vdaf.suite import Draft

Json = dict[str, Any]
PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "pine-01"


def turboshake() -> Any:
    reason = "needs the extra vdaf"
    return pytest.importorskip("secagg.primitives.xof_turboshake", reason=reason).TurboShake11


def function(vector: Json, suite: Draft, field: Any = None) -> Pine:
    limits = NormBound(
        field=field or field64(),
        dimension=vector["dimension"],
        bound=vector["l2_norm_bound"],
        checks=vector["num_wr_checks"],
        successes=vector["num_wr_successes"],
    )
    return Pine(
        limits=limits,
        suite=suite,
        chunk=vector["chunk_length"],
        norm_chunk=vector["chunk_length_norm_equality"],
        shares=vector["shares"],
        proofs=vector["proofs"],
        norm_proofs=vector["proofs_norm_equality"],
    )


def replay(pine: Pine, vector: Json) -> None:
    """A whole run; every value that travels is compared."""
    key, bits = bytes.fromhex(vector["verify_key"]), vector["num_frac_bits"]
    collected: list[list[Any]] = [[] for _ in range(pine.shares)]
    for report in vector["prep"]:
        nonce, rand = bytes.fromhex(report["nonce"]), bytes.fromhex(report["rand"])
        measured = encode_floats(np.array(report["measurement"]), bits)
        public, shares = pine.shard(measured, nonce, rand)
        assert b"".join(public).hex() == report["public_share"]
        assert [pine.encode_input_share(share).hex() for share in shares] == report["input_shares"]
        states, verifiers = [], []
        for agg_id, encoded in enumerate(report["input_shares"]):
            share = pine.decode_input_share(agg_id, bytes.fromhex(encoded))
            state, verifier = pine.verify_init(
                key, agg_id, nonce, pine.decode_public_share(b"".join(public)), share
            )
            states.append(state)
            verifiers.append(pine.encode_verifier_share(verifier))
        assert [data.hex() for data in verifiers] == report["prep_shares"][0]
        message = pine.verifier_shares_to_message(
            [pine.decode_verifier_share(data) for data in verifiers]
        )
        assert b"".join(message).hex() == report["prep_messages"][0]
        for outputs, state, due in zip(collected, states, report["out_shares"], strict=True):
            output = pine.verify_next(state, message)
            flat = due if isinstance(due, str) else "".join(due)
            assert pine.field.encode(output).hex() == flat
            outputs.append(output)
    totals = [pine.aggregate(outputs) for outputs in collected]
    assert [pine.field.encode(part).hex() for part in totals] == vector["agg_shares"]
    assert (np.ldexp(pine.unshard(totals), -bits)).tolist() == vector["agg_result"]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published vectors are not beside the clone")
@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*.json")), ids=lambda path: path.stem)
def test_the_published_vectors(path: Path) -> None:
    vector = json.loads(path.read_text("utf-8"))
    if "Hmac" in path.name:
        suite = Draft(xof=HmacAes, seed_size=32, algorithm=0xFFFF1004)
    else:
        suite = Draft(xof=turboshake(), seed_size=16, algorithm=0xFFFFFFFF)
    replay(function(vector, suite), vector)
