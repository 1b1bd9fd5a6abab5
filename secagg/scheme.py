"""What every scheme offers: its public parameters, and machines for both sides."""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from secagg.context import Round
from secagg.errors import ParameterError
from secagg.frame import Endpoint
from secagg.identity import SERVER, THIRD, Identity, PartyId
from secagg.machine import Machine, Role
from secagg.primitives.ring import check_width
from secagg.rand import Rand
from secagg.wire import Limits, Message

__all__ = ["Floors", "Scheme", "check_sizes"]

MAX_CLIENTS = 1_000_000
MAX_LENGTH = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Floors:
    """What a client insists on, from its own configuration: never read from a message.

    clients: least size of the invited cohort. survivors: fewest inputs in a released sum.
    honest_inputs: fewest of them by honest clients, if the server cheats as far as the scheme lets
    it. corrupt: least fraction of colluding clients that the parameters must withstand.
    opened: most linear functionals of its own vector that a round may open beside the sum; none,
    unless a client's operator says so. opened_of: fewest clients in any sum of which something is
    opened: 2 or more allows those functionals of sums over groups, and of no client by itself.
    authority: the public key of the key authority that this client trusts, so that only plans with
    it are taken. A plan with an authority is refused unless this or the roster names it, as a
    server that is its own authority reads every update.
    """

    clients: int = 3
    survivors: int = 2
    honest_inputs: int = 2
    corrupt: float = 0.0
    opened: int = 0
    opened_of: int = 1
    authority: bytes | None = None

    def check(self, scheme: Scheme) -> None:
        """Raise `ParameterError`, with the inequality, if `scheme` asks for less."""
        for name, least in (
            ("clients", self.clients),
            ("survivors", self.survivors),
            ("honest_inputs", self.honest_inputs),
            ("corrupt", self.corrupt),
            ("opened_of", self.opened_of),
        ):
            offered = getattr(scheme, name)
            if not offered >= least:  # a floor of NaN refuses everything
                raise ParameterError(
                    f"{name} >= {least} must hold by this client's floor, the plan has {offered}"
                )
        if self.authority is not None and scheme.authority != self.authority:
            raise ParameterError("the plan's key authority is not the one that this client trusts")
        if not scheme.opened <= self.opened:
            raise ParameterError(
                f"opened <= {self.opened} must hold for this client, the plan opens "
                f"{scheme.opened} numbers of each update: Floors(opened={scheme.opened}) allows it"
            )


