"""The house rules of the library hold here too, and only its public names are used."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "apiwatch"
FILES = sorted(PACKAGE.rglob("*.py"))
LIBRARY = {"secagg", "dp", "robust", "protocols"}
FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "random"}
Function = ast.FunctionDef | ast.AsyncFunctionDef
every_file = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])


def length(function: Function) -> int:
    docstring = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    spared = docstring.end_lineno - docstring.lineno + 1 if docstring else 0
    return function.end_lineno - function.lineno + 1 - spared


@every_file
def test_modules_and_functions_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert len(ast.get_docstring(tree) or "") > 10
    assert len(text.splitlines()) < 400
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    assert [f.name for f in functions if length(f) > 50] == []


@every_file
def test_handlers_name_what_they_expect(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            assert ast.unparse(node.type) not in ("Exception", "BaseException")


@every_file
def test_nothing_is_pickled_and_only_public_names_of_the_library_are_used(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & (FORBIDDEN | LIBRARY)
        elif isinstance(node, ast.ImportFrom) and node.module:
            root = node.module.split(".")[0]
            assert root not in FORBIDDEN
            if root in LIBRARY:
                public = importlib.import_module(node.module).__all__
                assert {alias.name for alias in node.names} <= set(public)


def test_functions_are_mostly_small() -> None:
    lengths = sorted(
        length(node)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, Function)
    )
    assert lengths[len(lengths) // 2] < 10
