"""What a supervisor leaves on disk: the lock that makes it the only one, and the state for `onestop ps`.

The lock is the kernel's (flock): it goes with its holder, so a SIGKILL leaves nothing stale.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from deploy.errors import AlreadyRunning, NothingRuns

STATE_FILE = "processes.json"
LOCK_FILE = "supervisor.lock"


class State(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(slots=True)
class Status:
    """One line of `onestop ps`."""

    name: str
    group: str
    state: State = State.WAITING
    pid: int | None = None
    started_at: str | None = None
    restarts: int = 0


@contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Hold the installation's lock for a while. Raises AlreadyRunning, with the pid of who has it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / LOCK_FILE, "a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip()
            raise AlreadyRunning(
                f"进程 {pid} 正在管理 {data_dir}；请先执行 onestop down",
                f"process {pid} keeps {data_dir} already; run `onestop down` first",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def read_state(data_dir: Path) -> dict[str, Any]:
    """{"supervisor": pid, "processes": [Status as a dict]}. Raises NothingRuns when nobody holds the lock."""
    if not is_held(data_dir):
        raise _nothing(data_dir)
    try:
        state: dict[str, Any] = json.loads((data_dir / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _nothing(data_dir) from None
    return state


def is_held(data_dir: Path) -> bool:
    """Does a supervisor keep this directory now?"""
    try:
        with open(data_dir / LOCK_FILE, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def write_state(data_dir: Path, statuses: Sequence[Status]) -> None:
    """Note who keeps what. Readers see the old content or the new, never half."""
    content = {"supervisor": os.getpid(), "processes": [asdict(status) for status in statuses]}
    handle, name = tempfile.mkstemp(dir=data_dir, prefix=STATE_FILE)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1))
    Path(name).replace(data_dir / STATE_FILE)


def _nothing(data_dir: Path) -> NothingRuns:
    return NothingRuns(
        f"{data_dir} 上没有正在运行的进程", f"nothing runs on {data_dir}; `onestop up` starts it"
    )
