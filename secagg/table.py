"""Tables: rows of fixed size, one per party, as they travel and as numpy sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["IDS", "Columns", "Table", "ids"]


class Columns:
    """The columns of a table: `peer` (u32), then named byte strings of fixed size."""

    def __init__(self, **sizes: int) -> None:
        self.sizes: Mapping[str, int] = sizes
        fields = [("peer", "<u4"), *((name, np.uint8, (size,)) for name, size in sizes.items())]
        self.dtype = np.dtype(fields)

    def table(self, rows: Mapping[int, tuple[bytes, ...]]) -> Table:
        """A table with one row per key of `rows`, ascending; `ValueError` for a cell of wrong size.

        A wrong size would shift every later row.
        """
        due = list(self.sizes.values())
        if any([len(cell) for cell in cells] != due for cells in rows.values()):
            raise ValueError(f"the cells of a row have {due} bytes")
        body = b"".join(peer.to_bytes(4, "little") + b"".join(rows[peer]) for peer in sorted(rows))
        return Table(np.frombuffer(body, self.dtype))

    def __repr__(self) -> str:
        return f"Columns({', '.join(f'{name}={size}' for name, size in self.sizes.items())})"


class Table:
    """Rows of fixed size, strictly ascending by `peer`; immutable. Its repr shows no content."""

    __slots__ = ("rows",)

    def __init__(self, rows: NDArray[Any]) -> None:
        self.rows = rows
        self.rows.flags.writeable = False

    @property
    def peers(self) -> list[int]:
        """The parties that have a row, ascending."""
        peers: list[int] = self.rows["peer"].tolist()
        return peers

    def column(self, name: str) -> list[bytes]:
        """One byte string per row, in row order."""
        data = self.rows[name].tobytes()
        size = self.rows.dtype[name].itemsize
        return [data[start : start + size] for start in range(0, len(data), size)]

    def by_peer(self, name: str) -> dict[int, bytes]:
        """One byte string per party."""
        return dict(zip(self.peers, self.column(name), strict=True))

    def tobytes(self) -> bytes:
        """The rows as they travel, without their count."""
        return self.rows.tobytes()

    def __len__(self) -> int:
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Table)
            and self.rows.dtype == other.rows.dtype
            and self.rows.tobytes() == other.rows.tobytes()
        )

    def __hash__(self) -> int:
        return hash(self.rows.tobytes())

    def __repr__(self) -> str:
        return f"Table({len(self)} rows)"


IDS = Columns()
"""The columns of a plain set of parties."""


def ids(parties: Iterable[int]) -> Table:
    """A table that is just a set of parties."""
    return IDS.table(dict.fromkeys(parties, ()))
