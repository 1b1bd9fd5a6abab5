"""Tables of runs: what each attack did to each method, and whether the targets are met.

All figures are means over seeds (and over data sets, in summary lines). Detection is of `ours`, and
where the column says so of `ours+root`:

    caught    share of the attackers that were left out of most of the last five rounds
    accused   the same share of the honest clients
    ever      share of the honest clients that were left out of at least one round

A backdoor is measured by the final success of its trigger, everything else by the final accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from protocols.trial.attacks import attack_names
from protocols.trial.grid import Grid, dataless_names
from protocols.trial.methods import METHODS
from protocols.trial.trial import NO_ATTACK, Case, Run

__all__ = ["Line", "Sheet", "markdown", "rendered", "sheets", "summary"]

_OURS, _ROOTED, _MENDED = "ours", "ours+root", "ours+root+mending"
_PEERS = ("krum", "multi-krum", "fltrust", "flame")
_SHARE = 0.2
_PADDING = 3  # between two columns
_WORKS, _KEPT_OUT = 0.4, 0.05
_PUBLISHED = {0.1, 0.3}
_BEST_F1 = 0.97
_NEAR = 0.01
"""Successes this near to the lowest count as lowest, if at most half of that without a defense; and
accuracies this near to the best peer's as no worse."""

_CLOSE = 0.02


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One table: `header` and `rows` have as many cells; the first is a name."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the summary. met: whether the target is; None where there is no target."""

    text: str
    met: bool | None = None


def sheets(runs: Sequence[Run]) -> list[Sheet]:
    """One for each data set and partition, then one for shares of free-riders, and one for
    unlearning and its peers.
    """
    usual = [one for one in runs if one.case.share in (0.0, _SHARE)]
    groups = sorted({_group(one.case) for one in usual})
    found = [_sheet([one for one in usual if _group(one.case) == group]) for group in groups]
    riders = [one for one in runs if _is_dataless(one) and one.case.method == _OURS]
    for clients in sorted({one.case.clients for one in riders}):
        shares = [one for one in riders if one.case.clients == clients]
        if len({one.case.share for one in shares}) > 1:
            found.append(_shares_sheet(shares))
    return [*found, *_peers_sheet(usual)]


def summary(runs: Sequence[Run]) -> list[Line]:
    """The targets, and whether they are met."""
    ours = [one for one in runs if one.case.method == _OURS]
    riders = [one for one in ours if _is_dataless(one)]
    return [
        *_riders_line([one for one in riders if one.case.share == _SHARE], 0.99),
        *_riders_line([one for one in riders if one.case.share == 0.6], 0.95),
        *_f1_line([one for one in riders if one.case.share in _PUBLISHED]),
        *(line for name in (_OURS, _ROOTED, _MENDED) for line in _lines_of(name, runs)),
        *_short_line(ours),
    ]


def _lines_of(name: str, runs: Sequence[Run]) -> list[Line]:
    mine = [one for one in runs if one.case.method == name]
    return [
        *_honest_line(name, [one for one in mine if one.case.attack == NO_ATTACK], "no attack"),
        *_honest_line(name, [one for one in mine if one.case.share == _SHARE], "20 % attackers"),
        *_honest_line(name, [one for one in mine if one.case.share == 0.6], "60 % free-riders"),
        *_poison_line(name, runs),
        *_backdoor_line(name, runs),
        *_peers_line(name, runs),
    ]


def markdown(grid: Grid, runs: Sequence[Run], notes: Iterable[str] = ()) -> str:
    """All of it as one page."""
    parts = [f"# Detectors in the loop: grid {grid.name}", *notes]
    parts += ["\n".join(f"- {_mark(line)}{line.text}" for line in summary(runs))]
    for sheet in sheets(runs):
        rows = [sheet.header, ("---", *("---:" for _ in sheet.header[1:])), *sheet.rows]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        parts.append(f"## {sheet.title}\n\n{table}")
    return "\n\n".join(parts) + "\n"


