"""A server that does not follow the protocol, against an ideal secure sum: trials and models.

What an honest client is shown decides what its update says, and what is summed with it decides
what the sum says. No scheme that only adds up exactly prevents the following;
docs/explanation/leakage.md says for each what in this library does.

    imprinted       one model for all, whose first layer sorts records into bins
    silenced        two models, in one of which a layer has no slope
    disaggregated   many rounds, and who was in each
    cohorts         the target alone among clients that the server knows
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dp.audit.attack import Access, Trial, View
from protocols.federation.model import Network
from protocols.invitation import Invitation
from protocols.laboratory.images import class_means
from protocols.plan import RoundPlan
from protocols.round import ClientRound, Result, ServerRound
from protocols.simulate import Population
from robust.attacks.attack import Examples
from robust.observe import Array
from secagg.errors import Aborted, ParameterError, RemoteProtocolError
from secagg.identity import SERVER, PartyId
from secagg.machine import Failed

__all__ = [
    "cohort_trials",
    "deceived_round",
    "disaggregation_trials",
    "imprint_trials",
    "imprinted_model",
    "silenced_model",
]

_DEAD = -1e6  # a bias that no record of a standardized data set overcomes
_FAINT = 0.05  # of imprinted logits, so that no class is certain
_GAIN = 1e3  # from bins to logits: the slopes of the bins outweigh all others, and survive rounding


def imprinted_model(network: Network, own: Examples, rng: np.random.Generator) -> Array:
    """Weights (d,) whose hidden units are bins of one random number of a record [Fowl22].

    Thresholds are quantiles of that number over the attacker's own records, ascending.
    """
    direction = rng.standard_normal(network.inputs) / _GAIN
    numbers = own.inputs @ direction
    thresholds = np.quantile(numbers, np.arange(network.hidden) / network.hidden)
    weights = np.zeros(network.size)
    layers = network.layers
    weights[layers["hidden.weight"]] = np.repeat(direction, network.hidden)
    weights[layers["hidden.bias"]] = -thresholds
    outputs = _FAINT * _GAIN * (1 + np.arange(network.classes) / network.classes)
    weights[layers["output.weight"]] = np.tile(outputs, network.hidden) / network.hidden
    return weights


def imprint_trials(
    examples: Examples,
    network: Network,
    rng: np.random.Generator,
    *,
    clients: int,
    records: int = 1,
    noise: float = 0.0,
    count: int = 3,
) -> Sequence[Trial]:
    """Sums of one step of `clients` clients on `records` records each, from an imprinted model.

    Half of the examples are the attacker's. noise: the deviation in each coordinate of the sum,
    over the largest norm of the clients' updates. Raises `ParameterError` unless clients, records,
    count >= 1, noise >= 0 and there are examples enough.
    """
    order = rng.permutation(len(examples))
    own, others = examples.take(order[: len(order) // 2]), order[len(order) // 2 :]
    if min(clients, records, count) < 1 or noise < 0 or clients * records > len(others):
        raise ParameterError(
            f"clients, records, count >= 1, noise >= 0 and clients * records <= {len(others)} "
            "must hold"
        )
    model, typical = imprinted_model(network, own, rng), class_means(own)
    found = []
    for _ in range(count):
        chosen = examples.take(rng.choice(others, clients * records, replace=False))
        cohort = [chosen.take(np.arange(at, at + records)) for at in range(0, len(chosen), records)]
        rows = network.updates(model, cohort, [np.arange(records)[None]] * clients, 0.1)
        deviation = noise * np.linalg.norm(rows, axis=1).max()
        total = rows.sum(axis=0) + deviation * rng.standard_normal(network.size)
        labels = chosen.labels.astype(np.float64)
        given = {Access.SUM: total, Access.LABELS: labels, Access.TYPICAL: typical}
        found.append(Trial(View(given), chosen.inputs))
    return found


def silenced_model(network: Network, weights: Array) -> Array:
    """The same weights (d,) but for biases of the hidden layer at which no unit ever speaks."""
    found = weights.copy()
    found[network.layers["hidden.bias"]] = _DEAD
    return found


def deceived_round(
    plan: RoundPlan,
    models: Mapping[PartyId, Array],
    updates: Mapping[PartyId, Array],
    *,
    shown: PartyId,
    digest: Callable[[Array], bytes],
    rng: np.random.Generator,
) -> Result | Failed:
    """One real round in which clients received different models (d,), and say so by `digest`.

    `protocols.model_digest` is what clients use. The server goes by the model of client `shown`.
    rng: of what is public, the session; keys and masks come from the system.
    """
    people = Population.generate(updates)
    session = rng.bytes(16)

    def invited(party: PartyId) -> Invitation:
        model = digest(models[party])
        return Invitation(plan=plan, session=session, number=0, model=model, roster=people.roster)

    server = ServerRound(invited(shown), people.server)
    clients = {
        party: ClientRound(invited(party), key, party, journal=people.journals[party])
        for party, key in people.clients.items()
    }
    for party, client in clients.items():
        client.submit(plan.structure.restore(updates[party]), 1)
    return _ended(server, clients)


def disaggregation_trials(
    rng: np.random.Generator,
    *,
    clients: int = 60,
    rounds: int = 120,
    size: int = 50,
    share: float = 0.3,
    change: float = 1.0,
    noise: float = 0.0,
    count: int = 20,
) -> Sequence[Trial]:
    """Sums of made-up clients, each of whom has a direction of its own, in random cohorts.

    share: the probability to take part. change: the deviation of an update around its client's
    mean, over that of the means. noise: of the sum, in the same unit. The truth is client 0's mean.

    Raises `ParameterError` unless each number >= 1, 0 < share <= 1, change >= 0 and noise >= 0.
    """
    if min(clients, rounds, size, count) < 1 or not 0 < share <= 1 or min(change, noise) < 0:
        raise ParameterError(
            "clients, rounds, size, count >= 1, 0 < share <= 1 and change, noise >= 0 must hold"
        )
    found = []
    for _ in range(count):
        own = rng.standard_normal((clients, size))
        present = (rng.random((rounds, clients)) < share).astype(np.float64)
        # what changes of each who takes part adds up to one normal draw
        spread = np.sqrt(change**2 * present.sum(axis=1) + noise**2)
        sums = present @ own + spread[:, None] * rng.standard_normal((rounds, size))
        found.append(Trial(View({Access.SUMS: sums, Access.PRESENCE: present}), own[0]))
    return found


def cohort_trials(
    updates: Array, rng: np.random.Generator, *, known: int, strangers: int = 0, count: int = 20
) -> Sequence[Trial]:
    """A target among `known` clients of the attacker's and `strangers` that are honest.

    updates: (n, d), to draw from. With a stranger, the difference is a sum of two. Raises
    `ParameterError` unless known, strangers >= 0, count >= 1 and 1 + known + strangers <= n.
    """
    many = 1 + known + strangers
    if min(known, strangers) < 0 or count < 1 or many > len(updates):
        raise ParameterError(
            f"known, strangers >= 0, count >= 1 and 1 + known + strangers <= {len(updates)} must "
            f"hold, got {known}, {strangers}, {count}"
        )
    found = []
    for _ in range(count):
        rows = updates[rng.choice(len(updates), many, replace=False)]
        given = {Access.SUM: rows.sum(axis=0), Access.KNOWN: rows[1 : 1 + known].sum(axis=0)}
        found.append(Trial(View(given), rows[0]))
    return found


def _ended(server: ServerRound, clients: Mapping[PartyId, ClientRound]) -> Result | Failed:
    """Frames go to and fro until the server has an end; whoever refuses one says no more."""
    silent: set[PartyId] = set()
    while True:
        moved = _to_server(server, clients, silent) + _to_clients(server, clients, silent)
        while (event := server.next_event()) is not None:
            if isinstance(event, Result | Failed):
                return event
        if not moved:
            server.deadline()


def _to_server(
    server: ServerRound, clients: Mapping[PartyId, ClientRound], silent: set[PartyId]
) -> int:
    frames = [
        (i, data) for i, one in clients.items() if i not in silent for _, data in one.to_send()
    ]
    for sender, data in frames:
        server.receive(sender, data)
    return len(frames)


def _to_clients(
    server: ServerRound, clients: Mapping[PartyId, ClientRound], silent: set[PartyId]
) -> int:
    frames = server.to_send()
    for receiver, data in frames:
        if receiver in silent:
            continue
        try:
            clients[receiver].receive(SERVER, data)
        except (Aborted, RemoteProtocolError):
            silent.add(receiver)
    return len(frames)
