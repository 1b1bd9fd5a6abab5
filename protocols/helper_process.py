"""A helper in a process of its own: its identity is made there, and never is in this one.

    with HelperProcess() as helper:
        outcome = run_round(plan, updates, third=helper)

For demos and tests on one machine. In a deployment the helper is elsewhere, and runs
`protocols.helper`.
"""

from __future__ import annotations

from protocols.helper import enlisted
from protocols.helper_document import scheme_document
from protocols.third_process import ThirdProcess, described
from secagg.context import Round
from secagg.errors import ParameterError, RemoteProtocolError
from secagg.identity import Roster
from secagg.scheme import Scheme
from secagg.schemes.pine import TwoAggregators

__all__ = ["HelperProcess"]


class HelperProcess(ThirdProcess):
    """A helper that `run_round` takes as `third`.

    Raises `RemoteProtocolError` for a process that died, hung or answered nonsense, and what
    `HelperKeeper.answer` raises there.
    """

    worker = "protocols.helper_worker"

    def enrolled(self, roster: Roster) -> Roster:
        """The roster with this helper on it."""
        head, _ = self._ask({"scheme": None, "round": None}, b"")
        keys = (self._key(head, name) for name in ("identity", "share_key"))
        return enlisted(roster, *keys)

    def answer(self, scheme: Scheme, round: Round, request: bytes) -> bytes:
        """The frame to send back for the frame `request` of the leader."""
        if not isinstance(scheme, TwoAggregators):
            raise ParameterError(f"the scheme {scheme.name} has no helper")
        asked = {"scheme": scheme_document(scheme), "round": described(round)}
        return self._ask(asked, request)[1]

    def _failed(self, how: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"the process of the helper {how}")
