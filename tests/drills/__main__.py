"""python -m tests.drills [--cases N --kills K --seed S] [--delivery rabbitmq|database] [--json]

With --cases or --kills: the soak. Without: the walk of every service and every door along the crash points,
outages of broker and database at their full length, then a small soak.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.drills.soak import report, soak
from tests.support.output import log_to_stderr

ROOT = Path(__file__).parents[2]
WALK = (
    "tests/integration/test_crash_points.py",
    "tests/integration/outages",
    "tests/drills/commands_killed.py",
    "tests/drills/keeping.py",
    "tests/drills/restored.py",
)
SMALL = (60, 20)


def main(arguments: Sequence[str]) -> int:
    """0 only when nothing was lost, doubled, unexpected, out of order or stuck."""
    chosen = _parser().parse_args(arguments)
    log_to_stderr()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    walked = 0
    if chosen.cases is None and chosen.kills is None:
        output = sys.stderr if chosen.json else None
        walked = subprocess.run(
            [sys.executable, "-m", "pytest", *WALK],
            cwd=ROOT,
            stdout=output,
            env=os.environ | {"ONESTOP_WALK": "all"},
            check=False,
        ).returncode
    kills = SMALL[1] if chosen.kills is None else chosen.kills
    verdict, killed = soak(chosen.cases or SMALL[0], kills, chosen.seed, chosen.delivery)
    found = report(verdict, killed, chosen.seed)
    if chosen.json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        sys.stdout.writelines(f"{name:>13}  {value}\n" for name, value in found.items())
    if not verdict.good:
        sys.stderr.write(f"drill: {json.dumps(verdict.notes, ensure_ascii=False, default=str)}\n")
    return 0 if verdict.good and walked == 0 else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("--cases", type=int, help="applications in the soak")
    parser.add_argument("--kills", type=int, help="kills in the soak")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of victims and pauses")
    parser.add_argument(
        "--delivery",
        choices=("rabbitmq", "database"),
        default="rabbitmq",
        help="the way that facts take in the soak",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
