"""The pages of intake, rendered on the server; every one works without JavaScript."""

from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from shared.auth.deps import csrf_token
from shared.http.context import WebContext
from shared.http.locale import locale_of


def render(context: WebContext, request: Request, template: str, values: dict[str, Any]) -> Response:
    """One page in the visitor's language and mode."""
    locale = locale_of(request)
    page = context.pages.get_template(template).render(
        **values,
        locale=locale.value,
        request_path=request.url.path,
        elder=request.cookies.get("onestop_mode") == "elder",
        csrf_token=csrf_token(request),
        idempotency_key=str(uuid4()),
    )
    return HTMLResponse(page, headers={"Content-Language": locale.value, "Cache-Control": "no-store"})


def page_router(context: WebContext) -> APIRouter:
    """The pages."""
    return APIRouter(include_in_schema=False)
