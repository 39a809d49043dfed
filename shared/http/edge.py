"""Everything of the HTTP edge, put around an app in the one right order."""

from collections.abc import Collection

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.auth.deps import Authenticator
from shared.errors import AppError
from shared.http import problem_pages
from shared.http.body_limit import BodyLimitMiddleware
from shared.http.capacity import Capacity, CapacityMiddleware
from shared.http.doors import Door
from shared.http.hosts import HostMiddleware
from shared.http.internal import refuse_asker
from shared.http.networks import ForwardedMiddleware
from shared.http.problems import RenderHtml, answer_error
from shared.http.security_headers import SecurityHeadersMiddleware
from shared.http.trace import TraceMiddleware
from shared.http.validation import error_of_validation
from shared.peers import MayNotAsk
from shared.sections import WebSettings


def install_edge(
    app: FastAPI,
    web: WebSettings,
    authenticator: Authenticator,
    *,
    render_problem_html: RenderHtml | None = None,
) -> None:
    """Add trace, security headers, limits, error answers and the pages of /problems to an app."""
    _install(app, web, hosts=web.hosts, capacity=Capacity(web.at_once))
    app.state.authenticator = authenticator
    if render_problem_html is not None:
        app.state.render_problem_html = render_problem_html
    app.include_router(problem_pages.router)


def install_internal_edge(app: FastAPI, web: WebSettings) -> None:
    """The same for an app that no person sees: nobody logs in there, and there are no pages."""
    _install(app, web, hosts=None, capacity=Capacity(web.questions_at_once))


def _install(app: FastAPI, web: WebSettings, *, hosts: Collection[str] | None, capacity: Capacity) -> None:
    app.router.route_class = Door
    app.router.redirect_slashes = False
    for kind in (AppError, HTTPException, SQLAlchemyError):
        app.add_exception_handler(kind, answer_error)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(MayNotAsk, refuse_asker)
    # Added last is outermost: the trace sees all, and no answer leaves without the security headers.
    app.add_middleware(CapacityMiddleware, capacity=capacity)
    app.add_middleware(_LastResort)
    app.add_middleware(BodyLimitMiddleware)
    if hosts is not None:
        app.add_middleware(HostMiddleware, hosts=hosts)
    app.add_middleware(SecurityHeadersMiddleware, secure=web.cookie_secure)
    app.add_middleware(TraceMiddleware)
    app.add_middleware(ForwardedMiddleware, proxies=web.trusted_proxies, header=web.forwarded_by)


async def _answer_validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return await answer_error(request, error_of_validation(error))


class _LastResort:
    """Answers what nobody foresaw, inside our headers and our trace (Starlette's own handler is outside)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_noticed(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noticed)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            response = await answer_error(Request(scope), error)
            await response(scope, receive, send)
