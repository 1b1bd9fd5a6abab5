"""Hypothesis strategies for everything the library declares: one declaration gives the strategy.

`records` reads the codecs of a message or state class; the others draw whole situations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from secagg.errors import ParameterError
from secagg.identity import BROADCAST, SERVER, PartyId
from secagg.primitives.ring import Words, word
from secagg.scheme import Floors, Scheme
from secagg.testing.faults import (
    Corrupt,
    Delay,
    Drop,
    Duplicate,
    Fault,
    Late,
    LinkFault,
    Moment,
    Reorder,
    Tardy,
    Truncate,
    Vanish,
)
from secagg.testing.faults import Crash as CrashFault
from secagg.wire import (
    Array,
    Blob,
    Cells,
    Codec,
    Columns,
    Fixed,
    Items,
    Joined,
    Limits,
    Map,
    Message,
    One,
    Packed,
    Record,
    Rows,
    Table,
    Uint,
)

__all__ = [
    "crashes",
    "disturbances",
    "dropouts",
    "inputs",
    "records",
    "schedules",
    "schemes",
    "tables",
    "twisted",
    "vectors",
]

MOST_ROWS = 6
MOST_BYTES = 64


def records(kind: type[Record], limits: Limits) -> SearchStrategy[Any]:
    """Any record of `kind` that `limits` allow; lists stay short."""
    return st.builds(kind, **{name: _values(codec, limits) for name, codec in kind.codecs()})


def tables(columns: Columns, most: int = MOST_ROWS) -> SearchStrategy[Table]:
    """Any table of at most `most` rows."""
    cells = st.tuples(*(st.binary(min_size=n, max_size=n) for n in columns.sizes.values()))
    rows = st.dictionaries(st.integers(0, BROADCAST), cells, max_size=min(most, MOST_ROWS))
    return rows.map(columns.table)


def schemes(
    make: Callable[..., Scheme], *, most_clients: int = 7, **fields: SearchStrategy[Any]
) -> SearchStrategy[Scheme]:
    """Any parameters that `make` and a client's default floors accept.

    `fields` are strategies for the scheme's own parameters.
    """

    @st.composite
    def drawn(draw: st.DrawFn) -> Scheme:
        sizes = {
            "clients": draw(st.integers(Floors().clients, most_clients)),
            "length": draw(st.integers(1, 40)),
            "width": draw(st.integers(2, 64)),
        }
        try:
            return make(**sizes, **{name: draw(values) for name, values in fields.items()})
        except ParameterError:
            return reject()

    return drawn()


def vectors(length: int, width: int) -> SearchStrategy[Words]:
    """Any ring vector; the least and the greatest residue are drawn often."""
    most = (1 << width) - 1
    residue = st.integers(0, most) | st.sampled_from([0, 1, most, most // 2, most // 2 + 1])
    rows = st.lists(residue, min_size=length, max_size=length)
    return rows.map(lambda values: np.array(values, word(width)))


def inputs(scheme: Scheme, parties: Sequence[PartyId]) -> SearchStrategy[dict[PartyId, Words]]:
    """An input for each of `parties`."""
    vector = vectors(scheme.length, scheme.width)
    return st.fixed_dictionaries(dict.fromkeys(parties, vector))


def twisted(data: bytes) -> SearchStrategy[bytes]:
    """`data` with bytes changed, cut out, or put in."""

    def splice(cut: tuple[int, int, bytes]) -> bytes:
        start, size, middle = cut
        return data[:start] + middle + data[start + size :]

    at = st.integers(0, len(data))
    return st.tuples(at, st.integers(0, 8), st.binary(max_size=8)).map(splice)


def dropouts(
    scheme: Scheme, parties: Sequence[PartyId], most: int | None = None
) -> SearchStrategy[list[Vanish]]:
    """Up to `most` clients (all that the scheme survives, if None), each gone at some message."""
    limit = scheme.clients - scheme.survivors if most is None else most
    kinds = st.sampled_from(scheme.server_messages)
    gone = st.dictionaries(st.sampled_from(list(parties)), kinds, max_size=limit)
    return gone.map(lambda who: [Vanish(party, kind) for party, kind in who.items()])


def crashes(parties: Sequence[PartyId]) -> SearchStrategy[list[CrashFault]]:
    """Parties that crash and resume, at some moment of each of their steps."""
    moments = st.sampled_from(Moment)
    who = st.dictionaries(st.sampled_from(list(parties)), moments, max_size=len(parties))
    return who.map(lambda found: [CrashFault(p, moment=moment) for p, moment in found.items()])


def disturbances(scheme: Scheme) -> SearchStrategy[list[LinkFault]]:
    """Links that lose, change, repeat and hold back frames, each now and then."""
    kinds: list[type[Message] | None] = [None, *scheme.server_messages, *scheme.client_messages]
    faults: list[Callable[..., LinkFault]] = [
        Drop, Delay, Duplicate, Reorder, Corrupt, Truncate, Late,
    ]  # fmt: skip
    one = st.builds(
        lambda fault, message, chance: fault(message=message, chance=chance),
        st.sampled_from(faults),
        st.sampled_from(kinds),
        st.sampled_from([0.05, 0.2, 1.0]),
    )
    return st.lists(one, max_size=3)


def schedules(scheme: Scheme, parties: Sequence[PartyId]) -> SearchStrategy[list[Fault]]:
    """Whatever may befall a round: drop-outs, crashes, late inputs and bad links at once."""
    everybody = [SERVER, *parties]
    tardy = st.lists(st.sampled_from(list(parties)), unique=True, max_size=2)
    return st.tuples(
        dropouts(scheme, parties, len(parties)),
        crashes(everybody),
        disturbances(scheme),
        tardy.map(lambda slow: [Tardy(party) for party in slow]),
    ).map(lambda groups: [fault for group in groups for fault in group])


def _values(codec: Codec[Any], limits: Limits) -> SearchStrategy[Any]:
    for kind, strategy in _STRATEGIES.items():
        if isinstance(codec, kind):
            return strategy(codec, limits)
    raise TypeError(f"no strategy for {type(codec).__name__}")


def _exactly(size: int) -> SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


def _padded(size: int) -> SearchStrategy[bytes]:
    """`size` bytes, of which the first few are drawn: ciphertexts are longer than any draw."""
    few = min(size, 16 * MOST_BYTES)
    return _exactly(few).map(lambda drawn: drawn.ljust(size, b"\0"))


def _arrays(most: int) -> SearchStrategy[Words]:
    return st.sampled_from([16, 32, 64]).flatmap(
        lambda width: st.lists(st.integers(0, (1 << width) - 1), max_size=8 * most // width).map(
            lambda values: np.array(values, word(width))
        )
    )


_STRATEGIES: dict[type[Codec[Any]], Callable[[Any, Limits], SearchStrategy[Any]]] = {
    Uint: lambda codec, _: st.integers(0, (1 << 8 * codec.size) - 1),
    Fixed: lambda codec, _: _exactly(codec.size),
    Packed: lambda _, limits: _padded(limits.vector),
    Blob: lambda _, limits: st.binary(max_size=min(limits.blob, MOST_BYTES)),
    Array: lambda _, limits: st.none() | _arrays(min(limits.blob, MOST_BYTES)),
    Rows: lambda codec, limits: tables(
        codec.columns, limits.near if codec.near else limits.parties
    ),
    Cells: lambda codec, limits: tables(
        Columns(value=limits.cell), limits.near if codec.near else limits.parties
    ),
    Items: lambda codec, limits: st.lists(records(codec.record, limits), max_size=3).map(tuple),
    Joined: lambda codec, _: st.lists(_exactly(codec.size), max_size=3).map(b"".join),
    One: lambda codec, limits: records(codec.record, limits),
    Map: lambda codec, limits: st.dictionaries(
        st.integers(0, BROADCAST), _values(codec.value, limits), max_size=min(limits.parties, 3)
    ),
}
