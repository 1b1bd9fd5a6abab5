"""Plans in the approximate mode: the same means as in the exact one, in other processes too."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tenseal")

from protocols.authority import AuthorityKeeper
from protocols.authority_process import AuthorityProcess
from protocols.cipher_process import CipherProcess
from protocols.plan import RoundPlan
from protocols.simulate import run_round
from secagg.quantize import NormClip
from secagg.schemes.ckks import KeyAuthority
from secagg.schemes.ckks.cipher_tenseal import TensealCipher
from secagg.schemes.ckks.reals import rounded_layout

UPDATES = {client: (np.full(3000, client / 100), client) for client in range(1, 6)}


def test_a_plan_takes_either_mode() -> None:
    keeper = AuthorityKeeper(KeyAuthority.generate())
    means = []
    for approximate in (False, True):
        plan = RoundPlan.for_update(
            np.zeros(3000), clients=5, clip=NormClip(5.0), max_weight=9, dropout=0.4, corrupt=0.0,
            scheme=keeper.scheme, approximate=approximate, width=32,
        )  # fmt: skip
        outcome = run_round(plan, UPDATES, third=keeper, drops={2: "upload"})
        assert outcome.exact
        assert outcome.result is not None
        assert outcome.result.included == {1, 3, 4, 5}
        means.append(outcome.result.mean)
    assert np.allclose(*means, atol=1e-5)


def test_an_authority_in_another_process_rounds() -> None:
    with AuthorityProcess() as authority:
        plan = RoundPlan.for_update(
            np.zeros(3000), clients=5, clip=NormClip(5.0), max_weight=9, scheme=authority.scheme,
            approximate=True, width=32,
        )  # fmt: skip
        assert run_round(plan, UPDATES, third=authority).exact


def test_native_code_in_another_process_gives_the_same_reals() -> None:
    shape, cipher = rounded_layout(5, 9, 24), CipherProcess()
    pair = TensealCipher().generate(shape.ring.keys)
    reals = shape.reals(np.arange(9, dtype=np.uint32))
    residues = cipher.encrypt_reals(shape.ring, pair.public, reals)
    found = cipher.decrypt_reals(shape.ring, pair.secret, residues)
    assert np.abs(found - reals).max() < 0.125
