"""Five clients average two arrays; the server sees the mean, and no update."""

import numpy as np

from protocols import presets
from protocols.simulate import run_round
from secagg.quantize import NormClip

updates = {i: ({"w": np.full(4, i, np.float32), "b": 0.5}, 10 * i) for i in range(1, 6)}
plan = presets.malicious_safe(
    updates[1][0], clients=5, clip=NormClip(20.0), max_weight=100, dropout=0.2
)
outcome = run_round(plan, updates, drops={2: "masked"})  # client 2 vanishes with its keys
print(outcome.result.mean)  # (1*10 + 3*30 + 4*40 + 5*50) / 130 = 3.923…
print("exact:", outcome.exact, "| in the sum:", sorted(outcome.result.included))
