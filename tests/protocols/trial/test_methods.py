"""Defenses: whom they leave out, and what they make of a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from protocols.federation.federation import RoundData
from protocols.trial.methods import METHODS, Method, Setting, method_of
from robust.observe import Array, Imitated
from secagg.errors import ParameterError

CLIENTS, SIZE, ATTACKERS = 12, 600, 2
SETTING = Setting(clients=CLIENTS, rounds=4, rows=64, corrupt=ATTACKERS, seed=0)


def _imitated(common: Array) -> Callable[[Sequence[int]], Imitated]:
    """Two splits of clients as honest ones are here."""

    def imitate(clients: Sequence[int]) -> Imitated:
        noise = np.random.default_rng(2).normal(size=(2, 3, len(clients), SIZE))
        classes = np.broadcast_to(np.stack([common, -common]), (2, 2, 2, SIZE))
        return Imitated(rows=common + 0.5 * noise / np.sqrt(SIZE), classes=classes)

    return imitate


def rounds(attack: Array | None = None, count: int = 3) -> list[RoundData]:
    """Honest updates share a direction; the first two clients send `attack` instead."""
    rng = np.random.default_rng(1)
    history = np.empty((0, SIZE))
    weights = rng.normal(size=SIZE)
    found = []
    for number in range(count):
        common = rng.normal(size=SIZE) / np.sqrt(SIZE)
        updates = common + 0.5 * rng.normal(size=(CLIENTS, SIZE)) / np.sqrt(SIZE)
        honest = np.ones(CLIENTS, dtype=bool)
        if attack is not None:
            updates[:ATTACKERS] = attack
            honest[:ATTACKERS] = False
        found.append(
            RoundData(
                number=number,
                clients=tuple(range(1, CLIENTS + 1)),
                updates=updates,
                honest=honest,
                weights=weights,
                history=history,
                root=common,
                classes=np.stack([common, -common]),
                perturbation=None,
                imitate=_imitated(common),
            )
        )
        history = np.concatenate([history, common[None]])
    return found


@pytest.mark.parametrize("method", METHODS, ids=[one.name for one in METHODS])
def test_every_method_repeats_itself_and_moves_the_model(method: Method) -> None:
    data = rounds()
    first, second = method.start(SETTING), method.start(SETTING)
    for one in data:
        taken, again = first.take(one), second.take(one)
        assert np.array_equal(taken.update, again.update)
        assert taken.left_out == again.left_out
        assert np.isfinite(taken.update).all()
        assert taken.left_out < frozenset(one.clients)
        if method.name != "foolsgold":  # which takes honest clients that agree for sybils
            assert float(taken.update @ one.root) > 0


def test_no_defense_is_the_mean() -> None:
    data = rounds()[0]
    assert np.allclose(method_of("mean").start(SETTING).take(data).update, data.mean())


def test_bounds_leave_out_who_is_beyond_them_and_nobody_else() -> None:
    long = rounds(np.full((ATTACKERS, SIZE), 1.0))[0]  # of norm 24, where 4 is allowed
    taken = method_of("bounds").start(SETTING).take(long)
    assert taken.left_out == {1, 2}
    assert np.abs(taken.update - long.mean(long.honest.astype(float))).max() < 1e-4
    replayed = rounds(np.zeros((ATTACKERS, SIZE)))[0]
    assert method_of("bounds").start(SETTING).take(replayed).left_out == frozenset()


def test_ours_leaves_out_who_sends_noise_and_its_bounds_do_not() -> None:
    noise = np.random.default_rng(5).normal(size=(ATTACKERS, SIZE)) / np.sqrt(SIZE)
    data = rounds(noise, count=9)
    ours, bounds = (method_of(name).start(SETTING) for name in ("ours", "bounds"))
    last = [ours.take(one) for one in data][-1]
    assert last.left_out == {1, 2}
    assert not last.short
    assert [bounds.take(one) for one in data][-1].left_out == frozenset()


def test_too_few_that_are_left_are_reported() -> None:
    data = rounds()[0]
    far = RoundData(
        **{
            **vars(data),
            "updates": np.where(np.arange(CLIENTS)[:, None] < 9, 30.0, 1.0) * data.updates,
            "honest": np.arange(CLIENTS) >= 9,
        }
    )
    taken = method_of("bounds").start(SETTING).take(far)
    assert taken.left_out == set(range(1, 10))
    assert taken.short


def test_a_second_stage_only_leaves_out_more() -> None:
    for one in rounds(np.random.default_rng(5).normal(size=(ATTACKERS, SIZE)) / np.sqrt(SIZE)):
        ours = method_of("ours").start(SETTING).take(one)
        more = method_of("ours+flame").start(SETTING).take(one)
        assert ours.left_out <= more.left_out


def test_names_are_different_and_unknown_ones_refused() -> None:
    names = [one.name for one in METHODS]
    assert len(set(names)) == len(names)
    assert [method_of(name).name for name in names] == names
    with pytest.raises(ParameterError, match="method must be one of mean, bounds, ours"):
        method_of("median")
