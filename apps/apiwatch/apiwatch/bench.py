"""The figures of the documentation, from the public data sets.

    python -m apiwatch.bench ../shared/data [--half final] [--json] [csic atrdf classes unknown …]

Sites are groups of endpoints, the worst split: what one site knows, no other has seen. Rates are
over distinct requests. A rate of false alarms below 3 over the number of usual requests cannot be
told from zero.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid
from sklearn.metrics import f1_score, roc_auc_score

from apiwatch.calibration import Calibration
from apiwatch.classes import BENIGN, ClassModel, ClassSums, class_weights, learn_together
from apiwatch.datasets import Split, Value, atrdf, csic, training, values
from apiwatch.detector import Detector
from apiwatch.event import Request
from apiwatch.federation import Federation
from apiwatch.fields import endpoint_of
from apiwatch.secure import Members
from apiwatch.settings import Settings
from apiwatch.table import Table, gather
from apiwatch.unknown import clusters, novelty

__all__ = ["Figures", "main"]

SALT = b"apiwatch benchmark"
SITES = 20
DROPS = {2: "adverts", 5: "shares", 9: "masked", 11: "masked"}
_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How well scores tell attacks from usual requests.

    at_1, at_01: attacks found at 1 % and 0.1 % of false alarms, by the test itself. found,
    false_alarms: at the threshold that separate usual requests set.
    """

    name: str
    auroc: float
    at_1: float
    at_01: float
    found: float
    false_alarms: float
    per_million: int

    @classmethod
    def of(cls, name: str, calibration: _Floats, usual: _Floats, attacks: _Floats) -> Figures:
        threshold = np.quantile(calibration, 0.99, method="higher")
        false_alarms = float((usual > threshold).mean())
        ranked = np.sort(usual)[::-1]
        truth = np.repeat([0, 1], [usual.size, attacks.size])
        return cls(
            name=name,
            auroc=float(roc_auc_score(truth, np.concatenate([usual, attacks]))),
            at_1=float((attacks > ranked[int(0.01 * usual.size)]).mean()),
            at_01=float((attacks > ranked[int(0.001 * usual.size)]).mean()),
            found=float((attacks > threshold).mean()),
            false_alarms=false_alarms,
            per_million=round(1e6 * false_alarms),
        )


def by_endpoint(requests: Iterable[Request], sites: int = SITES) -> dict[int, list[Request]]:
    """Sites 1 … `sites`, each with the endpoints that a hash gives it."""
    groups: dict[int, list[Request]] = {site: [] for site in range(1, sites + 1)}
    for request in requests:
        groups[site_of(request, sites)].append(request)
    return groups


def site_of(request: Request, sites: int = SITES) -> int:
    """The site that an endpoint belongs to."""
    return 1 + int.from_bytes(sha256(endpoint_of(request).encode()).digest()[:8], "big") % sites


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
        _speed(split, everything),
    ]


def _alone(split: Split, alone: Mapping[int, Detector]) -> list[dict[str, Any]]:
    """Every site's own profile over everybody's requests, averaged over the sites."""
    truth = np.repeat([0, 1], [len(split.normal), len(split.attacks)])
    requests = [*split.normal, *split.attacks]
    areas = [float(roc_auc_score(truth, detector.scores(requests))) for detector in alone.values()]
    return [{"local only, mean AUROC": float(np.mean(areas)), "best": max(areas)}]


def bench_poison(folder: Path, half: str) -> list[Any]:
    """Four of twenty sites teach injections as usual, twenty times each; others are to be found.

    Requests are dealt to sites at random: agreement of sites needs traffic that they share.
    """
    split = csic(folder, half=half)
    learnt, unseen = _injections(split)
    rows: list[Any] = []
    for poisoners in (0, 4):
        dealt = _dealt(split.train)
        for site in range(1, poisoners + 1):
            dealt[site] = [*dealt[site], *learnt * 20]
        sites = {site: gather(requests) for site, requests in dealt.items()}
        for support in (1, 5):
            settings = Settings(salt=SALT, support=support)
            federation = Federation(sites, settings)
            federation.learn()
            detector = federation.detector(SITES)
            name = f"{poisoners} poisoners, support {support}, unseen injections"
            scores = (detector.scores(part) for part in (split.calibration, split.normal, unseen))
            rows.append(Figures.of(name, *scores))
    return rows


