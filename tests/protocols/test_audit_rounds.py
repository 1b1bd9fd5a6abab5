"""Audit rounds: a public perturbation of the right size, and what it shows of free-riders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.audit_rounds import AuditRounds
from protocols.federation.data import digits, owners_iid, split
from protocols.federation.federation import Federation
from protocols.federation.observe import gaussian, sketched
from robust.attacks.free_rider_mimic import Shaped
from robust.detect import Scores
from robust.detect_evidence import EvidenceOfTraining
from robust.observe import Array
from secagg.errors import InputRefused, IntegrityError, ParameterError
from secagg.structure import flatten

SESSION = bytes(range(16))


def tree(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(30, 10)), "b": rng.normal(size=77)}


def test_every_so_many_rounds_but_not_the_first() -> None:
    audit = AuditRounds(every=3)
    assert [number for number in range(10) if audit.audits(number)] == [3, 6, 9]
    assert audit.perturbation(tree(), SESSION, 4) is None
    assert audit.perturbation(tree(), SESSION, 0) is None


@given(st.floats(1e-3, 1), st.integers(1, 1 << 40), st.binary(min_size=16, max_size=64))
def test_each_parameter_moves_by_its_share(relative: float, number: int, session: bytes) -> None:
    model = tree()
    added = AuditRounds(every=1, relative=relative).perturbation(model, session, number)
    assert added is not None
    vector, structure = flatten(added)
    model_vector, model_structure = flatten(model)
    assert structure.digest == model_structure.digest
    assert np.array_equal(np.abs(vector), relative * np.abs(model_vector))
    up = np.mean(vector * model_vector > 0)
    assert 0.3 < up < 0.7  # 377 fair coins: eight standard deviations


def test_the_coins_are_of_the_session_and_the_round() -> None:
    audit, model = AuditRounds(every=1), tree()

    def coins(session: bytes, number: int) -> bytes:
        found = audit.perturbation(model, session, number)
        return flatten(found)[0].tobytes()

    assert coins(SESSION, 1) == coins(SESSION, 1)
    assert len({coins(SESSION, 1), coins(SESSION, 2), coins(bytes(16), 1)}) == 3


@pytest.mark.parametrize("number", [-1, True, 1.0, "1", 1 << 64])
def test_what_is_no_number_of_a_round_is_refused(number: Any) -> None:
    audit = AuditRounds(every=1)
    assert audit.perturbation(tree(), SESSION, (1 << 64) - 1) is not None
    with pytest.raises(ParameterError, match=r"0 <= number < 2\*\*64"):
        audit.perturbation(tree(), SESSION, number)


def test_unsigned_leaves_cannot_move_down() -> None:
    audit = AuditRounds(every=1)
    assert audit.perturbation({"n": np.full(40, 7, np.int8)}, SESSION, 1) is not None
    with pytest.raises(IntegrityError, match="cannot hold"):
        audit.perturbation({"n": np.full(40, 7, np.uint8)}, SESSION, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"every": 0}, {"every": 1.0}, {"every": True}, {"every": 1, "relative": 0},
        {"every": 1, "relative": 1.01}, {"every": 1, "relative": float("nan")},
        {"every": 1, "relative": "1"},
    ],
)  # fmt: skip
def test_other_parameters_are_refused(wrong: dict[str, Any]) -> None:
    assert AuditRounds(every=1, relative=1).relative == 1
    with pytest.raises(ParameterError, match="must hold"):
        AuditRounds(**wrong)


def test_what_is_no_tree_is_refused() -> None:
    with pytest.raises(InputRefused):
        AuditRounds(every=1).perturbation({"w": "text"}, SESSION, 1)


@pytest.fixture(scope="module")
def converged() -> Federation:
    """20 clients of whom 4 send shaped noise, after 25 rounds of the others."""
    rng = np.random.default_rng(0)
    parts = split(digits(), rng)
    owners = owners_iid(parts.train, 20, rng)
    federation = Federation(split=parts, owners=owners, seed=0, attackers=[(Shaped(), 4)])
    for _ in range(25):
        data = federation.round()
        federation.apply(data.mean(data.honest.astype(np.float64)))
    assert federation.accuracy() > 0.95
    return federation


def evidence(federation: Federation, added: Array | None, seed: int) -> tuple[Any, Any, Any]:
    """Shares of free-riders, of honest clients, and the null deviation of a share."""
    data = federation.round(perturbation=added)
    projection = gaussian(64, federation.network.size, np.random.default_rng(seed))
    found = EvidenceOfTraining().score(sketched(data, projection))
    assert isinstance(found, Scores)
    share = found.figures["share"]
    return share[~data.honest], share[data.honest], found.figures["error"].mean()


def test_a_free_rider_that_extrapolates_stands_out_in_an_audit(converged: Federation) -> None:
    """The gap between honest clients and free-riders, in null deviations, is several times wider:
    one audit says what takes many plain rounds.
    """
    added = AuditRounds(every=1).perturbation(converged.weights, SESSION, 1)

    def gap(perturbation: Array | None) -> float:
        rows = [evidence(converged, perturbation, seed) for seed in range(4)]
        riders, honest = (np.concatenate([row[at] for row in rows]) for at in (0, 1))
        error = np.mean([row[2] for row in rows])
        return float((np.median(honest) - np.median(riders)) / error)

    plain, audited = gap(None), gap(added)
    assert plain < 4
    assert audited > 3 * plain


def test_who_replays_the_perturbation_is_seen_as_it_is_public(converged: Federation) -> None:
    """Half of the clients undo the perturbation and add noise. Unless it is known, they agree."""
    added = AuditRounds(every=1).perturbation(converged.weights, SESSION, 1)
    assert added is not None
    data = converged.round(perturbation=added)
    rng = np.random.default_rng(5)
    replays = np.arange(0, 20, 2)
    noise = rng.normal(size=(len(replays), len(added))) * np.linalg.norm(added) / 5000
    data.updates[replays] = noise - 0.1 * added
    projection = gaussian(64, converged.network.size, rng)

    def energy(known: bool) -> float:
        seen = sketched(data if known else replace(data, perturbation=None), projection)
        found = EvidenceOfTraining(trim=0.0).score(seen)
        assert isinstance(found, Scores)
        return float(np.median(found.figures["energy"][replays]))

    assert energy(known=False) > 0.2
    assert energy(known=True) < 0.05
