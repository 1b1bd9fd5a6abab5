"""What a client does in a round with a screen when messages are changed, repeated or invented."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.app import ConfigRecord, Context, Message, RecordDict

from protocols import DistributedNoise
from protocols.adapters.flower import ClientSettings, SecurePlan, load_identity, load_roster
from protocols.adapters.flower.call import Call
from protocols.adapters.flower.leakage import LeakageFile
from protocols.adapters.flower.refusal import CONFIGURATION, INTERNAL, LEAKAGE
from protocols.adapters.flower.screen import screen_document, screen_of
from protocols.adapters.flower.settings import simulated_settings
from protocols.adapters.flower.state import SCREENED, STATE
from protocols.adapters.flower.terms import Layout
from protocols.screening import GroupScreen, NormScreen, SketchScreen
from protocols.testing import Arrays, Local
from secagg import wire
from secagg.errors import DecodeError, ParameterError
from secagg.identity import Identity
from secagg.primitives.digest import Label
from secagg.quantize import NormClip, RangeClip
from secagg.schemes.secagg_plus.verified.messages import DIGESTS, Draw
from secagg.wire import Limits

EVERYBODY = frozenset(range(1, 9))
NODE = 1007
MODEL: Arrays = {"w": np.zeros((20, 30), np.float32)}
HONEST = ["adverts", "shares", "train", "screen", "consent", "unmask"]
SIGNATURE, HEADER = 64, 45
SCREEN = SketchScreen(rows=64)
Run = Callable[..., Any]


class Counted:
    """A training function that knows whom it was called for."""

    def __init__(self) -> None:
        self.parties: list[int] = []

    def __call__(self, party: int, model: Arrays) -> Local:
        self.parties.append(party)
        change = np.random.default_rng(party).normal(size=MODEL["w"].shape) / 25
        return Local({"w": np.asarray(model["w"] + change, np.float32)}, {}, 10)


@pytest.fixture
def train() -> Counted:
    return Counted()


@pytest.fixture
def grid(screened_grid: Any, train: Counted) -> Any:
    return screened_grid(train)


def said(reply: Message) -> str:
    return str(reply.error.reason) if reply.has_error() else "content"


def at(stage: str, act: Callable[[Message], Message | None]) -> Callable[[str, Message], Any]:
    """Let `act` meet the first message of a stage to the client under test."""
    met: list[Message] = []

    def intercept(found: str, message: Message) -> Any:
        if (found, message.metadata.dst_node_id) != (stage, NODE) or met:
            return message
        met.append(message)
        return act(message)

    return intercept


def included(run: Any, number: int = 1) -> frozenset[int]:
    return frozenset(run.strategy.reports[number].included)


# -- a step again -----------------------------------------------------------------------------


@pytest.mark.parametrize("stage", HONEST)
@pytest.mark.parametrize("rolled_back", [False, True])
def test_no_step_is_taken_twice(
    stage: str, rolled_back: bool, screened: Run, grid: Any, train: Counted
) -> None:
    """The same message again, to the state after it and to the state before it."""
    replies: list[str] = []

    def twice(message: Message) -> Message:
        context = grid.contexts[NODE]
        before = copy.deepcopy(context.state)
        replies.append(said(grid.run_client(copy.deepcopy(message))))
        if rolled_back:
            context.state = before
        replies.append(said(grid.run_client(copy.deepcopy(message))))
        return message

    grid.intercept = at(stage, twice)
    run = screened(grid, MODEL)
    assert replies[0] == "content"
    assert replies[1].startswith("LocalProtocolError: ")
    assert included(run) == (EVERYBODY if stage in ("consent", "unmask") else EVERYBODY - {1})
    if stage == "train" and not rolled_back:
        assert train.parties.count(1) == 1, "its state is of a round that is masked"


def test_every_message_of_a_run_again_gives_no_frame(screened: Run, grid: Any) -> None:
    """In any order, with the state as it is at the end and with none."""
    seen: list[Message] = []

    def record(stage: str, message: Message) -> Message:
        if message.metadata.dst_node_id == NODE:
            seen.append(copy.deepcopy(message))
        return message

    grid.intercept = record
    screened(grid, MODEL)
    assert len(seen) == 6
    for forget in (False, True):
        for message in (*seen, *reversed(seen)):
            if forget:
                grid.contexts[NODE].state = RecordDict()
            reply = grid.run_client(copy.deepcopy(message))
            assert said(reply).startswith("LocalProtocolError: ")


def changed_draw(message: Message, server: Identity) -> Message:
    """Another draw of the same round that the server signs: the last upload is not in it."""
    again = copy.deepcopy(message)
    (array,) = again.content["secagg.frames"].values()
    header, body = array.data[:HEADER], array.data[HEADER:-SIGNATURE]
    draw = wire.decode(Draw, body, Limits(parties=8, near=8))
    uploads = draw.uploads.by_peer("digest")
    uploads.pop(max(uploads))
    rest = DIGESTS.table({peer: (digest,) for peer, digest in uploads.items()})
    other = wire.encode(Draw(nonce=draw.nonce, uploads=rest))
    array.data = b"".join((header, other, server.sign(Label.FRAME, header, other)))
    array.shape = [len(array.data)]
    return again


@pytest.mark.parametrize("first", ["honest", "changed"])
@pytest.mark.parametrize("rolled_back", [False, True])
def test_one_draw_is_answered_whichever_comes_first(
    first: str, rolled_back: bool, screened: Run, grid: Any, eight: Path
) -> None:
    """Two maps would tell twice as much of one update."""
    server = load_identity(eight / "server.key")
    replies: list[str] = []

    def two(message: Message) -> None:
        draws = [message, changed_draw(message, server)]
        context = grid.contexts[NODE]
        before = copy.deepcopy(context.state)
        for draw in draws if first == "honest" else reversed(draws):
            replies.append(said(grid.run_client(copy.deepcopy(draw))))
            if rolled_back:
                context.state = copy.deepcopy(before)

    grid.intercept = at("screen", two)
    screened(grid, MODEL)
    assert replies[0] == "content"
    if rolled_back:
        assert replies[1] == "LocalProtocolError: step 'screen' of round 1 was taken before"
    else:
        assert replies[1] == "RemoteProtocolError: party 0: a second, different Draw"


def test_a_frame_leaves_in_its_own_stage_only(screened: Run, grid: Any, train: Counted) -> None:
    """What a stage is called does not decide what the machine answers."""
    replies: dict[str, str] = {}

    def renamed(to: str) -> Callable[[Message], Message]:
        def act(message: Message) -> Message:
            wrong = copy.deepcopy(message)
            wrong.content["secagg"]["stage"] = to
            replies[to] = said(grid.run_client(wrong))
            return message

        return act

    swaps = {"shares": "consent", "screen": "dispute", "consent": "unmask", "unmask": "strike"}
    acts = [at(stage, renamed(to)) for stage, to in swaps.items()]

    def intercept(stage: str, message: Message) -> Any:
        for act in acts:
            message = act(stage, message)
        return message

    grid.intercept = intercept
    run = screened(grid, MODEL)
    assert replies == {
        to: f"LocalProtocolError: nothing is due in {to!r} of round 1" for to in swaps.values()
    }
    # no state was changed by any, and no step claimed: the right message is answered
    assert included(run) == EVERYBODY


def test_the_delivery_of_a_round_masks_nothing_without_training(
    screened: Run, grid: Any, train: Counted
) -> None:
    replies: list[str] = []

    def untrained(message: Message) -> Message:
        wrong = copy.deepcopy(message)
        wrong.content["secagg"]["stage"] = "screen"
        frames = wrong.content["secagg.frames"]
        frames["frame"] = frames.pop("delivery")
        replies.append(said(grid.run_client(wrong)))
        return message

    grid.intercept = at("train", untrained)
    run = screened(grid, MODEL)
    assert replies == ["LocalProtocolError: nothing is due in 'screen' of round 1"]
    assert included(run) == EVERYBODY


def test_nothing_but_a_struck_neighbors_shares_outlives_a_round(screened: Run, grid: Any) -> None:
    """One snapshot at a time, of the last round; its masks and its input are not in it."""
    sizes: list[int] = []

    def measure(stage: str, reply: Message) -> Message:
        if reply.metadata.src_node_id == NODE:
            record = grid.contexts[NODE].state[STATE]
            stages = [key for key in record if not key.startswith(("journal", "steps"))]
            assert set(stages) == {SCREENED, f"{SCREENED}.round"}
            sizes.append(len(record[SCREENED]))
        return reply

    grid.on_reply = measure
    screened(grid, MODEL, rounds=2)
    assert len(sizes) == 12
    assert sizes[2] > 4 * MODEL["w"].size, "the masked update is sent with its snapshot"
    assert max(sizes[5], sizes[11]) < 4 * MODEL["w"].size


# -- another model ----------------------------------------------------------------------------


def test_another_model_than_the_rounds_is_refused_before_training(
    screened: Run, grid: Any, train: Counted, to_record: Any
) -> None:
    def other(message: Message) -> Message:
        message.content["arrays"] = to_record({"w": np.ones((20, 30), np.float32)})
        return message

    grid.intercept = at("train", other)
    run = screened(grid, MODEL)
    assert included(run) == EVERYBODY - {1}
    assert sorted(train.parties) == sorted(EVERYBODY - {1})
    (reason,) = (said(reply) for reply in grid.replies if reply.has_error())
    assert reason == "ParameterError: the model is not the one that this round was opened for"


def test_nor_is_it_trained_when_the_call_says_that_it_is_the_rounds(
    screened: Run, grid: Any, train: Counted, to_record: Any
) -> None:
    """The round itself is bound to its model, whatever a later call says."""
    ones = {"w": np.ones((20, 30), np.float32)}
    digest = Layout.of(plan(), ones).digest("num-examples")

    def other(message: Message) -> Message:
        message.content["arrays"] = to_record(ones)
        call = json.loads(str(message.content["secagg"]["call"]))
        message.content["secagg"]["call"] = json.dumps({**call, "model": digest.hex()})
        return message

    grid.intercept = at("train", other)
    run = screened(grid, MODEL)
    assert included(run) == EVERYBODY - {1}
    assert 1 not in train.parties
    reasons = [said(reply) for reply in grid.replies if reply.has_error()]
    assert reasons == ["DecodeError: the snapshot belongs to another party, round or scheme"]


def test_a_client_that_was_invited_with_another_model_is_not_in_the_sum(
    screened: Run, grid: Any, train: Counted
) -> None:
    def other(message: Message) -> Message:
        call = json.loads(str(message.content["secagg"]["call"]))
        message.content["secagg"]["call"] = json.dumps({**call, "model": "ab" * 32})
        return message

    grid.intercept = at("adverts", other)
    run = screened(grid, MODEL)
    assert included(run) == EVERYBODY - {1}
    assert 1 not in train.parties


# -- calls ------------------------------------------------------------------------------------


def plan(**terms: Any) -> SecurePlan:
    return SecurePlan(**{"clip": NormClip(4.0), "max_weight": 100, "screen": SCREEN, **terms})


def call(of: SecurePlan, stage: str = "train", **given: Any) -> Call:
    fields = {"session": bytes(16), "number": 1, "cohort": (1, 2, 3), "sizes": (600, 0)}
    return Call(stage=stage, plan=of, weighted_by="n", **{**fields, **given})


def parsed(document: Any, stage: str = "train") -> Call:
    record = ConfigRecord({"stage": stage, "call": json.dumps(document)})
    message = Message(RecordDict({"secagg": record}), 1, "train")
    return Call.of(message)


def document_of(given: Call) -> dict[str, Any]:
    return dict(json.loads(str(given.record()["call"])))


@pytest.mark.parametrize(
    "screen",
    [
        SCREEN,
        SketchScreen(rows=70, noise=0.5, tables=4, buckets=1 << 12),
        NormScreen(),
        GroupScreen(rows=64, size=3),
    ],
)
def test_a_screen_arrives_as_it_was(screen: Any, grid: Any) -> None:
    assert screen_of(json.loads(json.dumps(screen_document(screen)))) == screen
    for stage in ("hello", *HONEST, "dispute", "strike"):
        sent = call(
            plan(screen=screen, least_clients=8), stage, model=bytes(range(32)), ahead=False
        )
        found = parsed(document_of(sent), stage)
        assert found == sent
        assert found.plan.round_plan(8, 600, 0).digest == sent.plan.round_plan(8, 600, 0).digest


def test_a_plan_without_a_screen_travels_as_ever(grid: Any) -> None:
    """Byte for byte what clients that know of no screen read."""
    plain = call(plan(screen=None, max_weight=9))
    assert str(plain.record()["call"]) == (
        '{"session": "00000000000000000000000000000000", "number": 1, "cohort": [1, 2, 3], '
        '"plan": {"clip": {"norm": 4.0}, "max_weight": 9, "corrupt": 0.2, "dropout": 0.3, '
        '"metrics": {}, "integers": 1024.0, "least_clients": 3, "privacy": null}, '
        '"sizes": [600, 0], "weighted_by": "n", "ahead": true}'
    )
    assert parsed(document_of(plain)) == plain


@pytest.mark.parametrize("stage", ["adverts", "shares", "screen", "dispute", "consent", "strike"])
def test_a_plan_has_the_stages_of_its_kind(stage: str, grid: Any) -> None:
    plain, screened = call(plan(screen=None)), call(plan(), model=bytes(32))
    parsed(document_of(screened), stage)
    with pytest.raises(DecodeError, match="not a call"):
        parsed(document_of(plain), stage)
    parsed(document_of(plain), "deal")
    with pytest.raises(DecodeError, match="not a call"):
        parsed(document_of(screened), "deal")


def edited(key: str, value: Any) -> dict[str, Any]:
    document = document_of(call(plan(), model=bytes(32)))
    if key in document:
        document[key] = value
    else:
        document["plan"]["screen"]["sketch"][key] = value
    return document


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", None),
        ("model", 5),
        ("model", "xyz"),
        ("rows", None),
        ("rows", 0),
        ("rows", 63),
        ("rows", 64.0),
        ("rows", True),
        ("rows", 1 << 15),
        ("tables", 1 << 30),
        ("buckets", 1 << 30),
        ("buckets", 8191),
        ("noise", -1),
        ("noise", 1e300),
        ("noise", "0"),
        ("another", 1),
    ],
)
def test_a_hostile_screen_is_refused(key: str, value: Any, grid: Any) -> None:
    parsed(document_of(call(plan(), model=bytes(32))))
    with pytest.raises((DecodeError, ParameterError)):
        parsed(edited(key, value))


@pytest.mark.parametrize(
    "screen", [None, [], {}, "sketch", {"spy": {}}, {"norm": {}}, {"norm": None}, {"sketch": [64]}]
)
def test_a_screen_of_another_shape_is_no_call(screen: Any, grid: Any) -> None:
    document = document_of(call(plan(), model=bytes(32)))
    document["plan"]["screen"] = screen
    with pytest.raises(DecodeError, match="not a call"):
        parsed(document)


def test_a_model_belongs_to_plans_with_a_screen(grid: Any) -> None:
    plain, screened = document_of(call(plan(screen=None))), document_of(call(plan()))
    with pytest.raises(DecodeError, match="not a call"):
        parsed({**plain, "model": "00" * 32})
    del screened["model"]
    with pytest.raises(DecodeError, match="not a call"):
        parsed(screened)


@pytest.mark.parametrize("stage", ["adverts", "screen"])
def test_garbage_in_the_place_of_a_call_is_a_refusal(stage: str, screened: Run, grid: Any) -> None:
    def garbled(message: Message) -> Message:
        document = json.loads(str(message.content["secagg"]["call"]))
        message.content["secagg"]["call"] = json.dumps({**document, "model": "ab"})
        return message

    grid.intercept = at(stage, garbled)
    run = screened(grid, MODEL)
    assert included(run) == EVERYBODY - {1}
    (reason,) = (said(reply) for reply in grid.replies if reply.has_error())
    assert reason == "ParameterError: model must be a digest of 32 bytes: see model_digest"


# -- terms and settings -----------------------------------------------------------------------


def test_a_screen_that_makes_no_sense_is_refused() -> None:
    assert plan(screen=NormScreen(), metrics={"loss": 1.0}).screen == NormScreen()
    with pytest.raises(ParameterError, match="screen and privacy exclude each other"):
        plan(privacy=DistributedNoise(multiplier=1.0), max_weight=1)
    for other in (64, "sketch", {"sketch": {}}):
        with pytest.raises(ParameterError, match="NormScreen, SketchScreen or GroupScreen"):
            plan(screen=other)
    with pytest.raises(ParameterError, match="take a NormClip"):
        plan(clip=RangeClip(1.0))
    with pytest.raises(ParameterError, match=r"8 \* numbers opened <= d = 511 must hold"):
        plan().round_plan(8, 511, 0)
    assert plan().round_plan(8, 511, 1).scheme.opened == 65


def settings(eight: Path, **config: Any) -> ClientSettings:
    given = {
        "secagg-identity": str(eight / "client-1.key"),
        "secagg-roster": str(eight / "roster.json"),
        **{f"secagg-{name.replace('_', '-')}": value for name, value in config.items()},
    }
    return ClientSettings.from_node_config(given)


def test_what_may_be_opened_comes_from_the_node_configuration(eight: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "opened")
    mine = settings(eight, floor_opened=65, most_opened=100, leakage=path)
    assert mine.floors.opened == 65
    assert mine.leakage is not None
    assert "100" in repr(mine.leakage)
    mine.leakage.charge(b"round", 65)
    again = settings(eight, most_opened=100, leakage=path).leakage
    assert again is not None
    assert again.spent == 65
    assert settings(eight).floors.opened == 0
    assert settings(eight).leakage is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"floor_opened": "65"}, "must be a number"),
        ({"most_opened": 1.5}, "must be a number"),
        ({"most_opened": -1}, "most >= 0"),
        ({"leakage": "somewhere"}, "needs secagg-most-opened, which is absent"),
        ({"most_opened": 5, "leakage": 5}, "lacks a path secagg-leakage"),
        ({"most_opened": 5, "required": False}, "a leakage ledger needs required: true"),
    ],
)
def test_settings_with_a_mistake_are_refused(
    config: dict[str, Any], reason: str, eight: Path, tmp_path: Path
) -> None:
    assert settings(eight, most_opened=5, leakage=str(tmp_path / "good"), required=True).leakage
    with pytest.raises(ParameterError, match=re.escape(reason)):
        settings(eight, **config)


def test_settings_from_code(eight: Path, tmp_path: Path) -> None:
    mine: dict[str, Any] = {
        "identity": load_identity(eight / "client-1.key"),
        "roster": load_roster(eight / "roster.json"),
        "leakage": LeakageFile(tmp_path / "opened", most=5),
    }
    assert ClientSettings(**mine, required=True).leakage is mine["leakage"]
    with pytest.raises(ParameterError, match="needs required: true"):
        ClientSettings(**mine)


def test_a_simulation_says_what_may_be_opened(eight: Path) -> None:
    context = Context(7, 100, {"partition-id": 0}, RecordDict(), {})
    assert simulated_settings(eight)(context).floors.opened == 0
    assert simulated_settings(eight, opened=65)(context).floors.opened == 65
    assert simulated_settings(eight, opened=65)(context).floors.corrupt == 0.2


@pytest.mark.parametrize("trouble", ["damaged", "a directory"])
def test_a_leakage_ledger_that_cannot_be_used_is_a_loss_that_names_no_path(
    trouble: str, screened: Run, grid: Any, tmp_path: Path, train: Counted
) -> None:
    path = tmp_path / "mine"
    config = {"secagg-most-opened": 1000, "secagg-leakage": str(path)}
    grid.contexts[NODE].node_config.update(config)
    path.write_bytes(b"not a ledger") if trouble == "damaged" else path.mkdir()
    run = screened(grid, MODEL)
    assert included(run) == EVERYBODY - {1}
    assert {said(reply) for reply in grid.replies if reply.has_error()} == {CONFIGURATION}
    assert 1 not in train.parties


def test_a_leakage_ledger_that_breaks_while_training_is_a_loss(
    screened: Run, screened_grid: Any, tmp_path: Path
) -> None:
    path = tmp_path / "mine"

    def train(party: int, model: Arrays) -> Local:
        if party == 1:
            path.write_bytes(b"not a ledger")
        return Counted()(party, model)

    grid = screened_grid(train)
    config = {"secagg-most-opened": 1000, "secagg-leakage": str(path)}
    grid.contexts[NODE].node_config.update(config)
    run = screened(grid, MODEL)
    assert included(run) == EVERYBODY - {1}
    reasons = [said(reply) for reply in grid.replies if reply.has_error()]
    assert reasons == [LEAKAGE]
    assert INTERNAL not in reasons
