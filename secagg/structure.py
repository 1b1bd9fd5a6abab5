"""Trees of arrays <-> one float64 vector, and the public description that takes it back.

`flatten` lays the leaves of a nested tree end to end; the `Structure` it returns holds shapes,
dtypes and keys and no value, so it may be printed, compared and hashed into a round's context.
What cannot be averaged is refused by the path of its leaf, such as `['layer1'].weight[0]`, and
never by its value.

Dicts keep their order, and it is part of the structure: clients whose digests agree therefore agree
on the meaning of every coordinate.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg.errors import InputRefused, IntegrityError
from secagg.primitives.digest import Label, digest

__all__ = ["Leaf", "Structure", "flatten", "structure_of"]

# Every integer up to here, and not the next one, is a float64.
_EXACT = 1 << 53
_BEYOND = "an integer beyond +-2**53 has no exact float64"
# Deeper trees are refused by name: without a limit they would end in a RecursionError.
_DEPTH = 100

_Take = Callable[[int], NDArray[np.float64]]
_Cast = tuple[NDArray[Any], NDArray[np.bool_]]  # the values in their dtype, and which are lost


@dataclass(frozen=True)
class Leaf:
    """One row of `Structure.describe`: coordinates [start, start + size) of the vector.

    `dtype` is numpy's name with its byte order, such as `float32` or `>i2`; Python's own scalars
    are `python float` and `python int`.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    size: int


@dataclass(frozen=True, repr=False)
class Structure:
    """What a tree looks like, without its values: public, hashable, comparable.

    `==` compares everything, namedtuple classes and byte order included. Parties on different
    machines compare `digest`.
    """

    _root: _Node

    @cached_property
    def size(self) -> int:
        """d, the number of coordinates."""
        return sum(leaf.size for leaf in self.describe())

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that differ whenever two trees differ in nesting, keys, order, shape or dtype.

        Byte order and the module of a namedtuple are left out: they say where a client runs, not
        what it trains.
        """
        return digest(Label.STRUCTURE, *self._root.canonical())

    def describe(self) -> tuple[Leaf, ...]:
        """The leaves in the order of the vector."""
        return self._leaves

    def restore(self, vector: NDArray[np.float64]) -> Any:
        """The tree whose coordinates are `vector`, float64 (d,), in arrays of its own.

        Integer leaves are rounded half to even, float16 and float32 leaves to nearest.

        Raises `InputRefused` for a vector of another shape or dtype, and `IntegrityError` where a
        value is not finite or its leaf's dtype cannot hold it: an average of values that fit also
        fits, so the vector is not one. Noise may leave the range; noised leaves should be floats.
        """
        if not isinstance(vector, np.ndarray) or vector.dtype != np.float64:
            raise InputRefused("the vector to restore is not a float64 array")
        if vector.shape != (self.size,):
            raise InputRefused(f"the vector has shape {vector.shape}, not ({self.size},)")
        if (at := _first(~np.isfinite(vector))) is not None:
            raise IntegrityError(f"{self._where(at)}: not finite")
        return self._root.build(_taker(vector), "")

    @cached_property
    def _leaves(self) -> tuple[Leaf, ...]:
        rows: list[Leaf] = []
        start = 0
        for path, leaf in self._root.leaves(""):
            rows.append(Leaf(path or "(root)", leaf.shape, leaf.label, start, leaf.size))
            start += leaf.size
        return tuple(rows)

    def _where(self, position: int) -> str:
        leaf = next(leaf for leaf in self.describe() if position < leaf.start + leaf.size)
        return _locate(leaf.path, position - leaf.start, leaf.shape)

    def __repr__(self) -> str:
        leaves, short = len(self.describe()), self.digest.hex()[:16]
        return f"<Structure size={self.size} leaves={leaves} digest={short}…>"


def structure_of(tree: Any) -> Structure:
    """The structure of nested arrays, without their values. Raises as `flatten` does."""
    return Structure(_visit(tree, "", [], []))


def flatten(tree: Any) -> tuple[NDArray[np.float64], Structure]:
    """The coordinates of `tree`, float64 (d,), and the structure that restores them.

    A tree is a dict or OrderedDict with str or int keys, a list, a tuple, a namedtuple, None (no
    coordinate), or a leaf: a numpy array or scalar of float16, float32, float64 or any integer
    dtype, a Python float, a Python int. The vector is a copy; arrays may be strided or of either
    byte order.

    Raises `InputRefused` naming the path, and for a value that is not finite or an integer beyond
    +-2**53 also its index.
    """
    leaves: list[NDArray[Any]] = []
    structure = Structure(_visit(tree, "", leaves, []))
    vector = np.empty(structure.size, np.float64)
    with np.errstate(invalid="ignore"):  # a signalling NaN is refused below, with its position
        for row, array in zip(structure.describe(), leaves, strict=True):
            vector[row.start : row.start + row.size].reshape(row.shape)[...] = array
    if (at := _first(~np.isfinite(vector))) is not None:
        raise InputRefused(f"{structure._where(at)}: not finite")
    return vector, structure


@dataclass(frozen=True)
class _Array:
    """A leaf of numpy; `dtype` is numpy's `str`, so that equal dtypes are equal text."""

    dtype: str
    shape: tuple[int, ...]
    tag: ClassVar[bytes] = b"array"

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def label(self) -> str:
        dtype = np.dtype(self.dtype)
        return dtype.name if dtype.isnative else dtype.str

    def leaves(self, path: str) -> Iterator[tuple[str, _Array]]:
        yield path, self

    def canonical(self) -> Iterator[bytes]:
        yield self.tag
        yield np.dtype(self.dtype).name.encode()
        yield ",".join(map(str, self.shape)).encode()

    def build(self, take: _Take, path: str) -> Any:
        dtype = np.dtype(self.dtype)
        to_dtype = _to_float if dtype.kind == "f" else _to_integer
        cast, lost = to_dtype(take(self.size), dtype)
        if (at := _first(lost)) is not None:
            where = _locate(path, at, self.shape)
            raise IntegrityError(f"{where}: {self.label} cannot hold the value")
        return self.finish(cast.reshape(self.shape))

    def finish(self, array: NDArray[Any]) -> Any:
        return array


