"""Names over a network: the class sums of all are those of the pooled examples, counted once each,
whoever is lost.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from secagg import Identity
from test_round import Listening
from traffic import usual

from apiwatch import Settings, classes, encode, gather
from apiwatch.agreement import Agreement, Sum
from apiwatch.channel import Address, Channel, Kind
from apiwatch.class_round import ClassRound, Listed, Opening, What, largest_sums
from apiwatch.classes import BENIGN, ClassModel, ClassSums, class_weights
from apiwatch.coordinator import Coordinator, largest
from apiwatch.errors import ApiwatchError, ParameterError, RoundFailed
from apiwatch.naming import Namer, level_for
from apiwatch.pending import Pending
from apiwatch.shared_classes import SharedClasses, class_vector_size, layout
from apiwatch.site import Joined, Site
from apiwatch.site_classes import give_names
from apiwatch.work import learnt

SALT = b"0123456789abcdef"
SETTINGS = Settings(cells=8, slots=4, salt=SALT)
SITES = range(1, 6)
KEYS = {site: Identity.generate(os.urandom) for site in SITES}
SERVER = Identity.generate(os.urandom)
AGREED = Agreement.of(SETTINGS, SERVER.public, {site: key.public for site, key in KEYS.items()})
COUNTS = {site: gather(usual(10, seed=site)) for site in SITES}
SQLI = [(f"{i}' or {i}={i} union select name from users--", "sqli") for i in range(20)]
XSS = [(f"<script>alert({i})</script>", "xss") for i in range(10)]
USUAL = [(f"anna {i} lives at mill road {i * 7}", BENIGN) for i in range(40)]
NEW = [(f"${{jndi:ldap://host{i}/{'x' * i}}}", "log4shell") for i in range(7)]
EXAMPLES = {2: SQLI + USUAL[:15], 4: XSS + SQLI[:5], 5: USUAL[15:]}


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Class sums of 65 features: of rounds, their size shows nothing but time."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_BITS", 6), ("_WIDTH", 64), ("SIZE", 65)):
            patch.setattr(encode, name, value)
        patch.setattr(classes, "SIZE", 65)
        layout.cache_clear()
        class_vector_size.cache_clear()
        yield
    layout.cache_clear()
    class_vector_size.cache_clear()


def nothing() -> SharedClasses:
    """Class sums before the first round, as a server of the agreement has them."""
    return SharedClasses(era=AGREED.era)


def site(me: int, folder: Path, **options) -> Site:
    pending = Pending(folder / f"{me}.examples", AGREED.era)
    given = {"agreement": AGREED, "identity": KEYS[me], "me": me, "settings": SETTINGS}
    given |= {"counts": None, "pending": pending, "patience": 30.0}
    return Site(**given | options)


async def learn(sites: list[Site], what: What, shared: SharedClasses, **options) -> list:
    """The class sums after the round, what came of it at the server and at the sites."""
    kept = [shared]
    given = {"agreement": AGREED, "identity": SERVER, "what": what, "shared": shared}
    server = Listening(**given | options, kept=kept.append)
    task = asyncio.create_task(server.coordinator.serve(Address("127.0.0.1", 0)))
    address = await server.address()
    joining = (one.join(address) for one in sites)
    ended = await asyncio.gather(task, *joining, return_exceptions=True)
    return [kept[-1], *ended]


def waiting(folder: Path) -> list[tuple[str, str]]:
    """Examples of all sites that are in no sum."""
    return [
        pair
        for file in sorted(folder.glob("*.examples"))
        for pair in Pending(file, AGREED.era).pairs
    ]


def pooled(*pairs: list[tuple[str, str]]) -> ClassSums:
    """From the examples in one place."""
    examples = list(chain(*pairs))
    weights = class_weights(counts(*pairs))
    return ClassSums.learn(examples, {label for _, label in examples}, weights)


def counts(*pairs: list[tuple[str, str]]) -> Counter[str]:
    return Counter(label for _, label in chain(*pairs))


def test_profile_and_names_come_out_of_one_session_and_a_label_out_of_the_next(
    tmp_path: Path,
) -> None:
    both = What.PROFILE | What.CLASSES
    sites = [site(i, tmp_path, counts=COUNTS[i], examples=EXAMPLES.get(i, ())) for i in SITES]
    shared, outcome, *joined = asyncio.run(learn(sites, both, SharedClasses()))
    whole = pooled(*EXAMPLES.values())
    assert outcome.counted == outcome.calibrated == outcome.named == tuple(SITES)
    assert outcome.names == counts(*EXAMPLES.values())
    assert outcome.classes == shared.sums_digest == whole.digest
    assert {one.profile.classes.digest for one in joined} == {whole.digest}
    assert outcome.digest == learnt(sum(COUNTS.values(), Counter()), SETTINGS, None).detector.digest
    assert not waiting(tmp_path)
    # what a site sends does not tell whether it has examples; shares differ by the graph alone
    sent = [[(s.what, s.coordinates) for s in one.profile.ledger.sent[2:]] for one in joined]
    assert [what for what, _ in sent[0]] == ["names", "class sums", "responses to names"]
    assert sent == [sent[0]] * 5
    assert max(outcome.bytes_up.values()) - min(outcome.bytes_up.values()) < 2000

    known = joined[0].profile.classes
    profiles = {i: one.profile for i, one in zip(SITES, joined, strict=True)}
    profiles[3] = learnt(COUNTS[3], SETTINGS, None)  # lost its names, and gets them again
    sites = [site(i, tmp_path, before=profiles[i]) for i in SITES if i != 5]
    sites[0].pending.add(NEW)
    again, outcome, *joined = asyncio.run(learn(sites, What.CLASSES, shared, wait=4.0))
    assert outcome.named == (1, 2, 3, 4)
    assert (outcome.names, outcome.counted, outcome.digest) == ({"log4shell": 7}, (), "")
    weights = class_weights(counts(*EXAMPLES.values(), NEW))
    expected = known + ClassSums.learn(NEW, ["log4shell"], weights)
    assert again.sums_digest == expected.digest
    assert {one.profile.classes.digest for one in joined} == {expected.digest}
    assert {one.profile.later for one in joined} == {("log4shell",)}
    assert {one.profile.level for one in joined} == {shared.level}
    namer = Namer(ClassModel(expected), again.level, again.later)
    assert [n.label for n in namer.names([NEW[3][0] + "y", SQLI[3][0]])] == ["log4shell", "sqli"]


class Lost(Exception):
    """The site is no more."""


def dying_at(last: str) -> Callable[[str], None]:
    """What a site that is lost at this step is told by."""

    def told(step: str) -> None:
        if step == last:
            raise Lost

    return told


def test_a_site_that_is_lost_with_its_vector_underway_adds_it_once(tmp_path: Path) -> None:
    before = {i: learnt(COUNTS[i], SETTINGS, None) for i in SITES}
    sites = [site(i, tmp_path, before=before[i]) for i in SITES]
    sites[1].pending.add(SQLI + USUAL)
    sites[3].pending.add(XSS)
    sites[3].told = dying_at("sum 1: consent")
    shared, outcome, *joined = asyncio.run(learn(sites, What.CLASSES, SharedClasses()))
    assert isinstance(joined[3], Lost)
    assert outcome.named == tuple(SITES)
    assert shared.sums_digest == pooled(SQLI, USUAL, XSS).digest
    assert shared.level is not None
    assert Pending(tmp_path / "4.examples").pairs == XSS

    sites = [site(i, tmp_path, before=before[i]) for i in SITES]
    again, outcome, *joined = asyncio.run(learn(sites, What.CLASSES, shared))
    assert (outcome.names, outcome.named) == ({}, ())
    assert again is shared
    assert joined[3].profile.classes.digest == outcome.classes == shared.sums_digest
    assert not waiting(tmp_path)


def test_a_site_that_is_lost_before_is_in_the_next_sum(tmp_path: Path) -> None:
    profiles = {i: learnt(COUNTS[i], SETTINGS, None) for i in SITES}
    sites = [site(i, tmp_path, before=profiles[i]) for i in SITES]
    sites[1].pending.add(SQLI + USUAL)
    sites[3].pending.add(XSS)
    sites[3].told = dying_at("sum 1: shares")
    shared, outcome, *joined = asyncio.run(learn(sites, What.CLASSES, SharedClasses()))
    assert isinstance(joined[3], Lost)
    assert outcome.named == (1, 2, 3, 5)
    # it was among those who listed their names, so weights are by all
    assert outcome.names == counts(SQLI, USUAL, XSS)
    left = class_weights(counts(SQLI, USUAL, XSS))
    first = ClassSums.learn(SQLI + USUAL, left, left)
    assert shared.sums_digest == first.digest

    sites = [site(i, tmp_path, before=profiles[i]) for i in SITES]
    again, outcome, *joined = asyncio.run(learn(sites, What.CLASSES, shared))
    assert outcome.names == {"xss": 10}
    assert again.sums.counts.tolist() == [40, 20, 10]
    assert not waiting(tmp_path)


def test_who_spoils_the_names_leaves_the_profile_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ClassRound.entries

    def spoiled(self: ClassRound, examples: Counter[str]) -> np.ndarray:
        return honest(self, examples) + (1 if examples["xss"] else 0)

    both = What.PROFILE | What.CLASSES
    sites = [site(i, tmp_path, counts=COUNTS[i], examples=EXAMPLES.get(i, ())) for i in SITES]
    with monkeypatch.context() as patch:
        patch.setattr(ClassRound, "entries", spoiled)
        shared, outcome, *joined = asyncio.run(learn(sites, both, SharedClasses()))
    assert "not one of 64 names" in outcome.missing
    assert (outcome.names, shared.sums) == ({}, None)
    assert {one.digest for one in joined} == {outcome.digest}
    assert all("not one of 64 names" in str(one.missing) for one in joined)
    assert outcome.digest == learnt(sum(COUNTS.values(), Counter()), SETTINGS, None).detector.digest
    # what was to be added is there for the next round, and giving it again does no harm
    sites = [
        site(i, tmp_path, before=one.profile, examples=EXAMPLES.get(i, ()))
        for i, one in zip(SITES, joined, strict=True)
    ]
    shared, outcome, *joined = asyncio.run(learn(sites, What.CLASSES, SharedClasses()))
    assert outcome.classes == pooled(*EXAMPLES.values()).digest


@pytest.fixture(scope="module")
def opened() -> ClassRound:
    return ClassRound(
        agreement=AGREED,
        session=bytes(16),
        sites=frozenset(SITES),
        before=bytes(32),
        shared=nothing().digest,
    )


def listing(opened: ClassRound, *pairs: list[tuple[str, str]], sites=SITES) -> Listed:
    total = opened.entries(counts(*pairs))
    return opened.listed(frozenset(sites), total, nothing())


def names_of(this: Sum) -> tuple:
    """What a context is made of."""
    told = this.round
    return told.session, told.number, told.model, tuple(told.roster.ids)


def test_sites_that_were_told_different_things_are_in_different_rounds(opened: ClassRound) -> None:
    one = listing(opened, SQLI)
    first = {
        names_of(dataclasses.replace(opened, **change).listing())
        for change in ({}, {"before": b"x" * 32}, {"shared": b"x" * 32}, {"session": b"x" * 16})
    }
    second = {
        names_of(told.summing())
        for told in (one, listing(opened, SQLI, XSS), listing(opened, SQLI, sites=range(1, 5)))
    }
    total = one.vector(SQLI)
    third = {
        names_of(told.leveling())
        for told in (
            one.summed(one.sites, total),
            one.summed(one.sites, total // 2),
            one.summed(one.sites - {1}, total),
        )
    }
    assert (len(first), len(second), len(third)) == (4, 3, 3)
    assert names_of(listing(opened, SQLI).summing()) in second


def test_class_sums_fit_and_others_are_refused(opened: ClassRound) -> None:
    listed = listing(opened, SQLI, USUAL)
    this, vector = listed.summing(), listed.vector(SQLI + USUAL)
    assert vector.max() == listed.most == this.bound < 1 << this.scheme.width
    assert listed.summed(listed.sites, vector).shared.sums_digest == pooled(SQLI, USUAL).digest
    # whoever has few examples works on empty ones, and adds none of them
    assert counts(listed.others(SQLI)) == counts(USUAL)
    assert counts(listed.others([])) == counts(SQLI, USUAL)
    assert not listed.vector([]).any()
    over = vector.copy()
    over[0] = listed.most + 1
    for wrong in (over, -vector):
        with pytest.raises(RoundFailed, match="class sums in"):
            listed.summed(listed.sites, wrong)
    many = listing(opened, SQLI, USUAL + USUAL[:1]).vector(SQLI + USUAL + USUAL[:1])
    with pytest.raises(RoundFailed, match="more examples than there are"):
        listed.summed(listed.sites, np.minimum(many, listed.most))
    with pytest.raises(ParameterError, match="labels in"):
        listed.vector(XSS)


def test_names_of_all_rounds_are_bounded(opened: ClassRound) -> None:
    names = [[("x", f"name {i}")] for i in range(60)]
    listed = listing(opened, *names)
    shared = listed.summed(listed.sites, listed.vector(list(chain(*names)))).shared
    after = dataclasses.replace(opened, shared=shared.digest)
    four = Counter({f"more {i}": 1 for i in range(4)})
    assert len(after.listed(after.sites, after.entries(four), shared).labels) == 64
    with pytest.raises(RoundFailed, match="names of all rounds <= 64"):
        after.listed(after.sites, after.entries(four + Counter(a=1)), shared)


def test_the_level_is_what_fresh_attacks_reach(opened: ClassRound) -> None:
    dice = np.random.default_rng(7)
    words = ["".join(chr(97 + c) for c in dice.integers(0, 26, 5)) for _ in range(300)]
    of = [f"{a}' or {a}={a} union select {b} from x" for a, b in pairwise(words)]
    examples = [(text, "sqli") for text in of[:100]] + USUAL
    listed = listing(opened, examples)
    learnt_now = listed.summed(listed.sites, listed.vector(examples))
    assert not learnt_now.has_level
    responses = learnt_now.responses(examples)
    assert responses.sum() == 100
    split = learnt_now.responses(examples[:50]) + learnt_now.responses(examples[50:])
    assert np.array_equal(split, responses)
    level = learnt_now.leveled(responses).level
    assert level == pytest.approx(level_for(ClassModel(learnt_now.shared.sums), of[100:]), abs=0.08)
    assert learnt_now.leveled(0 * responses).level is None
    with pytest.raises(RoundFailed, match="responses <= 100 examples"):
        learnt_now.leveled(responses + 1)


def test_class_sums_of_all_come_back_and_damage_is_noticed(
    opened: ClassRound, tmp_path: Path
) -> None:
    listed, path = listing(opened, SQLI, USUAL), tmp_path / "classes"
    shared = listed.summed(listed.sites, listed.vector(SQLI + USUAL)).shared
    shared.save(path, SharedClasses.load(path))
    again = SharedClasses.load(path)
    assert (again.digest, again.rounds) == (shared.digest, {bytes(16).hex(): tuple(SITES)})
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RoundFailed, match="another round has changed"):
        shared.save(path, SharedClasses())
    whole = path.read_bytes()
    for damaged in (b"", whole[:30], whole[:-1], whole[:-1] + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(ApiwatchError, match="truncated or changed"):
            SharedClasses.load(path)


@pytest.mark.parametrize(("below", "step"), [(12, 100), (13, 10)])
def test_the_level_of_all_leaves_twelve_of_a_hundred_below(
    opened: ClassRound, below: int, step: int
) -> None:
    examples = SQLI * 5
    listed = listing(opened, examples, USUAL)
    made = listed.summed(listed.sites, listed.vector(examples + USUAL))
    total = np.zeros(256, np.int64)
    total[10], total[100] = below, 100 - below
    assert made.leveled(total).level == step / 256


def test_the_last_rounds_are_remembered() -> None:
    shared = nothing()
    for number in range(300):
        rounds = shared.rounds_with(number.to_bytes(16, "big"), SITES)
        shared = dataclasses.replace(shared, rounds=rounds)
    assert len(shared.rounds) == 256
    assert (299).to_bytes(16, "big").hex() in SharedClasses.read(shared.content).rounds


def test_other_class_sums_are_refused_by_name(opened: ClassRound) -> None:
    listed = listing(opened, SQLI)
    shared = listed.summed(listed.sites, listed.vector(SQLI)).shared
    content = shared.content
    assert SharedClasses.read(content).digest == shared.digest
    other = dataclasses.replace(shared, layout="0" * 64).content
    with pytest.raises(RoundFailed, match="another version of apiwatch"):
        SharedClasses.read(other)
    negative = content[:-8] + (-1).to_bytes(8, "little", signed=True)
    for bad in (content[:-8], negative, content.replace(b'"sqli"', b'"sq\\u001b"')):
        with pytest.raises(RoundFailed):
            SharedClasses.read(bad)
    for level in (float("nan"), float("inf"), -0.1, 1.1):
        with pytest.raises(RoundFailed, match=r"level in \[0, 1\]"):
            SharedClasses.read(dataclasses.replace(shared, level=level).content)
    assert SharedClasses.read(dataclasses.replace(shared, level=0.5).content).level == 0.5
    for bad in (b"", b"\xff" * 9, content[:40], content.replace(b'"later"', b'"lat3r"')):
        with pytest.raises(RoundFailed, match="no class sums"):
            SharedClasses.read(bad)


@contextmanager
def serving(*messages: tuple[Kind, bytes]) -> Iterator:
    """A server that says this, whatever it hears."""

    async def joined(one: Site) -> Joined:
        async def accept(reader, writer) -> None:
            channel = Channel(reader, writer)
            await channel.expect(Kind.HELLO, 4)
            for kind, content in messages:
                channel.send(kind, content)
            await channel.drained()
            await channel.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with server:
            return await one.join(Address("127.0.0.1", server.sockets[0].getsockname()[1]))

    yield lambda one: asyncio.run(joined(one))


def session(what: int, shared: SharedClasses, **other: bytes) -> tuple[Kind, bytes]:
    opening = Opening.of(bytes(16), What(what), AGREED.digest, shared.digest)
    return Kind.SESSION, dataclasses.replace(opening, **other).content


def summed(total: np.ndarray, sites=SITES) -> tuple[Kind, bytes]:
    included = np.array(list(sites), "<i8")
    return Kind.SUM, len(included).to_bytes(4, "big") + included.tobytes() + total.tobytes()


def test_a_site_refuses_a_round_that_is_not_what_it_came_for(tmp_path: Path) -> None:
    profile = learnt(COUNTS[1], SETTINGS, None)
    for what, options, problem in (
        (1, {"before": profile}, "one log or more must be given"),
        (2, {"counts": COUNTS[1]}, "no log must be given"),
        (1, {"counts": COUNTS[1], "examples": SQLI}, "no examples must be given"),
    ):
        with (
            serving(session(what, nothing())) as join,
            pytest.raises(ParameterError, match=problem),
        ):
            join(site(1, tmp_path, **options))
    assert not list(tmp_path.iterdir())
    good = session(2, nothing())[1]
    with serving((Kind.SESSION, good)) as join, pytest.raises(RoundFailed, match="server is gone"):
        join(site(1, tmp_path, before=profile))
    for bad, problem in (
        (good + b"x", "speaks another version"),
        (good[:-1], "speaks another version"),
        (good[:16], "speaks another version"),
        (good[:16] + b"\0" + good[17:], "speaks another version"),
        (good[:16] + b"\6" + good[17:], "speaks another version"),
        (session(2, nothing(), layout=bytes(32))[1], "class sums are those of another version"),
    ):
        with (
            serving((Kind.SESSION, bad)) as join,
            pytest.raises(RoundFailed, match=problem),
        ):
            join(site(1, tmp_path, before=profile))
    with pytest.raises(ParameterError, match="logs, or a profile"):
        site(1, tmp_path)
    with pytest.raises(ParameterError, match="a file for examples"):
        site(1, tmp_path, before=profile, pending=None, examples=SQLI)


def test_what_a_lying_server_says_is_not_believed(opened: ClassRound, tmp_path: Path) -> None:
    listed = listing(opened, SQLI)
    shared = listed.summed(listed.sites, listed.vector(SQLI)).shared
    profile = learnt(COUNTS[1], SETTINGS, None)
    table = opened.entries(counts(SQLI))
    mine = Pending(tmp_path / "1.examples")
    mine.add(SQLI)
    for messages, problem in (
        ([(Kind.CLASSES, shared.content)], "not those that it has announced"),
        ([summed(table)], "has sent no class sums"),
        ([(Kind.CLASSES, nothing().content), summed(0 * table)], "lacks what this site has added"),
        ([(Kind.CLASSES, nothing().content), summed(table + 1)], "not one of 64 names"),
        ([(Kind.CLASSES, nothing().content), summed(table[1:])], "another length"),
        (
            [
                (Kind.CLASSES, nothing().content),
                summed(table),
                summed(0 * listing(opened, SQLI).vector(SQLI)),
            ],
            "class sums lack what this site has added",
        ),
        ([(Kind.CLASSES, nothing().content)], "the server is gone"),
    ):
        with (
            serving(session(2, nothing()), *messages) as join,
            pytest.raises(RoundFailed, match=problem),
        ):
            join(site(1, tmp_path, before=profile))
        assert Pending(mine.path).pairs == SQLI


def test_a_site_that_others_went_on_without_hears_their_names_and_keeps_its_own(
    opened: ClassRound, tmp_path: Path
) -> None:
    profile, rest = learnt(COUNTS[1], SETTINGS, None), SITES[1:]
    listed = listing(opened, SQLI, USUAL, sites=rest)
    vector = listed.vector(SQLI + USUAL)
    learnt_now = listed.summed(frozenset(rest), vector)
    responses = learnt_now.responses(SQLI + USUAL)
    messages = (
        session(2, nothing()),
        (Kind.CLASSES, nothing().content),
        summed(opened.entries(counts(SQLI, USUAL)), rest),
        summed(vector, rest),
        summed(responses, rest),
    )
    with serving(*messages) as join:
        joined = join(site(1, tmp_path, before=profile, examples=NEW))
    assert joined.named.sites == frozenset(rest)
    assert joined.named.shared.digest == learnt_now.leveled(responses).digest
    assert joined.profile.later == ("log4shell",)
    assert joined.profile.classes.labels == (BENIGN, "log4shell", "sqli")
    assert Pending(tmp_path / "1.examples").pairs == NEW
    assert [entry.what for entry in joined.profile.ledger.sent] == ["names"]


def test_names_that_only_this_profile_has_are_not_lost_by_joining(tmp_path: Path) -> None:
    profile = learnt(COUNTS[1], SETTINGS, None)
    profile.classes = pooled(SQLI, XSS, USUAL)
    messages = (session(2, nothing()), (Kind.CLASSES, nothing().content))
    with serving(*messages) as join:
        with pytest.raises(ParameterError, match=r"none are of \['sqli', 'xss'\]"):
            join(site(1, tmp_path, before=profile))
        with pytest.raises(RoundFailed, match="the server is gone"):
            join(site(1, tmp_path, before=profile, examples=SQLI + XSS + USUAL))


def test_a_site_that_leaves_for_its_names_has_the_profile_all_the_same(tmp_path: Path) -> None:
    profile = learnt(COUNTS[1], SETTINGS, None)
    profile.classes = pooled(XSS, USUAL)
    sites = [site(i, tmp_path, counts=COUNTS[i], examples=EXAMPLES.get(i, ())) for i in SITES[1:4]]
    sites += [
        site(5, tmp_path, counts=COUNTS[5]),
        site(1, tmp_path, counts=COUNTS[1], before=profile),
    ]
    sites[2].examples = SQLI[:5]
    both = What.PROFILE | What.CLASSES
    _, outcome, *joined = asyncio.run(learn(sites, both, SharedClasses()))
    assert isinstance(joined[-1].missing, ParameterError)
    assert "none are of ['xss']" in str(joined[-1].missing)
    assert joined[-1].profile.classes.labels == (BENIGN, "xss")
    assert {one.digest for one in joined} == {outcome.digest}
    assert (outcome.named, outcome.missing) == ((2, 3, 4, 5), "")
    assert outcome.classes == pooled(EXAMPLES[2], SQLI[:5]).digest


def test_without_benign_examples_a_site_s_own_shapes_stand_for_them(tmp_path: Path) -> None:
    profile = learnt(COUNTS[1], SETTINGS, None)
    sums = pooled(NEW)
    give_names(profile, SharedClasses(sums=sums, later=("log4shell",)), SQLI)
    assert profile.classes.labels == (BENIGN, "log4shell", "sqli")
    assert profile.later == ("log4shell", "sqli")
    assert profile.level == 0.3
    bare = learnt(COUNTS[1], SETTINGS, None)
    give_names(bare, SharedClasses(), [])
    assert bare.classes is None
    give_names(bare, SharedClasses(sums=pooled(SQLI, USUAL), level=0.5), [])
    assert (bare.classes.digest, bare.level, bare.later) == (pooled(SQLI, USUAL).digest, 0.5, ())


def test_strangers_get_no_class_sums(opened: ClassRound) -> None:
    listed = listing(opened, SQLI)
    shared = listed.summed(listed.sites, listed.vector(SQLI)).shared

    async def scene() -> None:
        server = Listening(
            agreement=AGREED, identity=SERVER, what=What.CLASSES, shared=shared, wait=1.0
        )
        task = asyncio.create_task(server.coordinator.serve(Address("127.0.0.1", 0)))
        address = await server.address()
        stranger = Channel(*await asyncio.open_connection(address.host, address.port))
        stranger.send(Kind.HELLO, (3).to_bytes(4, "big"))
        assert await stranger.expect(Kind.SESSION, 128)
        stranger.send(Kind.FRAME, b"not of site 3")
        with pytest.raises(EOFError):
            await stranger.receive(SharedClasses.most_bytes())
        await stranger.close()
        with pytest.raises(RoundFailed, match="without output"):
            await task

    asyncio.run(scene())


def test_no_frame_is_longer_than_the_server_takes() -> None:
    names, sums = largest_sums(AGREED, bytes(16))
    assert (names.scheme.length, sums.scheme.length) == (9728, class_vector_size(64))
    server = Coordinator(agreement=AGREED, identity=SERVER, what=What.CLASSES)
    for this in (names, sums):
        assert server._most >= largest(this.scheme, this.scheme.server_messages)
    assert server._most > Coordinator(agreement=AGREED, identity=SERVER)._most
