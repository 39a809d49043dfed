"""Runs a parent that starts something, tells its pids and is then killed by SIGKILL."""

import subprocess
import sys
from pathlib import Path

from deploy.processes import is_alive, wait_until

_ROOT = Path(__file__).parents[3]
_KILL_ITSELF = "\nimport os, signal, sys\nsys.stdout.flush()\nos.kill(os.getpid(), signal.SIGKILL)\n"


def pids_left_by(script: str, *arguments: str, within_s: float = 20.0) -> tuple[list[int], list[int]]:
    """The pids that `script` printed, and those of them that are alive `within_s` seconds after its death."""
    done = subprocess.run(
        [sys.executable, "-c", script + _KILL_ITSELF, *arguments],
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        timeout=120,
        check=False,
    )
    pids = [int(word) for word in done.stdout.split()]
    wait_until(lambda: not any(is_alive(pid) for pid in pids), within_s)
    return pids, [pid for pid in pids if is_alive(pid)]
