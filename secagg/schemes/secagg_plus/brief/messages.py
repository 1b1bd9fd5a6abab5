"""Messages of secagg_plus_brief beside `Masked`, `Survivors` and `Unmask` of secagg_plus."""

from __future__ import annotations

from secagg.primitives import seal
from secagg.schemes.secagg_plus.messages import SHARE_SIZE
from secagg.wire import Columns, Fixed, Message, Rows, Table, declare, field

__all__ = ["DEALERS", "PARCELS", "Deal", "Delivery"]

PARCELS = Columns(self_tag=16, key_tag=16, sealed=2 * SHARE_SIZE + seal.OVERHEAD)
DEALERS = Columns(mask_key=32, proof=64, manifest=32)


@declare(code=10, phase="shares")
class Deal(Message):
    """client -> server: a fresh mask key with a signature on it, a commitment to the self-mask
    seed, and one parcel for each invited client, the sender included.
    """

    mask_key: bytes = field(Fixed(32))
    proof: bytes = field(Fixed(64))
    commitment: bytes = field(Fixed(32))
    parcels: Table = field(Rows(PARCELS))


@declare(code=11, phase="masked")
class Delivery(Message):
    """server -> one client: who dealt, with their mask keys, the proofs, and digests of their
    `Deal`; and the parcels that they dealt to it.
    """

    members: Table = field(Rows(DEALERS))
    parcels: Table = field(Rows(PARCELS))
