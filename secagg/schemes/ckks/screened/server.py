"""The server of the screened variant: keeps ciphertexts, has numbers of each opened, sums whom it
accepts.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from secagg.errors import Aborted, InputRefused, RemoteProtocolError
from secagg.event import Event, Failed, PeerRejected, Statistics
from secagg.frame import Endpoint, Signed
from secagg.identity import AUTHORITY, PartyId
from secagg.machine import Over, Send, State, Step
from secagg.primitives.digest import Label
from secagg.primitives.prg import KEY_SIZE
from secagg.rand import Rand
from secagg.schemes.ckks.cipher import Cipher
from secagg.schemes.ckks.messages import CONTRIBUTORS, Request, Upload
from secagg.schemes.ckks.residues import Residues, add, moduli, pack_residues
from secagg.schemes.ckks.screened import states
from secagg.schemes.ckks.screened.blind import blind
from secagg.schemes.ckks.screened.messages import Query, Shown
from secagg.schemes.ckks.screened.states import BLINDS, Deciding, Opening, Querying, Storing
from secagg.schemes.ckks.server import Server, extended
from secagg.schemes.ckks.states import Asking
from secagg.wire import Table, ids

if TYPE_CHECKING:
    from secagg.schemes.ckks.screened.params import EncryptedScreened

__all__ = ["ScreenedServer"]


class ScreenedServer(Server):
    """Keeps what each client sent until it is decided whose vectors are summed."""

    phases = ("upload", "screen", "decide", "open")
    transitions = states.SERVER
    _params: EncryptedScreened

    def __init__(self, params: EncryptedScreened, endpoint: Endpoint, cipher: Cipher) -> None:
        super().__init__(params, endpoint)
        self._cipher = cipher

    # -- triggers ---------------------------------------------------------------------------

    def start(self, rand: Rand) -> Step[Any]:
        return Step(Storing(uploads={}, contributors=CONTRIBUTORS.table({}), lost=ids(())))

    def on_message(self, state: State, signed: Signed[Any], rand: Rand) -> Step[Any]:
        if isinstance(state, Storing):
            return self._store(state, signed, rand)
        if isinstance(state, Querying):
            self._check_authority(signed.sender)
            return self._show(state, signed.message)
        return super().on_message(state, signed, rand)

    def on_input(self, state: Deciding, value: Any, rand: Rand) -> Step[Any]:
        if not isinstance(value, set | frozenset):
            raise InputRefused(f"whom to accept is a set of ids, got {type(value).__name__}")
        if not value <= set(state.eligible.peers):
            raise InputRefused("not all of the accepted were within the bounds")
        if len(value) < self._params.survivors:
            raise InputRefused(f"{len(value)} accepted, at least {self._params.survivors} are due")
        return self._settle(state, value)

    def on_deadline(self, state: State, rand: Rand) -> Step[Any]:
        if isinstance(state, Storing):
            return self._query(state, rand)
        if isinstance(state, Querying):
            raise Aborted("screen", "the key authority did not answer", {AUTHORITY})
        if isinstance(state, Deciding):
            return self._settle(state, state.eligible.peers)
        return super().on_deadline(state, rand)

    def on_lost(self, state: State, peer: PartyId, rand: Rand) -> Step[Any]:
        if peer == AUTHORITY and not isinstance(state, Storing):
            raise Aborted(state.phase, "the key authority broke the protocol", culprits={peer})
        if isinstance(state, Storing) and peer not in (AUTHORITY, *state.contributors.peers):
            lost = ids((*state.lost.peers, peer))
            return self._go_on(replace(state, lost=lost), rand)
        return Step(state)  # what it sent stays in the sum

    def expected(self, state: State) -> frozenset[PartyId]:
        if isinstance(state, Querying):
            return frozenset({AUTHORITY})
        return frozenset() if isinstance(state, Deciding) else super().expected(state)

    def refused(self, state: Asking) -> frozenset[PartyId]:
        assert isinstance(state, Opening)
        return frozenset(state.refused.peers)

    # -- uploads, and what is asked of them -------------------------------------------------

    def _store(self, state: Storing, signed: Signed[Upload], rand: Rand) -> Step[Any]:
        residues, row = self._checked(signed)
        state.uploads[signed.sender] = residues
        contributors = extended(state.contributors, signed.sender, row)
        return self._go_on(replace(state, contributors=contributors), rand)

    def _go_on(self, state: Storing, rand: Rand) -> Step[Any]:
        return Step(state) if self.expected(state) else self._query(state, rand)

    def _query(self, state: Storing, rand: Rand) -> Step[Any]:
        self._require_enough(state.contributors)
        nonce = self._nonce()
        seeds = {peer: rand(KEY_SIZE) for peer in state.contributors.peers}
        opened_map = self._params.opened_map(self._params.seed(self._endpoint.context, nonce))
        blinded = [
            self._blinded(opened_map.combined, state.uploads[peer], seed)
            for peer, seed in seeds.items()
        ]
        query = Query(
            contributors=state.contributors,
            nonce=nonce,
            blinded=pack_residues(np.concatenate(blinded), self._params.layout.ring.keys),
        )
        after = Querying(
            uploads=state.uploads,
            contributors=state.contributors,
            blinds=BLINDS.table({peer: (seed,) for peer, seed in seeds.items()}),
        )
        return Step(after, (Send(query, (AUTHORITY,)),))

    def _nonce(self) -> bytes:
        """What no client knows before all have sent theirs; the same again after a crash."""
        return self._endpoint.identity.secret(Label.DRAW, self._endpoint.context)

    def _blinded(self, combined: Any, upload: Residues, seed: bytes) -> Residues:
        layout = self._params.layout
        keys = layout.ring.keys
        found: Residues = combined(upload.reshape(layout.blocks, keys.words), moduli(keys)).reshape(
            -1
        )
        blinds = blind(seed, self._params.combinations, layout)
        add(found, self._cipher.encrypt(layout.ring, self._params.public_key, blinds), keys)
        return found

    # -- what was shown, and the decision ---------------------------------------------------

    def _show(self, state: Querying, message: Shown) -> Step[Any]:
        clients, unreadable = message.values.peers, message.unreadable.peers
        if sorted((*clients, *unreadable)) != state.contributors.peers:
            raise RemoteProtocolError("numbers are not of exactly those that were asked for")
        statistics = self._statistics(state, message.values)
        eligible = statistics.eligible
        events: tuple[Event, ...] = (*_rejections(unreadable), statistics)
        if len(eligible) < self._params.survivors:
            reason = f"{len(eligible)} clients passed, at least {self._params.survivors} are needed"
            ended = Failed(Aborted("screen", reason, culprits=set(unreadable)))
            return Step(Over(), events=(*events, ended))
        after = Deciding(
            uploads=state.uploads, contributors=state.contributors, eligible=ids(eligible)
        )
        return Step(after, events=events)

    def _statistics(self, state: Querying, values: Table) -> Statistics:
        params, seed = self._params, self._params.seed(self._endpoint.context, self._nonce())
        opened_map, plain = params.opened_map(seed), np.uint64(params.layout.ring.plain)
        cells = np.ascontiguousarray(values.rows["value"]).view("<u8")
        found = cells.reshape(len(values), params.screen.opened).astype(np.uint64)
        if np.any(found >= plain):
            raise RemoteProtocolError("a number is not below the plaintext prime")
        seeds = state.blinds.by_peer("seed")
        for row, peer in zip(found, values.peers, strict=True):
            blinds = opened_map.opened(blind(seeds[peer], params.combinations, params.layout))
            row[:] = (row + (plain - blinds)) % plain
        signed = np.where(found > plain // np.uint64(2), found - plain, found).view(np.int64)
        weights = signed[:, 0].copy()
        rows = signed[:, 1:] - opened_map.first() * weights[:, None]
        within = params.screen.within(weights, rows, opened_map.scale)
        return Statistics(
            clients=tuple(values.peers),
            eligible=frozenset(itertools.compress(values.peers, within)),
            weights=weights,
            products=np.zeros((len(rows), 0), np.int64),
            rows=rows,
            seed=seed,
        )

    def _settle(self, state: Deciding, accepted: Collection[PartyId]) -> Step[Any]:
        layout = self._params.layout
        total = np.zeros(layout.words, "<u8")
        for peer in accepted:
            add(total, state.uploads[peer], layout.ring.keys)
        listed = state.contributors.rows
        chosen = Table(listed[np.isin(listed["peer"], sorted(accepted))])
        refused = set(state.contributors.peers).difference(accepted)
        request = Request(contributors=chosen, vector=pack_residues(total, layout.ring.keys))
        after = Opening(included=ids(chosen.peers), refused=ids(refused))
        return Step(after, (Send(request, (AUTHORITY,)),))


def _rejections(unreadable: Iterable[PartyId]) -> tuple[PeerRejected, ...]:
    reason = "its ciphertexts are not of what its sealed seed masks, or of too much noise"
    return tuple(PeerRejected(peer, "screen", reason) for peer in unreadable)
