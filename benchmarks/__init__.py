"""What the figures in docs/benchmarks.md come from: peers side by side, and limits of the machine.

`python -m benchmarks` runs everything. Time is processor time throughout, so that other load on
the machine disturbs little; what is compared runs in one process, in turns.
"""
