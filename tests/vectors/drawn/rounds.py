"""Round vectors, recorded from the library's own machines, and played back into new ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from drawn.codes import Code

from secagg import SERVER, Aggregate, Finished, Identity, Machine, PartyId, Rand, Roster, Round
from secagg.primitives import agreement, ring
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest, transcript
from secagg.schemes.secagg_plus.messages import Cohort, Inbox
from secagg.wire import decode

__all__ = [
    "CASES",
    "Case",
    "Shake",
    "Tape",
    "derived",
    "identity",
    "machines",
    "names",
    "record",
    "scheme_of",
    "tape",
]

Json = dict[str, Any]
AnyScheme = SecAggPlus | SecAggPlusSemiHonest

_SCHEMES = {kind.name: kind for kind in (SecAggPlus, SecAggPlusSemiHonest)}
_HEADER, _SIGNATURE = 45, 64


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is recorded: a plan, the clients' ids, and after which of its messages each vanishes.

    vanish: client -> code of the first message that the network loses; nothing comes after it.
    """

    name: str
    about: str
    plan: Json
    clients: tuple[PartyId, ...]
    vanish: Mapping[PartyId, int]


def _plan(scheme: str, width: int, corrupt: str) -> Json:
    sizes = {"clients": 5, "length": 17, "width": width}
    return {"scheme": scheme, **sizes, "corrupt": corrupt, "dropout": "0.4", "threshold": None}


CASES = (
    Case(
        name="round_width_20",
        about="One client is lost before it shares, another before it sends its masked input.",
        plan=_plan("secagg_plus", 20, "0.0"),
        clients=(1, 2, 3, 4, 5),
        vanish={2: Code.SHARES, 4: Code.MASKED},
    ),
    Case(
        name="round_width_33",
        about="One client is lost before it consents, another before it unmasks: both are in the "
        "sum. The ids have gaps and reach the largest there is.",
        plan=_plan("secagg_plus", 33, "0.0"),
        clients=(3, 255, 256, 70_000, 2**32 - 2),
        vanish={255: Code.CONSENT, 70_000: Code.UNMASK},
    ),
    Case(
        name="round_semi_honest",
        about="No consent round. One client never advertises, another is lost before it unmasks.",
        plan=_plan("secagg_plus_semi_honest", 16, "0.2"),
        clients=(7, 11, 13, 17, 19),
        vanish={7: Code.ADVERT, 19: Code.UNMASK},
    ),
)


class Shake:
    """A deterministic `Rand` for test data: SHAKE-256 of a name and a counter."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._calls = 0

    def __call__(self, size: int) -> bytes:
        self._calls += 1
        return hashlib.shake_256(self._name + self._calls.to_bytes(4, "big")).digest(size)


@dataclass
class Tape:
    """A `Rand` that plays recorded bytes; asking for more than there are is an error."""

    data: bytes
    at: int = field(default=0)

    def __call__(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise AssertionError("the tape is over: the machine draws more than was recorded")
        self.at += size
        return self.data[self.at - size : self.at]


def scheme_of(plan: Json) -> AnyScheme:
    """The library's parameters for the plan of a vector."""
    return _SCHEMES[plan["scheme"]](
        clients=plan["clients"],
        length=plan["length"],
        width=plan["width"],
        corrupt=float(plan["corrupt"]),
        dropout=float(plan["dropout"]),
        threshold=plan["threshold"],
    )


def names(vector: Json) -> Round:
    """The library's name of the round of a vector."""
    stated = vector["round"]
    clients = {int(party): bytes.fromhex(key) for party, key in stated["clients"].items()}
    return Round(
        session=bytes.fromhex(stated["session"]),
        number=stated["number"],
        model=bytes.fromhex(stated["model"]),
        roster=Roster(bytes.fromhex(stated["server"]), clients),
    )


def identity(vector: Json, party: PartyId) -> Identity:
    """The signing key of a party of a vector."""
    return Identity.from_bytes(bytes.fromhex(vector["identities"][str(party)]))


