"""A round over a network: what comes out is the pooled profile of whoever stayed, killed or not."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import ipaddress
import json
import os
import re
import signal
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from secagg import Identity
from test_cli import run
from test_tail import process
from traffic import usual

from apiwatch import Calibration, Detector, Settings, Table, gather
from apiwatch.agreement import Agreement, load_key, new_key, write_secret
from apiwatch.alone import learnt_alone
from apiwatch.channel import Address, Channel, Kind, client_tls, server_tls
from apiwatch.class_round import Opening, What
from apiwatch.coordinator import Coordinator, Outcome
from apiwatch.errors import AgreementUnreadable, ApiwatchError, ParameterError, RoundFailed
from apiwatch.logs import request_to_json
from apiwatch.site import Joined, Site
from apiwatch.store import Profile

SALT = b"0123456789abcdef"
SETTINGS = Settings(cells=10, slots=5, salt=SALT)
SITES = range(1, 9)
COUNTS = {site: gather(usual(30, seed=site)) for site in SITES}
KEYS = {site: Identity.generate(os.urandom) for site in SITES}
SERVER = Identity.generate(os.urandom)
HERE = Address("127.0.0.1", 0)


def agreement(settings: Settings = SETTINGS) -> Agreement:
    return Agreement.of(settings, SERVER.public, {site: key.public for site, key in KEYS.items()})


def pooled(counted, settings: Settings = SETTINGS, calibrated=None) -> Detector:
    """From the requests in one place. calibrated: the sites of the second sum, if fewer."""
    first, second = (
        sum((COUNTS[site] for site in sites), Counter())
        for sites in (counted, calibrated or counted)
    )
    table = Table.learn(first, settings)
    return Detector(table, Calibration.learn(second, table))


def site(me: int, settings: Settings = SETTINGS, **options) -> Site:
    given = {"agreement": agreement(settings), "identity": KEYS[me], "me": me}
    given |= {"settings": settings, "counts": COUNTS[me], "patience": 20.0}
    return Site(**given | options)


class Listening:
    """A coordinator in this process, and where it listens."""

    def __init__(self, settings: Settings = SETTINGS, **options) -> None:
        self.port = asyncio.Queue()
        given = {"agreement": agreement(settings), "identity": SERVER, "wait": 30.0, "phase": 30.0}
        self.coordinator = Coordinator(**given | options, told=self.hear)

    def hear(self, line: str) -> None:
        if found := re.search(r"listening on .*:(\d+)", line):
            self.port.put_nowait(int(found[1]))

    async def address(self) -> Address:
        return Address("127.0.0.1", await self.port.get())


async def learn(
    sites: list[Site], tls=(None, None), **options
) -> list[Outcome | Joined | Exception]:
    server = Listening(**options)
    task = asyncio.create_task(server.coordinator.serve(HERE, tls[0]))
    address = await server.address()
    joining = (one.join(address, tls[1]) for one in sites)
    return await asyncio.gather(task, *joining, return_exceptions=True)


@pytest.mark.parametrize("support", [1, 3])
def test_what_comes_out_is_the_pooled_profile(support: int) -> None:
    settings = Settings(cells=10, slots=5, salt=SALT, support=support)
    outcome, *joined = asyncio.run(learn([site(i, settings) for i in SITES], settings=settings))
    assert outcome.counted == outcome.calibrated == tuple(SITES)
    assert {one.digest for one in joined} == {outcome.digest}
    total = sum(Table.learn(COUNTS[i], settings).counts for i in SITES)
    bits = sum(Table.learn(COUNTS[i], settings).bits for i in SITES)
    for me, one in zip(SITES, joined, strict=True):
        own = Table.learn(COUNTS[me], settings)
        expected = own.supported(Table(settings, total), bits)
        assert np.array_equal(one.profile.table.counts, expected.counts)
        assert np.array_equal(one.profile.sites, bits)
    if support == 1:
        assert outcome.digest == pooled(SITES).digest == joined[0].profile.detector.digest


def test_sites_that_never_come_are_left_out() -> None:
    outcome, *joined = asyncio.run(learn([site(i) for i in (1, 2, 4, 5, 6, 8)], wait=2.5))
    assert outcome.counted == (1, 2, 4, 5, 6, 8)
    assert {one.digest for one in joined} == {outcome.digest} == {pooled(outcome.counted).digest}


def test_too_few_sites_end_the_round_by_name() -> None:
    ended = asyncio.run(learn([site(i) for i in (1, 2, 3, 4, 5)], wait=1.0))
    assert [type(one) for one in ended] == [RoundFailed] * 6
    assert "without output" in str(ended[0])


def test_a_round_adds_to_what_was_there() -> None:
    _, *first = asyncio.run(learn([site(i) for i in SITES]))
    again = [site(i, before=one.profile) for i, one in zip(SITES, first, strict=True)]
    before = first[0].profile.table.counts.copy()
    outcome, *second = asyncio.run(learn(again))
    assert isinstance(outcome, Outcome)
    assert np.array_equal(second[0].profile.table.counts, 2 * before)


def test_strangers_and_nonsense_disturb_nobody() -> None:
    async def scene() -> list:
        server = Listening()
        task = asyncio.create_task(server.coordinator.serve(HERE))
        address = await server.address()
        bad = [b"", b"\xff" * 50, b"\x00\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"]
        for data in bad:
            _, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(data)
            writer.close()
        claiming = Channel(*await asyncio.open_connection(address.host, address.port))
        claiming.send(Kind.HELLO, (3).to_bytes(4, "big"))
        await claiming.expect(Kind.SESSION, 64)
        claiming.send(Kind.FRAME, b"not of site 3")
        ended = await asyncio.gather(task, *(site(i).join(address) for i in SITES))
        await claiming.close()
        return ended

    outcome, *_ = asyncio.run(scene())
    assert outcome.counted == tuple(SITES)
    assert outcome.digest == pooled(SITES).digest


def test_a_frame_that_was_overheard_takes_nobody_s_connection() -> None:
    async def scene() -> list:
        server, heard = Listening(), asyncio.Queue()
        take = server.coordinator._receive

        def overhear(machine, me: int, frame: bytes, channel: Channel) -> None:
            take(machine, me, frame, channel)
            heard.put_nowait((me, frame))

        server.coordinator._receive = overhear
        task = asyncio.create_task(server.coordinator.serve(HERE))
        address = await server.address()
        joining = [asyncio.create_task(site(i).join(address)) for i in SITES[:-1]]
        me, frame = await heard.get()
        stranger = Channel(*await asyncio.open_connection(address.host, address.port))
        stranger.send(Kind.HELLO, me.to_bytes(4, "big"))
        await stranger.expect(Kind.SESSION, 64)
        stranger.send(Kind.FRAME, frame)
        while (await heard.get()) != (me, frame):
            pass
        ended = await asyncio.gather(task, *joining, site(SITES[-1]).join(address))
        await stranger.close()
        return ended

    outcome, *joined = asyncio.run(scene())
    assert outcome.counted == outcome.calibrated == tuple(SITES)
    assert {one.digest for one in joined} == {outcome.digest} == {pooled(SITES).digest}


def test_a_flood_at_the_end_holds_up_nobody() -> None:
    async def scene() -> Outcome:
        server = Listening(phase=1.0)
        coordinator = server.coordinator
        learned = coordinator._learn

        async def flooded() -> Outcome:
            outcome = await learned()
            for _ in range(3 * coordinator._frames.maxsize):
                stranger.send(Kind.FRAME, b"nonsense")
            await stranger.drained()
            while not coordinator._frames.full():
                await asyncio.sleep(0.01)
            return outcome

        coordinator._learn = flooded
        task = asyncio.create_task(coordinator.serve(HERE))
        address = await server.address()
        stranger = Channel(*await asyncio.open_connection(address.host, address.port))
        stranger.send(Kind.HELLO, (3).to_bytes(4, "big"))
        await stranger.expect(Kind.SESSION, 64)
        async with asyncio.timeout(30):
            outcome, *_ = await asyncio.gather(task, *(site(i).join(address) for i in SITES))
        await stranger.close()
        return outcome

    assert asyncio.run(scene()).counted == tuple(SITES)


def test_sites_that_were_told_different_sums_are_in_different_rounds() -> None:
    session, agreed = bytes(16), agreement()
    everybody, total = frozenset(SITES), np.zeros(4, np.int64)
    contexts = {
        one.scheme.context(one.round) if hasattr(one.scheme, "context") else one.round.model
        for one in (
            agreed.calibrating(session, everybody, total),
            agreed.calibrating(session, everybody, total + 1),
            agreed.calibrating(session, everybody - {1}, total),
        )
    }
    assert len(contexts) == 3
    same = agreed.calibrating(session, everybody, total.copy())
    assert same.round.model == agreed.calibrating(session, everybody, total).round.model
    with pytest.raises(ParameterError, match="sites in the sum before >= 6"):
        agreed.calibrating(session, frozenset({1, 2, 3}), total)


def test_a_sum_without_what_this_site_added_is_not_believed() -> None:
    async def lying() -> None:
        async def accept(reader, writer) -> None:
            channel = Channel(reader, writer)
            await channel.expect(Kind.HELLO, 4)
            channel.send(
                Kind.SESSION, Opening.of(bytes(16), What.PROFILE, agreement().digest, b"").content
            )
            included = np.array(list(SITES), "<i8")
            total = np.zeros(2 << SETTINGS.cells, "<i8")
            content = len(included).to_bytes(4, "big") + included.tobytes() + total.tobytes()
            channel.send(Kind.SUM, content[: len(content) - cut])
            await channel.drained()
            await channel.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with server:
            await site(1).join(Address("127.0.0.1", server.sockets[0].getsockname()[1]))

    cut = 0
    with pytest.raises(ApiwatchError, match="not part of the total"):
        asyncio.run(lying())
    cut = 8
    with pytest.raises(RoundFailed, match="another length"):
        asyncio.run(lying())


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "apiwatch test")])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    paths[1].write_bytes(key.private_bytes(*form, serialization.NoEncryption()))
    return paths


def test_it_works_under_tls_and_only_with_the_right_certificate(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other, other_key = certificate(tmp_path / "other")
    both = server_tls(cert, key, cert), client_tls(cert, cert, key)
    outcome, *_ = asyncio.run(learn([site(i) for i in SITES], both))
    assert outcome.digest == pooled(SITES).digest
    for wrong in (client_tls(other, cert, key), client_tls(cert, other, other_key)):
        ended = asyncio.run(learn([site(i) for i in (1, 2)], (both[0], wrong), wait=1.0))
        assert isinstance(ended[0], RoundFailed)
        assert all(isinstance(one, ssl.SSLError | RoundFailed) for one in ended[1:])
    with pytest.raises(RoundFailed):
        server_tls(key, cert)


def test_beyond_this_machine_there_is_no_round_without_tls() -> None:
    Address.parse("127.0.0.1:7").check(None)
    Address.parse("[::1]:7").check(None)
    for text in ("192.0.2.1:7", "example.org:7", "0.0.0.0:7"):
        with pytest.raises(ParameterError, match="TLS or a loopback"):
            asyncio.run(site(1).join(Address.parse(text)))
    for text in ("7", ":7", "a:b", "a:70000"):
        with pytest.raises(ParameterError, match="must hold"):
            Address.parse(text)


def test_an_agreement_comes_back_and_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "agreement"
    agreement().save(path)
    assert Agreement.load(path) == agreement()
    assert SALT.hex() not in path.read_text()
    whole = json.loads(path.read_text())
    for change in (
        {"sites": {}},
        {"cells": 9.5},
        {"server": "zz"},
        {"dropout": 3},
        {"settings": ""},
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(ApiwatchError):
            Agreement.load(path)
    path.write_text("[]")
    with pytest.raises(AgreementUnreadable):
        Agreement.load(path)


def test_others_are_not_taken_for_members(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="not that of the agreement's site 2"):
        site(2, identity=KEYS[3])
    with pytest.raises(ParameterError, match="not that of the agreement's server"):
        Listening(identity=KEYS[3])
    with pytest.raises(ParameterError, match="salt"):
        agreement().settings_with(b"another salt of sites")
    other = dataclasses.replace(SETTINGS, salt=b"another salt of sites")
    with pytest.raises(ParameterError, match="not those of the agreement"):
        site(1, agreement=agreement(), settings=other)


def test_keys_are_their_owner_s_alone(tmp_path: Path) -> None:
    made = new_key(tmp_path / "key")
    assert load_key(tmp_path / "key").public == made.public
    with pytest.raises(FileExistsError):
        new_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(AgreementUnreadable, match="readable by others"):
        load_key(tmp_path / "key")
    write_secret(tmp_path / "short", b"x")
    with pytest.raises(AgreementUnreadable, match="no key"):
        load_key(tmp_path / "short")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What processes need, in files."""
    agreement().save(tmp_path / "agreement")
    write_secret(tmp_path / "salt", SALT)
    write_secret(tmp_path / "server.key", SERVER.to_bytes())
    for me in SITES:
        write_secret(tmp_path / f"{me}.key", KEYS[me].to_bytes())
        entries = (json.dumps(request_to_json(request)) for request in usual(30, seed=me))
        (tmp_path / f"{me}.log").write_text("\n".join(entries))
    return tmp_path


