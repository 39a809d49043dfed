"""The web process: routers and pages of one service or of all, behind one edge."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from deploy.dev_people import dev_people
from deploy.pages import environment, render_problem, static_folder
from deploy.services import part
from shared import faults
from shared.ask import Asker, QuestionHandler
from shared.auth.deps import Authenticator
from shared.auth.identity import DevIdentity
from shared.auth.tokens import Tokens
from shared.context import build_context
from shared.db.writable import check_writable
from shared.http.context import WebContext
from shared.http.edge import install_edge
from shared.http.health import Health
from shared.http.health_routes import health_router
from shared.http.internal import internal_router
from shared.privacy.secret_files import SERVICE_TOKEN, SESSION_KEY, load_secret
from shared.settings import Settings

TITLE = "onestop"


def build(settings: Settings, services: Sequence[str]) -> FastAPI:
    """The app of one process. Nothing connects before the first request."""
    faults.plan_faults(settings.fault_plan)
    app = FastAPI(title=TITLE, version="1", docs_url=None, redoc_url=None, openapi_url=None)
    answers: dict[str, dict[str, QuestionHandler]] = {}
    asker = Asker(settings, answers)
    contexts = {service: build_context(settings, service, asker, people_wait=True) for service in services}
    answers |= {service: part(service, "web").answers(context) for service, context in contexts.items()}
    session_key = load_secret(settings, SESSION_KEY)
    authenticator = Authenticator(
        Tokens(session_key, lambda: datetime.now(UTC)),
        session_key=session_key,
        service_token=load_secret(settings, SERVICE_TOKEN),
        cookie_secure=settings.web.cookie_secure,
    )
    install_edge(app, settings.web, authenticator, render_problem_html=render_problem)
    app.state.contexts = contexts
    app.state.development = settings.dev_identity
    pages = environment(development=settings.dev_identity)
    identity = DevIdentity(settings, dev_people())
    for service, context in contexts.items():
        app.include_router(part(service, "web").router(WebContext(context, pages, identity)))
        app.include_router(internal_router(answers[service]))
    checks = {f"{s}.database": partial(check_writable, c.engine, s) for s, c in contexts.items()}
    app.include_router(health_router(Health(checks)))
    app.mount("/static", StaticFiles(directory=static_folder()), name="static")
    return app
