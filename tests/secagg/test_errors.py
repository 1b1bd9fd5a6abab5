"""`secagg.errors`: one tree, and messages that say what a caller needs and nothing else."""

from __future__ import annotations

import copy

import pytest

import secagg
from secagg import errors
from secagg.errors import Aborted, SecAggError

PARENTS = {
    "ParameterError": (SecAggError, ValueError),
    "InputRefused": (SecAggError, ValueError),
    "DecodeError": (SecAggError, ValueError),
    "ProtocolError": (SecAggError,),
    "LocalProtocolError": (errors.ProtocolError,),
    "RemoteProtocolError": (errors.ProtocolError,),
    "ReportRefused": (errors.RemoteProtocolError,),
    "Aborted": (SecAggError,),
    "CipherFailed": (SecAggError,),
    "IntegrityError": (SecAggError,),
    "LeakageExceeded": (SecAggError,),
    "RequestRefused": (SecAggError,),
    "StoreFailed": (SecAggError,),
    "Unreachable": (SecAggError,),
    "SecAggError": (Exception,),
}


@pytest.mark.parametrize("name", errors.__all__)
def test_the_tree_is_the_one_in_the_docstring(name: str) -> None:
    kind = getattr(errors, name)
    assert kind.__bases__ == PARENTS[name]
    assert name in (errors.__doc__ or "")
    assert getattr(secagg, name) is kind


def test_every_exception_of_the_module_is_exported() -> None:
    found = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert found == set(errors.__all__) == set(PARENTS)


def test_an_abort_names_phase_reason_and_who_was_missing() -> None:
    error = Aborted("masked", "3 inputs, at least 5 are needed", [7, 2, 2])
    assert (error.phase, error.reason) == ("masked", "3 inputs, at least 5 are needed")
    assert error.missing == {2, 7}
    assert str(error) == (
        "aborted in phase 'masked': 3 inputs, at least 5 are needed; missing: 2, 7"
    )


def test_an_abort_without_missing_parties_does_not_speak_of_them() -> None:
    error = Aborted("unmask", "shares do not fit")
    assert error.missing == frozenset()
    assert "missing" not in str(error)


def test_an_abort_names_who_provably_caused_it() -> None:
    error = Aborted("unmask", "shares do not fit", {9}, {4, 2})
    assert error.missing == {9}
    assert error.culprits == {2, 4}
    assert str(error).endswith("shares do not fit; missing: 9; caused by: 2, 4")
    assert Aborted("unmask", "x").culprits == frozenset()
    assert "caused" not in str(Aborted("unmask", "x", {9}))


def test_long_lists_of_missing_parties_are_shortened_in_the_text_only() -> None:
    twenty, many = Aborted("masked", "x", range(1, 21)), Aborted("masked", "x", range(1, 1001))
    assert str(twenty).endswith("19, 20")
    assert str(many).endswith("19, 20, … (1000 in all)")
    assert len(many.missing) == 1000


@pytest.mark.parametrize(
    "error",
    [
        Aborted("masked", "too few", {3, 1}, {2}),
        errors.IntegrityError("withheld"),
        errors.DecodeError("no"),
        errors.RequestRefused("reportReplayed", "once is enough"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_a_copy(error: SecAggError) -> None:
    """As process pools and frameworks make one when they carry an exception to the caller."""
    again = copy.copy(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
