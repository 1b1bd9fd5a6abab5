"""Parameters of secagg_plus: everything follows from the cohort and two fractions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from secagg import parameters
from secagg.errors import ParameterError
from secagg.frame import Endpoint
from secagg.machine import Role
from secagg.parameters import Neighbourhood, corrupt_bound, dropout_bound
from secagg.primitives.ring import packed_size
from secagg.primitives.shamir import MAX_POINT
from secagg.scheme import Scheme
from secagg.schemes.secagg_plus import messages, states
from secagg.schemes.secagg_plus.client import Client
from secagg.schemes.secagg_plus.graph import Graph
from secagg.schemes.secagg_plus.server import Server
from secagg.schemes.secagg_plus.transcript import graph_seed
from secagg.wire import Limits, Message

__all__ = ["PairwiseScheme", "SecAggPlus", "SecAggPlusSemiHonest"]

COMPLETE_UP_TO = 200
CHECK_BITS = 64


@dataclass(frozen=True, kw_only=True)
class PairwiseScheme(Scheme):
    """Common parameters. Both fractions are of the *invited* clients, over the whole round.

    corrupt: clients that collude with the server. dropout: clients lost at any stage, together.
    threshold: Shamir threshold; None takes the computed one, another must not be below its floor.
    """

    corrupt: float = 0.2
    dropout: float = 0.3
    threshold: int | None = None

    consent: ClassVar[bool]
    _honest_formula: ClassVar[str] = "survivors - corrupt"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle_fractions()
        if self.threshold is not None and type(self.threshold) is not int:
            raise ParameterError(f"threshold must be an int, got {type(self.threshold).__name__}")
        if self.honest_inputs < 2:
            raise ParameterError(
                f"{self._honest_formula} >= 2 must hold, got {self.honest_inputs}: the sum of one "
                "honest client is that client's update"
            )
        floor, most = self._threshold_range
        if not floor <= self.shares_needed <= most:
            raise ParameterError(
                f"{floor} <= threshold <= {most} must hold for {self.clients} clients, "
                f"corrupt {self.corrupt}, dropout {self.dropout}; got {self.shares_needed}"
            )

    def _settle_fractions(self) -> None:
        """0, -0.0 and 0.0 are one plan, and one context."""
        corrupt_bound(self.clients, self.corrupt)
        dropout_bound(self.clients, self.dropout)
        object.__setattr__(self, "corrupt", float(self.corrupt) + 0.0)
        object.__setattr__(self, "dropout", float(self.dropout) + 0.0)

    @property
    def corrupt_count(self) -> int:
        """Clients that may collude, n_c."""
        return corrupt_bound(self.clients, self.corrupt)

    @property
    def survivors(self) -> int:
        return self.clients - dropout_bound(self.clients, self.dropout)

    @property
    def honest_inputs(self) -> int:
        return self.survivors - self.corrupt_count

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        """Degree, threshold and, for the sparse malicious graph, its window."""
        if self.clients > COMPLETE_UP_TO and (found := self._sparse_or_none()):
            return found
        if self.clients - 1 > MAX_POINT:
            raise ParameterError(
                f"clients - 1 <= {MAX_POINT} must hold where no sparse graph meets the bounds"
            )
        return parameters.complete(self.clients, corrupt=self.corrupt, dropout=self.dropout)

    def _sparse_or_none(self) -> Neighbourhood | None:
        """None if no sparse graph meets the bounds: the complete one does more, at more cost."""
        try:
            found = self._sparse()
        except ParameterError:
            return None
        # a threshold of 1 would make each share the secret itself
        return found if found.threshold >= 2 else None

    @property
    def holders(self) -> int:
        """How many clients hold a share of one client's secrets."""
        return self.neighbourhood.degree

    @property
    def is_complete(self) -> bool:
        """Whether everybody is joined to everybody."""
        return self.neighbourhood.degree >= self.clients - 1

    @property
    def shares_needed(self) -> int:
        """The Shamir threshold in force."""
        return self.neighbourhood.threshold if self.threshold is None else self.threshold

    @property
    def window_floor(self) -> int:
        """Members of a survivor set that every window of the ring must exceed; -1 if unused."""
        return self.neighbourhood.window_corrupt if self.neighbourhood.window else -1

    @property
    def check_count(self) -> int:
        """Check words beside the vector, together at least 64 bits."""
        return -(-CHECK_BITS // self.width)

    @property
    def quorum(self) -> int:
        """Consents a client demands: 0 without a consent round."""
        return 0

    @property
    def derived(self) -> Mapping[str, object]:
        return {
            "degree": self.neighbourhood.degree,
            "threshold": self.shares_needed,
            "window": self.neighbourhood.window,
            "window_floor": self.window_floor,
            "survivors": self.survivors,
            "quorum": self.quorum,
            "check_count": self.check_count,
        }

    @property
    def limits(self) -> Limits:
        words = self.length + self.check_count
        return Limits(
            parties=self.clients,
            near=self.holders,
            vector=packed_size(words, self.width),
        )

    @property
    def client_messages(self) -> tuple[type[Message], ...]:
        return (messages.Cohort, messages.Inbox, messages.Survivors)

    @property
    def server_messages(self) -> tuple[type[Message], ...]:
        return (messages.Advert, messages.Shares, messages.Masked, messages.Unmask)

    def graph(self, clients: tuple[int, ...], cohort: bytes) -> Graph:
        """The graph on the invited `clients` once the cohort's transcript is fixed."""
        if self.is_complete:
            return Graph.complete(clients)
        return Graph.drawn(clients, self.neighbourhood.degree // 2, graph_seed(cohort))

    def client_role(self, endpoint: Endpoint) -> Role[Any]:
        table = states.CLIENT if self.consent else states.CLIENT_SEMI_HONEST
        return Client(self, endpoint, table)

    def server_role(self, endpoint: Endpoint) -> Role[Any]:
        table = states.SERVER if self.consent else states.SERVER_SEMI_HONEST
        return Server(self, endpoint, table)

    @property
    def _threshold_range(self) -> tuple[int, int]:
        if self.is_complete:
            return max(self.corrupt_count + 1, 2), self.survivors - 1
        chosen = self.neighbourhood.threshold
        return chosen, max(chosen, 2 * (self.window_floor + 1))

    def _sparse(self) -> Neighbourhood:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SecAggPlus(PairwiseScheme):
    """Private against a malicious server that colludes with up to `corrupt` of the clients.

    Clients unmask only a survivor set that a quorum of the invited has signed. Above 200 clients
    the graph is sparse and its parameters withstand a server that chooses, after seeing the graph,
    who "drops out" (`parameters.neighbours_malicious`).
    """

    code: ClassVar[int] = 2
    name: ClassVar[str] = "secagg_plus"
    consent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.quorum  # noqa: B018  raises when no quorum of honest survivors can exist

    @cached_property
    def quorum(self) -> int:
        return parameters.quorum(self.clients, corrupt=self.corrupt, dropout=self.dropout)

    @property
    def client_messages(self) -> tuple[type[Message], ...]:
        return (*super().client_messages, messages.Consents)

    @property
    def server_messages(self) -> tuple[type[Message], ...]:
        return (*super().server_messages, messages.Consent)

    def _sparse(self) -> Neighbourhood:
        return parameters.neighbours_malicious(
            self.clients, corrupt=self.corrupt, dropout=self.dropout
        )


@dataclass(frozen=True, kw_only=True)
class SecAggPlusSemiHonest(PairwiseScheme):
    """Private against a server that follows the protocol and colludes with `corrupt` clients.

    One exchange fewer than `SecAggPlus`. A server that shows two survivor sets to two groups of
    clients gets both shares of a client and with them its update.
    """

    code: ClassVar[int] = 3
    name: ClassVar[str] = "secagg_plus_semi_honest"
    trusts_server: ClassVar[bool] = True
    consent: ClassVar[bool] = False

    def _sparse(self) -> Neighbourhood:
        return parameters.neighbours(self.clients, corrupt=self.corrupt, dropout=self.dropout)
