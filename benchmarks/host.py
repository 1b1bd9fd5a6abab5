"""The machine and the versions that a figure belongs to."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend

__all__ = ["Host", "describe", "load"]

_PACKAGES = ("numpy", "cryptography", "flwr")
_CPUINFO = Path("/proc/cpuinfo")
_TELLING = ("aes", "vaes", "sha_ni", "avx2", "avx512f")


@dataclass(frozen=True, kw_only=True)
class Host:
    """What the figures depend on. `load` is that at the start."""

    processor: str
    instructions: str
    cores: int
    system: str
    load: float
    python: str
    openssl: str
    packages: dict[str, str]


def describe() -> Host:
    """This host."""
    return Host(
        processor=_cpuinfo("model name") or platform.processor() or platform.machine(),
        instructions=" ".join(
            name for name in _TELLING if name in (_cpuinfo("flags") or "").split()
        ),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        load=load(),
        python=platform.python_version(),
        openssl=backend.openssl_version_text(),
        packages={name: found for name in _PACKAGES if (found := _version(name))},
    )


def load() -> float:
    """Running processes, averaged over the last minute."""
    return round(os.getloadavg()[0], 1)


def _cpuinfo(key: str) -> str | None:
    if not _CPUINFO.exists():
        return None
    for line in _CPUINFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
