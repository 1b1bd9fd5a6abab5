"""Some sites of the demonstration in one process, so that killing it loses all of them.

    python -m apiwatch.demo.sites FOLDER AGREEMENT HOST:PORT LOG-SUFFIX SITE…

A site that has learnt before adds to it. In the place of a log's suffix, `-` stands for a round of
names, to which a site adds the examples beside its profile.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from apiwatch.agreement import Agreement, load_key
from apiwatch.channel import Address
from apiwatch.demo.files import site_file
from apiwatch.logs import Log
from apiwatch.pending import Pending, pending_file
from apiwatch.site import Joined, Site
from apiwatch.store import Profile
from apiwatch.table import gather

__all__ = ["NAMES", "learnt_from"]

NAMES = "-"


def learnt_from(folder: Path, site: int, suffix: str) -> Log:
    """What a site recorded, as it learns from it."""
    return Log(site_file(folder, site, suffix).read_bytes().splitlines())


def _member(folder: Path, agreement: Agreement, site: int, suffix: str) -> Site:
    salt = bytes.fromhex((folder / "salt").read_text("ascii"))
    profile = site_file(folder, site, "learnt")

    def told(step: str) -> None:
        print(step, flush=True)  # noqa: T201 -- the story waits for it

    return Site(
        agreement=agreement,
        identity=load_key(site_file(folder, site, "key")),
        me=site,
        settings=agreement.settings_with(salt),
        counts=None if suffix == NAMES else gather(learnt_from(folder, site, suffix)),
        pending=Pending(pending_file(profile), agreement.era),
        before=Profile.load(profile) if profile.is_file() else None,
        told=told,
    )


async def _join(folder: Path, file: str, address: Address, suffix: str, sites: list[int]) -> None:
    agreement = Agreement.load(folder / file)
    members = [_member(folder, agreement, site, suffix) for site in sites]
    joined: list[Joined] = await asyncio.gather(*(one.join(address) for one in members))
    for site, one in zip(sites, joined, strict=True):
        one.profile.save(site_file(folder, site, "learnt"))


if __name__ == "__main__":
    asyncio.run(
        _join(
            Path(sys.argv[1]),
            sys.argv[2],
            Address.parse(sys.argv[3]),
            sys.argv[4],
            [int(site) for site in sys.argv[5:]],
        )
    )
