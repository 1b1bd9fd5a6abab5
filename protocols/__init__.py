"""Composes: one plan, one round, adapters to frameworks, the command line."""
