"""Both accountants keep what every accountant promises."""

from __future__ import annotations

import sys

import pytest

from dp.account import Accountant
from dp.account_published import PublishedAccountant
from dp.account_reduction import ReductionAccountant
from dp.events import Gaussian, Sampled
from dp.testing import AccountantConformance


class TestReduction(AccountantConformance):
    def accountant(self) -> Accountant:
        return ReductionAccountant()


class TestPublished(AccountantConformance):
    def accountant(self) -> Accountant:
        return PublishedAccountant()


@pytest.mark.parametrize("kind", [ReductionAccountant, PublishedAccountant])
def test_without_the_extra_the_error_names_it(
    kind: type[Accountant], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = Sampled(0.123, Gaussian(1.23))
    for module in [name for name in sys.modules if name.partition(".")[0] == "dp_accounting"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(ImportError, match=r"secagg\[dp\]"):
        kind().epsilon(event, 1e-5)
    monkeypatch.undo()
    assert kind().epsilon(event, 1e-5) > 0