def _injections(split: Split) -> tuple[list[Request], list[Request]]:
    """Attacks that a poisoner teaches, and others that it does not: recognized by their words."""
    words = ("script", "delete", "select", "exec", "waitfor", "or%20", "'or", "passwd", "include")
    found = [r for r in split.attacks if any(w in (r.target + r.body) for w in words)]
    return found[::2], found[1::2]


def _dealt(requests: Iterable[Request]) -> dict[int, list[Request]]:
    groups: dict[int, list[Request]] = {site: [] for site in range(1, SITES + 1)}
    for request in requests:
        key = sha256(f"{request.target}\0{request.body}".encode()).digest()
        groups[1 + key[0] % SITES].append(request)
    return groups


def bench_atrdf(folder: Path, _half: str) -> list[Any]:
    """One site with all headers; then each class at the threshold."""
    split = atrdf(folder)
    detector = Detector.learn(split.train, Settings(salt=SALT))
    scores = detector.scores(split.attacks)
    threshold = np.quantile(detector.scores(split.calibration), 0.99, method="higher")
    labels = np.array(split.labels)
    found = {str(c): float((scores[labels == c] > threshold).mean()) for c in np.unique(labels)}
    return [_measured("ATRDF 1, one site", split, detector.scores), found]


def bench_classes(folder: Path, _half: str) -> list[Any]:
    """Eight classes over twelve sites with one or two of them each; one of the sites drops out."""
    taught, tested = _taught(folder)
    sites = _by_class(taught)
    labels = sorted({value.label for value in taught})
    sums, rounds = learn_together(sites, labels, Members.generate(sites), model=bytes(32))
    weights = class_weights(Counter(value.label for value in taught))
    pooled = ClassSums.learn([(v.text, v.label) for v in taught], labels, weights)
    responses = ClassModel(sums).responses([value.text for value in tested])
    benign = labels.index(BENIGN)
    truth = np.array([labels.index(value.label) for value in tested])
    attack = np.delete(responses, benign, axis=1).max(axis=1) - responses[:, benign]
    usual, attacks = attack[truth == benign], attack[truth != benign]
    each = f1_score(truth, responses.argmax(axis=1), average=None)
    return [
        Figures.of("eight classes, two sums", usual, usual, attacks),
        {
            "macro F1": float(each.mean()),
            "equal": sums.digest == pooled.digest,
            "MB sent by one site": [round(max(r.bytes_up.values()) / 1e6, 2) for r in rounds],
            "examples": [len(taught), len(tested)],
        }
        | {f"F1 {label}": round(float(f1), 3) for label, f1 in zip(labels, each, strict=True)},
    ]


def bench_unknown(folder: Path, _half: str) -> list[Any]:
    """Each class left out in turn: is it new, does it cluster, are 20 examples of it enough?"""
    taught, tested = _taught(folder)
    labels = sorted({value.label for value in taught} - {BENIGN})
    return [_held_out(label, taught, tested) for label in labels]


