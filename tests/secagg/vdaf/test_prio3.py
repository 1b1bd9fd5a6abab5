"""Prio3 against the published vectors, byte for byte: shard, verify, aggregate, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secagg.errors import DecodeError, InputRefused, ParameterError, ReportRefused
from secagg.primitives.xof import HmacAes
from secagg.testing import SeededRand
from secagg.vdaf import prio3
from secagg.vdaf.prio3 import Prio3

Json = dict[str, Any]
PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "vdaf-20"


def function(name: str, vector: Json, xof: Any) -> Prio3:
    """The function that a vector's file name and parameters describe."""
    shares, family = vector["shares"], name.split("_", maxsplit=1)[0]
    chunked = [vector.get(key) for key in ("length", "max_measurement", "chunk_length")]
    if family == "Prio3Count":
        return prio3.count(xof, shares)
    if family == "Prio3Sum":
        return prio3.total(xof, vector["max_measurement"], shares)
    if family == "Prio3Histogram":
        return prio3.histogram(xof, vector["length"], vector["chunk_length"], shares)
    if family == "Prio3SumVecWithMultiproof":
        return prio3.sum_vec_multiproof(xof, *chunked, shares)
    assert family == "Prio3SumVec"
    return prio3.sum_vec(xof, *chunked, shares)


