"""House rules that a machine can check, on every module of the four packages."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("secagg", "dp", "robust", "protocols")
FILES = sorted(path for name in PACKAGES for path in (REPOSITORY / name).rglob("*.py"))
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 50
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
every_file = pytest.mark.parametrize(
    "path", FILES, ids=[str(path.relative_to(REPOSITORY)) for path in FILES]
)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def lines_of(function: Function) -> int:
    """From the first decorator to the last statement, without the docstring."""
    first = min([function.lineno, *(item.lineno for item in function.decorator_list)])
    docstring = 0
    if ast.get_docstring(function, clean=False) is not None:
        text = function.body[0]
        docstring = (text.end_lineno or text.lineno) - text.lineno + 1
    return (function.end_lineno or function.lineno) - first + 1 - docstring


def caught(tree: ast.Module) -> list[str]:
    """The exceptions that handlers name; "everything" for a bare except."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            found += ["everything" if kind is None else ast.unparse(kind) for kind in kinds]
    return found


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {item.name.partition(".")[0] for item in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["__all__"]:
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def bound(tree: ast.Module) -> set[str]:
    """Names that the module's top level binds, also under `if` and `try`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(item.asname or item.name).partition(".")[0] for item in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 30
    for name in PACKAGES:
        assert REPOSITORY / name / "__init__.py" in FILES


@every_file
def test_a_module_says_what_it_is(path: Path) -> None:
    text = ast.get_docstring(parsed(path))
    assert text
    assert len(text) > 10


@every_file
def test_a_module_is_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < MOST_LINES


@every_file
def test_functions_are_small(path: Path) -> None:
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, Function)]
    long = {f.name: lines_of(f) for f in functions if lines_of(f) > MOST_LINES_OF_A_FUNCTION}
    assert not long


@every_file
def test_nothing_is_pickled_evaluated_or_looked_up_by_name(path: Path) -> None:
    tree = parsed(path)
    assert not imported(tree) & FORBIDDEN_MODULES
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & FORBIDDEN_NAMES


@every_file
def test_handlers_name_what_they_expect(path: Path) -> None:
    assert not set(caught(parsed(path))) & {"everything", "Exception", "BaseException"}


@every_file
def test_a_public_module_lists_what_it_offers(path: Path) -> None:
    """Every module that defines something public has `__all__`, and each name in it exists."""
    tree = parsed(path)
    names = exported(tree)
    public = path.stem == "__init__" or not path.stem.startswith("_")
    defines = any(isinstance(node, Function | ast.ClassDef | ast.Assign) for node in tree.body)
    if public and defines:
        assert names is not None
    if names is not None:
        assert len(set(names)) == len(names)
        assert set(names) <= bound(tree)


@every_file
def test_annotations_are_postponed(path: Path) -> None:
    tree = parsed(path)
    if any(isinstance(node, Function) for node in ast.walk(tree)):
        assert "__future__" in imported(tree)


# -- the rules catch what they are for ---------------------------------------------------------


def test_the_checks_see_what_they_forbid() -> None:
    tree = ast.parse(
        "import pickle\n"
        "from marshal import loads\n"
        "__all__ = ['f']\n"
        "def f():\n"
        "    'text\\n    more\\n    '\n"
        "    try: pass\n"
        "    except Exception: pass\n"
        "    try: pass\n"
        "    except (KeyError, BaseException): pass\n"
        "    try: pass\n"
        "    except: pass\n"
    )
    assert imported(tree) == {"pickle", "marshal"}
    assert caught(tree) == ["Exception", "KeyError", "BaseException", "everything"]
    assert exported(tree) == ["f"]
    assert bound(tree) == {"pickle", "loads", "__all__", "f"}
    (function,) = (node for node in ast.walk(tree) if isinstance(node, Function))
    assert lines_of(function) == 7
    assert exported(ast.parse("x = 1")) is None
