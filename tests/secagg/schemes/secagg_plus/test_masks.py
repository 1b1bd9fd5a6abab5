"""What hides an input: both layers of masks, each alone, bound to everything that was agreed.

The masks are derived here from the primitives, as the specification says, section 4; the code
under test derives them in `transcript`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from secagg.primitives import agreement, prg, shamir
from secagg.primitives.digest import Label
from secagg.primitives.ring import Words, reduce, unpack, word
from secagg.schemes.secagg_plus import SecAggPlus
from secagg.schemes.secagg_plus.messages import Masked
from secagg.testing import SeededRand, make_round, run
from secagg.testing.secagg_plus import Siege
from secagg.testing.secagg_plus.restraint import body_of

VICTIM = 3
WIDTH = 20


def besieged(rand: str = "same", **changes: int) -> Siege:
    """A client that masked the input of seed 1, told of all five members."""
    parties = make_round(SecAggPlus(clients=5, length=9, width=WIDTH)).again(**changes)
    siege = Siege(parties, VICTIM, SeededRand(rand))
    siege.submit(1)
    siege.tell(siege.cohort(parties.clients))
    siege.tell(siege.inbox(parties.clients))
    assert siege.errors == []
    return siege


def encoded(party: int) -> bytes:
    return party.to_bytes(4, "little")


def pair_keys(siege: Siege) -> tuple[list[bytes], list[bytes]]:
    """Keys of the masks that the victim adds, and of those that it subtracts."""
    plus, minus = [], []
    for peer in siege.puppets:
        both = encoded(min(peer, VICTIM)) + encoded(max(peer, VICTIM))
        key = agreement.derive(siege.secret(peer), Label.PAIR_MASK, siege.members, both)
        (plus if peer > VICTIM else minus).append(key)
    return plus, minus


def self_key(siege: Siege) -> bytes:
    return agreement.derive(seed_of(siege), Label.SELF_MASK, siege.members, encoded(VICTIM))


def seed_of(siege: Siege, holders: Sequence[int] | None = None, which: int = 0) -> bytes:
    """The victim's seed (0) or mask key (1), from the shares that `holders` hold."""
    dealt = siege.dealt()
    chosen = list(dealt)[: siege.scheme.shares_needed] if holders is None else list(holders)
    points = [1 + sorted(siege.puppets).index(holder) for holder in chosen]
    shares = np.frombuffer(b"".join(dealt[h][which] for h in chosen), np.uint8)
    return shamir.reconstruct(points, shares.reshape(len(chosen), 1, -1))[0]


def unmasked(siege: Siege, *, of_self: bool, of_pairs: bool) -> list[int]:
    """The victim's vector without some of its masks and without its check words."""
    plus, minus = pair_keys(siege) if of_pairs else ([], [])
    total = siege.masked()
    prg.add_streams(total, minus, [*plus, *([self_key(siege)] if of_self else [])])
    values: list[int] = reduce(total, WIDTH)[:9].tolist()
    return values


def test_without_both_masks_the_input_is_left() -> None:
    siege = besieged()
    assert unmasked(siege, of_self=True, of_pairs=True) == siege.input(1).tolist()


@pytest.mark.parametrize(("of_self", "of_pairs"), [(False, False), (True, False), (False, True)])
def test_either_mask_alone_hides_it(of_self: bool, of_pairs: bool) -> None:
    siege = besieged()
    left = unmasked(siege, of_self=of_self, of_pairs=of_pairs)
    alike = sum(a == b for a, b in zip(left, siege.input(1).tolist(), strict=True))
    assert alike <= 1


def test_every_neighbour_masks() -> None:
    """Each single pair mask is needed: eight of nine coordinates differ without it."""
    siege = besieged()
    plus, minus = pair_keys(siege)
    for missing in (*plus, *minus):
        total = siege.masked()
        prg.add_streams(
            total,
            [key for key in minus if key != missing],
            [self_key(siege), *(key for key in plus if key != missing)],
        )
        left = reduce(total, WIDTH)[:9].tolist()
        assert sum(a == b for a, b in zip(left, siege.input(1).tolist(), strict=True)) <= 1