def lines(stream) -> Iterator[str]:
    for line in stream:
        yield line.strip()


@pytest.mark.slow
def test_sites_that_are_killed_in_mid_round_leave_the_profile_of_the_others(folder: Path) -> None:
    """Sites 7 and 8 are processes, killed while the round is held up by the first site."""
    killed = threading.Event()

    def hold(step: str) -> None:
        if step == "sum 0: masked":
            assert killed.wait(60)

    def joining(me: int, port: int):
        own = ("--key", folder / f"{me}.key", "--salt", folder / "salt", "--site", me)
        server = ("--server", f"127.0.0.1:{port}", "-p", folder / f"{me}.profile")
        log = folder / f"{me}.log"
        return process("round", "join", folder / "agreement", log, *own, *server)

    serving = ("round", "serve", folder / "agreement", "--key", folder / "server.key")
    with process(*serving, "--listen", "127.0.0.1:0", "--wait", 60, "--phase", 30) as server:
        port = int(server.stderr.readline().rpartition(":")[2])
        with joining(7, port) as early, joining(8, port) as late, ThreadPoolExecutor(6) as pool:
            sites = [site(me, told=hold if me == 1 else print, patience=90.0) for me in range(1, 7)]
            address = Address("127.0.0.1", port)
            futures = [pool.submit(asyncio.run, one.join(address)) for one in sites]
            for victim, step in ((early, "sum 0: shares"), (late, "sum 0: masked")):
                assert step in lines(victim.stderr)
                victim.send_signal(signal.SIGKILL)
            killed.set()
            joined = [future.result(90) for future in futures]
        outcome = json.loads(server.communicate(timeout=60)[0])
    assert (early.returncode, late.returncode) == (-signal.SIGKILL, -signal.SIGKILL)
    # what had left a site before it was killed may be in the first sum, but not in the second
    assert set(range(1, 7)) <= set(outcome["counted"]) <= set(SITES)
    assert outcome["calibrated"] == list(range(1, 7))
    assert outcome["digest"] == pooled(outcome["counted"], calibrated=outcome["calibrated"]).digest
    assert {one.digest for one in joined} == {outcome["digest"]}
    assert not (folder / "7.profile").exists()
    assert not (folder / "8.profile").exists()


