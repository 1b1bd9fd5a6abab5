"""What honest clients of secagg_plus must not do, whatever they are told: checked on a round."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from secagg import wire
from secagg.frame import HEADER_SIZE, SIGNATURE_SIZE
from secagg.identity import PartyId
from secagg.schemes.secagg_plus import SecAggPlus, transcript
from secagg.schemes.secagg_plus.brief.messages import Delivery
from secagg.schemes.secagg_plus.messages import Cohort, Inbox, Unmask
from secagg.testing.network import RunResult
from secagg.testing.parties import Parties
from secagg.wire import Message, Table

__all__ = ["body_of", "opened", "restraint"]

M = TypeVar("M", bound=Message)


def body_of(kind: type[M], frame: bytes, parties: Parties) -> M:
    """The message in a frame of this type."""
    return wire.decode(kind, frame[HEADER_SIZE:-SIGNATURE_SIZE], parties.scheme.limits)


def opened(result: RunResult, client: PartyId) -> set[tuple[PartyId, bytes]]:
    """Which shares `client` opened in a round: dealers, each with `SELF` or `KEY`.

    Told apart by the tags in the inboxes or deliveries that it was shown.
    """
    parties = result.parties
    told = [frame for frame in result.frames if frame.receiver == client]
    context = parties.endpoint(client).context
    cohorts = [context] + [
        transcript.cohort_transcript(context, body_of(Cohort, frame.data, parties).adverts)
        for frame in told
        if frame.kind is Cohort
    ]
    parcels = [body_of(Inbox, f.data, parties).parcels for f in told if f.kind is Inbox]
    parcels += [body_of(Delivery, f.data, parties).parcels for f in told if f.kind is Delivery]
    found: set[tuple[PartyId, bytes]] = set()
    for frame in result.frames_of(client, Unmask):
        for dealer, share in body_of(Unmask, frame.data, parties).shares.by_peer("share").items():
            kinds = _kinds(cohorts, parcels, dealer, client, share)
            assert kinds, "a share was opened that no parcel held"
            found |= {(dealer, kind) for kind in kinds}
    return found


def _kinds(
    cohorts: list[bytes], parcels: list[Table], dealer: PartyId, holder: PartyId, share: bytes
) -> set[bytes]:
    posted = {
        (column, table.by_peer(column).get(dealer))
        for table in parcels
        for column in ("self_tag", "key_tag")
    }
    return {
        kind
        for cohort in cohorts
        for kind, column in ((transcript.SELF, "self_tag"), (transcript.KEY, "key_tag"))
        if (column, transcript.share_tag(cohort, dealer, holder, kind, share)) in posted
    }


def restraint(result: RunResult, honest: Iterable[PartyId]) -> None:
    """Assert that no honest client said more than it may, alone or together with the others.

    Each says at most one thing per phase; each opens at most one kind of share per dealer. With
    a consent round, all of them together open at most one kind of share per dealer.
    """
    together: dict[PartyId, set[bytes]] = {}
    for client in honest:
        for kind in result.parties.scheme.server_messages:
            distinct = {frame.data for frame in result.frames_of(client, kind)}
            assert len(distinct) <= 1, f"client {client} sent two different {kind.__name__}"
        alone: dict[PartyId, set[bytes]] = {}
        for dealer, share_kind in opened(result, client):
            alone.setdefault(dealer, set()).add(share_kind)
            together.setdefault(dealer, set()).add(share_kind)
        assert all(len(kinds) == 1 for kinds in alone.values()), "both shares of a dealer"
    if isinstance(result.parties.scheme, SecAggPlus):
        assert all(len(kinds) == 1 for kinds in together.values()), "two survivor sets opened"
