"""Runs the app in Flower's simulation engine: `python simulate.py --clients 10 --rounds 3`.

Starts a SuperLink of its own on 127.0.0.1 and ends everything that it started. Needs Ray:
`pip install 'flwr[simulation]'`.
"""

from __future__ import annotations

import argparse
import json
import sys

from outcome import Round, rounds_of, table
from processes import Run, running


def simulate(run: Run, clients: int, rounds: int) -> list[Round]:
    """One run of `clients` simulated nodes; what was released, round by round."""
    run.enroll(clients)
    run.start_superlink("--simulation", DIGITS_KEYS=str(run.keys))
    federation = f"num-supernodes={clients} client-resources-num-cpus=1"
    run.submit("--federation-config", federation, num_clients=clients, num_server_rounds=rounds)
    run.finish(300)
    return rounds_of(run.seen, {})


def main() -> int:
    """Print a line per round; 0 if every released mean is that of the included clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and keys")
    given = parser.parse_args()
    with running(keep=given.keep) as run:
        found = simulate(run, given.clients, given.rounds)
        right = all(each.matches for each in found)
        if not right:
            print(run.processes.tail("run"), file=sys.stderr)
    print(json.dumps([vars(each) for each in found]) if given.json else table(found))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
