"""A rival that knows attacks and no traffic: the OWASP Core Rule Set on libmodsecurity.

Needs `pip install 'apiwatch[crs]'` and the rules, which are no part of the data sets: a checkout of
coreruleset, given by APIWATCH_CRS. Where either is missing, the row says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from apiwatch.datasets import atrdf, csic
from apiwatch.event import Request

__all__ = ["bench_crs"]

_EVERY = 5  # of the attacks: the rules take milliseconds for each
_BASE = """SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyLimit 134217728
SecAction "id:900000,phase:1,pass,t:none,nolog,setvar:tx.blocking_paranoia_level={level}"
"""


def bench_crs(folder: Path, half: str) -> list[Any]:
    """Requests that the rules would block by their defaults, at two levels of paranoia."""
    rules = os.environ.get("APIWATCH_CRS")
    if find_spec("libmodsecurity") is None:
        return [{"OWASP CRS": "not measured: libmodsecurity is not installed (apiwatch[crs])"}]
    if rules is None:
        return [{"OWASP CRS": "not measured: APIWATCH_CRS does not name a folder with the rules"}]
    sets = {"CSIC": csic(folder, half=half), "ATRDF": atrdf(folder)}
    rows: list[Any] = []
    for level in (1, 2):
        engine = _Engine(Path(rules), level)
        for name, split in sets.items():
            attacks, usual = engine.share(split.attacks[::_EVERY]), engine.share(split.normal)
            row = {"OWASP CRS": f"{name}, paranoia {level}", "found": round(attacks, 4)}
            rates = {"false": round(usual, 4), "false per million": round(1e6 * usual)}
            rows.append(row | rates | {"requests per CPU second": engine.rate})
    return rows


class _Engine:
    def __init__(self, folder: Path, level: int) -> None:
        import libmodsecurity  # noqa: PLC0415 -- an extra

        self._engine = libmodsecurity.ModSecurity()
        self._engine.set_connector_information("apiwatch bench")
        self._engine.set_log_callback(lambda *_: None)
        self._rules = libmodsecurity.RulesSet()
        self._rules.load(_BASE.format(level=level))
        for path in (folder / "crs-setup.conf.example", *sorted((folder / "rules").glob("*.conf"))):
            self._rules.load_from_uri(str(path))
        self.rate = 0

    def share(self, requests: Sequence[Request]) -> float:
        """Of the requests that are blocked."""
        start = time.process_time()
        blocked = sum(self._blocks(request) for request in requests)
        self.rate = round(len(requests) / (time.process_time() - start))
        return blocked / len(requests)

    def _blocks(self, request: Request) -> bool:
        """A request without headers is given those that the rules miss otherwise."""
        with self._engine.transaction(self._rules) as seen:
            seen.process_connection("192.0.2.1", 40000, "192.0.2.2", 80)
            seen.process_uri(request.target, request.method, "1.1")
            given = {name.lower() for name, _ in request.headers}
            usual = {"Host": "shop.example", "User-Agent": "Mozilla/5.0", "Accept": "*/*"}
            if request.body:
                usual["Content-Type"] = "application/x-www-form-urlencoded"
            for name, value in request.headers:
                seen.add_request_header(name, value)
            for name, value in usual.items():
                if name.lower() not in given:
                    seen.add_request_header(name, value)
            seen.process_request_headers()
            if request.body:
                seen.append_request_body(request.body.encode("utf-8", "surrogatepass"))
            seen.process_request_body()
            return seen.intervention() is not None
