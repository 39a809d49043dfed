"""Every command that people give over HTTP fails at each of its commits, before and after it is done.

People repeat what was not answered; the case must end as it does when nothing fails. That a killed process
changes nothing of this is shown by the drill, with a web process that is killed at the same points.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
from starlette.testclient import TestClient

from deploy.services import SERVICES
from deploy.web import build
from shared import faults
from shared.log import configure
from tests.support.installation import GAP, Installation, house, secrets_dir, template_settings
from tests.support.journey import Journey, all_of

__all__ = ["house", "secrets_dir", "template_settings"]

COMMANDS = {
    "person.register",
    "case.submit",
    "case.supply",
    "upload",
    "task.claim",
    "task.release",
    "task.decide",
}
"""What writes. A reading notes at most that it was done, and is simply done again."""


@pytest.fixture
def client(house: Installation) -> Iterator[TestClient]:
    web = house.settings.web.model_copy(update={"cookie_secure": False})
    settings = house.settings.model_copy(update={"dev_identity": True, "web": web})
    configure(settings, service="web")
    with TestClient(build(settings, SERVICES), raise_server_exceptions=False) as client:
        yield client
    faults.plan_faults("")
    faults.trace_points(None)
    structlog.reset_defaults()


def test_a_command_that_fails_at_any_point_is_done_once(house: Installation, client: TestClient) -> None:
    seen: list[str] = []

    def traced(method: str, path: str, **options: Any) -> httpx.Response:
        faults.trace_points(seen.append)
        try:
            return client.request(method, path, **options)
        finally:
            faults.trace_points(None)

    who = house.citizen(GAP)
    undisturbed = Journey(who, traced, house.pump)
    undisturbed.run()
    expected = all_of(house, undisturbed)
    points = {point for point in seen if point.partition(".commit.")[0] in COMMANDS}
    assert len(points) == 2 * len(COMMANDS), "each commits, and has a point before and after it"
    for point in sorted(points):
        faults.plan_faults(f"{point}:1:raise")
        journey = Journey(who, client.request, house.pump)
        journey.run()
        assert journey.repeated == 1, f"{point} was not met"
        found = all_of(house, journey)
        assert (found - expected, expected - found) == ({}, {}), point
