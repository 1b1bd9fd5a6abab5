"""What the server adds to combinations so that the authority does not see them.

It is uniform modulo the plaintext prime in every slot but those that must be zero, and encrypted
like a client's vector; the server knows what it makes of the answer and takes that off.
"""

from __future__ import annotations

import numpy as np

from secagg.schemes.ckks.layout import Layout, Slots
from secagg.schemes.ckks.masks import add_masks

__all__ = ["blind"]


def blind(seed: bytes, count: int, layout: Layout) -> Slots:
    """(count, degree): the blinds of one client's combinations."""
    slots = np.zeros((count, layout.ring.keys.degree), "<u8")
    add_masks(slots, layout.ring.plain, plus=[seed])
    slots[:, layout.room - layout.zeros :] = 0
    return slots