def _held_out(held: str, taught: list[Value], tested: list[Value]) -> dict[str, Any]:
    kept = [value for value in taught if value.label != held]
    weights = class_weights(Counter(value.label for value in kept))
    sums = ClassSums.learn([(v.text, v.label) for v in kept], weights, weights)
    model = ClassModel(sums)
    known = model.embed([v.text for v in kept if v.label != BENIGN][::3])
    attacks = [v for v in tested if v.label != BENIGN]
    attacks = [v for v in attacks if v.label == held][:600] + [
        v for v in attacks if v.label != held
    ][:1500]
    texts = [value.text for value in attacks]
    new = np.array([value.label == held for value in attacks])
    distance = novelty(model, texts, known)
    queue = [
        v
        for v, far in zip(attacks, distance > np.quantile(distance[~new], 0.95), strict=True)
        if far
    ]
    found = clusters(model, [value.text for value in queue])
    largest = [value.label == held for value, c in zip(queue, found, strict=True) if c == 0]
    return {
        "held out": held,
        "novelty AUROC, cosine": round(float(roc_auc_score(new, distance)), 3),
        "novelty AUROC, response": round(
            float(roc_auc_score(new, -np.array([score for _, score in model.names(texts)]))), 3
        ),
        "purity of the largest cluster": round(float(np.mean(largest)), 3) if largest else None,
        "its size": len(largest),
        "recall from 20 examples": round(_recall(held, sums, taught, tested), 3),
    }


def _recall(held: str, sums: ClassSums, taught: list[Value], tested: list[Value]) -> float:
    """One more sum, of 20 examples under their new name."""
    few = [(v.text, held) for v in taught if v.label == held][:20]
    most = int(sums.counts.max())
    weights = class_weights({BENIGN: most, held: len(few)})
    model = ClassModel(sums + ClassSums.learn(few, [held], weights))
    named = model.names([v.text for v in tested if v.label == held])
    return float(np.mean([label == held for label, _ in named]))


def _taught(folder: Path) -> tuple[list[Value], list[Value]]:
    found = values(folder)
    return [v for v in found if training(v)], [v for v in found if not training(v)]


def _by_class(taught: list[Value], sites: int = 12) -> dict[int, list[tuple[str, str]]]:
    """Attack classes are dealt out in turn; the benign are split by a hash."""
    attacks = sorted({value.label for value in taught} - {BENIGN})
    dealt: dict[int, list[tuple[str, str]]] = {site: [] for site in range(1, sites + 1)}
    for value in taught:
        key = sha256(value.text.encode("utf-8", "surrogatepass")).digest()[0]
        share = (
            key if value.label == BENIGN else attacks.index(value.label) + len(attacks) * (key % 2)
        )
        dealt[1 + share % sites].append((value.text, value.label))
    return dealt


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


def _speed(split: Split, detector: Detector) -> dict[str, Any]:
    """Distinct requests a second of CPU time, parsing included and nothing remembered."""
    fresh = Detector(detector.table, detector.calibration)
    start = time.process_time()
    fresh.scores([*split.normal, *split.attacks])
    spent = time.process_time() - start
    return {
        "distinct requests per CPU second": round((len(split.normal) + len(split.attacks)) / spent)
    }


BENCHES: dict[str, Callable[[Path, str], list[Any]]] = {
    "csic": bench_csic,
    "atrdf": bench_atrdf,
    "classes": bench_classes,
    "unknown": bench_unknown,
    "poison": bench_poison,
}


def run(
    folder: Annotated[Path, typer.Argument(help="Where the data sets are.")],
    names: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(BENCHES)}.")] = None,
    *,
    half: Annotated[str, typer.Option(help="development, final or both of the test.")] = "final",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Measure what the documentation says."""
    results = {name: BENCHES[name](folder, half) for name in names or BENCHES}
    if as_json:
        rows = {
            n: [asdict(r) if isinstance(r, Figures) else r for r in v] for n, v in results.items()
        }
        typer.echo(json.dumps(rows, indent=1))
        return
    for name, found in results.items():
        _show(name, found)


def _show(name: str, found: list[Any]) -> None:
    console = Console()
    figures = [row for row in found if isinstance(row, Figures)]
    grid = Grid("model", "AUROC", "at 1 %", "at 0.1 %", "found", "false", "per million", title=name)
    for row in figures:
        rates = (row.auroc, row.at_1, row.at_01, row.found, row.false_alarms)
        grid.add_row(row.name, *(f"{rate:.4f}" for rate in rates), f"{row.per_million:,}")
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
