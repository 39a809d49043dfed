"""Alive asks nobody; ready asks everybody at once and waits for nobody longer than a second."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from shared.db.outages import DatabaseAway, Outage
from shared.errors import Unavailable
from shared.http.edge import install_internal_edge
from shared.http.health import Check, Health, serve_health
from shared.http.health_routes import health_router
from shared.sections import WebSettings

Get = Callable[[str], httpx.Response]


def fine() -> None:
    """A component that works."""


def away() -> None:
    raise ConnectionError("db-7.internal:5432 refused user onestop")


def away_by_name() -> None:
    raise Unavailable


def read_only() -> None:
    raise DatabaseAway(Outage.READ_ONLY, ConnectionError("db-7.internal:5432"))


@pytest.fixture(params=["web", "worker"])
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[[Health], Get]]:
    """The same doors in a web process and in a worker."""
    servers = []

    def start(health: Health) -> Get:
        if request.param == "web":
            app = FastAPI()
            install_internal_edge(app, WebSettings())
            app.include_router(health_router(health))
            client = TestClient(app)

            def get(path: str) -> httpx.Response:
                answer = client.get(path)
                return httpx.Response(
                    answer.status_code, content=answer.content, headers=dict(answer.headers)
                )

            return get
        server = serve_health(health, host="127.0.0.1", port=0)
        servers.append(server)
        return lambda path: httpx.get(f"http://127.0.0.1:{server.server_port}{path}", trust_env=False)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_ready_when_every_component_is(serve: Callable[[Health], Get]) -> None:
    answer = serve(Health({"database": fine, "broker": fine}))("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert answer.json()["components"]["database"]["ok"] is True


def test_unready_names_the_component_and_tells_no_more(serve: Callable[[Health], Get]) -> None:
    checks = {"database": away, "broker": fine, "peer": away_by_name, "standby": read_only}
    answer = serve(Health(checks))("/readyz")
    components = answer.json()["components"]
    assert answer.status_code == 503
    assert components["database"] == {"ok": False, "error": "ConnectionError"}
    assert components["peer"] == {"ok": False, "error": "service.unavailable"}
    assert components["standby"] == {"ok": False, "error": "read-only"}
    assert components["broker"]["ok"] is True
    assert "db-7" not in answer.text


def test_alive_asks_nobody(serve: Callable[[Health], Get]) -> None:
    get = serve(Health({"database": away}, draining=lambda: True))
    assert get("/healthz").status_code == 200


def test_draining_is_unready_at_once(serve: Callable[[Health], Get]) -> None:
    draining = threading.Event()
    get = serve(Health({"database": fine}, draining=draining.is_set))
    assert get("/readyz").status_code == 200
    draining.set()
    answer = get("/readyz")
    assert (answer.status_code, answer.json()["draining"]) == (503, True)


def test_metrics_are_served(serve: Callable[[Health], Get]) -> None:
    answer = serve(Health({}))("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "onestop_outbox_pending" in answer.text


def test_other_paths_are_not_there(serve: Callable[[Health], Get]) -> None:
    assert serve(Health({}))("/secrets").status_code == 404


def ready(health: Health) -> dict[str, Any]:
    answer = health.answer("/readyz")
    assert answer is not None
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_a_check_that_hangs_fails_alone_within_its_second_and_is_not_started_again() -> None:
    release, starts = threading.Event(), []

    def hang() -> None:
        starts.append(1)
        release.wait(30)

    checks: dict[str, Check] = {"database": hang, "broker": hang, "disk": fine}
    health = Health(checks, bound_s=0.2)
    began = time.monotonic()
    first, second = ready(health), ready(health)
    took = time.monotonic() - began
    release.set()
    for seen in (first, second):
        assert seen["components"]["database"] == {"ok": False, "error": "timeout"}
        assert seen["components"]["disk"]["ok"] is True
    # Two probes of two hanging checks: one bound each, because the checks of a probe run at once.
    assert took < 0.75
    assert len(starts) == 2
