"""What a leader leaves behind of a round: the mean as .npy, and how the round went as JSON.

In a plan with a screen also what was opened, as .npz; in one with noise also the noisy sum.
"""

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
from protocols.serve.aggregation import Aggregated
from protocols.serve.peer import json_of
from protocols.serve.task import Task
from secagg.event import GroupStatistics, Statistics

__all__ = ["document", "earlier_means", "opened_arrays", "save", "stem", "sum_digest"]

_FORMAT = "secagg-outcome-1"
_EARLIER = 6  # rounds whose mean a client without data is likely to send


def stem(task: Task) -> str:
    """What the files of a round are called, without their ending: session and number."""
    return _stem(task, task.invitation.number)


def _stem(task: Task, number: int) -> str:
    return f"{task.invitation.session.hex()}-{number}"


def earlier_means(folder: Path, task: Task) -> list[NDArray[np.float64]]:
    """Means (d,) of the last rounds of the session before this one, where the folder has them."""
    last = task.invitation.number
    paths = [folder / f"{_stem(task, n)}.npy" for n in range(max(0, last - _EARLIER), last)]
    means = [np.load(path) for path in paths if path.exists()]
    return [mean for mean in means if mean.shape == (task.invitation.plan.structure.size,)]


def document(task: Task, ended: Aggregated) -> dict[str, Any]:
    """All that is public about how a round ended; `sum` names the exact sum in the ring, or with
    noise the integers of it.
    """
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
        "within": None if result is None else result.within,
        "sum": None if result is None else sum_digest(result.total),
        "opened": _opened(ended) is not None,
        "judged": ended.judged,
        "report_bytes": sum(ended.sizes.values()),
        "aggregator_bytes": ended.between,
        "seconds": round(ended.seconds, 4),
        "cpu_seconds": round(ended.cpu, 4),
    }


def save(folder: Path, task: Task, ended: Aggregated) -> dict[str, Any]:
    """Write all files, the JSON last; after a kill each is whole.

    Raises `FileExistsError` where the outcome of another task has the name, and writes nothing.
    """
    shown, name = document(task, ended), stem(task)
    _require_own(folder / f"{name}.json", task)
    opened = _opened(ended)
    if opened is not None:
        files.replace(folder / f"{name}.opened.npz", _npz(opened))
    if ended.result is not None:
        files.replace(folder / f"{name}.npy", _npy(np.asarray(ended.result.mean, np.float64)))
        if task.scheme.noise is not None:
            files.replace(folder / f"{name}.sum.npy", _npy(ended.result.total))
    data = (json.dumps(shown, indent=2) + "\n").encode()
    files.replace(folder / f"{name}.json", data)
    return shown


def opened_arrays(found: Statistics | GroupStatistics) -> dict[str, NDArray[Any]]:
    """What was opened, by name, as `secagg.event` has it.

    clients (n,) ascending; eligible (n,) bool, or for groups: group (n,), the row of each client,
    and within (g,) bool. products, rows, and where the plan opens them weights and norms. seed:
    32 bytes, uint8.
    """
    arrays = {"products": found.products, "rows": found.rows}
    arrays["seed"] = np.frombuffer(found.seed, np.uint8)
    if found.weights is not None:
        arrays["weights"] = found.weights
    if isinstance(found, GroupStatistics):
        rows = {client: at for at, group in enumerate(found.groups) for client in group}
        clients = sorted(rows)
        arrays["group"] = np.array([rows[client] for client in clients], np.int64)
        return {**arrays, "clients": np.array(clients, np.int64), "within": found.within}
    if found.norms is not None:
        arrays["norms"] = found.norms
    clients = list(found.clients)
    eligible = np.isin(clients, list(found.eligible))
    return {**arrays, "clients": np.array(clients, np.int64), "eligible": eligible}


def _opened(ended: Aggregated) -> Statistics | GroupStatistics | None:
    """Of groups where there are any: what comes before them tells nothing."""
    if ended.statistics is not None and not ended.statistics.seed:
        return ended.groups
    return ended.statistics


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


def _npy(array: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _npz(found: Statistics | GroupStatistics) -> bytes:
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **opened_arrays(found))
    return out.getvalue()
