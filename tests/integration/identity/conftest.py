"""Intake in a process of its own, and another service's doors in this one, which ask it over HTTP."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from deploy import web
from deploy.installation import free_ports
from deploy.probe import is_ready
from deploy.processes import spawn
from shared.auth.revocations import Revocations
from tests.support.installation import (
    ROOT,
    Installation,
    Worker,
    db_installation,
    secrets_dir,
    template_settings,
    wait_for,
)

__all__ = ["db_installation", "secrets_dir", "template_settings"]


class Clock:
    """The machine's clock, moved ahead."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Apart:
    """Two services in two processes."""

    installation: Installation
    intake: httpx.Client
    intake_process: Worker
    desk: TestClient
    clock: Clock

    def log_in(self, kind: str, **body: Any) -> dict[str, str]:
        """At intake; headers."""
        answer = self.intake.post(f"/dev/tokens/{kind}", json=body)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    def half_a_minute(self) -> None:
        """What the desk's timer does."""
        assert isinstance(self.desk.app, FastAPI)
        revocations: Revocations = self.desk.app.state.revocations
        revocations.renew()

    def queue(self, headers: dict[str, str]) -> tuple[int, str]:
        """The officer's queue at the desk: status, and the code of a refusal."""
        answer = self.desk.get("/api/v1/tasks", headers=headers)
        return answer.status_code, answer.json().get("code", "")


@pytest.fixture
def apart(db_installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Apart]:
    public, internal = free_ports(2, set())
    environment = {
        "ONESTOP_WEB__PORT": str(public),
        "ONESTOP_WEB__INTERNAL_PORT": str(internal),
        "ONESTOP_DEV_IDENTITY": "true",
    }
    log = db_installation.scratch / "intake.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "deploy.cli", "run", "web", "--service", "intake"]
        environment = db_installation.environment() | environment
        process = Worker(spawn(command, output=output.fileno(), environment=environment, cwd=ROOT), log)
    db_installation.workers.append(process)

    def is_up() -> bool:
        try:
            return is_ready(internal)
        except OSError:
            return False

    wait_for(is_up, f"intake; see {log}", 60)
    clock = Clock()
    monkeypatch.setattr(web, "_now", clock)
    peers = {"intake": f"http://127.0.0.1:{internal}"}
    settings = db_installation.settings.model_copy(update={"peers": peers})
    apps = web.build(settings, ["approval"])
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{public}", trust_env=False) as intake,
        TestClient(apps.public, raise_server_exceptions=False) as desk,
    ):
        yield Apart(db_installation, intake, process, desk, clock)
