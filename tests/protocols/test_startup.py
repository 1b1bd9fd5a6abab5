"""What starts without need: the command and the package load nothing heavy before it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
HEAVY = {
    "flwr", "httpx", "matplotlib", "numba", "opacus", "pandas", "scipy", "sklearn", "starlette",
    "torch", "uvicorn",
}  # fmt: skip
COMMAND = """
import contextlib, io, sys
from protocols.cli import main
sys.argv = ["secagg", *{arguments}]
out = io.StringIO()
with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
    main()
assert {words!r} in out.getvalue(), out.getvalue()
"""


def loaded(code: str) -> set[str]:
    """Top-level packages in a fresh interpreter after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import protocols",
        "import protocols.cli",
        "import protocols.weighing, protocols.audit_rounds, protocols.simulate",
        "import protocols.report.page, protocols.report.terminal, protocols.report.recorded",
        COMMAND.format(arguments=["--help"], words="benchmark-detectors"),
        COMMAND.format(arguments=["demo", "--help"], words="--attack"),
        COMMAND.format(arguments=["screen", "--help"], words="--html"),
        COMMAND.format(arguments=["params", "100"], words="What a round holds to"),
    ],
    ids=["protocols", "cli", "rounds", "report", "help", "demo help", "screen help", "params"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    found = loaded(code)
    assert "protocols" in found
    assert not found & HEAVY


def test_what_is_heavy_is_seen_where_it_is_used() -> None:
    pytest.importorskip("sklearn")
    assert "sklearn" in loaded("from protocols.federation.data import digits; digits()")