class _NumpyScalar(_Array):
    tag = b"numpy scalar"

    def finish(self, array: NDArray[Any]) -> Any:
        return array[()]


class _PythonScalar(_Array):
    """A Python float or int. It travels as float64 or int64, which hold all that is accepted."""

    tag = b"python scalar"

    @property
    def label(self) -> str:
        return "python float" if np.dtype(self.dtype).kind == "f" else "python int"

    def finish(self, array: NDArray[Any]) -> Any:
        return array.item()


@dataclass(frozen=True)
class _List:
    """A branch. Subclasses say how a path names their children and how to put them together."""

    children: tuple[_Node, ...]
    tag: ClassVar[bytes] = b"list"

    def steps(self) -> Iterable[str]:
        return _steps("[{!r}]", range(len(self.children)))

    def names(self) -> Iterable[bytes]:
        """What the digest covers besides the children."""
        return ()

    def assemble(self, children: list[Any]) -> Any:
        return children

    def leaves(self, path: str) -> Iterator[tuple[str, _Array]]:
        for step, child in zip(self.steps(), self.children, strict=True):
            yield from child.leaves(path + step)

    def canonical(self) -> Iterator[bytes]:
        # With both counts the list of parts is prefix-free, hence injective.
        names = list(self.names())
        yield from (self.tag, b"%d %d" % (len(names), len(self.children)), *names)
        for child in self.children:
            yield from child.canonical()

    def build(self, take: _Take, path: str) -> Any:
        pairs = zip(self.steps(), self.children, strict=True)
        return self.assemble([child.build(take, path + step) for step, child in pairs])


class _Tuple(_List):
    tag = b"tuple"

    def assemble(self, children: list[Any]) -> Any:
        return tuple(children)


class _Nothing(_List):
    tag = b"none"

    def assemble(self, children: list[Any]) -> Any:
        return None


@dataclass(frozen=True)
class _NamedTuple(_List):
    cls: type[Any]
    tag = b"namedtuple"

    def steps(self) -> Iterable[str]:
        return _steps(".{}", self.cls._fields)

    def names(self) -> Iterable[bytes]:
        return (text.encode() for text in (self.cls.__name__, *self.cls._fields))

    def assemble(self, children: list[Any]) -> Any:
        return self.cls._make(children)


@dataclass(frozen=True)
class _Dict(_List):
    keys: tuple[str | int, ...]
    cls: type[dict[Any, Any]]
    tag = b"dict"

    def steps(self) -> Iterable[str]:
        return _steps("[{!r}]", self.keys)

    def names(self) -> Iterable[bytes]:
        # repr tells 1 from '1'; whether the dict is an OrderedDict changes no coordinate.
        return (repr(key).encode() for key in self.keys)

    def assemble(self, children: list[Any]) -> Any:
        return self.cls(zip(self.keys, children, strict=True))


_Node = _Array | _List


def _visit(tree: Any, path: str, leaves: list[NDArray[Any]], above: list[Any]) -> _Node:
    """The node of `tree`; its arrays are appended to `leaves`. `above` holds its ancestors."""
    if isinstance(tree, np.ndarray | np.generic) or type(tree) in (bool, int, float):
        return _leaf(tree, path, leaves)
    if any(tree is ancestor for ancestor in above):
        raise InputRefused(f"{_at(path)}: the tree contains itself")
    if len(above) >= _DEPTH:
        raise InputRefused(f"{_at(path)}: nested deeper than {_DEPTH} levels")
    node, steps, items = _open(tree, path)
    inner = [*above, tree]
    pairs = zip(steps, items, strict=True)
    return node(tuple(_visit(item, path + step, leaves, inner) for step, item in pairs))