def test_any_threshold_of_holders_finds_the_secrets_and_fewer_do_not() -> None:
    siege = besieged()
    needed = siege.scheme.shares_needed
    seeds = {seed_of(siege, who) for who in itertools.combinations(siege.dealt(), needed)}
    keys = {seed_of(siege, who, 1) for who in itertools.combinations(siege.dealt(), needed)}
    assert len(seeds) == len(keys) == 1
    assert seeds != keys
    for who in itertools.combinations(siege.dealt(), needed - 1):
        assert seed_of(siege, who) not in seeds
        assert seed_of(siege, who, 1) not in keys


def test_every_secret_is_drawn_anew() -> None:
    """Seed and mask key of two machines of one client in one round have nothing in common."""
    secrets = [seed_of(besieged(rand), which=n) for rand in ("one", "other") for n in (0, 1)]
    assert len(set(secrets)) == 4
    for one, other in itertools.combinations([*secrets, bytes(32)], 2):
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 8


@pytest.mark.parametrize("change", [{"number": 2}, {"model": bytes(32)}, {"session": bytes(16)}])
def test_another_round_has_other_masks(change: dict[str, int]) -> None:
    """With the very same keys and seeds: a mask is used once."""
    assert differ(besieged().masked(), besieged(**change).masked())


def test_other_members_have_other_masks() -> None:
    """The digests of what others shared are enough; puppets draw them anew in each siege."""
    parties = make_round(SecAggPlus(clients=5, length=9, width=WIDTH))
    vectors = []
    for members in ({1, 2, 3, 4, 5}, {1, 2, 3, 4}, {2, 3, 4, 5}):
        siege = Siege(parties, VICTIM, SeededRand("same"))
        siege.submit(1)
        siege.tell(siege.cohort(parties.clients))
        siege.tell(siege.inbox(members))
        vectors.append(siege.masked())
    for one, other in itertools.combinations(vectors, 2):
        assert differ(one, other)


def test_all_parts_of_an_agreement_change_the_self_mask() -> None:
    """The layer that is not agreed with anybody depends on the members as well."""
    parties = make_round(SecAggPlus(clients=5, length=9, width=WIDTH))
    streams = []
    for times in (1, 2):
        siege = Siege(parties, VICTIM, SeededRand("same"))
        siege.submit(1)
        siege.tell(siege.cohort(parties.clients))
        inboxes = [siege.inbox(parties.clients) for _ in range(times)]  # digests drawn anew
        siege.tell(inboxes[-1])
        total = siege.masked()
        plus, minus = pair_keys(siege)
        prg.add_streams(total, minus, plus)
        streams.append(total)
    assert differ(*streams)


def differ(one: Words, other: Words) -> bool:
    """Whether two vectors of the same input agree by chance at most."""
    return float(np.mean(one == other)) < 0.2


@pytest.mark.slow
def test_masked_vectors_are_uniform() -> None:
    """Pearson's test on bytes of what the clients of many rounds send for one constant input."""
    scheme = SecAggPlus(clients=4, length=1000, width=32)
    counts = np.zeros(256)
    for number in range(8):
        parties = make_round(scheme).again(number=number)
        inputs = np.zeros((4, 1000), word(32))
        result = run(scheme, inputs, parties=parties, rand=SeededRand(number))
        for party in parties.clients:
            (frame,) = result.frames_of(party, Masked)
            vector = unpack(body_of(Masked, frame.data, parties).vector, 1002, 32)
            counts += np.bincount(vector[:1000].view(np.uint8), minlength=256)
    expected = counts.sum() / 256
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert statistic < 400  # 255 degrees of freedom: exceeded with probability below 2e-8
