"""What a supervisor leaves on disk: the lock that makes it the only one, and the state for `onestop ps`.

The lock is the kernel's (flock): it goes with its holder, so a SIGKILL leaves nothing stale. The state is
best effort: on a full disk it stays as it was, and readers compare it with the processes that there are.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from deploy.errors import AlreadyRunning, NothingRuns
from deploy.processes import children_of, wait_until

STATE_FILE = "processes.json"
LOCK_FILE = "supervisor.lock"
_ASKED_S = 0.5


class State(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ENDED = "ended"
    """Its process is gone, and what became of it then is not written down."""


@dataclass(slots=True)
class Status:
    """One line of `onestop ps`."""

    name: str
    group: str
    state: State = State.WAITING
    pid: int | None = None
    started_at: str | None = None
    restarts: int = 0
    health_port: int | None = None
    """Where its /readyz is on this machine, if it has one."""


@contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Hold the installation's lock for a while. Raises AlreadyRunning, with the pid of who has it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    # Not for appending: then the pid of an earlier holder would stay in front of ours.
    with open(os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="ascii") as lock:
        # Whoever asks whether it is held holds it too, for a moment.
        if not wait_until(lambda: _lock(lock.fileno()), _ASKED_S):
            pid = lock.read().strip()
            raise AlreadyRunning(
                f"进程 {pid} 正在管理 {data_dir}；请先执行 onestop down",
                f"process {pid} keeps {data_dir} already; run `onestop down` first",
            )
        # Only for whoever is refused: the lock holds without it, on a full disk too.
        with suppress(OSError):
            _overwrite(lock.fileno(), str(os.getpid()))
        yield


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_state(data_dir: Path) -> dict[str, Any]:
    """{"supervisor": pid, "processes": [Status as a dict]}. Raises NothingRuns when nobody holds the lock.

    A process that is written down as running, and is no child of the supervisor, has ended.
    """
    if not is_held(data_dir):
        raise _nothing(data_dir)
    holder = _holder(data_dir)
    try:
        state: dict[str, Any] = json.loads((data_dir / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if holder is None:
            raise _nothing(data_dir) from None
        state = {"supervisor": holder, "processes": []}
    state["supervisor"] = holder or state["supervisor"]
    there_are = set(children_of(state["supervisor"]))
    for process in state["processes"]:
        if process["pid"] is not None and process["pid"] not in there_are:
            process |= {"state": State.ENDED, "pid": None}
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


def kept_dirs() -> list[Path]:
    """The directories that supervisors of this user keep now, wherever they lie (Linux).

    The kernel knows which files a process has open; no list of ours could go stale."""
    opened = {link for pid in _own_pids() for link in _files_of(pid) if link.name == LOCK_FILE}
    return sorted(link.parent for link in opened if is_held(link.parent))


def _own_pids() -> list[Path]:
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry.stat().st_uid == os.geteuid():
                pids.append(entry)
    return pids


def _files_of(pid: Path) -> list[Path]:
    files = []
    # It may end meanwhile, or let go of one.
    with suppress(OSError):
        for fd in (pid / "fd").iterdir():
            with suppress(OSError):
                files.append(fd.readlink())
    return files


def write_state(data_dir: Path, statuses: Sequence[Status]) -> None:
    """Note who keeps what. Readers see the old content or the new, never half. Raises OSError; then it is the
    old."""
    content = {"supervisor": os.getpid(), "processes": [asdict(status) for status in statuses]}
    handle, name = tempfile.mkstemp(dir=data_dir, prefix=STATE_FILE)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1))
        Path(name).replace(data_dir / STATE_FILE)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _overwrite(fd: int, text: str) -> None:
    # Over what is there: an emptied file may get no room again.
    os.pwrite(fd, text.encode("ascii"), 0)
    os.ftruncate(fd, len(text))


def _holder(data_dir: Path) -> int | None:
    try:
        return int((data_dir / LOCK_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _nothing(data_dir: Path) -> NothingRuns:
    return NothingRuns(
        f"{data_dir} 上没有正在运行的进程", f"nothing runs on {data_dir}; `onestop up` starts it"
    )