def rendered(runs: Sequence[Run], width: int = 100) -> RenderableType:
    """All of it for a terminal of so many columns: a table too wide for it is cut into several."""
    parts: list[RenderableType] = []
    for sheet in sheets(runs):
        parts.append(Text(sheet.title, "bold"))
        for columns in _pieces(sheet, width):
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            for at in columns:
                table.add_column(sheet.header[at], justify="right" if at else "left", no_wrap=True)
            for row in sheet.rows:
                table.add_row(*(row[at] for at in columns))
            parts.append(table)
    parts += [Text(_mark(line) + line.text, _STYLES[line.met]) for line in summary(runs)]
    return Group(*parts)


def _pieces(sheet: Sheet, width: int) -> list[list[int]]:
    """Columns of each part of a table; the first column, of names, is in all of them."""
    rows = (sheet.header, *sheet.rows)
    sizes = [max(len(row[at]) for row in rows) + _PADDING for at in range(len(sheet.header))]
    pieces, room = [[0]], width - sizes[0]
    for at, size in enumerate(sizes[1:], 1):
        if size > room and len(pieces[-1]) > 1:
            pieces.append([0])
            room = width - sizes[0]
        pieces[-1].append(at)
        room -= size
    return pieces


_STYLES = {True: "green", False: "bold red", None: "dim"}


def _mark(line: Line) -> str:
    return {True: "✓ ", False: "✗ ", None: ""}[line.met]


def _group(case: Case) -> tuple[str, float, int]:
    """What runs of one sheet have in common; IID comes last."""
    return case.data, -case.alpha, case.clients


def _is_dataless(one: Run) -> bool:
    return one.case.attack in dataless_names()


def _sheet(runs: Sequence[Run]) -> Sheet:
    first = runs[0].case
    names = [one.name for one in METHODS if any(run.case.method == one.name for run in runs)]
    order = [one for one in (NO_ATTACK, *attack_names()) if any(r.case.attack == one for r in runs)]
    seeds = len({one.case.seed for one in runs})
    return Sheet(
        title=f"{first.data}, {first.partition}, {first.clients} clients, {first.rounds} rounds, "
        f"{seeds} seed{'s' if seeds > 1 else ''}: accuracy, or for bd_ success of the backdoor",
        header=("attack", *(title for _, title in _columns(names)), *names),
        rows=tuple(
            _row(attack, [one for one in runs if one.case.attack == attack], names)
            for attack in order
        ),
    )


def _row(attack: str, runs: Sequence[Run], names: Sequence[str]) -> tuple[str, ...]:
    of = {name: [one for one in runs if one.case.method == name] for name in names}
    figures = (
        "-" if title.startswith("caught") and attack == NO_ATTACK else _mean(of[name], part)
        for (name, part), title in _columns(names)
    )
    return (attack, *figures, *(_mean(of[name], _effect) for name in names))


def _columns(names: Sequence[str]) -> list[tuple[tuple[str, Callable[[Run], float]], str]]:
    """(method, figure), and how the column of it is headed."""
    parts: dict[str, Callable[[Run], float]] = {
        "caught": lambda one: one.detection[0],
        "accused": lambda one: one.detection[1],
        "ever": _wronged,
    }
    found = [((_OURS, part), title) for title, part in parts.items() if _OURS in names]
    root = [((_ROOTED, part), f"{title}, root") for title, part in parts.items()]
    return found + (root if _ROOTED in names else [])


def _shares_sheet(runs: Sequence[Run]) -> Sheet:
    shares = sorted({one.case.share for one in runs})
    found = []
    for attack in (name for name in dataless_names() if name in {run.case.attack for run in runs}):
        cells = []
        for share in shares:
            part = [one for one in runs if (one.case.attack, one.case.share) == (attack, share)]
            accused = _mean(part, _wronged, digits=3)
            cells.append(f"{_mean(part, lambda one: one.by_tenth, digits=3)} / {accused}")
        found.append((attack, *cells))
    return Sheet(
        title=f"Free-riders without data, by their share of {runs[0].case.clients} clients: "
        "caught in round 10 / honest ever accused",
        header=("attack", *(f"{share:.0%}" for share in shares)),
        rows=tuple(found),
    )


