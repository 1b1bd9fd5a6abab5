"""A site leaves: what the others have then is, to the bit, what they would have without it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from protocols.files import locked
from secagg import Identity
from test_cli import run
from test_round_names import (
    COUNTS,
    NEW,
    SERVER,
    SETTINGS,
    SQLI,
    USUAL,
    XSS,
    learn,
    pooled,
    serving,
    session,
    small,  # noqa: F401 -- class sums of 65 features here too
)
from traffic import usual

from apiwatch import gather
from apiwatch.agreement import Agreement, first_era
from apiwatch.channel import Kind
from apiwatch.class_round import What
from apiwatch.coordinator import Coordinator
from apiwatch.errors import AgreementUnreadable, ParameterError, ProfileMismatch, RoundFailed
from apiwatch.ledger import Ledger, Sent
from apiwatch.pending import Pending
from apiwatch.shared_classes import SharedClasses
from apiwatch.site import Joined, Site
from apiwatch.store import Profile
from apiwatch.work import learnt, names_forgotten, taught, with_examples

SITES = range(1, 7)
STAY = (1, 2, 4, 5, 6)
KEYS = {site: Identity.generate(os.urandom) for site in SITES}
ALL = COUNTS | {6: gather(usual(10, seed=6))}
EXAMPLES = {2: SQLI + USUAL[:15], 3: [*NEW, *SQLI[:2], ("x'--", "sqli")], 5: XSS + USUAL[15:]}
BOTH = What.PROFILE | What.CLASSES


def agreement(sites=SITES) -> Agreement:
    return Agreement.of(SETTINGS, SERVER.public, {i: KEYS[i].public for i in sites})


def member(agreed: Agreement, me: int, folder: Path, **options) -> Site:
    pending = Pending(folder / f"{me}.examples", agreed.era)
    given = {"agreement": agreed, "identity": KEYS[me], "me": me, "settings": SETTINGS}
    given |= {"counts": ALL[me], "pending": pending, "patience": 30.0}
    return Site(**given | options)


def session_of(agreed: Agreement, folder: Path, given: dict, **options) -> list:
    """Profile and names, of all sites of an agreement."""
    folder.mkdir(exist_ok=True)
    sites = [member(agreed, i, folder, examples=given.get(i, ())) for i in agreed.roster.clients]
    shared = options.pop("shared", SharedClasses(era=agreed.era))
    return asyncio.run(learn(sites, BOTH, shared, agreement=agreed, **options))


def state(joined: Joined) -> tuple:
    """All that a site has of others."""
    made = joined.profile
    return made.detector.digest, made.classes.digest, made.level, made.later


def test_after_a_site_left_the_others_have_what_they_would_without_it(tmp_path: Path) -> None:
    before = agreement()
    shared, outcome, *joined = session_of(before, tmp_path / "here", EXAMPLES)
    assert outcome.classes == pooled(*EXAMPLES.values()).digest
    assert "log4shell" in shared.labels
    assert Pending(tmp_path / "here" / "2.examples", before.era).pairs == []

    # nobody gives examples again: every site has kept its own
    after = before.without(3)
    again, outcome, *left = session_of(after, tmp_path / "here", {})
    never = {i: pairs for i, pairs in EXAMPLES.items() if i != 3}
    other, expected, *pure = session_of(agreement(STAY), tmp_path / "there", never)
    assert outcome.classes == expected.classes == pooled(*never.values()).digest
    assert (outcome.digest, outcome.names) == (expected.digest, expected.names)
    assert {state(one) for one in left} == {state(one) for one in pure}
    assert len({state(one) for one in left}) == 1
    assert state(left[0]) != state(joined[0])
    assert (again.labels, again.level, again.later) == (other.labels, other.level, other.later)
    assert "log4shell" not in again.labels
    whole = learnt(sum((ALL[i] for i in STAY), Counter()), SETTINGS, None).detector.digest
    assert outcome.digest == whole

    # and nothing is given twice, not even to a server that says it has nothing
    third, outcome, *_ = session_of(after, tmp_path / "here", {})
    assert (outcome.names, third.sums) == ({}, None)


def test_what_was_learned_with_a_site_that_left_is_added_to_nothing(tmp_path: Path) -> None:
    before = agreement()
    after = before.without(3)
    shared, _, *joined = session_of(before, tmp_path / "here", EXAMPLES)
    profile = joined[0].profile
    assert profile.era == before.era == first_era(SETTINGS.digest) != after.era
    profile.save(tmp_path / "profile")
    kept = Profile.load(tmp_path / "profile")
    for counts in (None, ALL[1]):  # names alone, and `--more`
        with pytest.raises(ParameterError, match="all logs must be given anew, without"):
            member(after, 1, tmp_path, before=kept, counts=counts)
    assert member(before, 1, tmp_path, before=kept, counts=None).before is kept
    fresh = learnt(ALL[1], SETTINGS, None)  # of no round
    assert member(after, 1, tmp_path, before=fresh, counts=None).before is fresh
    old = Pending(tmp_path / "1.examples", before.era)
    with pytest.raises(ParameterError, match="in the agreement's era"):
        member(after, 1, tmp_path, pending=old)
    with pytest.raises(ParameterError, match="no site in them that left"):
        Coordinator(agreement=after, identity=SERVER, what=BOTH, shared=shared)
    # a server that keeps them all the same is told from one that does not
    messages = (session(2, shared, agreement=after.digest), (Kind.CLASSES, shared.content))
    mine = member(after, 1, tmp_path, before=fresh, counts=None)
    with serving(*messages) as join, pytest.raises(RoundFailed, match="of before a site left"):
        join(mine)
    assert SharedClasses.read(shared.content).era == before.era


def test_who_left_is_heard_no_more_and_nobody_can_take_its_place(tmp_path: Path) -> None:
    before = agreement()
    after = before.without(3)
    with pytest.raises(ParameterError, match="site 3 has left the agreement"):
        member(after, 3, tmp_path)
    with pytest.raises(ParameterError, match="key is not that of the agreement's site 3"):
        member(after, 3, tmp_path, identity=KEYS[4])
    with pytest.raises(ParameterError, match="key is not that of the agreement's site 4"):
        member(after, 4, tmp_path, identity=KEYS[3])
    mine = [member(after, i, tmp_path) for i in STAY]
    gone = member(before, 3, tmp_path)
    shared = SharedClasses(era=after.era)
    found = asyncio.run(learn([*mine, gone], BOTH, shared, agreement=after))
    assert isinstance(found[-1], RoundFailed)
    assert "another agreement" in str(found[-1])
    assert found[1].counted == STAY
    assert all(isinstance(one, Joined) for one in found[2:-1])


@pytest.mark.parametrize("claimed", [3, 4])
def test_who_left_and_goes_on_all_the_same_gets_into_no_sum_and_hears_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: int
) -> None:
    """Under its own number, and under that of another site."""
    after = agreement().without(3)
    (tmp_path / "gone").mkdir()
    mine = [member(after, i, tmp_path) for i in STAY]
    shared = dataclasses.replace(SharedClasses(era=after.era), sums=pooled(SQLI, USUAL), level=0.5)
    with monkeypatch.context() as patch:
        patch.setattr(Agreement, "digest", bytes(32))  # it does not mind what the server has
        keys = {i: KEYS[i].public for i in STAY} | {claimed: KEYS[3].public}
        lie = Agreement.of(SETTINGS, SERVER.public, keys)
        gone = member(lie, claimed, tmp_path / "gone", identity=KEYS[3])
        found = asyncio.run(learn([*mine, gone], BOTH, shared, agreement=after))
    assert isinstance(found[-1], RoundFailed)
    assert "the server is gone" in str(found[-1])
    assert gone._classes == b""
    assert (found[1].counted, found[1].calibrated) == (STAY, STAY)
    assert (
        found[1].digest
        == learnt(sum((ALL[i] for i in STAY), Counter()), SETTINGS, None).detector.digest
    )


def test_another_agreement_is_another_era_and_learns_from_all_examples(tmp_path: Path) -> None:
    before = agreement()
    session_of(before, tmp_path / "here", EXAMPLES)
    salted = dataclasses.replace(SETTINGS, salt=b"another salt of the same sites")
    other = Agreement.of(salted, SERVER.public, {i: KEYS[i].public for i in SITES})
    assert other.era not in before.eras
    sites = [member(other, i, tmp_path / "here", settings=salted) for i in SITES]
    _, outcome, *_ = asyncio.run(learn(sites, BOTH, SharedClasses(), agreement=other))
    assert outcome.classes == pooled(*EXAMPLES.values()).digest


def test_an_agreement_that_came_back_is_refused_and_so_is_a_fork(tmp_path: Path) -> None:
    before = agreement()
    after, fork = before.without(3), before.without(4)
    profile = learnt(ALL[1], SETTINGS, None)
    profile.era = after.era
    for old in (before, fork):
        for options in ({"last": profile}, {"before": profile}):
            with pytest.raises(ParameterError, match="knows of everybody who has left"):
                member(old, 1, tmp_path, **options)
    assert member(after, 1, tmp_path, last=profile).last is profile
    profile.era = before.era
    assert member(after, 1, tmp_path, last=profile).last is profile
    # nor does a profile under another salt stand in the way
    other = learnt(ALL[1], dataclasses.replace(SETTINGS, salt=b"some other salt!"), None)
    other.era = after.era
    assert member(before, 1, tmp_path, last=other).last is other


def test_a_server_of_profiles_alone_needs_no_class_sums(tmp_path: Path) -> None:
    after = agreement().without(3)
    sites = [member(after, i, tmp_path, pending=None) for i in STAY]
    # what has left a site is not forgotten by a profile that begins anew
    sent = Sent(what="counters", coordinates=8, bytes_up=99, sites=6, lost=0)
    sites[0].last = dataclasses.replace(learnt(ALL[1], SETTINGS, None), ledger=Ledger((sent,)))
    _, outcome, *joined = asyncio.run(learn(sites, What.PROFILE, SharedClasses(), agreement=after))
    assert outcome.counted == STAY
    assert joined[0].profile.ledger.sent == (sent, *joined[0].profile.ledger.sent[1:])
    assert [len(one.profile.ledger.sent) for one in joined] == [3, 2, 2, 2, 2]
    assert Coordinator(agreement=after, identity=SERVER).shared.era == after.era


def test_an_agreement_remembers_who_left(tmp_path: Path) -> None:
    path, before = tmp_path / "agreement", agreement()
    before.save(path)
    assert '"left"' not in path.read_text()
    assert Agreement.load(path).digest == before.digest
    after = before.without(3)
    after.save(path)
    loaded = Agreement.load(path)
    assert (loaded, loaded.digest, loaded.era) == (after, after.digest, after.era)
    assert after.left == (KEYS[3].public,)
    assert set(after.roster.clients) == set(STAY)
    assert before.eras == after.eras[:1]
    assert before.without(4).era not in after.eras
    assert len({before.digest, after.digest, agreement(STAY).digest}) == 3
    with pytest.raises(ParameterError, match="site in \\[1, 2, 4, 5, 6\\] must hold"):
        after.without(3)
    with pytest.raises(ParameterError, match="sites >= 5 must hold"):
        after.without(4)
    entry = json.loads(path.read_text())
    own = KEYS[1].public.hex()
    for left in ([own], entry["left"] * 2, ["00"], ["x"], [float("nan")], 7, {}, "", None):
        path.write_text(json.dumps(entry | {"left": left}))
        with pytest.raises(AgreementUnreadable):
            Agreement.load(path)
    path.write_text(json.dumps(entry)[:-9])  # half of a file
    with pytest.raises(AgreementUnreadable):
        Agreement.load(path)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """An agreement of six and class sums of its first era, as files."""
    agreement().save(tmp_path / "agreement")
    era = agreement().era
    shared = dataclasses.replace(SharedClasses(era=era), sums=pooled(SQLI, USUAL), level=0.5)
    shared.save(tmp_path / "agreement.classes", SharedClasses())
    (tmp_path / "server.key").write_text(SERVER.to_bytes().hex())
    (tmp_path / "server.key").chmod(0o600)
    return tmp_path


def served(files: Path, *more: object):
    options = ("--key", files / "server.key", "--listen", "127.0.0.1:0", "--wait", 0.1)
    return run("round", "serve", files / "agreement", *options, *more, "--what", "names")


def test_the_command_leaves_no_class_sums_behind(files: Path) -> None:
    kept = files / "agreement.classes"
    whole = kept.read_bytes()
    done = run("round", "leave", files / "agreement", "--site", 3)
    assert (done.exit_code, "5 sites stay" in done.stderr) == (0, True)
    agreed = Agreement.load(files / "agreement")
    assert agreed.left == (KEYS[3].public,)
    assert (SharedClasses.load(kept).sums, SharedClasses.load(kept).era) == (None, agreed.era)
    again = run("round", "leave", files / "agreement", "--site", 3)
    assert (again.exit_code, "site in" in again.stderr) == (2, True)
    # class sums that came back, from a copy or as the command was killed, are not added to either
    kept.write_bytes(whole)
    found = served(files)
    assert (found.exit_code, "ended without output" in found.stderr) == (2, True)
    assert "they begin anew" in found.stderr
    # but an agreement that came back is no reason to throw away what was learned since
    SharedClasses(era=agreed.era).save(kept, SharedClasses.load(kept))
    agreement().save(files / "agreement")
    found = served(files)
    assert (found.exit_code, "the agreement by which" in found.stderr) == (2, True)
    kept.write_bytes(whole[:-1])
    found = run("round", "leave", files / "agreement", "--site", 3)
    assert (found.exit_code, "truncated or changed" in found.stderr) == (2, True)
    assert Agreement.load(files / "agreement").left == ()


def test_forks_over_the_same_sites_are_in_no_common_sum() -> None:
    """Whatever a server says of its agreement: else it could add up what two eras learned."""
    keys = {i: Identity.generate(os.urandom).public for i in range(1, 8)}
    seven = Agreement.of(SETTINGS, SERVER.public, keys)
    forks = seven.without(6).without(7), seven.without(7).without(6)
    assert forks[0].roster == forks[1].roster
    everybody, nothing = frozenset(range(1, 6)), np.zeros(0, np.int64)
    for sums in (
        [fork.counting(bytes(16)) for fork in forks],
        [fork.calibrating(bytes(16), everybody, nothing) for fork in forks],
    ):
        assert len({this.round.context(1, b"") for this in sums}) == 2


def test_of_two_that_leave_at_once_both_have_left(tmp_path: Path) -> None:
    path, seven = (
        tmp_path / "agreement",
        {i: Identity.generate(os.urandom).public for i in range(7)},
    )
    before = Agreement.of(SETTINGS, SERVER.public, {i + 1: seven[i] for i in seven})
    before.save(path)
    with ThreadPoolExecutor(1) as pool:
        with locked(path):
            done = pool.submit(run, "round", "leave", path, "--site", 3)
            with pytest.raises(TimeoutError):
                done.result(0.5)  # it waits for the other
            before.without(4).save(path)
        assert done.result(30).exit_code == 0
    assert Agreement.load(path).left == (seven[3], seven[2])


def test_an_agreement_is_not_overwritten(files: Path) -> None:
    whole = (files / "agreement").read_bytes()
    claims = [part for i in SITES for part in ("--site", f"{i}={KEYS[i].public.hex()}")]
    asked = ("--salt", files / "salt", "--server", SERVER.public.hex(), *claims)
    done = run("round", "agree", files / "agreement", *asked)
    assert (done.exit_code, "File exists" in done.stderr) == (2, True)
    assert (files / "agreement").read_bytes() == whole
    assert not (files / "salt").exists()
    assert run("round", "agree", files / "another", *asked).exit_code == 0


def test_a_site_that_begins_anew_is_told_what_is_gone_and_which_agreement_is_old(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, profile, before = files / "log", files / "profile", agreement()
    log.write_text(json.dumps({"method": "GET", "target": "/a?b=1"}) + "\n")
    for name, secret in (("key", KEYS[1].to_bytes()), ("salt", SETTINGS.salt)):
        (files / name).write_text(secret.hex())
        (files / name).chmod(0o600)
    had = learnt(ALL[1], SETTINGS, None)
    had.classes, had.threshold, had.era = pooled(SQLI, NEW, USUAL), 4.5, before.without(3).era
    had.save(profile)
    own = ("--key", files / "key", "--salt", files / "salt", "--site", 1, "-p", profile)
    old = run("round", "join", files / "agreement", log, *own)
    assert (old.exit_code, "knows of everybody who has left" in old.stderr) == (2, True)

    async def join(one: Site, *_: object) -> Joined:
        other = Profile.load(profile)  # `threshold`, during the round
        other.threshold += 1.0
        other.save(profile)
        made = learnt(ALL[1], SETTINGS, None)
        made.classes = pooled(SQLI, USUAL)
        return Joined(profile=made)

    monkeypatch.setattr(Site, "join", join)
    run("round", "leave", files / "agreement", "--site", 3)
    done = run("round", "join", files / "agreement", log, *own)
    assert (done.exit_code, "no longer named: log4shell\n" in done.stderr) == (0, True)
    assert "the threshold was 4.50 and is 10.00" in done.stderr
    assert "was changed during the round: what another command wrote is gone" in done.stderr
    assert Profile.load(profile).threshold == 10.0
    again = run("round", "join", files / "agreement", log, *own)
    assert (again.exit_code, "no longer named" in again.stderr) == (0, False)


def test_taught_examples_are_forgotten_to_the_bit_or_not_at_all() -> None:
    profile, never = (learnt(ALL[1], SETTINGS, None) for _ in range(2))
    stay, gone = SQLI + USUAL, XSS
    taught(never, stay)
    taught(profile, stay + gone)
    digest, level = profile.classes.digest, profile.level
    for one, two in ((gone[1:], stay), (gone, stay[1:]), (gone, stay + NEW), ([], stay)):
        with pytest.raises(ProfileMismatch, match="`teach` those that stay, then `label` again"):
            names_forgotten(profile, one, two)
        assert (profile.classes.digest, profile.level) == (digest, level)
    names_forgotten(profile, gone, stay)
    assert (profile.classes.digest, profile.level, profile.later) == (
        never.classes.digest,
        never.level,
        (),
    )
    with pytest.raises(ProfileMismatch):
        names_forgotten(profile, gone, stay)
    # as `label` does: one more of a known kind is weighted by itself
    profile.classes = with_examples(profile.classes, XSS[:1] + SQLI[:1])
    with pytest.raises(ProfileMismatch):
        names_forgotten(profile, XSS[:1], stay + SQLI[:1])
    names_forgotten(never, stay, [])
    assert (never.classes, never.level) == (None, 0.3)
    with pytest.raises(ProfileMismatch):
        names_forgotten(never, stay, [])
