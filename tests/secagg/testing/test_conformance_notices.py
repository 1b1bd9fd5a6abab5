"""The suite notices: schemes broken on purpose, and the very test that must fail for each.

Each is the plain scheme with one thing wrong, and odd on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from secagg.errors import Aborted, RemoteProtocolError
from secagg.event import FraudProven
from secagg.frame import Endpoint, Signed
from secagg.identity import SERVER, PartyId
from secagg.machine import Aggregate, Finished, Over, Role, Send, Signal, Step
from secagg.rand import Rand
from secagg.scheme import Scheme
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.plain.client import PlainClient
from secagg.schemes.plain.messages import Update
from secagg.schemes.plain.server import PlainServer
from secagg.schemes.plain.states import Summing, Waiting
from secagg.schemes.secagg_plus.messages import Shares
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified
from secagg.schemes.secagg_plus.verified.messages import Edges
from secagg.schemes.secagg_plus.verified.server import VerifiedServer
from secagg.testing import Lie, Parties
from secagg.testing.conformance import Provoked, SchemeConformance
from secagg.testing.secagg_plus.toy import ToyScreen
from secagg.testing.secagg_plus.verified import about_all_edges
from secagg.wire import Blob, declare, field


class SumPlusOne(PlainServer):
    """Releases one more than the sum."""

    def _close(self, state: Any) -> Any:
        step = super()._close(state)
        return Step(step.state, step.send, tuple(_plus_one(event) for event in step.events))


def _plus_one(event: Any) -> Any:
    total = event.aggregate.total + event.aggregate.total.dtype.type(1)
    return Finished(replace(event.aggregate, total=total))


class NamesEverybody(PlainServer):
    """Says that everybody is in the sum."""

    def _close(self, state: Any) -> Any:
        step = super()._close(state)
        (event,) = step.events
        included = frozenset(self._invited)
        return Step(step.state, (), (Finished(replace(event.aggregate, included=included)),))


class ReleasesAnything(PlainServer):
    """Knows no threshold."""

    def _close(self, state: Any) -> Any:
        try:
            return super()._close(state)
        except Aborted:
            included = frozenset(state.arrived)
            released = Aggregate(total=state.total, included=included, dropped={})
            return Step(Over(), events=(Finished(released),))


class Forgetful(PlainServer):
    """Does not say who was lost."""

    def _close(self, state: Any) -> Any:
        step = super()._close(state)
        (event,) = step.events
        return Step(step.state, (), (Finished(replace(event.aggregate, dropped={})),))


class Nameless(PlainServer):
    """Aborts without saying who is missing."""

    def _close(self, state: Any) -> Any:
        try:
            return super()._close(state)
        except Aborted as error:
            raise Aborted(error.phase, error.reason) from None


class Fragile(PlainServer):
    """Raises where it should reject."""

    def on_lost(self, state: Any, peer: PartyId, rand: Rand) -> Any:
        raise RemoteProtocolError(f"party {peer} again")


@declare(code=3, phase="update")
class Hoard(Summing):
    """Summing, and everything that was summed."""

    kept: bytes = field(Blob())


class Hoarder(PlainServer):
    """Keeps what every client sent."""

    transitions = {  # noqa: RUF012
        Hoard: {
            Update: (Hoard, Over),
            Signal.DEADLINE: (Over,),
            Signal.LOST: (Hoard, Over),
        }
    }

    def start(self, rand: Rand) -> Any:
        state = super().start(rand).state
        return Step(Hoard(total=state.total, arrived={}, lost={}, kept=b""))

    def on_message(self, state: Any, signed: Signed[Any], rand: Rand) -> Any:
        step = super().on_message(state, signed, rand)
        if isinstance(step.state, Over):
            return step
        kept = state.kept + signed.message.vector
        return Step(replace(step.state, kept=kept), step.send, step.events)


class Impatient(PlainServer):
    """Blames whoever sends after the first one."""

    def on_message(self, state: Any, signed: Signed[Any], rand: Rand) -> Any:
        if len(state.arrived) == 3:
            raise RemoteProtocolError("too slow")
        return super().on_message(state, signed, rand)


class Talkative(PlainClient):
    """Puts its vector into exceptions."""

    def on_deadline(self, state: Any, rand: Rand) -> Any:
        raise Aborted("update", "nothing submitted", {SERVER})


class Borrower(PlainClient):
    """Changes the caller's array."""

    def on_input(self, state: Any, value: Any, rand: Rand) -> Any:
        step = super().on_input(state, value, rand)
        value ^= value.dtype.type(1)
        return step


class Trusting(PlainClient):
    """Takes any array at all."""

    def on_input(self, state: Any, value: Any, rand: Rand) -> Any:
        return Step(Over(), (Send(Update(vector=bytes(18)), (SERVER,)),), (Finished(),))


class Stuck(PlainClient):
    """A state that a silent peer can hold forever."""

    transitions = {Waiting: {Signal.INPUT: (Over,)}}  # noqa: RUF012


