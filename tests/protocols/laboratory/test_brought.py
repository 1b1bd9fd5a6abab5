"""A model and data that a user brings: the contract, what breaks it, and what is run on them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, the extra `torch`")

from protocols.laboratory.brought import BroughtSubject, subject_of  # noqa: E402
from protocols.laboratory.exposure import Exposure, Row, Skipped  # noqa: E402
from protocols.laboratory.foreign import brought  # noqa: E402
from protocols.laboratory.modes import Kind, Mode  # noqa: E402
from protocols.laboratory.suite import rows  # noqa: E402
from robust.attacks.attack import Examples  # noqa: E402
from secagg.errors import ParameterError  # noqa: E402

with warnings.catch_warnings():
    # typer 0.20, the last that Flower allows, imports names that click 8.5 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from typer.testing import CliRunner

    from protocols.cli import app

SHOP = """
import numpy as np
import torch
from torch import nn

number = 3
rng = np.random.default_rng(1)
labels = np.arange(200) % 4
inputs = (rng.random((200, 1, 8, 8)) / 2 + labels[:, None, None, None] / 8).astype(np.float32)


def linear(classes=4):
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def dropping():
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 4))


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 4)
        self.calls = 0

    def forward(self, inputs):
        return self.layer(inputs.flatten(1))


class Counting(Linear):
    def forward(self, inputs):
        self.calls += 1
        return super().forward(inputs) * self.calls


class Deaf(Linear):
    def forward(self, inputs):
        with torch.no_grad():
            return super().forward(inputs)


class Pairs(Linear):
    def forward(self, inputs):
        return self.layer(inputs.reshape(2, 64))


def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(4))


def nowhere():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4, device="meta"))


def frozen():
    made = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 4))
    made[1].requires_grad_(False)
    return made


def asleep():
    return linear().requires_grad_(False)


def raising():
    raise KeyError("no weights\\nhere")


def silent():
    return nn.Flatten()


def huge():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1000))


def broken():
    made = linear()
    made[1].weight.data[0, 0] = float("nan")
    return made


def deep():
    return nn.Linear(8, 4)


def other():
    return nn.Sequential(nn.Flatten(), nn.Linear(63, 4))


def loader():
    return inputs, labels


def tensors():
    return torch.from_numpy(inputs), torch.from_numpy(labels)


def tables():
    return inputs.reshape(200, 64) * 9 - 4, labels


def alone():
    return inputs


def whole():
    return (inputs * 16).astype(int), labels


def holes():
    found = inputs.copy()
    found[3, 0, 0, 0] = np.nan
    return found, labels


def shorter():
    return inputs, labels[:-1]


def few():
    return inputs[:20], labels[:20]


def negative():
    return inputs, labels - 1


def beyond():
    return inputs, labels + 1


def unlabeled():
    return inputs, labels.astype(float)


def uneven():
    return inputs, np.minimum(labels, 2)


def ragged():
    return [[1.0], [1.0, 2.0]], labels


