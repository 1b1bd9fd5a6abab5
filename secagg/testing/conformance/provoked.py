"""Rounds in which somebody provokes the rare messages: these too survive whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from secagg.errors import RemoteProtocolError
from secagg.identity import SERVER, PartyId
from secagg.testing.adversaries import Hostile, Lie, Outgoing, on
from secagg.testing.conformance.harness import Harness
from secagg.testing.conformance.hostiles import BLAMED, rejected
from secagg.testing.conformance.refusals import followed_by
from secagg.testing.faults import Crash, Delay, Duplicate, Fault, Moment, Reorder, Vanish
from secagg.testing.network import RunResult
from secagg.testing.parties import Parties
from secagg.wire import Message

__all__ = ["Provoked"]

Cast = Mapping[PartyId, Lie]


class Provoked(Harness):
    """For schemes with `rare` messages; `provocations` must make each of them occur."""

    def test_every_rare_message_occurs(self) -> None:
        """With the provocations, and never without."""
        parties = self.usual()
        assert self.rare, "a scheme without rare messages does not need this part"
        assert not _kinds(self.play(parties)) & self.rare
        provoked = [self.play(parties, hostile=lies) for lies in self.provocations(parties)]
        assert self.rare <= {kind for result in provoked for kind in _kinds(result)}

    def test_liars_are_named_and_the_others_are_summed(self) -> None:
        parties = self.usual()
        for lies in self.provocations(parties):
            for faults in ([], [Delay(), Reorder()], [Duplicate(copies=2, most=9)]):
                result = self._survive_liars(parties, lies, faults)
                assert result.aggregate is not None
                assert not result.aggregate.included & lies.keys()
                assert rejected(result) == set(lies)
                assert result.errors.keys() <= lies.keys()

    def test_dropouts_on_top_of_a_provocation(self) -> None:
        """Each client at each message: an exact sum if the scheme still can, else it is typed."""
        parties = self.usual()
        for lies in self.provocations(parties):
            room = self.allowed(parties.scheme) - len(lies)
            for kind in parties.scheme.server_messages:
                for party in self.sample(set(parties.clients) - lies.keys())[:1]:
                    result = self.play(parties, hostile=lies, faults=[Vanish(party, kind)])
                    self.check_nobody_blamed(result, except_for=[*lies])
                    self.check_outcome(result, self.inputs(parties))
                    present = set(parties.clients) - lies.keys() - {party}
                    if room > 0:
                        self.check_exact(result, self.inputs(parties), present)

    def test_crashes_on_top_of_a_provocation(self) -> None:
        """Every honest party at each moment of each step."""
        parties = self.usual()
        for lies in self.provocations(parties):
            honest = set(parties.everybody) - lies.keys()
            for moment in Moment:
                self._survive_liars(
                    parties, lies, [Crash(party, moment=moment) for party in honest]
                )

    def test_nonsense_in_a_rare_message_is_blamed_on_its_sender(self) -> None:
        """A second liar, where the first one made a rare message due; the rest is unharmed."""
        parties = self.usual()
        liar = parties.clients[1]
        for lies, kind, seed, _ in self._rare_by(parties, liar):
            for lie in BLAMED:
                both = {**lies, liar: on(kind, lie)}
                result = self.play(parties, hostile=both, seed=seed)
                assert rejected(result) == both.keys()
                assert result.error or result.errors.keys() <= both.keys()
                self.check_outcome(result, self.inputs(parties))

    def test_a_second_different_rare_message_rejects_its_sender(self) -> None:
        parties = self.usual()
        liar = parties.clients[1]
        for lies, kind, seed, second in self._rare_by(parties, liar):
            both = {**lies, liar: on(kind, followed_by(second))}
            result = self.play(parties, hostile=both, seed=seed)
            assert rejected(result) == both.keys()
            self.check_outcome(result, self.inputs(parties))

    def test_a_second_different_rare_message_ends_a_client(self) -> None:
        """From the server; and the client says nothing more."""
        parties = self.usual()
        victim = parties.clients[1]
        for lies, kind, seed, second in self._rare_by(parties, victim, told=True):
            server = on(kind, followed_by(second), to=victim)
            result = self.play(parties, hostile={**lies, SERVER: server}, seed=seed)
            assert isinstance(result.errors[victim], RemoteProtocolError)
            self.check_outcome(result, self.inputs(parties))

    def test_silence_instead_of_a_rare_message_stops_nobody(self) -> None:
        """The provokers themselves fall silent: an exact sum of the others, or a typed failure."""
        parties = self.usual()
        for lies in self.provocations(parties):
            for kind in parties.scheme.server_messages:
                mute = {party: _muted(lie, kind) for party, lie in lies.items()}
                result = self.play(parties, hostile=mute)
                self.check_exact(result, self.inputs(parties), set(parties.clients) - lies.keys())
                self.check_nobody_blamed(result, except_for=[*lies])

    def _survive_liars(
        self, parties: Parties, lies: Cast, faults: Sequence[Fault] = ()
    ) -> RunResult:
        result = self.play(parties, hostile=lies, faults=faults)
        self.check_exact(result, self.inputs(parties), set(parties.clients) - lies.keys())
        self.check_nobody_blamed(result, except_for=[*lies])
        assert result.errors.keys() <= lies.keys()
        return result

    def _rare_by(
        self, parties: Parties, client: PartyId, *, told: bool = False
    ) -> Iterator[tuple[Cast, type[Message], int, bytes]]:
        """Provocations that make `client` say something rare, or be `told` so: what, the seed of
        such a round, and a frame with another such message.
        """
        found = 0
        for lies in self.provocations(parties):
            frames: dict[type[Message], dict[int, bytes]] = {}
            for seed in range(6):
                for frame in self.play(parties, hostile=lies, seed=seed).frames:
                    party = frame.receiver if told else frame.sender
                    if party == client and frame.kind and frame.kind in self.rare:
                        frames.setdefault(frame.kind, {}).setdefault(seed, frame.data)
            for kind, by_seed in frames.items():
                if len(by_seed) > 1:
                    (seed, _), (_, second), *_ = by_seed.items()
                    found += 1
                    yield lies, kind, seed, second
        assert found, "no provocation reaches the client that is watched"


def _muted(lie: Lie, kind: type[Message]) -> Lie:
    def muted(liar: Hostile, out: Outgoing) -> Iterable[tuple[PartyId, bytes]]:
        return () if isinstance(out.message, kind) else lie(liar, out)

    return muted


def _kinds(result: RunResult) -> set[type[Message]]:
    return {frame.kind for frame in result.frames if frame.kind}