def machines(vector: Json, rands: Mapping[PartyId, Rand]) -> dict[PartyId, Machine[Any]]:
    """A server and one client per entry of `rands`, with the recorded inputs submitted."""
    scheme, named = scheme_of(vector["plan"]), names(vector)
    found = {SERVER: scheme.server(named, identity(vector, SERVER), rand=Tape(b""))}
    for party, rand in rands.items():
        found[party] = scheme.client(named, identity(vector, party), party, rand=rand)
        if (given := vector["secrets"][str(party)].get("input")) is not None:
            found[party].submit(np.array(given, ring.word(scheme.width)))
    return found


def record(case: Case) -> Json:
    """A fresh vector of `case`. Only what HPKE draws by itself differs from call to call."""
    vector = _drawn(case)
    present = [client for client in case.clients if case.vanish.get(client) != Code.ADVERT]
    rands = {client: tape(vector, client) for client in present}
    parties = machines(vector, rands)
    vector["frames"] = _drive(case, parties)
    _forget(vector)
    vector["outcome"] = _outcome(parties[SERVER])
    vector["derived"] = derived(vector)
    return vector


def _drawn(case: Case) -> Json:
    """Everything but the frames and what follows from them."""
    rand = Shake(f"secagg vector {case.name}")
    identities = {party: rand(32) for party in (SERVER, *case.clients)}
    publics = {party: Identity.from_bytes(key).public.hex() for party, key in identities.items()}
    drawn_names = {"session": rand(16).hex(), "number": 2**40 + 7, "model": rand(32).hex()}
    return {
        "kind": "round",
        "description": case.about,
        "plan": case.plan,
        "round": {
            **drawn_names,
            "server": publics.pop(SERVER),
            "clients": {str(client): key for client, key in publics.items()},
        },
        "identities": {str(party): key.hex() for party, key in identities.items()},
        "secrets": {
            str(client): _secrets(case, rand)
            for client in case.clients
            if case.vanish.get(client) != Code.ADVERT
        },
    }


def _secrets(case: Case, rand: Rand) -> Json:
    """In the order in which a client draws them, and its input: extreme residues, then any."""
    scheme = scheme_of(case.plan)
    size = scheme.length * ring.word(scheme.width).itemsize
    given = ring.reduce(
        np.frombuffer(rand(size), ring.word(scheme.width)).copy(), scheme.width
    ).tolist()
    return {
        "mask_private": rand(32).hex(),
        "share_private": rand(32).hex(),
        "self_seed": rand(32).hex(),
        "coefficients": rand(64 * (scheme.shares_needed - 1)).hex(),
        "input": [0, 1, 2**scheme.width - 1, *given[3:]],
    }


def tape(vector: Json, client: PartyId) -> Tape:
    """What a client draws, in order."""
    drawn = vector["secrets"][str(client)]
    parts = ("mask_private", "share_private", "self_seed", "coefficients")
    return Tape(b"".join(bytes.fromhex(drawn.get(part, "")) for part in parts))


def _drive(case: Case, parties: dict[PartyId, Machine[Any]]) -> list[Json]:
    """Run the round over a network that loses what `case` says; the frames, in order."""
    frames: list[Json] = []
    server, gone = parties[SERVER], {client for client in case.clients if client not in parties}
    while not server.ended:
        for sender, data in _from_clients(parties, gone, case.vanish):
            server.receive(sender, data)
            frames.append(_entry(sender, [SERVER], data))
        if not (sent := server.to_send()):
            server.deadline()
            sent = server.to_send()
        for to, data in sent:
            if to not in gone:
                parties[to].receive(SERVER, data)
        frames += _grouped(sent)
    return frames


def _from_clients(
    parties: Mapping[PartyId, Machine[Any]], gone: set[PartyId], vanish: Mapping[PartyId, int]
) -> Iterator[tuple[PartyId, bytes]]:
    for client in sorted(parties.keys() - gone - {SERVER}):
        for _, data in parties[client].to_send():
            if data[4] == vanish.get(client):
                gone.add(client)
            if client not in gone:
                yield client, data


