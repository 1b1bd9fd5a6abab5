"""What both aggregators derive alike where statistics are opened."""

from __future__ import annotations

from secagg.primitives.digest import Label, digest
from secagg.wire import Table

__all__ = ["group_seed", "half_commitment", "nonce_commitment", "sketch_seed", "transcript"]


def nonce_commitment(context: bytes, nonce: bytes) -> bytes:
    """What binds the leader to its nonce before it sees the helper's."""
    return digest(Label.DRAWN, context, nonce)


def transcript(context: bytes, batch: Table, leader: bytes, helper: bytes) -> bytes:
    """What was agreed on before anything is opened: of whom, and both nonces.

    The context and a client name one report, as the helper takes no second one.
    """
    return digest(Label.SCREEN, context, batch.tobytes(), leader, helper)


def sketch_seed(screen: bytes) -> bytes:
    """The seed of the map."""
    return digest(Label.SKETCH_SEED, screen)


def group_seed(screen: bytes) -> bytes:
    """The seed of the groups: as late as that of the map."""
    return digest(Label.GROUPS, screen)


def half_commitment(screen: bytes, blind: bytes, half: bytes) -> bytes:
    """What binds the leader to its half of what is opened before it sees the helper's."""
    return digest(Label.HALF, screen, blind, half)