def stopping():
    raise SystemExit(3)
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path with a module of a user's, `shop_of_tests`."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop_of_tests.py").write_text(SHOP)
    (folder / "shop_that_breaks.py").write_text("1 / 0\n")
    (folder / "plan.toml").write_text("[scheme]\nclients = 5\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    sys.modules.pop("shop_of_tests", None)


def subject(model: str = "linear", data: str = "loader") -> BroughtSubject:
    return subject_of(f"shop_of_tests:{model}", f"shop_of_tests:{data}")


@pytest.mark.parametrize("data", ["loader", "tensors", "tables"])
def test_what_follows_the_contract_is_taken(shop: Path, data: str) -> None:
    given = brought("shop_of_tests:linear", f"shop_of_tests:{data}")
    assert given.classes == 4
    assert given.inputs.dtype == np.float64
    assert len(given.inputs) == len(given.labels) == 200


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("shop_of_tests", "the form MODULE:FUNCTION must hold"),
        ("shop_of_tests:", "the form MODULE:FUNCTION must hold"),
        ("shop_of_nobody:make", "the import of shop_of_nobody raised ModuleNotFoundError"),
        ("shop_that_breaks:make", "the import of shop_that_breaks raised ZeroDivisionError"),
        ("shop_of_tests:make", "a function make in shop_of_tests must hold"),
        ("shop_of_tests:number", "a function number in shop_of_tests must hold"),
        ("shop_of_tests:raising", r"raising\(\) raised KeyError: 'no weights"),
        ("shop_of_tests:loader", "a torch.nn.Module, not a tuple, must hold"),
        ("shop_of_tests:silent", "parameters that require a gradient, and all of them real floats"),
        ("shop_of_tests:asleep", "parameters that require a gradient, and all of them real floats"),
        ("shop_of_tests:lazy", "what parameters there are raised ValueError"),
        ("shop_of_tests:nowhere", "what parameters there are raised RuntimeError"),
        ("shop_of_tests:Counting", "the same logits each time, for the same inputs, must hold"),
        ("shop_of_tests:huge", "parameters <= 50000, not 65000"),
        ("shop_of_tests:broken", "finite parameters must hold"),
        ("shop_of_tests:deep", r"logits \(b, c\) for inputs \(b, \*shape\), not \(2, 1, 8, 4\)"),
        ("shop_of_tests:other", r"the model on inputs \(2, 1, 8, 8\) raised RuntimeError"),
    ],
)
def test_another_model_is_refused_by_name(shop: Path, model: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words) as caught:
        brought(model, "shop_of_tests:loader")
    assert str(caught.value).startswith(f"--model {model}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("raising", r"raising\(\) raised KeyError"),
        ("alone", r"a tuple \(inputs, labels\), not a ndarray, must hold"),
        ("whole", "inputs of floats, not int64, must hold"),
        ("holes", "finite inputs, without NaN, must hold"),
        ("shorter", r"labels \(n,\), not \(200, 1, 8, 8\) and \(199,\), must hold"),
        ("few", "n >= 100 records, not 20, must hold"),
        ("negative", "labels >= 0, not -1, must hold"),
        ("beyond", "0 <= label < 4, as the model has must hold"),
        ("unlabeled", "labels of integers, not float64, must hold"),
        ("uneven", "4 records of each class at least, not 0 of class 3, must hold"),
        ("ragged", "an array of what it gave raised ValueError"),
    ],
)
def test_other_data_are_refused_by_name(shop: Path, data: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words) as caught:
        brought("shop_of_tests:linear", f"shop_of_tests:{data}")
    assert str(caught.value).startswith(f"--data shop_of_tests:{data}: ")


def test_what_the_users_code_raised_is_the_cause_and_an_exit_is_an_error(shop: Path) -> None:
    with pytest.raises(ParameterError) as caught:
        brought("shop_of_tests:raising", "shop_of_tests:loader")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ParameterError, match=r"stopping\(\) raised SystemExit: 3"):
        brought("shop_of_tests:stopping", "shop_of_tests:loader")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("Pairs", "--model: training on 10 records raised RuntimeError"),
        ("Deaf", "--model: logits with a gradient must hold"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_by_name(
    shop: Path, model: str, words: str
) -> None:
    assert subject("Linear").users(np.random.default_rng(1), count=1).clients.shape == (1, 260)
    with pytest.raises(ParameterError, match=words):
        subject(model).users(np.random.default_rng(1), count=1)


def test_what_a_model_does_not_train_is_in_no_update(shop: Path) -> None:
    whose = subject("frozen")
    assert whose.model.size == 8 * 4 + 4
    pool = whose.users(np.random.default_rng(1), count=2)
    assert pool.clients.shape == (2, 36)
    assert (pool.clients != 0).any(axis=0).all()


def test_a_group_that_is_too_large_to_invert_is_said(shop: Path) -> None:
    exposure = Exposure(clients=9, mode=Mode(kind=Kind.GROUPS, numbers=8, group=150))
    found = list(subject().pictures(exposure, np.random.default_rng(1), quick=True))
    assert [one.attack for one in found if isinstance(one, Skipped)] == [
        "imprinted layer", "inversion of a sketch", "inversion",
    ]  # fmt: skip
    assert len(found) == 3


# -- what is run -------------------------------------------------------------------------------


def test_one_step_on_one_record_is_its_gradient(shop: Path) -> None:
    model = subject().model
    inputs, labels = torch.full((1, 64), 0.25, dtype=torch.float64), torch.tensor([2])
    layer = torch.nn.Linear(64, 4).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(model.start[:256]).reshape(4, 64))
        layer.bias.copy_(torch.tensor(model.start[256:]))
    torch.nn.functional.cross_entropy(layer(inputs), labels).backward()
    slope = torch.cat([layer.weight.grad.flatten(), layer.bias.grad])  # type: ignore[union-attr]
    one = Examples(inputs.numpy(), labels.numpy(), 4)
    found = model.updates([one], [np.zeros((1, 1), dtype=np.int64)], 0.1)
    np.testing.assert_allclose(found[0], -0.1 * slope.numpy(), atol=1e-12)


