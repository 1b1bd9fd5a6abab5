"""What a leader leaves behind of a round: the mean as .npy, and how the round went as JSON."""

from __future__ import annotations

import errno
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols import files
from protocols.result import Result
from protocols.serve.aggregation import Aggregated
from protocols.serve.peer import json_of
from protocols.serve.task import Task

__all__ = ["document", "save", "stem", "sum_digest"]

_FORMAT = "secagg-outcome-1"


def stem(task: Task) -> str:
    """What the files of a round are called, without their ending: session and number."""
    return f"{task.invitation.session.hex()}-{task.invitation.number}"


def document(task: Task, ended: Aggregated) -> dict[str, Any]:
    """All that is public about how a round ended; `sum` names the exact sum in the ring."""
    result = ended.result
    included = sorted(result.included) if result is not None else []
    invited = task.invitation.roster.clients.keys() - task.scheme.helpers
    return {
        "format": _FORMAT,
        "task": task.id,
        "session": task.invitation.session.hex(),
        "number": task.invitation.number,
        "failure": ended.failure or None,
        "included": included,
        "refused": {str(client): why for client, why in sorted(ended.refused.items())},
        "missing": sorted(invited - ended.sizes.keys()),
        "total_weight": None if result is None else result.total_weight,
        "sum": None if result is None else sum_digest(result.total),
        "report_bytes": sum(ended.sizes.values()),
        "aggregator_bytes": ended.between,
        "seconds": round(ended.seconds, 4),
        "cpu_seconds": round(ended.cpu, 4),
    }


def save(folder: Path, task: Task, ended: Aggregated) -> dict[str, Any]:
    """Write both files, or the JSON alone where there is no sum; after a kill each is whole.

    Raises `FileExistsError` where the outcome of another task has the name, and writes nothing.
    """
    shown = document(task, ended)
    _require_own(folder / f"{stem(task)}.json", task)
    if ended.result is not None:
        files.replace(folder / f"{stem(task)}.npy", _npy(ended.result))
    data = (json.dumps(shown, indent=2) + "\n").encode()
    files.replace(folder / f"{stem(task)}.json", data)
    return shown


def _require_own(path: Path, task: Task) -> None:
    """As with a new store, and a round that had its number with another plan or roster."""
    if not path.exists():
        return
    found = json_of(path.read_bytes())
    if not isinstance(found, dict) or found.get("task") != task.id:
        reason = "has the outcome of another task: name another folder for results"
        raise FileExistsError(errno.EEXIST, reason, str(path))


def sum_digest(total: NDArray[Any]) -> str:
    """SHA-256 of the residues of a sum, little-endian, in hexadecimal."""
    return hashlib.sha256(total.astype(total.dtype.newbyteorder("<")).tobytes()).hexdigest()


def _npy(result: Result) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(result.mean, np.float64))
    return out.getvalue()
