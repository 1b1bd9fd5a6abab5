"""The figures of the documentation, from the public data sets.

    python -m apiwatch.bench ../shared/data [--half final] [--json] [csic atrdf classes unknown …]

Sites are groups of endpoints, the worst split: what one site knows, no other has seen. Rates are
over distinct requests. A rate of false alarms below 3 over the number of usual requests cannot be
told from zero.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
import typer
from numpy.typing import NDArray
from protocols.files import locked
from rich.console import Console
from rich.table import Table as Grid
from sklearn.metrics import roc_auc_score

from apiwatch.bench_cost import bench_cost
from apiwatch.bench_crs import bench_crs
from apiwatch.bench_level import bench_level
from apiwatch.bench_names import bench_classes
from apiwatch.bench_parts import Bench, Part, Results, rows_of, sources, whole
from apiwatch.bench_privacy import bench_leaks, bench_privacy, bench_proofs
from apiwatch.bench_private_names import bench_private_names
from apiwatch.bench_support import bench_support
from apiwatch.bench_unknown import bench_later, bench_unknown
from apiwatch.calibration import Calibration
from apiwatch.cli_shared import ResultsFile, say
from apiwatch.datasets import HALVES, Split, atrdf, csic, csic_stream
from apiwatch.detector import Detector
from apiwatch.errors import ParameterError
from apiwatch.event import Place, Request
from apiwatch.explain import score_without
from apiwatch.federation import Federation
from apiwatch.figures import Figures
from apiwatch.settings import Settings, require
from apiwatch.splits import DROPS, SALT, SITES, by_endpoint, dealt, injections, site_of
from apiwatch.table import Table, gather

__all__ = ["DROPS", "by_endpoint", "main"]

_Floats = NDArray[np.float64]


def bench_csic(folder: Path, half: str) -> list[Any]:
    """Twenty sites, four of which drop out; all of them; each alone; and who is poisoned."""
    split = csic(folder, half=half)
    groups = by_endpoint(split.train)
    federation = Federation({i: gather(g) for i, g in groups.items()}, Settings(salt=SALT))
    federation.learn(DROPS)
    pool = gather(r for site in sorted(federation.included) for r in groups[site])
    table = Table.learn(pool, federation.settings)
    pooled = Detector(table, Calibration.learn(pool, table))
    everything = Detector.learn(split.train, federation.settings)
    known = {site: federation.detector(site) for site in groups}
    alone = {site: Detector.learn(groups[site], federation.settings) for site in groups}
    return [
        _measured("pooled, all sites", split, everything.scores),
        _measured("4 of 20 dropped out", split, lambda r: _by_site(known, r)),
        _measured("each site alone, its own endpoints", split, lambda r: _by_site(alone, r)),
        *_alone(split, alone),
        {
            "sites": len(federation.included),
            "federated": federation.shared.digest,
            "pooled": pooled.digest,
            "equal": federation.shared.digest == pooled.digest,
            "MB sent by one site": [
                round(max(summed.bytes_up.values()) / 1e6, 2) for summed in federation.rounds
            ],
        },
        _cleared(split, everything),
        _speed(folder, split, everything),
    ]


def _alone(split: Split, alone: Mapping[int, Detector]) -> list[dict[str, Any]]:
    """Every site's own profile over everybody's requests, averaged over the sites."""
    truth = np.repeat([0, 1], [len(split.normal), len(split.attacks)])
    requests = [*split.normal, *split.attacks]
    areas = [float(roc_auc_score(truth, detector.scores(requests))) for detector in alone.values()]
    return [{"local only, mean AUROC": float(np.mean(areas)), "best": max(areas)}]


def _cleared(split: Split, detector: Detector) -> dict[str, Any]:
    """How often a usual value in the place of what is blamed ends an alert; every tenth one."""
    threshold = float(np.quantile(detector.scores(split.calibration), 0.99, method="higher"))
    alerts = [one for one in detector.judge(split.attacks) if one.score > threshold][::10]
    below = [score_without(one, detector, threshold) <= threshold for one in alerts]
    structure = [one.field.place.is_atom or one.field.place is Place.PATH for one in alerts]
    return {
        "alerts": len(alerts),
        "blame structure": float(np.mean(structure)),
        "cleared by a usual value": float(np.mean(below)),
    }


def bench_evasion(folder: Path, half: str) -> list[Any]:
    """The share of attacks that is found after each is disguised, at one threshold."""
    split = csic(folder, half=half)
    detector = Detector.learn(split.train, Settings(salt=SALT))
    threshold = float(np.quantile(detector.scores(split.calibration), 0.99, method="higher"))
    learnt, unseen = injections(split)
    attacks = [r for r in (*learnt, *unseen) if r.body or "?" in r.target]
    found = {
        name: float((detector.scores([_disguised(r, how) for r in attacks]) > threshold).mean())
        for name, how in DISGUISES.items()
    }
    return [{"attacks": len(attacks)} | found]


def _disguised(request: Request, how: Callable[[str], str]) -> Request:
    """The same request with each value of its parameters disguised."""
    path, _, query = request.target.partition("?")

    def pairs(text: str) -> str:
        split = (part.partition("=") for part in text.split("&"))
        return "&".join(f"{name}={how(value)}" for name, _, value in split)

    target = f"{path}?{pairs(query)}" if query else path
    return replace(request, target=target, body=pairs(request.body) if request.body else "")


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded twice": lambda v: quote(quote(v, safe="+%"), safe="+"),
    "upper case": str.upper,
    "140 letters before": lambda v: "a" * 140 + v,
    "spaces as comments": lambda v: v.replace("+", "/**/").replace("%20", "/**/"),
    "full width": lambda v: v.translate({ord(c): ord(c) + 0xFEE0 for c in "<>'();="}),
}


def bench_poison(folder: Path, half: str) -> list[Any]:
    """Four of twenty sites teach injections as usual, twenty times each; others are to be found.

    Requests are dealt to sites at random: agreement of sites needs traffic that they share.
    """
    split = csic(folder, half=half)
    learnt, unseen = injections(split)
    rows: list[Any] = []
    for poisoners in (0, 4):
        groups = dealt(split.train)
        for site in range(1, poisoners + 1):
            groups[site] = [*groups[site], *learnt * 20]
        sites = {site: gather(requests) for site, requests in groups.items()}
        for support in (1, 5):
            settings = Settings(salt=SALT, support=support)
            federation = Federation(sites, settings)
            federation.learn()
            detector = federation.detector(SITES)
            name = f"{poisoners} poisoners, support {support}, unseen injections"
            scores = (detector.scores(part) for part in (split.calibration, split.normal, unseen))
            rows.append(Figures.of(name, *scores))
    return rows


def bench_atrdf(folder: Path, _half: str) -> list[Any]:
    """One site with all headers; then each class at the threshold."""
    split = atrdf(folder)
    detector = Detector.learn(split.train, Settings(salt=SALT))
    scores = detector.scores(split.attacks)
    threshold = np.quantile(detector.scores(split.calibration), 0.99, method="higher")
    labels = np.array(split.labels)
    found = {str(c): float((scores[labels == c] > threshold).mean()) for c in np.unique(labels)}
    return [_measured("ATRDF 1, one site", split, detector.scores), found]


def _by_site(detectors: Mapping[int, Detector], requests: list[Request]) -> _Floats:
    """Each request judged at the site that it goes to."""
    sites = np.array([site_of(request) for request in requests])
    scores = np.zeros(len(requests))
    for site in np.unique(sites):
        at = np.flatnonzero(sites == site)
        scores[at] = detectors[int(site)].scores([requests[i] for i in at])
    return scores


def _measured(name: str, split: Split, score: Callable[[list[Request]], _Floats]) -> Figures:
    parts = (split.calibration, split.normal, split.attacks)
    return Figures.of(name, *(score(part) for part in parts))


def _speed(folder: Path, split: Split, detector: Detector) -> dict[str, Any]:
    """Requests a second of CPU time, parsing included and nothing remembered at the start."""
    streams = {"distinct": [*split.normal, *split.attacks], "as they came": csic_stream(folder)}
    rates = {}
    for name, requests in streams.items():
        fresh = Detector(detector.table, detector.calibration)
        start = time.process_time()
        fresh.scores(requests)
        rates[f"{name}, per CPU second"] = round(len(requests) / (time.process_time() - start))
    return rates


def _neural(bench: Callable[[Any, Path, str], Iterable[Part]]) -> Bench:
    """One of the module that needs an extra, or a row that says why there is none."""

    def parts(folder: Path, half: str) -> Iterable[Part]:
        try:
            from apiwatch import bench_neural  # noqa: PLC0415 -- an extra
        except ModuleNotFoundError as error:
            row = {"model": "averaged CNN", "skipped": f"{error}: pip install 'apiwatch[neural]'"}
            return [Part.of("", lambda: [row])]
        return bench(bench_neural, folder, half)

    return parts


BENCHES: dict[str, Bench] = {
    "csic": whole(bench_csic),
    "atrdf": whole(bench_atrdf),
    "classes": whole(bench_classes),
    "classes_private": bench_private_names,
    "level": whole(bench_level),
    "unknown": bench_unknown,
    "later": bench_later,
    "poison": whole(bench_poison),
    "evasion": whole(bench_evasion),
    "privacy": whole(bench_privacy),
    "leaks": whole(bench_leaks),
    "proofs": whole(bench_proofs),
    "support": whole(bench_support),
    "cost": whole(bench_cost),
    "crs": whole(bench_crs),
    "neural": _neural(lambda made, *given: made.bench_neural(*given)),
    "flower": _neural(lambda made, *given: made.bench_flower(*given)),
    "rates": _neural(lambda made, *given: made.bench_rates(*given)),
    "rates_contrast": _neural(lambda made, *given: made.bench_rates(*given, contrast=0.5)),
}


def run(
    folder: Annotated[Path, typer.Argument(help="Where the data sets are.")],
    names: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(BENCHES)}.")] = None,
    *,
    half: Annotated[str, typer.Option(help="development, final or both of the test.")] = "final",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    results: ResultsFile = None,
) -> None:
    """Measure what the documentation says."""
    chosen = names or list(BENCHES)
    if missing := sorted(set(chosen) - set(BENCHES)):
        raise ParameterError(f"names in {', '.join(BENCHES)} must hold, got {', '.join(missing)}")
    require(half in HALVES, f"half in {', '.join(HALVES)}", half)
    # alone with the file from reading it on: what others add in between would be overwritten
    with nullcontext() if results is None else locked(results):
        book = Results(results, "" if results is None else sources(folder))
        found = {name: _measured_parts(name, folder, half, book) for name in chosen}
    if as_json:
        rows = {
            n: [asdict(r) if isinstance(r, Figures) else r for r in v] for n, v in found.items()
        }
        typer.echo(json.dumps(rows, indent=1))
        return
    for name, measured in found.items():
        _show(name, measured)


def _measured_parts(name: str, folder: Path, half: str, book: Results) -> list[Any]:
    found: list[Any] = []
    for part, rows in rows_of(name, BENCHES[name], folder, half, book):
        found += rows
        say(f"{name} {part}".strip() + ": done")
    return found


_COLUMNS = (
    "model", "AUROC", "at 1 %", "at 0.1 %",
    "found", "false", "per million",
    "found (0.3 %)", "false", "per million",
)  # fmt: skip

_WIDTH = 120  # of the table: a figure that is cut off is none, in a file or on a narrow terminal


def _show(name: str, found: list[Any]) -> None:
    console = Console(width=max(Console().width, _WIDTH))
    figures = [row for row in found if isinstance(row, Figures)]
    grid = Grid(*_COLUMNS, title=name)
    for row in figures:
        rates = (row.auroc, row.at_1, row.at_01, row.found, row.false_alarms)
        few = f"{row.few_found:.4f}", f"{row.few_false:.4f}", f"{round(1e6 * row.few_false):,}"
        grid.add_row(row.name, *(f"{rate:.4f}" for rate in rates), f"{row.per_million:,}", *few)
    if figures:
        console.print(grid)
    for row in found:
        if not isinstance(row, Figures):
            console.print(", ".join(f"{key}: {value}" for key, value in row.items()))


def main() -> None:
    """`python -m apiwatch.bench`."""
    typer.run(run)


if __name__ == "__main__":
    main()