def _grouped(sent: list[tuple[PartyId, bytes]]) -> list[Json]:
    """One entry per frame: a broadcast has many receivers."""
    receivers: dict[bytes, list[PartyId]] = {}
    for to, data in sent:
        receivers.setdefault(data, []).append(to)
    return [_entry(SERVER, to, data) for data, to in receivers.items()]


def _entry(sender: PartyId, to: list[PartyId], data: bytes) -> Json:
    return {"from": sender, "to": to, "frame": data.hex()}


def _forget(vector: Json) -> None:
    """Leave out secrets that no frame shows: nobody could check them."""
    shared, masked = _senders(vector, Code.SHARES), _senders(vector, Code.MASKED)
    for client, drawn in vector["secrets"].items():
        if int(client) not in shared:
            del drawn["self_seed"], drawn["coefficients"]
        if int(client) not in masked:
            del drawn["input"]


def _senders(vector: Json, code: int) -> set[PartyId]:
    return {entry["from"] for entry in vector["frames"] if bytes.fromhex(entry["frame"])[4] == code}


def _outcome(server: Machine[Any]) -> Json:
    event = server.next_event()
    assert isinstance(event, Finished)
    assert isinstance(event.aggregate, Aggregate)
    dropped = {phase: sorted(lost) for phase, lost in event.aggregate.dropped.items()}
    included = sorted(event.aggregate.included)
    return {"total": event.aggregate.total.tolist(), "included": included, "dropped": dropped}


# -- what implementers compare with when a frame differs --------------------------------------


def derived(vector: Json) -> Json:
    """Intermediate values by the library: parameters, digests, transcripts, keys, check words."""
    scheme, named = scheme_of(vector["plan"]), names(vector)
    context = named.context(scheme.code, scheme.encoded())
    adverts = decode(Cohort, _body(vector, Code.COHORT), scheme.limits).adverts
    members = decode(Inbox, _body(vector, Code.INBOX), scheme.limits).members
    cohort = transcript.cohort_transcript(context, adverts)
    agreed = transcript.members_transcript(cohort, members)
    masked = sorted(_senders(vector, Code.MASKED))
    return {
        "parameters": scheme.encoded().decode(),
        "roster": named.roster.digest.hex(),
        "context": context.hex(),
        "cohort": cohort.hex(),
        "members": agreed.hex(),
        "survivors": transcript.survivors_transcript(agreed, masked).hex(),
        "clients": {
            str(client): _client(vector, scheme, cohort, agreed, client, members.peers)
            for client in members.peers
        },
    }


def _body(vector: Json, code: int) -> bytes:
    """The body of the first frame of a type."""
    frames = (bytes.fromhex(entry["frame"]) for entry in vector["frames"])
    return next(data[_HEADER:-_SIGNATURE] for data in frames if data[4] == code)


def _client(
    vector: Json,
    scheme: AnyScheme,
    cohort: bytes,
    members: bytes,
    client: PartyId,
    peers: list[PartyId],
) -> Json:
    drawn = vector["secrets"]
    mine = drawn[str(client)]
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(mine["mask_private"]))
    found: Json = {
        "self_mask_key": transcript.self_mask_key(
            bytes.fromhex(mine["self_seed"]), members, client
        ).hex(),
        "pair_mask_keys": {},
    }
    for peer in peers:
        if peer != client:
            public = agreement.public_key(bytes.fromhex(drawn[str(peer)]["mask_private"]))
            secret = agreement.agree(private, public)
            key = transcript.mask_key(secret, members, client, peer)
            found["pair_mask_keys"][str(peer)] = key.hex()
    if "input" in mine:
        words = np.array(mine["input"], ring.word(scheme.width))
        checks = transcript.check_words(words, cohort, scheme.check_count)
        found["check_words"] = ring.reduce(checks, scheme.width).tolist()
    return found
