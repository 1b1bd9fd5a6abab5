"""A key authority in a process of its own: its keys are made there, and never are in this one.

    with AuthorityProcess() as authority:
        plan = RoundPlan.for_update(model, clients=20, clip=clip, scheme=authority.scheme)
        outcome = run_round(plan, updates, third=authority)

For demos and tests on one machine. In a deployment the authority is elsewhere, and runs
`protocols.authority`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from protocols.third_process import ThirdProcess, described
from secagg.context import Round
from secagg.errors import CipherFailed, ParameterError
from secagg.identity import Roster
from secagg.scheme import Scheme
from secagg.schemes.ckks import (
    EncryptedExact,
    EncryptedRounded,
    EncryptedScheme,
    EncryptedScreened,
    SlotScreen,
)

__all__ = ["AuthorityProcess"]


class AuthorityProcess(ThirdProcess):
    """A key authority that `run_round` takes as `third`.

    Raises `CipherFailed` for a process that died, hung or answered nonsense, and what
    `AuthorityKeeper.answer` raises there.
    """

    worker = "protocols.authority_worker"

    def scheme(self, *, clients: int, length: int, width: int, **fields: Any) -> EncryptedScheme:
        """The scheme of these parameters under a key that the process holds."""
        stated = {"clients": clients, "length": length, "width": width, **fields}
        head, public_key = self._ask({"scheme": _plain(stated), "round": None}, b"")
        kind: type[EncryptedScheme] = EncryptedExact
        if stated.pop("approximate", False):
            kind = EncryptedRounded
        elif stated.get("screen") is not None:
            kind = EncryptedScreened
        else:
            stated.pop("screen", None)
        return kind(
            **stated,
            authority_identity=self._key(head, "identity"),
            share_key=self._key(head, "share_key"),
            public_key=public_key,
        )

    def enrolled(self, roster: Roster) -> Roster:
        """The roster as it is: the scheme has the authority's keys."""
        return roster

    def answer(self, scheme: Scheme, round: Round, request: bytes) -> bytes:
        """The frame to send back for the frame `request` of the server."""
        if not isinstance(scheme, EncryptedScheme):
            raise ParameterError(f"{scheme.name} has no key authority")
        names = ("clients", "length", "width", "corrupt", "dropout")
        stated = {name: getattr(scheme, name) for name in names}
        if isinstance(scheme, EncryptedScreened):
            stated["screen"] = scheme.screen
        if isinstance(scheme, EncryptedRounded):
            stated["approximate"] = True
        return self._ask({"scheme": _plain(stated), "round": described(round)}, request)[1]

    def _failed(self, how: str) -> CipherFailed:
        return CipherFailed(f"the process of the key authority {how}")


def _plain(stated: dict[str, Any]) -> dict[str, Any]:
    """The parameters as the worker takes them: what is opened by its fields."""
    screen = stated.get("screen")
    return {**stated, "screen": asdict(screen)} if isinstance(screen, SlotScreen) else stated
