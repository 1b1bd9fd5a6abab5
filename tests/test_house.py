"""House rules that a machine can check, on every module of the four packages."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("secagg", "dp", "robust", "protocols")
FILES = sorted(path for name in PACKAGES for path in (REPOSITORY / name).rglob("*.py"))
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 50
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
EVERYTHING = {"everything", "Exception", "BaseException"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Trees = dict[str, ast.Module]


@pytest.fixture(scope="module")
def trees() -> Trees:
    """Every module, parsed, by its path."""
    texts = {str(path.relative_to(REPOSITORY)): path.read_text("utf-8") for path in FILES}
    return {path: ast.parse(text, path) for path, text in texts.items()}


def offenders(offences: dict[str, Iterable[str]]) -> dict[str, list[str]]:
    """Those modules that have any."""
    return {path: sorted(names) for path, names in offences.items() if names}


def lines_of(function: Function) -> int:
    """From the first decorator to the last statement, without the docstring."""
    first = min([function.lineno, *(item.lineno for item in function.decorator_list)])
    docstring = 0
    if ast.get_docstring(function, clean=False) is not None:
        text = function.body[0]
        docstring = (text.end_lineno or text.lineno) - text.lineno + 1
    return (function.end_lineno or function.lineno) - first + 1 - docstring


def functions_of(tree: ast.Module) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def long_functions(tree: ast.Module) -> list[str]:
    return [f.name for f in functions_of(tree) if lines_of(f) > MOST_LINES_OF_A_FUNCTION]


def called(tree: ast.Module) -> set[str]:
    """Names that are called as they are, not as attributes."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}


def defines(path: Path, tree: ast.Module) -> bool:
    """Whether a public module's top level has anything to offer."""
    public = path.stem == "__init__" or not path.stem.startswith("_")
    return public and any(isinstance(n, Function | ast.ClassDef | ast.Assign) for n in tree.body)


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


def test_modules_say_what_they_are(trees: Trees) -> None:
    texts = {path: ast.get_docstring(tree) or "" for path, tree in trees.items()}
    assert [path for path, text in texts.items() if len(text) <= 10] == []


def test_modules_are_short() -> None:
    lines = {str(path): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {path: count for path, count in lines.items() if count >= MOST_LINES} == {}


def test_functions_are_small(trees: Trees) -> None:
    long = {path: long_functions(tree) for path, tree in trees.items()}
    assert offenders(long) == {}


def test_nothing_is_pickled_evaluated_or_looked_up_by_name(trees: Trees) -> None:
    modules = {path: imported(tree) & FORBIDDEN_MODULES for path, tree in trees.items()}
    names = {path: called(tree) & FORBIDDEN_NAMES for path, tree in trees.items()}
    assert offenders(modules) == {}
    assert offenders(names) == {}


def test_handlers_name_what_they_expect(trees: Trees) -> None:
    kinds = {path: set(caught(tree)) & EVERYTHING for path, tree in trees.items()}
    assert offenders(kinds) == {}


def test_public_modules_list_what_they_offer(trees: Trees) -> None:
    """Every module that defines something public has `__all__`, and each name in it exists."""
    lists = {path: exported(tree) for path, tree in trees.items()}
    without = [path for path, names in lists.items() if names is None]
    assert [path for path in without if defines(Path(path), trees[path])] == []
    given = {path: names for path, names in lists.items() if names is not None}
    assert [path for path, names in given.items() if len(set(names)) < len(names)] == []
    assert offenders({path: set(names) - bound(trees[path]) for path, names in given.items()}) == {}


def test_annotations_are_postponed(trees: Trees) -> None:
    functions = {path for path, tree in trees.items() if functions_of(tree)}
    assert [path for path in functions if "__future__" not in imported(trees[path])] == []


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
    (function,) = functions_of(tree)
    assert lines_of(function) == 7
    assert long_functions(tree) == []
    assert exported(ast.parse("x = 1")) is None
    assert called(ast.parse("eval('1')\nmodel.eval()")) == {"eval"}
    body = "    x = 1\n" * MOST_LINES_OF_A_FUNCTION
    assert long_functions(ast.parse(f"def f():\n{body}")) == ["f"]
    assert offenders({"a.py": [], "b.py": {"eval"}}) == {"b.py": ["eval"]}
    assert defines(Path("a.py"), ast.parse("x = 1"))
    assert not defines(Path("_a.py"), ast.parse("x = 1"))
    assert not defines(Path("a.py"), ast.parse("import ast"))
