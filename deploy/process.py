"""Children that cannot outlive us: own session, a signal when the parent dies, waits with a deadline."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deploy.errors import NotStarted

_TETHER = Path(__file__).with_name("tether.py")


@dataclass(frozen=True, slots=True)
class Account:
    """The system account that a child runs as."""

    name: str
    uid: int
    gid: int


def account(name: str) -> Account:
    """The account called `name`; KeyError if there is none."""
    entry = pwd.getpwnam(name)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def is_root() -> bool:
    """True when this process may become another account."""
    return os.geteuid() == 0


def tied(
    argv: Sequence[str | Path], *, death_signal: signal.Signals, run_as: Account | None = None
) -> list[str]:
    """`argv` behind the launcher that asks the kernel for `death_signal` when we die.

    Raises RuntimeError outside the main thread: the kernel watches the starting thread, not the process.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("start children from the main thread: their life is tied to the starting thread")
    uid, gid = (run_as.uid, run_as.gid) if run_as else (-1, -1)
    launcher = [sys.executable, "-I", "-S", _TETHER, int(death_signal), os.getpid(), uid, gid]
    return [str(word) for word in (*launcher, *argv)]


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    run_as: Account | None = None,
    output: IO[bytes] | int = subprocess.DEVNULL,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a child in its own session, with `env` as its whole environment and no input."""
    return subprocess.Popen(
        tied(argv, death_signal=death_signal, run_as=run_as),
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    run_as: Account | None = None,
    timeout_s: float = 120.0,
) -> str:
    """Run a command to its end and return what it printed; NotStarted with its last words if it fails."""
    child = spawn(argv, env=env, cwd=cwd, run_as=run_as, output=subprocess.PIPE)
    try:
        out, _ = child.communicate(timeout=timeout_s)
    except BaseException:
        signal_group(child.pid, signal.SIGKILL)
        child.communicate()
        raise
    text = out.decode(errors="replace")
    if child.returncode != 0:
        name = Path(str(argv[0])).name
        raise NotStarted(
            f"{name} 以状态 {child.returncode} 结束：{text[-800:].strip()}",
            f"{name} ended with status {child.returncode}: {text[-800:].strip()}",
        )
    return text


def wait_until(condition: Callable[[], bool], *, timeout_s: float, every_s: float = 0.05) -> bool:
    """Poll `condition` until it holds; False when `timeout_s` seconds have passed without it."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)
    return True


def end(child: subprocess.Popen[bytes], sign: signal.Signals, *, timeout_s: float) -> int:
    """Send `sign`, wait, and SIGKILL the child's group when `timeout_s` is over. Returns the exit status."""
    if child.poll() is None:
        child.send_signal(sign)
    try:
        return child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        signal_group(child.pid, signal.SIGKILL)
        return child.wait()


def signal_group(pid: int, sign: signal.Signals) -> None:
    """Signal a child of ours and all that stayed in its session's first group; nothing if it is gone."""
    try:
        os.killpg(pid, sign)
    except ProcessLookupError:
        return


def signal_pid(pid: int, sign: signal.Signals) -> None:
    """Signal one process; nothing if it is gone."""
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def children_of(pid: int) -> list[int]:
    """The direct children of `pid`."""
    return [other for other in _pids() if _parent_of(other) == pid]


def _parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in brackets and may itself hold blanks and brackets.
    return int(stat.rpartition(")")[2].split()[1])


def pids_in(folder: Path) -> list[int]:
    """Living processes whose working directory is `folder` (those of other accounts only for root)."""
    wanted = str(folder.resolve())
    return [pid for pid in _pids() if _cwd_of(pid) == wanted]


def _cwd_of(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def is_alive(pid: int) -> bool:
    """True while a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """True when nobody listens on this TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        # As servers do: connections of a dead server in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
