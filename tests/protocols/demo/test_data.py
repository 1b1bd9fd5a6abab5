"""The split of the digits: complete, disjoint, uneven, and nobody is left without examples."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.demo.data import LABELS, split_digits
from secagg.errors import ParameterError


def split(clients: int, alpha: float, seed: int = 0):
    return split_digits(clients, alpha, np.random.default_rng(seed))


def test_every_digit_is_somewhere_once() -> None:
    digits = split(20, 0.3)
    parts = [*digits.clients.values(), digits.test]
    assert sum(map(len, parts)) == 1797
    assert list(digits.clients) == list(range(1, 21))
    images = np.concatenate([part.images for part in parts])
    assert len(np.unique(images, axis=0)) == 1797
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0, 1)


@pytest.mark.parametrize(("clients", "alpha"), [(20, 0.3), (200, 0.05), (287, 1.0), (2, 100.0)])
def test_everybody_has_five(clients: int, alpha: float) -> None:
    assert min(map(len, split(clients, alpha).clients.values())) >= 5


def test_too_many_clients_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"5 \* clients <= 1437 digits must hold, got 288"):
        split(288, 1.0)


def test_a_small_alpha_is_uneven() -> None:
    def labels_seen(alpha: float) -> float:
        parts = split(20, alpha).clients.values()
        return float(np.mean([len(np.unique(part.labels)) for part in parts]))

    assert labels_seen(0.1) < 6 < labels_seen(100.0) == LABELS


def test_the_seed_decides() -> None:
    first, again, other = split(5, 0.3), split(5, 0.3), split(5, 0.3, seed=1)
    assert np.array_equal(first.clients[1].images, again.clients[1].images)
    assert not np.array_equal(first.test.labels, other.test.labels)
