"""What is not an input is refused at the door, and the machine goes on as if it had not come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secagg.errors import InputRefused, LocalProtocolError
from secagg.identity import SERVER
from secagg.primitives.ring import word
from secagg.scheme import Scheme
from secagg.testing.conformance.harness import Harness, drain
from secagg.testing.faults import Fault, Tardy
from secagg.testing.network import Network
from secagg.testing.rand import SeededRand

__all__ = ["Inputs"]


class Inputs(Harness):
    def test_bad_inputs_are_refused(self) -> None:
        """Each leaves the machine byte for byte as it was, and then the good one is taken."""
        parties = self.usual()
        inputs = self.inputs(parties)
        for client in (parties.clients[0], parties.clients[-1]):
            machine = parties.machine(client, SeededRand("client"))
            before = machine.snapshot()
            for bad in self._bad(parties.scheme):
                with pytest.raises(InputRefused):
                    machine.submit(bad)
                assert machine.snapshot() == before
            machine.submit(self.wrap(inputs[client]))
            drain(machine)
            assert machine.snapshot() != before

    def test_bad_inputs_are_refused_at_the_last_moment(self) -> None:
        """Where everybody waits for the input: the round then ends exactly."""
        parties = self.usual()
        inputs = self.inputs(parties)
        late = parties.clients[0]
        faults: list[Fault] = [Tardy(late)]
        network = Network(parties, faults=faults, rand=SeededRand("late"))
        given = self.given(inputs)
        for party in given.keys() - {late}:
            network.submit(party, given[party])
        network.settle()
        for bad in self._bad(parties.scheme):
            with pytest.raises(InputRefused):
                network.submit(late, bad)
        network.finish({late: given[late]})
        self.check_exact(network.result(), inputs, set(parties.clients))

    def test_a_second_input_is_refused(self) -> None:
        """At any time; the first one counts."""
        parties = self.usual()
        inputs = self.inputs(parties)
        others = self.inputs(parties, "other")
        twice = parties.clients[0]
        network = Network(parties, rand=SeededRand("twice"))
        for party, value in self.given(inputs).items():
            network.submit(party, value)
        while True:
            with pytest.raises(LocalProtocolError):
                network.submit(twice, self.wrap(others[twice]))
            if not network.step():
                break
        network.finish({})
        self.check_exact(network.result(), inputs, set(parties.clients))

    def test_an_input_is_copied(self) -> None:
        """What the caller does to its array afterwards changes nothing, and it is not changed."""
        parties = self.usual()
        inputs = self.inputs(parties)
        given = {party: value.copy() for party, value in inputs.items()}
        network = Network(parties, rand=SeededRand("copied"))
        for party, value in self.given(given).items():
            network.submit(party, value)
        for party, array in given.items():
            assert array.tolist() == inputs[party].tolist()
            array[:] = 0
        network.finish({})
        self.check_exact(network.result(), inputs, set(parties.clients))

    def test_servers_take_no_clients_input(self) -> None:
        parties = self.usual()
        machine = parties.machine(SERVER, SeededRand("server"))
        refused = LocalProtocolError if self.server_input() is None else InputRefused
        with pytest.raises(refused):
            machine.submit(self.wrap(self.inputs(parties)[parties.clients[0]]))

    def test_read_only_and_strided_inputs_are_taken(self) -> None:
        parties = self.usual()
        inputs = self.inputs(parties)
        strange = {party: np.repeat(value, 3)[::3] for party, value in inputs.items()}
        for value in strange.values():
            value.flags.writeable = False
        result = self.play(parties, strange)
        self.check_exact(result, inputs, set(parties.clients))

    def _bad(self, scheme: Scheme) -> list[Any]:
        """Bad vectors as a client would submit them, and what is not even that."""
        return [None, *(self.wrap(vector) for vector in _bad_vectors(scheme))]


def _bad_vectors(scheme: Scheme) -> list[Any]:
    """Everything that somebody will hand over one day."""
    dtype, length = word(scheme.width), scheme.length
    good = np.zeros(length, dtype)
    bad: list[Any] = [
        None,
        0,
        "0" * length,
        good.tobytes(),
        good.tolist(),
        [good],
        np.full(length, np.nan),
        np.full(length, np.inf),
        np.zeros(length),
        np.zeros(length, np.float32),
        np.zeros(length, dtype.newbyteorder(">")),
        np.zeros(length, f"<i{dtype.itemsize}"),
        np.zeros(length, np.uint8),
        np.zeros(length, bool),
        np.zeros(length, object),
        np.zeros(length, complex),
        np.zeros((), dtype),
        np.zeros(0, dtype),
        np.zeros((1, length), dtype),
        np.zeros((length, 1), dtype),
        np.zeros(length + 1, dtype),
        np.zeros(length - 1, dtype),
        dtype.type(0),
    ]
    if scheme.width < 8 * dtype.itemsize:
        for position in (0, length - 1):
            over = good.copy()
            over[position] = 1 << scheme.width
            bad.append(over)
        bad.append(np.full(length, np.iinfo(dtype).max, dtype))
    return bad