def _peers_sheet(runs: Sequence[Run]) -> list[Sheet]:
    """Backdoors one by one: a row for each partition, seed and data set."""
    cells: dict[tuple[float, int, str], dict[str, dict[str, Run]]] = {}
    for one in runs:
        cell = cells.setdefault((-one.case.alpha, one.case.seed, one.case.data), {})
        cell.setdefault(one.case.attack, {})[one.case.method] = one
    rows = [row for _, cell in sorted(cells.items()) for row in _duels(cell)]
    if not rows:
        return []
    return [
        Sheet(
            title=f"{_MENDED} against {', '.join(_PEERS)}: success of backdoors one by one; most "
            f"honest clients ever excluded; accuracy of mean, {_MENDED} and krum",
            header=(
                *("labels, seed, set", "backdoors", "mean > 0.5", f"<= {_NEAR:g}"),
                *("no peer lower", f"by over {_CLOSE:g}", "lower than each", "krum at 0"),
                *("largest", "ever", "accuracy, no attack", "accuracy, attacked"),
            ),
            rows=tuple(rows),
        )
    ]


def _duels(cell: dict[str, dict[str, Run]]) -> Iterator[tuple[str, ...]]:
    """Its row, if peers were run on it. cell: attack -> method -> run."""
    everybody = ("mean", _MENDED, *_PEERS)
    whole = {attack: of for attack, of in cell.items() if of.keys() >= set(everybody)}
    met = [of for attack, of in whole.items() if attack.startswith("bd_")]
    if not met:
        return
    ends = {name: [_effect(of[name]) for of in met] for name in everybody}
    counts = len(met), sum(end > 0.5 for end in ends["mean"]), *_against(_MENDED, ends)
    ever = max(of[_MENDED].ever_accused for of in whole.values())
    accuracies = (
        ", ".join(
            _mean([of[name] for of in part if of], lambda one: one.accuracy[-1])
            for name in ("mean", _MENDED, "krum")
        )
        for part in ([whole.get(NO_ATTACK, {})], met)
    )
    case = met[0]["mean"].case
    yield (
        f"{case.partition}, {case.seed}, {case.data}",
        *map(str, counts),
        f"{max(ends[_MENDED]):.2f}",
        str(ever),
        *accuracies,
    )


def _mean(runs: Sequence[Run], part: Callable[[Run], float], digits: int = 2) -> str:
    return f"{fmean(map(part, runs)):.{digits}f}" if runs else "-"


def _effect(one: Run) -> float:
    return one.success[-1] if one.case.attack.startswith("bd_") else one.accuracy[-1]


def _wronged(one: Run) -> float:
    return one.wronged


def _riders_line(runs: Sequence[Run], target: float) -> list[Line]:
    if not runs:
        return []
    caught = fmean(one.by_tenth for one in runs)
    worst = min(runs, key=lambda one: one.by_tenth)
    text = (
        f"free-riders without data, {runs[0].case.share:.0%} of the clients: {caught:.3f} caught "
        f"in round 10 (target {target:.2f}); least {worst.by_tenth:.2f}, {_where(worst.case)}"
    )
    return [Line(text=text, met=caught >= target)]


def _f1_line(runs: Sequence[Run]) -> list[Line]:
    """Over runs with both of the shares that the published figure is the mean of."""
    if {one.case.share for one in runs} != _PUBLISHED:
        return []
    f1 = fmean(map(_f1, runs))
    text = f"free-riders without data, 10 and 30 % of the clients: mean F1 at the end {f1:.3f}"
    return [Line(text=f"{text} (target {_BEST_F1:.2f})", met=f1 >= _BEST_F1)]


def _f1(one: Run) -> float:
    """Of telling attackers from others at the end; see `Run.detection`."""
    missed = one.case.attackers - one.often_caught
    return 2 * one.often_caught / (2 * one.often_caught + one.often_accused + missed)


def _honest_line(name: str, runs: Sequence[Run], when: str) -> list[Line]:
    if not runs:
        return []
    ever, end = fmean(map(_wronged, runs)), fmean(one.detection[1] for one in runs)
    worst = max(runs, key=_wronged)
    text = (
        f"{name}: honest clients ever excluded, {when}: {ever:.2%} (target 1 %), "
        f"at the end {end:.2%}; most {worst.wronged:.1%}, {_where(worst.case)}"
    )
    return [Line(text=text, met=ever <= 0.01)]


