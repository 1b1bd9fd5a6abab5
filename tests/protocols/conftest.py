"""A small cohort, and a way to drive one round step by step."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from protocols import (
    ClientJournal,
    ClientRound,
    Invitation,
    RoundPlan,
    ServerRound,
    model_digest,
    presets,
)
from protocols.simulate import Population
from secagg.errors import InputRefused
from secagg.quantize import NormClip
from secagg.vdaf import pine as vdaf
from secagg.vdaf.claim import claim

CLIENTS = 6


def make_tree(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(3, 2)).astype(np.float32)
    return {"layer": {"weight": weight, "bias": rng.normal(size=2)}, "scale": float(rng.normal())}


@pytest.fixture
def tree() -> Callable[[int], dict[str, Any]]:
    """An update of the cohort's structure, by number."""
    return make_tree


@pytest.fixture
def updates() -> dict[int, tuple[Any, int]]:
    return {i: (make_tree(i), 10 * i) for i in range(1, CLIENTS + 1)}


@pytest.fixture
def plan() -> RoundPlan:
    return presets.malicious_safe(
        make_tree(0), clients=CLIENTS, clip=NormClip(50.0), max_weight=100, corrupt=0.17
    )


@pytest.fixture
def population() -> Population:
    return Population.generate(range(1, CLIENTS + 1))


@pytest.fixture
def invitation(plan: RoundPlan, population: Population) -> Invitation:
    return Invitation(
        plan=plan,
        session=os.urandom(16),
        number=3,
        model=model_digest(make_tree(0)),
        roster=population.roster,
    )


@pytest.fixture
def join(population: Population) -> Callable[..., ClientRound]:
    """A client of the population in a round, with an empty journal unless one is given."""

    def joined(invitation: Invitation, me: int, **options: Any) -> ClientRound:
        options.setdefault("journal", ClientJournal())
        return ClientRound(invitation, population.clients[me], me, **options)

    return joined


Exchange = Callable[[ServerRound, dict[int, ClientRound]], list[Any]]


@pytest.fixture
def exchange() -> Exchange:
    """Run a round to its end over a reliable network; returns the server's events."""

    def run(server: ServerRound, clients: dict[int, ClientRound]) -> list[Any]:
        events: list[Any] = []
        while True:
            frames = [(i, data) for i, c in clients.items() for _, data in c.to_send()]
            for sender, data in frames:
                server.receive(sender, data)
            replies = server.to_send()
            for receiver, data in replies:
                clients[receiver].receive(0, data)
            while (event := server.next_event()) is not None:
                events.append(event)
            if server.ended and not frames:
                return events
            if not frames and not replies:
                server.deadline()

    return run


@pytest.fixture
def liars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that prove the largest norm whatever their vector is, as only a liar would."""

    def lied(limits: Any, vector: np.ndarray) -> np.ndarray:
        try:
            return claim(limits, vector)
        except InputRefused:
            claimed = claim(limits, np.zeros_like(vector))
            claimed[: limits.dimension] = limits.field.embed(vector)
            return claimed

    monkeypatch.setattr(vdaf, "claim", lied)
