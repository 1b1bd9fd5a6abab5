"""Runs the app as a deployment on 127.0.0.1: one SuperLink, five SuperNodes, real processes.

In the last round but one a SuperNode is killed while it trains, and in the last round another
one when it is asked to help unmask. Flower takes more than a minute to miss the first, by its
heartbeats; `--orderly` stops it instead, of which Flower hears at once. The second is not waited
for: the shares of the others are enough. Each released model must be the plaintext mean of the
clients whose updates arrived. Every process that was started is ended, also after a failure or
Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable

from outcome import Round, rounds_of, table
from processes import Run, free_ports, running

CLIENTS = 5
KILLED_IN_TRAINING, KILLED_AT_UNMASKING = 1, 3
_PATIENCE = 900.0


def deploy(run: Run, rounds: int, *, orderly: bool = False) -> list[Round]:
    """All rounds, at least 2; the last two lose a client each, the first of them in an orderly way
    or not.
    """
    run.enroll(CLIENTS)
    run.start_superlink()
    for partition, port in enumerate(free_ports(CLIENTS)):
        _start_node(run, partition, port)
    first = f"train-{rounds - 1}-{KILLED_IN_TRAINING}"
    second = f"unmask-{rounds}-{KILLED_AT_UNMASKING}"
    for victim in (first, second):
        (run.seen / f"hold-{victim}").touch()
    run.submit(num_clients=CLIENTS, num_server_rounds=rounds)
    _end_when_held(run, first, run.processes.stop if orderly else run.processes.kill)
    _end_when_held(run, second, run.processes.kill)
    run.finish(_PATIENCE)
    return rounds_of(run.seen, {rounds - 1: {KILLED_IN_TRAINING}})


def _start_node(run: Run, partition: int, port: int) -> None:
    config = {
        "partition-id": partition,
        "num-partitions": CLIENTS,
        "secagg-identity": f'"{run.keys}/client-{partition + 1}.key"',
        "secagg-roster": f'"{run.keys}/roster.json"',
    }
    run.processes.start(
        f"node-{partition}",
        *("flower-supernode", "--insecure", "--superlink", run.superlink),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--node-config", " ".join(f"{key}={value}" for key, value in config.items())),
    )


def _end_when_held(run: Run, victim: str, end: Callable[[str], None]) -> None:
    run.wait((run.seen / f"held-{victim}").exists, _PATIENCE, victim)
    end(f"node-{victim.rpartition('-')[2]}")
    print(f"lost {victim}", file=sys.stderr)


def main(arguments: Iterable[str] | None = None) -> int:
    """Print a line per round; 0 if every released mean is the plaintext mean of the survivors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="at least 2")
    parser.add_argument("--orderly", action="store_true", help="stop the first, do not kill it")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and keys")
    given = parser.parse_args(None if arguments is None else [*arguments])
    with running(keep=given.keep) as run:
        found = deploy(run, given.rounds, orderly=given.orderly)
        right = all(each.matches for each in found)
        if not right:
            print(run.processes.tail("run"), file=sys.stderr)
    print(json.dumps([vars(each) for each in found]) if given.json else table(found))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
