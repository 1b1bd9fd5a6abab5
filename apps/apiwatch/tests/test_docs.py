"""What the page shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from apiwatch.asgi import Middleware

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "apiwatch.md"


def test_the_application_of_the_page_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("prometheus_client")
    pytest.importorskip("starlette")
    monkeypatch.chdir(tmp_path)
    shown = re.search(r"cat > app\.py <<'END'\n(.*?)\nEND\n", PAGE.read_text("utf-8"), re.DOTALL)
    namespace: dict[str, object] = {}
    exec(shown[1], namespace)
    assert isinstance(namespace["app"], Middleware)
    assert namespace["watcher"].policy.mode == "observe"
