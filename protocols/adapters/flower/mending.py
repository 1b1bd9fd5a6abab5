"""The server unlearns suspected triggers: read from what a round opens anyway, after its sum.

    unlearning = Unlearning(model=TorchModel(network, shape=(64,)), root=Examples(…))
    strategy = SecureAggregation(…, unlearning=unlearning)

What the inner strategy makes of the mean is mended before it is the model, so clients and whoever
takes the model never see another. An audit round is not looked at, and changes no model.
EXPERIMENTAL, see `protocols.federation.unlearning`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.adapters.flower.terms import Layout, SecurePlan
from protocols.federation.unlearning import Unlearning
from protocols.round import ServerRound
from protocols.screening import SketchScreen
from robust.errors import ObservationError
from robust.triggers import Suspect
from secagg.errors import InputRefused, IntegrityError, ParameterError
from secagg.event import Statistics
from secagg.identity import PartyId
from secagg.rand import Rand

__all__ = ["Arrays", "Mender"]

Arrays = Mapping[str, NDArray[Any]]
_log = logging.getLogger("flwr")


class Mender:
    """An `Unlearning` over the rounds of a strategy; it may go on from another run's.

    rand: of patterns and batches.

    Raises `ParameterError` for a plan without a `SketchScreen`, or of no more rows than classes.
    """

    def __init__(self, plan: SecurePlan, unlearning: Unlearning, rand: Rand) -> None:
        if not isinstance(plan.screen, SketchScreen):
            raise ParameterError("unlearning needs a plan with a SketchScreen")
        classes, rows = unlearning.model.classes, plan.screen.rows
        if classes >= rows:
            raise ParameterError(f"classes < rows must hold, got {classes} and {rows}")
        self._unlearning = unlearning
        self._rows = rows
        self._rand = rand

    def begin(self, layout: Layout) -> None:
        """A round of the model of `layout`. Raises `InputRefused` for another model than is mended:
        weights in another order would be read as others; and for one with so many integers that the
        sketch tells nothing else.
        """
        parts = self._unlearning.model.layers
        due = {name: part.stop - part.start for name, part in parts.items()}
        found = {
            name: array.size for name, array in layout.arrays.items() if array.dtype.kind == "f"
        }
        if list(due.items()) != list(found.items()):
            raise InputRefused(
                f"unlearning is for a model of the arrays {list(due)}, in this order and of its "
                f"sizes; this one has {list(found)}"
            )
        taken = self._unlearning.model.classes + layout.sizes[1]
        if taken >= self._rows:
            raise InputRefused(
                f"classes + integers + metrics < rows must hold, got {taken} and {self._rows}"
            )

    def look(
        self,
        server: ServerRound,
        statistics: Statistics,
        layout: Layout,
        summed: Collection[PartyId],
    ) -> None:
        """Read the pulls of a round. Raises `IntegrityError` where that is impossible: what was not
        looked at is not the model.
        """
        number = max(server.invitation.number, self._unlearning.last + 1)
        try:
            self._unlearning.look(
                server.plan,
                statistics,
                number,
                layout.coordinates(layout.arrays),
                summed=summed,
                place=slice(0, layout.sizes[0]),
            )
        except ObservationError as error:
            raise IntegrityError(f"unlearning sees nothing: {error}") from error

    def mended(self, layout: Layout, arrays: Arrays) -> tuple[Arrays, tuple[Suspect, ...]]:
        """The model to go on with, for the one that the inner strategy has made, and what had
        commanded it. Raises `IntegrityError` where it cannot be mended.
        """
        rng = np.random.default_rng(np.frombuffer(self._rand(32), np.uint32))
        try:
            found = self._unlearning.mended(layout.coordinates(arrays), rng)
        except ObservationError as error:
            raise IntegrityError(f"the model cannot be mended: {error}") from error
        for one in found.commanded:
            _log.warning("secagg: unlearned: %s", _in_words(one))
        return layout.moved_to(arrays, found.weights), found.commanded


def _in_words(one: Suspect) -> str:
    """Whom the pulls are of is not said: a suspect accuses nobody."""
    pairs = zip(one.features, one.signs, strict=True)
    values = ", ".join(f"{feature} {'large' if sign > 0 else 'small'}" for feature, sign in pairs)
    return f"features {values} commanded class {one.target}, score {one.score:.1f}"