def suite(role: type) -> SchemeConformance:
    """The suite over the plain scheme with this role in it."""

    class Broken(PlainInsecure):
        def client_role(self, endpoint: Endpoint) -> Role[Any]:
            return (role if issubclass(role, PlainClient) else PlainClient)(self, endpoint)

        def server_role(self, endpoint: Endpoint) -> Role[Any]:
            return (role if issubclass(role, PlainServer) else PlainServer)(self, endpoint)

    class Suite(SchemeConformance):
        hides_inputs = False

        def scheme(self, clients: int, length: int, width: int) -> Scheme:
            return Broken(clients=clients, length=length, width=width)

    return Suite()


NOTICED = [
    (SumPlusOne, "test_sum_is_exact_for_every_cohort"),
    (SumPlusOne, "test_a_hostile_client_never_stops_the_server"),
    (NamesEverybody, "test_every_single_dropout"),
    (ReleasesAnything, "test_too_few_inputs_abort"),
    (ReleasesAnything, "test_nobody_left_aborts_in_every_phase"),
    (Forgetful, "test_every_single_dropout"),
    (Nameless, "test_too_few_inputs_abort"),
    (Fragile, "test_a_hostile_client_never_stops_the_server"),
    (Hoarder, "test_the_server_keeps_one_vector_however_many_arrive"),
    (Impatient, "test_sum_is_exact_for_every_cohort"),
    (Talkative, "test_a_client_without_an_input_is_left_out"),
    (Borrower, "test_an_input_is_copied"),
    (Trusting, "test_bad_inputs_are_refused"),
    (Stuck, "test_every_transition_names_states_of_the_table"),
]


@pytest.mark.parametrize(("role", "test"), NOTICED)
def test_what_is_broken_is_noticed(role: type, test: str) -> None:
    with pytest.raises((AssertionError, RemoteProtocolError, pytest.fail.Exception)):
        getattr(suite(role), test)()


@pytest.mark.parametrize("test", sorted({test for _, test in NOTICED}))
def test_what_is_whole_passes(test: str) -> None:
    """The positive twin: the same tests over the same scheme unbroken."""
    getattr(suite(PlainServer), test)()


def test_a_plain_vector_is_noticed_where_inputs_should_be_hidden() -> None:
    class Suite(SchemeConformance):
        def scheme(self, clients: int, length: int, width: int) -> Scheme:
            return PlainInsecure(clients=clients, length=length, width=width)

    with pytest.raises(AssertionError):
        Suite().test_inputs_do_not_travel()
    with pytest.raises(NotImplementedError, match="return your scheme here"):
        SchemeConformance().test_ids_may_have_gaps()


# -- rounds with liars ----------------------------------------------------------------------------


class Discreet(VerifiedServer):
    """Convicts, and tells nobody."""

    def _open_verdict(self, state: Any) -> Any:
        step = super()._open_verdict(state)
        return replace(step, events=tuple(e for e in step.events if not isinstance(e, FraudProven)))


class Lenient(VerifiedServer):
    """Convicts, and sums all the same."""

    def _open_decision(self, state: Any, convicted: Any) -> Any:
        step = super()._open_decision(state, ())
        return replace(step, events=(*convicted, *step.events))


def provoked(role: type[VerifiedServer], *, rare: Any = Edges, liars: bool = True) -> Provoked:
    """The part for rounds with liars, over the verified scheme with this server."""

    class Broken(SecAggPlusVerified):
        def server_role(self, endpoint: Endpoint) -> Role[Any]:
            return role(self, endpoint)

    class Suite(Provoked):
        clients = 7

        def scheme(self, clients: int, length: int, width: int) -> Scheme:
            screen = ToyScreen(bound=1 << 40, rows=4, buckets=4)
            return Broken(clients=clients, length=length, width=64, screen=screen)

        def provocations(self, parties: Parties) -> Sequence[Mapping[PartyId, Lie]]:
            return ({5: about_all_edges},) if liars else ()

        def inputs(self, parties: Parties, seed: object = 0) -> Any:
            drawn = super().inputs(parties, seed)
            return {party: value >> value.dtype.type(32) for party, value in drawn.items()}

    Suite.rare = frozenset({rare})
    return Suite()


@pytest.mark.parametrize("role", [Discreet, Lenient])
def test_a_server_that_spares_liars_is_noticed(role: type[VerifiedServer]) -> None:
    with pytest.raises(AssertionError):
        provoked(role).test_liars_are_named_and_the_others_are_summed()
    provoked(VerifiedServer).test_liars_are_named_and_the_others_are_summed()


def test_rare_messages_are_rare_and_occur() -> None:
    with pytest.raises(AssertionError):
        provoked(VerifiedServer, rare=Shares).test_every_rare_message_occurs()
    with pytest.raises(AssertionError):
        provoked(VerifiedServer, liars=False).test_every_rare_message_occurs()
    with pytest.raises(AssertionError):
        provoked(VerifiedServer, liars=False).test_a_second_different_rare_message_ends_a_client()
    provoked(VerifiedServer).test_every_rare_message_occurs()
