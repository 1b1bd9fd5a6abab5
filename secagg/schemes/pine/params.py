"""Parameters of the scheme with two aggregators."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from secagg.context import Round
from secagg.errors import ParameterError
from secagg.frame import Endpoint
from secagg.groups import HONEST, Groups
from secagg.identity import THIRD, Identity, PartyId
from secagg.machine import Role
from secagg.parameters import corrupt_bound
from secagg.primitives.field64 import MODULUS, Field64, field64
from secagg.primitives.seal import OVERHEAD
from secagg.scheme import Scheme
from secagg.schemes.pine import derive
from secagg.schemes.pine.client import PineClient
from secagg.schemes.pine.helper import PineHelper
from secagg.schemes.pine.leader import PineLeader
from secagg.schemes.pine.messages import (
    Close,
    Collect,
    Draw,
    Half,
    Part,
    Relay,
    Reply,
    Report,
    Settle,
    Sum,
)
from secagg.schemes.pine.noise import Noise
from secagg.schemes.pine.screen import Angle, Entries, PineMap, PineScreen
from secagg.schemes.pine.screened_helper import ScreenedHelper
from secagg.schemes.pine.screened_leader import ScreenedLeader
from secagg.vdaf.angle import AngleBound
from secagg.vdaf.entries import EntryBound
from secagg.vdaf.norm import NormBound, best_chunks
from secagg.vdaf.pine import Pine
from secagg.vdaf.suite import Production
from secagg.wire import Limits, Message

__all__ = ["HELPER", "TwoAggregators"]

HELPER = THIRD
"""The second aggregator's id. The roster lists it, and its share key, beside the clients."""


