"""A web process listens twice: what is internal is not there for those who reach the public address."""

import sys
from dataclasses import dataclass

import httpx
import pytest

from deploy.installation import free_ports
from deploy.probe import is_ready
from deploy.processes import spawn
from shared.peers import peer_token
from shared.privacy.secret_files import SERVICE_TOKEN, load_secret
from tests.support.installation import ROOT, Installation, Worker, wait_for

INTERNAL = ("/metrics", "/readyz", "/internal/v1/intake/contact")


@dataclass(frozen=True, slots=True)
class Served:
    """A process of intake, and its two addresses."""

    installation: Installation
    public: str
    internal: str

    def contact(self, address: str) -> int:
        """notify asks for a contact; the status."""
        token = peer_token(load_secret(self.installation.settings, "notify", SERVICE_TOKEN), "intake")
        headers = {"Authorization": f"Bearer {token}", "Host": "127.0.0.1"}
        body = {
            "person": "00000000-0000-0000-0000-000000000000",
            "kind": "phone",
            "case": "1",
            "purpose": "test",
            "delivery": "00000000-0000-0000-0000-000000000000",
            "sent": False,
        }
        url = f"{address}/internal/v1/intake/contact"
        return httpx.post(url, json=body, headers=headers, trust_env=False).status_code


@pytest.fixture
def served(db_installation: Installation) -> Served:
    public, internal = free_ports(2, set())
    ports = {"ONESTOP_WEB__PORT": str(public), "ONESTOP_WEB__INTERNAL_PORT": str(internal)}
    log = db_installation.scratch / "web.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "deploy.cli", "run", "web", "--service", "intake"]
        environment = db_installation.environment() | ports
        process = spawn(command, output=output.fileno(), environment=environment, cwd=ROOT)
    db_installation.workers.append(Worker(process, log))

    def is_up() -> bool:
        try:
            return is_ready(internal)
        except OSError:
            return False

    wait_for(is_up, f"the web process; see {log}", 60)
    return Served(db_installation, f"http://127.0.0.1:{public}", f"http://127.0.0.1:{internal}")


def test_the_public_address_has_nothing_internal_and_the_other_way_round(served: Served) -> None:
    for path in INTERNAL:
        assert httpx.get(served.public + path, trust_env=False).status_code == 404, path
    assert httpx.get(served.public + "/healthz", trust_env=False).status_code == 200
    assert served.contact(served.public) == 404
    for path in ("/metrics", "/readyz", "/healthz"):
        assert httpx.get(served.internal + path, trust_env=False).status_code == 200, path
    assert served.contact(served.internal) == 200
    for path in ("/", "/api/v1/cases", "/static/onestop.css"):
        assert httpx.get(served.internal + path, trust_env=False).status_code == 404, path
