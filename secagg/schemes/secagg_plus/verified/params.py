"""Parameters of secagg_plus_verified: those of secagg_plus, and what is opened of each client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from secagg.errors import ParameterError
from secagg.frame import Endpoint
from secagg.groups import HONEST, Groups
from secagg.identity import PartyId
from secagg.machine import Role
from secagg.primitives.ring import Words, word
from secagg.schemes.secagg_plus import messages as base
from secagg.schemes.secagg_plus.params import SecAggPlus
from secagg.schemes.secagg_plus.verified import derive, messages
from secagg.schemes.secagg_plus.verified.client import VerifiedClient
from secagg.schemes.secagg_plus.verified.screen import OpenedMap, Screen
from secagg.schemes.secagg_plus.verified.server import VerifiedServer
from secagg.wire import Columns, Limits, Message, Table

__all__ = ["SecAggPlusVerified"]


@dataclass(frozen=True, kw_only=True)
class SecAggPlusVerified(SecAggPlus):
    """`SecAggPlus`, and before the sum the server learns a few linear functions of each client's
    vector, about which no client can lie. EXPERIMENTAL until externally reviewed.

    The server's input is the set of clients to accept; without one, at its deadline, all within the
    bounds of `screen` are. It keeps every masked input until the end: clients * length words.
    With groups nothing is known before the sum. A group of which too few are accepted is left out
    whole, and a sum with a group beyond its bounds is withheld. Groups need the complete graph, as
    in a sparse one a client may have no neighbour in its group, and enough honest members each.
    Docs: docs/spec/verified.md.
    """

    screen: Screen

    code: ClassVar[int] = 5
    name: ClassVar[str] = "secagg_plus_verified"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.screen, Screen):
            raise ParameterError(f"screen is a Screen, got {type(self.screen).__name__}")
        self.screen.check(self.clients, self.corrupt_count, self.length, self.width)
        if self.screen.group:
            self._check_groups(self.screen.group)

    def _check_groups(self, size: int) -> None:
        if not self.is_complete:
            raise ParameterError(
                f"degree = clients - 1 must hold where groups are opened, got "
                f"{self.neighbourhood.degree} for {self.clients} clients"
            )
        if not size >= self.group_floor:
            raise ParameterError(
                f"group >= corrupt + {HONEST} = {self.group_floor} must hold, got {size}"
            )
        if not self.survivors >= 2 * size:
            raise ParameterError(
                f"survivors >= 2 * group must hold, got {self.survivors} and {size}: a single "
                "group would be the sum"
            )

    @property
    def opened(self) -> int:
        """Linear functionals of each client, or of its group, that a round opens."""
        return self.screen.opened

    @property
    def opened_of(self) -> int:
        return self.group_floor or 1

    @property
    def group_floor(self) -> int:
        """Clients in the sum of each group, if there are any; 0 where no groups are opened."""
        return self.corrupt_count + HONEST if self.screen.group else 0

    @property
    def derived(self) -> Mapping[str, object]:
        return {**super().derived, "group_floor": self.group_floor}

    @property
    def check_count(self) -> int:
        """None: what remains of masks is some accepted client's input, and was screened as such."""
        return 0

    @property
    def limits(self) -> Limits:
        known = super().limits
        cell = self.screen.opened * word(self.width).itemsize
        # one more than neighbours: a client has a value for its own mask too
        return Limits(parties=known.parties, near=known.near + 1, vector=known.vector, cell=cell)

    @property
    def client_messages(self) -> tuple[type[Message], ...]:
        return (
            messages.Call,
            base.Inbox,
            messages.Draw,
            messages.Dispute,
            messages.Accepted,
            base.Consents,
            messages.Closing,
        )

    @property
    def server_messages(self) -> tuple[type[Message], ...]:
        always = (
            base.Advert,
            base.Shares,
            base.Masked,
            messages.Sketches,
            messages.Edges,
            base.Consent,
            base.Unmask,
        )
        return always if self.screen.group else (*always, messages.Strike)

    def opened_map(self, seed: bytes) -> OpenedMap:
        """The linear map that `seed` draws."""
        return _opened_map(self.screen, seed, self.length, self.width)

    def groups(self, screen: bytes, uploads: Sequence[PartyId]) -> Groups | None:
        """The groups of those who uploaded, under this transcript; None where each client is by
        itself.
        """
        if not self.screen.group:
            return None
        seed = derive.group_seed(screen)
        return _groups(tuple(uploads), self.screen.group, self.group_floor, seed)

    def due(
        self, me: PartyId, near: Iterable[PartyId], screen: bytes, uploads: Sequence[PartyId]
    ) -> list[PartyId]:
        """Of which of its masks client `me` says what the map makes, by peer, ascending.

        near: its neighbours among the members. Of groups, nothing is said inside of one, and
        nothing of a self mask: these are what hides each client, whether it is in the sum or not.
        """
        groups = self.groups(screen, uploads)
        return sorted({me, *near} if groups is None else groups.beyond(me).intersection(near))

    def cell(self, opened: Words) -> bytes:
        """What was opened of one mask, as it travels."""
        return opened.astype(word(self.width), copy=False).tobytes()

    def values(self, opened: Mapping[PartyId, Words]) -> Table:
        """What was opened of several masks, as it travels."""
        columns = Columns(value=self.limits.cell)
        return columns.table({peer: (self.cell(row),) for peer, row in opened.items()})

    def client_role(self, endpoint: Endpoint) -> Role[Any]:
        return VerifiedClient(self, endpoint)

    def server_role(self, endpoint: Endpoint) -> Role[Any]:
        return VerifiedServer(self, endpoint)


@lru_cache(maxsize=2)
def _opened_map(screen: Screen, seed: bytes, length: int, width: int) -> OpenedMap:
    return OpenedMap(screen, seed, length=length, width=width)


@lru_cache(maxsize=2)
def _groups(clients: tuple[PartyId, ...], size: int, floor: int, seed: bytes) -> Groups:
    return Groups.drawn(clients, size, floor, seed)