def _cells(kind: str, runs: Sequence[Run]) -> list[dict[str, float]]:
    """For each data set, partition and attack of a kind: method -> its mean effect over seeds."""
    cells: dict[tuple[str, float, str], dict[str, list[float]]] = {}
    for one in runs:
        if one.case.attack.startswith(kind):
            cell = cells.setdefault((one.case.data, one.case.alpha, one.case.attack), {})
            cell.setdefault(one.case.method, []).append(_effect(one))
    return [{name: fmean(values) for name, values in cell.items()} for cell in cells.values()]


def _poison_line(name: str, runs: Sequence[Run]) -> list[Line]:
    cells = [one for one in _cells("po_", runs) if one.keys() >= {name, *_PEERS}]
    if not cells:
        return []
    kept = sum(cell[name] >= max(cell[peer] for peer in _PEERS) - _NEAR for cell in cells)
    text = f"{name}: poisoning, accuracy no worse than the best of {', '.join(_PEERS)} in "
    return [Line(text=f"{text}{kept} of {len(cells)} cells")]


def _peers_line(name: str, runs: Sequence[Run]) -> list[Line]:
    """Backdoors one by one, not in the mean over seeds."""
    cells: dict[tuple[object, ...], dict[str, float]] = {}
    for one in runs:
        if one.case.attack.startswith("bd_"):
            key = one.case.data, one.case.alpha, one.case.attack, one.case.seed, one.case.clients
            cells.setdefault(key, {})[one.case.method] = _effect(one)
    met = [cell for cell in cells.values() if cell.keys() >= {name, *_PEERS}]
    if not met:
        return []
    ends = {each: [cell[each] for cell in met] for each in (name, *_PEERS)}
    low, even, over, lower, zero = _against(name, ends)
    text = (
        f"{name}: of {len(met)} backdoors, seed by seed, {low} end at {_NEAR:g} or below; none of "
        f"{', '.join(_PEERS)} ends lower in {even}, and one by more than {_CLOSE:g} in {over}; it "
        f"is lower than each in {lower}; krum ends at 0 in {zero}"
    )
    return [Line(text=text)]


def _against(name: str, ends: Mapping[str, Sequence[float]]) -> tuple[int, ...]:
    """How many backdoors end near 0; lower with no peer, and lower by more than close with one;
    lower than with each peer; and with Krum at 0. ends: method -> success of each.
    """
    least = [min(each) for each in zip(*(ends[peer] for peer in _PEERS), strict=True)]
    pairs = [*zip(ends[name], least, strict=True)]
    return (
        sum(end <= _NEAR for end in ends[name]),
        sum(end <= low for end, low in pairs),
        sum(end > low + _CLOSE for end, low in pairs),
        sum(end < low for end, low in pairs),
        sum(end == 0 for end in ends["krum"]),
    )


def _backdoor_line(name: str, runs: Sequence[Run]) -> list[Line]:
    """Over cells where the attack works without a defense."""
    cells = _cells("bd_", runs)
    works = [cell for cell in cells if name in cell and cell.get("mean", 0.0) >= _WORKS]
    if not works:
        return []
    kept = sum(cell[name] <= _KEPT_OUT for cell in works)
    lowest = sum(cell[name] <= min(min(cell.values()) + _NEAR, cell["mean"] / 2) for cell in works)
    text = (
        f"{name}: backdoors that reach {_WORKS:g} without a defense end at most at {_KEPT_OUT:g} "
        f"in {kept} of {len(works)} cells; it is the lowest of all methods in {lowest}"
    )
    return [Line(text=text)]


def _short_line(runs: Sequence[Run]) -> list[Line]:
    short = sum(one.short for one in runs)
    if not short:
        return []
    rounds = sum(one.case.rounds for one in runs)
    text = (
        f"in {short} of {rounds} rounds fewer clients were left than the scheme sums at its "
        "default of 30 % dropouts: there it would have released nothing"
    )
    return [Line(text=text)]


def _where(case: Case) -> str:
    return f"{case.attack} on {case.data}, {case.partition}, seed {case.seed}"
