"""Attacks on privacy, composed: what `dp.audit` needs to see, made in rounds and federations.

    suite      every attack that applies to a plan, on digits
    brought    the same on a model and data of the user's
    frontier   what each mode of opening finds of attackers, and tells of everybody else
    curves     what leaks against one thing at a time
    epsilon    canaries through real rounds, and the bound that they give

Each module makes the trials of one question and runs its attacks; docs/explanation/leakage.md has
the figures.
"""
