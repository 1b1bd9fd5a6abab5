"""`secagg_plus.unmask`: the state that a round would reach is built by hand, then spoilt."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.errors import Aborted, IntegrityError
from secagg.machine import Aggregate, Finished
from secagg.primitives import agreement, prg, ring, shamir
from secagg.schemes.secagg_plus import SecAggPlus, transcript
from secagg.schemes.secagg_plus.graph import Graph
from secagg.schemes.secagg_plus.messages import MEMBERS, OPENED
from secagg.schemes.secagg_plus.states import PEERS, PHASES, TAGS, Book, Unmasking
from secagg.schemes.secagg_plus.unmask import can_release, release
from secagg.wire import ids

CLIENTS = (3, 5, 8, 13, 21, 34, 2**32 - 2)
COHORT, TRANSCRIPT = b"c" * 32, b"m" * 32
LENGTH = 6


@dataclass
class Play:
    """Seven clients, of which some shared, some masked an input and some answered at the end."""

    width: int = 20
    absent: tuple[int, ...] = ()
    dropped: tuple[int, ...] = (8,)
    silent: tuple[int, ...] = ()
    graph: Graph = field(default_factory=lambda: Graph.complete(CLIENTS))
    threshold: int = 3

    def __post_init__(self) -> None:
        rand = random.Random(7).randbytes
        self.params = SecAggPlus(
            clients=7, length=LENGTH, width=self.width, corrupt=0.15, dropout=0.4,
            threshold=self.threshold,
        )  # fmt: skip
        self.secrets = {c: rand(32) for c in CLIENTS}
        self.seeds = {c: rand(32) for c in CLIENTS}
        raw = {c: np.frombuffer(rand(8 * LENGTH), "<u8") for c in CLIENTS}
        kind = ring.word(self.width)
        self.inputs = {c: ring.reduce(v.astype(kind), self.width) for c, v in raw.items()}
        self.shares = {
            c: self.deal(self.seeds[c], self.secrets[c], self.graph.neighbours(c), rand)
            for c in CLIENTS
        }

    def deal(
        self, seed: bytes, secret: bytes, holders: tuple[int, ...], rand: Any
    ) -> dict[int, tuple[bytes, bytes]]:
        points = range(1, len(holders) + 1)
        rows = shamir.split([seed, secret], self.threshold, points, rand)
        return {
            holder: (row[0].tobytes(), row[1].tobytes())
            for holder, row in zip(holders, rows, strict=True)
        }

    @property
    def members(self) -> list[int]:
        return [c for c in CLIENTS if c not in self.absent]

    @property
    def included(self) -> list[int]:
        return [c for c in self.members if c not in self.dropped]

    def near(self, client: int) -> list[int]:
        """The neighbours that are members too."""
        return [c for c in self.graph.neighbours(client) if c in self.members]

    def masked(self, client: int) -> Any:
        """The vector and check words of one client under all its masks."""
        vector = self.inputs[client]
        checks = transcript.check_words(vector, COHORT, self.params.check_count)
        total = np.concatenate([vector, checks])
        plus = [transcript.self_mask_key(self.seeds[client], TRANSCRIPT, client)]
        minus: list[bytes] = []
        for other in self.near(client):
            public = agreement.public_key(self.secrets[other])
            private = X25519PrivateKey.from_private_bytes(self.secrets[client])
            secret = agreement.agree(private, public)
            key = transcript.mask_key(secret, TRANSCRIPT, client, other)
            (plus if client < other else minus).append(key)
        prg.add_streams(total, plus, minus)
        return ring.reduce(total, self.width)

    def state(self) -> Unmasking:
        words = LENGTH + self.params.check_count
        total = np.zeros(words, ring.word(self.width))
        for client in self.included:
            total += self.masked(client)
        return Unmasking(
            book=self.book(),
            members=TRANSCRIPT,
            total=total,
            included=ids(self.included),
            opened={c: self.opened(c) for c in self.included if c not in self.silent},
        )

    def book(self) -> Book:
        cells = {c: (agreement.public_key(self.secrets[c]),) for c in self.members}
        commitments = {c: transcript.commitment(COHORT, c, self.seeds[c]) for c in self.members}
        lost = {self.absent: 0, self.dropped: 2, self.silent: 4}
        return Book(
            cohort=COHORT,
            mask_keys=PEERS.table(cells),
            members=MEMBERS.table({c: (bytes(32),) for c in self.members}),
            commitments=commitments,
            tags={c: TAGS.table(self.tags(c)) for c in self.members},
            lost={party: phase for group, phase in lost.items() for party in group},
        )

    def tags(self, dealer: int) -> dict[int, tuple[bytes, ...]]:
        kinds = (transcript.SELF, transcript.KEY)
        return {
            holder: tuple(
                transcript.share_tag(COHORT, dealer, holder, kind, share)
                for kind, share in zip(kinds, pair, strict=True)
            )
            for holder, pair in self.shares[dealer].items()
            if holder in self.members
        }

    def opened(self, holder: int) -> Any:
        rows = {
            dealer: (self.shares[dealer][holder][dealer in self.dropped],)
            for dealer in self.near(holder)
        }
        return OPENED.table(rows)

    def release(self, state: Unmasking | None = None, liars: Collection[int] = ()) -> Aggregate:
        """The aggregate; beside it, exactly the `liars` are rejected."""
        *rejected, finished = release(self.params, self.graph, state or self.state(), PHASES)
        assert [(event.peer, event.phase) for event in rejected] == [  # type: ignore[union-attr]
            (liar, "unmask") for liar in sorted(liars)
        ]
        assert isinstance(finished, Finished)
        assert finished.aggregate is not None
        return finished.aggregate

    @property
    def expected(self) -> list[int]:
        columns = zip(*(self.inputs[c].tolist() for c in self.included), strict=True)
        return [sum(column) % (1 << self.width) for column in columns]


def spoil(state: Unmasking, holder: int, dealer: int) -> Unmasking:
    """Flip one bit of the share that `holder` opened for `dealer`.

    Not in its first or last byte: bits that X25519 ignores could leave the key as good as it was.
    """
    shares = state.opened[holder].by_peer("share")
    share = bytearray(shares[dealer])
    share[15] ^= 1
    shares[dealer] = bytes(share)
    table = OPENED.table({peer: (share,) for peer, share in shares.items()})
    return replace(state, opened={**state.opened, holder: table})


def without(state: Unmasking, holder: int, dealer: int) -> Unmasking:
    """`holder` opened nothing for `dealer`."""
    shares = state.opened[holder].by_peer("share")
    table = OPENED.table({peer: (share,) for peer, share in shares.items() if peer != dealer})
    return replace(state, opened={**state.opened, holder: table})


# -- honest rounds -----------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 16, 20, 32, 33, 64])
@pytest.mark.parametrize("dropped", [(), (3,), (8, 2**32 - 2)], ids=str)
def test_the_sum_is_exact(width: int, dropped: tuple[int, ...]) -> None:
    play = Play(width=width, dropped=dropped)
    aggregate = play.release()
    assert aggregate.total.tolist() == play.expected
    assert aggregate.total.dtype == ring.word(width)
    assert aggregate.included == set(play.included)


@pytest.mark.parametrize("threshold", [2, 3, 4])
def test_any_threshold_of_holders_will_do(threshold: int) -> None:
    silent = tuple(Play(dropped=(8,)).included[threshold + 1 :])
    play = Play(dropped=(8,), threshold=threshold, silent=silent)
    assert play.release().total.tolist() == play.expected


@pytest.mark.parametrize("reach", [2, 3])
@pytest.mark.parametrize("dropped", [(), (3,), (5, 21)], ids=str)
def test_the_sum_is_exact_on_a_ring(reach: int, dropped: tuple[int, ...]) -> None:
    """Masks run along edges only; a share's point is its holder's place among the neighbours."""
    for seed in range(3):
        graph = Graph.drawn(CLIENTS, reach, bytes((seed,)) * 32)
        play = Play(dropped=dropped, graph=graph, threshold=2)
        assert play.release().total.tolist() == play.expected


@pytest.mark.parametrize("graph", [Graph.complete(CLIENTS), Graph.drawn(CLIENTS, 3, bytes(32))])
def test_clients_that_never_shared_have_no_masks_and_leave_their_points_empty(
    graph: Graph,
) -> None:
    play = Play(absent=(3, 21), dropped=(8,), graph=graph, threshold=2)
    aggregate = play.release()
    assert aggregate.total.tolist() == play.expected
    assert aggregate.included == {5, 13, 34, 2**32 - 2}


def test_the_dropped_are_listed_by_the_phase_that_lost_them() -> None:
    dropped = Play(absent=(3,), dropped=(8, 13), silent=(34,), threshold=2).release().dropped
    assert set(dropped) == set(PHASES)
    assert dropped["adverts"] == {3}
    assert dropped["masked"] == {8, 13}
    assert dropped["unmask"] == {34}
    assert dropped["shares"] == dropped["consent"] == frozenset()


# -- how many answers are enough ----------------------------------------------------------------


def enough(play: Play, state: Unmasking) -> bool:
    return can_release(play.params, play.graph, state)


@pytest.mark.parametrize("dropped", [(), (8,), (8, 21)], ids=str)
def test_it_tells_exactly_when_the_sum_can_be_released(dropped: tuple[int, ...]) -> None:
    answers = Play(dropped=dropped).included
    for count in range(len(answers) + 1):
        for silent in itertools.combinations(answers, count):
            play = Play(dropped=dropped, silent=silent)
            if enough(play, play.state()):
                assert play.release().total.tolist() == play.expected
            else:
                with pytest.raises(Aborted, match="are needed"):
                    play.release()


def test_a_false_share_is_not_one_of_enough() -> None:
    play = Play(silent=(21, 34))
    holders = [holder for holder in play.included if holder not in play.silent]
    assert holders == [3, 5, 13, 2**32 - 2]
    state = play.state()
    assert enough(play, state)
    assert not enough(play, spoil(state, 3, 5)), "5 needs 3, 13 and the last: one is false"
    assert enough(play, spoil(state, 3, 8)), "three others hold shares of 8"


# -- bad shares --------------------------------------------------------------------------------


each_dealer = pytest.mark.parametrize("dealer", [3, 8, 2**32 - 2], ids=["first", "dropped", "last"])


@each_dealer
def test_bad_shares_are_left_out_while_enough_are_good(dealer: int) -> None:
    play = Play()
    state = play.state()
    holders = [holder for holder in play.included if holder != dealer]
    liars = holders[: len(holders) - play.threshold]
    for holder in liars:
        state = spoil(state, holder, dealer)
    assert play.release(state, liars).total.tolist() == play.expected


@each_dealer
def test_too_many_bad_shares_end_the_round_and_name_the_liars(dealer: int) -> None:
    play = Play(silent=(34,))
    state = play.state()
    holders = [holder for holder in state.opened if holder != dealer]
    liars = holders[: len(holders) - play.threshold + 1]
    for holder in liars:
        state = spoil(state, holder, dealer)
    reason = f"2 valid shares of a secret of client {dealer}, 3 are needed"
    with pytest.raises(Aborted, match=reason) as aborted:
        play.release(state)
    assert aborted.value.phase == "unmask"
    assert aborted.value.missing == {34}
    assert aborted.value.culprits == set(liars)


def test_too_few_answers_end_the_round_and_blame_nobody() -> None:
    play = Play(silent=(13, 21, 34))
    with pytest.raises(Aborted, match="2 valid shares of a secret of client 3, 3") as aborted:
        play.release()
    assert aborted.value.missing == {13, 21, 34}
    assert aborted.value.culprits == frozenset()


def test_a_holder_may_hold_nothing_of_a_dealer() -> None:
    play = Play()
    state = without(play.state(), 3, 5)
    assert play.release(state).total.tolist() == play.expected


def test_a_dealer_whose_shares_more_holders_lack_than_may_collude_is_named() -> None:
    """An honest holder leaves out only what did not open to its tag: the dealer spoiled it."""
    play = Play()
    assert play.params.corrupt_count == 1
    state = play.state()
    for holder in (3, 13, 21, 34):
        state = without(state, holder, 5)
    with pytest.raises(Aborted, match="1 valid shares of a secret of client 5") as aborted:
        play.release(state)
    assert aborted.value.culprits == {5}


def test_a_dealer_is_not_named_for_what_the_corrupt_may_have_left_out() -> None:
    play = Play(silent=(13, 21))
    state = without(play.state(), 3, 5)
    with pytest.raises(Aborted, match="2 valid shares of a secret of client 5") as aborted:
        play.release(state)
    assert aborted.value.culprits == frozenset()


def test_a_share_of_the_other_secret_does_not_count() -> None:
    """The key shares of an included client, were they opened, are not taken for seed shares."""
    play = Play()
    state = play.state()
    for holder in (5, 13, 21):
        shares = state.opened[holder].by_peer("share")
        shares[3] = play.shares[3][holder][1]
        table = OPENED.table({peer: (share,) for peer, share in shares.items()})
        state = replace(state, opened={**state.opened, holder: table})
    with pytest.raises(Aborted, match="2 valid shares of a secret of client 3, 3 are needed"):
        play.release(state)


# -- bad dealers -------------------------------------------------------------------------------


@pytest.mark.parametrize("dealer", [3, 8], ids=["seed", "key"])
def test_a_dealer_whose_shares_fit_its_tags_but_not_its_promise_is_named(dealer: int) -> None:
    play = Play()
    other = random.Random(1).randbytes
    holders = play.graph.neighbours(dealer)
    play.shares[dealer] = play.deal(other(32), other(32), holders, other)
    with pytest.raises(Aborted, match=f"client {dealer} dealt shares that do not fit") as aborted:
        play.release()
    assert aborted.value.culprits == {dealer}


def test_a_false_commitment_ends_the_round() -> None:
    play = Play()
    state = play.state()
    book = replace(state.book, commitments={**state.book.commitments, 5: bytes(32)})
    with pytest.raises(Aborted, match="client 5 dealt shares that do not fit its own commitment"):
        play.release(replace(state, book=book))


# -- masks that do not cancel ------------------------------------------------------------------


@pytest.mark.parametrize("width", [16, 20, 64])
def test_a_changed_total_is_withheld(width: int) -> None:
    play = Play(width=width)
    words = LENGTH + play.params.check_count
    for at in range(words):
        state = play.state()
        state.total[at] += 1
        with pytest.raises(IntegrityError, match="the masks do not cancel"):
            play.release(state)


def test_a_client_that_masked_with_another_key_is_noticed() -> None:
    play = Play()
    state = play.state()
    wrong = transcript.mask_key(bytes(32), TRANSCRIPT, 3, 5)
    prg.add_streams(state.total, [wrong])
    with pytest.raises(IntegrityError):
        play.release(state)


def test_a_client_of_another_transcript_is_noticed() -> None:
    """Keys come from the transcript: an included client that saw another one spoils the sum."""
    play = Play(dropped=())
    state = play.state()
    with pytest.raises(IntegrityError):
        play.release(replace(state, members=b"x" * 32))


def test_an_input_counted_twice_is_noticed() -> None:
    play = Play(dropped=())
    state = play.state()
    state.total[:] += play.masked(3)
    with pytest.raises(IntegrityError):
        play.release(state)


def test_no_error_shows_a_secret() -> None:
    play = Play()
    state = play.state()
    for holder in (3, 13, 21):
        state = spoil(state, holder, 5)
    with pytest.raises(Aborted) as aborted:
        play.release(state)
    shown = f"{aborted.value!r}{state!r}{state.book!r}"
    for secret in (*play.seeds.values(), *play.secrets.values()):
        assert secret.hex()[:12] not in shown
        assert str(secret)[2:20] not in shown
    assert "opened" not in repr(state)
