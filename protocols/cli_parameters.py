"""`secagg params`: what each scheme makes of a cohort, and what a round costs one client."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from protocols.cli_shared import Json, print_json
from protocols.cost import client_cost, encrypted_cost
from protocols.plan import RoundPlan
from protocols.presets import two_aggregators
from protocols.screening import GroupScreen, SketchScreen
from secagg.errors import ParameterError
from secagg.parameters import corrupt_bound, dropout_bound
from secagg.quantize import NormClip, RangeClip
from secagg.scheme import Scheme, check_sizes
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief, SecAggPlusSemiHonest
from secagg.structure import Structure, structure_of

__all__ = ["params"]

_ROWS_OF_SKETCH = 256
_CLIP = NormClip(1.0)  # in units of itself: sizes and bounds do not depend on it

_HEADINGS = {
    "secagg_plus": "malicious server",
    "secagg_plus_semi_honest": "semi-honest server",
    "secagg_plus_brief": "two exchanges",
    "secagg_plus_verified": "screened",
    "secagg_plus_verified, groups": "screened, groups",
    "pine": "two aggregators",
    "pine, entries": "two aggregators, 0 or 1",
    "ckks-exact": "encrypted",
}
_BOUNDS = {
    "survivors": "fewest inputs\nin a sum",
    "honest_inputs": "honest ones\nat least",
    "opened": "numbers\nopened",
    "opened_of": "of so many\nclients",
}
_COSTS = {
    "messages": "messages",
    "vector": "bytes of\nthe update",
    "up": "bytes up",
    "down": "bytes\ndown",
    "bound": "bound of the\nnorm, units",
}
_RANGES = {
    "largest": "largest\nentry",
    "soundness": "a lie passes\nwith 2^-x, x =",
}
_MASKS = {
    "degree": "neighbours",
    "threshold": "shares\nneeded",
    "quorum": "consents\nneeded",
    "window": "window",
    "mask_keys": "mask\nkeys",
    "shares": "shares\ndealt",
}
_TABLES = {
    "What a round holds to": _BOUNDS,
    "A client's part": _COSTS,
    "Pairwise masks, of a client": _MASKS,
    "The range of each entry, proven": _RANGES,
}


def params(
    clients: Annotated[int, typer.Argument(metavar="N", help="Size of the cohort.")],
    *,
    corrupt: Annotated[float, typer.Option(help="Fraction that colludes with the server.")] = 0.2,
    drop: Annotated[float, typer.Option(help="Fraction that may drop out.")] = 0.3,
    length: Annotated[int, typer.Option(help="Coordinates of an update.")] = 100_000,
    width: Annotated[int, typer.Option(help="Bits of a coordinate.")] = 32,
    as_json: Json = False,
) -> None:
    """What the two fractions lead to in each scheme, and what a round costs one client."""
    check_sizes(clients, length + 1, width)
    columns = {
        name: _tried(column)
        for name, column in _columns(clients, corrupt, drop, length, width).items()
    }
    if all("impossible" in column for column in columns.values()):
        raise ParameterError(columns[SecAggPlus.name]["impossible"])
    if as_json:
        print_json(columns)
    else:
        _print(columns)


def _columns(
    clients: int, corrupt: float, drop: float, length: int, width: int
) -> Mapping[str, Callable[[], dict[str, Any]]]:
    """By name, what makes the figures of a scheme or raises `ParameterError`."""
    terms: dict[str, Any] = {"clients": clients, "corrupt": corrupt, "dropout": drop}

    def pairwise(kind: type[SecAggPlus | SecAggPlusBrief | SecAggPlusSemiHonest]) -> dict[str, Any]:
        return _masked(kind(**terms, length=length + 1, width=width))

    def of_plan(make: Callable[..., RoundPlan], **fields: Any) -> Scheme:
        return make(_template(length), **terms, clip=_CLIP, width=width, **fields).scheme

    def screened(screen: SketchScreen | GroupScreen) -> dict[str, Any]:
        return _masked(of_plan(RoundPlan.for_update, screen=screen))

    sketch = SketchScreen(rows=_ROWS_OF_SKETCH)
    return {
        "secagg_plus": lambda: pairwise(SecAggPlus),
        "secagg_plus_semi_honest": lambda: pairwise(SecAggPlusSemiHonest),
        "secagg_plus_brief": lambda: pairwise(SecAggPlusBrief),
        "secagg_plus_verified": lambda: screened(sketch),
        "secagg_plus_verified, groups": lambda: screened(_groups(clients, corrupt)),
        "pine": lambda: _shared(of_plan(two_aggregators)),
        "pine, entries": lambda: _ranged(clients, corrupt, drop, length),
        "ckks-exact": lambda: _encrypted(**terms, length=length + 1, width=width),
    }


def _template(length: int) -> Structure:
    return structure_of(np.broadcast_to(np.float64(0.0), (length,)))


def _groups(clients: int, corrupt: float) -> GroupScreen:
    """The smallest that hide each honest client."""
    return GroupScreen(rows=_ROWS_OF_SKETCH, size=corrupt_bound(clients, corrupt) + 2)


def _tried(column: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return column()
    except ParameterError as error:
        return {"impossible": str(error)}


def _masked(scheme: Any) -> dict[str, Any]:
    near = scheme.neighbourhood
    return {
        "degree": near.degree,
        "threshold": scheme.shares_needed,
        "quorum": scheme.quorum,
        "window": near.window,
        **_bounds(scheme),
        **dataclasses.asdict(client_cost(scheme)),
    }


def _shared(scheme: Any) -> dict[str, Any]:
    cost = client_cost(scheme)
    return {"bound": scheme.bound, **_bounds(scheme), **dataclasses.asdict(cost)}


def _ranged(clients: int, corrupt: float, dropout: float, length: int) -> dict[str, Any]:
    """Of vectors of 0 and 1, in the ring that they take."""
    terms: dict[str, Any] = {"clients": clients, "corrupt": corrupt, "dropout": dropout}
    plan = two_aggregators(_template(length), **terms, clip=RangeClip(1.0), fraction_bits=0)
    scheme: Any = plan.scheme
    figures = {"largest": scheme.entries.most, "soundness": math.floor(scheme.soundness_of_entries)}
    return {**figures, **_bounds(scheme), **dataclasses.asdict(client_cost(scheme))}


def _bounds(scheme: Scheme) -> dict[str, int]:
    return {
        "survivors": scheme.survivors,
        "honest_inputs": scheme.honest_inputs,
        "opened": scheme.opened,
        "opened_of": scheme.opened_of if scheme.opened else 0,
    }


def _encrypted(
    *, clients: int, corrupt: float, dropout: float, length: int, width: int
) -> dict[str, Any]:
    """Without the authority's keys, of which no size depends."""
    survivors = clients - dropout_bound(clients, dropout)
    honest = survivors - corrupt_bound(clients, corrupt)
    if honest < 2:
        raise ParameterError(f"survivors - corrupt >= 2 must hold, got {honest}")
    cost = dataclasses.asdict(encrypted_cost(clients, length, width))
    return {"survivors": survivors, "honest_inputs": honest, "opened": 0, "opened_of": 0, **cost}


def _print(columns: dict[str, dict[str, Any]]) -> None:
    console = Console()
    possible = {name: column for name, column in columns.items() if "impossible" not in column}
    for title, figures in _TABLES.items():
        console.print(_table(title, figures, possible))
    for name, column in columns.items():
        if "impossible" in column:
            console.print(f"{name}: {column['impossible']}", soft_wrap=True, highlight=False)


def _table(title: str, figures: dict[str, str], columns: dict[str, dict[str, Any]]) -> Table:
    """A row for each scheme that has one of the figures."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in figures.values():
        table.add_column(heading, justify="right")
    for name, column in columns.items():
        if figures.keys() & column.keys() - {"shares", "mask_keys"}:
            table.add_row(_HEADINGS[name], *(_count(column.get(key)) for key in figures))
    return table


def _count(value: int | None) -> str:
    return f"{value:,}" if value else "-"
