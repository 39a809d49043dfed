"""`onestop doctor` about what the supervisor keeps: a process that is up and does nothing is a finding."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from threading import Thread

import pytest

from deploy import doctor
from deploy.doctor import Finding, examine
from deploy.installation import Installation, InstallationOptions
from deploy.processes import children_of, free_port
from deploy.services import SERVICES
from deploy.supervisor_state import State, Status, hold, write_state


@pytest.fixture(autouse=True)
def our_own_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is no child of the supervisor has ended; here it is the test itself."""
    monkeypatch.setattr("deploy.supervisor_state.children_of", lambda pid: [*children_of(pid), os.getpid()])
    monkeypatch.setattr(doctor, "is_ready", lambda port: doctor_asks(port))


def doctor_asks(port: int) -> bool:
    """As the doctor does, without its patience."""
    from deploy.probe import is_ready

    return is_ready(port, timeout_s=0.2)


@contextmanager
def server(status: int) -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        try:
            yield http.server_port
        finally:
            http.shutdown()
            thread.join()


def ready() -> Iterator[int]:
    with server(200) as port:
        yield port


def unready() -> Iterator[int]:
    with server(503) as port:
        yield port


def frozen() -> Iterator[int]:
    """As after SIGSTOP: the kernel takes connections, and nobody answers."""
    with closing(create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()[1]


def nobody() -> Iterator[int]:
    yield free_port()


def found_of(place: Path, *statuses: Status) -> Finding:
    with hold(place):
        write_state(place, statuses)
        [found] = [finding for finding in examine(place) if finding.check == "processes"]
    return found


def worker(port: int, *, restarts: int = 0, ago: timedelta = timedelta(hours=1)) -> Status:
    started = (datetime.now(UTC) - ago).isoformat(timespec="seconds")
    return Status("worker.notify", "worker", State.RUNNING, os.getpid(), started, restarts, port)


@pytest.mark.parametrize(
    ("answer", "well"), [(ready, True), (unready, False), (frozen, False), (nobody, False)]
)
def test_a_process_that_does_not_answer_is_a_finding(
    tmp_path: Path, answer: Callable[[], Iterator[int]], well: bool
) -> None:
    with contextmanager(answer)() as port:
        found = found_of(tmp_path, worker(port))
    assert found.ok is well
    if not well:
        assert f"worker.notify (pid {os.getpid()})" in found.found
        assert found.fix


@pytest.mark.parametrize(
    ("restarts", "ago", "well"),
    [(0, timedelta(minutes=1), True), (2, timedelta(minutes=9), False), (2, timedelta(minutes=11), True)],
)
def test_a_process_that_was_started_again_is_a_finding_for_ten_minutes(
    tmp_path: Path, restarts: int, ago: timedelta, well: bool
) -> None:
    with server(200) as port:
        found = found_of(tmp_path, worker(port, restarts=restarts, ago=ago))
    assert found.ok is well
    assert well or "2 times" in found.found


def test_where_no_supervisor_is_no_process_is_judged(tmp_path: Path) -> None:
    assert "processes" not in {finding.check for finding in examine(tmp_path)}


@pytest.mark.parametrize("apart", [False, True])
def test_every_process_of_an_installation_says_where_it_answers(tmp_path: Path, apart: bool) -> None:
    made = Installation(InstallationOptions(tmp_path, environment="demo", apart=apart))
    kept = [one.status for one in made.supervisor()._kept]
    ports = [status.health_port for status in kept if status.group in {"web", "worker"}]
    assert len(ports) == 1 + (len(SERVICES) if apart else 1)
    assert None not in ports
    assert len(set(ports)) == len(ports)
