"""`python -m protocols.adapters.flower enroll DIR --clients N`: keys and a roster for a trial."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from protocols.enrollment import enroll
from secagg.errors import SecAggError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m protocols.adapters.flower")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("enroll", help="write key files, mode 0600, and roster.json")
    command.add_argument("folder", metavar="DIR")
    command.add_argument("--clients", type=int, required=True, metavar="N")
    given = parser.parse_args(arguments)
    try:
        roster = enroll(given.folder, given.clients)
    except (SecAggError, OSError) as error:
        sys.stderr.write(f"enroll: {error}\n")
        return 2
    sys.stdout.write(f"{given.folder}: server.key, {len(roster)} client keys, roster.json\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
