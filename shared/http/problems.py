"""Errors as people and programs get them: RFC 9457 problem+json, or an HTML page for browsers.

No traceback, no value that was sent and no name of a machine ever stands in an answer; the trace id leads us
to the log line.
"""

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match, Mount

from shared.db.outages import RETRY_AFTER_S, outage_of
from shared.describe import kind_of
from shared.errors import AppError, BadRequest, NotFound, Unauthenticated, Unavailable
from shared.http.locale import Locale, locale_of, weighted
from shared.http.trace import route_template
from shared.tracing import current_traceparent, trace_id_of

MEDIA_TYPE = "application/problem+json"
_RESERVED = frozenset(("type", "title", "status", "detail", "code", "errors", "trace_id"))
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_log = structlog.get_logger()


class MethodNotAllowed(AppError):
    """The path is there, but not for this method."""

    code = "request.method-not-allowed"
    status = 405
    title_zh = "不支持此请求方法"
    title_en = "This method is not allowed here"
    allow: frozenset[str] = frozenset()
    """Methods that are, as far as the route that refused this one knows."""


class Refused(AppError):
    """The HTTP machinery refused the request for a reason that has no code of ours."""

    code = "request.refused"
    status = 400
    title_zh = "请求被拒绝"
    title_en = "The request was refused"


class BrokenOff(AppError):
    """The client hung up, or was given up, before its request had come. Nobody reads the answer."""

    code = "request.broken-off"
    status = 400
    title_zh = "请求未完整发送"
    title_en = "The request broke off"


@dataclass(frozen=True, slots=True)
class ProblemField:
    """One wrong field, in the language of the answer."""

    pointer: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem in one language; `app.state.render_problem_html(request, problem)` makes a page of it."""

    status: int
    code: str
    title: str
    detail: str
    locale: Locale
    trace_id: str
    fields: tuple[ProblemField, ...] = ()
    members: Mapping[str, object] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The members of RFC 9457, then ours."""
        document: dict[str, Any] = {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
        }
        if self.detail:
            document["detail"] = self.detail
        document["code"] = self.code
        if self.fields:
            document["errors"] = [
                {"pointer": f.pointer, "code": f.code, "message": f.message} for f in self.fields
            ]
        document.update({name: value for name, value in self.members.items() if name not in _RESERVED})
        document["trace_id"] = self.trace_id
        return document


RenderHtml = Callable[[Request, Problem], str]


_MOST_FIELDS, _LONGEST_POINTER = 50, 200
"""An answer is no longer than people can use, however much was wrong."""


def problem_of(request: Request, error: AppError) -> Problem:
    """What to tell this client about an error."""
    locale = locale_of(request)
    return Problem(
        status=error.status,
        code=error.code,
        title=locale.pick(error.title_zh, error.title_en),
        # What a 500 is about concerns operators, not the one who asked.
        detail=locale.pick(error.detail_zh, error.detail_en) if error.status != 500 else "",
        locale=locale,
        trace_id=trace_id_of(current_traceparent()),
        fields=tuple(
            ProblemField(f.pointer[:_LONGEST_POINTER], f.code, locale.pick(f.message_zh, f.message_en))
            for f in error.fields[:_MOST_FIELDS]
        ),
        members=error.members,
    )


def problem_response(request: Request, error: AppError) -> Response:
    """The answer to an error, as page or as problem+json, whichever the client prefers."""
    problem = problem_of(request, error)
    headers = {"Content-Language": problem.locale.value, "Vary": "Accept, Accept-Language, Cookie"}
    headers |= retry_after(error)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(_methods_at(request) | error.allow))
    if _prefers_html(request):
        render: RenderHtml = getattr(request.app.state, "render_problem_html", plain_page)
        return HTMLResponse(render(request, problem), problem.status, headers)
    body = json.dumps(problem.document(), ensure_ascii=False)
    return Response(body, problem.status, headers, media_type=MEDIA_TYPE)


def retry_after(error: AppError) -> dict[str, str]:
    """The header that says when to come again, for errors that know it."""
    after_s = getattr(error, "retry_after_s", None)
    return {} if after_s is None else {"Retry-After": str(after_s)}


def app_error_of(error: Exception) -> AppError:
    """The AppError that an exception amounts to; an unforeseen one is a 500 without any detail."""
    if isinstance(error, AppError):
        return error
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, ClientDisconnect):
        return BrokenOff()
    if outage_of(error) is not None:
        return Unavailable(retry_after_s=RETRY_AFTER_S)
    return AppError()


async def answer_error(request: Request, error: Exception) -> Response:
    """Exception handler: one log line where operators must look, and the answer."""
    known = app_error_of(error)
    if known.status == 500:
        _log.error("request_failed", route=route_template(request.scope), code=known.code, exc_info=error)
    elif known.status == 503:
        _log.warning(
            "request_put_off", route=route_template(request.scope), code=known.code, reason=_reason(error)
        )
    return problem_response(request, known)


def plain_page(_: Request, problem: Problem) -> str:
    """An error page without any template, for apps that have set none."""
    code = problem.locale.pick("代码", "Code")
    trace = problem.locale.pick("错误编号", "Reference")
    fields = "".join(f"<li>{html.escape(f.message)}</li>" for f in problem.fields)
    return (
        f'<!doctype html><html lang="{problem.locale.value}"><head><meta charset="utf-8">'
        f"<title>{html.escape(problem.title)}</title></head><body><main><h1>{html.escape(problem.title)}</h1>"
        f"<p>{html.escape(problem.detail)}</p><ul>{fields}</ul>"
        f"<p>{code}: {html.escape(problem.code)}<br>{trace}: {problem.trace_id}</p></main></body></html>"
    )


def _of_http(error: HTTPException) -> AppError:
    if error.status_code == 404:
        return NotFound()
    if error.status_code == 405:
        not_allowed = MethodNotAllowed()
        allow = (error.headers or {}).get("Allow", "")
        not_allowed.allow = frozenset(method.strip() for method in allow.split(",") if method.strip())
        return not_allowed
    if error.status_code == 400:
        return BadRequest()
    refused = Refused()
    refused.status = error.status_code
    return refused


def _methods_at(request: Request) -> frozenset[str]:
    """Every method that some route takes at this path; one path has several routes (RFC 9110 section
    15.5.6)."""
    # What is mounted takes any method here and knows better itself.
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    return frozenset(
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )


def _reason(error: Exception) -> str:
    # The driver's own message names hosts and quotes values; its class is enough to tell what is away.
    return f"{type(error).__name__}/{kind_of(error)}"


def _prefers_html(request: Request) -> bool:
    for quality, kind in weighted(request.headers.get("accept", "")):
        if quality > 0 and kind in ("text/html", "application/xhtml+xml"):
            return True
        if quality > 0 and kind in ("application/json", MEDIA_TYPE, "application/*", "*/*"):
            return False
    return False
