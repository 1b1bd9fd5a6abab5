"""The suite that every scheme inherits.

    class TestMyScheme(SchemeConformance):
        def scheme(self, clients, length, width):
            return MyScheme(clients=clients, length=length, width=width)

`Harness` lists the hooks for schemes that differ. One with messages that only rounds with liars
have inherits `Provoked` as well.
"""

import pytest

_PARTS = (
    "harness",
    "sums",
    "dropouts",
    "encoding",
    "refusals",
    "hostiles",
    "provoked",
    "resumption",
    "secrets",
    "inputs",
)
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

from secagg.testing.conformance.dropouts import Dropouts  # noqa: E402  after the registration
from secagg.testing.conformance.encoding import Encoding  # noqa: E402
from secagg.testing.conformance.harness import Harness  # noqa: E402
from secagg.testing.conformance.hostiles import Hostiles  # noqa: E402
from secagg.testing.conformance.inputs import Inputs  # noqa: E402
from secagg.testing.conformance.provoked import Provoked  # noqa: E402
from secagg.testing.conformance.refusals import Refusals  # noqa: E402
from secagg.testing.conformance.resumption import Resumption  # noqa: E402
from secagg.testing.conformance.secrets import Secrets  # noqa: E402
from secagg.testing.conformance.sums import Sums  # noqa: E402

__all__ = ["Harness", "Provoked", "SchemeConformance"]


class SchemeConformance(Sums, Dropouts, Inputs, Encoding, Refusals, Hostiles, Resumption, Secrets):
    """Everything that a scheme owes to those who use it."""
