"""Encrypted sums of which a few numbers of each client are opened before; docs/spec/ckks.md."""

from secagg.schemes.ckks.screened.params import EncryptedScreened
from secagg.schemes.ckks.screened.screen import SlotMap, SlotScreen

__all__ = ["EncryptedScreened", "SlotMap", "SlotScreen"]
