"""Noise, clipping, accounting, and audits of leakage. No public name yet; see CHANGELOG.md."""
