"""Hypothesis profiles: no deadline, since a round takes as long as the machine is busy.

`ci` tries more and prints how to repeat a failure; it is in force where the variable CI is set,
or with `--hypothesis-profile=ci`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "local", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
settings.register_profile(
    "ci",
    parent=settings.get_profile("local"),
    max_examples=200,
    derandomize=True,
    print_blob=True,
)
settings.load_profile("ci" if os.environ.get("CI") else "local")