@pytest.mark.slow
def test_joining_leaves_what_the_site_learned_alone(folder: Path) -> None:
    profile, log = folder / "8.profile", folder / "8.log"
    own = ("--key", folder / "8.key", "--salt", folder / "salt", "--site", 8, "-p", profile)
    serving = ("round", "serve", folder / "agreement", "--key", folder / "server.key")
    for rounds, more in enumerate(((), ("--more",)), 1):
        with process(*serving, "--listen", "127.0.0.1:0", "--wait", 60, "--phase", 30) as server:
            port = int(server.stderr.readline().rpartition(":")[2])
            join = ("round", "join", folder / "agreement", log, *own, *more)
            with (
                process(*join, "--server", f"127.0.0.1:{port}") as command,
                ThreadPoolExecutor(7) as pool,
            ):
                address = Address("127.0.0.1", port)
                others = [site(me, patience=90.0) for me in range(1, 8)]
                for done in [pool.submit(asyncio.run, one.join(address)) for one in others]:
                    done.result(90)
                command.communicate(timeout=90)
            server.communicate(timeout=60)
        alone = learnt_alone(Profile.load(profile), profile)
        counts = Table.learn(COUNTS[8], SETTINGS).counts
        assert np.array_equal(alone.table.counts, rounds * counts)
        assert alone.pooled == ""


def test_keys_and_agreement_are_made_by_commands(tmp_path: Path) -> None:
    public = [run("round", "key", tmp_path / f"{i}.key").stdout.strip() for i in range(6)]
    claims = [part for i in range(1, 6) for part in ("--site", f"{i}={public[i]}")]
    files = (tmp_path / "agreement", "--salt", tmp_path / "salt", "--server", public[0])
    done = run("round", "agree", *files, *claims, "--support", 2)
    assert "5 sites, of which 1 may be lost" in done.stderr
    made = Agreement.load(tmp_path / "agreement")
    assert made.support == 2
    salt = bytes.fromhex((tmp_path / "salt").read_text())
    assert made.settings_with(salt).digest == made.settings
    for wrong in (
        claims[:-2],
        [*claims[:-1], "5=zz"],
        [*claims[:-1], "x=00"],
        [*claims, *claims[:2]],
    ):
        (tmp_path / "salt").unlink(missing_ok=True)
        refused = run("round", "agree", *files, *wrong)
        assert refused.exit_code == 2
        assert "must hold" in refused.stderr
        assert not (tmp_path / "salt").exists()
    assert run("round", "key", tmp_path / "0.key").exit_code == 2