def unhex(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def verify(vdaf: Prio3, vector: Json, report: Json) -> list[Any]:
    """Output shares; every intermediate value is compared with the vector's."""
    key, ctx, nonce = unhex([vector["verify_key"], vector["ctx"], report["nonce"]])
    public = vdaf.decode_public_share(bytes.fromhex(report["public_share"]))
    states, shares = [], []
    for agg_id, due in enumerate(report["verifier_shares"][0]):
        data = bytes.fromhex(report["input_shares"][agg_id])
        share = vdaf.decode_input_share(agg_id, data)
        assert vdaf.encode_input_share(share) == data
        state, verifier = vdaf.verify_init(key, ctx, agg_id, nonce, public, share)
        encoded = vdaf.encode_verifier_share(verifier)
        assert encoded.hex() == due
        states.append(state)
        shares.append(vdaf.decode_verifier_share(encoded))
    if report["verifier_messages"]:
        message = vdaf.decode_verifier_message(bytes.fromhex(report["verifier_messages"][0]))
        if report["out_shares"]:
            assert vdaf.verifier_shares_to_message(ctx, shares) == message
    else:
        message = vdaf.verifier_shares_to_message(ctx, shares)
    return [vdaf.verify_next(state, message) for state in states]


def replay(vdaf: Prio3, vector: Json) -> None:
    """A whole run of valid reports."""
    collected: list[list[Any]] = [[] for _ in range(vdaf.shares)]
    for report in vector["reports"]:
        ctx, nonce, rand = unhex([vector["ctx"], report["nonce"], report["rand"]])
        public, shares = vdaf.shard(ctx, report["measurement"], nonce, rand)
        assert b"".join(public).hex() == report["public_share"]
        assert [vdaf.encode_input_share(share).hex() for share in shares] == report["input_shares"]
        for outputs, output, due in zip(
            collected, verify(vdaf, vector, report), report["out_shares"], strict=True
        ):
            flat = due if isinstance(due, str) else "".join(due)
            assert vdaf.circuit.field.encode(output).hex() == flat
            outputs.append(output)
    totals = [vdaf.aggregate(outputs) for outputs in collected]
    assert [vdaf.circuit.field.encode(part).hex() for part in totals] == vector["agg_shares"]
    result = vdaf.unshard(totals)
    assert result == vector["agg_result"] or result == [vector["agg_result"]]


def load(path: Path) -> Json:
    loaded: Json = json.loads(path.read_text("utf-8"))
    return loaded


def found(folder: Path, *, bad: bool) -> list[Path]:
    return [path for path in sorted(folder.glob("Prio3*.json")) if ("_bad_" in path.name) == bad]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published vectors are not beside the clone")
class TestPublished:
    turboshake = staticmethod(
        lambda: (
            pytest.importorskip(
                "secagg.primitives.xof_turboshake", reason="needs the extra vdaf"
            ).TurboShake
        )
    )

    @pytest.mark.parametrize("path", found(PUBLISHED, bad=False), ids=lambda path: path.stem)
    def test_valid(self, path: Path) -> None:
        vector = load(path)
        replay(function(path.stem, vector, self.turboshake()), vector)

    @pytest.mark.parametrize("path", found(PUBLISHED, bad=True), ids=lambda path: path.stem)
    def test_bad(self, path: Path) -> None:
        vector = load(path)
        vdaf = function(path.stem, vector, self.turboshake())
        for report in vector["reports"]:
            with pytest.raises(ReportRefused):
                verify(vdaf, vector, report)


# -- without any vector --------------------------------------------------------------------------

CTX, KEY = b"context", bytes(range(32))
FUNCTIONS = {
    "count": (lambda: prio3.count(HmacAes), [0, 1, 1], [2]),
    "total": (lambda: prio3.total(HmacAes, 10, shares=3), [10, 0, 7], [17]),
    "total of bits": (lambda: prio3.total(HmacAes, 1), [1, 1], [2]),
    "sum_vec": (lambda: prio3.sum_vec(HmacAes, 3, 5, 4), [[5, 0, 1], [4, 4, 4]], [9, 4, 5]),
    "multiproof": (lambda: prio3.sum_vec_multiproof(HmacAes, 2, 3, 2), [[3, 1]], [3, 1]),
    "histogram": (lambda: prio3.histogram(HmacAes, 4, 3), [0, 3, 3], [1, 0, 0, 2]),
}
functions = pytest.mark.parametrize("name", FUNCTIONS)


def shared(vdaf: Prio3, measurement: Any, seed: int = 0) -> tuple[bytes, Any, list[Any]]:
    rand = SeededRand(f"shard {seed}")
    nonce = rand(16)
    public, shares = vdaf.shard(CTX, measurement, nonce, rand(vdaf.rand_size))
    return nonce, public, shares


def verified(
    vdaf: Prio3, report: tuple[bytes, Any, list[Any]], ctx: bytes = CTX, key: bytes = KEY
) -> list[Any]:
    nonce, public, shares = report
    pairs = [vdaf.verify_init(key, ctx, at, nonce, public, one) for at, one in enumerate(shares)]
    message = vdaf.verifier_shares_to_message(ctx, [verifier for _, verifier in pairs])
    return [vdaf.verify_next(state, message) for state, _ in pairs]


@functions
def test_measurements_add_up(name: str) -> None:
    make, measurements, result = FUNCTIONS[name]
    vdaf = make()
    outputs = [
        verified(vdaf, shared(vdaf, measurement, seed))
        for seed, measurement in enumerate(measurements)
    ]
    assert vdaf.unshard([vdaf.aggregate(column) for column in zip(*outputs, strict=True)]) == result


@functions
def test_any_flipped_bit_is_refused(name: str) -> None:
    make, measurements, _ = FUNCTIONS[name]
    vdaf = make()
    nonce, public, shares = shared(vdaf, measurements[0])
    for agg_id in range(vdaf.shares):
        data = vdaf.encode_input_share(shares[agg_id])
        for at in range(0, len(data), max(1, len(data) // 7)):
            bad = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            changed = [*shares]
            changed[agg_id] = vdaf.decode_input_share(agg_id, bad)
            with pytest.raises(ReportRefused):
                verified(vdaf, (nonce, public, changed))


@functions
def test_a_report_belongs_to_its_context(name: str) -> None:
    make, measurements, _ = FUNCTIONS[name]
    vdaf = make()
    report = shared(vdaf, measurements[0])
    verified(vdaf, report)
    with pytest.raises(ReportRefused):
        verified(vdaf, report, ctx=b"another")


@functions
def test_shares_of_another_length_do_not_decode(name: str) -> None:
    make, measurements, _ = FUNCTIONS[name]
    vdaf = make()
    nonce, public, shares = shared(vdaf, measurements[0])
    verifier = vdaf.verify_init(KEY, CTX, 0, nonce, public, shares[0])[1]
    cases: list[tuple[Any, bytes]] = [
        (lambda data: vdaf.decode_input_share(0, data), vdaf.encode_input_share(shares[0])),
        (lambda data: vdaf.decode_input_share(1, data), vdaf.encode_input_share(shares[1])),
        (vdaf.decode_verifier_share, vdaf.encode_verifier_share(verifier)),
        (vdaf.decode_public_share, b"".join(public)),
    ]
    for decode, data in cases:
        decode(data)
        with pytest.raises(DecodeError):
            decode(data + b"\0")
        with pytest.raises(DecodeError):
            decode(data[:-1] if data else b"\0\0")


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("count", 2),
        ("count", True),
        ("total", 11),
        ("total", -1),
        ("total", 1.0),
        ("sum_vec", [1, 2]),
        ("sum_vec", [1, 2, 6]),
        ("sum_vec", 3),
        ("histogram", 4),
    ],
)
def test_what_is_not_a_measurement_is_not_shared(name: str, bad: Any) -> None:
    make, measurements, _ = FUNCTIONS[name]
    shared(make(), measurements[0])
    with pytest.raises(InputRefused, match="a measurement must be"):
        shared(make(), bad)


@pytest.mark.parametrize(
    "make",
    [
        lambda: prio3.count(HmacAes, shares=1),
        lambda: prio3.count(HmacAes, shares=256),
        lambda: prio3.total(HmacAes, 0),
        lambda: prio3.total(HmacAes, 1 << 63),
        lambda: prio3.sum_vec(HmacAes, 0, 1, 1),
        lambda: prio3.histogram(HmacAes, 2, 0),
    ],
)
def test_parameters_state_their_inequality(make: Any) -> None:
    with pytest.raises(ParameterError, match="must hold"):
        make()


def test_nonce_and_randomness_have_their_lengths() -> None:
    vdaf = prio3.count(HmacAes)
    vdaf.shard(CTX, 1, bytes(16), bytes(vdaf.rand_size))
    for nonce, rand in ((bytes(15), bytes(vdaf.rand_size)), (bytes(16), bytes(1))):
        with pytest.raises(ValueError, match="a nonce has 16 bytes"):
            vdaf.shard(CTX, 1, nonce, rand)
