"""The web process is killed at every commit of every door, before and after; people try again.

Run by `make drill`. `make test` lets the commands fail at the same points instead of killing their process.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deploy.probe import is_ready
from deploy.processes import free_port, spawn
from tests.support.installation import (
    GAP,
    ROOT,
    Installation,
    Worker,
    delivery,
    installation,
    secrets_dir,
    template_settings,
    wait_for,
)
from tests.support.journey import Journey, all_of, open_hall, trace

__all__ = ["delivery", "installation", "secrets_dir", "template_settings"]

ONCE_A_PROCESS = ("keys.", "matters.")
"""Read at the first need, and never again by a process that lives."""


@dataclass(slots=True)
class Doors:
    """A web process that is started again whenever it died."""

    made: Installation
    port: int = field(default_factory=free_port)
    internal_port: int = field(default_factory=free_port)
    plan: str = ""
    deaths: int = 0
    _web: Worker | None = None
    _client: httpx.Client | None = None

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request. Raises httpx.TransportError when the process dies of it."""
        if self._web is None:
            self._start()
        assert self._client is not None
        try:
            return self._client.request(method, path, **options)
        except httpx.TransportError:
            self._bury()
            raise

    def stop(self) -> None:
        """End the process that is left."""
        if self._web is not None and self._client is not None:
            self._client.close()
            self._web.kill()
            self._web = None

    def _start(self) -> None:
        log: Path = self.made.scratch / f"web-{self.deaths}.log"
        with log.open("wb") as output:
            process = spawn(
                [sys.executable, "-m", "deploy.cli", "run", "web"],
                output=output.fileno(),
                environment=self.made.environment()
                | {
                    "ONESTOP_WEB__PORT": str(self.port),
                    "ONESTOP_WEB__INTERNAL_PORT": str(self.internal_port),
                    "ONESTOP_DEV_IDENTITY": "true",
                    "ONESTOP_FAULT_PLAN": self.plan,
                },
                cwd=ROOT,
            )
        self.plan = ""
        self._web = Worker(process, log)
        self.made.workers.append(self._web)
        wait_for(self._answers, f"the web process; see {log}", 60)
        url = f"http://127.0.0.1:{self.port}"
        self._client = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def _answers(self) -> bool:
        try:
            return is_ready(self.internal_port)
        except OSError:
            return False

    def _bury(self) -> None:
        assert self._web is not None
        assert self._client is not None
        self._client.close()
        self._web.process.wait(10)
        assert self._web.process.returncode == -9, self._web.output()[-3000:]
        self.deaths += 1
        self._web = None


def test_a_door_that_is_killed_at_any_point_does_its_work_once(installation: Installation) -> None:
    who = installation.citizen(GAP)
    with open_hall(installation) as client:
        undisturbed = Journey(who, client.request, installation.pump)
        points = [point for point in trace(undisturbed) if not point.startswith(ONCE_A_PROCESS)]
    expected = all_of(installation, undisturbed)
    for point in points:
        doors = Doors(installation, plan=f"{point}:1:kill")
        journey = Journey(who, doors.send, installation.pump)
        journey.run()
        doors.stop()
        assert doors.deaths == 1, f"{point} was not met"
        found = all_of(installation, journey)
        assert (found - expected, expected - found) == ({}, {}), point