def test_updates_of_clients_and_records_are_of_the_model(shop: Path) -> None:
    whose, rng = subject(), np.random.default_rng(1)
    users, records = whose.users(rng, count=5), whose.records(rng, batch=10)
    assert users.clients.shape == users.imitated.shape == (5, 260)
    assert records.clients.shape == records.imitated.shape == (100, 260)
    assert users.norm > 0
    # a label's own logit rises by what the others fall
    biases = records.clients[:, 256:]
    np.testing.assert_allclose(biases.sum(axis=1), 0, atol=1e-12)
    assert (np.sort(biases, axis=1)[:, :3] < 0).all()


@pytest.mark.slow
def test_all_attacks_that_apply_are_run_and_the_others_say_why(shop: Path) -> None:
    exposure = Exposure(clients=1, mode=Mode(kind=Kind.SKETCH, numbers=16))
    every = list(rows(exposure, np.random.default_rng(1), subject=subject()))
    found = [one for one in every if isinstance(one, Row)]
    assert {one.question for one in found if one.figure.leaks} == {
        "the label of a record?",
        "the most frequent label of 20?",
        "which client was it before?",
        "is a client in the sum?",
        "is a record in the sum?",
        "which image was it?",
    }
    assert [one.attack for one in every if isinstance(one, Skipped)] == ["imprinted layer"]


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("linear", "tables", "records are not gray images"),
        ("dropping", "loader", "this model has dropout or normalizes by batches"),
    ],
)
def test_inversion_says_where_it_does_not_apply(
    shop: Path, model: str, data: str, words: str
) -> None:
    pictures = subject(model, data).pictures(
        Exposure(clients=1), np.random.default_rng(1), quick=True
    )
    skipped = {one.attack: one.why for one in pictures if isinstance(one, Skipped)}
    assert words in skipped["inversion"]


def test_the_command_runs_users_code_when_asked_and_only_then(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(shop)])
    sys.modules.pop("shop_of_tests", None)
    runner, given = CliRunner(), ["--data", "shop_of_tests:tables", "--seconds", "0"]
    alone = runner.invoke(app, ["audit", "plan.toml", *given])
    assert alone.exit_code == 2
    assert "--model and --data go together" in alone.stderr
    assert "shop_of_tests" not in sys.modules
    options = [*given, "-o", "out", "--attacks-only", "--model", "shop_of_tests:linear"]
    done = runner.invoke(app, ["audit", "plan.toml", *options])
    assert done.exit_code == 0, done.output
    assert "shop_of_tests" in sys.modules
    text = (shop / "out" / "leakage.html").read_text("utf-8")
    assert "Clients train shop_of_tests:linear on shop_of_tests:tables." in text
    assert "simulated on scikit-learn" not in text


def test_the_command_refuses_in_one_line(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    options = ["--model", "shop_of_nobody:make", "--data", "shop_of_tests:loader"]
    done = CliRunner().invoke(app, ["audit", "plan.toml", *options])
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert "No module named 'shop_of_nobody'" in done.stderr
