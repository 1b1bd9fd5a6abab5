"""Examples wait in a file until their sum has come out, and are counted once."""

from __future__ import annotations

from pathlib import Path

import pytest

from apiwatch.errors import ParameterError, ProfileUnreadable
from apiwatch.pending import Pending, pending_file

ONE, TWO = ("a' or 1=1--", "sqli"), ("<script>\ud800", "xss")
SESSION = bytes(range(16))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return pending_file(tmp_path / "profile")


def test_they_are_kept_for_their_owner_alone(path: Path) -> None:
    assert Pending(path).pairs == []
    assert Pending(path).add([ONE, ONE, TWO]) == 3
    assert Pending(path).pairs == [ONE, ONE, TWO]
    assert Pending(path).counts == {"sqli": 2, "xss": 1}
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_given_again_is_not_there_twice(path: Path) -> None:
    pending = Pending(path)
    pending.add([ONE])
    assert pending.add([ONE, TWO]) == 1
    pending.mark(SESSION)
    assert pending.add([ONE]) == 0
    assert Pending(path).pairs == [ONE, TWO]


@pytest.mark.parametrize(("sites", "left"), [((1, 2), [TWO]), ((2,), [ONE, TWO])])
def test_after_a_loss_the_next_round_tells_what_was_in_the_sum(path: Path, sites, left) -> None:
    pending = Pending(path)
    pending.add([ONE])
    pending.mark(SESSION)
    again = Pending(path)
    again.add([TWO])
    again.settle({SESSION.hex(): sites}, 1)
    assert Pending(path).pairs == left
    again.settle({SESSION.hex(): (1,)}, 1)  # what stays is not taken for sent
    assert Pending(path).pairs == left
    again.mark(SESSION)
    again.settle({SESSION.hex(): (1,)}, 1)
    assert not path.exists()


def test_names_are_checked_before_anything_is_written(path: Path) -> None:
    with pytest.raises(ParameterError, match="name not in"):
        Pending(path).add([ONE, ("x", "unknown")])
    assert not path.exists()


@pytest.mark.parametrize("text", ["x", "[]", '{"value": 1}', "1", '{"label": "a"}'])
def test_a_file_of_something_else_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ProfileUnreadable, match="no lines of value and label"):
        Pending(path)
