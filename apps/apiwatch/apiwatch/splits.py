"""How the benchmarks deal requests to sites, and which attacks poisoners teach."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from apiwatch.datasets import Split
from apiwatch.event import Request
from apiwatch.fields import endpoint_of

__all__ = ["DROPS", "SALT", "SITES", "by_endpoint", "dealt", "injections", "site_of"]

SALT = b"apiwatch benchmark"
SITES = 20
DROPS = {2: "adverts", 5: "shares", 9: "masked", 11: "masked"}


def by_endpoint(requests: Iterable[Request], sites: int = SITES) -> dict[int, list[Request]]:
    """Sites 1 … `sites`, each with the endpoints that a hash gives it."""
    groups: dict[int, list[Request]] = {site: [] for site in range(1, sites + 1)}
    for request in requests:
        groups[site_of(request, sites)].append(request)
    return groups


def site_of(request: Request, sites: int = SITES) -> int:
    """The site that an endpoint belongs to."""
    return 1 + int.from_bytes(sha256(endpoint_of(request).encode()).digest()[:8], "big") % sites


def injections(split: Split) -> tuple[list[Request], list[Request]]:
    """Attacks that a poisoner teaches, and others that it does not: recognized by their words."""
    words = ("script", "delete", "select", "exec", "waitfor", "or%20", "'or", "passwd", "include")
    found = [r for r in split.attacks if any(w in (r.target + r.body) for w in words)]
    return found[::2], found[1::2]


def dealt(requests: Iterable[Request]) -> dict[int, list[Request]]:
    """Sites 1 … 20, each with the requests that a hash gives it."""
    groups: dict[int, list[Request]] = {site: [] for site in range(1, SITES + 1)}
    for request in requests:
        key = sha256(f"{request.target}\0{request.body}".encode()).digest()
        groups[1 + key[0] % SITES].append(request)
    return groups