@dataclass(frozen=True, kw_only=True)
class Scheme(ABC):
    """The public parameters of a scheme; equal on all sides, hashed into the context.

    clients: size of the invited cohort. length: residues in a vector. width: bits of a residue.
    Schemes add their own fields. `survivors` and `corrupt` are what `Floors` compares.
    """

    clients: int
    length: int
    width: int

    code: ClassVar[int]
    """Number of the scheme in every frame."""
    name: ClassVar[str]
    trusts_server: ClassVar[bool] = False
    """Whether its privacy needs a server that follows the protocol, or there is none from it."""
    helpers: ClassVar[tuple[PartyId, ...]] = ()
    """Parties that a roster lists beside the clients, and that give no input."""

    def __post_init__(self) -> None:
        check_sizes(self.clients, self.length, self.width)

    @property
    @abstractmethod
    def survivors(self) -> int:
        """The fewest inputs that a released sum has."""

    @property
    def honest_inputs(self) -> int:
        """The fewest honest inputs in a sum that a cheating server obtains, if it obtains one."""
        return self.survivors

    @property
    def opened(self) -> int:
        """Linear functionals of each client's vector that a round opens beside the sum."""
        return 0

    @property
    def opened_of(self) -> int:
        """The fewest clients in any sum of which something is opened."""
        return self.survivors

    @property
    @abstractmethod
    def limits(self) -> Limits:
        """Size bounds of the messages."""

    @property
    @abstractmethod
    def client_messages(self) -> tuple[type[Message], ...]:
        """The messages that clients receive."""

    @property
    @abstractmethod
    def server_messages(self) -> tuple[type[Message], ...]:
        """The messages that the server receives."""

    @property
    def authority(self) -> bytes | None:
        """Public key of the key authority; None in a scheme that has none."""
        return None

    @property
    def third_messages(self) -> tuple[type[Message], ...]:
        """The messages that the third party, a key authority or a helper, receives."""
        return ()

    @property
    def third_answers(self) -> tuple[type[Message], ...]:
        """The messages that the server receives from it."""
        return ()

    @abstractmethod
    def client_role(self, endpoint: Endpoint) -> Role[Any]:
        """The client's steps."""

    @abstractmethod
    def server_role(self, endpoint: Endpoint) -> Role[Any]:
        """The server's steps."""

    def helper_role(self, endpoint: Endpoint) -> Role[Any]:
        """The helper's steps; `ParameterError` in a scheme without one."""
        raise ParameterError(f"the scheme {self.name} has no helper")

    @property
    def derived(self) -> Mapping[str, object]:
        """What follows from the fields: bound into the context, so all must compute alike."""
        return {}

    @property
    def server_speaks(self) -> bool:
        """Whether the server sends anything."""
        return bool(self.client_messages or self.third_messages)

    def received_by(self, party: PartyId) -> tuple[type[Message], ...]:
        """The messages that `party` receives."""
        if party == SERVER:
            return (*self.server_messages, *self.third_answers)
        has_third = self.authority is not None or self.helpers
        return self.third_messages if party == THIRD and has_third else self.client_messages

    def encoded(self) -> bytes:
        """One text for one set of parameters."""
        stated = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        lines = [f"{key}={value!r}" for key, value in {**stated, **self.derived}.items()]
        return "\n".join([self.name, *lines]).encode()

    def client(
        self,
        round: Round,
        identity: Identity,
        me: PartyId,
        *,
        floors: Floors | None = None,
        rand: Rand = os.urandom,
    ) -> Machine[Any]:
        """The machine of client `me`. `ParameterError` if the plan is below the client's floors."""
        endpoint = self._client_endpoint(round, identity, me, floors)
        return Machine(self.client_role(endpoint), endpoint, rand)

    def server(self, round: Round, identity: Identity, *, rand: Rand = os.urandom) -> Machine[Any]:
        """The machine of the server."""
        endpoint = self._endpoint(round, identity, SERVER)
        return Machine(self.server_role(endpoint), endpoint, rand)

    def helper(self, round: Round, identity: Identity, *, rand: Rand = os.urandom) -> Machine[Any]:
        """The machine of the helper, in a scheme that has one."""
        endpoint = self._helper_endpoint(round, identity)
        return Machine(self.helper_role(endpoint), endpoint, rand)

    def resume_client(
        self,
        snapshot: bytes,
        round: Round,
        identity: Identity,
        me: PartyId,
        *,
        floors: Floors | None = None,
        rand: Rand = os.urandom,
    ) -> Machine[Any]:
        """The client's machine as it was at `snapshot`."""
        endpoint = self._client_endpoint(round, identity, me, floors)
        return Machine.restore(self.client_role(endpoint), endpoint, snapshot, rand)

    def resume_server(
        self, snapshot: bytes, round: Round, identity: Identity, *, rand: Rand = os.urandom
    ) -> Machine[Any]:
        """The server's machine as it was at `snapshot`."""
        endpoint = self._endpoint(round, identity, SERVER)
        return Machine.restore(self.server_role(endpoint), endpoint, snapshot, rand)

    def resume_helper(
        self, snapshot: bytes, round: Round, identity: Identity, *, rand: Rand = os.urandom
    ) -> Machine[Any]:
        """The helper's machine as it was at `snapshot`."""
        endpoint = self._helper_endpoint(round, identity)
        return Machine.restore(self.helper_role(endpoint), endpoint, snapshot, rand)

    def _helper_endpoint(self, round: Round, identity: Identity) -> Endpoint:
        if not self.helpers:
            raise ParameterError(f"the scheme {self.name} has no helper")
        return self._endpoint(round, identity, self.helpers[0])

    def _client_endpoint(
        self, round: Round, identity: Identity, me: PartyId, floors: Floors | None
    ) -> Endpoint:
        if me == SERVER or me in self.helpers:
            raise ParameterError(f"party {me} is the server or its helper, not a client")
        insisted = floors or Floors()
        insisted.check(self)
        if self.authority is not None and not (insisted.authority or round.roster.authority):
            raise ParameterError(
                "the plan's key authority must be named by this client too: by "
                "Floors(authority=...), or by its roster"
            )
        return self._endpoint(round, identity, me)

    def _endpoint(self, round: Round, identity: Identity, me: PartyId) -> Endpoint:
        if round.roster.authority not in (None, self.authority):
            raise ParameterError("the roster has another key authority than the plan")
        roster = dataclasses.replace(round.roster, authority=self.authority)
        invited = len(frozenset(roster).difference(self.helpers))
        if invited != self.clients:
            raise ParameterError(
                f"the roster invites {invited} clients, the parameters are for {self.clients}"
            )
        if roster.public(me) != identity.public:
            raise ParameterError(f"the roster does not list this identity as party {me}")
        return Endpoint(
            scheme=self.code,
            context=round.context(self.code, self.encoded()),
            me=me,
            identity=identity,
            roster=roster,
            accepts={kind.code: kind for kind in self.received_by(me)},
            limits=self.limits,
        )


def check_sizes(clients: int, length: int, width: int) -> None:
    """Return if any scheme can have these sizes; `ParameterError`, with the inequality, if not."""
    _check_count("clients", clients, 2, MAX_CLIENTS)
    _check_count("length", length, 1, MAX_LENGTH)
    check_width(width)


def _check_count(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(f"{name} must be an int, got {type(value).__name__}")
    if not least <= value <= most:
        raise ParameterError(f"{least} <= {name} <= {most} must hold, got {value}")
