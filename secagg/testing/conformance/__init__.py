"""The suite that every scheme inherits.

    class TestMyScheme(SchemeConformance):
        def scheme(self, clients, length, width):
            return MyScheme(clients=clients, length=length, width=width)

`Harness` lists the hooks for schemes that differ.
"""

import pytest

_PARTS = ("harness", "sums", "dropouts")
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

from secagg.testing.conformance.dropouts import Dropouts  # noqa: E402  after the registration
from secagg.testing.conformance.harness import Harness  # noqa: E402
from secagg.testing.conformance.sums import Sums  # noqa: E402

__all__ = ["Harness", "SchemeConformance"]


class SchemeConformance(Sums, Dropouts):
    """Everything that a scheme owes to those who use it."""
