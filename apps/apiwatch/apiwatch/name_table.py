"""Names as a vector of integers, so that a sum of such vectors tells which names there are.

No list of names has to be agreed on, and nobody learns who brought one: a site adds each of its
names, as many times as it has examples, to four of 512 rows that a hash chooses. A row of the sum
that holds one name alone gives it away, with its number; taken out of its other rows, it leaves
more such rows, until all are empty [Goodrich11]. That the last row is empty proves that nothing but
these names was added.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from apiwatch.errors import ParameterError, RoundFailed
from apiwatch.settings import require

__all__ = ["LENGTH", "MOST", "MOST_EXAMPLES", "MOST_NAMES", "check_name", "entries", "names_in"]

MOST_NAMES = 64
"""In one sum; with so many, one table in 100,000 cannot be read, and another session draws anew."""
MOST_EXAMPLES = 1 << 20
"""Of one site in one sum."""
_PARTS, _ROWS = 4, 128
_LIMBS = 16  # of 16 bits
_CHECKS = 2
_COLUMNS = 1 + _LIMBS + _CHECKS
LENGTH = _PARTS * _ROWS * _COLUMNS
MOST = MOST_EXAMPLES << 16
"""What no integer of a site's table reaches."""
RESERVED = ("unknown", "anomaly", "structure")
_Integers = NDArray[np.int64]


def check_name(name: str) -> None:
    """Raise `ParameterError` for what cannot be the name of a class: others will print it."""
    size = len(name.encode("utf-8", "surrogatepass"))
    require(1 <= size <= 2 * _LIMBS, f"1 <= bytes of a name <= {2 * _LIMBS}", name)
    require(name.isprintable(), "names are printable", name)
    require(name not in RESERVED, f"name not in {RESERVED}", name)


def entries(examples: Mapping[str, int], key: bytes) -> _Integers:
    """(9728,) in [0, 2**36): the table of these names. key: of the hashes, all sites' the same.

    Raises `ParameterError` for a name that is none, or more than 64 names or 2**20 examples.
    """
    total = sum(examples.values())
    require(len(examples) <= MOST_NAMES, f"names <= {MOST_NAMES}", len(examples))
    require(total <= MOST_EXAMPLES, f"examples <= {MOST_EXAMPLES}", total)
    table = np.zeros((_PARTS * _ROWS, _COLUMNS), np.int64)
    for name, count in examples.items():
        check_name(name)
        require(count >= 1, "examples of a name >= 1", count)
        row, where = _row(name, key)
        table[where] += count * row
    return table.reshape(-1)


def names_in(total: _Integers, key: bytes) -> dict[str, int]:
    """The names in a sum of tables, ascending, and how many examples of each there are.

    Raises `RoundFailed` for a vector that is no such sum, or holds more than 64 names.
    """
    table, found = total.reshape(-1, _COLUMNS).copy(), dict[str, int]()
    while table.any():
        one = next((one for at in _candidates(table) if (one := _only(table, at, key))), None)
        if one is None or len(found) >= MOST_NAMES:
            raise RoundFailed(f"the sum of names is not one of {MOST_NAMES} names at most")
        name, count = one
        row, where = _row(name, key)
        table[where] -= count * row
        found[name] = found.get(name, 0) + count
    return dict(sorted(found.items()))


def _candidates(table: _Integers) -> list[int]:
    """Rows of which every column is a multiple of the first."""
    some = np.flatnonzero(table[:, 0] > 0)
    whole = (table[some] % table[some, :1] == 0).all(axis=1)
    found: list[int] = some[whole].tolist()
    return found


def _only(table: _Integers, at: int, key: bytes) -> tuple[str, int] | None:
    """The one name of a row, and how often it is in it."""
    count = int(table[at, 0])
    alone = table[at] // count
    limbs = alone[1 : 1 + _LIMBS]
    if limbs.min() < 0 or limbs.max() >= 1 << 16:
        return None
    try:
        name = limbs.astype("<u2").tobytes().rstrip(b"\0").decode()
        check_name(name)
    except (UnicodeDecodeError, ParameterError):
        return None
    row, where = _row(name, key)
    return (name, count) if at in where and np.array_equal(row, alone) else None


def _row(name: str, key: bytes) -> tuple[_Integers, _Integers]:
    """What one example of a name adds, and to which rows."""
    data = name.encode("utf-8", "surrogatepass")
    drawn = blake2b(data, digest_size=2 * (_PARTS + _CHECKS), key=key, person=b"apiwatch names")
    hashed = np.frombuffer(drawn.digest(), "<u2").astype(np.int64)
    limbs = np.frombuffer(data.ljust(2 * _LIMBS, b"\0"), "<u2").astype(np.int64)
    where = np.arange(_PARTS) * _ROWS + hashed[:_PARTS] % _ROWS
    return np.concatenate([[1], limbs, hashed[_PARTS:]]), where
