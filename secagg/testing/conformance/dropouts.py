"""Whoever drops out, and whenever: the sum of those that are named, or a typed failure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from secagg.errors import Aborted
from secagg.identity import SERVER, PartyId
from secagg.testing.conformance.harness import Harness
from secagg.testing.faults import Drop, Late, LinkFault, Partition, Vanish
from secagg.testing.network import RunResult
from secagg.wire import Message

__all__ = ["Dropouts"]


class Dropouts(Harness):
    def test_every_single_dropout(self) -> None:
        """Each client at each of its messages: the sum of the others, and the loss is named."""
        parties = self.usual()
        for party, kind in self.sample(
            itertools.product(parties.clients, self.kinds(parties.scheme))
        ):
            self._survive([Vanish(party, kind)])

    def test_every_combination_of_dropouts(self) -> None:
        """Up to the allowed number of clients, each at any message; sampled where too many."""
        for pattern in self.sample(self._patterns()):
            self._survive(pattern)

    def test_one_too_many_gives_no_inexact_sum(self) -> None:
        """One more than allowed: an exact sum where the scheme still can, else a typed failure."""
        parties = self.usual()
        many = self.allowed(parties.scheme) + 1
        for kind in self.kinds(parties.scheme):
            gone = frozenset(parties.clients[-many:])
            result = self._vanish([Vanish(party, kind) for party in gone])
            if result.error is not None:
                self._check_aborted(result, kind, gone)

    def test_too_few_inputs_abort(self) -> None:
        """Clients that never appear, one more than allowed: nothing is released."""
        parties = self.usual()
        gone = frozenset(parties.clients[: self.allowed(parties.scheme) + 1])
        result = self._vanish([Vanish(party) for party in gone])
        self._check_aborted(result, self.kinds(parties.scheme)[0], gone)

    def test_nobody_left_aborts_in_every_phase(self) -> None:
        """All clients at once: the failure names the very phase, and everybody as missing."""
        parties = self.usual()
        for kind in self.kinds(parties.scheme):
            result = self._vanish([Vanish(party, kind) for party in parties.clients])
            self._check_aborted(result, kind, frozenset(parties.clients))
            assert isinstance(result.error, Aborted)
            assert result.error.phase == kind.phase
            assert result.error.missing == frozenset(parties.clients)

    def test_a_client_without_an_input_is_left_out(self) -> None:
        parties = self.usual()
        inputs = self.inputs(parties)
        idle = parties.clients[1]
        given = {party: value for party, value in inputs.items() if party != idle}
        result = self.play(parties, given)
        self.check_exact(result, inputs, set(given))
        assert result.aggregate is not None
        assert idle not in result.aggregate.included
        error = result.errors[idle]
        assert isinstance(error, Aborted)
        assert error.missing == {idle}

    def test_clients_outlive_a_server_that_vanishes(self) -> None:
        """The deadline of a client that still waits raises `Aborted` and names the server."""
        parties = self.usual()
        for kind in (None, *self.told(parties.scheme)):
            result = self.play(parties, faults=[Vanish(SERVER, kind)])
            if kind in self.parting:
                self.check_exact(result, self.inputs(parties), set(parties.clients))
                assert not result.errors, "a client waits for what it does not need"
                continue
            assert result.aggregate is None
            for error in result.errors.values():
                assert isinstance(error, Aborted)
                assert error.missing == {SERVER}

    def test_messages_that_come_too_late_do_no_harm(self) -> None:
        """A slow client is left out of what it missed; nobody is blamed for a slow network."""
        parties = self.usual()
        inputs = self.inputs(parties)
        slow = parties.clients[1]
        for kind in self.kinds(parties.scheme):
            result = self.play(parties, inputs, faults=[Late(sender=slow, message=kind)])
            self.check_exact(result, inputs, set(parties.clients) - {slow})
            self.check_nobody_blamed(result)
            assert result.errors.keys() <= {slow}

    def test_lost_messages_are_drop_outs(self) -> None:
        """Every link to and from one client, and a partition, are survived like its absence."""
        parties = self.usual()
        inputs = self.inputs(parties)
        cut = parties.clients[2]
        kinds = (*self.kinds(parties.scheme), *self.told(parties.scheme))
        faults: list[LinkFault] = [Partition(group={cut}), Partition(group={cut}, since=2)]
        for kind in kinds:
            faults += [Drop(sender=cut, message=kind), Drop(receiver=cut, message=kind)]
        for fault in faults:
            result = self.play(parties, inputs, faults=[fault])
            self.check_exact(result, inputs, set(parties.clients) - {cut})
            self.check_nobody_blamed(result)
            for error in result.errors.values():
                assert isinstance(error, Aborted), f"an honest server is blamed: {error}"

    def _survive(self, pattern: Sequence[Vanish]) -> None:
        result = self._vanish(pattern)
        gone = {script.party for script in pattern}
        present = set(result.parties.clients) - gone
        self.check_exact(result, self.inputs(result.parties), present)
        assert result.aggregate is not None
        lost = {(party, phase) for phase, who in result.aggregate.dropped.items() for party in who}
        assert lost == {(s.party, s.message.phase) for s in pattern if s.message is not None}
        self.check_nobody_blamed(result)
        assert not result.errors, "a client that stayed did not finish"

    def _vanish(self, pattern: Sequence[Vanish]) -> RunResult:
        parties = self.usual()
        result = self.play(parties, faults=pattern)
        self.check_outcome(result, self.inputs(parties))
        return result

    def _check_aborted(
        self, result: RunResult, kind: type[Message], gone: frozenset[PartyId]
    ) -> None:
        """`gone` never sent `kind`: the failure comes in its phase or later and names them."""
        assert result.aggregate is None
        assert isinstance(result.error, Aborted), f"{len(gone)} are gone: {result.error}"
        phases = [each.phase for each in self.kinds(result.parties.scheme)]
        assert phases.index(result.error.phase) >= phases.index(kind.phase)
        assert result.error.missing
        assert result.error.missing <= gone

    def _patterns(self) -> Iterator[list[Vanish]]:
        parties = self.usual()
        kinds = self.kinds(parties.scheme)
        for count in range(self.allowed(parties.scheme) + 1):
            for who in itertools.combinations(parties.clients, count):
                for when in itertools.product(kinds, repeat=count):
                    yield [Vanish(party, kind) for party, kind in zip(who, when, strict=True)]
