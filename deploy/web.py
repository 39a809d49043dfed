"""The web process: routers and pages of one service or of all, behind one edge."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import Lifespan

from deploy.asks import MAY_ASK, SIGNER
from deploy.pages import environment, render_problem, static_folder
from deploy.services import part
from shared import faults
from shared.ask import Asker, Question
from shared.auth.deps import Authenticator
from shared.auth.revocations import Fetch, Renewing, Revocations
from shared.auth.signatures import PublicKeys, SigningKey
from shared.auth.tokens import TokenReader, Tokens
from shared.bus import comparison
from shared.bus.context import ServiceContext
from shared.context import build_context
from shared.db.writable import check_writable
from shared.http.context import WebContext
from shared.http.edge import install_edge, install_internal_edge
from shared.http.health import Check, Health
from shared.http.health_routes import alive_router, health_router
from shared.http.internal import internal_router
from shared.peers import REVOCATIONS, Peers
from shared.privacy.secret_files import ASKERS, SESSION_KEY, load_json, load_public_keys, load_secret
from shared.settings import Settings

TITLE = "onestop"


@dataclass(frozen=True, slots=True)
class WebApps:
    """The two faces of one process: what people and programs reach, and what only this installation does."""

    public: FastAPI
    internal: FastAPI


def build(settings: Settings, services: Sequence[str]) -> WebApps:
    """The apps of one process. Nothing connects before the first request."""
    faults.plan_faults(settings.fault_plan)
    answers: dict[str, dict[str, Question]] = {}
    contexts = {
        service: build_context(
            settings,
            service,
            Asker(settings, service, answers, MAY_ASK),
            people_wait=True,
            guarded=True,
        )
        for service in services
    }
    answers |= {
        service: {**part(service, "web").answers(context), **comparison.answers(context)}
        for service, context in contexts.items()
    }
    keys = PublicKeys(load_public_keys(settings, services[0]))
    revocations = Revocations(_whom_to_ask(contexts, answers), keys, _now)
    app, internal = _app(while_it_runs(revocations, contexts.values())), _app()
    authenticator = Authenticator(
        _tokens(settings, services, keys), revocations, cookie_secure=settings.web.cookie_secure
    )
    install_internal_edge(internal, settings.web)
    install_edge(app, settings.web, authenticator, render_problem_html=render_problem)
    app.state.contexts = contexts
    app.state.revocations = revocations
    app.state.development = settings.dev_identity
    pages = environment(development=settings.dev_identity)
    for service, context in contexts.items():
        app.include_router(part(service, "web").router(WebContext(context, pages)))
        peers = Peers(load_json(settings, service, ASKERS))
        internal.include_router(
            internal_router(
                service, answers[service], MAY_ASK, peers, most_file_bytes=settings.web.max_upload_bytes
            )
        )
    checks: dict[str, Check] = {
        f"{s}.database": partial(check_writable, c.engine, s) for s, c in contexts.items()
    }
    checks |= {f"{service}.witness": context.ready for service, context in contexts.items()}
    health = Health(checks)
    app.include_router(alive_router(health))
    internal.include_router(health_router(health))
    app.mount("/static", StaticFiles(directory=static_folder()), name="static")
    return WebApps(app, internal)


def while_it_runs(revocations: Revocations, contexts: Collection[ServiceContext]) -> Lifespan[FastAPI]:
    """While the app runs, what it knows of ended sessions is kept young; afterwards nobody gives hints."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        renewing = Renewing(revocations)
        await run_in_threadpool(renewing.start)
        try:
            yield
        finally:
            renewing.stop()
            for context in contexts:
                context.hints.close()

    return lifespan


def _app(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    return FastAPI(
        title=TITLE, version="1", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )


def _whom_to_ask(
    contexts: Mapping[str, ServiceContext], answers: Mapping[str, Mapping[str, Question]]
) -> Fetch:
    """Intake, in this process or by the first service's asker."""
    if SIGNER in contexts:
        here = answers[SIGNER][REVOCATIONS]
        assert callable(here)
        return here
    asker = next(iter(contexts.values())).asker
    return partial(asker.ask, SIGNER, REVOCATIONS)


def _tokens(settings: Settings, services: Sequence[str], keys: PublicKeys) -> TokenReader:
    if SIGNER in services:
        return Tokens(SigningKey(load_secret(settings, SIGNER, SESSION_KEY)), keys, _now)
    return TokenReader(keys, _now)


def _now() -> datetime:
    return datetime.now(UTC)
