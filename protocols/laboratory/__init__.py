"""Attacks on privacy, composed: what `dp.audit` needs to see, made in rounds and federations.

    epsilon    canaries through real rounds, and the bound that they give

Each module makes the trials of one question and runs its attacks; docs/explanation/leakage.md has
the figures.
"""
