"""The count of the clipped is as precise as docs/spec/mechanism.md says, in a whole cohort."""

from __future__ import annotations

import math

import pytest

from dp.choose import choose


@pytest.mark.parametrize(("clients", "parts"), [(100, 100), (100, 50), (100, 20), (1000, 300)])
def test_within_has_the_stated_deviation(clients: int, parts: int) -> None:
    mechanism = choose(
        size=1000,
        clients=clients,
        parts=parts,
        clip=1.0,
        noise_multiplier=1.0,
        width=24,
        flag=True,
    ).mechanism
    noise = math.sqrt(clients * mechanism.noise.noise.sigma_squared)
    assert noise / (2 * mechanism.flag * clients) <= 0.051
