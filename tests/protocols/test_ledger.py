"""The privacy ledger: refuses before, forgets nothing, and takes no false file."""

from __future__ import annotations

import copy
import json
import math
import multiprocessing
import pickle
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.account_reduction import ReductionAccountant
from dp.errors import BudgetExceeded, UnknownEvent
from dp.events import Composed, Event, Gaussian, Release
from dp.noise_skellam import Skellam
from dp.sensitivity import Sensitivity
from protocols import PrivacyLedger
from secagg.errors import DecodeError, LocalProtocolError, ParameterError

RELEASE = Release(
    Skellam(10_000), 20, Sensitivity(squared=Fraction(90_000), coordinates=64, integral=True)
)
ONE = ReductionAccountant().epsilon(RELEASE, 1e-5)


def ledger(**changes: Any) -> PrivacyLedger:
    return PrivacyLedger(**{"epsilon": 8.0, "delta": 1e-5, **changes})


def opened(path: Path, **changes: Any) -> PrivacyLedger:
    return PrivacyLedger.open(path, **{"epsilon": 8.0, "delta": 1e-5, **changes})


def fill(book: PrivacyLedger, event: Event = RELEASE, first: int = 0) -> int:
    """Charge until it refuses; how many it took."""
    for count in range(first, 10_000):
        try:
            book.charge(count.to_bytes(4, "big"), event)
        except BudgetExceeded:
            return count
    raise AssertionError("the budget never ends")


# -- spending ----------------------------------------------------------------------------------


def test_it_spends_what_the_accountant_says_and_not_their_sum() -> None:
    book = ledger()
    assert book.spent() == 0.0
    assert book.charge(b"1", RELEASE) == book.spent() == ONE
    both = book.charge(b"2", RELEASE)
    assert both == ReductionAccountant().epsilon(Composed(((RELEASE, 2),)), 1e-5)
    assert ONE < both < 2 * ONE
    assert book.releases == 2


def test_a_release_beyond_the_budget_is_refused_and_not_charged() -> None:
    book = ledger()
    count = fill(book)
    assert count >= 2
    spent = book.spent()
    assert spent <= 8.0 < ReductionAccountant().epsilon(Composed(((RELEASE, count + 1),)), 1e-5)
    with pytest.raises(BudgetExceeded, match=f"epsilon <= 8 at delta 1e-05 .* {spent:.4g} is"):
        book.charge(b"one more", RELEASE)
    assert (book.releases, book.spent()) == (count, spent)


def test_a_budget_is_spent_to_the_last_bit() -> None:
    assert ledger(epsilon=ONE).charge(b"1", RELEASE) == ONE
    with pytest.raises(BudgetExceeded, match="0 is spent"):
        ledger(epsilon=math.nextafter(ONE, 0)).charge(b"1", RELEASE)


def test_a_smaller_release_may_still_fit() -> None:
    book = ledger()
    fill(book)
    book.charge(b"small", Gaussian(1e6))


def test_it_can_be_asked_without_being_charged() -> None:
    book = ledger()
    assert book.require(RELEASE) == ONE
    assert book.releases == 0
    fill(book)
    with pytest.raises(BudgetExceeded, match="this release would make it"):
        book.require(RELEASE)
    assert book.require(Gaussian(1e6)) <= 8.0
    with pytest.raises(ParameterError, match="one event"):
        book.require(Composed(((RELEASE, 1),)))


def test_one_release_is_charged_once() -> None:
    book = ledger()
    book.charge(b"round 1", RELEASE)
    for event in (RELEASE, Gaussian(5.0)):
        with pytest.raises(LocalProtocolError, match="was charged before"):
            book.charge(b"round 1", event)
    assert book.releases == 1


def test_an_unknown_event_is_no_free_one() -> None:
    class Harmless(Event):
        def document(self) -> dict[str, Any]:
            return {}

    book = ledger()
    with pytest.raises(UnknownEvent):
        book.charge(b"1", Harmless())
    assert book.releases == 0


@pytest.mark.parametrize("epsilon", [0, -1.0, math.nan, math.inf, True, "8", 10**400])
def test_a_budget_has_an_epsilon(epsilon: Any) -> None:
    with pytest.raises(ParameterError, match="0 < epsilon < inf must hold"):
        ledger(epsilon=epsilon)


@pytest.mark.parametrize("delta", [0, -1e-5, 1.0, 2, math.nan, math.inf, None])
def test_a_budget_has_a_delta(delta: Any) -> None:
    with pytest.raises(ParameterError, match="0 < delta < 1 must hold"):
        ledger(delta=delta)


@pytest.mark.parametrize("name", ["1", 1, b"", None, bytearray(b"1")])
def test_a_release_has_a_name_of_bytes(name: Any) -> None:
    book = ledger()
    with pytest.raises(ParameterError, match="name of a release"):
        book.charge(name, RELEASE)
    book.charge(b"1", RELEASE)
    assert book.releases == 1


@pytest.mark.parametrize("event", [Composed(((RELEASE, 2),)), None, 4.0, "release"])
def test_a_release_is_one_event(event: Any) -> None:
    with pytest.raises(ParameterError, match="one event"):
        ledger().charge(b"1", event)


