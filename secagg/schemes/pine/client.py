"""The client with two aggregators: one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secagg.frame import Endpoint
from secagg.identity import SERVER, PartyId
from secagg.primitives.digest import Label, tag
from secagg.primitives.ring import centered, check_vector
from secagg.primitives.seal import seal
from secagg.rand import Rand
from secagg.role_speaker import Speaker
from secagg.schemes.pine import states
from secagg.schemes.pine.messages import Report
from secagg.schemes.pine.report import bound_nonce, covered, relay_of, seal_info
from secagg.schemes.pine.states import Waiting
from secagg.vdaf.pine import NONCE_SIZE

if TYPE_CHECKING:
    from secagg.schemes.pine.params import TwoAggregators

__all__ = ["PineClient"]


class PineClient(Speaker[Waiting]):
    """Shares its vector, proves that it is within the bounds, and is gone."""

    phases = ("reports",)
    transitions = states.CLIENT

    def __init__(self, params: TwoAggregators, endpoint: Endpoint, helper: PartyId) -> None:
        super().__init__(endpoint.me)
        self._params, self._endpoint, self._helper = params, endpoint, helper

    def message(self, value: Any, rand: Rand) -> Report:
        residues = check_vector(value, self._params.length, self._params.width)
        vdaf = self._params.vdaf(self._endpoint.context)
        nonce = tag(Label.REPORT_NONCE, rand(NONCE_SIZE))  # what a source gives is never shown
        vector = centered(residues, self._params.width)
        public, shares = vdaf.shard(vector, bound_nonce(self.me, nonce), rand(vdaf.rand_size))
        sealed = [
            self._seal(vdaf.encode_input_share(share), nonce, to)
            for share, to in zip(shares, (SERVER, self._helper), strict=True)
        ]
        return self._signed(nonce, b"".join(public), *sealed)

    def _seal(self, share: bytes, nonce: bytes, to: PartyId) -> bytes:
        info = seal_info(self._endpoint.context, self.me, to, nonce)
        return seal(share, self._endpoint.roster.share_key(to), info)

    def _signed(self, nonce: bytes, public: bytes, for_leader: bytes, for_helper: bytes) -> Report:
        parts = {"nonce": nonce, "public": public, "for_leader": for_leader}
        bare = Report(**parts, for_helper=for_helper, attested=bytes(64))
        covers = self._endpoint.context, *covered(relay_of(self.me, bare))
        attested = self._endpoint.attest(Label.REPORT, *covers)
        return Report(**parts, for_helper=for_helper, attested=attested)
