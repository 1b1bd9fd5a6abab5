"""A hash over what decides the results of a held-out grid, taken before it is run.

It covers the cases of the grid, and the sources of `robust`, of the federation, of the
statistics with the sketch and the quantization behind them, and of this package.

`freeze` writes it down once. From then on held-out runs are refused unless the sources still have
that hash, and a table of held-out results is refused unless every result has it. Versions of NumPy
and of scikit-learn are not covered; they can move last digits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import protocols
import robust
import secagg
from protocols.files import replace
from protocols.trial.grid import Grid
from secagg.errors import ParameterError

__all__ = ["freeze", "frozen", "require_frozen", "sources"]

_FORMAT = 1
_OF_PROTOCOLS = ("federation", "trial", "screening.py", "plan.py")
_OF_SECAGG = ("sketch.py", "quantize.py", "schemes/secagg_plus/verified/screen.py")
_LOOKS = {"tables.py", "results.py"}
"""What shows or stores results, and does not make them."""


def sources(grid: Grid) -> str:
    """SHA-256, in hex, over the sources and the cases of a grid."""
    total = hashlib.sha256()
    for name, part in _digests().items():
        total.update(f"{name} {part}\n".encode())
    for case in grid.cases:
        total.update(f"{case.key}\n".encode())
    return total.hexdigest()


def freeze(path: Path, grid: Grid) -> str:
    """Writes the hash of a held-out grid to a new file and returns it.

    Raises `ParameterError` where the file is there: what is frozen stays so; and for a grid that is
    not held out.
    """
    if not grid.held_out:
        raise ParameterError(f"only a grid that is held out is frozen, not {grid.name}")
    if path.exists():
        raise ParameterError(f"{path} is there: what is frozen stays so")
    found = sources(grid)
    document = {"format": _FORMAT, "sources": found, "files": _digests()}
    replace(path, json.dumps(document, indent=2).encode() + b"\n")
    return found


def frozen(path: Path) -> str:
    """The hash that `freeze` wrote. Raises `ParameterError` for any other file."""
    try:
        document = json.loads(path.read_bytes())
        found = document["sources"]
        good = document["format"] == _FORMAT and len(bytes.fromhex(found)) == 32
    except (ValueError, TypeError, KeyError):
        good = False
    if not good:
        raise ParameterError(f"{path}: not what freezing writes")
    return str(found)


def require_frozen(path: Path, grid: Grid) -> str:
    """The frozen hash; `ParameterError`, naming what changed, unless the sources still have it."""
    due = frozen(path)
    if sources(grid) != due:
        before = json.loads(path.read_bytes()).get("files", {})
        changed = [name for name, part in _digests().items() if before.get(name) != part]
        named = ", ".join(changed[:5]) or "the grid"
        raise ParameterError(f"the sources are not those of {path}: changed: {named}")
    return due


def _digests() -> Mapping[str, str]:
    """Name -> SHA-256 of every source that counts, in order of names."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _files()}


def _files() -> Iterator[tuple[str, Path]]:
    parts = [(robust, "."), *((protocols, part) for part in _OF_PROTOCOLS)]
    parts += [(secagg, part) for part in _OF_SECAGG]
    found = {}
    for package, part in parts:
        folder = Path(str(package.__file__)).parent
        chosen = folder / part
        for path in [chosen] if chosen.suffix == ".py" else chosen.rglob("*.py"):
            found[path.relative_to(folder.parent).as_posix()] = path
    for name, path in sorted(found.items()):
        if not (path.name in _LOOKS and path.parent.name == "trial"):
            yield name, path
