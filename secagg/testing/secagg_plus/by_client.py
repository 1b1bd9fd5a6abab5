"""What one malicious client can say instead of one honest message, and what must come of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from secagg import wire
from secagg.errors import Aborted, IntegrityError, SecAggError
from secagg.identity import PartyId
from secagg.primitives.digest import Label, digest
from secagg.schemes.secagg_plus.messages import (
    OPENED,
    PARCELS,
    Advert,
    Consent,
    Masked,
    Shares,
    Unmask,
)
from secagg.testing.adversaries import Hostile, Lie, Outgoing, honest, on, replacing
from secagg.testing.secagg_plus.cells import LOW_ORDER, Cells, rows_of, table_of
from secagg.wire import Message

__all__ = ["CLIENT_ATTACKS", "ClientAttack"]


@dataclass(frozen=True)
class ClientAttack:
    """What one client says instead of one honest message, and what must come of it.

    error: what ends the round, None if the sum of the others is released. blamed: whether the
    liar is named, in `PeerRejected` or as a culprit. taken: honest clients that may be left out
    of the sum with it.
    """

    name: str
    lie: Lie
    error: type[SecAggError] | None = None
    blamed: bool = True
    taken: int = 0


def _advert(change: Callable[[Hostile, Advert], Advert]) -> Lie:
    def twist(liar: Hostile, out: Outgoing) -> Message:
        assert isinstance(out.message, Advert)
        return change(liar, out.message)

    return on(Advert, replacing(twist))


def _shares(change: Callable[[Hostile, Shares], Shares]) -> Lie:
    """Another `Shares`, which the liar's own machine then stands by."""

    def twist(liar: Hostile, out: Outgoing) -> Message:
        assert isinstance(out.message, Shares)
        message = change(liar, out.message)
        liar.adopt(manifest=digest(Label.SHARES, wire.encode(message)))
        return message

    return on(Shares, replacing(twist))


def _parcels(change: Callable[[Hostile, Cells], object]) -> Lie:
    def twist(liar: Hostile, message: Shares) -> Shares:
        cells = rows_of(message.parcels)
        change(liar, cells)
        return dataclasses.replace(message, parcels=table_of(PARCELS, cells))

    return _shares(twist)


def _noise_in(column: str, count: int | None = None) -> Lie:
    """Random bytes in a column of the first `count` parcels; in all, if None."""

    def change(liar: Hostile, cells: Cells) -> None:
        for row in list(cells.values())[:count]:
            row[column] = liar.rand(len(row[column]))

    return _parcels(change)


def _opened(change: Callable[[Hostile, Cells], object]) -> Lie:
    def twist(liar: Hostile, out: Outgoing) -> Message:
        assert isinstance(out.message, Unmask)
        cells = rows_of(out.message.shares)
        change(liar, cells)
        return dataclasses.replace(out.message, shares=table_of(OPENED, cells))

    return on(Unmask, replacing(twist))


def _masked(change: Callable[[Hostile, Masked], Masked]) -> Lie:
    def twist(liar: Hostile, out: Outgoing) -> Message:
        assert isinstance(out.message, Masked)
        return change(liar, out.message)

    return on(Masked, replacing(twist))


def _wrong_commitment(liar: Hostile, message: Shares) -> Shares:
    return dataclasses.replace(message, commitment=liar.rand(32))


def _for_itself(liar: Hostile, cells: Cells) -> None:
    """A row under its own id, in the place of another."""
    cells[liar.me] = cells.pop(max(cells))


def _noise_in_opened(liar: Hostile, cells: Cells) -> None:
    for row in cells.values():
        row["share"] = liar.rand(32)


def _noise_vector(liar: Hostile, message: Masked) -> Masked:
    """Another vector than the input under the agreed masks; the padding bits stay zero."""
    noise = bytearray(liar.rand(len(message.vector)))
    noise[-1] = 0
    return dataclasses.replace(message, vector=bytes(noise))


def _full_padding(_: Hostile, message: Masked) -> Masked:
    return dataclasses.replace(message, vector=message.vector[:-1] + b"\xff")


def _foreign_attestation(liar: Hostile, message: Masked) -> Masked:
    attestation = liar.endpoint.attest(Label.ATTEST, liar.rand(32))
    return dataclasses.replace(message, attestation=attestation)


def _other_consent(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    yield out.to, liar.seal(out.to, Consent(transcript=liar.rand(32)))


_NOT_CANONICAL = (2**255 - 10).to_bytes(32, "little")

CLIENT_ATTACKS: tuple[ClientAttack, ...] = (
    ClientAttack("honest", honest, blamed=False),
    ClientAttack(
        "mask key of low order", _advert(lambda _, m: dataclasses.replace(m, mask_key=LOW_ORDER))
    ),
    ClientAttack(
        "share key of low order", _advert(lambda _, m: dataclasses.replace(m, share_key=LOW_ORDER))
    ),
    ClientAttack(
        "mask key in another encoding",
        _advert(lambda _, m: dataclasses.replace(m, mask_key=_NOT_CANONICAL)),
    ),
    ClientAttack("all edge tags false", _noise_in("edge_tag")),
    ClientAttack("one edge tag false", _noise_in("edge_tag", 1), taken=1),
    ClientAttack("parcel left out", _parcels(lambda _, cells: cells.pop(max(cells)))),
    ClientAttack(
        "parcel for itself",
        _parcels(_for_itself),
    ),
    ClientAttack("no parcels", _parcels(lambda _, cells: cells.clear())),
    ClientAttack("one parcel spoiled", _noise_in("sealed", 1), blamed=False),
    ClientAttack("all parcels spoiled", _noise_in("sealed"), Aborted),
    ClientAttack("all self tags false", _noise_in("self_tag"), Aborted),
    ClientAttack("all key tags false", _noise_in("key_tag"), Aborted),
    ClientAttack("another seed committed", _shares(_wrong_commitment), Aborted),
    ClientAttack("noise for a masked input", _masked(_noise_vector), IntegrityError, blamed=False),
    ClientAttack("padding bits set", _masked(_full_padding)),
    ClientAttack("other members attested", _masked(_foreign_attestation)),
    ClientAttack("consent to something else", on(Consent, _other_consent)),
    ClientAttack("false shares opened", _opened(_noise_in_opened)),
    ClientAttack("no shares opened", _opened(lambda _, cells: cells.clear()), blamed=False),
    ClientAttack(
        "own share opened",
        _opened(_for_itself),
    ),
)
