"""A web process of an installation, as browsers and attackers reach it: over real sockets."""

import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil

from deploy.installation import free_ports
from deploy.probe import is_ready
from deploy.processes import spawn
from tests.support.installation import ROOT, Installation, Worker, wait_for


@dataclass(frozen=True, slots=True)
class Web:
    """A web process and its two ports."""

    made: Installation
    worker: Worker
    port: int
    internal_port: int

    @property
    def url(self) -> str:
        """Where browsers go."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def internal_url(self) -> str:
        """Where the services ask one another."""
        return f"http://127.0.0.1:{self.internal_port}"

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """A bare connection to the public port, from this address."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30, source_address=(source, 0))

    def connections_of(self, address: str) -> int:
        """How many connections the process has with this address."""
        found = psutil.Process(self.worker.pid).net_connections("tcp")
        return sum(one.status == "ESTABLISHED" and one.raddr.ip == address for one in found if one.raddr)

    def memory(self) -> int:
        """Resident bytes of the process now."""
        return int(psutil.Process(self.worker.pid).memory_info().rss)

    def log_in(self, who: Mapping[str, str]) -> dict[str, str]:
        """Headers of a citizen, by the development log-in."""
        answer = httpx.post(f"{self.url}/dev/tokens/citizen", json=dict(who), trust_env=False)
        return {"Authorization": f"Bearer {answer.json()['token']}"}


def start_web(made: Installation, *arguments: str, **environment: str) -> Web:
    """Start a web process and wait until it is ready. It ends with the installation."""
    public, internal = free_ports(2, set())
    ports = {"ONESTOP_WEB__PORT": str(public), "ONESTOP_WEB__INTERNAL_PORT": str(internal)}
    log = made.scratch / f"web-{public}.log"
    with log.open("wb") as output:
        process = spawn(
            [sys.executable, "-m", "deploy.cli", "run", "web", *arguments],
            output=output.fileno(),
            environment=made.environment() | ports | environment,
            cwd=ROOT,
        )
    worker = Worker(process, log)
    made.workers.append(worker)

    def is_up() -> bool:
        try:
            return is_ready(internal)
        except OSError:
            return False

    wait_for(is_up, f"the web process; see {log}", 60)
    return Web(made, worker, public, internal)


class Others:
    """People who go on using the pages meanwhile: one request after the other, each timed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self.waited: list[float] = []
        self.quiet: list[float] = []
        """What they waited before, when nobody else was there: the machine may be busy with other things."""

    def were_enough(self) -> bool:
        """As many as a twentieth of them says something about."""
        return len(self.waited) >= 40

    def p95(self) -> float:
        """Seconds that all but one of twenty waited longer than before, at most."""
        return _p95(self.waited) - _p95(self.quiet)

    def run(self) -> None:
        """Ask until it is over."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._over.is_set():
                self.waited.append(self._asked(client))
                self._over.wait(0.005)

    def settle(self) -> None:
        """Ask while nobody else does."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            self._asked(client)
            self.quiet = [self._asked(client) for _ in range(40)]

    def _asked(self, client: httpx.Client) -> float:
        began = time.monotonic()
        assert client.get(self._url).status_code == 200
        return time.monotonic() - began

    def stop(self) -> None:
        """It is over."""
        self._over.set()


def _p95(waited: Sequence[float]) -> float:
    return sorted(waited)[int(len(waited) * 0.95)]


@contextmanager
def others_at(url: str) -> Iterator[Others]:
    """Somebody else asks for this page again and again as long as the block lasts."""
    others = Others(url)
    others.settle()
    thread = threading.Thread(target=others.run)
    thread.start()
    try:
        yield others
    finally:
        others.stop()
        thread.join()
