"""Prio3 against the published vectors, byte for byte: shard, verify, aggregate, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secagg.errors import ReportRefused
from secagg.vdaf import prio3
from secagg.vdaf.prio3 import Prio3

Json = dict[str, Any]
PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "vdaf-20"
OWN = Path(__file__).resolve().parents[2] / "vectors" / "vdaf"


def function(name: str, vector: Json, xof: Any) -> Prio3:
    """The function that a vector's file name and parameters describe."""
    shares, family = vector["shares"], name.split("_", maxsplit=1)[0]
    chunked = [vector.get(key) for key in ("length", "max_measurement", "chunk_length")]
    if family == "Prio3Count":
        return prio3.count(xof, shares)
    if family == "Prio3Sum":
        return prio3.total(xof, vector["max_measurement"], shares)
    if family == "Prio3Histogram":
        return prio3.histogram(xof, vector["length"], vector["chunk_length"], shares)
    if family == "Prio3SumVecWithMultiproof":
        return prio3.sum_vec_multiproof(xof, *chunked, shares)
    assert family == "Prio3SumVec"
    return prio3.sum_vec(xof, *chunked, shares)


def unhex(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def verify(vdaf: Prio3, vector: Json, report: Json) -> list[Any]:
    """Output shares; every intermediate value is compared with the vector's."""
    key, ctx, nonce = unhex([vector["verify_key"], vector["ctx"], report["nonce"]])
    public = vdaf.decode_public_share(bytes.fromhex(report["public_share"]))
    states, shares = [], []
    for agg_id, due in enumerate(report["verifier_shares"][0]):
        data = bytes.fromhex(report["input_shares"][agg_id])
        share = vdaf.decode_input_share(agg_id, data)
        assert vdaf.encode_input_share(share) == data
        state, verifier = vdaf.verify_init(key, ctx, agg_id, nonce, public, share)
        encoded = vdaf.encode_verifier_share(verifier)
        assert encoded.hex() == due
        states.append(state)
        shares.append(vdaf.decode_verifier_share(encoded))
    if report["verifier_messages"]:
        message = vdaf.decode_verifier_message(bytes.fromhex(report["verifier_messages"][0]))
        if report["out_shares"]:
            assert vdaf.verifier_shares_to_message(ctx, shares) == message
    else:
        message = vdaf.verifier_shares_to_message(ctx, shares)
    return [vdaf.verify_next(state, message) for state in states]


def replay(vdaf: Prio3, vector: Json) -> None:
    """A whole run of valid reports."""
    collected: list[list[Any]] = [[] for _ in range(vdaf.shares)]
    for report in vector["reports"]:
        ctx, nonce, rand = unhex([vector["ctx"], report["nonce"], report["rand"]])
        public, shares = vdaf.shard(ctx, report["measurement"], nonce, rand)
        assert b"".join(public).hex() == report["public_share"]
        assert [vdaf.encode_input_share(share).hex() for share in shares] == report["input_shares"]
        for outputs, output, due in zip(
            collected, verify(vdaf, vector, report), report["out_shares"], strict=True
        ):
            flat = due if isinstance(due, str) else "".join(due)
            assert vdaf.circuit.field.encode(output).hex() == flat
            outputs.append(output)
    totals = [vdaf.aggregate(outputs) for outputs in collected]
    assert [vdaf.circuit.field.encode(part).hex() for part in totals] == vector["agg_shares"]
    result = vdaf.unshard(totals)
    assert result == vector["agg_result"] or result == [vector["agg_result"]]


def load(path: Path) -> Json:
    loaded: Json = json.loads(path.read_text("utf-8"))
    return loaded


def found(folder: Path, *, bad: bool) -> list[Path]:
    return [path for path in sorted(folder.glob("Prio3*.json")) if ("_bad_" in path.name) == bad]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published vectors are not beside the clone")
class TestPublished:
    turboshake = staticmethod(
        lambda: (
            pytest.importorskip(
                "secagg.primitives.xof_turboshake", reason="needs the extra vdaf"
            ).TurboShake
        )
    )

    @pytest.mark.parametrize("path", found(PUBLISHED, bad=False), ids=lambda path: path.stem)
    def test_valid(self, path: Path) -> None:
        vector = load(path)
        replay(function(path.stem, vector, self.turboshake()), vector)

    @pytest.mark.parametrize("path", found(PUBLISHED, bad=True), ids=lambda path: path.stem)
    def test_bad(self, path: Path) -> None:
        vector = load(path)
        vdaf = function(path.stem, vector, self.turboshake())
        for report in vector["reports"]:
            with pytest.raises(ReportRefused):
                verify(vdaf, vector, report)