def test_threads_do_not_overspend() -> None:
    book = ledger(epsilon=ONE)
    gate = threading.Barrier(8)
    granted = []

    def spend(name: int) -> None:
        gate.wait()
        try:
            book.charge(bytes([name]), RELEASE)
        except BudgetExceeded:
            return
        granted.append(name)

    threads = [threading.Thread(target=spend, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == book.releases == 1
    assert book.spent() <= ONE


def test_there_is_one_of_it() -> None:
    for twin in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="does not pickle and has no copies"):
            twin(ledger())


def test_a_repr_shows_the_budget() -> None:
    book = ledger()
    book.charge(b"1", RELEASE)
    assert repr(book) == "<PrivacyLedger of 1 releases, budget (8, 1e-05)>"


# -- the file ----------------------------------------------------------------------------------


def test_it_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    first = opened(path)
    assert not path.exists(), "nothing was charged"
    spent = [first.charge(bytes([i]), RELEASE) for i in range(3)][-1]
    again = opened(path)
    assert (again.releases, again.spent()) == (3, spent)
    with pytest.raises(LocalProtocolError, match="charged before"):
        again.charge(bytes([2]), RELEASE)
    assert fill(again, first=3) == fill(ledger())


def test_two_ledgers_on_one_file_know_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    one, two = opened(path), opened(path)
    one.charge(b"1", RELEASE)
    two.charge(b"2", RELEASE)
    with pytest.raises(LocalProtocolError, match="charged before"):
        one.charge(b"2", RELEASE)
    assert one.releases == opened(path).releases == 2


def _charge_many(path: Path, name: int) -> None:
    book = opened(path, epsilon=1e6)
    for count in range(20):
        book.charge(bytes([name, count]), Gaussian(10.0))


def test_processes_lose_no_charge_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_charge_many, args=(path, name)) for name in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert opened(path, epsilon=1e6).releases == 40


def test_a_line_cut_short_by_a_crash_was_never_charged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    book = opened(path)
    book.charge(b"1", RELEASE)
    whole = path.read_bytes()
    book.charge(b"2", RELEASE)
    for cut in range(len(whole), path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:cut])
        again = opened(path)
        assert again.releases == 1
        again.charge(b"2", RELEASE)
        assert opened(path).releases == 2
        assert path.read_bytes().count(b"\n") == 3


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = tmp_path_factory.mktemp("damaged") / "ledger.jsonl"
    book = opened(path)
    book.charge(b"1", RELEASE)
    book.charge(b"2", Gaussian(3.0))
    lines = path.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    junk = [b"\n", b"{}\n", b"[]\n", b"null\n", b"\xff\n", b'{"release": "zz", "event": {}}\n']
    lines[at] = data.draw(st.sampled_from(junk))
    path.write_bytes(b"".join(lines))
    with pytest.raises(DecodeError, match="damaged"):
        opened(path)


@pytest.mark.parametrize(
    "content", [b'{"lr": 0.1}', b"secret", b"\n", b"{}\n{}\n", b'{"format": "secagg-ledger-2"}\n']
)
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="is not a privacy ledger"):
        opened(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("how", ["unlinked", "emptied", "cut", "rolled back"])
def test_an_open_ledger_does_not_forget_with_its_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "ledger.jsonl"
    book = opened(path)
    book.charge(b"1", RELEASE)
    old = path.read_bytes()
    book.charge(b"2", RELEASE)
    if how == "unlinked":
        path.unlink()
    elif how == "rolled back":
        (tmp_path / "backup").write_bytes(old)
        (tmp_path / "backup").replace(path)
    else:
        path.write_bytes(b"" if how == "emptied" else old)
    for name in (b"2", b"3"):
        with pytest.raises(DecodeError, match="damaged"):
            book.charge(name, RELEASE)


def test_a_last_line_without_its_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    book = opened(path)
    book.charge(b"1", RELEASE)
    book.charge(b"2", RELEASE)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    again = opened(path)
    assert again.releases == 2
    again.charge(b"3", RELEASE)
    assert opened(path).releases == 3


def test_names_are_written_in_one_way(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    opened(path).charge(b"\xab", RELEASE)
    text = path.read_text()
    path.write_text(text.replace('"ab"', '"AB"'))
    with pytest.raises(DecodeError, match="damaged"):
        opened(path)
    path.write_text(text)
    assert opened(path).releases == 1


def test_a_composition_in_the_file_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    opened(path).charge(b"1", RELEASE)
    header, line = path.read_text().splitlines()
    row = json.loads(line) | {"event": Composed(((RELEASE, 2),)).document()}
    path.write_text(f"{header}\n{json.dumps(row)}\n")
    with pytest.raises(DecodeError, match="damaged"):
        opened(path)


def test_a_link_is_the_same_ledger(tmp_path: Path) -> None:
    path, link = tmp_path / "ledger.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(path)
    one, two = opened(path), opened(link)
    two.charge(b"1", RELEASE)
    assert one.releases == 1
    assert not (tmp_path / "link.jsonl.lock").exists()


def test_charges_do_not_read_the_file_anew(tmp_path: Path) -> None:
    """Ten thousand rounds: each reads what was added, which is nothing."""
    path = tmp_path / "ledger.jsonl"
    book = opened(path, epsilon=1e6)
    book.charge(b"1", Gaussian(10.0))
    read = []
    original = book._seen.added

    def counted(file: Path) -> bytes:
        read.append(len(original(file)))
        return b""

    book._seen.added = counted  # type: ignore[method-assign]
    for count in range(20):
        book.charge(bytes([2, count]), Gaussian(10.0))
    assert read == [0] * 20


def test_a_release_listed_twice_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    opened(path).charge(b"1", RELEASE)
    header, line = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(header + line + line)
    with pytest.raises(DecodeError, match="damaged"):
        opened(path)


def test_the_file_holds_names_and_events_only(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    opened(path).charge(b"\x01\x02", RELEASE)
    header, row = map(json.loads, path.read_text().splitlines())
    assert header == {"format": "secagg-ledger-1"}
    assert row == {"release": "0102", "event": RELEASE.document()}
