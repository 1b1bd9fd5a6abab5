"""The stored vectors: the reference accepts them, reports any change, and the library makes them.

How the library plays the recorded rounds is in test_replay.py, what it refuses in test_refusals.py.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn import graphs, primitives, refusals, rounds
from reference import frame
from reference.verify import main, verify

FOLDER = Path(__file__).parent / "secagg_plus"
ROUNDS = [case.name for case in rounds.CASES]
VERIFIABLE = [*ROUNDS, *graphs.CASES, "primitives"]

Json = dict[str, Any]


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


# -- the reference reads the specification the same way ---------------------------------------

LEAST = {
    "round_width_20": "header 25, signature 25, Advert 5, Cohort 1, sealed parcel 16, Shares 4, "
    "secret from a threshold 48, Inbox 4, Masked 3, Survivors 1, Consent 3, Consents 1, Unmask 3, "
    "outcome 1, derived clients 1",
    "round_width_33": "sealed parcel 20, Masked 5, Consent 4, Unmask 3, outcome 1",
    "round_semi_honest": "sealed parcel 12, Masked 4, Unmask 3, outcome 1",
    **dict.fromkeys(graphs.CASES, "order of the ring 1, neighbours 5, weakest window 5"),
    "primitives": "label 19, digest 12, signature 2, small order 8, shared secret 4, low order 7, "
    "derived key 4, stream 3, check words 5, packed 51, refused packing 5, shares 20, "
    "reconstructed 8, context 10, sealed 2, mean 4",
}


@pytest.mark.parametrize("name", VERIFIABLE)
def test_the_reference_accepts(name: str) -> None:
    report = verify(load(name))
    assert report.problem is None
    wanted = dict(entry.rsplit(" ", 1) for entry in LEAST[name].split(", "))
    assert {what: str(report.held.get(what)) for what in wanted} == wanted


def test_the_command_counts_the_files_with_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = FOLDER / "graph_300.json", tmp_path / "bad.json"
    vector = load("graph_300")
    vector["windows"][2]["weakest"] += 1
    bad.write_text(json.dumps(vector))
    assert main([str(good)]) == 0
    assert main([str(good), str(bad), str(FOLDER / "refusals.json")]) == 2
    assert "weakest window" in (out := capsys.readouterr().out)
    assert "the kind is" in out


# -- one changed byte anywhere ----------------------------------------------------------------


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every string and number of a vector, but for free text."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if key not in {"description", "rule", "kind"}:
                yield from leaves(item, (*path, key))
    elif value not in (None, ""):
        yield path


def changed(vector: Json, path: tuple[Any, ...], at: int) -> Json:
    """A copy whose leaf at `path` differs: in byte `at` (modulo its length), or by one."""
    copied = copy.deepcopy(vector)
    *way, last = path
    holder: Any = copied
    for key in way:
        holder = holder[key]
    holder[last] = other(holder[last], at)
    return copied


def other(value: Any, at: int) -> Any:
    if isinstance(value, str) and is_hex(value):
        data = bytearray.fromhex(value)
        data[at % len(data)] ^= 0xFF  # whole bytes: X25519 ignores five bits of a private key
        return data.hex()
    if isinstance(value, str):
        place = at % len(value)
        return value[:place] + ("1" if value[place] != "1" else "2") + value[place + 1 :]
    return value + 1


def is_hex(value: str) -> bool:
    return len(value) >= 2 and len(value) % 2 == 0 and set(value) <= set("0123456789abcdef")


def unreported(vector: Json, changes: list[tuple[tuple[Any, ...], int]]) -> list[Any]:
    return [change for change in changes if verify(changed(vector, *change)).problem is None]


@pytest.mark.parametrize("name", ROUNDS)
def test_a_changed_byte_of_any_frame_is_reported(name: str) -> None:
    """Every frame, at its ends and at places that differ from frame to frame."""
    vector = load(name)
    places = [(0, 1, 2, -1, -64, 45 + 7 * number) for number in range(len(vector["frames"]))]
    changes = [(("frames", number, "frame"), at) for number, row in enumerate(places) for at in row]
    assert verify(vector).problem is None
    assert not unreported(vector, changes)


@pytest.mark.parametrize("name", ROUNDS)
def test_a_change_in_anything_else_is_reported(name: str) -> None:
    vector = load(name)
    paths = [path for path in leaves(vector) if path[-1] != "frame"]
    changes = [(path, 5 * number) for number, path in enumerate(paths)]
    assert len(changes) > 100
    assert not unreported(vector, changes[::11])


@pytest.mark.parametrize("code", sorted(frame.CODES))
def test_a_changed_body_is_reported_under_a_signature_of_its_sender(code: int) -> None:
    """So the derivation notices, and not the signature alone."""
    vector = load("round_width_20")
    number, data = next(
        (number, data)
        for number, entry in enumerate(vector["frames"])
        if (data := bytes.fromhex(entry["frame"]))[4] == code
    )
    body = data[45:-64]
    places = sorted({0, len(body) // 3, 2 * len(body) // 3, len(body) - 1})
    for at in places:
        forged = body[:at] + bytes((body[at] ^ 1,)) + body[at + 1 :]
        vector["frames"][number]["frame"] = signed(vector, data[:45], forged).hex()
        problem = verify(vector).problem
        assert problem is not None
        assert "signature" not in problem
    vector["frames"][number]["frame"] = signed(vector, data[:45], body).hex()
    assert verify(vector).problem is None


def signed(vector: Json, head: bytes, body: bytes) -> bytes:
    sender = int.from_bytes(head[37:41], "little")
    private = bytes.fromhex(vector["identities"][str(sender)])
    return head + body + frame.sign(private, head, body)


@pytest.mark.parametrize("name", ["primitives", "graph_300"])
def test_a_changed_value_of_a_building_block_is_reported(name: str) -> None:
    vector = load(name)
    paths = [path for path in leaves(vector) if not may_not_matter(path)]
    changes = [(path, 3 * number) for number, path in enumerate(paths)]
    assert len(changes) > 400
    assert not unreported(vector, changes[:: len(changes) // 30])


def may_not_matter(path: tuple[Any, ...]) -> bool:
    """Arguments of which two may give one value.

    Another survivor need not be in the emptiest window; a clipped number keeps its integer; one
    residue packs alike in two widths; with a threshold of 1 all shares are equal; and what is
    refused may be wrong in another way.
    """
    return (
        bool({"missing", "points", "refused_packings"} & set(path))
        or (path[0] == "quantized" and bool({"plan", "vector"} & set(path)))
        or (path[0], path[-1]) == ("packings", "width")
    )


# -- the library ------------------------------------------------------------------------------


def test_the_library_gives_every_value_of_the_building_blocks() -> None:
    stored = load("primitives")
    del stored["sealed"]
    assert plain(primitives.primitives()) == stored


@pytest.mark.parametrize("name", graphs.CASES)
def test_the_library_draws_the_same_graph(name: str) -> None:
    assert plain(graphs.graph(name)) == load(name)


@pytest.mark.parametrize("case", rounds.CASES, ids=ROUNDS)
def test_the_library_derives_the_same_values(case: rounds.Case) -> None:
    stored = load(case.name)
    assert plain(rounds.derived(stored)) == stored["derived"]


@pytest.mark.parametrize("case", rounds.CASES, ids=ROUNDS)
def test_a_round_recorded_again_differs_only_by_what_hpke_draws(case: rounds.Case) -> None:
    stored, again = load(case.name), plain(rounds.record(case))
    fixed = ("plan", "round", "identities", "secrets", "outcome")
    assert {name: again[name] for name in fixed} == {name: stored[name] for name in fixed}
    assert again["derived"]["cohort"] == stored["derived"]["cohort"]
    assert verify(again).problem is None


def test_the_refused_frames_are_made_from_the_stored_rounds() -> None:
    recorded = {name: load(name) for name in ROUNDS}
    assert plain(refusals.refusals(recorded)) == load("refusals")


def plain(vector: Json) -> Json:
    """As it would come back from a file."""
    loaded: Json = json.loads(json.dumps(vector))
    return loaded


def test_the_files_are_these_and_small() -> None:
    names = {path.stem for path in FOLDER.glob("*.json")}
    assert names == {*VERIFIABLE, "refusals"}
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) < 1_500_000


def test_the_example_of_the_specification_is_a_stored_frame() -> None:
    page = (Path(__file__).parents[2] / "docs" / "spec" / "wire.md").read_text()
    example = page.split("```text\n")[2].split("```")[0]
    shown = "".join(line[:50] for line in example.splitlines())
    assert "".join(shown.split()) == load("round_width_20")["frames"][0]["frame"]
