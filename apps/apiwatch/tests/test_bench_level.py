"""The level of the unknown is found by leaving classes out."""

from __future__ import annotations

import numpy as np
import pytest

from apiwatch import classes, encode
from apiwatch.bench_level import below, best
from apiwatch.classes import BENIGN
from apiwatch.datasets import Value

USUAL = [f"anna {i} lives at mill road {i * 7}" for i in range(200)]
XSS = [f"<script>alert({i})</script>" for i in range(40)]
LOG = [f"INFO user {i} logged in at {i * 3}" for i in range(60)]
SQLI = [f"{i}' or {i}={i} union select name from users--" for i in range(100, 220)]


def shares_of(**known: list[str]) -> dict[str, np.ndarray]:
    """Beside usual values, with 512 features."""
    values = [Value(text, BENIGN, "made") for text in USUAL]
    values += [Value(text, label, "made") for label, texts in known.items() for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_BITS", 9), ("_WIDTH", 512), ("SIZE", 513)):
            patch.setattr(encode, name, value)
        patch.setattr(classes, "SIZE", 513)
        return below(values)


def test_a_class_is_below_the_level_unless_one_like_it_is_known() -> None:
    apart = shares_of(sqli=SQLI, xss=XSS, log=LOG)
    assert list(apart) == ["log", "sqli", "xss"]
    assert all(shares.shape == (30,) for shares in apart.values())
    # the higher the level, the more is below it
    assert all(np.all(np.diff(shares) >= 0) for shares in apart.values())
    twins = shares_of(sqli=SQLI[::2], alike=SQLI[1::2], xss=XSS, log=LOG)
    assert twins["alike"].mean() < 0.5 < apart["sqli"].mean()


def test_the_best_share_is_where_it_pays_most() -> None:
    shares = np.arange(1, 31) / 100
    steep = np.minimum(1.0, 8 * shares)
    assert best(np.stack([steep, steep])) == pytest.approx(0.13)
    assert best(np.zeros((2, 30))) == pytest.approx(0.01)
