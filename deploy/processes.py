"""Child processes that never outlive us, and the few questions about processes and ports that go with it."""

import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import PortTaken

WHEN_TOLD = "--when-told"
"""The option of a process of ours that is started before its turn."""

_PDEATHSIG = Path(__file__).with_name("pdeathsig.py")
_LOWEST_PORT = 20_000
_PORT_TRIES = 1_000
_BACKLOG = 2048
_claims: dict[int, socket.socket] = {}


@dataclass(frozen=True, slots=True)
class Identity:
    """Another user to run as; only root can.

    `sees` are folders that this user is shown although they lie in homes closed to it, each with that home.
    """

    uid: int
    gid: int
    sees: tuple[tuple[Path, Path], ...] = ()

    def own(self, path: Path) -> None:
        """Make the path belong to this user."""
        os.chown(path, self.uid, self.gid)

    def own_tree(self, path: Path) -> None:
        """Make the path and all below it belong to this user; links are not followed."""
        for folder, _, files in os.walk(path):
            for found in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(found, self.uid, self.gid, follow_symlinks=False)


def spawn(
    command: Sequence[str | Path],
    *,
    output: int,
    source: int = subprocess.DEVNULL,
    death_signal: signal.Signals = signal.SIGKILL,
    environment: Mapping[str, str] | None = None,
    run_as: Identity | None = None,
    cwd: Path | None = None,
    hand_down: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its input from the file descriptor `source`, both outputs to
    `output`. It gets the file descriptors `hand_down` too, under the same numbers.

    The kernel sends it `death_signal` when the *thread* that called this ends, so call it from the main one.
    """
    return subprocess.Popen(
        [*_tie(death_signal, run_as), *(str(part) for part in command)],
        stdin=source,
        stdout=output,
        stderr=output,
        env=dict(environment) if environment is not None else None,
        cwd=cwd,
        start_new_session=True,
        pass_fds=hand_down,
    )


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    run_as: Identity | None = None,
    timeout_s: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, tied to us as `spawn` does; both outputs are in `stdout`."""
    return subprocess.run(
        [*_tie(signal.SIGKILL, run_as), *(str(part) for part in command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=dict(environment) if environment is not None else None,
        cwd="/",
        timeout=timeout_s,
        check=False,
    )


def _tie(death_signal: signal.Signals, run_as: Identity | None) -> list[str]:
    """What stands before a command so that it ends with this thread, and is somebody else if asked."""
    who = run_as or Identity(-1, -1)
    sees = "\n".join(str(path) for pair in who.sees for path in pair)
    tie = [sys.executable, "-I", "-S", str(_PDEATHSIG), str(int(death_signal)), str(os.getpid())]
    return [*tie, str(who.uid), str(who.gid), sees]


def wait_for_end_of_input() -> None:
    """Return when nobody can write to our standard input any more: at once for /dev/null."""
    while os.read(0, 4096):
        continue


def end(process: subprocess.Popen[bytes], stop_signal: signal.Signals, grace_s: float) -> int:
    """Ask a process to stop and wait; SIGKILL to its session after `grace_s` seconds. Its exit code."""
    if process.poll() is None:
        process.send_signal(stop_signal)
        try:
            return process.wait(grace_s)
        except subprocess.TimeoutExpired:
            kill_session(process)
    return process.wait()


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process that `spawn` started, and what it started itself."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_pid(pid: int) -> None:
    """SIGKILL one process; nothing if it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def all_pids() -> list[int]:
    """Every process that we can see (Linux)."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def children_of(pid: int) -> list[int]:
    """The direct children of a process, whatever session they lead (Linux)."""
    return [other for other in all_pids() if _parent_of(other) == pid]


def _parent_of(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in brackets and may hold blanks and brackets itself.
    return int(status.rpartition(")")[2].split()[1])


def wait_until(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.02) -> bool:
    """Ask until the answer is yes; False when `timeout_s` seconds went by."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)
    return True


def is_alive(pid: int) -> bool:
    """Is there such a process, of anybody, that has not ended?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return not Path("/proc/self").exists()
    return state not in {"Z", "X"}


def free_port(preferred: int | None = None) -> int:
    """A TCP port on 127.0.0.1 that nobody listens on or has claimed: the preferred one when it is free.

    It is none that the kernel hands out: a server that starts a moment later, or again after its death,
    would find it taken by some outgoing connection."""
    if preferred is not None and port_is_free(preferred) and not _is_claimed(preferred):
        return preferred
    for _ in range(_PORT_TRIES):
        port = _LOWEST_PORT + secrets.randbelow(_lowest_handed_out() - _LOWEST_PORT)
        if port_is_free(port) and port_is_free(port, "0.0.0.0") and not _is_claimed(port):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port between {_LOWEST_PORT} and {_lowest_handed_out()}")


def claim_port(preferred: int | None = None) -> int:
    """As `free_port`, and nobody else on this machine is told the same one while we live: between the choice
    of a port and the server that listens there lies a whole start."""
    for _ in range(_PORT_TRIES):
        port = free_port(preferred)
        if try_claim(port):
            return port
        preferred = None
    raise OSError(errno.EADDRINUSE, "every port is claimed")


def try_claim(port: int) -> bool:
    """Is it ours to listen there, as far as other installations go? True again when we claimed it before.

    A claim is a name in the kernel (an abstract socket): it holds for all users where the port does, and ends
    with this process, however that ends."""
    if port in _claims or not sys.platform.startswith("linux"):
        return True
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(_claim_name(port))
    except OSError:
        claim.close()
        return False
    _claims[port] = claim
    return True


def _is_claimed(port: int) -> bool:
    if port in _claims or not sys.platform.startswith("linux"):
        return port in _claims
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_claim_name(port))
        except OSError:
            return False
    return True


def _claim_name(port: int) -> str:
    return f"\0onestop-port-{port}"


def _lowest_handed_out() -> int:
    """Where the range of ports begins that the kernel gives to who asks for any."""
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except OSError:
        # Not Linux: IANA's range (RFC 6335).
        lowest = 49152
    # A host that hands out nearly all ports leaves none below; then one in its range is as good as any.
    return lowest if lowest > _LOWEST_PORT + 1000 else 32768


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections there, as many as come at once. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        where = f"{host}:{port}: {error.strerror}"
        raise PortTaken(f"{where}；请换一个端口", f"{where}; choose another port") from None


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Could a server listen there now?"""
    with socket.socket() as probe:
        # As servers do, so that connections in TIME_WAIT do not make a port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
