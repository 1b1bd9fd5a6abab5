"""Noise that each aggregator adds to its own share of the sum, so that neither sees it without."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from secagg.frame import Endpoint
from secagg.primitives import prg
from secagg.primitives.digest import Label
from secagg.primitives.field import Elements, Field
from secagg.rand import Rand
from secagg.wire import Table

__all__ = ["Noise", "own_noise"]


@runtime_checkable
class Noise(Protocol):
    """A law on the integers; `repr` has all of it, as it is bound into the context."""

    def sample(self, shape: int, rand: Rand) -> NDArray[np.int64]:
        """Independent draws (shape,), as secret as what `rand` gives."""
        ...


def own_noise(
    noise: Noise, endpoint: Endpoint, included: Table, field: Field, length: int
) -> Elements:
    """(length,): of this aggregator, for the sum over `included`.

    It follows from the aggregator's identity, the context and the set, so that a machine that is
    resumed adds the same again: two draws for one sum would average out.
    """
    secret = endpoint.identity.secret(Label.NOISE, endpoint.context, included.tobytes())
    source = prg.encryptor(secret)
    return field.embed(noise.sample(length, lambda size: source.update(bytes(size))))
