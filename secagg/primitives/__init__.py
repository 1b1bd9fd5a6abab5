"""Building blocks that know nothing of rounds: each module is usable and testable alone."""
