"""Tables of secagg_plus as they can be tampered with."""

from __future__ import annotations

from secagg.identity import SERVER, PartyId
from secagg.schemes.secagg_plus.messages import Advert
from secagg.testing.parties import Parties
from secagg.wire import Columns, Table

__all__ = ["LOW_ORDER", "Cells", "rows_of", "signed_advert", "table_of"]

Cells = dict[PartyId, dict[str, bytes]]
"""A table to be tampered with: its rows by party, their cells by name."""

LOW_ORDER = bytes(32)
"""The point zero: X25519 with any private key gives zero."""


def rows_of(table: Table) -> Cells:
    """The content of a table."""
    names = [name for name in table.rows.dtype.names or () if name != "peer"]
    cells: Cells = {peer: {} for peer in table.peers}
    for name in names:
        for peer, value in table.by_peer(name).items():
            cells[peer][name] = value
    return cells


def table_of(columns: Columns, cells: Cells) -> Table:
    """A table with this content."""
    return columns.table(
        {peer: tuple(row[name] for name in columns.sizes) for peer, row in cells.items()}
    )


def signed_advert(parties: Parties, client: PartyId, mask_key: bytes, share_key: bytes) -> bytes:
    """The signature of `client` on an advert with these keys."""
    advert = Advert(mask_key=mask_key, share_key=share_key)
    return parties.endpoint(client).seal(SERVER, advert)[-64:]
