"""The public data sets of the benchmark, split without leaks. They are not shipped.

CSIC 2010 is mostly repeats, so these are dropped, parts are drawn by a hash of path and parameters,
and an anomalous request that is also a normal one is left out.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from apiwatch.calibration import total
from apiwatch.detector import Detector
from apiwatch.errors import DataMissing
from apiwatch.event import Place, Request
from apiwatch.fields import fields
from apiwatch.naming import text_of
from apiwatch.near import apart
from apiwatch.normalize import fold, template
from apiwatch.settings import Settings

__all__ = [
    "HALVES",
    "Split",
    "Value",
    "atrdf",
    "csic",
    "csic_repeated",
    "csic_stream",
    "half_of",
    "later_values",
    "left_out",
    "part",
    "records",
    "training",
    "values",
]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Distinct requests. Half of the test was looked at during development, the rest once.

    train, calibration: usual traffic; the second only sets thresholds. normal, attacks: the test.
    labels: what each attack is called.
    """

    train: list[Request]
    calibration: list[Request]
    normal: list[Request]
    attacks: list[Request]
    labels: list[str]


def records(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """The rows of one file. Raises `DataMissing` where it is not there."""
    path = folder / f"{name}.jsonl.gz"
    if not path.is_file():
        raise DataMissing(f"{path} is not there; apps/apiwatch/README.md says where it comes from")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def part(*key: str) -> float:
    """Where in [0, 1) a hash puts the key."""
    digest = sha256("\0".join(key).encode("utf-8", "surrogatepass")).digest()
    return float(int.from_bytes(digest[:6], "big") / 2**48)


def csic(folder: Path, *, half: str) -> Split:
    """CSIC 2010. half: "development", "final" or "both" of the test."""
    distinct = {
        (r["method"], r["path"], r["params"], r["label"]): None for r in records(folder, "csic2010")
    }
    usual = {(path, params) for _, path, params, label in distinct if label == "normal"}
    split = Split(train=[], calibration=[], normal=[], attacks=[], labels=[])
    for method, path, params, label in distinct:
        where, side = part(path, params), part("dev", path, params) < 0.5
        tested = half in ("both", "development" if side else "final")
        request = _request(method, path, params)
        if label == "normal" and where < 0.7:
            (split.train if where < 0.6 else split.calibration).append(request)
        elif label == "normal" and tested:
            split.normal.append(request)
        elif label != "normal" and tested and (path, params) not in usual:
            split.attacks.append(request)
            split.labels.append(label)
    return split


def csic_stream(folder: Path) -> list[Request]:
    """The usual requests of CSIC 2010 in their order, repeats included."""
    rows = (row for row in records(folder, "csic2010") if row["label"] == "normal")
    return [_request(row["method"], row["path"], row["params"]) for row in rows]


def csic_repeated(folder: Path) -> list[Request]:
    """What `csic` learns from, as it came: with all repeats."""
    rows = (row for row in records(folder, "csic2010") if row["label"] == "normal")
    return [
        _request(row["method"], row["path"], row["params"])
        for row in rows
        if part(row["path"], row["params"]) < 0.6
    ]


def atrdf(folder: Path) -> Split:
    """ATRDF data set 1 with all headers: half of the benign requests to learn, a tenth to set
    thresholds, the rest and all attacks to test. Rows are distinct by their headers; the few
    paths of that small shop are in all parts.
    """
    split = Split(train=[], calibration=[], normal=[], attacks=[], labels=[])
    for row in records(folder, "atrdf1"):
        request = _request(row["method"], row["path"], row["params"], row)
        where = part(json.dumps(row, sort_keys=True))
        if row["label"] == "Benign":
            side = (
                split.train if where < 0.5 else split.calibration if where < 0.6 else split.normal
            )
            side.append(request)
        elif row["label"] != "unlabelled":
            split.attacks.append(request)
            split.labels.append(row["label"])
    return split


def _request(method: str, path: str, params: str, row: dict[str, Any] | None = None) -> Request:
    """`params` is the query of a GET and the body of the others, as in the sets' own files."""
    headers = tuple((row or {}).get("headers", {}).items())
    body = (row or {}).get("body") or ""
    in_query = bool(params) and (method == "GET" or row is not None)
    return Request(
        method=method,
        target=f"{path}?{params}" if in_query else path,
        headers=headers,
        body=body if in_query or row is not None else params,
    )


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a field, what kind of attack it is ("benign" for none), and its source."""

    text: str
    label: str
    source: str


HALVES = ("development", "final", "both")
"""Of what is tested; "both" are not halves but all of it."""

_HTTPPARAMS = {"norm": "benign", "path-traversal": "lfi", "cmdi": "rce"}
_FEW_TESTS = 20
_CRS = ("sqli", "xss", "rce", "lfi", "java", "php")
_LATER = ("generic", "protocol-attack", "rfi", "session-fixation")
_ATRDF = {
    "Benign": "benign",
    "SQL Injection": "sqli",
    "Directory Traversal": "lfi",
    "RCE": "rce",
    "LOG4J": "java",
    "Log Forging": "logforge",
}


def values(folder: Path) -> list[Value]:
    """Values of benign requests and of seven classes of attacks.

    HttpParams has values; of the others the most unusual field is taken: of CRS tests the longest
    that few tests have, the path last, of ATRDF the text that is strangest to a profile of benign
    requests. Of values that are equal up to case, spaces, numbers and tokens there is one, and
    none where they have several labels. Of attacks that are nearly the same there is one, of the
    earliest part: to learn from, the development half, the final one.
    """
    return _values(folder)[0]


def left_out(folder: Path) -> dict[str, int]:
    """How many values there were before those of several labels and near-equal ones went."""
    return _values(folder)[1]


def _values(folder: Path) -> tuple[list[Value], dict[str, int]]:
    found = [
        Value(fold(row["value"]), _HTTPPARAMS.get(row["label"], row["label"]), "httpparams")
        for row in records(folder, "httpparams")
    ]
    found += [*_crs_values(folder, _CRS), *_atrdf_values(folder), *_csic_values(folder)]
    first, clear = _of_one_label(found)
    attacks = sorted((value for value in clear if value.label != "benign"), key=_part_of)
    usual = [value for value in clear if value.label == "benign"]
    kept = [attacks[i] for i in apart([_folded(value.text) for value in attacks])]
    counts = {
        "distinct values": first,
        "of several labels": first - len(clear),
        "distinct attacks of one label": len(attacks),
        "of them not nearly another": len(kept),
    }
    return usual + kept, counts


def _of_one_label(found: Iterable[Value]) -> tuple[int, list[Value]]:
    """How many distinct values there are, and those of them that have one label."""
    first: dict[str, Value] = {}
    labels: dict[str, set[str]] = {}
    for value in found:
        first.setdefault(_folded(value.text), value)
        labels.setdefault(_folded(value.text), set()).add(value.label)
    return len(first), [value for key, value in first.items() if len(labels[key]) == 1]


def later_values(folder: Path) -> tuple[list[Value], dict[str, int]]:
    """Values of four families of CRS tests that are in no class of `values`: 931 (file inclusion
    from elsewhere), 934 (Node.js, Ruby, Perl and server-side requests), 921 (splitting and
    smuggling) and 943 (session fixation); and how many there were. None is nearly one of `values`.
    """
    known = values(folder)
    taken = {_folded(value.text) for value in known}
    tests = list(_crs_values(folder, _LATER))
    distinct, clear = _of_one_label(v for v in tests if _folded(v.text) not in taken)
    both = [value for value in known if value.label != "benign"]
    before = len(both)
    both += sorted(clear, key=_part_of)
    kept = [both[i] for i in apart([_folded(value.text) for value in both]) if i >= before]
    return kept, {
        "tests with a value": len(tests),
        "distinct, and no value of a known class": distinct,
        "of several labels": distinct - len(clear),
        "not nearly another": len(kept),
    }


def _part_of(value: Value) -> int:
    """0 to learn from, 1 of the development half, 2 of the final one."""
    return 0 if training(value) else 1 + int(half_of(value) == "final")


def training(value: Value) -> bool:
    """Whether a value is to learn from, by a hash of what near-duplicates have in common."""
    return part("class", _folded(value.text)) < 0.55


def half_of(value: Value) -> str:
    """Of the values to test: "development", on which methods were chosen, or "final"."""
    return "development" if part("unknown", _folded(value.text)) < 0.5 else "final"


def _folded(text: str) -> str:
    return template(" ".join(text.split()))


def _crs_values(folder: Path, labels: Collection[str]) -> Iterator[Value]:
    rows = list(records(folder, "crs_tests"))
    split = [_texts_of(_crs_request(row)) for row in rows]
    common = Counter(text for found in split for text in set(found))
    for row, found in zip(rows, split, strict=True):
        own = [text for text in found if common[text] <= _FEW_TESTS]
        if row["label"] in labels and own:
            yield Value(
                max(own, key=lambda text: (not found[text], len(text))), row["label"], "crs"
            )


def _texts_of(request: Request) -> dict[str, bool]:
    """Every text that may be named, and whether it is of the path."""
    found = [field for field in fields(request)[1] if not field.place.is_atom]
    return {text_of(request, field): field.place is Place.PATH for field in found}


def _crs_request(row: dict[str, Any]) -> Request:
    return Request(
        method=row["method"],
        target=row["uri"],
        headers=tuple(row["headers"].items()),
        body=row["body"],
    )


def _atrdf_values(folder: Path) -> Iterator[Value]:
    split = atrdf(folder)
    detector = Detector.learn(split.train, Settings(salt=bytes(16)))
    requests = [*split.normal, *split.attacks]
    labels = ["Benign"] * len(split.normal) + split.labels
    split_up = [[f for f in fields(request)[1] if not f.place.is_atom] for request in requests]
    texts = list({field: None for found in split_up for field in found})
    scores = dict(zip(texts, total(detector.field_scores(texts)).tolist(), strict=True))
    for request, found, label in zip(requests, split_up, labels, strict=True):
        if label in _ATRDF:
            strangest = max(found, key=scores.__getitem__)
            yield Value(text_of(request, strangest), _ATRDF[label], "atrdf")


def _csic_values(folder: Path) -> Iterator[Value]:
    train = csic(folder, half="both").train
    distinct = {text_of(request, field) for request in train for field in fields(request)[1]}
    yield from (Value(value, "benign", "csic") for value in sorted(distinct) if value)
