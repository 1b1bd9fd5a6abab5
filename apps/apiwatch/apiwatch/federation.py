"""Sites learn one profile by two secure sums: counters first, then what surprise is usual.

    federation = Federation({1: gather(requests), 2: ...}, settings)
    federation.learn(drops={4: "masked"})
    federation.detector(1).judge(requests)

Every object is a sum of integers, so the result is bit for bit that of the pooled traffic of the
sites that stayed, however it was split.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from apiwatch.calibration import Calibration
from apiwatch.detector import Detector
from apiwatch.errors import ParameterError, ProfileMismatch
from apiwatch.event import Field
from apiwatch.ledger import Ledger, Sent
from apiwatch.secure import Members, Summed, secure_sum
from apiwatch.settings import Settings
from apiwatch.table import Table

__all__ = ["Federation"]

_Counts = Mapping[Field, int]


class Federation:
    """All sites in one process; between them only bytes of the protocol.

    sites: per id, 1 or more, what `gather` found there. After `learn`: `total`, `sites_per_cell`
    and `calibration` are what everybody knows, `included` the sites in them, `rounds` the sums, and
    `ledger` what left a site.
    """

    def __init__(self, sites: Mapping[int, _Counts], settings: Settings) -> None:
        self.settings = settings
        self.members = Members.generate(sites)
        self.tables = {site: Table.learn(counts, settings) for site, counts in sites.items()}
        self.rounds: list[Summed] = []
        self.ledger = Ledger()
        self._fields = dict(sites)

    def learn(self, drops: Mapping[int, str] | None = None) -> None:
        """Both sums. drops: sites and the phase of the first sum in which they fall silent."""
        self.count(drops)
        self.calibrate()

    def count(self, drops: Mapping[int, str] | None = None) -> None:
        """The first sum: counters, and how many sites set each."""
        cells = 1 << self.settings.cells
        vectors = {site: self._vector(site) for site in self.tables}
        bound = ((1 << 32) - 1) // len(vectors)
        summed = secure_sum(
            vectors, self.members, bound=bound, model=self.settings.digest, drops=drops
        )
        self._ended("counters and support", summed)
        self.included = summed.included
        self.total = Table(self.settings, summed.total[:cells])
        self.sites_per_cell = summed.total[cells:]

    def _given(self, site: int) -> Table:
        """What `site` adds to the first sum: all that it has counted."""
        return self.tables[site]

    def _vector(self, site: int) -> NDArray[np.int64]:
        """The same as it is sent, and all cells it has set: also those it scaled down to zero."""
        return np.concatenate([self._given(site).counts, self.tables[site].bits])

    def calibrate(self, drops: Mapping[int, str] | None = None) -> None:
        """The second sum, among the sites of the first."""
        vectors = {
            site: Calibration.learn(self._fields[site], self.table(site)).sums.reshape(-1)
            for site in sorted(self.included)
        }
        summed = secure_sum(
            vectors,
            self.members.only(self.included),
            bound=((1 << 63) - 1) // len(vectors),
            model=self.settings.digest,
            drops=drops,
        )
        self._ended("calibration", summed)
        slots = 1 << self.settings.slots
        self.calibration = Calibration(self.settings, summed.total.reshape(slots, -1))

    def _ended(self, what: str, summed: Summed) -> None:
        self.rounds.append(summed)
        self.ledger += Ledger((Sent.of(what, summed),))

    def table(self, site: int) -> Table:
        """What `site` relies on. One that fell silent adds its own counts, which none else has."""
        return self.tables[site].supported(*self._sums_at(site))

    def _sums_at(self, site: int) -> tuple[Table, NDArray[np.int64]]:
        """Counters and support that `site` knows of: with its own, where these are in no sum."""
        own, total, sites = self.tables[site], self.total, self.sites_per_cell
        return (total, sites) if site in self.included else (total + own, sites + own.bits)

    def detector(self, site: int) -> Detector:
        """The site's detector. What the site did not get into a sum, it adds for itself."""
        table, calibration = self.table(site), self.calibration
        if site not in self.rounds[-1].included:
            calibration = calibration + Calibration.learn(self._fields[site], table)
        return Detector(table, calibration)

    @property
    def shared(self) -> Detector:
        """The detector that everybody could build from the two sums alone."""
        return Detector(self.total, self.calibration)

    def forget(self, site: int) -> None:
        """Take a site's counts away, and calibrate again without it.

        What is left is the profile of a federation that never had it. Raises `ProfileMismatch`
        for a site that is not in the sums, and `ParameterError` where too few would be left.
        """
        if site not in self.included:
            raise ProfileMismatch(f"site {site} is not in the sums")
        if len(self.included) < 4:
            raise ParameterError(f"sites left >= 3 must hold, got {len(self.included) - 1}")
        self._take_away(self._given(site))  # first, as it may raise
        self.sites_per_cell = self.sites_per_cell - self.tables.pop(site).bits
        self._fields.pop(site)
        self.included -= {site}
        self.calibrate()

    def _take_away(self, gone: Table) -> None:
        self.total = self.total - gone


def pooled(sites: Mapping[int, _Counts], settings: Settings) -> tuple[Table, NDArray[np.int64]]:
    """The table of all traffic in one place, and how many sites set each cell: for comparison."""
    tables = [Table.learn(counts, settings) for counts in sites.values()]
    counts = np.sum([table.counts for table in tables], axis=0)
    return Table(settings, counts), np.sum([table.bits for table in tables], axis=0)
