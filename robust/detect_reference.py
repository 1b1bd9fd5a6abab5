"""Reference: agreement with the server's own update on its root set [Cao21].

Experimental. A root set of other labels than a client's makes an honest client look bad.

[Cao21]  Cao, Fang, Liu, Gong: FLTrust: Byzantine-robust Federated Learning via Trust
         Bootstrapping, NDSS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.features import unit_rows
from robust.observe import Sketches

__all__ = ["Reference"]


@dataclass(frozen=True, kw_only=True)
class Reference(Detector[Sketches]):
    """Cosine with `public.root`; suspicion is minus it. Figures, (n,): `cosine`.

    Abstains: NO_REFERENCE without a root update, or with one that is zero; NO_VARIATION where all
    rows are zero.
    """

    name: ClassVar[str] = "reference"
    sees: ClassVar[type[Sketches]] = Sketches

    def score(self, seen: Sketches) -> Scores | Abstained:
        """The cosine of every client."""
        root = seen.public.root
        if root is None or not root.any():
            return self.abstain(Reason.NO_REFERENCE)
        if not seen.rows.any():
            return self.abstain(Reason.NO_VARIATION)
        cosine = np.clip(unit_rows(seen.rows) @ unit_rows(root[None, :])[0], -1.0, 1.0)
        return Scores(
            detector=self.name,
            clients=seen.clients,
            suspicion=-cosine,
            figures={"cosine": cosine},
        )
