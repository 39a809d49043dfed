"""/healthz of a web process, and on its internal address /readyz and /metrics too.

A worker uses `shared.http.health.serve_health`.
"""

from functools import partial

import anyio
import anyio.to_thread
from fastapi import APIRouter
from starlette.responses import Response

from shared.http.doors import doors
from shared.http.health import Health, ProbeResponse


def alive_router(health: Health) -> APIRouter:
    """/healthz alone: who is not one of us needs to know no more than that somebody is there."""
    router = doors(include_in_schema=False)

    @router.get("/healthz")
    async def healthz() -> Response:
        return _response(health.answer("/healthz"))

    return router


def health_router(health: Health) -> APIRouter:
    """The three doors for a web process."""
    router = alive_router(health)
    # Its own threads: requests that hang on the database must not keep the probe waiting.
    limiter = anyio.CapacityLimiter(4)

    async def probe(path: str) -> Response:
        answer = await anyio.to_thread.run_sync(health.answer, path, limiter=limiter)
        return _response(answer)

    router.add_api_route("/readyz", partial(probe, "/readyz"), methods=["GET"], name="readyz")
    router.add_api_route("/metrics", partial(probe, "/metrics"), methods=["GET"], name="metrics")
    return router


def _response(answer: ProbeResponse | None) -> Response:
    if answer is None:
        return Response(status_code=404)
    return Response(answer.body, answer.status, media_type=answer.media_type)
