"""What is really there, measured beside what was promised."""

from dp.audit.noise import NoiseVerdict, check_noise

__all__ = ["NoiseVerdict", "check_noise"]