@dataclass(frozen=True, kw_only=True)
class TwoAggregators(Scheme):
    """Private as long as one aggregator is honest; no input in the sum exceeds its bounds.

    bound: of the Euclidean norm of a vector, as signed integers; of its first entries where there
    are `entries`. entries: how many of the last are proven to be in a range, each by itself; None
    for none. Where they are the whole vector it has no norm bound, 0. minimum: fewest inputs in a
    sum; the helper enforces it too. corrupt: fraction of the clients that may collude with an
    aggregator. screen: what is opened of each client, or of groups, before the sum; None for
    nothing. The leader's input is then the set of clients to accept, and without one, at its
    deadline, all whose weight is possible are. noise: what each aggregator adds to its share of the
    sum, on its own; None for an exact sum. Not beside a screen, whose numbers it would not cover.
    angle: what each client proves of its direction beside the norm; in the place of a screen.
    """

    bound: int = 0
    minimum: int
    corrupt: float = 0.2
    screen: PineScreen | None = None
    noise: Noise | None = None
    angle: Angle | None = None
    entries: Entries | None = None

    code: ClassVar[int] = 6
    name: ClassVar[str] = "pine"
    helpers: ClassVar[tuple[PartyId, ...]] = (HELPER,)

    def __post_init__(self) -> None:
        super().__post_init__()
        corrupt_bound(self.clients, self.corrupt)
        object.__setattr__(self, "corrupt", float(self.corrupt) + 0.0)
        if isinstance(self.bound, bool) or not isinstance(self.bound, int):
            raise ParameterError(f"bound must be an int, got {type(self.bound).__name__}")
        self._check_entries()
        for name, most in self._largest.items():
            if self.clients * most >= 1 << self.width - 1:
                raise ParameterError(
                    f"clients * {name} < 2**(width - 1) must hold for an exact sum, got "
                    f"{self.clients} * {most} and width = {self.width}"
                )
            if 2 * self.clients * most >= MODULUS:
                raise ParameterError(f"2 * clients * {name} < {MODULUS} must hold, got {most}")
        if isinstance(self.minimum, bool) or not isinstance(self.minimum, int):
            raise ParameterError(f"minimum must be an int, got {type(self.minimum).__name__}")
        if not 2 <= self.minimum <= self.clients:
            raise ParameterError(f"2 <= minimum <= clients must hold, got {self.minimum}")
        if self.honest_inputs < 2:
            raise ParameterError(
                "minimum - corrupt * clients >= 2 must hold, or a sum shows one client's input; "
                f"got {self.honest_inputs}"
            )
        self._check_options()
        _ = self._sizes
        if self.screen is not None:
            self._check_screen(self.screen)

    @property
    def soundness_of_entries(self) -> float | None:
        """Bits: a try of entries out of range passes with 2**-that at most. None without entries.

        A norm is not proven to so many.
        """
        sizes = self._sizes
        return None if sizes.entries is None else sizes.entries.soundness(sizes.proofs)

    @property
    def _largest(self) -> dict[str, int]:
        """By what bounds it, the largest entry that one client can have."""
        found = {"bound": self.bound} if self.normed else {}
        return found if self.entries is None else {**found, "(2**bits - 1)": self.entries.most}

    @property
    def normed(self) -> int:
        """Entries whose norm is proven: all before those that `entries` speaks of."""
        return self.length - (self.entries.count if self.entries else 0)

    def _check_entries(self) -> None:
        if self.entries is not None and not isinstance(self.entries, Entries):
            raise ParameterError(f"entries is an Entries, got {type(self.entries).__name__}")
        if self.normed < 0:
            raise ParameterError(
                f"entries.count <= length must hold, got {self.length - self.normed} and "
                f"{self.length}"
            )
        if not self.normed and self.bound:
            raise ParameterError(
                f"bound = 0 must stand where entries are the whole vector, got {self.bound}"
            )
        if not self.normed and self.angle is not None:
            raise ParameterError("an angle is of a vector with a norm: length > entries.count")
        if self.entries is not None and self.screen is not None:
            raise ParameterError("a screen opens numbers of vectors without entries: take one")

    def _check_options(self) -> None:
        law = isinstance(self.noise, Noise) and not isinstance(self.noise, type)
        if self.noise is not None and not law:
            raise ParameterError(f"noise is a Noise, got {type(self.noise).__name__}")
        if self.noise is not None and self.screen is not None:
            raise ParameterError("noise covers the sum, and not what a screen opens: take one")
        if self.angle is not None and not isinstance(self.angle, Angle):
            raise ParameterError(f"angle is an Angle, got {type(self.angle).__name__}")
        if self.angle is not None and self.screen is not None:
            raise ParameterError("an angle is proven in the place of a screen: take one")

    def _check_screen(self, screen: PineScreen) -> None:
        if not isinstance(screen, PineScreen):
            raise ParameterError(f"screen is a PineScreen, got {type(screen).__name__}")
        screen.check(self.limits_of_norm)
        if not screen.group:
            return
        if not screen.group >= self.group_floor:
            raise ParameterError(
                f"group >= corrupt + {HONEST} = {self.group_floor} must hold, got {screen.group}"
            )
        if not self.minimum >= 2 * screen.group:
            raise ParameterError(
                f"minimum >= 2 * group must hold, got {self.minimum} and {screen.group}: a single "
                "group would be the sum"
            )

    @property
    def group_floor(self) -> int:
        """Clients in each group at least; 0 where no groups are opened."""
        if self.screen is None or not self.screen.group:
            return 0
        return corrupt_bound(self.clients, self.corrupt) + HONEST

    @property
    def opened(self) -> int:
        return 0 if self.screen is None else self.screen.opened

    @property
    def opened_of(self) -> int:
        return self.survivors if self.screen is None else self.screen.group or 1

    def opened_map(self, seed: bytes) -> PineMap:
        """The linear map that `seed` draws."""
        assert self.screen is not None, "something is opened"
        return PineMap(screen=self.screen, limits=self.limits_of_norm, seed=seed)

    def parts(self, screen: bytes, batch: Collection[PartyId]) -> tuple[tuple[PartyId, ...], ...]:
        """Of whom rows are opened under this transcript: of each client, or of each group."""
        clients = tuple(sorted(batch))
        if not self.group_floor:
            return tuple((client,) for client in clients)
        assert self.screen is not None, "groups are of a screen"
        seed = derive.group_seed(screen)
        return Groups.drawn(clients, self.screen.group, self.group_floor, seed).members

    @property
    def survivors(self) -> int:
        return self.minimum

    @property
    def honest_inputs(self) -> int:
        return self.minimum - corrupt_bound(self.clients, self.corrupt)

    @cached_property
    def limits_of_norm(self) -> NormBound:
        """What each vector with a norm must satisfy."""
        limits = self._function.limits
        assert limits is not None, "entries are not the whole vector"
        return limits

    @cached_property
    def _function(self) -> Pine:
        """That of all rounds but for the context."""
        return self._function_in(field64())

    @cached_property
    def _sizes(self) -> Pine:
        """The same for counting: without kernels, which take a second to load."""
        return self._function_in(Field64())

    def _function_in(self, field: Field64) -> Pine:
        entries = None
        if self.entries is not None:
            entries = EntryBound(field=field, count=self.entries.count, bits=self.entries.bits)
        chunk, norm_chunk = self._chunks
        return Pine(
            limits=self._limits_in(field) if self.normed else None,
            entries=entries,
            suite=Production(context=bytes(32)),
            chunk=chunk,
            norm_chunk=norm_chunk,
        )

    @cached_property
    def _chunks(self) -> tuple[int, int]:
        return best_chunks(self._limits_in(Field64())) if self.normed else (1, 1)

    def _limits_in(self, field: Field64) -> NormBound:
        if self.angle is None:
            return NormBound(field=field, dimension=self.normed, bound=self.bound)
        angle = self.angle
        return AngleBound(
            field=field,
            dimension=self.normed,
            bound=self.bound,
            reference=angle.reference,
            numerator=angle.numerator,
            denominator=angle.denominator,
            head=angle.head,
        )

    @property
    def derived(self) -> Mapping[str, object]:
        sizes, found = self._sizes, {}
        if sizes.limits is not None:
            chunks = sizes.chunk, sizes.norm_chunk
            found = {"chunks": chunks, "checks": sizes.limits.checks}
        return found | ({"entry_chunk": sizes.entries.chunk} if sizes.entries else {})

    def vdaf(self, context: bytes) -> Pine:
        """The function that a round with this context computes."""
        return replace(self._function, suite=Production(context=context))

    @property
    def limits(self) -> Limits:
        vdaf = self._sizes
        sum_size = self.length * vdaf.field.size
        return Limits(
            parties=self.clients,
            vector=vdaf.input_sizes[0] + OVERHEAD,
            blob=max(vdaf.verifier_size, sum_size, self.clients * self.opened * vdaf.field.size),
        )

    @property
    def client_messages(self) -> tuple[type[Message], ...]:
        return ()

    @property
    def server_messages(self) -> tuple[type[Message], ...]:
        return (Report,)

    @property
    def third_messages(self) -> tuple[type[Message], ...]:
        return (Relay, Collect) if self.screen is None else (Relay, Close, Draw, Settle)

    @property
    def third_answers(self) -> tuple[type[Message], ...]:
        return (Reply, Sum) if self.screen is None else (Reply, Part, Half, Sum)

    def client_role(self, endpoint: Endpoint) -> Role[Any]:
        return PineClient(self, endpoint, HELPER)

    def server_role(self, endpoint: Endpoint) -> Role[Any]:
        kind = PineLeader if self.screen is None else ScreenedLeader
        return kind(self, endpoint, HELPER)

    def helper_role(self, endpoint: Endpoint) -> Role[Any]:
        return PineHelper(self, endpoint) if self.screen is None else ScreenedHelper(self, endpoint)

    def _endpoint(self, round: Round, identity: Identity, me: PartyId) -> Endpoint:
        roster = round.roster
        if HELPER not in roster.clients or not roster.share_keys:
            raise ParameterError(f"the roster must list the helper, party {HELPER}, and share keys")
        if not roster.server_share_key:
            raise ParameterError("the roster must list the share key of its server, the leader")
        return super()._endpoint(round, identity, me)
