"""The library and the reference make the same bytes, and both those of the published vectors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generate_pine import CASES, vector
from reference.pine import Setting, shard, verify
from reference.refused import Refused

from secagg.primitives.field64 import Field64, field64
from secagg.primitives.xof import HmacAes
from secagg.vdaf.entries import EntryBound
from secagg.vdaf.norm import NormBound
from secagg.vdaf.pine import Pine
from secagg.vdaf.suite import Draft, Production, Suite

HERE = Path(__file__).parent / "pine"
PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "pine-01"
unhex = bytes.fromhex


def stored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    return found


def function(setting: dict[str, Any], field: Field64) -> Pine:
    context = unhex(setting["context"])
    suite: Suite = Draft(xof=HmacAes, seed_size=32, algorithm=0xFFFF1004)
    if context:
        suite = Production(context=context)
    names = ("dimension", "bound", "checks", "successes")
    limits, entries = None, None
    if setting["dimension"]:
        limits = NormBound(field=field, **{name: setting[name] for name in names})
    if setting["count"]:
        entries = EntryBound(field=field, count=setting["count"], bits=setting["entry_bits"])
        assert entries.chunk == setting["entry_chunk"]
    sizes = {name: setting[name] for name in ("chunk", "norm_chunk", "proofs", "norm_proofs")}
    return Pine(limits=limits, entries=entries, suite=suite, **sizes)


@pytest.mark.parametrize("field", [Field64(), field64()], ids=["numpy", "fastest"])
@pytest.mark.parametrize("name", CASES)
def test_the_library_makes_the_stored_bytes(name: str, field: Field64) -> None:
    given = stored(name)
    pine = function(given["setting"], field)
    key, nonce, rand = (unhex(given[each]) for each in ("verify_key", "nonce", "rand"))
    public, shares = pine.shard(np.array(given["vector"]), nonce, rand)
    assert b"".join(public).hex() == given["public_share"]
    assert [pine.encode_input_share(share).hex() for share in shares] == given["input_shares"]
    pairs = [pine.verify_init(key, at, nonce, public, share) for at, share in enumerate(shares)]
    shown = [pine.encode_verifier_share(share) for _, share in pairs]
    assert [data.hex() for data in shown] == given["verifier_shares"]
    message = pine.verifier_shares_to_message([share for _, share in pairs])
    assert b"".join(message).hex() == given["message"]
    outputs = [pine.verify_next(state, message) for state, _ in pairs]
    assert [pine.field.encode(output).hex() for output in outputs] == given["outputs"]
    assert pine.unshard(outputs).tolist() == given["vector"]


@pytest.mark.parametrize("name", CASES)
def test_the_reference_makes_them_too(name: str) -> None:
    assert vector(name) == stored(name)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published vectors are not beside the clone")
def test_the_reference_stands_on_a_published_vector() -> None:
    given = json.loads((PUBLISHED / "Pine64HmacSha256Aes128_0.json").read_text("utf-8"))
    setting = Setting(
        dimension=given["dimension"],
        bound=given["l2_norm_bound"],
        checks=given["num_wr_checks"],
        successes=given["num_wr_successes"],
        chunk=given["chunk_length"],
        norm_chunk=given["chunk_length_norm_equality"],
        proofs=given["proofs"],
        norm_proofs=given["proofs_norm_equality"],
        context=b"",
    )
    report = given["prep"][0]
    measured = [round(value * 2 ** given["num_frac_bits"]) for value in report["measurement"]]
    nonce = unhex(report["nonce"])
    public, leader, helper = shard(setting, measured, nonce, unhex(report["rand"]))
    assert public.hex() == report["public_share"]
    assert [leader.hex(), helper.hex()] == report["input_shares"]
    shown, message, _ = verify(setting, unhex(given["verify_key"]), nonce, public, [leader, helper])
    assert [share.hex() for share in shown] == report["prep_shares"][0]
    assert message.hex() == report["prep_messages"][0]


def test_the_reference_refuses_another_context() -> None:
    given, setting = stored("production_odd"), CASES["production_odd"]
    shares = [unhex(share) for share in given["input_shares"]]
    rest = unhex(given["verify_key"]), unhex(given["nonce"]), unhex(given["public_share"]), shares
    verify(setting, *rest)
    with pytest.raises(Refused, match="does not verify"):
        verify(replace(setting, context=bytes(32)), *rest)
