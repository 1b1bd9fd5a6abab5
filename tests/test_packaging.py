"""What an installation offers: our four packages, typed, and a light `import secagg`."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("secagg", "dp", "robust", "protocols")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]

HEAVY = {
    "Crypto",
    "asyncio",
    "dp_accounting",
    "flwr",
    "httpx",
    "hypothesis",
    "matplotlib",
    "multiprocessing",
    "numba",
    "opacus",
    "pytest",
    "rich",
    "scipy",
    "sklearn",
    "socket",
    "starlette",
    "subprocess",
    "tenseal",
    "threading",
    "torch",
    "typer",
    "uvicorn",
}


def modules_after(*statements: str) -> set[str]:
    """`sys.modules` of a fresh interpreter after the statements."""
    code = "; ".join([*statements, "import sys", "print(*sys.modules)"])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


def roots(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("name", PACKAGES)
def test_the_packages_on_the_path_are_ours(name: str) -> None:
    """`dp` and `protocols` are common names: another distribution could stand before them."""
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == REPOSITORY / name / "__init__.py"
    assert [Path(path).resolve() for path in module.__path__] == [REPOSITORY / name]


def test_import_secagg_pulls_in_numpy_and_cryptography_only() -> None:
    """Beyond what those two pull in themselves, only our package and the standard library."""
    schemes = ", ".join(f"secagg.schemes.{name}" for name in ("plain", "secagg_plus", "pine"))
    ours = modules_after(f"import secagg, {schemes}")
    theirs = sorted(name for name in ours if roots({name}) <= {"numpy", "cryptography"})
    added = roots(ours) - roots(modules_after(f"import {', '.join(theirs)}"))
    assert "secagg" in added
    assert added - {"secagg"} <= sys.stdlib_module_names
    assert not added & HEAVY
    assert not roots(ours) & (HEAVY - sys.stdlib_module_names)


def test_heavy_packages_are_seen_when_they_are_there() -> None:
    assert "asyncio" in roots(modules_after("import secagg", "import asyncio")) & HEAVY


@pytest.mark.parametrize("name", ["secagg", "dp", "robust"])
def test_siblings_do_not_pull_in_each_other(name: str) -> None:
    found = roots(modules_after(f"import {name}"))
    assert name in found
    assert not found & (set(PACKAGES) - {name})


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_is_marked_as_typed(name: str) -> None:
    """[PEP 561]: without the marker a type checker ignores the annotations of an installed one."""
    assert (REPOSITORY / name / "py.typed").is_file()


def test_the_metadata_are_those_of_the_project_file() -> None:
    assert PROJECT["name"] == "secagg"
    assert PROJECT["requires-python"] == ">=3.11"
    try:
        installed = importlib.metadata.metadata("secagg")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the distribution is not installed here; `make test` installs it")
    assert installed["Version"] == PROJECT["version"]
    assert installed["Requires-Python"] == PROJECT["requires-python"]


def test_the_version_is_a_release_number() -> None:
    parts = PROJECT["version"].split(".")
    assert len(parts) == 3
    assert all(part.isdecimal() for part in parts)


def test_files_the_project_file_names_exist() -> None:
    for name in (PROJECT["readme"], *PROJECT["license-files"]):
        assert (REPOSITORY / name).is_file(), name


def test_run_time_requirements_are_few_and_bounded_below() -> None:
    names = {requirement.partition(">=")[0] for requirement in PROJECT["dependencies"]}
    assert names == {"numpy", "cryptography", "typer", "rich"}
    assert all(">=" in requirement for requirement in PROJECT["dependencies"])
