"""The documentation does what it says: its code runs, its links lead somewhere, its tables fit."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import re
import runpy
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest

import dp.errors as dp_errors
from secagg import errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

CODE = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
SKETCHES = [DOCS / "how-to" / "test-a-scheme.md"]
"""Their blocks use a scheme that the reader has; they must parse, and import what exists."""
RUN = [page for page in CODE if page not in SKETCHES]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
PACKAGES = ("secagg", "dp", "robust", "protocols")


@dataclass(frozen=True)
class Block:
    """A block of Python, the line on which it starts, and what the page says that it prints."""

    line: int
    code: str
    printed: str | None


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str) -> Iterator[Block]:
    fences = list(FENCE.finditer(text))
    for fence, after in zip_longest(fences, fences[1:]):
        if fence[1] != "python":
            continue
        follows = after is not None and not text[fence.end() : after.start()].strip()
        printed = after[2] if after and follows and after[1] == "text" else None
        yield Block(text[: fence.start(2)].count("\n"), fence[2], printed)


def run(block: Block, page: str, namespace: dict[str, object]) -> str:
    """What the block prints, and the last line of the traceback if it raises."""
    # blank lines in front make a traceback name the line of the page
    code = compile("\n" * block.line + block.code, page, "exec")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(code, namespace)
        except Exception as error:
            if block.printed is None:
                raise
            out.write(traceback.format_exception_only(error)[-1])
    return out.getvalue()


def play(text: str, page: str) -> None:
    namespace: dict[str, object] = {"__name__": page}
    for block in blocks(text):
        printed = run(block, page, namespace)
        if block.printed is not None:
            assert printed == block.printed, f"{page}, the block at line {block.line + 1}"


LONG = frozenset({"docs/how-to/add-privacy.md", "docs/how-to/screen.md"})
"""Pages whose rounds take longer than half a minute."""


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name(page), marks=[pytest.mark.slow] if name(page) in LONG else [])
        for page in RUN
    ],
)
def test_code_runs_and_prints_what_the_page_shows(page: Path) -> None:
    play(page.read_text(encoding="utf-8"), name(page))


def imported(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(textwrap.dedent(code))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{item.name}" for item in node.names)


@pytest.mark.parametrize("page", SKETCHES, ids=name)
def test_sketches_parse_and_import_what_exists(page: Path) -> None:
    names = [
        dotted
        for block in blocks(page.read_text(encoding="utf-8"))
        for dotted in imported(block.code)
    ]
    assert names
    for dotted in names:
        resolve(dotted)


def test_the_readme_shows_the_quickstart() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = blocks(readme)
    script = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    assert script.endswith(block.code)


PRINTS = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
RAISES = "```python\nraise ValueError('no')\n```\n"


def test_the_player_notices_another_output() -> None:
    play(PRINTS.format("2"), "right.md")
    with pytest.raises(AssertionError, match=r"wrong\.md, the block at line 2"):
        play(PRINTS.format("3"), "wrong.md")


def test_the_player_notices_an_error_that_the_page_does_not_show() -> None:
    play(RAISES + "\n```text\nValueError: no\n```\n", "right.md")
    with pytest.raises(ValueError, match="no"):
        play(RAISES, "wrong.md")


# -- links ------------------------------------------------------------------------------------


def prose(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def anchors(page: Path) -> set[str]:
    """The ids that GitHub and Python-Markdown give to the headings of a page, where they agree."""
    titles = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    plain = (re.sub(r"[^\w\- ]", "", title.lower()).strip() for title in titles)
    return {title.replace(" ", "-") for title in plain}


def broken(page: Path, text: str) -> list[str]:
    found = []
    for link in LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_broken_links_are_noticed() -> None:
    here = DOCS / "tutorial.md"
    assert broken(here, "[a](index.md) [b](#tutorial) [c](https://example.org)") == []
    assert broken(here, "[a](no.md) [b](#no-such-heading)") == ["no.md", "#no-such-heading"]


def test_every_page_is_in_the_navigation_once() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"(\S+\.md)$", nav, re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES[1:])


def test_generated_tables_are_fresh() -> None:
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# -- tables -----------------------------------------------------------------------------------


def table(page: Path, head: str) -> list[list[str]]:
    """The cells of the table whose first column is called `head`."""
    lines = iter(page.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith(f"| {head} |"):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_error_table_has_every_error_and_its_base() -> None:
    stated = {row[0].strip("` "): row[1].strip("` ") for row in table(ERRORS, "error")}
    real = {kind: getattr(errors, kind).__bases__[0].__name__ for kind in errors.__all__}
    assert stated == {**real, "SecAggError": "Exception"}


def test_the_error_table_of_dp_has_every_error_and_its_base() -> None:
    kinds = [vars(dp_errors)[name] for name in dp_errors.__all__ if name != "require"]
    stated = {row[0].strip("` "): row[1].strip("` ") for row in table(ERRORS, "error of dp")}
    assert stated == {kind.__name__: kind.__bases__[0].__name__ for kind in kinds}


ERRORS = DOCS / "reference" / "errors.md"
GLOSSARY = DOCS / "reference" / "glossary.md"


@cache
def texts_of_the_code() -> str:
    """Every string of the packages, one a line; the variable parts of an f-string are cut out."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    constants = [n.value for t in trees for n in ast.walk(t) if isinstance(n, ast.Constant)]
    return "\n".join(value for value in constants if isinstance(value, str))


