"""The key authority of the rounded variant: what leaves are integers, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secagg.primitives.ring import Words
from secagg.schemes.ckks.authority import Authority
from secagg.schemes.ckks.residues import Residues
from secagg.schemes.ckks.rounded.masks import add_masks

if TYPE_CHECKING:
    from secagg.schemes.ckks.rounded.params import EncryptedRounded

__all__ = ["RoundingAuthority"]


class RoundingAuthority(Authority):
    """Rounds what it decrypts: noise that depends on the key stays here [LiMicciancio21]."""

    _params: EncryptedRounded

    def _summed(self, residues: Residues, seeds: list[bytes]) -> Words | None:
        layout = self._params.layout
        add_masks(residues, layout.ring.keys, minus=seeds)
        reals = self._cipher.decrypt_reals(layout.ring, self._secret, residues)
        return layout.opened(reals, len(seeds))
