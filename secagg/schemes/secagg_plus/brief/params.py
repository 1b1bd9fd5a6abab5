"""Parameters of secagg_plus_brief: the complete graph and a threshold as high as a quorum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from secagg import parameters
from secagg.context import Round
from secagg.errors import ParameterError
from secagg.frame import Endpoint
from secagg.identity import SERVER, Identity, PartyId
from secagg.machine import Role
from secagg.parameters import Neighbourhood
from secagg.primitives.shamir import MAX_POINT
from secagg.schemes.secagg_plus import messages
from secagg.schemes.secagg_plus.brief.client import BriefClient
from secagg.schemes.secagg_plus.brief.messages import Deal, Delivery
from secagg.schemes.secagg_plus.brief.server import BriefServer
from secagg.schemes.secagg_plus.graph import Graph
from secagg.schemes.secagg_plus.params import PairwiseScheme
from secagg.wire import Message

__all__ = ["SecAggPlusBrief"]


@dataclass(frozen=True, kw_only=True)
class SecAggPlusBrief(PairwiseScheme):
    """Private against a malicious server, in two exchanges of a steady run.

    The roster must list share keys (`Identity.share_key`). A client's input is a `Contribution`,
    the server's is the 32-byte statement. What this costs against `SecAggPlus` is in
    docs/spec/brief.md, section 1.2: a cheating server may sum over as few as
    clients - corrupt - 2 * dropout honest inputs, which must be at least 2.
    """

    code: ClassVar[int] = 4
    name: ClassVar[str] = "secagg_plus_brief"
    consent: ClassVar[bool] = False

    _honest_formula: ClassVar[str] = "clients - corrupt - 2 * dropout"

    @property
    def honest_inputs(self) -> int:
        dropped = self.clients - self.survivors
        return self.clients - self.corrupt_count - 2 * dropped

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        """The complete graph; the threshold in it is the least one, `shares_needed` is in force."""
        if self.clients > MAX_POINT:
            raise ParameterError(f"clients <= {MAX_POINT} must hold in the complete graph")
        return Neighbourhood(
            clients=self.clients,
            degree=self.clients - 1,
            threshold=min(self._least_threshold, self.clients - 1),
        )

    @property
    def shares_needed(self) -> int:
        return self.survivors if self.threshold is None else self.threshold

    @property
    def holders(self) -> int:
        return self.clients

    @property
    def client_messages(self) -> tuple[type[Message], ...]:
        return (Delivery, messages.Survivors)

    @property
    def server_messages(self) -> tuple[type[Message], ...]:
        return (Deal, messages.Masked, messages.Unmask)

    def graph(self, clients: tuple[int, ...], cohort: bytes) -> Graph:
        return Graph.complete(clients, own=True)

    def client_role(self, endpoint: Endpoint) -> Role[Any]:
        return BriefClient(self, endpoint)

    def server_role(self, endpoint: Endpoint) -> Role[Any]:
        return BriefServer(self, endpoint)

    @cached_property
    def _least_threshold(self) -> int:
        return parameters.quorum(self.clients, corrupt=self.corrupt, dropout=self.dropout)

    @property
    def _threshold_range(self) -> tuple[int, int]:
        return max(self._least_threshold, 2), self.survivors

    def _endpoint(self, round: Round, identity: Identity, me: PartyId) -> Endpoint:
        if not round.roster.share_keys:
            raise ParameterError("the roster lists no share keys, which this scheme needs")
        if me != SERVER and round.roster.share_keys.get(me) != identity.share_key:
            raise ParameterError(f"the roster lists another share key for party {me}")
        return super()._endpoint(round, identity, me)
