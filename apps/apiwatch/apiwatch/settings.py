"""What all sites of a federation have agreed on; its digest is bound into every round."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

from apiwatch.errors import ParameterError

__all__ = ["Settings", "require"]


def require(holds: bool, inequality: str, value: object) -> None:
    """Raise `ParameterError` with the inequality unless it holds."""
    if not holds:
        raise ParameterError(f"{inequality} must hold, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes of the tables, and the key of their hashes.

    cells: log2 of the counters, 8 … 24. slots: log2 of the contexts that are calibrated, 4 … 20.
    support: how many sites must have set a cell before it counts for the others. salt: 16 to 64
    bytes that outsiders do not know.
    """

    cells: int = 19
    slots: int = 13
    support: int = 1
    salt: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for name, least, most in (("cells", 8, 24), ("slots", 4, 20), ("support", 1, 1 << 16)):
            value = getattr(self, name)
            require(type(value) is int, f"type({name}) is int", value)
            require(least <= value <= most, f"{least} <= {name} <= {most}", value)
        require(type(self.salt) is bytes, "type(salt) is bytes", type(self.salt).__name__)
        require(16 <= len(self.salt) <= 64, "16 <= len(salt) <= 64", len(self.salt))

    @property
    def digest(self) -> bytes:
        """32 bytes that name these settings and the version of the features; the salt stays in."""
        text = f"apiwatch 2 cells={self.cells} slots={self.slots} support={self.support}"
        return blake2b(text.encode(), key=self.salt, digest_size=32).digest()
