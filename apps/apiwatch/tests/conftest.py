"""Where the real data are, and who skips without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("local", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=200, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

REPOSITORY = Path(__file__).resolve().parents[3]
DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    if not (DATA / "csic2010.jsonl.gz").is_file():
        pytest.skip(f"the data sets are not at {DATA}; see apps/apiwatch/README.md")
    return DATA
