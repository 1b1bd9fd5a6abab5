"""One recorded round of secagg_plus, derived again from its secrets, message by message.

Every body is built anew and compared whole, so no byte of a frame escapes. What HPKE drew by
itself is the one thing taken from the frames: sealed parcels are opened and their content compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from reference import derive, ed25519, graph, ring, shamir, x25519
from reference.frame import (
    BROADCAST,
    CODES,
    PARCEL,
    SERVER,
    SIGNATURE,
    Frame,
    Reader,
    Row,
    header,
    parse_rows,
    rows,
    sign,
    verify_signature,
)
from reference.hashing import digest, text
from reference.hpke import open_base
from reference.plan import CODES as SCHEME_CODES
from reference.plan import context, encoded, roster_digest
from reference.plan import derive as derive_plan
from reference.refused import Refused, require
from reference.vector import Checks, Sent, Vector

__all__ = ["RoundCheck"]

_FROM_CLIENTS = ("Advert", "Shares", "Masked", "Consent", "Unmask")
_TO_ALL = ("Cohort", "Survivors", "Consents")
_CONSENT = {"Consent", "Consents"}


class RoundCheck:
    """Takes a vector apart in the order of the protocol; `run` does everything."""

    def __init__(self, vector: Vector, checks: Checks) -> None:
        self.vector = vector
        self.checks = checks
        self.plan = vector.plan
        self.derived = derive_plan(vector.plan)
        self.invited = sorted(vector.clients)
        self.recorded: dict[str, Any] = {}  # what `derived` in the file must be

    def run(self) -> None:
        """Check everything, or raise `Refused` at the first difference."""
        self.check_names()
        self.check_frames()
        self.check_adverts()
        self.check_shares()
        self.check_inboxes()
        self.check_masked()
        self.check_consents()
        self.check_unmask()
        self.check_outcome()
        for name in sorted(self.recorded.keys() | self.vector.derived.keys()):
            found, expected = self.vector.derived.get(name), self.recorded.get(name)
            self.checks.equal(f"derived {name}", found, expected)

    # -- who, and which round ---------------------------------------------------------------

    def check_names(self) -> None:
        """Identities belong to the roster, and the plan and the roster give the context."""
        vector = self.vector
        self.checks.equal("size of the roster", len(self.invited), self.plan.clients)
        publics = {SERVER: vector.server, **vector.clients}
        self.checks.equal("parties with an identity", set(vector.identities), set(publics))
        for party, private in vector.identities.items():
            self.checks.equal("identity", ed25519.public_key(private), publics[party])
        parameters = encoded(self.plan, self.derived)
        roster = roster_digest(vector.server, vector.clients)
        self.context = context(
            self.plan.scheme, parameters, vector.session, vector.number, vector.model, roster
        )
        self.recorded["parameters"] = parameters.decode()
        self.recorded["roster"] = roster.hex()
        self.recorded["context"] = self.context.hex()

    # -- envelopes --------------------------------------------------------------------------

    def check_frames(self) -> None:
        """Every header and signature; then sort the frames by message and by client."""
        order = list(CODES.values())
        kinds = [order.index(sent.frame.kind) for sent in self.vector.frames]
        self.checks.equal("order of the phases", kinds, sorted(kinds))
        self.sent: dict[str, dict[int, Sent]] = {kind: {} for kind in order}
        for sent in self.vector.frames:
            self.check_frame(sent)
            client = sent.frame.receiver if sent.sender == SERVER else sent.sender
            require(client not in self.sent[sent.frame.kind], "one message of a type per party")
            self.sent[sent.frame.kind][client] = sent

    def check_frame(self, sent: Sent) -> None:
        frame, kind = sent.frame, sent.frame.kind
        require(self.plan.consents or kind not in _CONSENT, "this scheme has no consent phase")
        self.checks.equal("direction", sent.sender != SERVER, kind in _FROM_CLIENTS)
        require(kind in _TO_ALL or len(sent.receivers) == 1, "one receiver, but for broadcasts")
        receiver = BROADCAST if kind in _TO_ALL else sent.receivers[0]
        head = self.header(kind, sent.sender, receiver)
        self.checks.equal("header", sent.data[: len(head)], head)
        self.check_signature(frame, head)

    def check_signature(self, frame: Frame, head: bytes) -> None:
        private = self.vector.identities.get(frame.sender)
        if private is None:
            raise Refused(f"party {frame.sender} has no identity")
        self.checks.equal("signature", frame.signature, sign(private, head, frame.body))
        public = ed25519.public_key(private)
        verify_signature(public, head, frame.body, frame.signature)

    def header(self, kind: str, sender: int, receiver: int) -> bytes:
        code = SCHEME_CODES[self.plan.scheme]
        return header(code, kind, self.context, sender, receiver)

    def body(self, kind: str, client: int) -> bytes:
        return self.sent[kind][client].frame.body

    def check_broadcast(self, kind: str, body: bytes, receivers: Iterable[int]) -> None:
        self.checks.equal(f"number of {kind}", list(self.sent[kind]), [BROADCAST])
        self.checks.equal(f"receivers of {kind}", self.receivers(kind), tuple(receivers))
        self.checks.equal(kind, self.body(kind, BROADCAST), body)

    def receivers(self, kind: str) -> tuple[int, ...]:
        return self.sent[kind][BROADCAST].receivers

    def senders(self, kind: str, among: Iterable[int], least: int) -> list[int]:
        found = sorted(self.sent[kind])
        require(set(found) <= set(among), f"{kind}: only clients that are still in the round")
        require(len(found) >= least, f"{kind}: enough clients remain")
        return found

    # -- adverts ----------------------------------------------------------------------------

    def check_adverts(self) -> None:
        """Public keys, the cohort's transcript, and the graph it draws."""
        self.adverted = self.senders("Advert", self.invited, self.derived.survivors)
        self.checks.equal("clients with secrets", sorted(self.vector.secrets), self.adverted)
        adverts = {client: self.advert(client) for client in self.adverted}
        self.check_broadcast("Cohort", rows(adverts), self.adverted)
        self.cohort = derive.cohort_transcript(self.context, adverts)
        self.recorded["cohort"] = self.cohort.hex()
        order = self.invited
        if self.derived.degree < self.plan.clients - 1:
            order = graph.ring_order(self.invited, graph.graph_seed(self.cohort))
        self.order = order

    def advert(self, client: int) -> Row:
        drawn = self.vector.secrets[client]
        keys = (x25519.public_key(drawn.mask_private), x25519.public_key(drawn.share_private))
        self.checks.equal("Advert", self.body("Advert", client), b"".join(keys))
        return (*keys, self.sent["Advert"][client].frame.signature)

    def neighbours(self, client: int) -> list[int]:
        return graph.neighbours(self.order, self.derived.reach, client)

    def secret(self, one: int, other: int) -> bytes:
        keys = self.vector.secrets
        return x25519.shared_secret(
            keys[one].mask_private, x25519.public_key(keys[other].mask_private)
        )

    # -- shares -----------------------------------------------------------------------------

    def check_shares(self) -> None:
        """Commitments, tags, sealed parcels, and that any threshold of shares gives the secrets."""
        self.members = self.senders("Shares", self.adverted, self.derived.survivors)
        with_seed = [c for c, drawn in self.vector.secrets.items() if drawn.self_seed is not None]
        self.checks.equal("clients with a seed", sorted(with_seed), self.members)
        self.dealt = {client: self.deal(client) for client in self.members}
        self.parcels = {client: self.check_parcels(client) for client in self.members}

    def deal(self, dealer: int) -> dict[int, tuple[bytes, bytes]]:
        drawn = self.vector.secrets[dealer]
        assert drawn.self_seed is not None
        assert drawn.coefficients is not None
        threshold = self.derived.threshold
        self.checks.equal("size of coefficients", len(drawn.coefficients), 64 * (threshold - 1))
        secrets = (drawn.self_seed, drawn.mask_private)
        holders = self.neighbours(dealer)
        dealt = [
            shamir.shares(secrets, drawn.coefficients, threshold, point)
            for point in range(1, len(holders) + 1)
        ]
        for place, secret in enumerate(secrets):
            self.check_any_threshold([pair[place] for pair in dealt], secret)
        return {holder: (pair[0], pair[1]) for holder, pair in zip(holders, dealt, strict=True)}

    def check_any_threshold(self, dealt: list[bytes], secret: bytes) -> None:
        for points in combinations(range(1, len(dealt) + 1), self.derived.threshold):
            held = {point: dealt[point - 1] for point in points}
            self.checks.equal("secret from a threshold", shamir.reconstruct(held), secret)

    def check_parcels(self, dealer: int) -> dict[int, Row]:
        """The parcels of one dealer; whole, but for the sealed bytes that travel in them."""
        reader = Reader(self.body("Shares", dealer))
        reader.take(32)
        posted = parse_rows(reader, PARCEL, self.derived.degree)
        reader.finish()
        live = [peer for peer in self.neighbours(dealer) if peer in self.adverted]
        self.checks.equal("receivers of parcels", sorted(posted), live)
        parcels = {peer: self.parcel(dealer, peer, posted[peer][-1]) for peer in live}
        drawn = self.vector.secrets[dealer]
        assert drawn.self_seed is not None
        promised = derive.commitment(self.cohort, dealer, drawn.self_seed)
        self.checks.equal("Shares", self.body("Shares", dealer), promised + rows(parcels))
        return parcels

    def parcel(self, dealer: int, holder: int, sealed: bytes) -> Row:
        secret, pair = self.secret(dealer, holder), self.dealt[dealer][holder]
        info = derive.seal_info(secret, self.cohort, dealer, holder)
        opened = open_base(self.vector.secrets[holder].share_private, sealed, info)
        self.checks.equal("sealed parcel", opened, b"".join(pair))
        tags = (
            derive.share_tag(self.cohort, dealer, holder, kind, share)
            for kind, share in zip((derive.SELF, derive.KEY), pair, strict=True)
        )
        return (derive.edge_tag(secret, self.cohort, dealer, holder), *tags, sealed)

    # -- inboxes and masked inputs ----------------------------------------------------------

    def check_inboxes(self) -> None:
        """Each member gets the list of members and the parcels that its neighbours dealt it."""
        members: dict[int, Row] = {
            client: (digest("shares", self.body("Shares", client)),) for client in self.members
        }
        self.checks.equal("receivers of Inbox", sorted(self.sent["Inbox"]), self.members)
        for client in self.members:
            dealers = [peer for peer in self.neighbours(client) if peer in members]
            inbox = rows(members) + rows({peer: self.parcels[peer][client] for peer in dealers})
            self.checks.equal("Inbox", self.body("Inbox", client), inbox)
        self.transcript = derive.members_transcript(self.cohort, members)
        self.recorded["members"] = self.transcript.hex()
        self.recorded["clients"] = {str(client): self.keys(client) for client in self.members}

    def keys(self, client: int) -> dict[str, Any]:
        """The keys of every mask of a member, as the file records them."""
        seed = self.vector.secrets[client].self_seed
        assert seed is not None
        return {
            "self_mask_key": derive.self_mask_key(seed, self.transcript, client).hex(),
            "pair_mask_keys": {
                str(peer): self.pair_key(client, peer).hex()
                for peer in self.neighbours(client)
                if peer in self.members
            },
        }

    def pair_key(self, one: int, other: int) -> bytes:
        return derive.pair_mask_key(self.secret(one, other), self.transcript, one, other)

    @property
    def word_count(self) -> int:
        return self.plan.length + self.derived.check_count

    def check_masked(self) -> None:
        """Input, check words and masks add up to the masked vector, exactly."""
        self.included = self.senders("Masked", self.members, self.derived.survivors)
        given = [c for c, drawn in self.vector.secrets.items() if drawn.input is not None]
        self.checks.equal("clients with an input", sorted(given), self.included)
        for client in self.included:
            self.checks.equal("Masked", self.body("Masked", client), self.masked(client))

    def masked(self, client: int) -> bytes:
        vector = self.input(client)
        checks = ring.check_words(vector, self.cohort, self.derived.check_count, self.plan.width)
        self.recorded["clients"][str(client)]["check_words"] = checks
        seed = self.vector.secrets[client].self_seed
        assert seed is not None
        total = self.add([*vector, *checks], 1, derive.self_mask_key(seed, self.transcript, client))
        for peer in self.neighbours(client):
            if peer in self.members:
                total = self.add(total, 1 if client < peer else -1, self.pair_key(client, peer))
        return self.attestation(client) + ring.pack(total, self.plan.width)

    def attestation(self, client: int) -> bytes:
        """A signature of its own on the members under which a client masks."""
        covered = text("attest") + digest("attest", self.transcript)
        attestation = ed25519.sign(self.vector.identities[client], covered)
        ed25519.verify(self.vector.clients[client], covered, attestation)
        return attestation

    def input(self, client: int) -> list[int]:
        given = self.vector.secrets[client].input
        assert given is not None
        require(len(given) == self.plan.length, "an input has the plan's length")
        require(all(0 <= value < 2**self.plan.width for value in given), "inputs are residues")
        return list(given)

    def add(self, total: list[int], sign: int, key: bytes) -> list[int]:
        masks = ring.stream_words(key, len(total), self.plan.width)
        modulus = 2**self.plan.width
        return [(x + sign * mask) % modulus for x, mask in zip(total, masks, strict=True)]

    # -- consent and unmask -----------------------------------------------------------------

    def check_consents(self) -> None:
        """The survivor set, the signatures on it, and the quorum that the server shows."""
        included: dict[int, Row] = {c: (self.attestation(c),) for c in self.included}
        self.check_broadcast("Survivors", rows(included), self.included)
        survivors = derive.survivors_transcript(self.transcript, self.included)
        self.recorded["survivors"] = survivors.hex()
        self.voters = self.senders("Consent", self.included, self.derived.quorum)
        for client in self.voters:
            self.checks.equal("Consent", self.body("Consent", client), survivors)
        if self.plan.consents:
            chosen = self.voters[: self.derived.quorum]
            votes = {client: (self.sent["Consent"][client].frame.signature,) for client in chosen}
            self.check_broadcast("Consents", rows(votes), self.included)

    def check_unmask(self) -> None:
        """One share per neighbour: of the seed of an included one, else of the mask key."""
        self.unmaskers = self.senders("Unmask", self.included, self.derived.threshold)
        for holder in self.unmaskers:
            opened: dict[int, Row] = {
                dealer: (self.dealt[dealer][holder][dealer not in self.included],)
                for dealer in self.neighbours(holder)
                if dealer in self.members
            }
            self.checks.equal("Unmask", self.body("Unmask", holder), rows(opened))

    def opened(self, dealer: int) -> bytes:
        """The secret of `dealer` that the opened shares give, from the frames alone."""
        held: dict[int, bytes] = {}
        for point, holder in enumerate(self.neighbours(dealer), start=1):
            if holder in self.unmaskers:
                shares = parse_rows(Reader(self.body("Unmask", holder)), (32,), self.derived.degree)
                held[point] = shares[dealer][0]
        require(len(held) >= self.derived.threshold, "enough shares of every secret are opened")
        return shamir.reconstruct(dict(list(held.items())[: self.derived.threshold]))

    # -- the sum ----------------------------------------------------------------------------

    def check_outcome(self) -> None:
        """The sum from the frames is the sum of the inputs, and its check words fit."""
        total = self.unmasked()
        vector, checks = total[: self.plan.length], total[self.plan.length :]
        inputs = [self.input(client) for client in self.included]
        expected = [sum(column) % 2**self.plan.width for column in zip(*inputs, strict=True)]
        self.checks.equal("sum of the inputs", vector, expected)
        again = ring.check_words(vector, self.cohort, self.derived.check_count, self.plan.width)
        self.checks.equal("check words of the sum", checks, again)
        outcome = {"total": vector, "included": self.included, "dropped": self.dropped()}
        self.checks.equal("outcome", dict(self.vector.outcome), outcome)

    def unmasked(self) -> list[int]:
        total = [0] * self.word_count
        for client in self.included:
            packed = self.body("Masked", client)[SIGNATURE:]
            masked = ring.unpack(packed, self.word_count, self.plan.width)
            total = [(x + y) % 2**self.plan.width for x, y in zip(total, masked, strict=True)]
        for client in self.included:
            key = derive.self_mask_key(self.opened(client), self.transcript, client)
            total = self.add(total, -1, key)
        for client in sorted(set(self.members) - set(self.included)):
            total = self.without(total, client)
        return total

    def without(self, total: list[int], dropped: int) -> list[int]:
        """Take out the masks that included clients share with one that dropped."""
        private = self.opened(dropped)
        for peer in self.neighbours(dropped):
            if peer in self.included:
                public = x25519.public_key(self.vector.secrets[peer].mask_private)
                secret = x25519.shared_secret(private, public)
                key = derive.pair_mask_key(secret, self.transcript, dropped, peer)
                total = self.add(total, -1 if peer < dropped else 1, key)
        return total

    def dropped(self) -> Mapping[str, list[int]]:
        """Per phase, who was lost in it; nobody is lost twice."""
        consented = self.voters if self.plan.consents else self.included
        stages = [
            ("adverts", self.invited, self.adverted),
            ("shares", self.adverted, self.members),
            ("masked", self.members, self.included),
            ("consent", self.included, consented),
            ("unmask", consented, self.unmaskers),
        ]
        return {name: sorted(set(due) - set(came)) for name, due, came in stages}
