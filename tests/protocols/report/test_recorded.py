"""Saved statistics: what is written is read, and everything else is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.report.recorded import (
    Recorded,
    judged,
    load_rounds,
    save_rounds,
    save_state,
    screening_of,
    verdict_document,
)
from protocols.report.summary import fairness_of
from robust.observe import Norms, Public, Sketches
from secagg.errors import DecodeError, ParameterError

CLIENTS, SIZE = 12, 48


def sketches(number: int) -> Sketches:
    """Clients 1 and 2 send noise of their own; the others share what the data of the round is."""
    rng = np.random.default_rng(number)
    common = rng.normal(size=SIZE)
    rows = common + 0.3 * rng.normal(size=(CLIENTS, SIZE))
    rows[:2] = rng.normal(size=(2, SIZE))
    return Sketches(
        number=number,
        clients=tuple(range(1, CLIENTS + 1)),
        rows=rows,
        public=Public(
            known=rng.normal(size=(1, SIZE)), root=common, classes=np.stack([common, -common])
        ),
    )


def document() -> dict[str, Any]:
    """A small good one."""
    return {
        "format": 1,
        "rounds": [
            {
                "number": 0,
                "clients": [1, 2, 5],
                "rows": [[1.0, 2.0], [0.5, 0], [1, 1]],
                "public": {"known": []},
            }
        ],
    }


def written(tmp_path: Path, found: object) -> Path:
    path = tmp_path / "rounds.json"
    path.write_text(found if isinstance(found, str) else json.dumps(found), encoding="utf-8")
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "rounds.json"
    norms = Norms(number=3, clients=(1, 4), norms=np.array([1.0, 2.5]), bound=3.0)
    saved = Recorded(
        rounds=(sketches(0), sketches(1), norms), subgroups={1: "north"}, sizes={1: 20, 4: 0}
    )
    save_rounds(path, saved)
    found = load_rounds(path)
    assert (found.subgroups, found.sizes) == ({1: "north"}, {1: 20, 4: 0})
    first, _, last = found.rounds
    assert isinstance(first, Sketches)
    assert np.array_equal(first.rows, sketches(0).rows)
    assert np.array_equal(first.public.known, sketches(0).public.known)
    assert first.public.root is not None
    assert first.public.classes is not None
    assert np.array_equal(first.public.classes, np.stack([first.public.root, -first.public.root]))
    assert isinstance(last, Norms)
    assert (last.number, last.clients, last.bound) == (3, (1, 4), 3.0)


def test_the_least_document_is_enough(tmp_path: Path) -> None:
    (seen,) = load_rounds(written(tmp_path, document())).rounds
    assert isinstance(seen, Sketches)
    assert seen.clients == (1, 2, 5)
    assert seen.public.known.shape == (0, 2)
    assert seen.public.root is None
    assert seen.noise == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"format": ' + "9" * 5000 + "}", "not JSON"),
        ("[]", "the file must be an object"),
        ('{"format": 1, "format": 1}', "a name occurs twice"),
        ('{"format": 1, "rounds": [NaN]}', "NaN is no finite number"),
        ('{"format": 1, "rounds": [-Infinity]}', "-Infinity is no finite number"),
    ],
)
def test_texts_that_are_no_document(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DecodeError, match=message) as caught:
        load_rounds(written(tmp_path, text))
    assert str(tmp_path / "rounds.json") in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format must be 1"),
        ({"rounds": []}, "rounds must be a list, not empty"),
        ({"rounds": {}}, "rounds must be a list, not empty"),
        ({"rounds": [{}] * 10_001}, "at most 10000 rounds"),
        ({"more": 1}, "the file must not have 'more'"),
        ({"subgroups": []}, "subgroups must be an object"),
        ({"subgroups": {"one": "north"}}, "'one' is no client id"),
        ({"subgroups": {"01": "north"}}, "'01' is no client id"),
        ({"subgroups": {"1": ""}}, "subgroups must be texts"),
        ({"subgroups": {"1": "a\x1b[2J"}}, "subgroups must be texts"),
        ({"sizes": {"1": -1}}, "sizes must be integers"),
        ({"sizes": {"1": True}}, "sizes must be integers"),
    ],
)
def test_documents_that_are_malformed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        load_rounds(written(tmp_path, {**document(), **change}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": -1}, "number >= 0"),
        ({"number": 1.5}, "number >= 0"),
        ({"clients": [1, 2]}, r"rows must have shape"),
        ({"clients": [2, 1, 5]}, "strictly ascending"),
        ({"clients": [1, 1, 5]}, "strictly ascending"),
        ({"clients": ["1", 2, 5]}, "client >= 0"),
        ({"clients": 3}, "clients must be a list"),
        ({"clients": [0] * 100_001}, "at most 100000 clients"),
        ({"rows": []}, "rows must have 1 to 16384 numbers"),
        ({"rows": [[0.0] * 16_385] * 3}, "rows must have 1 to 16384 numbers"),
        ({"rows": [[1, 2], [1], [1, 2]]}, "inhomogeneous"),
        ({"rows": [[1, "2"], [1, 2], [1, 2]]}, "rows must hold real numbers"),
        ({"rows": [[1, None], [1, 2], [1, 2]]}, "rows must hold real numbers"),
        ({"rows": [[1, 10**400], [1, 2], [1, 2]]}, "rows must hold real numbers"),
        ({"rows": [[1, 1e200], [1, 2], [1, 2]]}, "rows: entries must be finite"),
        ({"public": []}, "public must be an object"),
        ({"public": {}}, "public must have known"),
        ({"public": {"known": [], "secret": []}}, "public must not have 'secret'"),
        ({"public": {"known": [[1.0]]}}, "rows must have shape"),
        ({"public": {"known": [], "root": [1.0]}}, "root must have shape"),
        ({"public": {"known": [], "classes": [1.0]}}, "classes must have shape"),
        ({"noise": -1.0}, "0 <= noise"),
        ({"noise": "0"}, "noise must be a real number"),
        ({"norms": [1, 2, 3]}, "must not have 'public'"),
    ],
)
def test_rounds_that_are_malformed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    found = document()
    found["rounds"][0].update(change)
    with pytest.raises(DecodeError, match=message) as caught:
        load_rounds(written(tmp_path, found))
    assert "round at position 0" in str(caught.value)


def test_a_file_may_be_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, document())
    load_rounds(path)
    monkeypatch.setattr("protocols.report.recorded._MOST_BYTES", 20)
    with pytest.raises(DecodeError, match="at most 0 MiB must hold"):
        load_rounds(path)


def test_a_saved_state_goes_on_where_it_ended(tmp_path: Path) -> None:
    rounds = [sketches(number) for number in range(10)]
    whole = screening_of(None, rounds=10, budget=0.05)
    due = judged(tmp_path, whole, rounds)
    first = screening_of(None, rounds=10, budget=0.05)
    judged(tmp_path, first, rounds[:3])
    save_state(tmp_path / "state.json", first)
    second = screening_of(tmp_path / "state.json")
    assert second.cascade == whole.cascade
    found = judged(tmp_path, second, rounds[3:])
    assert [verdict_document(one) for one in found] == [verdict_document(one) for one in due[3:]]
    assert due[-1].excluded == (1, 2)


def test_options_are_in_the_state(tmp_path: Path) -> None:
    save_state(tmp_path / "state.json", screening_of(None))
    with pytest.raises(ParameterError, match="give them once"):
        screening_of(tmp_path / "state.json", rounds=5)
    with pytest.raises(ParameterError, match="budget"):
        screening_of(None, budget=2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "format must be 1"),
        ({"rounds": 0}, "rounds"),
        ({"budget": "x"}, "budget"),
        ({"screening": {}}, "a state must have version, last and rules"),
        ({"other": 0}, "a state must not have 'other'"),
    ],
)
def test_files_that_are_no_state(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "state.json"
    save_state(path, screening_of(None))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DecodeError, match=message):
        screening_of(path)


def test_rounds_must_ascend(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="rounds must ascend, got 0 after 0"):
        judged(tmp_path / "x.json", screening_of(None), [sketches(0), sketches(0)])


def test_fairness_is_reported_where_something_was_declared(tmp_path: Path) -> None:
    rounds = tuple(sketches(number) for number in range(16))
    history = judged(tmp_path, screening_of(None), rounds)
    assert fairness_of(Recorded(rounds=rounds), history) is None
    report = fairness_of(Recorded(rounds=rounds, subgroups={1: "a", 2: "a"}), history)
    assert report is not None
    assert {part.name: part.excluded for part in report.subgroups} == {"a": 2, "undeclared": 0}
