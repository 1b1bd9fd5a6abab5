"""Examples wait in a file until their sum has come out, and are counted once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiwatch.errors import ChangedMeanwhile, ParameterError, ProfileUnreadable
from apiwatch.pending import Pending, pending_file

ONE, TWO = ("a' or 1=1--", "sqli"), ("<script>\ud800", "xss")
SESSION = bytes(range(16))
ERA = "this era"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return pending_file(tmp_path / "profile")


def test_they_are_kept_for_their_owner_alone(path: Path) -> None:
    assert Pending(path, ERA).pairs == []
    assert Pending(path, ERA).add([ONE, ONE, TWO]) == 3
    assert Pending(path, ERA).pairs == [ONE, ONE, TWO]
    assert Pending(path, ERA).counts == {"sqli": 2, "xss": 1}
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_given_again_is_not_there_twice(path: Path) -> None:
    pending = Pending(path, ERA)
    pending.add([ONE])
    assert pending.add([ONE, TWO]) == 1
    pending.mark(SESSION)
    assert pending.add([ONE]) == 0
    assert Pending(path, ERA).pairs == [ONE, TWO]


@pytest.mark.parametrize(("sites", "left"), [((1, 2), [TWO]), ((2,), [ONE, TWO])])
def test_after_a_loss_the_next_round_tells_what_was_in_the_sum(path: Path, sites, left) -> None:
    pending = Pending(path, ERA)
    pending.add([ONE])
    pending.mark(SESSION)
    again = Pending(path, ERA)
    again.add([TWO])
    again.settle({SESSION.hex(): sites}, 1)
    assert Pending(path, ERA).pairs == left
    again.settle({SESSION.hex(): (1,)}, 1)  # what stays is not taken for sent
    assert Pending(path, ERA).pairs == left
    again.mark(SESSION)
    again.settle({SESSION.hex(): (1,)}, 1)
    assert Pending(path, ERA).pairs == []
    # they are due once more when another site has left, and only then
    again.mark(bytes(16))
    again.settle({bytes(16).hex(): (1,)}, 1)
    after = Pending(path, "the next era")
    assert after.pairs == [ONE, TWO]
    after.mark(SESSION)
    after.settle({SESSION.hex(): (1,)}, 1)
    assert Pending(path, "the next era").pairs == []


def test_what_is_in_a_sum_is_not_given_again_and_what_never_left_can_be_dropped(
    path: Path,
) -> None:
    pending = Pending(path, ERA)
    pending.add([ONE, TWO])
    assert pending.drop([TWO, ("x", "sqli")]) == 1
    pending.mark(SESSION)
    with pytest.raises(ParameterError, match="`round leave` takes a site out"):
        pending.drop([ONE])
    pending.settle({SESSION.hex(): (1,)}, 1)
    # as where a disk was full when the profile was written, and the same line was run again
    assert Pending(path, ERA).add([ONE]) == 0
    assert Pending(path, ERA).pairs == []
    with pytest.raises(ParameterError, match="`round leave` takes a site out"):
        pending.drop([ONE])
    assert (pending.pairs, pending.drop([TWO])) == ([], 0)
    # what does not wait is not sent
    pending.add([TWO])
    pending.mark(bytes(16))
    assert path.read_text().count('"sent"') == 1


def test_what_is_dropped_leaves_no_file(path: Path) -> None:
    pending = Pending(path, ERA)
    pending.add([ONE])
    assert pending.drop([ONE, TWO]) == 1
    assert not path.exists()


def test_an_era_that_comes_back_finds_nothing_to_give_twice(path: Path) -> None:
    for number, era in enumerate(("first", "second")):
        pending = Pending(path, era)
        assert pending.add([ONE]) == int(not number)
        assert pending.pairs == [ONE]
        pending.mark(SESSION)
        pending.settle({SESSION.hex(): (1,)}, 1)
    assert [Pending(path, era).pairs for era in ("first", "second", "third")] == [[], [], [ONE]]


def test_what_another_command_adds_during_a_round_is_not_lost(path: Path) -> None:
    pending = Pending(path, ERA)
    pending.add([ONE])
    assert Pending(path, ERA).add([TWO]) == 1  # `label`, after `round join` has read the file
    pending.mark(SESSION)
    pending.settle({SESSION.hex(): (1,)}, 1)
    assert (pending.pairs, Pending(path, ERA).pairs) == ([], [TWO])


def test_of_two_rounds_at_once_one_sends_nothing(path: Path) -> None:
    Pending(path, ERA).add([ONE])
    first, second = Pending(path, ERA), Pending(path, ERA)
    first.mark(SESSION)
    with pytest.raises(ChangedMeanwhile, match="another command has changed"):
        second.mark(bytes(16))
    first.settle({SESSION.hex(): (1,)}, 1)
    assert Pending(path, ERA).pairs == []


def test_what_was_never_sent_is_in_no_sum_whatever_a_server_says(path: Path) -> None:
    pending = Pending(path, ERA)
    pending.add([ONE])
    pending.settle({"": (1,)}, 1)
    assert Pending(path, ERA).pairs == [ONE]


class Life:
    """Site 1 and a server, over rounds; a site that was killed reads its file again."""

    def __init__(self, path: Path) -> None:
        self.path, self.era, self.number = path, 0, 0
        self.given: Counter[tuple[str, str]] = Counter()
        self.begin()

    def begin(self) -> None:
        self.rounds: dict[str, tuple[int, ...]] = {}
        self.sums: Counter[tuple[str, str]] = Counter()

    def add(self) -> None:
        pair = (f"value {self.given.total()}", "sqli")
        Pending(self.path, str(self.era)).add([pair])
        self.given[pair] += 1

    def leave(self) -> None:
        self.era += 1
        self.begin()

    def round(self, *, summed: bool, told: bool) -> None:
        self.number += 1
        session = self.number.to_bytes(16, "big")
        pending = Pending(self.path, str(self.era))
        pending.settle(self.rounds, 1)
        sent = pending.pairs
        pending.mark(session)
        self.sums.update(sent if summed else [])
        self.rounds[session.hex()] = (1, 2) if summed else (2,)
        if told:
            pending.settle({session.hex(): self.rounds[session.hex()]}, 1)


STEPS = {
    "add": Life.add,
    "leave": Life.leave,
    "in": lambda life: life.round(summed=True, told=True),
    "out": lambda life: life.round(summed=False, told=True),
    "killed, in": lambda life: life.round(summed=True, told=False),
    "killed, out": lambda life: life.round(summed=False, told=False),
}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=9))
def test_whatever_happens_every_example_is_in_the_sums_of_an_era_once(steps: list[str]) -> None:
    with TemporaryDirectory() as folder:
        life = Life(Path(folder) / "examples")
        life.add()
        for step in steps:
            STEPS[step](life)
            assert max(life.sums.values(), default=0) <= 1
        life.round(summed=True, told=True)
        assert life.sums == life.given


def test_names_are_checked_before_anything_is_written(path: Path) -> None:
    with pytest.raises(ParameterError, match="name not in"):
        Pending(path, ERA).add([ONE, ("x", "unknown")])
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "[]",
        '{"value": 1}',
        "1",
        '{"label": "a"}',
        '{"value": "a", "label": "b", "summed": "c"}',
    ],
)
def test_a_file_of_something_else_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ProfileUnreadable, match="no lines of value and label"):
        Pending(path, ERA)