def unknown_parts(message: str) -> list[str]:
    """The parts of a documented message, cut at its `…`, that no string of the code contains."""
    parts = (part.strip() for part in message.split("…"))
    return [part for part in parts if part and part not in texts_of_the_code()]


def test_messages_of_the_error_page_are_those_of_the_code() -> None:
    rows = table(ERRORS, "message")
    assert len(rows) > 10
    for message, kind, _ in rows:
        assert unknown_parts(message.strip("`")) == []
        assert kind.strip("`") in errors.__all__
    assert (
        unknown_parts("… clients, at least … were hoped for")
        == [
            "clients, at least",
            "were hoped for",
        ][1:]
    )


def resolve(dotted: str) -> object:
    """The module, class, function, field or attribute of that full name."""
    parts = dotted.split(".")
    for size in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            found: object = importlib.import_module(".".join(parts[:size]))
            break
    for part in parts[size:]:
        fields = inspect.get_annotations(found) if inspect.isclass(found) else {}
        found = fields[part] if part in fields else getattr(found, part)
    return found


def test_names_of_the_glossary_exist() -> None:
    rows = table(GLOSSARY, "word")
    names = [code for row in rows for code in re.findall(r"`([\w.]+)`", row[3])]
    assert len(names) > 40
    for dotted in names:
        assert dotted.split(".")[0] in PACKAGES
        resolve(dotted)


def test_a_name_that_does_not_exist_is_noticed() -> None:
    resolve("secagg.scheme.Scheme.clients")
    with pytest.raises(AttributeError):
        resolve("secagg.scheme.Scheme.customers")


def test_glossary_words_ascend_and_are_unique() -> None:
    words = [row[0].lower() for row in table(GLOSSARY, "word")]
    assert words == sorted(set(words))


def test_decisions_are_numbered_without_gaps_and_have_their_parts() -> None:
    records = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    for record in records:
        titles = HEADING.findall(record.read_text(encoding="utf-8"))
        assert titles[1:] == ["Context", "Decision", "Consequences"]
        assert record.name in (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")


# -- the example ------------------------------------------------------------------------------


def test_the_transport_example_ends_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "examples" / "asyncio_transport.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < 150
    start = time.monotonic()
    runpy.run_path(str(path), run_name="__main__")
    assert time.monotonic() - start < 10
    printed = capsys.readouterr().out
    assert "in the sum: [1, 2, 4, 5]" in printed
    assert "mean: [3.833 3.833 3.833]" in printed
