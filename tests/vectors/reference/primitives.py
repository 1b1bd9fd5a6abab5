"""Vectors of single building blocks and of the graph, each derived again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reference import ed25519, graph, quantize, ring, shamir, x25519
from reference.derive import derive_key
from reference.hashing import digest, text
from reference.hpke import open_base
from reference.plan import Plan, context, derive, encoded, roster_digest
from reference.refused import Refused, require
from reference.vector import Checks

__all__ = ["check_graph", "check_primitives"]

Json = Mapping[str, Any]


def check_primitives(vector: Json, checks: Checks) -> None:
    """Check every entry of every section; `Refused` at the first difference."""
    require(set(vector) == {*_SECTIONS, "kind", "description"}, "sections are the known ones")
    for name, section in _SECTIONS.items():
        require(bool(vector[name]), f"section {name} is not empty")
        for entry in vector[name]:
            section(entry, checks)


def check_graph(vector: Json, checks: Checks) -> None:
    """Check a ring: its order, some neighbourhoods and some windows."""
    plan = Plan.read(vector["plan"])
    derived = derive(plan)
    seed = graph.graph_seed(bytes.fromhex(vector["cohort"]))
    order = graph.ring_order(vector["clients"], seed)
    checks.equal("parameters", vector["parameters"], encoded(plan, derived).decode())
    checks.equal("size of the graph", (len(order), derived.reach), (plan.clients, vector["reach"]))
    checks.equal("seed of the graph", vector["seed"], seed.hex())
    checks.equal("order of the ring", vector["order"], order)
    for client, expected in vector["neighbours"].items():
        found = graph.neighbours(order, derived.reach, int(client))
        checks.equal("neighbours", expected, found)
    for window in vector["windows"]:
        included = set(order) - set(window["missing"])
        weakest = graph.weakest_window(order, derived.reach, included)
        checks.equal("weakest window", window["weakest"], weakest)


def _label(entry: Json, checks: Checks) -> None:
    checks.equal("label", _bytes(entry, "text"), text(entry["name"]))


def _digest(entry: Json, checks: Checks) -> None:
    found = digest(entry["label"], *_list(entry, "parts"), size=entry["size"])
    checks.equal("digest", _bytes(entry, "digest"), found)


def _signature(entry: Json, checks: Checks) -> None:
    private, public = _bytes(entry, "private"), _bytes(entry, "public")
    covered = text(entry["label"]) + digest(entry["label"], *_list(entry, "parts"))
    signature = _bytes(entry, "signature")
    checks.equal("identity", public, ed25519.public_key(private))
    checks.equal("signature", signature, ed25519.sign(private, covered))
    ed25519.verify(public, covered, signature)


def _small_order(entry: Json, checks: Checks) -> None:
    checks.equal("small order", ed25519.is_small_order(_bytes(entry, "public")), True)


def _agreement(entry: Json, checks: Checks) -> None:
    private = _bytes(entry, "private")
    checks.equal("public key", _bytes(entry, "public"), x25519.public_key(private))
    secret = x25519.shared_secret(private, _bytes(entry, "peer"))
    checks.equal("shared secret", _bytes(entry, "secret"), secret)


def _low_order(entry: Json, checks: Checks) -> None:
    point = _bytes(entry, "public")
    checks.equal("low order", _refuses(lambda: x25519.shared_secret(b"\x2a" * 32, point)), True)


def _key(entry: Json, checks: Checks) -> None:
    parts = _list(entry, "parts")
    found = derive_key(_bytes(entry, "secret"), entry["label"], *parts, size=entry["size"])
    checks.equal("derived key", _bytes(entry, "key"), found)


def _stream(entry: Json, checks: Checks) -> None:
    stream = _bytes(entry, "stream")
    checks.equal("stream", stream, ring.stream(_bytes(entry, "key"), len(stream)))


def _check_words(entry: Json, checks: Checks) -> None:
    words, width = entry["words"], entry["width"]
    found = ring.check_words(entry["vector"], _bytes(entry, "cohort"), len(words), width)
    checks.equal("check words", words, found)


def _packing(entry: Json, checks: Checks) -> None:
    values, width, packed = entry["values"], entry["width"], _bytes(entry, "packed")
    checks.equal("packed", packed, ring.pack(values, width))
    checks.equal("unpacked", values, ring.unpack(packed, len(values), width))


def _refused_packing(entry: Json, checks: Checks) -> None:
    packed, length, width = _bytes(entry, "packed"), entry["length"], entry["width"]
    refused = _refuses(lambda: ring.unpack(packed, length, width))
    checks.equal("refused packing", refused, True)


def _sharing(entry: Json, checks: Checks) -> None:
    secrets, threshold, points = _list(entry, "secrets"), entry["threshold"], entry["points"]
    coefficients = _bytes(entry, "coefficients")
    size = (threshold - 1) * sum(map(len, secrets))
    checks.equal("size of coefficients", len(coefficients), size)
    checks.equal("points of shares", len(entry["shares"]), len(points))
    for point, row in zip(points, entry["shares"], strict=True):
        found = shamir.shares(secrets, coefficients, threshold, point)
        checks.equal("shares", [bytes.fromhex(share) for share in row], found)
    last = list(zip(points, entry["shares"], strict=True))[-threshold:]
    for place, secret in enumerate(secrets):
        held = {point: bytes.fromhex(row[place]) for point, row in last}
        checks.equal("reconstructed", shamir.reconstruct(held), secret)


def _context(entry: Json, checks: Checks) -> None:
    plan = Plan.read(entry["plan"])
    parameters = encoded(plan, derive(plan))
    clients = {int(client): bytes.fromhex(key) for client, key in entry["clients"].items()}
    roster = roster_digest(_bytes(entry, "server"), clients)
    found = context(
        plan.scheme,
        parameters,
        _bytes(entry, "session"),
        entry["number"],
        _bytes(entry, "model"),
        roster,
    )
    checks.equal("parameters", entry["parameters"], parameters.decode())
    checks.equal("roster", _bytes(entry, "roster"), roster)
    checks.equal("context", _bytes(entry, "context"), found)


def _sealed(entry: Json, checks: Checks) -> None:
    private, info = _bytes(entry, "private"), _bytes(entry, "info")
    opened = open_base(private, _bytes(entry, "sealed"), info)
    checks.equal("sealed", opened, _bytes(entry, "plaintext"))


def _quantized(entry: Json, checks: Checks) -> None:
    plan, width = entry["plan"], entry["width"]
    checks.equal("width", width, quantize.ring_width(plan))
    for client in entry["clients"]:
        found = quantize.encode(plan, client["vector"], client["weight"], width)
        checks.equal("residues", client["residues"], found)
    columns = zip(*(client["residues"] for client in entry["clients"]), strict=True)
    total = [sum(column) % 2**width for column in columns]
    mean, weight = quantize.decode(plan, total, width)
    checks.equal("mean", (entry["mean"], entry["weight"]), (mean, weight))


_SECTIONS: dict[str, Callable[[Json, Checks], None]] = {
    "labels": _label,
    "digests": _digest,
    "signatures": _signature,
    "small_order": _small_order,
    "agreements": _agreement,
    "low_order": _low_order,
    "keys": _key,
    "streams": _stream,
    "check_words": _check_words,
    "packings": _packing,
    "refused_packings": _refused_packing,
    "sharings": _sharing,
    "contexts": _context,
    "sealed": _sealed,
    "quantized": _quantized,
}


def _refuses(step: Callable[[], object]) -> bool:
    try:
        step()
    except Refused:
        return True
    return False


def _bytes(entry: Json, name: str) -> bytes:
    return bytes.fromhex(entry[name])


def _list(entry: Json, name: str) -> list[bytes]:
    return [bytes.fromhex(value) for value in entry[name]]