_Opened = tuple[Callable[[tuple[_Node, ...]], _Node], Iterable[str], Iterable[Any]]


def _open(tree: Any, path: str) -> _Opened:
    """How to make the node of a branch from its children, their steps, and the items."""
    kind = type(tree)
    if tree is None:
        return _Nothing, (), ()
    if kind is list or kind is tuple:
        return (_List if kind is list else _Tuple), _steps("[{!r}]", range(len(tree))), tree
    if kind is dict or kind is OrderedDict:
        keys = _keys(tree, path)
        return partial(_Dict, keys=keys, cls=kind), _steps("[{!r}]", keys), tree.values()
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return partial(_NamedTuple, cls=kind), _steps(".{}", kind._fields), tree
    raise InputRefused(f"{_at(path)}: {_unknown(kind)}")


def _keys(tree: dict[Any, Any], path: str) -> tuple[str | int, ...]:
    for key in tree:
        if type(key) not in (str, int):
            raise InputRefused(f"{_at(path)}: a key of type {type(key).__name__}, not str or int")
    return tuple(tree)


def _unknown(kind: type[Any]) -> str:
    if any((base.__module__, base.__name__) == ("torch", "Tensor") for base in kind.__mro__):
        return "a torch tensor; convert with secagg.structure_torch.from_state_dict"
    hint = "; numpy.asarray makes it a leaf" if hasattr(kind, "__array__") else ""
    return f"type {kind.__name__} has no place in a tree{hint}"


def _leaf(tree: Any, path: str, leaves: list[NDArray[Any]]) -> _Array:
    if type(tree) is int and not -_EXACT <= tree <= _EXACT:
        raise InputRefused(f"{_at(path)}: {_BEYOND}")
    if isinstance(tree, np.ndarray) and type(tree) is not np.ndarray:
        raise InputRefused(f"{_at(path)}: {type(tree).__name__} is not a plain numpy.ndarray")
    array = np.asarray(tree)
    _require_number(array, path)
    leaves.append(array)
    return _kind_of(tree)(array.dtype.str, array.shape)


def _kind_of(tree: Any) -> type[_Array]:
    if isinstance(tree, np.generic):  # first: numpy.float64 is a Python float as well
        return _NumpyScalar
    return _Array if isinstance(tree, np.ndarray) else _PythonScalar


def _require_number(array: NDArray[Any], path: str) -> None:
    dtype = array.dtype
    if dtype.kind not in "fiu" or (dtype.kind == "f" and dtype.itemsize > 8):
        reason = "cannot be aggregated; float16, float32, float64 and the integers can"
        raise InputRefused(f"{_at(path)}: dtype {dtype} {reason}")
    if dtype.kind == "f" or dtype.itemsize < 8:
        return
    if (at := _first(((array > _EXACT) | (array < -_EXACT)).reshape(-1))) is not None:
        raise InputRefused(f"{_locate(path, at, array.shape)}: {_BEYOND}")


def _to_float(part: NDArray[np.float64], dtype: np.dtype[Any]) -> _Cast:
    with np.errstate(over="ignore", under="ignore"):
        cast = part.astype(dtype)
    return cast, ~np.isfinite(cast)


def _to_integer(part: NDArray[np.float64], dtype: np.dtype[Any]) -> _Cast:
    whole, limits = np.rint(part), np.iinfo(dtype)
    # Both limits are zero or a power of two, hence exact; max itself need not be a float64.
    lost = (whole < float(limits.min)) | (whole >= float(int(limits.max) + 1))
    with np.errstate(invalid="ignore"):
        return whole.astype(dtype), lost


def _taker(vector: NDArray[np.float64]) -> _Take:
    """A function that returns the next k coordinates of `vector` at each call."""
    used = 0

    def take(count: int) -> NDArray[np.float64]:
        nonlocal used
        used += count
        return vector[used - count : used]

    return take


def _first(mask: NDArray[np.bool_]) -> int | None:
    return int(np.argmax(mask)) if mask.any() else None


def _steps(shape: str, keys: Iterable[str | int]) -> Iterator[str]:
    return (shape.format(key) for key in keys)


def _at(path: str) -> str:
    return path or "(root)"


def _locate(path: str, position: int, shape: tuple[int, ...]) -> str:
    """`path`, and the index of its element number `position` unless it is a scalar."""
    index = tuple(int(i) for i in np.unravel_index(position, shape))
    return f"{_at(path)} at index {index}" if index else _at(path)
